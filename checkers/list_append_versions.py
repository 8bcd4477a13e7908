"""The versions of lists that transactions append to, from what was read of them.

Values are unique, so a list tells all writes that led to it, in order. The longest list that
anybody read of a key is the order of its versions; every other read is a prefix of it, or the two
contradict each other. What was appended and is not in it comes after it.

Cost: linear in the elements that were read, about 30 ns each.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from checkers.cycles import RW, WR, WW, Edges, others_edges
from checkers.transactions import Bools, Ints, Rows, Transactions, ranked, wide
from harness.columns import LIST, NULL, VALUE
from harness.history import History
from harness.op import FAIL, OK

CHUNK = 1 << 18
"""Elements that are compared at once: what bounds the memory."""

PAIRS_MAX = 16
"""Unread appends of a key up to which each reader has an edge to each of them."""


class Versions:
    """What was read and appended, and what follows for the order of versions.

    Attributes:
        r_*: of each read of an OK transaction: its micro-operation, transaction, key, and where its
            list begins and how long it is.
        a_*: of each append: micro-operation, transaction, key and value.
        longest: int32[keys], the read with the longest list, or -1.
        prefix: of each read, whether it is a prefix of the longest of its key.
        base: int32[keys + 1]; a key's versions are base[key]:base[key + 1], in order.
        v_*: of each version: its key, the value, and the append that made it or -1.
        x_*: the elements of the reads that are no prefix: read, append or -1, place in the list.
        version: of each append, the version that it made, or -1.
        repeated: keys of which a value was appended twice.
        twice: versions that repeat an element of their key.
        usable: of each key, whether its order is one.
    """

    def __init__(self, history: History, index: Ints | None = None) -> None:
        self.t = t = Transactions.of(history)
        self.index = index
        micro = history.values.micro
        form = micro.mop_form[t.mop]
        self.elements = micro.entry_value
        is_read = (t.f == micro.code("r")) & (t.status[t.txn] == OK)
        nothing = np.zeros(len(form), np.bool_)
        single = np.flatnonzero(is_read & (form == VALUE))
        nothing[single] = self.elements[micro.entry_start[t.mop[single]]] == NULL
        self.unlike = single[~nothing[single]]
        reads = np.flatnonzero(is_read & ((form == LIST) | nothing)).astype(np.int32)
        self.r_mop, self.r_txn, self.r_key = reads, t.txn[reads], t.key[reads]
        self.r_start = micro.entry_start[t.mop[reads]]
        self.r_len = micro.entry_start[t.mop[reads] + 1] - self.r_start
        self.r_len[nothing[reads]] = 0
        is_append = (t.f == micro.code("append")) & (form == VALUE)
        appends = np.flatnonzero(is_append).astype(np.int32)
        self.a_mop, self.a_txn, self.a_key = appends, t.txn[appends], t.key[appends]
        self.a_value = self.elements[micro.entry_start[t.mop[appends]]]
        self._orders()
        self._join()

    # -- order of versions -----------------------------------------------------------------------

    def _orders(self) -> None:
        keys = len(self.t.keys)
        backwards = np.arange(len(self.r_mop))[::-1]
        length = self.r_len[backwards]
        small = length.astype(np.uint16) if length.max(initial=0) < 1 << 16 else length
        order = backwards[np.argsort(small, kind="stable")]
        self.longest = np.full(keys, -1, np.int32)
        self.longest[self.r_key[order]] = order
        self.prefix = np.ones(len(self.r_mop), np.bool_)
        self.prefix[self._differ()] = False
        there = self.longest >= 0
        count = np.zeros(keys, np.int32)
        count[there] = self.r_len[self.longest[there]]
        self.base = np.zeros(keys + 1, np.int32)
        np.cumsum(count, out=self.base[1:])

    def _differ(self) -> Ints:
        """The reads that are no prefix of the longest of their key."""
        reads = np.flatnonzero(
            (self.r_len > 0) & (self.longest[self.r_key] != np.arange(len(self.r_key)))
        )
        ends = np.cumsum(self.r_len[reads])
        found = []
        first = 0
        while first < len(reads):
            done = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + CHUNK)))
            some = reads[first:last]
            length, start = self.r_len[some], self.r_start[some]
            at = self.flat(some)
            other = at + np.repeat(self.r_start[self.longest[self.r_key[some]]] - start, length)
            bad = np.flatnonzero(self.elements[at] != self.elements[other])
            if len(bad):
                found.append(some[np.searchsorted(ends[first:last] - done, bad, side="right")])
            first = last
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def flat(self, reads: Ints) -> Rows:
        """Where the elements of some reads are, one list after the other."""
        length = self.r_len[reads]
        ends = np.cumsum(length)
        total = int(ends[-1]) if len(ends) else 0
        at = np.arange(total, dtype=np.int32)
        at += np.repeat((self.r_start[reads] - (ends - length)).astype(np.int32), length)
        return at

    def _join(self) -> None:
        """Which append made which version."""
        keys = len(self.t.keys)
        there = np.flatnonzero(self.longest >= 0).astype(np.int32)
        reads = self.longest[there]
        self.v_key = np.repeat(there, self.r_len[reads])
        self.v_value = self.elements[self.flat(reads)]
        odd = np.flatnonzero(~self.prefix)
        self.x_read = np.repeat(odd.astype(np.int32), self.r_len[odd])
        x_at = self.flat(odd)
        self.x_value = self.elements[x_at]
        self.x_place = x_at - self.r_start[self.x_read]
        values, rank = ranked(np.concatenate([self.a_value, self.v_value, self.x_value]))
        key = np.concatenate([self.a_key, self.v_key, self.r_key[self.x_read]])
        _, same = ranked(wide(key, len(values), rank))
        a, v, x = np.split(same, np.cumsum([len(self.a_value), len(self.v_value)]))
        size = int(same.max(initial=-1)) + 1
        made = np.full(size, -1, np.int32)
        made[a] = np.arange(len(a))
        self.v_append, self.x_append = made[v], made[x]
        place = np.full(size, -1, np.int32)
        backwards = np.arange(len(v))[::-1]
        place[v[backwards]] = backwards  # the first of a repeated element
        self.version = place[a]
        self.twice = np.flatnonzero(place[v] != np.arange(len(v)))
        self.x_element = x.copy()  # without the others
        self.repeated = np.unique(self.a_key[np.bincount(a, minlength=size)[a] > 1])
        self.usable = np.ones(keys, np.bool_)
        self.usable[self.repeated] = False
        self.usable[self.v_key[self.twice]] = False

    @cached_property
    def committed(self) -> Bools:
        """Of each transaction, whether it took place: it is OK, or somebody read what it wrote."""
        took: Bools = self.t.status == OK
        for append in (self.v_append, self.x_append):
            took[self.a_txn[append[append >= 0]]] = True
        took[self.t.status == FAIL] = False
        return took

    @cached_property
    def valid(self) -> Bools:
        """Of each version, whether a transaction that took place made it."""
        return (
            (self.v_append >= 0) & self.committed[self.a_txn[self.v_append]]
            if len(self.a_txn)
            else np.zeros(len(self.v_key), np.bool_)
        )

    @cached_property
    def writer(self) -> Rows:
        """The transaction that made each version; where it is not known, -1."""
        known = self.v_append >= 0
        writer = np.full(len(self.v_key), -1, np.int32)
        writer[known] = self.a_txn[self.v_append[known]]
        return writer

    @cached_property
    def last(self) -> Rows:
        """int32[versions]; the last version up to each that is valid, or -1; of any key."""
        at = np.where(self.valid, np.arange(len(self.valid), dtype=np.int32), np.int32(-1))
        return np.maximum.accumulate(at) if len(at) else at

    @cached_property
    def next(self) -> Rows:
        """int32[versions + 1]; the first valid version from each on, or their number; any key's."""
        size = len(self.valid)
        at = np.full(size + 1, size, np.int32)
        at[:-1][self.valid] = np.flatnonzero(self.valid)
        return np.minimum.accumulate(at[::-1])[::-1]

    @cached_property
    def plain(self) -> Rows:
        """The reads that say something of the order."""
        return np.flatnonzero(self.prefix & self.usable[self.r_key]).astype(np.int32)

    @cached_property
    def unread(self) -> dict[int, list[int]]:
        """By key that was read: transactions that took place and appended what nobody read."""
        key, txn = self._unread
        cuts = np.flatnonzero(key[1:] != key[:-1]) + 1
        groups = np.split(txn, cuts) if len(key) else []
        firsts = key[np.r_[0, cuts]].tolist() if len(key) else []
        return {first: group.tolist() for first, group in zip(firsts, groups, strict=True)}

    @cached_property
    def _unread(self) -> tuple[Ints, Ints]:
        """(key, transaction), by key, each once."""
        of = (self.version < 0) & self.committed[self.a_txn]
        of &= self.usable[self.a_key] & (self.longest[self.a_key] >= 0)
        key, txn = self.a_key[of], self.a_txn[of]
        pair = np.unique(wide(key, len(self.t) + 1, txn))
        return pair // (len(self.t) + 1), pair % (len(self.t) + 1)

    # -- edges -----------------------------------------------------------------------------------

    @cached_property
    def edges(self) -> tuple[Edges, int]:
        """ww, wr and rw, and the first number that is no node."""
        parts = [self._ww()]
        reads = self.plain
        key, txn = self.r_key[reads], self.r_txn[reads]
        base, seen = self.base[key], self.base[key] + self.r_len[reads]
        if len(self.v_key):
            some = self.r_len[reads] > 0
            last = self.last[seen[some] - 1]
            known = last >= base[some]
            parts.append(_between(self.writer[last[known]], txn[some][known], WR))
        after = self.next[seen]
        follows = after < self.base[key + 1]
        parts.append(_between(txn[follows], self.writer[after[follows]], RW))
        tails, free = self._tails(key[~follows], txn[~follows])
        return Edges.joined([*parts, *tails]), free

    def _ww(self) -> Edges:
        at = np.flatnonzero(self.valid & self.usable[self.v_key])
        same = self.v_key[at[1:]] == self.v_key[at[:-1]]
        return _between(self.writer[at[:-1][same]], self.writer[at[1:][same]], WW)

    def _tails(self, r_key: Ints, r_txn: Ints) -> tuple[list[Edges], int]:
        """From who read or wrote the last version that was read to who appended more."""
        key, txn = self._unread
        keys = len(self.t.keys)
        count = np.bincount(key, minlength=keys)
        first = np.cumsum(count) - count
        ends = self.base[1:] - 1
        wrote = np.flatnonzero((count > 0) & (ends >= self.base[:-1]))
        wrote = wrote[self.last[ends[wrote]] >= self.base[wrote]]
        w_txn = self.writer[self.last[ends[wrote]]]
        s_key = np.concatenate([wrote, r_key])
        s_txn = np.concatenate([w_txn, r_txn])
        s_kind = np.concatenate([np.full(len(wrote), WW), np.full(len(r_key), RW)]).astype(np.int8)
        few = (count[s_key] > 0) & (count[s_key] <= PAIRS_MAX)
        times = count[s_key[few]]
        at = np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)
        target = txn[at + np.repeat(first[s_key[few]], times)]
        source, kind = np.repeat(s_txn[few], times), np.repeat(s_kind[few], times)
        other = source != target
        parts = [Edges(source[other].astype(np.int32), target[other].astype(np.int32), kind[other])]
        free = len(self.t)
        for one in np.unique(s_key[count[s_key] > PAIRS_MAX]).tolist():
            at = np.flatnonzero(s_key == one)
            sources = list(dict.fromkeys(zip(s_txn[at].tolist(), s_kind[at].tolist(), strict=True)))
            more, free = others_edges(sources, self.unread[one], free)
            parts.append(more)
        return parts, free

    # -- for words -------------------------------------------------------------------------------

    def list_of(self, read: int, most: int | None = None) -> Ints:
        """The elements of a read, or the first of them."""
        start = int(self.r_start[read])
        length = int(self.r_len[read])
        return self.elements[start : start + (length if most is None else min(length, most))]

    def reads_of(self, txn: int) -> Iterator[int]:
        """The transaction's reads."""
        low, high = np.searchsorted(self.r_txn, (txn, txn + 1)).tolist()
        yield from range(low, high)

    def appends_of(self, txn: int) -> Iterator[int]:
        """The transaction's appends."""
        low, high = np.searchsorted(self.a_txn, (txn, txn + 1)).tolist()
        yield from range(low, high)

    def shortest_with(self, version: int) -> int:
        """The shortest plain read that has the version."""
        key = int(self.v_key[version])
        place = version - int(self.base[key])
        reads = np.flatnonzero((self.r_key == key) & self.prefix & (self.r_len > place))
        return int(reads[np.argmin(self.r_len[reads])])


def _between(source: Ints, target: Ints, kind: int) -> Edges:
    """Edges from each to each, where they differ."""
    other = source != target
    return Edges.of(source[other], target[other], kind)
