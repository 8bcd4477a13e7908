"""Which writes of its key a read knows of: of each chain the last one.

Cost: reads times the chains that write their key, in steps of bounded memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from checkers.accesses import INITIAL
from checkers.causal_order import Order
from checkers.linearizable.values import Ints

PAIRS_MAX = 4_000_000
"""Pairs of a read and a chain that are looked at together."""

Pairs = tuple[Ints, Ints]
"""(reads, writes), row by row of `Accesses`."""


@dataclass(frozen=True)
class Knowns:
    """The writes, by key, chain and rank."""

    order: Order

    @cached_property
    def of_initial(self) -> Pairs:
        """Reads of the initial value, and the writes of their keys that they know."""
        reads = np.flatnonzero(~self.order.accesses.write & (self.order.source == INITIAL))
        return self.known(reads, self.order.past[reads])

    @cached_property
    def of_others(self) -> Pairs:
        """Reads of a written value, and the other writes of their keys that they know, of each
        chain the last."""
        reads = np.flatnonzero(self.order.source >= 0)
        reads, writes = self.known(reads, self.order.past[reads])
        kept = writes != self.order.source[reads]
        return reads[kept], writes[kept]

    def known(self, reads: Ints, past: Any) -> Pairs:
        """Of each read and each chain, the last write of its key within a past, if there is one.

        Args:
            past: [reads, chains]: how many writes of each chain are in it.
        """
        first, count = self._groups_of(reads)
        ends = np.cumsum(count)
        found_reads, found_writes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        begin = 0
        while begin < len(reads):
            done = int(ends[begin - 1]) if begin else 0
            end = max(int(np.searchsorted(ends, done + PAIRS_MAX, "right")), begin + 1)
            rows = np.repeat(np.arange(begin, end), count[begin:end])
            inner = np.arange(len(rows)) - np.repeat(
                ends[begin:end] - count[begin:end] - done, count[begin:end]
            )
            group = first[rows] + inner
            at = np.searchsorted(
                self._places, self._place(group, past[rows, self._chain[group]]), "right"
            )
            there = at > self._start[group]
            found_reads.append(reads[rows[there]])
            found_writes.append(self._writes[at[there] - 1])
            begin = end
        return np.concatenate(found_reads), np.concatenate(found_writes)

    def _groups_of(self, reads: Ints) -> tuple[Ints, Ints]:
        """Of each read, the first group of its key, and how many there are."""
        key = self.order.accesses.key[reads]
        first = np.searchsorted(self._key, key, "left")
        return first, np.searchsorted(self._key, key, "right") - first

    # -- groups: the writes of a key in a chain ----------------------------------------------------

    @cached_property
    def _writes(self) -> Ints:
        order = self.order
        writes = np.flatnonzero(order.accesses.write)
        by = np.lexsort((order.rank[writes], order.chain[writes], order.accesses.key[writes]))
        return writes[by]

    @cached_property
    def _start(self) -> Ints:
        """Where each group begins in `_writes`."""
        key, chain = self.order.accesses.key[self._writes], self.order.chain[self._writes]
        new = (key[1:] != key[:-1]) | (chain[1:] != chain[:-1])
        return np.flatnonzero(np.append(True, new)[: len(key)])

    @cached_property
    def _key(self) -> Ints:
        return self.order.accesses.key[self._writes[self._start]]

    @cached_property
    def _chain(self) -> Ints:
        return self.order.chain[self._writes[self._start]]

    @cached_property
    def _places(self) -> Ints:
        """Group and rank of each write, in one ascending number."""
        size = np.diff(np.append(self._start, len(self._writes)))
        group = np.repeat(np.arange(len(self._start)), size)
        return self._place(group, self.order.rank[self._writes])

    def _place(self, group: Ints, rank: Any) -> Ints:
        place: Ints = group * (int(self.order.rank.max(initial=0)) + 1) + rank.astype(np.int64)
        return place
