"""Stores that keep some of the guarantees of sessions and no others, and every way to explain.

`recorded` is what sessions of such a store see: of each read the store draws what is visible to it
(what the promised guarantees demand, and some more), and the newest of that is read. `explained`
is the oracle: it tries every order of each key's writes and all that a read may have seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import Any

from harness.op import Kind, Op

SHORT = ("ryw", "mr", "mw", "wfr")


@dataclass(frozen=True)
class Write:
    """Attributes:
    stamp: of the writes of a key that are visible, the one with the greatest is read.
    made, read: what its session had written and read before.
    """

    number: int
    key: int
    stamp: int
    made: frozenset[int]
    read: frozenset[int]


@dataclass
class Store:
    promised: frozenset[str]
    rng: random.Random
    writes: list[Write] = field(default_factory=list)

    def write(self, key: int, made: set[int], read: set[int]) -> Write:
        floor = 0
        for name, before in (("mw", made), ("wfr", read)):
            if name in self.promised:
                floor = max([floor, *(self.writes[one].stamp for one in before)])
        stamp = self.rng.randint(floor + 1, floor + 2 + 10 * (len(self.writes) + 1))
        while any(one.stamp == stamp for one in self.writes):
            stamp += 1
        write = Write(len(self.writes), key, stamp, frozenset(made), frozenset(read))
        self.writes.append(write)
        return write

    def visible(self, key: int, made: set[int], read: set[int], more: float) -> list[Write]:
        """What a read of the key sees, oldest first."""
        there = set[int]()
        there |= made if "ryw" in self.promised else set()
        there |= read if "mr" in self.promised else set()
        there |= {one.number for one in self.writes if self.rng.random() < more}
        left = list(there)
        while left:
            one = self.writes[left.pop()]
            needed = set[int]()
            needed |= one.made if "mw" in self.promised else set()
            needed |= one.read if "wfr" in self.promised else set()
            left += needed - there
            there |= needed
        found = (self.writes[number] for number in there)
        return sorted((one for one in found if one.key == key), key=lambda one: one.stamp)


def recorded(
    promised: Iterable[str],
    rng: random.Random,
    operations: int,
    *,
    form: str = "register",
    sessions: int = 3,
    keys: int = 2,
    doubt: float = 0.1,
) -> list[Op]:
    """What sessions see, one operation after another.

    Args:
        form: "register", "versions", "add" or "append".
    """
    store, ops = Store(frozenset(promised), rng), list[Op]()
    process, made, read = (
        list(range(sessions)),
        [set[int]() for _ in range(sessions)],
        [set[int]() for _ in range(sessions)],
    )

    def tell(lane: int, kind: Kind, f: str, value: Any) -> None:
        ops.append(Op(len(ops), len(ops), kind, process[lane], f, value))

    for _ in range(operations):
        lane, key = rng.randrange(sessions), rng.randrange(keys)
        if rng.random() < 0.5:
            f = form if form in ("add", "append") else "write"
            write = store.write(key, made[lane], read[lane])
            asked = [key, None if form == "versions" else write.number]
            kept = rng.random() >= doubt
            tell(lane, Kind.INVOKE, f, asked)
            told = [key, write.stamp] if form == "versions" else asked
            tell(lane, Kind.OK if kept else Kind.INFO, f, told if kept else asked)
            if kept:
                made[lane].add(write.number)
            else:
                process[lane] += sessions
                made[lane], read[lane] = set(), set()
            continue
        there = store.visible(key, made[lane], read[lane], more=0.2)
        tell(lane, Kind.INVOKE, "read", [key, None])
        tell(lane, Kind.OK, "read", [key, _told(form, there, rng)])
        read[lane] |= {one.number for one in (there[-1:] if form in REGISTERS else there)}
    return ops


REGISTERS = ("register", "versions")


def _told(form: str, there: list[Write], rng: random.Random) -> Any:
    if form == "register":
        return there[-1].number if there else None
    if form == "versions":
        return there[-1].stamp if there else None
    told = [one.number for one in there]
    return told if form == "append" else rng.sample(told, len(told))


# -- every way -------------------------------------------------------------------------------------


def drawn(rng: random.Random, operations: int, sessions: int = 3, keys: int = 2) -> list[Op]:
    """Registers that read anything that is written at any time, or null."""
    lanes = [rng.randrange(sessions) for _ in range(operations)]
    fs = [rng.choice(["write", "read"]) for _ in lanes]
    of = [rng.randrange(keys) for _ in lanes]
    ops: list[Op] = []
    process = list(range(sessions))
    for number, (lane, f, key) in enumerate(zip(lanes, fs, of, strict=True)):
        kept = rng.random() < 0.9
        values = [at for at, other in enumerate(of) if other == key and fs[at] == "write"]
        asked = [key, number if f == "write" else None]
        told = asked if f == "write" else [key, rng.choice([None, *values, *values])]
        ops.append(Op(0, len(ops), Kind.INVOKE, process[lane], f, asked))
        kind = Kind.OK if kept else rng.choice([Kind.INFO, Kind.FAIL])
        ops.append(Op(0, len(ops), kind, process[lane], f, told if kept else asked))
        if kind is Kind.INFO:
            process[lane] += sessions
    return ops


@dataclass(frozen=True)
class _Access:
    session: int
    key: int
    value: int | None
    write: bool


def explained(ops: Sequence[Op], promised: Iterable[str]) -> bool | None:
    """Whether the guarantees allow what registers told; None if a value was read that nobody
    wrote."""
    accesses = list(_accesses(ops))
    kept = frozenset(promised)
    writes = {one.value for one in accesses if one.write}
    if any(not one.write and one.value not in {None, *writes} for one in accesses):
        return None
    sessions = {one.session for one in accesses if not one.write}
    return all(_views(accesses, session, kept) for session in sessions)


def _accesses(ops: Sequence[Op]) -> Iterator[_Access]:
    """In the order of their begins: a write in doubt is the last of its session."""
    for at, op in enumerate(ops):
        if op.type is not Kind.INVOKE:
            continue
        done = next((o for o in ops[at + 1 :] if o.process == op.process), None)
        kind = Kind.INFO if done is None else done.type
        if kind is Kind.OK or (kind is Kind.INFO and op.f == "write"):
            told = done if done is not None and kind is Kind.OK else op
            assert isinstance(op.process, int)
            yield _Access(op.process, op.value[0], told.value[1], op.f == "write")


def _views(accesses: list[_Access], session: int, kept: frozenset[str]) -> bool:
    """Whether there is an order of each key's writes that explains all reads of a session."""
    writes = [one for one in accesses if one.write]
    keys = sorted({one.key for one in writes})
    by_key = [[one.value for one in writes if one.key == key] for key in keys]
    needs = {one.value: _needs(accesses, one, kept) for one in writes}
    masks = [
        {one.value for one, bit in zip(writes, bits, strict=True) if bit}
        for bits in product([False, True], repeat=len(writes))
    ]
    closed = [mask for mask in masks if all(needs[one] <= mask for one in mask)]
    mine = [one for one in accesses if one.session == session]
    for orders in product(*map(permutations, by_key)):
        place = {value: at for order in orders for at, value in enumerate(order)}
        key_of = {one.value: one.key for one in writes}
        if any(
            key_of[before] == key_of[value] and place[before] > place[value]
            for value in place
            for before in needs[value]
        ):
            continue
        if all(
            one.write or _seen(mine[:at], one, closed, place, key_of, kept)
            for at, one in enumerate(mine)
        ):
            return True
    return False


def _needs(accesses: list[_Access], write: _Access, kept: frozenset[str]) -> set[Any]:
    """What is visible to whoever sees a write."""
    before = [one for one in accesses[: accesses.index(write)] if one.session == write.session]
    made = {one.value for one in before if one.write} if "mw" in kept else set()
    read = {one.value for one in before if not one.write} if "wfr" in kept else set()
    return made | read - {None, write.value}


def _seen(
    before: list[_Access],
    read: _Access,
    closed: list[set[Any]],
    place: dict[Any, int],
    key_of: dict[Any, int],
    kept: frozenset[str],
) -> bool:
    demanded = {one.value for one in before if one.write and "ryw" in kept}
    demanded |= {one.value for one in before if not one.write and "mr" in kept} - {None}
    for mask in closed:
        if demanded <= mask:
            there = [value for value in mask if key_of[value] == read.key]
            if max(there, key=lambda value: place[value], default=None) == read.value:
                return True
    return False
