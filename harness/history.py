"""Histories: written as they happen, read back as columns.

A history file is JSONL, one `Op` a line, appended while the test runs. `Recorder` is its only
writer; a harness that is killed loses at most the line that it was writing. `History` holds two
million events in some hundred megabytes and makes an `Op` only where one is asked for.

Blind to: what the file does not say. The order of events is the order of the file.
Source: jepsen-io/history (README): histories as dense, indexed columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness import column_file, decode, foreign
from harness.errors import EnvironmentFailure, HistoryError
from harness.events import Events
from harness.op import KINDS, Kind, Op
from harness.stretch import Malformed


class Recorder:
    """Appends events to `history.jsonl`. The only writer of a history.

    Events are numbered and encoded when they are recorded, and wait in memory for `flush`.

    Raises:
        EnvironmentFailure: the file cannot be made, or already holds a history.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encode_into = msgspec.json.Encoder().encode_into
        self._buffer = bytearray()
        self._count = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Appending, so that no write of ours can ever change what is already there.
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            if os.fstat(self._fd).st_size:
                os.close(self._fd)
                raise EnvironmentFailure(f"{path} already holds a history; record into a new file")
        except OSError as error:
            raise EnvironmentFailure(f"cannot record into {path}: {error.strerror}") from error

    def __len__(self) -> int:
        """Events recorded so far, flushed or not."""
        return self._count

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
        """Number the event, put it into the buffer and return it. Cost: about 1 µs.

        Raises:
            TypeError: the value is not JSON; nothing was recorded.
        """
        op = Op(self._count, time, type, process, f, value, error, node, extra)
        buffer = self._buffer
        size = len(buffer)
        try:
            self._encode_into(op, buffer, -1)
        except BaseException:
            del buffer[size:]
            raise
        buffer += b"\n"
        self._count += 1
        return op

    def flush(self) -> None:
        """One write(2) of all that is buffered. The interpreter calls it once a turn, before it
        dispatches the invocations in it. What is written survives the death of this process.

        Raises:
            EnvironmentFailure: the disk is full or gone. What was not written stays in the buffer,
                so that a later flush continues where this one ended.
        """
        buffer = self._buffer
        while buffer:
            try:
                written = os.write(self._fd, buffer)
            except OSError as error:
                raise EnvironmentFailure(self._loss(error)) from error
            del buffer[:written]

    def close(self) -> None:
        """Flush and let go of the file. Closing twice is fine."""
        if self._fd < 0:
            return
        try:
            self.flush()
        finally:
            os.close(self._fd)
            self._fd = -1

    def _loss(self, error: OSError) -> str:
        # Each buffered event ends with a newline; a partly written one still counts as not written.
        kept = self._count - self._buffer.count(b"\n")
        stored = f"events 0 to {kept - 1} are on disk" if kept else "no event is on disk"
        return (
            f"cannot write the history {self.path}: {error.strerror}; {stored} and can be checked"
        )


class History(Events, Sequence[Op]):
    """A history in columns; `history[i]` makes the `Op` at position i (its index, too).

    Attributes:
        time: int64[n], ns. type: int8[n], code in `harness.op.KINDS`.
        process: int32[n]; a client's number, or -1-i for `names[i]` ("nemesis" is -1).
        f: int16[n], code in `fs`. node: int16[n], code in `nodes` or -1.
        pair: int32[n]; position of the operation's other event, -1 if it has none (still pending
            at the end of the file). Nemesis events, both INFO, are paired by `f` and order.
        error: int32[n], row in `errors` ([name, text] as JSON) or -1.
        extra: int32[n], row in `extras` (JSON) or -1.
        values: see `harness.columns`.
        notes: what weakens a verdict on this history: its last line is torn.
        remarks: what was tolerated while reading and weakens nothing.
    """

    @staticmethod
    def load(path: Path | str, *, cache: bool = False) -> History:
        """A file of any kind of `harness.foreign`, or a run folder; uses the `.columns` file beside
        it if that is fresh.

        Args:
            cache: write the `.columns` file if there is no fresh one.

        Raises:
            HistoryError: there is no history, or it is malformed; says where and why.
        """
        path = _file(Path(path))
        beside = column_file.path_of(path)
        remarks: list[str] = []
        source = None
        try:
            # Before the history is read: if it grows meanwhile, the columns are of neither.
            if cache or beside.exists():
                source = column_file.Source.of(path)
            if source and (events := column_file.load(beside, source)) is not None:
                return _history(events)
        except column_file.Damaged as error:
            remarks.append(f"{beside} is damaged and was not used: {error}")
        except OSError as error:
            raise HistoryError(path, None, f"cannot be read: {error.strerror}") from error
        events = foreign.read(path)
        if cache and source:
            try:
                column_file.save(events, source, beside)
            except OSError as error:
                remarks.append(f"{beside} could not be written: {error.strerror}")
        return _history(replace(events, remarks=(*events.remarks, *remarks)))

    def save_columns(self, source: Path) -> Path:
        """Write the `.columns` file beside the history's file, which must hold this history.

        Raises:
            OSError: the file cannot be written.
        """
        path = column_file.path_of(source)
        column_file.save(self, column_file.Source.of(source), path)
        return path

    @staticmethod
    def of(ops: Iterable[Op]) -> History:
        """From events in memory: tests, timelines, generators' rehearsals.

        Events are numbered anew from 0. Values become what JSON makes of them.

        Raises:
            HistoryError: a completion without its invocation, or the like.
        """
        encoder = msgspec.json.Encoder()
        numbered = (
            encoder.encode(msgspec.structs.replace(op, index=index)) for index, op in enumerate(ops)
        )
        try:
            return _history(decode.decode(numbered))
        except Malformed as error:
            raise HistoryError("event", error.position, error.reason) from None

    def code(self, f: str) -> int:
        """The code of `f` in the column `f`, or -2 if no event has it."""
        return self.fs.index(f) if f in self.fs else -2

    def select(
        self, *, f: str | Iterable[str] | None = None, type: Kind | None = None
    ) -> NDArray[np.int64]:
        """Positions, ascending, of the events with this `f` (or one of these) and this type."""
        chosen = np.ones(len(self), np.bool_)
        if f is not None:
            names = (f,) if isinstance(f, str) else tuple(f)
            chosen &= np.isin(self.f, [self.code(name) for name in names])
        if type is not None:
            chosen &= self.type == KINDS.index(type)
        return np.flatnonzero(chosen)

    def pending(self) -> NDArray[np.int64]:
        """Positions of the clients' invocations that have no completion."""
        return np.flatnonzero((self.type == 0) & (self.pair < 0) & (self.process >= 0))

    def operation(self, position: int) -> tuple[int, ...]:
        """Positions, ascending, of the one or two events of the operation."""
        pair = int(self.pair[position])
        return (position,) if pair < 0 else (min(position, pair), max(position, pair))

    def invocation(self, position: int) -> Op:
        """The invocation of the operation that the event belongs to."""
        pair = int(self.pair[position])
        return self[position if pair < 0 else min(position, pair)]

    def completion(self, position: int) -> Op | None:
        """The completion of the operation that the event belongs to; None while it is pending."""
        pair = int(self.pair[position])
        return None if pair < 0 else self[max(position, pair)]

    def __len__(self) -> int:
        return len(self.time)

    @overload
    def __getitem__(self, position: int) -> Op: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Op]: ...
    def __getitem__(self, position: int | slice) -> Op | Sequence[Op]:
        if isinstance(position, slice):
            return [self._op(at) for at in range(*position.indices(len(self)))]
        size = len(self)
        if not -size <= position < size:
            raise IndexError(f"event {position} of a history of {size}")
        return self._op(int(position) % size)

    def __iter__(self) -> Iterator[Op]:
        return map(self._op, range(len(self)))

    def _op(self, at: int) -> Op:
        process, node = int(self.process[at]), int(self.node[at])
        error, extra = int(self.error[at]), int(self.extra[at])
        return Op(
            at,
            int(self.time[at]),
            KINDS[self.type[at]],
            process if process >= 0 else self.names[-1 - process],
            self.fs[self.f[at]],
            self.values.get(at),
            None if error < 0 else tuple(msgspec.json.decode(self.errors[error])),
            None if node < 0 else self.nodes[node],
            None if extra < 0 else msgspec.json.decode(self.extras[extra]),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all columns and tables."""
        own = (self.time, self.type, self.process, self.f, self.node, self.pair)
        rest = (self.error, self.extra, self.errors, self.extras, self.values)
        return sum(column.nbytes for column in own) + sum(column.nbytes for column in rest)

    def _check(self) -> None:
        """Every invariant of the columns; raises AssertionError. Cost: linear."""
        size = len(self)
        for name in ("type", "process", "f", "node", "pair", "error", "extra"):
            assert len(getattr(self, name)) == size, name
        assert len(self.values.shape) == len(self.values.row) == size
        there = np.flatnonzero(self.pair >= 0)
        assert (self.pair[self.pair[there]] == there).all(), "pairing is mutual"
        assert (self.pair[there] != there).all(), "nothing completes itself"
        first = there[self.pair[there] > there]
        second = self.pair[first]
        assert (self.f[first] == self.f[second]).all()
        assert (self.process[first] == self.process[second]).all()
        clients = self.process[first] >= 0
        assert (self.type[first][clients] == 0).all(), "an operation begins with its invocation"
        assert (self.type[second][clients] != 0).all()
        self.values._check()


def _history(events: Events) -> History:
    return History(**{field.name: getattr(events, field.name) for field in fields(events)})


def _file(path: Path) -> Path:
    """The history's file: the path itself, or the one in a run folder."""
    if not path.is_dir():
        if not path.exists():
            raise HistoryError(path, None, "there is no such file")
        return path
    for name in foreign.NAMES:
        if (path / name).exists():
            return path / name
    raise HistoryError(path, None, f"this folder holds no {' and no '.join(foreign.NAMES)}")
