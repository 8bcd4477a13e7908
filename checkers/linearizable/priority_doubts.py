"""What deletes in doubt can have taken from priority queues.

Each can have taken one value that never came out, at any time after its begin. They have no end, so
that it does not matter which of them took which, but only how many had begun by then.

A value that never came out was taken before some *deadline* if something had its effect later that
cannot have been while the value was inside: a greater one came out that was not to be had before
the value was inside, or a delete found nothing. Where at some time more deadlines are over than
deletes in doubt had begun, there is no order: that is certain. Else each deadline, the first one
first, is given a delete in doubt, the first one first; the same holds of what these take, so that
there may be more deadlines then. If the queue is legal with these deletes at last, it is legal. If
it is not, nobody knows: another assignment may do, which the search has to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from checkers.linearizable.cover import Ranks
from checkers.linearizable.dominance import Points, least_beyond
from checkers.linearizable.held import Values
from checkers.linearizable.inside import Line
from checkers.linearizable.priorities import Judged
from checkers.linearizable.values import Bools, Ints, Ops

ROUNDS = 6
"""How often what was taken may bring further deadlines."""


@dataclass(frozen=True, slots=True)
class Short:
    """Too few can have taken what was lost of a key.

    Attributes:
        values: what had to be taken, by number. begins: of all that can have taken it by then.
        out: values of which the deletes show it. empty: numbers of deletes that found nothing and
            do.
    """

    values: list[int]
    begins: list[int]
    out: list[int]
    empty: list[int]


class Doubts:
    """Deadlines of the values that never came out, and who can have met them.

    Attributes:
        lost: these values, by number. deadline: of each, on the line; beyond its key's part of the
            line if there is none.
        out: the values that came out.
        short: keys of which more had to be taken than can have been.
        open: codes of the keys that are neither short nor known to be legal.
    """

    def __init__(self, told: Values, rank: Ranks, never: int, chosen: Bools, doubtful: Ops) -> None:
        self.told, self.rank, self.never, self.chosen = told, rank, never, chosen
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
        self.open = self._open()

    def _points(self) -> Points:
        """Whatever had its effect: what rank it had, when at the earliest, and at the latest."""
        told, empty, line = self.told, self.told.empty, self.line
        shift, nothing = line.shift(told.key[self.out]), line.shift(empty.key)
        begin = np.maximum(told.in_begin, told.out_begin)[self.out]
        greatest = np.full(len(empty), len(self.rank), np.int64)
        return Points(
            np.append(self.rank[self.out], greatest),
            np.append(begin + shift, empty.begin + nothing),
            np.append(told.out_end[self.out] + shift, empty.end + nothing),
        )

    def _deadlines(self, points: Points) -> Ints:
        inside = self.told.in_end[self.lost] + self.shift
        return least_beyond(points, self.rank[self.lost].astype(np.int64), inside)

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

    def _open(self) -> Ints:
        told, points, deadline = self.told, self.points, self.deadline
        short = [told.key[lost.values[0]] for lost in self.short]
        left = np.setdiff1d(told.key[self.chosen], np.array(short, np.int64))
        for _ in range(ROUNDS):
            due, _, place = self._given(deadline)
            due, place = due[place >= 0], place[place >= 0]
            values, begins = self.lost[due], self.begins[place]
            left = np.intersect1d(left, self._taken(values, begins).wrong_keys())
            if not len(left):
                break
            since = np.maximum(told.in_begin[values], begins) + self.shift[due]
            more = Points(self.rank[values].astype(np.int64), since, deadline[due])
            before, deadline = deadline, self._deadlines(points.with_(more))
            if (before == deadline).all():
                break
        return left

    def _taken(self, values: Ints, begins: Ints) -> Judged:
        """The queues, if these values were taken by deletes that began there and have no end."""
        out_begin, taker = self.told.out_begin.copy(), self.told.taker.copy()
        out_begin[values], taker[values] = begins, 0
        told = replace(self.told, out_begin=out_begin, taker=taker)
        return Judged(told, self.rank, self.never, self.chosen)

    def _evidence(self, lost: Ints) -> tuple[list[int], list[int]]:
        """What shows these deadlines: values whose deletes do, and numbers of deletes that found
        nothing. None of it can be left out."""
        shown = np.flatnonzero(np.isin(self.points.least, self.deadline[lost]))
        values = self.lost[lost]
        inside = self.told.in_end[values] + self.shift[lost]
        binds = self.points.across[shown] > self.rank[values][:, None]
        binds &= self.points.along[shown] >= inside[:, None]
        kept, times = [], binds.sum(axis=1)
        for place, by in zip(shown.tolist(), binds.T, strict=True):
            if (times[by] > 1).all():
                times -= by
            else:
                kept.append(place)
        out = len(self.out)
        return [int(self.out[p]) for p in kept if p < out], [p - out for p in kept if p >= out]
