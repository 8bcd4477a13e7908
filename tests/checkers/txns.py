"""Transactions for tests: short words for timelines, a database to run them, and all their orders.

`Database` answers transactions one micro-operation at a time, under an isolation; `serial` is the
oracle: it tries every order of a few transactions.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse

Mop = list[Any]
Mops = list[Mop]


def txn(*mops: Mop, end: str = "|") -> str:
    """The bar of a transaction: what it asked for, and what it was told."""
    asked = [[f, key, None if f == "r" else value] for f, key, value in mops]
    return f"|-- txn {_json(asked)} -> {_json(list(mops))} --{end}"


def concurrent(*bars: str) -> History:
    """Transactions of processes c0, c1, … that all began before any ended."""
    width = max(map(len, bars))
    lines = []
    for number, bar in enumerate(bars):
        head, sign = bar[:-3], bar[-3:]
        lines.append(f"c{number}: {head}{'-' * (width - len(bar))}{sign}")
    return History.of(parse("\n".join(lines)))


def one_by_one(*bars: str, process: Sequence[int] | None = None) -> History:
    """Transactions each of which began when the one before had ended."""
    ops: list[Op] = []
    for number, bar in enumerate(bars):
        who = number if process is None else process[number]
        ops += parse(f"c{who}: {bar}")
    return History.of(
        Op(at, at * 10, op.type, op.process, op.f, op.value) for at, op in enumerate(ops)
    )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


# -- a database ----------------------------------------------------------------------------------

ISOLATIONS = (
    "strict-serializable",
    "serializable",
    "snapshot-isolation",
    "read-committed",
    "nothing",
)


@dataclass
class Running:
    """A transaction on its way."""

    process: int
    asked: Mops
    told: Mops = field(default_factory=list)
    snapshot: dict[int, Any] = field(default_factory=dict)
    writes: dict[int, Any] = field(default_factory=dict)
    version: int = 0


@dataclass
class Database:
    """Lists (or registers) under an isolation. Transactions are run by `events`.

    strict-serializable   one after the other
    serializable          the same, but who only reads may read an old state
    snapshot-isolation    reads from a snapshot; the first who commits a key wins
    read-committed        each read sees what is committed by then; writes are locked
    nothing               each read and write takes effect at once
    """

    isolation: str
    rng: random.Random
    registers: bool = False
    state: dict[int, Any] = field(default_factory=dict)
    past: list[dict[int, Any]] = field(default_factory=lambda: [{}])
    changed: dict[int, int] = field(default_factory=dict)

    def begin(self, process: int, asked: Mops) -> Running:
        running = Running(process, asked, version=len(self.past) - 1)
        reads_only = all(mop[0] == "r" for mop in asked)
        if self.isolation == "serializable" and reads_only:
            running.snapshot = self.rng.choice(self.past)
        else:
            running.snapshot = self.past[-1]
        return running

    def waits(self, running: Running, others: list[Running]) -> bool:
        """Whether somebody else has locked what it would write."""
        f, key, _ = running.asked[len(running.told)]
        locks = self.isolation == "read-committed" and f != "r"
        return locks and any(key in one.writes for one in others)

    def step(self, running: Running) -> None:
        """The next micro-operation."""
        f, key, value = running.asked[len(running.told)]
        if f == "r":
            running.told.append([f, key, self._seen(running, key)])
            return
        running.told.append([f, key, value])
        if self.isolation == "nothing":
            self.state[key] = self._written(self.state.get(key), value)
        else:
            seen = self._seen(running, key) if self.isolation == "read-committed" else None
            base = seen if seen is not None else self._seen(running, key)
            running.writes[key] = self._written(base, value)

    def _written(self, base: Any, value: Any) -> Any:
        return value if self.registers else [*(base or []), value]

    def _seen(self, running: Running, key: int) -> Any:
        if self.isolation == "nothing":
            return copy.copy(self.state.get(key))
        if key in running.writes:
            return copy.copy(running.writes[key])
        source = self.past[-1] if self.isolation == "read-committed" else running.snapshot
        return copy.copy(source.get(key))

    def commit(self, running: Running) -> bool:
        """Whether it could."""
        if self.isolation == "nothing":
            return True
        if self.isolation == "snapshot-isolation" and any(
            self.changed.get(key, 0) > running.version for key in running.writes
        ):
            return False
        after = dict(self.past[-1])
        for key, value in running.writes.items():
            if self.isolation == "read-committed" and not self.registers:
                own = [mop[2] for mop in running.told if mop[0] == "append" and mop[1] == key]
                after[key] = [*(after.get(key) or []), *own]
            else:
                after[key] = value
            self.changed[key] = len(self.past)
        if running.writes:
            self.past.append(after)
        return True

    def abort(self, running: Running) -> None:
        """Nothing of it took place."""


def events(
    rng: random.Random,
    isolation: str,
    txns: int,
    *,
    keys: int = 2,
    processes: int = 3,
    mops_max: int = 3,
    info: float = 0.1,
    registers: bool = False,
    make: Callable[[str, random.Random, bool], Database] = Database,
) -> list[Op]:
    """What clients of a database see, with some whose outcome they never learn."""
    database = make(isolation, rng, registers)
    write = "w" if registers else "append"
    ops: list[Op] = []
    number: dict[int, int] = {}
    names = list(range(processes))
    running: dict[int, Running] = {}
    waiting: dict[int, Mops] = {}
    left = txns

    def record(kind: Kind, process: int, value: Any) -> None:
        ops.append(Op(len(ops), len(ops) * 10, kind, process, "txn", value))

    def one_at_a_time() -> bool:
        return isolation in ("strict-serializable", "serializable") and bool(running)

    while left or waiting or running:
        lane = rng.randrange(processes)
        if lane in running:
            now = running[lane]
            if len(now.told) < len(now.asked):
                others = [one for at, one in running.items() if at != lane]
                if not database.waits(now, others):
                    database.step(now)
                    continue
                if rng.random() < 0.8:
                    continue
                del running[lane]  # it may be in a deadlock
                database.abort(now)
                record(Kind.FAIL, names[lane], now.asked)
                continue
            took = database.commit(now)
            del running[lane]
            if rng.random() < info:
                record(Kind.INFO, names[lane], now.asked)
                names[lane] += processes
            elif took:
                record(Kind.OK, names[lane], now.told)
            else:
                record(Kind.FAIL, names[lane], now.asked)
        elif lane in waiting:
            if not one_at_a_time():
                running[lane] = database.begin(lane, waiting.pop(lane))
        elif left:
            left -= 1
            asked = []
            for _ in range(rng.randint(1, mops_max)):
                key = rng.randrange(keys)
                if rng.random() < 0.5:
                    asked.append(["r", key, None])
                else:
                    number[key] = number.get(key, 0) + 1
                    asked.append([write, key, number[key]])
            waiting[lane] = asked
            record(Kind.INVOKE, names[lane], asked)
    return ops


def spoiled(rng: random.Random, ops: list[Op]) -> list[Op]:
    """The same with a lie: a read of another prefix, one element more, or an outcome."""
    ops = list(ops)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(ops))
        op = ops[at]
        if op.type is not Kind.OK:
            continue
        value = copy.deepcopy(op.value)
        mop = rng.choice(value)
        dice = rng.random()
        if mop[0] == "r" and isinstance(mop[2], list) and mop[2]:
            if dice < 0.6:
                mop[2] = mop[2][: rng.randrange(len(mop[2]))]
            elif dice < 0.8:
                rng.shuffle(mop[2])
            else:
                mop[2] = [*mop[2], rng.choice([*mop[2], 99])]
        elif dice < 0.3:
            ops[at] = Op(op.index, op.time, Kind.FAIL, op.process, op.f, value)
            continue
        ops[at] = Op(op.index, op.time, op.type, op.process, op.f, value)
    return ops


# -- the oracle ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Txn:
    begin: int
    end: int | None
    process: Any
    kind: Kind
    mops: Mops


def transactions(ops: Sequence[Op]) -> list[Txn]:
    history = History.of(ops)
    found = []
    for at in history.select(type=Kind.INVOKE).tolist():
        asked, told = history[at], history.completion(at)
        kind = told.type if told is not None else Kind.INFO
        mops = told.value if told is not None and kind is Kind.OK else asked.value
        found.append(Txn(at, told.index if told else None, asked.process, kind, mops))
    return found


def serial(ops: Sequence[Op], order: str = "realtime") -> bool:
    """Whether some order explains all that was read.

    Args:
        order: what it must keep: "realtime", "process", or "" for nothing.
    """
    every = transactions(ops)
    sure = [one for one in every if one.kind is Kind.OK]
    maybe = [one for one in every if one.kind is Kind.INFO]
    for count in range(len(maybe) + 1):
        for chosen in combinations(maybe, count):
            if _explained([*sure, *chosen], order):
                return True
    return False


def _explained(txns: list[Txn], order: str) -> bool:
    def before(one: Txn, other: Txn) -> bool:
        if order == "realtime":
            ended = one.end is not None and one.kind is Kind.OK
            return ended and one.end < other.begin  # type: ignore[operator]
        return order == "process" and one.process == other.process and one.begin < other.begin

    def go(left: frozenset[int], state: dict[int, Any]) -> bool:
        if not left:
            return True
        for at in left:
            if any(before(txns[other], txns[at]) for other in left if other != at):
                continue
            after = _apply(txns[at], state)
            if after is not None and go(left - {at}, after):
                return True
        return False

    return go(frozenset(range(len(txns))), {})


def _apply(one: Txn, state: dict[int, Any]) -> dict[int, Any] | None:
    """The state afterwards; None if the transaction cannot have read what it read in this one."""
    state = dict(state)
    for f, key, value in one.mops:
        if f == "append":
            state[key] = [*(state.get(key) or []), value]
        elif f == "w":
            state[key] = value
        elif one.kind is Kind.OK and (state.get(key) or None) != (value or None):
            return None
    return state


def seeds(count: int, name: str) -> Iterator[random.Random]:
    for seed in range(count):
        yield random.Random(f"{name}/{seed}")
