"""Raft's durable state: a write-ahead log of records and the newest snapshot.

    raft/wal        records: length (u32), CRC-32C (u32), MessagePack of ["e", entry],
                    ["t", truncate from], ["h", term, vote]
    raft/snapshot   MessagePack of [index, term, data], replaced whole; the WAL is rewritten after it

`save` returns when everything is durable, with one fsync for all of it. A torn tail is cut when the
WAL is opened: nothing in it was ever acknowledged. A record that is wrong in the middle, with whole
ones after it, was durable once; then the node refuses to start, since to forget a vote or an entry
would break what it promised to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import msgspec
from crc32c import crc32c

from harness.errors import EnvironmentFailure
from harness.host.contract import Disk, File
from nodes.raft.core import HardState, Ready, SnapshotMeta
from nodes.raft.messages import Entry

_FRAME = Struct(">II")
RECORD_BYTES_MAX = 64 << 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class CorruptState(EnvironmentFailure):
    """Durable state is damaged. The node must not take part with it."""


class Storage:
    """The files of one node, below `folder`."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder
        self._file: File | None = None
        self._size = 0
        self.hard_state = HardState()
        self.snapshot = SnapshotMeta()
        self.entries: list[Entry] = []

    async def open(self) -> None:
        """Read everything; `hard_state`, `snapshot` and `entries` are what a core starts from.

        Raises:
            CorruptState: a record that was durable is damaged.
        """
        self._disk.mkdir(self._folder)
        if self._disk.exists(self._path("snapshot")):
            try:
                index, term, data = _decode(self._disk.read(self._path("snapshot")))
                self.snapshot = SnapshotMeta(index, term, data)
            except (msgspec.MsgspecError, ValueError) as error:
                raise CorruptState(f"the snapshot in {self._folder} is damaged: {error}") from error
        new = not self._disk.exists(self._path("wal"))
        self._file = self._disk.open(self._path("wal"), create=True)
        if new:
            await self._file.fsync()
            await self._disk.fsync_dir(self._folder)
        data = self._file.read_at(0, self._file.size())
        self._size = self._replay(data)
        if self._size < len(data):
            self._file.truncate(self._size)
            await self._file.fsync()

    def _replay(self, data: bytes) -> int:
        """Take in the records; where the last whole one ends."""
        at = 0
        while (end := _record_end(data, at)) is not None:
            kind, *rest = _decode(data[at + _FRAME.size : end])
            match kind:
                case "h":
                    self.hard_state = HardState(*rest)
                case "t":
                    self._truncate(rest[0])
                case "e":
                    entry = msgspec.convert(rest[0], Entry)
                    self._truncate(entry.index)
                    if entry.index > self.snapshot.index:
                        self.entries.append(entry)
            at = end
        if _whole_record_after(data, at):
            raise CorruptState(
                f"{self._path('wal')} is damaged at byte {at}, before records that are whole; this "
                "node would forget what it promised. Restore its disk, or replace the node"
            )
        expected = range(self.snapshot.index + 1, self.snapshot.index + 1 + len(self.entries))
        if [entry.index for entry in self.entries] != list(expected):
            raise CorruptState(f"{self._path('wal')} lacks entries after the snapshot")
        return at

    def _truncate(self, first: int) -> None:
        while self.entries and self.entries[-1].index >= first:
            self.entries.pop()

    async def save(self, ready: Ready) -> None:
        """Make what `ready` says durable. Raises OSError; then nothing may be acknowledged."""
        if ready.snapshot is not None:
            await self.install(ready.snapshot, ready.hard_state, ready.entries)
            return
        records: list[Any] = []
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
            records.append(("h", ready.hard_state.term, ready.hard_state.vote))
        if ready.truncate_from is not None:
            records.append(("t", ready.truncate_from))
        records += [("e", entry) for entry in ready.entries]
        if not records:
            return
        assert self._file is not None
        data = b"".join(_framed(record) for record in records)
        self._file.write_at(self._size, data)
        await self._file.fsync()
        self._size += len(data)

    async def install(
        self, snapshot: SnapshotMeta, hard_state: HardState | None, entries: Sequence[Entry]
    ) -> None:
        """Replace the snapshot, and the WAL by what comes after it.

        The snapshot is durable before the WAL forgets what it covers.
        """
        if hard_state is not None:
            self.hard_state = hard_state
        packed = _encode((snapshot.index, snapshot.term, snapshot.data))
        await self._disk.replace(self._path("snapshot"), packed)
        self.snapshot = snapshot
        records: list[Any] = [("h", self.hard_state.term, self.hard_state.vote)]
        records += [("e", entry) for entry in entries if entry.index > snapshot.index]
        data = b"".join(_framed(record) for record in records)
        if self._file is not None:
            self._file.close()
        await self._disk.replace(self._path("wal"), data)
        self._file = self._disk.open(self._path("wal"))
        self._size = len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _framed(record: Any) -> bytes:
    payload = _encode(record)
    return _FRAME.pack(len(payload), crc32c(payload)) + payload


def _record_end(data: bytes, at: int) -> int | None:
    """Where the record at `at` ends; None if there is no whole one."""
    if len(data) - at < _FRAME.size:
        return None
    size, crc = _FRAME.unpack_from(data, at)
    end = at + _FRAME.size + size
    if size == 0 or size > RECORD_BYTES_MAX or end > len(data):
        return None
    return end if crc32c(data[at + _FRAME.size : end]) == crc else None


def _whole_record_after(data: bytes, at: int) -> bool:
    """Whether the bytes from `at` on are more than a torn tail: the record that begins there is
    damaged, yet its length leads to one that is whole."""
    if len(data) - at < _FRAME.size:
        return False
    size, _ = _FRAME.unpack_from(data, at)
    after = at + _FRAME.size + size
    return 0 < size <= RECORD_BYTES_MAX and _record_end(data, after) is not None
