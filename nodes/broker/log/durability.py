"""How far a log is durable, and the order of writes that makes its word good.

Bytes come first, then the entries of indexes and epochs that speak of them, then the recovery point
that promises both; and before anything is cut, a recovery point below it. What is before the start
of the log is deleted only after the start is stored.

All that waits for the disk takes turns: nothing is cut or closed while it is being synced. Appends
go on meanwhile. A failure is final: after one, nothing is known of what is in the files.
"""

from __future__ import annotations

import asyncio

import msgspec

from harness.host.contract import Disk
from nodes.broker.log import epochs as epochs_file
from nodes.broker.log.epochs import Epochs
from nodes.broker.log.segment import Segment
from nodes.broker.log.segments import Segments
from nodes.broker.log.state import State, store_state

_copy = msgspec.structs.replace


class Durability:
    """Of one log.

    Attributes:
        state: the log's start, and up to where it is durable. stored: what is on disk of that.
        turn: to be held by whoever waits for the disk, or cuts.
        doomed: segments before the start; their files are deleted with the next checkpoint.
    """

    def __init__(self, disk: Disk, folder: str, stored: State) -> None:
        self._disk, self._folder = disk, folder
        self.state, self.stored = _copy(stored), stored
        self.turn = asyncio.Lock()
        self.doomed: list[Segment] = []
        self._failure: OSError | None = None

    def require_disk(self) -> None:
        """Raises OSError: the one that came first."""
        if self._failure is not None:
            raise self._failure

    def failed(self, error: OSError) -> None:
        self._failure = self._failure or error

    # -- with the turn -----------------------------------------------------------------------

    async def flush(self, segments: Segments, end: int) -> None:
        """Make everything before `end` durable. Raises OSError."""
        self.require_disk()
        if end <= self.state.recovery_point:
            return
        try:
            # Those before the start, too, until it is stored: a hole would end the log there.
            doomed = [segment for segment in self.doomed if segment.dirty]
            for segment in (*doomed, *segments.dirty(end)):
                await self._sync_batches(segment)
            if not segments.names_synced:
                await self._sync_names(segments)
        except OSError as error:
            self.failed(error)
            raise
        self.state.recovery_point = end

    async def _sync_batches(self, segment: Segment) -> None:
        await segment.fsync()

    async def _sync_names(self, segments: Segments) -> None:
        segments.names_synced = True  # a segment that begins meanwhile takes it back
        try:
            await self._disk.fsync_dir(self._folder)
        except BaseException:
            segments.names_synced = False
            raise

    async def checkpoint(self, segments: Segments, epochs: Epochs) -> None:
        """Store what is known, and delete what is before the start. Raises OSError."""
        self.require_disk()
        doomed = list(self.doomed)
        await self.store(segments, epochs)
        for segment in doomed:
            segment.remove()
        del self.doomed[: len(doomed)]

    async def store(self, segments: Segments, epochs: Epochs) -> None:
        """Raises OSError."""
        state, dump, dirty = _copy(self.state), epochs.dump(), epochs.dirty
        # Taken back here, where they are dumped: one that begins while the disk is waited for is
        # not in this dump, and batches of it below the next recovery point would be believed to be
        # of the epoch before.
        epochs.dirty = False
        try:
            await self._store_what_speaks_of_batches(segments, state, dump if dirty else None)
        except BaseException:
            epochs.dirty |= dirty
            raise
        await self._store(state)

    async def _store_what_speaks_of_batches(
        self, segments: Segments, state: State, dump: bytes | None
    ) -> None:
        before, after = self.stored.recovery_point, state.recovery_point
        if after > before:
            for segment in segments.between(before, after):
                await segment.sync_indexes()
            await self._disk.fsync_dir(self._folder)
        if dump is not None:
            await self._disk.replace(f"{self._folder}/{epochs_file.FILE}", dump)

    async def lower(self, offset: int) -> None:
        """Nothing from `offset` on counts as durable any more, before it is cut: else other batches
        would come to stand there after a crash, and be believed. Raises OSError."""
        self.require_disk()
        self.state.recovery_point = min(self.state.recovery_point, offset)
        # Not higher than it is stored, either: indexes and epochs are not synced up to there.
        await self._store(_copy(self.state, recovery_point=min(self.stored.recovery_point, offset)))

    async def _store(self, state: State) -> None:
        if state != self.stored:
            await store_state(self._disk, self._folder, state)
            self.stored = state
