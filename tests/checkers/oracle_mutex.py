"""Locks by trying every order of every choice of what happened, and random histories of them.

A lock, its tokens and the writes of its resource are three objects; each has its own orders. It
shares nothing with the checker.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar

from checkers.linearizable.models import UNKNOWN, Keys, State
from checkers.linearizable.search import NEVER, Call
from harness.op import Kind, Op
from tests.checkers.oracle_linear import linearizable

MS = 1_000_000
"""Between two events."""


class _Object:
    fs: ClassVar[frozenset[str]] = frozenset()
    writers: ClassVar[frozenset[str]] = frozenset()
    readers: ClassVar[frozenset[str]] = frozenset()
    initial: State = None
    keys: ClassVar[Keys] = "nowhere"
    every_maker: ClassVar[bool] = False

    def only_looks(self, f: str, asked: Any, told: Any) -> bool:
        return False

    def legible(self, f: str, asked: Any, told: Any) -> bool:
        return True


class Holder(_Object):
    """Who holds the lock, if anybody does, and by which acquisitions whose leases may last."""

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        holder, by = state or (None, frozenset())
        match f:
            case "acquire":
                free = holder is None or holder == asked[0]
                return ((asked[0], by | {asked}),) if free else ()
            case "release":
                return (None if holder == asked[0] else state,)
            case "lapse":  # the lease of an acquisition is over
                return ((holder, by - {asked}) if by - {asked} else None,)
        return (state,)


class Newest(_Object):
    """The newest token, and whose it is while it may still be held."""

    initial = (-1, None)

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        newest, holder = state
        match f:
            case "acquire" if told is UNKNOWN:
                return (state,)  # one that nobody was told of forbids nothing
            case "acquire":
                mine = told == newest and holder == asked[0]
                return ((told, asked[0]),) if told > newest or mine else ()
            case "release":
                return ((newest, None if holder == asked[0] else holder),)
        return (state,)


class Resource(_Object):
    """The newest token that was shown to it."""

    initial = -1

    def step(self, state: Any, f: str, asked: Any, told: Any) -> tuple[State, ...]:
        if f != "write" or told is UNKNOWN:
            return (state,)
        return (told,) if told >= state else ()


def orders(ops: list[Op], lease_ms: int | None) -> dict[str, bool]:
    """By anomaly, whether there is an order that does without it."""
    calls = list(_calls(ops, lease_ms))

    def has_one(model: _Object, *fs: str) -> bool:
        return linearizable([call for call in calls if call.f in fs], model)

    return {
        "mutex-overlap": has_one(Holder(), "acquire", "release", "lapse"),
        "token-regression": has_one(Newest(), "acquire", "release"),
        "fencing-violation": has_one(Resource(), "write"),
    }


def _calls(ops: list[Op], lease_ms: int | None) -> Iterator[Call]:
    """Events are at even places; a lease may end between two of them."""
    for at, op in enumerate(ops):
        if op.type is not Kind.INVOKE:
            continue
        end = next((n for n in range(at + 1, len(ops)) if ops[n].process == op.process), None)
        kind = Kind.INFO if end is None or ops[end].type is Kind.INVOKE else ops[end].type
        if kind is Kind.FAIL:
            continue
        assert isinstance(op.process, int)
        known = kind is Kind.OK and end is not None
        told = ops[end].value if known and end is not None else UNKNOWN
        asked = (op.process, at)
        last = 2 * end if known and end is not None else NEVER
        yield Call(op.process, op.f, asked, told, 2 * at, last)
        if op.f == "acquire" and lease_ms is not None:
            over = next((n for n, one in enumerate(ops) if one.time >= op.time + lease_ms * MS), -1)
            if over >= 0:
                yield Call(op.process, "lapse", asked, UNKNOWN, 2 * over - 1, NEVER)


def histories(count: int, operations: int, seed: int) -> Iterator[list[Op]]:
    """Random histories of one lock; many are those of a lock that works, or nearly so."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _history(rng, rng.randint(1, operations))


def _history(rng: random.Random, operations: int) -> list[Op]:
    ops: list[Op] = []
    flying: list[tuple[int, str, int]] = []
    idle, fresh, begun, newest = [0, 1, 2], 3, 0, 0
    tidy = rng.random() < 0.6  # whoever acquired releases next
    last: dict[int, str] = {}

    def event(kind: Kind, process: int, f: str, value: Any = None) -> None:
        ops.append(Op(len(ops), len(ops) * MS, kind, process, f, value))

    while begun < operations or flying:
        if begun < operations and idle and (not flying or rng.random() < 0.5):
            process = idle.pop(rng.randrange(len(idle)))
            f = rng.choice(("acquire", "acquire", "release", "write"))
            if tidy and f == "acquire" and last.get(process) == "acquire":
                f = "release"
            last[process] = f
            token = rng.randint(max(newest - 1, 0), newest + 1)
            event(Kind.INVOKE, process, f, token if f == "write" else None)
            flying.append((process, f, token))
            begun += 1
            continue
        process, f, token = flying.pop(rng.randrange(len(flying)))
        kind = rng.choices((Kind.OK, Kind.FAIL, Kind.INFO, None), (12, 2, 2, 1))[0]
        if f == "acquire" and kind is Kind.OK:
            newest = token = newest + 1 if rng.random() < 0.7 else token
        if kind is not None:
            event(kind, process, f, token if kind is Kind.OK and f != "release" else None)
        if kind is Kind.OK or kind is Kind.FAIL or (kind is Kind.INFO and rng.random() < 0.3):
            idle.append(process)
        else:
            idle.append(fresh)
            fresh += 1
    return ops
