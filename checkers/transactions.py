"""The transactions of a history, as columns: who did what to which key, and how it ended.

Reads every client operation whose value is a list of micro-operations. Of one that is OK its
completion counts, of any other its invocation: what it asked for is all that is known.

Cost: linear, about 0.3 s for 1,000,000 transactions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.columns import MICRO, NONE
from harness.history import History
from harness.op import INFO, OK

Ints = NDArray[np.integer[Any]]
Rows = NDArray[np.int32]
"""Numbers of rows, as a history has no more than fit. A product of two needs 64 bits: `wide`."""

Bools = NDArray[np.bool_]

"""Codes of `Transactions.status`; what has no completion is INFO."""

SHOWN_MAX = 120
"""Characters of a value in a doubt, and of a transaction in a sentence."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions in the order of their invocations, and their micro-operations.

    Attributes:
        begin, end: int32[n], positions of invocation and completion; no completion is -1.
        status: int8[n], OK, FAIL or INFO.
        process: int32[n].
        txn: int32[m], ascending, the transaction of each micro-operation.
        mop: int32[m], its place in the history's `micro`.
        f: int16[m], the code of its name in `fs`.
        key: int32[m], rows of `keys`.
        keys: int64[keys], codes of the keys.
        before: int32[m], the micro-operation before it in its transaction of the same key, or -1.
    """

    history: History
    begin: Rows
    end: Rows
    status: NDArray[np.int8]
    process: Rows
    txn: Rows
    mop: Rows
    f: NDArray[np.int16]
    key: Rows
    keys: NDArray[np.int64]
    before: Rows

    @staticmethod
    def of(history: History) -> Transactions:
        values, micro = history.values, history.values.micro
        begin = np.flatnonzero((history.type == 0) & (history.process >= 0))
        begin = begin[values.shape[begin] == MICRO].astype(np.int32)
        end = history.pair[begin]
        status = np.where(end >= 0, history.type[end], np.int8(INFO))
        told = np.where(status == OK, end, begin)
        # A completion that says nothing of what was read leaves what was asked for.
        silent = values.shape[told] != MICRO
        told[silent], status[silent & (status == OK)] = begin[silent], INFO
        row = values.row[told]
        start = micro.mop_start[row]
        count = micro.mop_start[row + 1] - start
        txn = np.repeat(np.arange(len(begin), dtype=np.int32), count)
        mop = np.arange(len(txn), dtype=np.int32)
        mop += np.repeat(start - (np.cumsum(count, dtype=np.int32) - count), count)
        keys, key = ranked(micro.mop_key[mop])
        before = _before(txn, key, int(count.max(initial=0)))
        process = history.process[begin]
        return Transactions(
            history, begin, end, status, process, txn, mop, micro.mop_f[mop], key, keys, before
        )

    def __len__(self) -> int:
        return len(self.begin)

    def mops(self, txn: int) -> range:
        """The transaction's micro-operations."""
        first, last = np.searchsorted(self.txn, (txn, txn + 1)).tolist()
        return range(first, last)

    def events(self, txn: int) -> tuple[int, ...]:
        """Positions of the one or two events of the transaction."""
        begin, end = int(self.begin[txn]), int(self.end[txn])
        return (begin,) if end < 0 else (begin, end)

    def witness(self, txns: Iterable[int]) -> tuple[int, ...]:
        """Positions of the events of some transactions, ascending."""
        return tuple(sorted({at for txn in txns for at in self.events(txn)}))

    def name(self, key: int) -> str:
        """The key in words."""
        return f"key {shown(self.history.values.decode(int(self.keys[key])))}"

    def value(self, code: int) -> str:
        """A value in words."""
        return shown(self.history.values.decode(code))

    def unread(self, fs: Sequence[str]) -> list[str]:
        """A doubt where a client says something that is no transaction of these names."""
        history, values = self.history, self.history.values
        codes = [values.micro.code(f) for f in fs]
        clients = np.flatnonzero(history.process >= 0)
        bad = np.zeros(len(history), np.bool_)
        there = values.shape[clients]
        done = (history.type[clients] == OK) | (history.type[clients] == 0)
        bad[clients] = (there != MICRO) & ~((there == NONE) & ~done)
        if len(values.micro.mop_f):
            odd = ~np.isin(values.micro.mop_f, codes)
            if odd.any():
                bad[values.positions(MICRO)[values.micro.row_of_mop()[odd]]] = True
        found = np.flatnonzero(bad & (history.process >= 0))
        if not len(self):
            return ["nobody did a transaction: there is no list of micro-operations of a client"]
        if not len(found):
            return []
        op = history[int(found[0])]
        expected = " and ".join(f'["{f}", key, value]' for f in fs)
        return [
            f"{len(found)} events say something that is not understood and was left out; the first "
            f"is op {op.index}, {op.type.name.lower()} {op.f} {shown(op.value)}: expected a list "
            f"of {expected}"
        ]


def shown(value: object, most: int = SHOWN_MAX) -> str:
    """A value as JSON, cut where it is long."""
    said = json.dumps(value, ensure_ascii=False)
    return said if len(said) <= most else said[:most] + "…"


def ranked(codes: Ints) -> tuple[NDArray[np.int64], Rows]:
    """The distinct codes, ascending, and the rank of each of `codes` among them.

    Codes that are dense, as keys and values are as a rule, need no sort.
    """
    if not len(codes):
        return codes.astype(np.int64), codes.astype(np.int32)
    low, high = int(codes.min()), int(codes.max())
    if high - low > 4 * len(codes) + 1024:
        distinct, rank = np.unique(codes, return_inverse=True)
        return distinct.astype(np.int64, copy=False), rank.astype(np.int32)
    shifted = codes - low if low else codes
    there = np.zeros(high - low + 1, np.bool_)
    there[shifted] = True
    number = np.cumsum(there, dtype=np.int32)
    number -= 1
    return np.flatnonzero(there) + low, number[shifted]


def wide(first: Ints, width: int, second: Ints) -> NDArray[np.int64]:
    """One number of two: `second` is less than the width."""
    both = first.astype(np.int64)
    both *= max(width, 1)
    both += second
    return both


def _before(txn: Rows, key: Rows, longest: int) -> Rows:
    before = np.full(len(txn), -1, np.int32)
    if longest <= 16:  # compare each with those just before it: no sort
        for back in range(1, longest):
            same = (txn[back:] == txn[:-back]) & (key[back:] == key[:-back])
            at = np.flatnonzero(same) + back
            at = at[before[at] < 0]
            before[at] = at - back
        return before
    order = np.lexsort((key, txn))
    same = (txn[order[1:]] == txn[order[:-1]]) & (key[order[1:]] == key[order[:-1]])
    before[order[1:][same]] = order[:-1][same]
    return before
