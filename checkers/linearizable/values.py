"""Operations on values as columns, for the monitors that decide all keys at once.

Monitors read histories whose values are scalars, or pairs `[key, scalar]`; of any other history the
columns say None, and the search reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable.models import UNKNOWN, frozen
from checkers.linearizable.search import NEVER, Call
from harness.columns import NONE, NULL, PAIR, SCALAR
from harness.history import History
from harness.op import FAIL, INVOKE, OK

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ops:
    """Operations of one `f`, in the order of their begins.

    Attributes:
        begin, end: positions in the history; the history's length if the end is in doubt.
        key, value: codes (see `harness.columns`); the key is NULL without keys.
    """

    begin: Ints
    end: Ints
    key: Ints
    value: Ints

    def __len__(self) -> int:
        return len(self.begin)

    def where(self, chosen: Bools | Ints) -> Ops:
        """Some of the operations."""
        return Ops(self.begin[chosen], self.end[chosen], self.key[chosen], self.value[chosen])


def asked(history: History, f: str, keyed: bool, *, failed: bool = False) -> Ops | None:
    """Operations by what they asked: those that happened or may have, or those that failed."""
    begin = begins(history, f)
    pair = history.pair[begin]
    wrong = (pair >= 0) & (history.type[pair] == FAIL)
    begin, pair = begin[wrong == failed], pair[wrong == failed]
    end = np.where((pair >= 0) & (history.type[pair] == OK), pair, len(history))
    return _ops(history, begin, end.astype(np.int64), begin, keyed)


def told(history: History, f: str, keyed: bool) -> Ops | None:
    """Operations by what they told: those that returned."""
    begin = begins(history, f)
    pair = history.pair[begin]
    fine = (pair >= 0) & (history.type[pair] == OK)
    end = pair[fine].astype(np.int64)
    return _ops(history, begin[fine], end, end, keyed)


def in_doubt(history: History, f: str, keyed: bool) -> Ops | None:
    """Operations of which nobody knows whether they happened, by what they asked."""
    begin = begins(history, f)
    pair = history.pair[begin]
    kind = history.type[pair]
    begin = begin[(pair < 0) | ((kind != OK) & (kind != FAIL))]
    return _ops(history, begin, np.full(len(begin), len(history), np.int64), begin, keyed)


def begins(history: History, f: str) -> Ints:
    """Positions of the clients' invocations."""
    invoked = (history.f == history.code(f)) & (history.type == INVOKE) & (history.process >= 0)
    return np.flatnonzero(invoked)


def _ops(history: History, begin: Ints, end: Ints, at: Ints, keyed: bool) -> Ops | None:
    found = _pairs(history, at) if keyed else _scalars(history, at)
    return None if found is None else Ops(begin, end, *found)


def _pairs(history: History, at: Ints) -> tuple[Ints, Ints] | None:
    values = history.values
    if (values.shape[at] != PAIR).any():
        return None
    pairs = values.pair[values.row[at]]
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


def _scalars(history: History, at: Ints) -> tuple[Ints, Ints] | None:
    values = history.values
    shape = values.shape[at]
    scalar = shape == SCALAR
    if (~scalar & (shape != NONE)).any():
        return None
    found = np.full(len(at), NULL, np.int64)
    found[scalar] = values.scalar[values.row[at][scalar]]
    return np.full(len(at), NULL, np.int64), found


def dense(codes: Ints) -> tuple[Ints, Ints]:
    """Numbers from 0 for codes, ascending with them, and the code of each number."""
    if not len(codes):
        return codes, codes
    low = int(codes.min())
    if int(codes.max()) - low > 4 * len(codes) + 1024:
        found, numbers = np.unique(codes, return_inverse=True)
        return numbers.astype(np.int64), found
    offset = codes - low
    there = np.zeros(int(offset.max()) + 1, np.bool_)
    there[offset] = True
    return (np.cumsum(there) - 1)[offset], np.flatnonzero(there) + low


def grouped(keys: Ints, values: Ints) -> Ints:
    """A number for each pair of dense numbers; equal pairs have equal ones. They are dense."""
    if not len(values):
        return values
    key_of = np.zeros(int(values.max()) + 1, np.int64)
    key_of[values] = keys
    if (key_of[values] == keys).all():
        return values  # a value belongs to one key only
    return dense(keys * (int(values.max()) + 1) + values)[0]


def call(history: History, begin: int, keyed: bool) -> Call:
    """An operation that returned or is in doubt, as words want it."""
    end = int(history.pair[begin])
    known = end >= 0 and history.type[end] == OK
    values = [history.values.get(begin), history.values.get(end) if known else None]
    if keyed:
        values = [value[1] if value else None for value in values]
    argument, result = map(frozen, values)
    f = history.fs[history.f[begin]]
    outcome = (argument if result is None else result) if known else UNKNOWN
    process = int(history.process[begin])
    return Call(process, f, argument, outcome, begin, end if known else NEVER)


def shown(history: History, code: int) -> Any:
    """The JSON value of a code."""
    return history.values.decode(code)
