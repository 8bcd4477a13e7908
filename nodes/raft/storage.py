"""Raft's durable state: a write-ahead log and the newest snapshot.

    raft/wal        frames, one for each `save`: MessagePack of a list of
                    ["s", index, term]   first in a rewritten WAL: it goes on from this snapshot
                    ["h", term, vote], ["t", truncate from], ["e", entry]
    raft/snapshot   one frame: MessagePack of [index, term, time_ms, data]

`save` returns when everything is durable, with one fsync for all of it, and nothing is written
before the last frame is durable. So a damaged frame with a whole one after it was durable once,
and the node refuses to start: to forget a vote or an entry would break what it promised to others.
The last frame may have been torn by a crash, and is cut, for nothing in it was ever acknowledged.
What a crash leaves unwritten is missing or zero, in whole sectors or from some byte on; a last
frame that is all there and yet wrong was damaged later, and is refused, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import msgspec

from harness.errors import EnvironmentFailure
from harness.host.contract import Disk, File
from nodes.raft.frames import Found, find_frame, frame, frame_size, is_torn
from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry
from nodes.raft.ready import HardState, Ready

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class CorruptState(EnvironmentFailure):
    """Durable state is damaged. The node must not take part with it."""


class Storage:
    """The files of one node, below `folder`.

    Attributes:
        hard_state, snapshot, entries: after `open`, what a core starts from.
    """

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder
        self._wal, self._snapshot = f"{folder}/wal", f"{folder}/snapshot"
        self._file: File | None = None
        self._size = 0
        self.hard_state = HardState()
        self.snapshot = Snapshot()
        self.entries: list[Entry] = []

    # -- reading -----------------------------------------------------------------------------

    async def open(self) -> None:
        """Read everything.

        Raises:
            CorruptState: something that was durable is damaged. OSError: the disk fails.
        """
        self._disk.mkdir(self._folder)
        # Else a power failure could take the folder, and in it a vote that others counted. Every
        # time: who made it may have died before it came to this.
        await self._disk.fsync_dir(PurePath(self._folder).parent)
        if self._disk.exists(self._snapshot):
            self.snapshot = self._read_snapshot(self._disk.read(self._snapshot))
        if not self._disk.exists(self._wal):
            if self.snapshot.index:
                raise self._corrupt(self._wal, "it is missing, and there is a snapshot")
            await self._disk.replace(self._wal, b"")
        self._file = self._disk.open(self._wal)
        data = self._file.read_at(0, self._file.size())
        self._replay(self._read_records(data))
        if data:
            # What can be read need not be durable: after an fsync that failed it may be in the page
            # cache only, which no later fsync writes again. To go on behind it would be to have a
            # power failure make a hole before frames that are whole. Besides, a crash may have left
            # a torn frame, or come between a snapshot and the WAL that goes on from it.
            await self._rewrite(self.entries)

    def _read_snapshot(self, data: bytes) -> Snapshot:
        found = find_frame(data, 0)
        if not isinstance(found, bytes) or frame_size(found) != len(data):
            raise self._corrupt(self._snapshot, "it is not what was written")
        index, term, time_ms, state = _decode(found)
        return Snapshot(index, term, state, time_ms)

    def _read_records(self, data: bytes) -> list[Any]:
        """All records of whole frames; `_size` is where these end."""
        records: list[Any] = []
        while isinstance(found := find_frame(data, self._size), bytes):
            records += _decode(found)
            self._size += frame_size(found)
        if found is Found.WHOLE_ONE_LATER:
            text = f"damage at byte {self._size}, before frames that are whole"
            raise self._corrupt(self._wal, text)
        if self._size < len(data) and not is_torn(data, self._size):
            raise self._corrupt(self._wal, f"damage at byte {self._size}, in the last frame")
        return records

    def _replay(self, records: list[Any]) -> None:
        """Take in the records."""
        base, base_term = 0, 0
        entries: list[Entry] = []
        for kind, *rest in records:
            match kind:
                case "s":
                    base, base_term = rest
                case "h":
                    self.hard_state = HardState(*rest)
                case "t":
                    del entries[max(rest[0] - base - 1, 0) :]
                case "e":
                    entry = msgspec.convert(rest[0], Entry)
                    if entry.index != base + len(entries) + 1:
                        raise self._corrupt(self._wal, f"entry {entry.index} is out of place")
                    entries.append(entry)
        if base > self.snapshot.index:
            raise self._corrupt(self._wal, f"it goes on from a snapshot at {base}, which is not")
        # What follows the snapshot is of use only if it followed it here, too.
        covered = self.snapshot.index - base
        terms = [base_term, *(entry.term for entry in entries)]
        follows = covered < len(terms) and terms[covered] == self.snapshot.term
        self.entries = entries[covered:] if follows else []

    def _corrupt(self, path: str, why: str) -> CorruptState:
        return CorruptState(
            f"{path} is damaged: {why}; this node would forget what it promised. Restore its disk, "
            "or replace the node"
        )

    # -- writing -----------------------------------------------------------------------------

    async def save(self, ready: Ready) -> None:
        """Make what `ready` says durable. Raises OSError; then nothing may be acknowledged."""
        records: list[Any] = []
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
            records.append(("h", ready.hard_state.term, ready.hard_state.vote))
        if ready.snapshot is not None:
            await self._append(records)  # a snapshot is never of a later term than the node
            await self.compact(ready.snapshot, ready.entries)
            return
        if ready.truncate_from is not None:
            records.append(("t", ready.truncate_from))
        await self._append([*records, *(("e", entry) for entry in ready.entries)])

    async def _append(self, records: list[Any]) -> None:
        if not records:
            return
        assert self._file is not None
        data = frame(_encode(records))
        self._file.write_at(self._size, data)
        await self._sync(records)
        self._size += len(data)

    async def _sync(self, records: Sequence[Any]) -> None:
        """Return when `records`, which were just written, are durable."""
        assert self._file is not None
        await self._file.fsync()

    async def compact(self, snapshot: Snapshot, entries: Sequence[Entry]) -> None:
        """Replace the snapshot, and the WAL by `entries`: all that is durable after it.

        The snapshot is durable before the WAL forgets what it covers.
        """
        packed = _encode((snapshot.index, snapshot.term, snapshot.time_ms, snapshot.data))
        await self._disk.replace(self._snapshot, frame(packed))
        self.snapshot = snapshot
        await self._rewrite(entries)

    async def _rewrite(self, entries: Sequence[Entry]) -> None:
        assert not entries or entries[0].index == self.snapshot.index + 1
        records: list[Any] = [
            ("s", self.snapshot.index, self.snapshot.term),
            ("h", self.hard_state.term, self.hard_state.vote),
            *(("e", entry) for entry in entries),
        ]
        data = frame(_encode(records))
        self.close()
        await self._disk.replace(self._wal, data)
        self._file, self._size = self._disk.open(self._wal), len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
