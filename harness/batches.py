"""Columns of some events of a history, and how several such batches become one.

    event → row of its shape's table → (MICRO only) micro-operations → entries

Where the batches interleave, each level follows the one above: the rows by the events, the
micro-operations by the rows, the entries by the micro-operations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.columns import MICRO, PAIR, SCALAR

Columns = dict[str, NDArray[Any]]
Places = NDArray[np.int64]

MOP_COLUMNS = {"mop_f": np.int16, "mop_form": np.int8, "mop_key": np.int64, "entries": np.int32}
ENTRY_COLUMNS = {"entry_key": np.int64, "entry_offset": np.int64, "entry_value": np.int64}


@dataclass(slots=True)
class Batch:
    """The values of some events.

    Attributes:
        columns: those of `harness.columns`, a missing one is empty; but `pair` is flat, `mops` is
            the number of micro-operations a row, `entries` the number of entries a micro-operation.
        raw: JSON of the RAW values, in order.
        exact: JSON of values that their columns cannot spell, by the event's place in the batch.
    """

    columns: Columns
    raw: list[bytes] = field(default_factory=list)
    exact: dict[int, bytes] = field(default_factory=dict)

    @property
    def shape(self) -> NDArray[np.int8]:
        return self.columns["shape"]

    def get(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        return self.columns.get(name, np.zeros(0, dtype))


def merged(parts: list[tuple[Places, Batch]], size: int) -> Batch:
    """One batch of `size` events, of which each part has those at its places, ascending.

    At most one part has RAW or inexact values.
    """
    shape = np.empty(size, np.int8)
    for places, part in parts:
        shape[places] = part.shape
    columns: Columns = {"shape": shape}
    rank = _rank(shape, SCALAR)
    columns["scalar"] = np.empty(int((shape == SCALAR).sum()), np.int64)
    for places, part in parts:
        rows = rank[places[part.shape == SCALAR]]
        columns["scalar"][rows] = part.get("scalar", np.int64)
    rank = _rank(shape, PAIR)
    pairs = np.empty((int((shape == PAIR).sum()), 2), np.int64)
    for places, part in parts:
        rows = rank[places[part.shape == PAIR]]
        pairs[rows] = part.get("pair", np.int64).reshape(-1, 2)
    columns["pair"] = pairs.reshape(-1)
    rank = _rank(shape, MICRO)
    columns |= _merged_micro(
        [(rank[places[part.shape == MICRO]], part) for places, part in parts],
        int((shape == MICRO).sum()),
    )
    raw = [blob for _, part in parts for blob in part.raw]
    exact = {int(places[at]): blob for places, part in parts for at, blob in part.exact.items()}
    return Batch(columns, raw, exact)


def spread(
    parts: list[tuple[Places, Columns]], count: NDArray[np.int32], dtypes: dict[str, Any]
) -> Columns:
    """Ragged columns of one level: row r has count[r] elements, a part has those of its rows."""
    start = starts(count)
    columns: Columns = {name: np.empty(start[-1], dtype) for name, dtype in dtypes.items()}
    for rows, part in parts:
        targets = elements(start, rows, count[rows])
        for name in dtypes:
            columns[name][targets] = part[name]
    return columns


def elements(start: NDArray[Any], rows: Places, count: NDArray[np.int32]) -> Places:
    """The places of the elements of some rows: start[row], start[row] + 1, …, row by row."""
    own = starts(count)
    first = np.repeat((start[rows] - own[:-1]).astype(np.int64), count)
    return first + np.arange(own[-1], dtype=np.int64)


def starts(count: NDArray[np.int32]) -> NDArray[np.int32]:
    """int32[n + 1]; where each row's elements begin, and the end of all."""
    start = np.zeros(len(count) + 1, np.int32)
    np.cumsum(count, out=start[1:])
    return start


def _rank(shape: NDArray[np.int8], one: int) -> Places:
    return np.cumsum(shape == one) - 1


def _merged_micro(parts: list[tuple[Places, Batch]], rows: int) -> Columns:
    parts = [(places, part) for places, part in parts if len(places)]
    mops = np.zeros(rows, np.int32)
    for places, part in parts:
        mops[places] = part.columns["mops"]
    of_mop = spread([(places, part.columns) for places, part in parts], mops, MOP_COLUMNS)
    row_start = starts(mops)
    of_entry = spread(
        [(elements(row_start, places, mops[places]), part.columns) for places, part in parts],
        of_mop["entries"],
        ENTRY_COLUMNS,
    )
    return {"mops": mops, **of_mop, **of_entry}
