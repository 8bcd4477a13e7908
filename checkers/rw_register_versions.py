"""The versions of registers that transactions write, and what is known of their order.

Values are unique, so a read tells who wrote what it returned, and nothing else: the order of two
versions follows from who touched both, or from what is promised of single keys.

    initial        null comes before everything
    own            a transaction's writes of a key follow each other
    wfr            what a transaction writes follows what it had read of the key
    sequential     one process meets the versions of a key in their order
    linearizable   all processes do, in real time
    told           the database says of each transaction when it took place

Versions are numbered: the null of key k is k; the others follow. Of a version that two rules would
put before each other nothing is used but who read it: its key is *cyclic*.

Cost: linear; `linearizable` needs Python for each version.
"""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from checkers.cycles import RW, WR, WW, Edges, components, others_edges
from checkers.transactions import Bools, Ints, Rows, Transactions, ranked, wide
from harness.columns import NULL, VALUE
from harness.history import History
from harness.op import FAIL, INFO, OK

INITIAL, OWN, WFR, SEQUENTIAL, LINEARIZABLE, TOLD = range(6)

PAIRS_MAX = 4096
"""Edges from who read a null, above which they go by way of other nodes."""


class Registers:
    """What was read and written, and what follows for the order of versions.

    Attributes:
        r_*: of each read of an OK transaction: micro-operation, transaction, key and version.
        w_*: of each write: micro-operation, transaction, key and version.
        outer: of each read, whether it is the first that its transaction does with the key.
        final: of each write, whether its transaction does not write the key again.
        wrote: of each version, the write that made it, or -1.
        repeated: keys of which a value was written twice.
        v_key, v_value: of each version.
        order: edges between versions, their kind being the rule.
        cyclic: keys whose order contradicts itself.
        by: the name of the number that transactions are told to have taken place by, if there is
            one: of two that wrote a key, the one with the lesser number wrote first.
    """

    def __init__(
        self,
        history: History,
        index: Ints | None = None,
        rules: frozenset[int] = frozenset({WFR}),
        by: str | None = None,
    ) -> None:
        self.t = t = Transactions.of(history)
        self.index, self.rules, self.by = index, rules, by
        micro = history.values.micro
        form = micro.mop_form[t.mop]
        is_read = (t.f == micro.code("r")) & (t.status[t.txn] == OK)
        self.unlike = np.flatnonzero(is_read & (form != VALUE))
        read = np.flatnonzero(is_read & (form == VALUE)).astype(np.int32)
        is_write = (t.f == micro.code("w")) & (form == VALUE)
        write = np.flatnonzero(is_write).astype(np.int32)
        self.r_mop, self.r_txn, self.r_key = read, t.txn[read], t.key[read]
        self.w_mop, self.w_txn, self.w_key = write, t.txn[write], t.key[write]
        start = micro.entry_start[t.mop[np.concatenate([read, write])]]
        self._number(micro.entry_value[start])
        self.outer = t.before[read] < 0
        self.later = self._later()
        self.final = ~self.later[write]

    def _number(self, value: NDArray[np.int64]) -> None:
        """The versions, given what was read and written."""
        keys, reads = len(self.t.keys), len(self.r_mop)
        key = np.concatenate([self.r_key, self.w_key])
        null = value == NULL
        null[reads:] = False
        at = np.flatnonzero(~null).astype(np.int32)
        values, rank = ranked(value[at])
        pairs = wide(key[at], len(values), rank)
        del values, rank
        distinct, same = ranked(pairs)
        del pairs
        version = key.copy()
        version[at] = same + np.int32(keys)
        self.r_version, self.w_version = version[:reads], version[reads:]
        self.versions = keys + len(distinct)
        self.v_key = np.arange(self.versions, dtype=np.int32)
        self.v_key[version] = key
        self.v_value = np.full(self.versions, NULL, np.int64)
        self.v_value[version[at]] = value[at]
        self.wrote = np.full(self.versions, -1, np.int32)
        self.wrote[self.w_version] = np.arange(len(self.w_version))
        twice = np.bincount(self.w_version, minlength=self.versions)[self.w_version] > 1
        self.repeated = np.unique(self.w_key[twice])
        self.usable = np.ones(keys, np.bool_)
        self.usable[self.repeated] = False

    def _later(self) -> Bools:
        """Of each micro-operation, whether its transaction writes its key after it."""
        later = np.zeros(len(self.t.mop), np.bool_)
        cur = self.t.before[self.w_mop]
        cur = cur[cur >= 0]
        while len(cur):
            later[cur] = True
            cur = self.t.before[cur]
            cur = cur[cur >= 0]
        return later

    # -- who took place --------------------------------------------------------------------------

    @cached_property
    def committed(self) -> Bools:
        """Of each transaction, whether it took place: it is OK, or somebody read what it wrote."""
        took: Bools = self.t.status == OK
        write = self.wrote[self.r_version]
        took[self.w_txn[write[write >= 0]]] = True
        took[self.t.status == FAIL] = False
        return took

    @cached_property
    def writer(self) -> Rows:
        """Of each version, the transaction that took place and wrote it, or -1."""
        known = self.wrote >= 0
        writer = np.full(self.versions, -1, np.int32)
        writer[known] = self.w_txn[self.wrote[known]]
        writer[known & ~self.committed[writer]] = -1
        return writer

    @cached_property
    def valid(self) -> Bools:
        """Of each version, whether it has a place in the order."""
        valid = (self.writer >= 0) & self.usable[self.v_key]
        valid[: len(self.t.keys)] = self.usable
        return valid

    # -- order of versions -----------------------------------------------------------------------

    @cached_property
    def order(self) -> Edges:
        """Without those of cyclic keys, and without most that follow from others."""
        edges = self.ruled
        if len(self.cyclic):
            edges = edges.take(~np.isin(self.v_key[edges.source], self.cyclic))
        return edges

    @cached_property
    def cyclic(self) -> Ints:
        edges = self.ruled
        _, within = components(edges, self.versions)
        return np.unique(self.v_key[edges.source[within]])

    @cached_property
    def ruled(self) -> Edges:
        parts = [self._within()]
        if SEQUENTIAL in self.rules:
            parts.append(self._sequential())
        if LINEARIZABLE in self.rules:
            parts.append(self._linearizable())
        if self.by is not None:
            parts.append(self._told())
        edges = Edges.joined(parts)
        good = self.valid[edges.source] & self.valid[edges.target] & (edges.source != edges.target)
        edges = edges.take(good)
        return Edges.joined([edges, self._initial(edges)])

    def _within(self) -> Edges:
        """From what a transaction read or wrote to what it wrote next."""
        version = self.version_of_mop
        before = self.t.before[self.w_mop]
        while True:  # what it read after its own write says nothing
            inner = np.flatnonzero(before >= 0)
            inner = inner[self._inner[before[inner]]]
            if not len(inner):
                break
            before[inner] = self.t.before[before[inner]]
        at = np.flatnonzero((before >= 0) & self.committed[self.w_txn])
        at = at[version[before[at]] >= 0]
        own = self._is_write[before[at]]
        kind = np.where(own, OWN, WFR).astype(np.int8)
        edges = Edges(version[before[at]], self.w_version[at], kind)
        return edges if WFR in self.rules else edges.take(own)

    @cached_property
    def version_of_mop(self) -> Rows:
        """The version that each micro-operation read or wrote, or -1."""
        version = np.full(len(self.t.mop), -1, np.int32)
        version[self.r_mop], version[self.w_mop] = self.r_version, self.w_version
        return version

    @cached_property
    def _is_write(self) -> Bools:
        is_write = np.zeros(len(self.t.mop), np.bool_)
        is_write[self.w_mop] = True
        return is_write

    @cached_property
    def _inner(self) -> Bools:
        """Reads that are not the first that their transaction does with the key."""
        inner = self.t.before >= 0
        inner[self.w_mop] = False
        return inner

    @cached_property
    def touches(self) -> tuple[Ints, Ints, Ints, Ints]:
        """(key, transaction, first version, last version) of each that met a key, by both."""
        version = self.version_of_mop
        first = (self.t.before < 0) & (version >= 0)
        first &= self.committed[self.t.txn] & self.usable[self.t.key]
        mop = np.flatnonzero(first)
        last = version.copy()  # of the first micro-operation with the key: the last write's
        root = self.w_mop.copy()
        while (self.t.before[root] >= 0).any():
            root = np.where(self.t.before[root] >= 0, self.t.before[root], root)
        last[root] = self.w_version  # in order, so that the last one stays
        order = np.argsort(self.t.key[mop], kind="stable")
        mop = mop[order]
        return self.t.key[mop], self.t.txn[mop], version[mop], last[mop]

    def _sequential(self) -> Edges:
        key, txn, first, last = self.touches
        process = self.t.process[txn]
        order = np.lexsort((txn, process, key))
        one, other = order[:-1], order[1:]
        same = (key[one] == key[other]) & (process[one] == process[other])
        return Edges.of(last[one[same]], first[other[same]], SEQUENTIAL)

    def _linearizable(self) -> Edges:
        """v1 comes before v2 if somebody was done with v1 before somebody began with v2. An edge
        is left out if it leads past a version that comes between."""
        _, txn, first, last = self.touches
        never = len(self.t.history)
        end = np.where(self.t.status[txn] == OK, self.t.end[txn], never)
        done = np.full(self.versions, never, np.int64)
        np.minimum.at(done, last, end)
        began = np.full(self.versions, -1, np.int64)
        np.maximum.at(began, first, self.t.begin[txn])
        self.done, self.began = done, began
        met = np.flatnonzero((done < never) | (began >= 0))
        met = met[self.valid[met]]
        met = met[np.lexsort((began[met], self.v_key[met]))]
        pairs: list[tuple[int, int]] = []
        cuts = np.flatnonzero(np.diff(self.v_key[met])) + 1
        for group in np.split(met, cuts) if len(met) else []:
            _thresholds(group.tolist(), done[group].tolist(), began[group].tolist(), pairs)
        columns = np.array(pairs, np.int64).reshape(-1, 2)
        return Edges.of(columns[:, 0], columns[:, 1], LINEARIZABLE)

    @cached_property
    def numbers(self) -> dict[int, int | float]:
        """Of each transaction the number that it took place by, where its completion has one."""
        history, t = self.t.history, self.t
        ok = np.flatnonzero(t.status == OK)
        row = history.extra[t.end[ok]]
        met = np.unique(row[row >= 0]).tolist()
        told = {at: msgspec.json.decode(history.extras[at]).get(self.by) for at in met}
        of = zip(ok.tolist(), row.tolist(), strict=True)
        return {txn: told[at] for txn, at in of if at >= 0 and type(told[at]) in (int, float)}

    def _told(self) -> Edges:
        """From the last that a transaction wrote to the first that the next one did. Of those that
        have one number nothing is told."""
        known = sorted(set(self.numbers.values()))
        rank = np.full(len(self.t), -1, np.int64)
        place = {number: at for at, number in enumerate(known)}
        rank[list(self.numbers)] = [place[number] for number in self.numbers.values()]
        at = np.flatnonzero(rank[self.w_txn] >= 0)
        at = at[np.lexsort((at, self.w_txn[at], rank[self.w_txn[at]], self.w_key[at]))]
        key, txn = self.w_key[at], self.w_txn[at]
        new = np.append(True, (key[1:] != key[:-1]) | (txn[1:] != txn[:-1]))[: len(at)]
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(at)) - 1
        key, when = key[first], rank[txn[first]]
        tied = np.zeros(len(first) + 1, np.bool_)
        tied[1:-1] = (key[1:] == key[:-1]) & (when[1:] == when[:-1])
        alone = np.flatnonzero(~(tied[1:] | tied[:-1])[: len(first)])
        one, other = alone[:-1], alone[1:]
        same = key[one] == key[other]
        one, other = last[one[same]], first[other[same]]
        return Edges.of(self.w_version[at[one]], self.w_version[at[other]], TOLD)

    def _initial(self, edges: Edges) -> Edges:
        """From a null that was read to the versions that follow no other."""
        read = np.zeros(self.versions, np.bool_)
        read[self.r_version[self.outer]] = True
        keys = len(self.t.keys)
        follows = np.zeros(self.versions, np.bool_)
        follows[edges.target] = True
        minimal = np.flatnonzero(self.valid & ~follows)
        minimal = minimal[minimal >= keys]
        minimal = minimal[read[self.v_key[minimal]]]
        return Edges.of(self.v_key[minimal], minimal, INITIAL)

    # -- edges between transactions --------------------------------------------------------------

    @cached_property
    def edges(self) -> tuple[Edges, int]:
        """ww, wr and rw, and the first number that is no node."""
        reads = np.flatnonzero(self.outer & self.usable[self.r_key]).astype(np.int32)
        rw, free = self._rw(reads)
        return Edges.joined([self._wr(reads), self._ww(), *rw]), free

    def _wr(self, reads: Rows) -> Edges:
        by = self.writer[self.r_version[reads]]
        known = by >= 0
        return _between(by[known], self.r_txn[reads][known], WR)

    def _ww(self) -> Edges:
        one, other = self.writer[self.order.source], self.writer[self.order.target]
        both = (one >= 0) & (other >= 0)
        return _between(one[both], other[both], WW)

    def _rw(self, reads: Rows) -> tuple[list[Edges], int]:
        """From who read a version to who wrote the next; of a null that many read, by way of
        other nodes. And the first number that is no node."""
        order = self.order
        version = self.r_version[reads]
        count = np.bincount(version, minlength=self.versions).astype(np.int32)
        first = np.cumsum(count, dtype=np.int32) - count
        txn = self.r_txn[reads][np.argsort(version, kind="stable")]
        times, other = count[order.source], self.writer[order.target]
        key = self.v_key[order.source]
        null = order.kind == INITIAL
        many = np.bincount(key[null], times[null], minlength=len(self.t.keys)) > PAIRS_MAX
        chained = null & many[key]
        at = np.flatnonzero((times > 0) & (other >= 0) & ~chained)
        times = times[at]
        ends = np.cumsum(times)
        place = np.arange(int(ends[-1]) if len(ends) else 0)
        place += np.repeat(first[order.source[at]] - (ends - times), times)
        parts = [_between(txn[place], np.repeat(other[at], times), RW)]
        free = len(self.t)
        for one in np.flatnonzero(many).tolist():
            targets = np.unique(other[chained & (key == one) & (other >= 0)]).tolist()
            readers = np.unique(txn[first[one] : first[one] + count[one]]).tolist()
            more, free = others_edges([(reader, RW) for reader in readers], targets, free)
            parts.append(more)
        return parts, free

    # -- for words -------------------------------------------------------------------------------

    def reads_of(self, txn: int) -> list[int]:
        low, high = np.searchsorted(self.r_txn, (txn, txn + 1)).tolist()
        return list(range(low, high))

    def writes_of(self, txn: int) -> list[int]:
        low, high = np.searchsorted(self.w_txn, (txn, txn + 1)).tolist()
        return list(range(low, high))

    def reader(self, version: int) -> int:
        """The first transaction that read the version, or -1."""
        found = np.flatnonzero(self.r_version == version)
        return int(self.r_txn[found[0]]) if len(found) else -1

    def proof(self, txn: int) -> int:
        """Who shows that a transaction of unknown outcome took place; -1 if it needs nobody."""
        if self.t.status[txn] != INFO:
            return -1
        readers = [self.reader(int(self.w_version[write])) for write in self.writes_of(txn)]
        return next((reader for reader in readers if reader >= 0), -1)


def _thresholds(
    group: list[int], done: list[int], began: list[int], pairs: list[tuple[int, int]]
) -> None:
    """From each version to those that somebody began with after it was done with, by `began`."""
    size = len(group)
    # Of each suffix the earliest `done`, the next, and whose they are.
    best: list[tuple[int, int, int, int]] = [(1 << 62, -1, 1 << 62, -1)] * (size + 1)
    for at in range(size - 1, -1, -1):
        low, who, second, whose = best[at + 1]
        mine = done[at]
        if mine < low:
            best[at] = (mine, at, low, who)
        elif mine < second:
            best[at] = (low, who, mine, at)
        else:
            best[at] = best[at + 1]
    start = 0
    for at in sorted(range(size), key=done.__getitem__):
        while start < size and began[start] <= done[at]:
            start += 1
        low, who, second, whose = best[start]
        most, between = (second, whose) if who == at else (low, who)
        for other in range(start, size):
            if began[other] > most:
                break
            if other != at:
                pairs.append((group[at], group[other]))
        if between >= 0 and began[between] > most:
            pairs.append((group[at], group[between]))


def _between(source: Ints, target: Ints, kind: int) -> Edges:
    """Edges from each to each, where they differ."""
    other = source != target
    return Edges.of(source[other], target[other], kind)
