"""Histories: written as they happen, read back as columns.

A history file is JSONL, one `Op` a line, appended and flushed while the test runs.

(Interface; see the brief of the data layer.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from harness.columns import Values
from harness.op import Kind, Op


class Recorder:
    """Appends events to `history.jsonl`. The only writer of a history."""

    def __init__(self, path: Path) -> None: ...

    def record(
        self,
        time: int,
        type: Kind,
        process: int | str,
        f: str,
        value: Any = None,
        error: tuple[str, str] | None = None,
        node: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Op:
        """Number the event, put it into the buffer and return it."""
        raise NotImplementedError

    def flush(self) -> None:
        """One write(2) of all that is buffered. The interpreter calls it once a turn, before it
        dispatches the invocations in it."""

    def close(self) -> None: ...


class History(Sequence[Op]):
    """A history in columns; `history[i]` makes the `Op` at position i (its index, too).

    Attributes:
        time: int64[n], ns. type: int8[n], code in `harness.op.KINDS`.
        process: int32[n]; a client's number, or -1-i for `names[i]` ("nemesis" is -1).
        f: int16[n], code in `fs`. node: int16[n], code in `nodes` or -1.
        pair: int32[n]; position of the operation's other event, -1 if it has none (still pending
            at the end of the file). Nemesis events, both INFO, are paired in order.
        values: see `harness.columns`.
        notes: what was tolerated while reading (a torn last line).
    """

    time: NDArray[np.int64]
    type: NDArray[np.int8]
    process: NDArray[np.int32]
    f: NDArray[np.int16]
    node: NDArray[np.int16]
    pair: NDArray[np.int32]
    fs: tuple[str, ...]
    names: tuple[str, ...]
    nodes: tuple[str, ...]
    values: Values
    notes: tuple[str, ...]

    @staticmethod
    def load(path: Path) -> History:
        """A `.jsonl`, an `.edn` or a run folder; uses the `.columns` file beside it if fresh."""
        raise NotImplementedError

    @staticmethod
    def of(ops: Iterable[Op]) -> History:
        """From events in memory: tests, timelines, generators' rehearsals."""
        raise NotImplementedError

    def code(self, f: str) -> int:
        """The code of `f` in the column `f`, or -2 if no event has it."""
        raise NotImplementedError

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, position: int) -> Op: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Op]: ...
    def __getitem__(self, position: int | slice) -> Op | Sequence[Op]:
        raise NotImplementedError
