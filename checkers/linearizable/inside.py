"""While what was inside for certain: the spans of values, and whether they leave a moment free.

A value is inside for certain from the end of what put it in to the begin of what took it.
"""

from __future__ import annotations

import numpy as np

from checkers.linearizable.held import Values
from checkers.linearizable.values import Ints


class Line:
    """All keys of a history one behind the other, so that no key's spans touch another's."""

    def __init__(self, told: Values, never: int) -> None:
        self.codes = np.union1d(told.key, told.empty.key)
        self.stride = never + 3

    def shift(self, keys: Ints) -> Ints | int:
        """By how much positions of these keys are moved."""
        return np.searchsorted(self.codes, keys) * self.stride if len(self.codes) > 1 else 0


class Inside:
    """The spans of some values.

    Attributes:
        values: those that were inside for certain, by number, by the begins of their spans.
        since, until: from when and until when, on the line.
    """

    def __init__(self, told: Values, line: Line, values: Ints) -> None:
        self.told, self.line = told, line
        values = values[told.in_end[values] < told.out_begin[values]]
        since = told.in_end[values] + line.shift(told.key[values])
        order = np.argsort(since)
        self.values, self.since = values[order], since[order]
        self.until = told.out_begin[self.values] + line.shift(told.key[self.values])

    def false_empty(self) -> Ints:
        """Numbers of those that found nothing although something was inside all the while."""
        since, empty = self.since, self.told.empty
        if not len(since) or not len(empty):
            return self.values[:0]
        latest = np.maximum.accumulate(self.until)
        opens = np.flatnonzero(np.append(True, since[1:] > latest[:-1]))
        closes = latest[np.append(opens[1:], len(latest)) - 1]
        shift = self.line.shift(empty.key)
        at = np.searchsorted(since[opens], empty.begin + shift) - 1
        return np.flatnonzero((at >= 0) & (closes[at] > empty.end + shift))

    def through_empty(self, number: int) -> list[int]:
        """Few values that followed each other while this one found nothing."""
        empty = self.told.empty
        return self.through(
            int(empty.key[number]), int(empty.begin[number]), int(empty.end[number])
        )

    def through(self, key: int, at: int, end: int) -> list[int]:
        """Few values that were inside, each until after the next one was, from one position of a
        key's history through another."""
        shift = int(np.searchsorted(self.line.codes, key)) * self.line.stride
        at, end = at + shift, end + shift
        chain = []
        while at < end:
            begun = int(np.searchsorted(self.since, at))
            best = int(np.argmax(self.until[:begun]))
            chain.append(int(self.values[best]))
            assert self.until[best] > at, "the spans follow each other"
            at = int(self.until[best])
        return chain
