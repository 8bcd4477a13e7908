"""Which deletes of priority queues came too early, all keys at once; see `priority_queue`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from checkers.linearizable import cover
from checkers.linearizable.cover import FREE, Ranks
from checkers.linearizable.held import Strays, Values
from checkers.linearizable.inside import Inside, Line
from checkers.linearizable.models import is_priority
from checkers.linearizable.values import Bools, Ints
from harness.columns import NULL, is_integer
from harness.history import History


def ranked(history: History, told: Values) -> tuple[Ranks, Bools]:
    """The rank of each value, equal for equal numbers; and which values are no numbers, or have
    another spelling, too (1 and 1.0), so that codes do not tell them apart."""
    codes, of = np.unique(told.value, return_inverse=True)
    if is_integer(codes).all():
        return of.astype(np.int32), np.zeros(len(of), np.bool_)
    things: list[Any] = [
        None if code == NULL else history.values.decode(code) for code in codes.tolist()
    ]
    odd = np.array([not is_priority(thing) for thing in things], np.bool_)
    order = sorted(np.flatnonzero(~odd).tolist(), key=things.__getitem__)
    rank = np.zeros(len(codes), np.int32)
    for before, number in zip([-1, *order], order, strict=False):
        same = before >= 0 and things[before] == things[number]
        rank[number] = rank[before] + (not same) if before >= 0 else 0
        odd[[before, number]] |= same
    return rank[of], odd[of]


class Moments:
    """Numbers for the positions on a line at which anything begins or ends."""

    def __init__(self, line: Line, never: int, told: Values, values: Ints) -> None:
        self.line, self.positions = line, np.zeros(0, np.int64)
        self.count = never + 1
        if len(line.codes) > 1:
            ends = (told.in_begin, told.in_end, told.out_begin, told.out_end)
            shift = line.shift(told.key[values])
            nothing = line.shift(told.empty.key)
            positions = [*(at[values] + shift for at in ends)]
            positions += [told.empty.begin + nothing, told.empty.end + nothing]
            self.positions = np.unique(np.concatenate(positions))
            self.count = len(self.positions) + 1

    def of(self, key: Ints, position: Ints) -> Ints:
        """The numbers of positions in these keys' histories."""
        if len(self.line.codes) < 2:
            return position
        found: Ints = np.searchsorted(self.positions, position + self.line.shift(key))
        return found


class Judged:
    """What contradicts priority queues among the chosen values.

    Attributes:
        wrong: values whose delete came while lesser ones were inside all the while.
        false: numbers of the deletes that found nothing although something was inside.
    """

    def __init__(self, told: Values, rank: Ranks, never: int, chosen: Bools) -> None:
        self.told, self.rank, self.never, self.chosen = told, rank, never, chosen
        self.strays = Strays.of(told, chosen)
        fine = self.fine = self.strays.fine
        self.line = Line(told, never)
        self.moments = Moments(self.line, never, told, fine)
        self.out = fine[told.taker[fine] >= 0]
        begin = np.maximum(told.in_begin[self.out], told.out_begin[self.out])
        since = np.append(
            self.moments.of(told.key[self.out], begin),
            self.moments.of(told.empty.key, told.empty.begin),
        )
        until = np.append(
            self.moments.of(told.key[self.out], told.out_end[self.out]),
            self.moments.of(told.empty.key, told.empty.end),
        )
        freest = cover.greatest(self._covered(fine), since, until)
        wrong = freest[: len(self.out)] < rank[self.out]
        self.wrong, self._since = self.out[wrong], since[: len(self.out)][wrong]
        self.false = np.flatnonzero(freest[len(self.out) :] < FREE)

    def _covered(self, values: Ints) -> Ranks:
        """At each moment, the rank of the least of these values that is inside for certain."""
        told = self.told
        values = values[told.in_end[values] < told.out_begin[values]]
        key = told.key[values]
        since = self.moments.of(key, told.in_end[values])
        until = self.moments.of(key, told.out_begin[values])
        return cover.least(since, until, self.rank[values], self.moments.count)

    def wrong_keys(self) -> Ints:
        """Codes of the keys of which something was found."""
        keys = [self.told.key[numbers] for numbers in (self.strays.numbers(), self.wrong)]
        return np.unique(np.concatenate([*keys, self.told.empty.key[self.false]]))

    @cached_property
    def over_lost(self) -> Bools:
        """Which of the wrong ones came out while one lesser value was inside that never did."""
        lost = self._covered(self.fine[self.told.taker[self.fine] < 0])
        over: Bools = lost[self._since] < self.rank[self.wrong]
        return over

    def lost_below(self, value: int) -> int:
        """The first of the lesser values that were inside already and never came out."""
        told, begin = self.told, self.begin(value)
        lesser = self._lesser(value)
        lesser = lesser[(told.taker[lesser] < 0) & (told.in_end[lesser] < begin)]
        return int(lesser[np.argmin(told.in_end[lesser])])

    def through(self, value: int) -> list[int]:
        """Few lesser values that followed each other for as long as this one can have come out."""
        told = self.told
        inside = Inside(told, self.line, self._lesser(value))
        return inside.through(int(told.key[value]), self.begin(value), int(told.out_end[value]))

    def through_empty(self, number: int) -> list[int]:
        """Few values that followed each other while this one found nothing."""
        return Inside(self.told, self.line, self.fine).through_empty(number)

    def begin(self, value: int) -> int:
        """The position after which the value can have come out."""
        return int(max(self.told.in_begin[value], self.told.out_begin[value]))

    def _lesser(self, value: int) -> Ints:
        key, rank = self.told.key[self.fine], self.rank[self.fine]
        lesser: Ints = self.fine[(key == self.told.key[value]) & (rank < self.rank[value])]
        return lesser
