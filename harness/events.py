"""The columns of a whole history, before anybody asks it for events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.columns import Blobs, Values


@dataclass(frozen=True, eq=False)
class Events:
    """The columns of a history; documented at `harness.history.History`."""

    time: NDArray[np.int64]
    type: NDArray[np.int8]
    process: NDArray[np.int32]
    f: NDArray[np.int16]
    node: NDArray[np.int16]
    pair: NDArray[np.int32]
    error: NDArray[np.int32]
    extra: NDArray[np.int32]
    fs: tuple[str, ...]
    names: tuple[str, ...]
    nodes: tuple[str, ...]
    errors: Blobs
    extras: Blobs
    values: Values
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
