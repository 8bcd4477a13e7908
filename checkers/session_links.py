"""Which writes of other sessions a session has read, at each of its operations.

Cost: a sort of the reads; a binary search for what is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from checkers.linearizable.values import Bools, Ints

STEP = 1_000_000
"""Pairs that are looked at together."""


@dataclass(frozen=True)
class Links:
    """Reads of other sessions' writes. Sessions ascend with the rows of their operations.

    Attributes:
        session: of each row.
        reads: which rows are reads of somebody's write; version: of each read, the row of that.
    """

    session: Ints
    reads: Bools
    version: Ints

    @cached_property
    def _sorted(self) -> tuple[Ints, Ints, Ints]:
        """Reader, writer and read of each link, by reader, writer and time."""
        read = np.flatnonzero(self.reads)
        writer = self.session[self.version[read]]
        read, writer = (one[writer != self.session[read]] for one in (read, writer))
        order = np.lexsort((read, writer, self.session[read]))
        read = read[order]
        return self.session[read], writer[order], read

    @cached_property
    def _starts(self) -> Ints:
        """Where the links of each pair of sessions begin."""
        reader, writer, _ = self._sorted
        return np.flatnonzero(
            (np.diff(reader, prepend=-1) != 0) | (np.diff(writer, prepend=-1) != 0)
        )

    @cached_property
    def _pairs(self) -> Ints:
        """The number of each pair of sessions, ascending."""
        reader, writer, _ = self._sorted
        return reader[self._starts] * self._sessions + writer[self._starts]

    @property
    def _sessions(self) -> int:
        return int(self.session[-1]) + 1

    @cached_property
    def _latest(self) -> Ints:
        """The last write of the pair that had been read by each link."""
        _, _, read = self._sorted
        group, size = self._group, len(self.session)
        latest: Ints = np.maximum.accumulate(self.version[read] + group * size) - group * size
        return latest

    @cached_property
    def _group(self) -> Ints:
        counts = np.diff(np.append(self._starts, len(self._sorted[0])))
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def _places(self) -> Ints:
        return self._place(self._group, self._sorted[2])

    def _place(self, pair: Ints, row: Ints) -> Ints:
        place: Ints = pair * len(self.session) + row
        return place

    def pairs_of(self, rows: Ints) -> tuple[Ints, Ints]:
        """Of each row, the first pair of which its session is the reader, and how many."""
        reader = self.session[rows] * self._sessions
        first, last = np.searchsorted(self._pairs, (reader, reader + self._sessions))
        return first, last - first

    def pair(self, rows: Ints, writer: Ints) -> Ints:
        """The pair of each row's session and a writer, or -1."""
        wanted = self.session[rows] * self._sessions + writer
        if not len(self._pairs):
            return np.full(len(rows), -1, np.int64)
        at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
        return np.where(self._pairs[at] == wanted, at, -1)

    def known(self, rows: Ints, pair: Ints) -> Ints:
        """The last write of a pair that had been read before each row, or -1."""
        if not len(self._places):
            return np.full(len(rows), -1, np.int64)
        at = np.searchsorted(self._places, self._place(pair, rows)) - 1
        there = (pair >= 0) & (at >= 0) & (self._group[np.maximum(at, 0)] == pair)
        return np.where(there, self._latest[at], -1)


@dataclass(frozen=True)
class Lists:
    """Rows by what they belong to; what that is, is dense."""

    start: Ints
    rows: Ints

    @staticmethod
    def of(owner: Ints, rows: Ints, size: int) -> Lists:
        order = np.argsort(owner, kind="stable")
        start = np.searchsorted(owner[order], np.arange(size + 1))
        return Lists(start, rows[order])

    def least(self, told: Ints, none: int) -> Ints:
        """The least of what is told of the rows of each, or `none`."""
        least = np.full(len(self.start) - 1, none, np.int64)
        owner = np.repeat(np.arange(len(least)), np.diff(self.start))
        np.minimum.at(least, owner, told[self.rows])
        return least


def expanded(first: Ints, count: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Each of some runs with each of its members, in steps of bounded memory."""
    ends = np.cumsum(count)
    begin = 0
    while begin < len(first):
        done = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, done + STEP, "right")), begin + 1)
        which = np.repeat(np.arange(begin, end), count[begin:end])
        inner = (
            np.arange(len(which))
            + done
            - np.repeat(ends[begin:end] - count[begin:end], count[begin:end])
        )
        yield which, first[which] + inner
        begin = end


def firsts(ascending: Ints) -> Ints:
    """Where a column, ascending in groups, has another number than before."""
    return np.flatnonzero(np.diff(ascending, prepend=-1))
