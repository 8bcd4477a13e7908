"""Readers agree on the order of writes to different keys: of two that read both, one has all that
the other one has (no long fork).

Reads micro-operations, `["w", k, v]` and `["r", k, v]` with null for what nobody has written yet,
in operations of any name (`write`, `read`, `txn`). Each key is written once.

Anomalies:
    long-fork     a read has x and lacks y, another one has y and lacks x

Parallel snapshot isolation allows it; snapshot isolation and whatever is stronger does not. Whether
a write was acknowledged makes no difference: who reads it has it. A read that has nothing yet is
*early*, one that has all it asks for is *late*: neither can show a fork, and if there is no other
the verdict is a doubt. Reads need not be of the same keys: any two that both are of x and of y are
compared. What a transaction writes itself is not what it has read.

Blind to, and in doubt where it occurs: keys that were written more than once, or null; keys that a
    transaction read twice, differently; values that nobody wrote (see `wr`, which judges such).
Cost: a sort of what was read, about 1 µs a key of a read; then n²/4 for each read of n keys that is
    unlike all others. Beyond `PAIRS_MAX` it is a doubt.
Source: jepsen.tests.long-fork, where reads must be of the same group of keys; Y. Sovran et al.,
    "Transactional Storage for Geo-replicated Systems" (SOSP 2011).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from checkers.told import Told, judged
from checkers.transactions import Bools, Ints, Transactions, shown
from checkers.txn_cases import Cases
from harness.columns import MISSING, NULL, VALUE
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, OK
from harness.verdict import Finding, Verdict

ANOMALIES = ("long-fork",)

PAIRS_MAX = 2_000_000_000
"""Of a key that a read has and one that it lacks: about a minute."""


def check(history: History, contract: Contract) -> Verdict:
    """Every two keys of which readers do not agree which was written first."""
    whole = _Reads(Told(history))

    def detect(told: Told) -> Mapping[str, Cases]:
        return (whole if told.history is history else _Reads(told)).cases()

    return judged(history, detect, doubts=whole.doubts(), stats=whole.stats())


@dataclass(frozen=True)
class _Reads:
    """What transactions read, a row a key of a read."""

    told: Told

    @cached_property
    def t(self) -> Transactions:
        return Transactions.of(self.told.history)

    # -- what was written --------------------------------------------------------------------------

    @cached_property
    def _plain(self) -> Bools:
        """Which micro-operations have a value that is one."""
        plain: Bools = self.t.history.values.micro.mop_form[self.t.mop] == VALUE
        return plain

    @cached_property
    def _value(self) -> Ints:
        """The values of the plain ones."""
        micro = self.t.history.values.micro
        value = np.full(len(self.t.mop), NULL, np.int64)
        value[self._plain] = micro.entry_value[micro.entry_start[self.t.mop[self._plain]]]
        return value

    @cached_property
    def _writes(self) -> Bools:
        """Which micro-operations are writes of a key that may have happened."""
        t = self.t
        writes: Bools = (t.f == t.history.values.micro.code("w")) & (t.status[t.txn] != FAIL)
        return writes & (t.keys[t.key] != MISSING) if len(t.keys) else writes

    @cached_property
    def _odd(self) -> Bools:
        """Keys that were written more than once, or with what cannot be told from nothing."""
        writes, t = self._writes, self.t
        odd = np.bincount(t.key[writes], minlength=len(t.keys)) > 1
        odd[t.key[writes & (self._value == NULL)]] = True
        return odd

    @cached_property
    def _write(self) -> Ints:
        """The one write of each key, or -1."""
        write = np.full(len(self.t.keys), -1, np.int64)
        at = np.flatnonzero(self._writes)
        write[self.t.key[at]] = at
        return write

    # -- what was read -----------------------------------------------------------------------------

    @cached_property
    def _read(self) -> Ints:
        """The micro-operations that read a key that others write."""
        t = self.t
        reads = (t.f == t.history.values.micro.code("r")) & self._plain & (t.status[t.txn] == OK)
        if self._again:
            own = self._place(np.flatnonzero(self._writes))
            reads[reads] = ~np.isin(self._place(np.flatnonzero(reads)), own)
        return np.flatnonzero(reads)

    @cached_property
    def _again(self) -> bool:
        """Whether a transaction does anything twice to a key; as a rule none does."""
        return bool((self.t.before >= 0).any())

    def _place(self, mops: Ints) -> Ints:
        """A number for the transaction and the key of each."""
        place: Ints = self.t.txn[mops] * len(self.t.keys) + self.t.key[mops]
        return place

    @cached_property
    def _strange(self) -> Bools:
        """Which reads have a value that nobody wrote."""
        key, value = self.t.key[self._read], self._value[self._read]
        write = self._write[key]
        strange: Bools = (value != NULL) & ~self._odd[key]
        strange &= (write < 0) | (self._value[write] != value)
        return strange

    @cached_property
    def _unlike(self) -> Bools:
        """Which reads are of a key that their transaction read otherwise, too."""
        if not self._again:
            return np.zeros(len(self._read), np.bool_)
        has = self._value[self._read] != NULL
        place = self._place(self._read)
        unlike: Bools = np.isin(place, np.intersect1d(place[has], place[~has]))
        return unlike

    @cached_property
    def _rows(self) -> tuple[Ints, Ints, Bools]:
        """Transaction, key, and whether it has the key's write; by transaction and key."""
        kept = ~self._odd[self.t.key[self._read]] & ~self._strange & ~self._unlike
        kept &= self._write[self.t.key[self._read]] >= 0
        read = self._read[kept]
        place = self._place(read)
        order = np.argsort(place)
        read = read[order][np.diff(place[order], prepend=-1) > 0]
        return self.t.txn[read], self.t.key[read], self._value[read] != NULL

    @cached_property
    def _partial(self) -> Bools:
        """Transactions that are neither early nor late."""
        txn, _, has = self._rows
        count = len(self.t)
        partial: Bools = np.bincount(txn[has], minlength=count) > 0
        return partial & (np.bincount(txn[~has], minlength=count) > 0)

    # -- doubts and numbers ------------------------------------------------------------------------

    def doubts(self) -> Iterator[str]:
        yield from self.t.unread(("w", "r"))
        if lists := int((~self._plain).sum()):
            yield f"{lists} micro-operations have no single value, and were left out"
        t, read = self.t, self._read
        if len(again := np.flatnonzero(self._odd)):
            yield (
                f"{len(again)} keys were written more than once, or null, such as "
                f"{self._name(int(again[0]))}: what was read of them was left out"
            )
        if len(unlike := read[self._unlike]):
            yield (
                f"{len(unlike)} reads are of a key that their transaction read twice, differently, "
                f"such as {self._name(int(t.key[unlike[0]]))}: they were left out"
            )
        if len(strange := read[self._strange]):
            yield (
                f"{len(strange)} values were read that nobody wrote, the first by "
                f"{self.told.words(int(t.begin[t.txn[strange[0]]]))}: they were left out; "
                "see --workload wr"
            )
        if len(t) and not self._partial.any():
            yield (
                "no read has one of its keys and lacks another: none could show a fork, so that "
                "nothing was tested"
            )
        if self._cost > PAIRS_MAX:
            yield f"{self._cost} pairs of keys are more than this checker looks at: none was judged"

    def stats(self) -> Mapping[str, Any]:
        txn, _, has = self._rows
        reads, some = (int((np.diff(one, prepend=-1) > 0).sum()) for one in (txn, txn[has]))
        partly = int(self._partial.sum())
        early, late = reads - some, some - partly
        keys = int((self._write >= 0).sum())
        return {"keys": keys, "reads": reads, "early-reads": early, "late-reads": late}

    # -- forks -------------------------------------------------------------------------------------

    @cached_property
    def _matrices(self) -> tuple[Any, Any]:
        """Reads that are partial and unlike all others, by keys: what they have, and lack."""
        txn, key, has = self._rows
        chosen = self._partial[txn]
        txn, key, has = txn[chosen], key[chosen], has[chosen]
        new = np.append(True, txn[1:] != txn[:-1])[: len(txn)]
        start = np.flatnonzero(new)
        kept = _distinct(np.append(start, len(txn)), key * 2 + has)
        row = np.cumsum(new) - 1
        chosen = kept[row] if len(row) else np.zeros(0, np.bool_)
        shape = (len(start), len(self.t.keys))

        def matrix(which: Bools) -> Any:
            ones = np.ones(int(which.sum()), np.int32)
            return sparse.csr_array((ones, (row[which], key[which])), shape=shape)

        return matrix(chosen & has), matrix(chosen & ~has)

    @cached_property
    def _cost(self) -> int:
        has, lacks = self._matrices
        return int(np.diff(has.indptr).astype(np.int64) @ np.diff(lacks.indptr).astype(np.int64))

    @cached_property
    def _forks(self) -> tuple[Ints, Ints]:
        """Pairs of keys each of which somebody read without the other one."""
        has, lacks = self._matrices
        if self._cost > PAIRS_MAX:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        first = (has.T @ lacks).tocsr()
        first.data[:] = 1
        both = sparse.triu(first.multiply(first.T), 1).tocoo()
        order = np.lexsort((both.col, both.row))
        return both.row[order].astype(np.int64), both.col[order].astype(np.int64)

    def cases(self) -> dict[str, Cases]:
        one, other = self._forks
        return {"long-fork": Cases(len(one), lambda at: self._fork(int(one[at]), int(other[at])))}

    def _fork(self, one: int, other: int) -> Finding:
        first, second = self._reader(one, other), self._reader(other, one)
        if second < first:
            one, other, first, second = other, one, second, first
        told, begin = self.told, self.t.begin
        reads = int(begin[first]), int(begin[second])
        writes = [int(begin[self.t.txn[self._write[key]]]) for key in (one, other)]
        x, y = self._name(one), self._name(other)
        lower, higher = sorted([x, y])
        return told.finding(
            "long-fork",
            f"readers do not agree which of {lower} and {higher} was written first",
            (
                f"{told.words(writes[0])} wrote {x}, and {told.words(writes[1])} {y}",
                f"{told.words(reads[0])} has {x} and lacks {y}, so that {x} was written first",
                f"however, {told.words(reads[1])} has {y} and lacks {x}, so that {y} was: "
                "a contradiction",
            ),
            [*writes, *reads],
        )

    def _reader(self, of: int, without: int) -> int:
        """The first transaction that has a key and lacks another one."""
        txn, key, has = self._rows
        return int(np.intersect1d(txn[has & (key == of)], txn[~has & (key == without)])[0])

    def _name(self, key: int) -> str:
        return f"key {shown(self.t.history.values.decode(int(self.t.keys[key])))}"


def _distinct(start: Ints, told: Ints) -> Bools:
    """Which of these runs of numbers is the first of all that are like it.

    Runs that are alike have the same sum of mixed numbers; whether those that have the same are
    alike is looked at."""
    count = len(start) - 1
    if not count:
        return np.zeros(0, np.bool_)
    length = np.diff(start)
    mixed = _mixed(told.astype(np.uint64))
    sums = np.add.reduceat(mixed, start[:-1])
    order = np.lexsort((np.arange(count), sums))
    new = np.append(True, sums[order][1:] != sums[order][:-1])
    leader = np.empty(count, np.int64)
    leader[order] = order[np.flatnonzero(new)[np.cumsum(new) - 1]]
    alike = length == length[leader]
    run = np.repeat(np.arange(count), length)
    at = np.arange(len(told)) - start[run] + start[leader[run]]
    same = np.where(alike[run], told[np.minimum(at, len(told) - 1)] == told, False)
    alike &= np.logical_and.reduceat(same, start[:-1])
    kept: Bools = ~alike | (leader == np.arange(count))
    return kept


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look like chance, the same for the same ones (splitmix64)."""
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found
