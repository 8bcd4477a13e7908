"""Histories of a strictly serializable database of lists, or of registers.

Clients send transactions of one to four micro-operations, half of them reads, over ten keys at a
time, the last of which is ten times as busy as the first; a key that was written 32 times makes
room for a new one. One transaction in a hundred has an unknown outcome. In the flawed history, a
transaction in the middle has read one key as it was before the last transaction that wrote two, and
another as it was after it: one G-single.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from harness.op import Kind, Op

CLIENTS = 20
KEYS = 10
WRITES_MAX = 32

Event = tuple[Kind, int, list[list[Any]]]


def transactions(count: int, *, flaw: bool = False, registers: bool = False) -> Iterator[Op]:
    """A history of so many transactions."""
    for number, (kind, process, value) in enumerate(_events(count, flaw, registers)):
        yield Op(number, number * 10_000, kind, process, "txn", value)


def _events(txns: int, flaw: bool, registers: bool) -> Iterator[Event]:
    """A transaction takes effect when it is asked for."""
    rng = random.Random(1729)
    keys = list(range(KEYS))
    weights = [10 ** (at / (KEYS - 1)) for at in range(KEYS)]
    state: dict[int, Any] = {key: None if registers else [] for key in keys}
    count = dict.fromkeys(keys, 0)
    fresh = KEYS
    names = list(range(CLIENTS))
    free = list(range(CLIENTS))
    flying: list[tuple[int, Event]] = []
    write = "w" if registers else "append"
    last: tuple[int, int] | None = None
    for number in range(txns):
        lane = free.pop(rng.randrange(len(free)))
        if flaw and number > txns // 2 and last is not None:
            one, other = last
            now, before = state[one], state[other]
            before = (before - 1 or None) if registers else before[:-1]
            asked = [["r", one, None], ["r", other, None]]
            yield Kind.INVOKE, names[lane], asked
            flying.append((lane, (Kind.OK, names[lane], [["r", one, now], ["r", other, before]])))
            flaw, last = False, None
        else:
            asked, told = [], []
            wrote: list[int] = []
            updated: list[int] = []
            for at in rng.choices(range(KEYS), weights, k=rng.randint(1, 4)):
                key = keys[at]
                if rng.random() < 0.5:
                    asked.append(["r", key, None])
                    told.append(["r", key, state[key] if registers else list(state[key])])
                    continue
                count[key] += 1
                asked.append([write, key, count[key]])
                told.append([write, key, count[key]])
                state[key] = count[key] if registers else [*state[key], count[key]]
                wrote.append(key)
                if ["r", key, None] in asked:
                    updated.append(key)
                if count[key] == WRITES_MAX:
                    keys[at] = fresh
                    state[fresh], count[fresh] = None if registers else [], 0
                    fresh += 1
            yield Kind.INVOKE, names[lane], asked
            if rng.random() < 0.01:
                flying.append((lane, (Kind.INFO, names[lane], asked)))
                names[lane] += CLIENTS
            else:
                flying.append((lane, (Kind.OK, names[lane], told)))
            took = flying[-1][1][0] is Kind.OK
            last = _both(wrote, updated if registers else wrote) if took else None
        if len(flying) > CLIENTS // 2:
            lane, done = flying.pop(rng.randrange(CLIENTS // 2))
            yield done
            free.append(lane)
    for _, done in flying:
        yield done


def _both(wrote: list[int], updated: list[int]) -> tuple[int, int] | None:
    """Two keys that a transaction wrote once each, the second of which it also read before."""
    once = [key for key in wrote if wrote.count(key) == 1]
    found = [(one, other) for other in once if other in updated for one in once if one != other]
    return found[0] if found else None
