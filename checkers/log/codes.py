"""Dense numbers for sparse ones: 0, 1, 2, … in the order of the values.

Where the values' range is about as large as their number, a table of the range is five times as
fast as sorting them; elsewhere they are sorted, so that memory never depends on how large a value
is. (Jepsen's checker keeps a vector as long as the largest offset.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.transactions import Rows, wide

Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

TABLE_FACTOR = 8
"""A table may have this many cells a value: bytes, so about as much memory as the values take."""


def dense(values: Ints) -> tuple[Rows, Ints]:
    """(code of each value, the distinct values in ascending order).

    >>> dense(np.array([30, 10, 30]))
    (array([1, 0, 1], dtype=int32), array([10, 30]))
    """
    if not len(values):
        return values.astype(np.int32), values
    low, high = int(values.min()), int(values.max())
    if high - low >= TABLE_FACTOR * len(values) + 1024:
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int32).reshape(-1), distinct
    shifted = values - low if low else values
    there = np.zeros(high - low + 1, np.bool_)
    there[shifted] = True
    number = np.cumsum(there, dtype=np.int32)
    number -= 1
    return number[shifted], np.flatnonzero(there) + low


def paired(first: Ints, count: int, second: Ints) -> tuple[Rows, Ints, Ints]:
    """(code of each pair, and of each distinct pair in ascending order its first and its second).

    first: of 0 … count - 1. second: any integers.
    """
    if not len(first):
        return first.astype(np.int32), first, second
    low = int(second.min())
    width = int(second.max()) - low + 1
    if count * width >= 2**62:
        inner, distinct = dense(second)
        codes, pairs = dense(wide(first, len(distinct), inner))
        return codes, pairs // len(distinct), distinct[pairs % len(distinct)]
    codes, pairs = dense(wide(first, width, second - low if low else second))
    return codes, pairs // width, pairs % width + low


def order_by(codes: Ints) -> Ints:
    """The places in ascending, stable order of small codes."""
    if len(codes) and codes.max() < 2**15:
        return np.argsort(codes.astype(np.int16), kind="stable")  # a radix sort, six times faster
    return np.argsort(codes, kind="stable")
