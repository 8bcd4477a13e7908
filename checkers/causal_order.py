"""The causal order of reads and writes: what each of them may have come from.

An operation comes before the next of its session, a write before whoever read it, and an operation
at a `position` before the one that is said to follow it by a `link` (Jepsen's causal tests); and so
on from there. A write in doubt comes after what its session had done, and before nothing else of
it: it may have taken effect at any later time.

What comes before an operation is told by counting: the writes of a session are a chain, and of each
chain a first part comes before. So all of it is a table, a row an operation and a column a chain.

Cost: the table, two bytes a cell as a rule; 1,000,000 operations of 100 sessions take 5 s, 200 MB.
Source: L. Lamport, "Time, Clocks" (1978); vector clocks of Fidge and Mattern (1988).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.accesses import NOBODY, Accesses
from checkers.cycles import Edges, components
from checkers.linearizable.values import Bools, Ints

SESSION, READ, LINKED, OTHER = range(4)
"""Why an operation comes before another: by session, by being read, by a link, or by more."""

CELLS_MAX = 1_500_000_000
"""Of the table; beyond it, a history is not judged."""

Way = list[tuple[int, int]]
"""(operation, why it comes before the next); the last one's why means nothing."""


@dataclass(frozen=True)
class Order:
    """The causal order, without what would close a circle.

    Attributes:
        preds: int64[n, 3]: who comes just before, by SESSION, READ and LINKED; -1 for nobody.
        circular: which reads have a value from a write that comes after them; they are left out.
        chain, rank: of a write, which chain it is in, and its place there, from 1.
    """

    accesses: Accesses
    preds: Ints
    circular: Bools
    chain: Ints
    rank: Ints
    chains: int

    @staticmethod
    def of(accesses: Accesses) -> Order:
        source = np.maximum(accesses.source, -1)
        preds = np.stack([accesses.before, source, _linked(accesses)], axis=1)
        circular = _circular(preds, accesses)
        chain, rank, chains = _chains(accesses)
        return Order(accesses, preds, circular, chain, rank, chains)

    @property
    def too_large(self) -> bool:
        return (len(self.accesses) + 1) * max(self.chains, 1) > CELLS_MAX

    @cached_property
    def source(self) -> Ints:
        """Of each read, whose value it has, as in `Accesses`; NOBODY where that makes a circle."""
        return np.where(self.circular, NOBODY, self.accesses.source)

    @cached_property
    def past(self) -> NDArray[Any]:
        """[n + 1, chains]: how many writes of each chain come before, itself included. The last
        row is of nobody."""
        size = len(self.accesses)
        dtype = np.uint16 if self.rank.max(initial=0) < 2**16 else np.int32
        past = np.zeros((size + 1, self.chains), dtype)
        preds, linked = self._acyclic, bool((self.preds[:, LINKED] >= 0).any())
        write = self.accesses.write
        for ops in _levels(preds):
            rows = np.maximum(past[preds[ops, SESSION]], past[preds[ops, READ]])
            if linked:
                rows = np.maximum(rows, past[preds[ops, LINKED]])
            past[ops] = rows
            writes = ops[write[ops]]
            past[writes, self.chain[writes]] = self.rank[writes]
        return past

    @cached_property
    def _acyclic(self) -> Ints:
        """`preds` without the reads that make circles, and the links between such."""
        preds = self.preds.copy()
        preds[self.circular, READ] = -1
        preds[self._in_circles, LINKED] = -1
        return preds

    @cached_property
    def _in_circles(self) -> Bools:
        return _in_circles(self.preds)

    def before(self, one: Any, other: Any) -> Any:
        """Whether a write comes before (or is) another operation. Of columns, or of numbers."""
        return self.past[other, self.chain[one]] >= self.rank[one]

    def way(
        self,
        one: int,
        other: int,
        more: Mapping[int, Sequence[int]] | None = None,
        circles: bool = False,
    ) -> Way | None:
        """How one operation comes before another, by as few reads as possible.

        Args:
            more: operations that come just before others, besides, by those others.
            circles: whether to go by reads that make circles, too.
        """
        preds = self.preds if circles else self._acyclic
        came: dict[int, tuple[int, int]] = {other: (-1, -1)}
        far = {other: 0}
        queue, done = deque([other]), set[int]()
        while queue:
            node = queue.popleft()
            if node == one:
                return _shortened(came, one)
            if node in done:
                continue
            done.add(node)
            nearest = [(int(pred), why) for why, pred in enumerate(preds[node].tolist())]
            nearest += [(pred, OTHER) for pred in (more or {}).get(node, ())]
            for pred, why in nearest:
                length = far[node] + (why != SESSION)
                if pred >= 0 and length < far.get(pred, 2**62):
                    far[pred], came[pred] = length, (node, why)
                    (queue.appendleft if why == SESSION else queue.append)(pred)
        return None

    def circle(self, read: int) -> Way:
        """How a read that makes a circle comes before the write that it has its value from."""
        way = self.way(read, int(self.accesses.source[read]), circles=True)
        assert way is not None, "it makes a circle"
        return way


def _shortened(came: Mapping[int, tuple[int, int]], one: int) -> Way:
    """The way, without what stands between two operations of a session."""
    way: Way = []
    node = one
    while node >= 0:
        after, why = came[node]
        if not way or way[-1][1] != SESSION or why != SESSION:
            way.append((node, why))
        node = after
    return way


def _in_circles(preds: Ints) -> Bools:
    """Which operations come before themselves."""
    size = len(preds)
    target, why = np.nonzero(preds >= 0)
    edges = Edges.of(preds[target, why], target, 0)
    found = np.zeros(size, np.bool_)
    if size:
        inside = components(edges, size)[1]
        found[edges.source[inside]] = True
    return found


def _circular(preds: Ints, accesses: Accesses) -> Bools:
    """Which reads have their value from a write that comes after them."""
    size = len(preds)
    if not size:
        return np.zeros(0, np.bool_)
    target, why = np.nonzero(preds >= 0)
    edges = Edges.of(preds[target, why], target, 0)
    labels = components(edges, size)[0]
    source = accesses.source
    circular: Bools = (source >= 0) & (labels[np.maximum(source, 0)] == labels)
    return circular


def _chains(accesses: Accesses) -> tuple[Ints, Ints, int]:
    """The writes of a session are a chain, in order; and each one in doubt is one alone."""
    write, sure = accesses.write, accesses.sure
    chained = np.flatnonzero(write & sure)
    alone = np.flatnonzero(write & ~sure)
    chain, rank = np.full(len(write), -1, np.int64), np.zeros(len(write), np.int64)
    process = accesses.process[chained]
    first = np.append(True, process[1:] != process[:-1])[: len(process)]
    number = np.cumsum(first) - 1
    begins = np.flatnonzero(first)
    chain[chained] = number
    rank[chained] = np.arange(len(chained)) - begins[number] + 1
    chain[alone] = len(begins) + np.arange(len(alone))
    rank[alone] = 1
    return chain, rank, len(begins) + len(alone)


def _levels(preds: Ints) -> list[Ints]:
    """The operations, level by level, each above all that come just before it."""
    size = len(preds)
    target, why = np.nonzero(preds >= 0)
    source = preds[target, why]
    order = np.argsort(source, kind="stable")
    after = target[order].tolist()
    start = np.searchsorted(source[order], np.arange(size + 1)).tolist()
    waits = np.bincount(target, minlength=size).tolist()
    level = [0] * size
    ready = [node for node in range(size) if not waits[node]]
    for node in ready:
        above = level[node] + 1
        for at in range(start[node], start[node + 1]):
            other = after[at]
            waits[other] -= 1
            if level[other] < above:
                level[other] = above
            if not waits[other]:
                ready.append(other)
    assert len(ready) == size, "circles were cut"
    levels = np.array(level, np.int64)
    by_level = np.argsort(levels, kind="stable")
    ends = np.cumsum(np.bincount(levels)) if size else levels
    return np.split(by_level, ends[:-1]) if size else []


def _linked(accesses: Accesses) -> Ints:
    """Of each operation, the one at the position that its link tells, or -1."""
    linked = np.full(len(accesses), -1, np.int64)
    if b'"link"' not in accesses.history.extras.data.tobytes():
        return linked
    at: dict[tuple[int, str], int] = {}
    keys = accesses.key.tolist()
    for row, key in enumerate(keys):
        position = told_of(accesses, row).get("position")
        if position is not None:
            at[key, repr(position)] = row
    for row, key in enumerate(keys):
        link = told_of(accesses, row).get("link")
        before = -1 if link in (None, "init") else at.get((key, repr(link)), -1)
        linked[row] = before if before != row else -1
    return linked


def told_of(accesses: Accesses, row: int) -> Mapping[str, Any]:
    """What an operation's events tell besides: `link` and `position` of Jepsen's causal tests."""
    history = accesses.history
    told: dict[str, Any] = {}
    for at in (int(accesses.begin[row]), int(accesses.end[row])):
        if at < len(history) and history.extra[at] >= 0:
            told |= history[at].extra or {}
    return told
