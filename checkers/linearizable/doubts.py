"""What those in doubt can have taken from priority queues and stacks.

Each can have taken one value that never came out, at any time after its begin. They have no end, so
that it does not matter which of them took which, but only how many had begun by then.

A value that never came out was taken before some *deadline* if something had its effect later that
cannot have been while the value was inside: another came out that had to come out after it, or
nothing was found. Where at some time more deadlines are over than had begun who are in doubt, there
is no order: that is certain. Else each deadline, the first one first, is given to one in doubt, the
first one first; the same holds of what these take, so that there may be more deadlines then. If the
object is legal with them at last, it is legal. If it is not, nobody knows: another assignment may
do, which the search has to find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from checkers.linearizable.dominance import Points, least_beyond
from checkers.linearizable.held import Values
from checkers.linearizable.inside import Line
from checkers.linearizable.values import Bools, Ints, Ops

ROUNDS = 6
"""How often what was taken may bring further deadlines."""

Judge = Callable[[Values], tuple[Ints, Mapping[int, int]]]
"""With these values: codes of the keys that are not legal; and values that never came out, with
deadlines on the line, that may mend it."""


@dataclass(frozen=True, slots=True)
class Short:
    """Too few can have taken what was lost of a key.

    Attributes:
        values: what had to be taken, by number. begins: of all that can have taken it by then.
        out: values that came out and show it. empty: numbers of those that found nothing and do.
    """

    values: list[int]
    begins: list[int]
    out: list[int]
    empty: list[int]


def split(short: Sequence[Short]) -> tuple[list[Short], list[Short], list[Short]]:
    """Those where nobody can have taken the value and nothing was found; where others were taken
    by too few; and where nobody can have taken the value and another came out."""
    nobody = [lost for lost in short if not lost.begins]
    return (
        [lost for lost in nobody if lost.empty],
        [lost for lost in short if lost.begins],
        [lost for lost in nobody if not lost.empty],
    )


@dataclass(frozen=True, slots=True)
class Places:
    """Where values stand to each other: one that is inside keeps those further across from coming
    out.

    Attributes:
        out: of each value that comes out. lost: of each that is inside.
    """

    out: Ints
    lost: Ints


class Doubts:
    """Deadlines of the values that never came out, and who can have met them.

    Attributes:
        lost: these values, by number. deadline: of each, on the line; beyond its key's part of the
            line if there is none.
        out: the values that came out.
        short: keys of which more had to be taken than can have been.
    """

    def __init__(
        self, told: Values, places: Places, never: int, chosen: Bools, doubtful: Ops
    ) -> None:
        self.told, self.places, self.never, self.chosen = told, places, never, chosen
        self.line = Line(told, never)
        self.lost = np.flatnonzero(chosen & (told.puts > 0) & (told.taker < 0))
        self.shift = np.broadcast_to(self.line.shift(told.key[self.lost]), self.lost.shape)
        begun = doubtful.begin + self.line.shift(doubtful.key)
        order = np.argsort(begun)
        self.begun, self.begins = begun[order], doubtful.begin[order]
        self.out = np.flatnonzero(chosen & (told.taker >= 0))
        self.points = self._points()
        self.deadline = self._deadlines(self.points)
        self.short = self._short()

    def _points(self) -> Points:
        """Whatever had its effect: where it stands, when at the earliest, and at the latest."""
        told, empty, line = self.told, self.told.empty, self.line
        shift, nothing = line.shift(told.key[self.out]), line.shift(empty.key)
        begin = np.maximum(told.in_begin, told.out_begin)[self.out]
        furthest = max(self.places.out.max(initial=0), self.places.lost.max(initial=0)) + 1
        return Points(
            np.append(self.places.out[self.out], np.full(len(empty), furthest, np.int64)),
            np.append(begin + shift, empty.begin + nothing),
            np.append(told.out_end[self.out] + shift, empty.end + nothing),
        )

    def _deadlines(self, points: Points) -> Ints:
        inside = self.told.in_end[self.lost] + self.shift
        return least_beyond(points, self.places.lost[self.lost], inside)

    def _given(self, deadline: Ints) -> tuple[Ints, Ints, Ints]:
        """The lost values that have a deadline, the first deadline first, by their places in
        `lost`; of each the place among those of its key, and the place of its delete in doubt, or
        -1 if none had begun by then. Keys follow each other on the line."""
        due = np.flatnonzero(deadline <= self.shift + self.never)
        due = due[np.argsort(deadline[due], kind="stable")]
        nth = np.arange(len(due)) - np.searchsorted(deadline[due], self.shift[due])
        place = np.searchsorted(self.begun, self.shift[due]) + nth
        fits = place < len(self.begun)
        fits[fits] = self.begun[place[fits]] < deadline[due[fits]]
        return due, nth, np.where(fits, place, -1)

    def _short(self) -> list[Short]:
        due, nth, place = self._given(self.deadline)
        unmet = np.flatnonzero(place < 0)
        firsts = unmet[np.unique(self.told.key[self.lost[due[unmet]]], return_index=True)[1]]
        found = []
        for at in firsts.tolist():
            mine = due[at - nth[at] : at + 1]
            span = self.shift[due[at]], self.deadline[due[at]]
            begun = slice(*np.searchsorted(self.begun, span))
            out, empty = self._evidence(mine)
            values, begins = self.lost[mine].tolist(), self.begins[begun].tolist()
            found.append(Short(values, begins, out, empty))
        return found

    def open(self, judge: Judge, spare: bool = False) -> Ints:
        """Codes of the keys that are neither short nor legal with some of what was lost taken.

        With `spare`, what has no deadline is taken, too, by those in doubt who are left.
        """
        told, points, deadline = self.told, self.points, self.deadline
        short = [told.key[lost.values[0]] for lost in self.short]
        left = np.setdiff1d(told.key[self.chosen], np.array(short, np.int64))
        for _ in range(ROUNDS):
            due, _, place = self._given(deadline)
            due, place = due[place >= 0], place[place >= 0]
            taken = self._taken(*(self._spared(due, place) if spare else (due, place)))
            wrong, earlier = judge(taken)
            left = np.intersect1d(left, wrong)
            if not len(left):
                break
            since = np.maximum(told.in_begin[self.lost[due]], self.begins[place]) + self.shift[due]
            more = Points(self.places.out[self.lost[due]], since, deadline[due])
            before, deadline = deadline, np.minimum(deadline, self._deadlines(points.with_(more)))
            self._hasten(deadline, earlier)
            if (before == deadline).all():
                break
        return left

    def _hasten(self, deadline: Ints, earlier: Mapping[int, int]) -> None:
        values = np.array(list(earlier), np.int64)
        times = np.array(list(earlier.values()), np.int64)
        np.minimum.at(deadline, np.searchsorted(self.lost, values), times)

    def _spared(self, due: Ints, place: Ints) -> tuple[Ints, Ints]:
        """These, and others that are taken by those who are left, key by key."""
        told = self.told
        rest = np.setdiff1d(np.arange(len(self.lost)), due)
        rest = rest[np.argsort(told.in_end[self.lost[rest]] + self.shift[rest])]
        free = np.setdiff1d(np.arange(len(self.begun)), place)
        begun = self.begun[free]
        nth = np.arange(len(rest)) - np.searchsorted(self.shift[rest], self.shift[rest])
        at = np.searchsorted(begun, self.shift[rest]) + nth
        fits = at < len(begun)
        fits[fits] = begun[at[fits]] <= self.shift[rest[fits]] + self.never
        return np.append(due, rest[fits]), np.append(place, free[at[fits]])

    def _taken(self, lost: Ints, place: Ints) -> Values:
        """The values, if these lost ones were taken by those in doubt at these places."""
        out_begin, taker = self.told.out_begin.copy(), self.told.taker.copy()
        values = self.lost[lost]
        out_begin[values], taker[values] = self.begins[place], 0
        return replace(self.told, out_begin=out_begin, taker=taker)

    def _evidence(self, lost: Ints) -> tuple[list[int], list[int]]:
        """What shows these deadlines: values that came out, and numbers of those that found
        nothing. None of it can be left out."""
        shown = np.flatnonzero(np.isin(self.points.least, self.deadline[lost]))
        values = self.lost[lost]
        inside = self.told.in_end[values] + self.shift[lost]
        binds = self.points.across[shown] > self.places.lost[values][:, None]
        binds &= self.points.along[shown] >= inside[:, None]
        kept, times = [], binds.sum(axis=1)
        for place, by in zip(shown.tolist(), binds.T, strict=True):
            if (times[by] > 1).all():
                times -= by
            else:
                kept.append(place)
        out = len(self.out)
        return [int(self.out[p]) for p in kept if p < out], [p - out for p in kept if p >= out]
