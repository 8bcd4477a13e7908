"""Histories of objects that behave: registers, queues, stacks, sets, counters.

An operation takes effect at a drawn moment between its call and its return; as many operations as
there are clients are under way at any time, and some end in doubt.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from harness.op import Kind, Op

CLIENTS = 100

Draw = Callable[[random.Random, int], tuple[str, Any]]
"""The next operation: f, asked."""

Apply = Callable[[str, Any], Any]
"""Takes effect, and tells."""


class Refused(Exception):
    """The operation did not take effect."""


def timed(
    thing: tuple[Draw, Apply],
    operations: int,
    *,
    seed: int = 1729,
    doubtful: float = 0.005,
    clients: int = CLIENTS,
) -> Iterator[Op]:
    """A history of the object, of so many operations."""
    draw, apply = thing
    rng = random.Random(seed)
    under_way: list[tuple[int, str, Any]] = []
    done: list[tuple[int, str, Any]] = []
    free = list(range(clients))
    number = event = 0
    while number < operations or under_way or done:
        dice = rng.random()
        if free and number < operations:
            process = free.pop()
            f, asked = draw(rng, number)
            number += 1
            yield Op(event, 10_000 * event, Kind.INVOKE, process, f, asked)
            event += 1
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
            value = told if kind is Kind.OK else None
            yield Op(event, 10_000 * event, kind, process, f, value)
            event += 1
            free.append(process + clients if lost else process)


def _drawn(rng: random.Random, things: list[Any]) -> Any:
    at = rng.randrange(len(things))
    things[at], things[-1] = things[-1], things[at]
    return things.pop()


def registers(keys: int, stale: int = -1) -> tuple[Draw, Apply]:
    """One register (plain values), or one of each key; each value is written once. The read of
    number `stale`, and if its key is too young the next, is of what stood there long ago."""
    now: dict[Any, list[int]] = {}
    reads, planted = 0, stale < 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        value = number if rng.random() < 0.5 else None
        f = "read" if value is None else "write"
        return f, value if keys == 1 else [rng.randrange(keys), value]

    def apply(f: str, asked: Any) -> Any:
        nonlocal reads, planted
        key, value = (None, asked) if keys == 1 else asked
        values = now.setdefault(key, [])
        if f == "write":
            values.append(value)
            return asked
        reads += 1
        read = values[-1] if values else None
        if not planted and reads >= stale and len(values) > 2 * CLIENTS:
            read, planted = values[-2 * CLIENTS], True
        return read if keys == 1 else [key, read]

    return draw, apply


def queues(overtaken: int = -1) -> tuple[Draw, Apply]:
    """A FIFO queue that is nearly empty now and then; after so many operations, one value passes
    many others."""
    inside: deque[int] = deque()
    count, planted = 0, overtaken < 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        return ("enqueue", number) if rng.random() < 0.5 else ("dequeue", None)

    def apply(f: str, asked: Any) -> Any:
        nonlocal count, planted
        count += 1
        if f == "enqueue":
            inside.append(asked)
            return asked
        if not planted and count > overtaken and len(inside) > 4 * CLIENTS:
            planted, passed = True, inside[3 * CLIENTS]
            del inside[3 * CLIENTS]
            return passed
        return inside.popleft() if inside else None

    return draw, apply


def stacks(overtaken: int = -1) -> tuple[Draw, Apply]:
    """A stack; after so many operations, one value comes out from below many others."""
    inside: list[int] = []
    count, planted = 0, overtaken < 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        return ("push", number) if rng.random() < 0.5 else ("pop", None)

    def apply(f: str, asked: Any) -> Any:
        nonlocal count, planted
        count += 1
        if f == "push":
            inside.append(asked)
            return asked
        if not planted and count > overtaken and len(inside) > 4 * CLIENTS:
            planted = True
            return inside.pop(-3 * CLIENTS)
        return inside.pop() if inside else None

    return draw, apply


def priority_queues(overtaken: int = -1) -> tuple[Draw, Apply]:
    """A queue from which the least comes out; after so many operations, once a much greater one."""
    inside: list[int] = []
    count, planted = 0, overtaken < 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        # Each number once, and no two that follow each other are close.
        return ("insert", number * SCATTER % 2**32) if rng.random() < 0.5 else ("delete-min", None)

    def apply(f: str, asked: Any) -> Any:
        nonlocal count, planted
        count += 1
        if f == "insert":
            heapq.heappush(inside, asked)
            return asked
        if not planted and count > overtaken and len(inside) > 4 * CLIENTS:
            planted, greatest = True, max(inside)
            inside.remove(greatest)
            heapq.heapify(inside)
            return greatest
        return heapq.heappop(inside) if inside else None

    return draw, apply


SCATTER = 2_654_435_761
"""Odd, so that it is a bijection of 32 bits."""


def drained(operations: int, vanishing: int = -1) -> tuple[Draw, Apply]:
    """A queue from which any value may come out, and at last all do; after so many operations, one
    value is gone."""
    inside: list[int] = []
    count = 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        # So many drains that whatever was under way before them has ended when the last one begins.
        if number > operations - 20 * CLIENTS:
            return "drain", None
        return ("enqueue", number) if rng.random() < 0.5 else ("dequeue", None)

    def apply(f: str, asked: Any) -> Any:
        nonlocal count
        count += 1
        if f == "enqueue":
            if count != vanishing:
                inside.append(asked)
            return asked
        if f == "dequeue":
            if count == vanishing and inside:
                inside.pop()
            return inside.pop(count % len(inside)) if inside else None
        out = inside.copy()
        inside.clear()
        return out

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


SETS, ADDS_MAX = 10, 16
"""How many sets are in use at any time, and after how many adds one makes room for a new one."""


def sets(lacking: int = -1) -> tuple[Draw, Apply]:
    """Sets that are read as often as they are added to; the read of number `lacking`, or the next
    of a set that is large enough, lacks the first value of it."""
    inside: dict[int, list[int]] = {}
    keys = list(range(SETS))
    begun = [0] * SETS
    reads, planted = 0, lacking < 0

    def draw(rng: random.Random, number: int) -> tuple[str, Any]:
        which = rng.randrange(SETS)
        if rng.random() < 0.5:
            return "read", [keys[which], None]
        if begun[which] == ADDS_MAX:
            keys[which], begun[which] = max(keys) + 1, 0
        begun[which] += 1
        return "add", [keys[which], number]

    def apply(f: str, asked: Any) -> Any:
        nonlocal reads, planted
        key, value = asked
        values = inside.setdefault(key, [])
        if f == "add":
            values.append(value)
            return asked
        reads += 1
        if not planted and reads >= lacking and len(values) == ADDS_MAX:
            planted = True
            return [key, values[1:]]
        return [key, list(values)]

    return draw, apply
