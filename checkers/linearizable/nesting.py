"""Whether values that lie in a stack can have lain on each other: spans, peeled from the outside.

A value lies in the stack for certain from the end of its push to the begin of its pop. Where no
value does, the stack may as well be empty, so that what comes before and after can be judged apart.
Where such spans follow each other without a gap, one value lies at the bottom all the while: one
whose push began before the first push ended, and whose pop ended after the last pop began. Any such
value will do, since all others can lie on it; without it the rest is judged in the same way. Where
there is none, there is no order.

Cost: n log² n at worst: a part that splits is searched from both ends, so that it costs as much as
the smaller half.
Source: the idea of values to peel of Abdulla, Atig, Jonsson et al., "Efficient Linearizability
Monitoring", PLDI 2025, and Lee & Mathur, "Efficient Decrease-and-Conquer Linearizability
Monitoring", 2024.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable.values import Ints

Blame = Callable[[list[int]], int]
"""Given a chain that has no order, which of its values to leave out; none if it is negative."""


def stuck(
    push_begin: Ints,
    push_end: Ints,
    pop_begin: Ints,
    pop_end: Ints,
    blame: Blame = lambda chain: -1,
) -> list[list[int]]:
    """Chains of values that have no order, one of each part of the history that has none.

    Every value is pushed before it is popped: its push may begin before its pop ends. With `blame`,
    a part goes on without a value of its chain.
    """
    # A value whose push and pop overlap can come and go in one moment, whatever lies below.
    there = np.flatnonzero(push_end < pop_begin)
    there = there[np.argsort(push_end[there])]
    if not len(there):
        return []
    since, until = push_end[there], np.maximum.accumulate(pop_begin[there])
    opens = np.flatnonzero(np.append(True, since[1:] > until[:-1]))
    closes = np.append(opens[1:], len(there))
    spans = _Spans(push_begin, push_end, pop_begin, pop_end)
    parts = [
        there[begin:end].tolist()
        for begin, end in zip(opens.tolist(), closes.tolist(), strict=True)
        if end - begin > 1  # one alone is always fine
    ]
    return [chain for part in parts for chain in spans.judged(part, blame)]


class _Part:
    """Values whose spans follow each other without a gap, or did before some were taken out."""

    def __init__(self, number: int, by_begin: list[int], head: int, tail: int) -> None:
        self.number = number
        self.by_begin, self.begun = by_begin, 0
        self.head, self.tail = head, tail
        self.low: list[tuple[int, int]] = []


class _Spans:
    def __init__(self, push_begin: Ints, push_end: Ints, pop_begin: Ints, pop_end: Ints) -> None:
        self.push_begin, self.push_end = _compact(push_begin), _compact(push_end)
        self.pop_begin, self.pop_end = _compact(pop_begin), _compact(pop_end)
        nowhere = np.full(len(push_begin), -1, np.int32)
        self.part_of = _compact(nowhere)
        # The values of a part in the order of the ends of their pushes, and of their pops' begins.
        self.up, self.down = _compact(nowhere), _compact(nowhere)
        self.after, self.before = _compact(nowhere), _compact(nowhere)
        self.parts = 0

    def judged(self, values: list[int], blame: Blame) -> Iterable[list[int]]:
        """Of each part that cannot be peeled, a chain that shows it."""
        waiting = [self._part(values)]
        while waiting:
            part = waiting.pop()
            while True:
                self._peel(part)
                if part.head < 0:
                    break
                smaller = self._split(part)
                if smaller is None:
                    chain = self._chain(part)
                    left_out = blame(chain)
                    if left_out < 0:
                        yield chain
                        break
                    self._take_out(part, left_out)
                elif len(smaller) > 1:
                    waiting.append(self._part(smaller))

    def _part(self, values: list[int]) -> _Part:
        self.parts += 1
        first = sorted(values, key=self.push_end.__getitem__)
        last = sorted(values, key=self.pop_begin.__getitem__)
        for order, forth, back in ((first, self.up, self.down), (last, self.after, self.before)):
            for one, other in zip([-1, *order], [*order, -1], strict=True):
                if one >= 0:
                    forth[one] = other
                if other >= 0:
                    back[other] = one
        for value in values:
            self.part_of[value] = self.parts
        by_begin = sorted(values, key=self.push_begin.__getitem__)
        return _Part(self.parts, by_begin, first[0], last[-1])

    def _peel(self, part: _Part) -> None:
        """Take out all that can lie at the bottom."""
        low, part_of = part.low, self.part_of
        while part.head >= 0:
            since, until = self.push_end[part.head], self.pop_begin[part.tail]
            while part.begun < len(part.by_begin):
                value = part.by_begin[part.begun]
                if self.push_begin[value] >= since:
                    break
                part.begun += 1
                if part_of[value] == part.number:
                    heapq.heappush(low, (-self.pop_end[value], value))
            while low and part_of[low[0][1]] != part.number:
                heapq.heappop(low)
            if not low or -low[0][0] <= until:
                return
            self._take_out(part, heapq.heappop(low)[1])

    def _take_out(self, part: _Part, value: int) -> None:
        self.part_of[value] = -1
        up, down = self.up[value], self.down[value]
        after, before = self.after[value], self.before[value]
        if up >= 0:
            self.down[up] = down
        if down >= 0:
            self.up[down] = up
        else:
            part.head = up
        if before >= 0:
            self.after[before] = after
        if after >= 0:
            self.before[after] = before
        else:
            part.tail = before

    def _split(self, part: _Part) -> list[int] | None:
        """The smaller side of a gap, taken out of the part; None if there is no gap."""
        push_end, pop_begin = self.push_end, self.pop_begin
        left, right = [part.head], [part.tail]
        until, since = pop_begin[part.head], push_end[part.tail]
        while True:
            value, other = self.up[left[-1]], self.before[right[-1]]
            if value < 0 or other < 0:
                return None
            if push_end[value] > until:
                return self._without(part, left)
            if pop_begin[other] < since:
                return self._without(part, right)
            left.append(value)
            right.append(other)
            until, since = max(until, pop_begin[value]), min(since, push_end[other])

    def _without(self, part: _Part, values: list[int]) -> list[int]:
        for value in values:
            self._take_out(part, value)
        return values

    def _chain(self, part: _Part) -> list[int]:
        """Few values of the part whose spans follow each other from its begin to its end."""
        chain: list[int] = []
        value, at, end = part.head, self.push_end[part.head], self.pop_begin[part.tail]
        best = value
        while at < end:
            while value >= 0 and self.push_end[value] <= at:
                if self.pop_begin[value] > self.pop_begin[best]:
                    best = value
                value = self.up[value]
            chain.append(best)
            at = self.pop_begin[best]
        return self._shortest(chain)

    def _shortest(self, chain: Sequence[int]) -> list[int]:
        """The part of a chain that has no order, and has one without its first or last value."""
        kept = list(chain)
        while len(kept) > 2 and self._is_stuck(kept[1:]):
            kept = kept[1:]
        while len(kept) > 2 and self._is_stuck(kept[:-1]):
            kept = kept[:-1]
        return kept

    def _is_stuck(self, values: Sequence[int]) -> bool:
        begin, end, pop_begin, pop_end = (
            np.array([times[value] for value in values], np.int64)
            for times in (self.push_begin, self.push_end, self.pop_begin, self.pop_end)
        )
        return bool(stuck(begin, end, pop_begin, pop_end))


def _compact(numbers: NDArray[np.signedinteger[Any]]) -> array[int]:
    """Python reads it faster than NumPy's, and it is a fifth of a list."""
    return array("i" if numbers.dtype == np.int32 else "q", numbers.tobytes())
