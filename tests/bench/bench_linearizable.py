"""How fast long histories of registers, queues, sets, stacks and counters are judged.

Run: pytest -m bench -s tests/bench/bench_linearizable.py

The timer covers the check alone: the columns are in memory. An operation takes effect at a drawn
moment between its call and its return; a hundred clients have an operation under way at any time,
and one operation in two hundred ends in doubt. A broken history has one stale read.
Shown is the best of three and the worst.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from checkers.linearizable import counter, queue, register
from harness.checker import Check
from harness.guarantees import Contract
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Verdict

pytestmark = pytest.mark.bench

OPERATIONS = 1_000_000
CLIENTS = 100
STRICT = Contract("strict", {})

Draw = Callable[[random.Random, int], tuple[str, Any]]
"""The next operation: f, asked."""

Apply = Callable[[str, Any], Any]
"""Takes effect, and tells."""


def timed(
    draw: Draw,
    apply: Apply,
    operations: int,
    *,
    seed: int = 1729,
    doubtful: float = 0.005,
    clients: int = CLIENTS,
) -> Iterator[Op]:
    """A history of an object that behaves."""
    rng = random.Random(seed)
    under_way: list[tuple[int, str, Any]] = []
    done: list[tuple[int, str, Any]] = []
    free = list(range(clients))
    number = 0
    while number < operations or under_way or done:
        dice = rng.random()
        if free and number < operations:
            process = free.pop()
            f, asked = draw(rng, number)
            number += 1
            yield Op(0, number, Kind.INVOKE, process, f, asked)
            under_way.append((process, f, asked))
        elif under_way and (dice < 0.5 or not done):
            process, f, asked = _drawn(rng, under_way)
            try:
                done.append((process, f, apply(f, asked)))
            except Refused:
                done.append((process, f, Refused))
        else:
            process, f, told = _drawn(rng, done)
            lost = rng.random() < doubtful
            kind = Kind.INFO if lost else Kind.FAIL if told is Refused else Kind.OK
            yield Op(0, number, kind, process, f, told if kind is Kind.OK else None)
            free.append(process + clients if lost else process)


def _drawn(rng: random.Random, things: list[Any]) -> Any:
    at = rng.randrange(len(things))
    things[at], things[-1] = things[-1], things[at]
    return things.pop()


def registers(keys: int, stale: int = -1) -> tuple[Draw, Apply]:
    """One register (plain values), or one of each key; one read, by number, is of what stood there
    three writes ago."""
    now: dict[Any, list[int]] = {}
    reads = 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        value = number if rng.random() < 0.5 else None
        f = "read" if value is None else "write"
        return f, value if keys == 1 else [rng.randrange(keys), value]

    def apply(f: str, asked: Any) -> Any:
        nonlocal reads
        key, value = (None, asked) if keys == 1 else asked
        values = now.setdefault(key, [])
        if f == "write":
            values.append(value)
            return asked
        reads += 1
        read = values[-1] if values else None
        if reads == stale:
            read = values[-400]
        return read if keys == 1 else [key, read]

    return draw, apply


def queues(flawed: bool = False) -> tuple[Draw, Apply]:
    """A FIFO queue that is nearly empty now and then; a flawed one lets a value pass once."""
    inside: deque[int] = deque()
    count = 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        return ("enqueue", number) if rng.random() < 0.5 else ("dequeue", None)

    def apply(f: str, asked: Any) -> Any:
        nonlocal count
        count += 1
        if f == "enqueue":
            inside.append(asked)
            return asked
        if flawed and count > OPERATIONS // 3 and len(inside) > 400 and not passed:
            passed.append(inside[300])
            del inside[300]
            return passed[0]
        return inside.popleft() if inside else None

    passed: list[int] = []
    return draw, apply


def cas_registers() -> tuple[Draw, Apply]:
    """A register as etcd's logs have it: few values, so that nothing tells writes apart."""
    now: list[Any] = [None]

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        f = rng.choice(["read", "write", "cas"])
        values = [rng.randrange(5), rng.randrange(5)]
        return f, {"read": None, "write": values[0], "cas": values}[f]

    def apply(f: str, asked: Any) -> Any:
        if f == "read":
            return now[0]
        if f == "cas" and now[0] != asked[0]:
            raise Refused
        now[0] = asked if f == "write" else asked[1]
        return asked

    return draw, apply


def counters() -> tuple[Draw, Apply]:
    """A counter that is incremented by one."""
    count = 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        return rng.choice(["increment", "read"]), None

    def apply(f: str, asked: Any) -> Any:
        nonlocal count
        count += f == "increment"
        return count if f == "read" else asked

    return draw, apply


class Refused(Exception):
    """The operation did not take effect."""


def measured(name: str, history: History, check: Check) -> Verdict:
    """Prints the times of three checks."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        verdict = check(history, STRICT)
        times.append(time.perf_counter() - begun)
    operations = len(history) / 2
    print(
        f"\n{name}: {operations:,.0f} operations, {min(times):.2f} s (worst {max(times):.2f} s), "
        f"{dict(verdict.counts) or verdict.outcome.name}"
    )
    return verdict


@pytest.mark.parametrize("keys", [1, 1000])
def test_register(keys: int) -> None:
    history = History.of(timed(*registers(keys), OPERATIONS))
    assert measured(f"register, {keys} keys", history, register.check).outcome.json is True


def test_register_with_one_stale_read() -> None:
    history = History.of(timed(*registers(1, stale=OPERATIONS // 3), OPERATIONS))
    verdict = measured("register, 1 key, one stale read", history, register.check)
    assert set(verdict.counts) == {"stale-read"}


def test_queue() -> None:
    """Without doubts: what a dequeue in doubt took is seen as lost, and the search gives up."""
    history = History.of(timed(*queues(), OPERATIONS, doubtful=0))
    assert measured("FIFO queue", history, queue.check).outcome.json is True


def test_queue_with_one_value_that_passed_others() -> None:
    history = History.of(timed(*queues(flawed=True), OPERATIONS, doubtful=0))
    assert set(measured("FIFO queue, flawed", history, queue.check).counts) == {"reordered"}


def test_counter() -> None:
    history = History.of(timed(*counters(), OPERATIONS))
    assert measured("counter", history, counter.check).outcome.json is True


@pytest.mark.parametrize("flaws", [0, 1])
def test_cas_registers_by_the_search(flaws: int) -> None:
    """A hundred histories of 170 operations of 5 clients, valid or with one read that is wrong."""
    histories = []
    for seed in range(100):
        ops = list(timed(*cas_registers(), 170, seed=seed, doubtful=0.05, clients=5))
        reads = [at for at, op in enumerate(ops) if op.f == "read" and op.type is Kind.OK]
        for at in reads[len(reads) // 2 : len(reads) // 2 + flaws]:
            ops[at] = msgspec.structs.replace(ops[at], value=9)
        histories.append(History.of(ops))
    times, outcomes = [], set()
    for history in histories:
        begun = time.perf_counter()
        outcomes.add(register.check(history, STRICT).outcome.json)
        times.append(time.perf_counter() - begun)
    print(f"\n100 cas registers, {flaws} flaws: {sum(times):.2f} s, the longest {max(times):.3f} s")
    assert outcomes == {not flaws}
