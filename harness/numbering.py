"""Tables numbered in the order in which a column first names what is in them.

Lines are not decoded in the order of the file (`harness.skeletons`), nor all by one process
(`harness.jsonl`). Numbered so, a history's columns do not tell how it was decoded.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from harness.columns import OBJECT_MIN, is_object

Codes = NDArray[Any]
Ints = NDArray[np.int64]
K = TypeVar("K")

_EARLY = 1 << 14
"""Events among which most names stand that a history has; it is cheap to look only there."""

_FEW = 16
"""Names not among them up to which each is looked for alone, which costs a tenth of looking for
all."""


def renumbered(codes: Codes, table: dict[K, int]) -> tuple[Codes, list[K]]:
    """The codes (-1 is none) and the table's keys, in the order in which the codes name them.

    Keys that no code names are left out: lines that were decoded twice leave some.
    """
    keys = list(table)
    order = _first_met(codes, len(keys))
    if np.array_equal(order, np.arange(len(keys))):
        return codes, keys
    # The last element is what -1 looks up.
    changed = np.full(len(keys) + 1, -1, codes.dtype)
    changed[order] = np.arange(len(order))
    return changed[codes], [keys[place] for place in order.tolist()]


def translated(codes: Codes, table: dict[K, int], into: dict[K, int]) -> Codes:
    """Codes of `table` as codes of `into`, to which its keys are added; -1 stays.

    Raises:
        OverflowError: the codes' type has no room for them.
    """
    changed = [into.setdefault(key, len(into)) for key in table]
    return np.array([*changed, -1], codes.dtype)[codes]


def renumbered_objects(
    columns: list[Ints], table: dict[bytes, int]
) -> tuple[list[Ints], list[bytes]]:
    """The same for codes of objects, which stand among integers in several columns."""
    if not table:
        return columns, []
    rows = [column[is_object(column)] - OBJECT_MIN for column in columns]
    changed, keys = renumbered(np.concatenate(rows), table)
    cuts = np.cumsum([len(row) for row in rows])[:-1]
    return [
        _put(column, row) for column, row in zip(columns, np.split(changed, cuts), strict=True)
    ], keys


def translated_objects(column: Ints, table: dict[bytes, int], into: dict[bytes, int]) -> Ints:
    """Codes of objects of `table` as those of `into`; integers and nulls stay."""
    if not table:
        return column
    return _put(column, translated(column[is_object(column)] - OBJECT_MIN, table, into))


def _put(column: Ints, rows: Ints) -> Ints:
    if not len(rows):
        return column
    column = column.copy()
    column[is_object(column)] = rows + OBJECT_MIN
    return column


def _first_met(codes: Codes, size: int) -> Ints:
    """The codes that occur, in the order of their first places."""
    first = _first_places(codes[:_EARLY], size)
    late = np.flatnonzero(first < 0)
    if len(codes) > _EARLY and len(late) > _FEW:
        first = _first_places(codes, size)
    elif len(codes) > _EARLY:
        for code in late.tolist():
            found = codes == code
            place = int(found.argmax())
            first[code] = place if found[place] else -1
    order = np.argsort(first, kind="stable")
    met: Ints = order[first[order] >= 0]
    return met


def _first_places(codes: Codes, size: int) -> Ints:
    first = np.full(size + 1, -1, np.int64)
    # Of several assignments to a place NumPy keeps the last: backwards, the first place wins.
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first[:size]
