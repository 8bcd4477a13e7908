"""What was put into containers and taken out, value by value: what queues and their kind need.

All keys stand in the same arrays, so that a monitor decides them all at once. Positions have 64
bits, since monitors lay the keys of a history one behind the other; numbers and counts have 32.

What is wrong with a value whatever the order in which values come out is told here (`Strays`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable import values as columns
from checkers.linearizable.values import Bools, Ints, Ops
from harness.columns import NULL, OBJECT_MIN, is_object
from harness.history import History

Numbers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Values:
    """The operations of each value of a key, by number.

    Attributes:
        got_begin, got_end, failed_begin: of what took a value, and of what failed to put one in.
        of_put, of_got, of_failed: the numbers of the values of what put one in, took one, failed.
        empty: what found nothing to take.
        key, value: the codes of each number.
        puts, gets, fails: how many there are.
        in_begin, in_end, out_begin, out_end: of who put it in and who took it first; the history's
            length for what has no end or is not there.
        taker: who took it first, or -1.
    """

    got_begin: Ints
    got_end: Ints
    failed_begin: Ints
    empty: Ops
    of_put: Numbers
    of_got: Numbers
    of_failed: Numbers
    key: Ints
    value: Ints
    puts: Numbers
    gets: Numbers
    fails: Numbers
    in_begin: Ints
    in_end: Ints
    out_begin: Ints
    out_end: Ints
    taker: Numbers

    @staticmethod
    def read(history: History, put: str, take: str, keyed: bool) -> tuple[Values, Ops] | None:
        """The values, and those in doubt of having taken one; None where some have no codes."""
        asked = columns.asked(history, put, keyed)
        failed = columns.asked(history, put, keyed, failed=True)
        told = columns.told(history, take, keyed)
        doubtful = columns.in_doubt(history, take, keyed)
        if asked is None or told is None or failed is None or doubtful is None:
            return None
        nothing = told.value == NULL
        empty, told = told.where(nothing), told.where(~nothing)
        return Values.of(len(history), asked, told, failed, empty), doubtful

    @staticmethod
    def of(never: int, put: Ops, got: Ops, failed: Ops, empty: Ops) -> Values:
        """By number, what was put in, taken, and refused; `never` is the end of what has none."""
        groups = (put, got, failed)
        numbers = _numbers(groups)
        count = int(numbers.max()) + 1 if len(numbers) else 0
        of = np.split(numbers, np.cumsum([len(ops) for ops in groups])[:-1])
        key, value = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
        for ops, number in zip(groups, of, strict=True):
            key[number], value[number] = ops.key, ops.value
        _, in_begin, in_end = _first(put, of[0], count, never)
        taker, out_begin, out_end = _first(got, of[1], count, never)
        puts, gets, fails = (np.bincount(n, minlength=count).astype(np.int32) for n in of)
        return Values(
            got_begin=got.begin,
            got_end=got.end,
            failed_begin=failed.begin,
            empty=empty,
            of_put=of[0],
            of_got=of[1],
            of_failed=of[2],
            key=key,
            value=value,
            puts=puts,
            gets=gets,
            fails=fails,
            in_begin=in_begin,
            in_end=in_end,
            out_begin=out_begin,
            out_end=out_end,
            taker=taker,
        )


def _numbers(groups: tuple[Ops, ...]) -> Numbers:
    """The number of each operation's value."""
    keys = columns.dense(np.concatenate([ops.key for ops in groups]))[0]
    values = columns.dense(np.concatenate([ops.value for ops in groups]))[0]
    return columns.grouped(keys, values).astype(np.int32)


def _first(ops: Ops, number: Numbers, count: int, never: int) -> tuple[Numbers, Ints, Ints]:
    """The first operation of each value, or -1, with its begin and end."""
    first = np.full(count, -1, np.int32)
    first[number[::-1]] = np.arange(len(ops), dtype=np.int32)[::-1]  # assigned last
    there = first >= 0
    begin, end = np.full(count, never, np.int64), np.full(count, never, np.int64)
    begin[there], end[there] = ops.begin[first[there]], ops.end[first[there]]
    return first, begin, end


def unlike_spelled(history: History, told: Values) -> Bools:
    """Values that codes tell from others which models take for the same: 1.0 or true beside 1."""
    objects = history.values.objects
    codes = told.value[is_object(told.value)]
    text = objects.data[objects.start[codes - OBJECT_MIN]] == ord('"')
    integers = {code: _integer(history.values.decode(code)) for code in codes[~text].tolist()}
    whole = [(code, same) for code, same in integers.items() if same is not None]
    pairs = np.array(whole, np.int64).reshape(-1, 2)
    return np.isin(told.value, pairs[np.isin(pairs[:, 1], told.value)])


def _integer(thing: Any) -> int | None:
    """The integer that equals it and has another code; None if there is none."""
    if isinstance(thing, bool | float) and thing == thing and abs(thing) < 2**53:
        return int(thing) if thing == int(thing) else None
    return None


@dataclass(frozen=True, slots=True)
class Strays:
    """Values, by number, that no order whatever explains; and the others.

    Attributes:
        phantoms, aborted: taken, and nobody tried to put them in, or only failed to.
        twice: taken more than once. early: taken before anybody began to put them in.
        fine: none of this.
    """

    phantoms: Ints
    aborted: Ints
    twice: Ints
    early: Ints
    fine: Ints

    @staticmethod
    def of(told: Values, chosen: Bools) -> Strays:
        """Those among the chosen values."""
        made = told.puts > 0
        orphan = chosen & (told.gets > 0) & ~made
        early = chosen & made & (told.out_end < told.in_begin)
        return Strays(
            phantoms=np.flatnonzero(orphan & (told.fails == 0)),
            aborted=np.flatnonzero(orphan & (told.fails > 0)),
            twice=np.flatnonzero(chosen & made & (told.gets > 1)),
            early=np.flatnonzero(early),
            fine=np.flatnonzero(chosen & made & (told.gets < 2) & ~early),
        )

    def numbers(self) -> Ints:
        """All of them but the others."""
        return np.concatenate([self.phantoms, self.aborted, self.twice, self.early])
