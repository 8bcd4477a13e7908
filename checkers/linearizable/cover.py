"""Moments that ranked spans cover: the least rank at each, and the freest moment of a window.

Moments are numbered; a span or window is from one to before another. Both questions are answered
level by level over runs of 2, 4, 8, … moments, so that only one level is in memory.

Cost: a pass over the moments for each level that is needed, at most 2 log₂ of their number.
Source: Bender & Farach-Colton, "The LCA Problem Revisited", LATIN 2000 (sparse tables).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable.values import Ints

Ranks = NDArray[np.int32]

FREE = np.int32(2**31 - 1)
"""The rank of a moment that nothing covers."""


def least(since: Ints, until: Ints, rank: Ranks, moments: int) -> Ranks:
    """The least rank of the spans over each moment. No span is empty."""
    table = np.full(moments, FREE, np.int32)
    levels = _levels(until - since)
    for level in range(int(levels.max(initial=0)), -1, -1):
        mine = np.flatnonzero(levels == level)
        np.minimum.at(table, since[mine], rank[mine])
        np.minimum.at(table, until[mine] - (1 << level), rank[mine])
        if level:
            half = 1 << (level - 1)
            lower = table.copy()
            np.minimum(lower[half:], table[:-half], out=lower[half:])
            table = lower
    return table


def greatest(table: Ranks, since: Ints, until: Ints) -> Ranks:
    """The greatest rank in each window. No window is empty."""
    found = np.empty(len(since), np.int32)
    levels = _levels(until - since)
    table = table.copy()
    for level in range(int(levels.max(initial=0)) + 1):
        if level:
            half = 1 << (level - 1)
            np.maximum(table[:-half], table[half:], out=table[:-half])
        mine = np.flatnonzero(levels == level)
        found[mine] = np.maximum(table[since[mine]], table[until[mine] - (1 << level)])
    return found


def _levels(lengths: Ints) -> NDArray[np.int8]:
    """The greatest power of two that is not longer, as an exponent."""
    return (np.frexp(lengths)[1] - 1).astype(np.int8)
