"""The log of one partition: segments, epochs and producers, kept consistent through crashes.

    topic-partition/
        00000000000000000000.log .index .timeindex   a segment, named by its first offset
        00000000000000004711.snapshot                producers as they were at that offset
        leader-epoch-checkpoint                      where each leader epoch began
        log-state, partition.metadata                see `nodes.broker.log.state`

Appends reach the page cache; `flush` makes them durable. Appends, reads and `delete_before` are
synchronous; what waits for the disk (`flush`, `checkpoint`, `truncate`, …) is done one after the
other. The order of durable writes is what recovery relies on: bytes, then the entries of indexes
and epochs that speak of them, then the recovery point; and a lower recovery point before a cut.
"""

from __future__ import annotations

import asyncio
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

import msgspec

from harness.host.contract import Disk
from nodes.broker.log import epochs as epochs_file
from nodes.broker.log.batch import Batch, Buffer, batches, one_batch, patch, stamp
from nodes.broker.log.config import LogConfig
from nodes.broker.log.epochs import Epochs
from nodes.broker.log.errors import (
    BatchTooLarge,
    Damaged,
    InvalidTimestamp,
    Misplaced,
    OffsetOutOfRange,
)
from nodes.broker.log.producers import Producers
from nodes.broker.log.records import first_at_or_after
from nodes.broker.log.recovery import Recovered, Recovery
from nodes.broker.log.segment import MAX_BYTES, Segment
from nodes.broker.log.snapshots import Snapshots
from nodes.broker.log.state import State, claim, load_state, store_state

DELETED = ".deleted"
"""Suffix of a folder that is being deleted, so that half of it is never taken for a log."""

_copy = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a leader's append went. `timestamp` is -1 unless the log stamps (LogAppendTime)."""

    base_offset: int
    last_offset: int
    timestamp: int
    duplicate: bool


def _always() -> bool:
    return True


class Log:
    """One partition's log. Not thread safe; one loop owns it.

    Attributes:
        config: may be replaced at any time. recovered: what opening found.
    """

    def __init__(self, disk: Disk, folder: str, config: LogConfig, now_ms: int) -> None:
        self._disk, self.folder, self.config = disk, folder, config
        self.segments: list[Segment] = []
        self.epochs = Epochs()
        self.producers = Producers()
        self.recovered = Recovered()
        self._snapshots = Snapshots(disk, folder)
        self._state, self._stored = State(), State()
        self._doomed: list[Segment] = []  # before the start; their files go with a checkpoint
        self._names_synced = False
        self._failure: OSError | None = None
        self._now_ms = self._last_flush_ms = now_ms
        self._turn = asyncio.Lock()  # of what waits for the disk, and of what closes files

    # -- life --------------------------------------------------------------------------------

    @staticmethod
    async def open(
        disk: Disk,
        folder: str,
        config: LogConfig | None = None,
        *,
        now_ms: int,
        topic_id: uuid.UUID | None = None,
    ) -> Log:
        """Open or make the log, whatever it went through.

        Raises:
            WrongTopic: the folder is another topic's. Damaged: see `nodes.broker.log.recovery`.
            OSError: the disk failed.
        """
        if not disk.exists(folder):
            disk.mkdir(folder)
            await disk.fsync_dir(PurePath(folder).parent)
        if topic_id is not None:
            await claim(disk, folder, topic_id)
        log = Log(disk, folder, config or LogConfig(), now_ms)
        try:
            await log._recover()
        except BaseException:
            log.abandon()
            raise
        return log

    async def _recover(self) -> None:
        stored = load_state(self._disk, self.folder)
        epochs = self._load_epochs() if stored is not None else None
        self._state = stored or State()
        self._stored = _copy(self._state)
        durable, start = self._state.recovery_point, self._state.start_offset
        self.epochs = epochs or Epochs()
        self.epochs.truncate_to(durable)  # batches after it say themselves of which epoch they are
        interval_bytes = self.config.index_interval_bytes
        recovery = Recovery(
            self._disk, self.folder, interval_bytes, start, durable, self.epochs, epochs is not None
        )
        self.recovered = await recovery.run()
        self.segments = self.recovered.segments
        if self.segments and self.end_offset < start:
            # Batches before the start, which nobody asks for, are not whole: the rest is gone, too.
            for segment in self.segments:
                segment.remove()
            self.segments.clear()
        if not self.segments:
            self._new_segment(start)
        if self.end_offset < durable:
            raise Damaged(f"{self.folder} ends at {self.end_offset}; it was durable to {durable}")
        self._state.start_offset = max(start, self.segments[0].base)
        self.epochs.truncate_to(self.end_offset)
        self.epochs.drop_before(self.start_offset)
        if self._snapshots.drop(self._snapshots.above(self.end_offset)):
            await self._disk.fsync_dir(self.folder)
        self._load_producers()

    def _load_epochs(self) -> Epochs | None:
        try:
            return Epochs.load(self._disk.read(f"{self.folder}/{epochs_file.FILE}"))
        except (FileNotFoundError, ValueError):
            return None

    async def close(self) -> None:
        """Flush and store everything, and let go of the files. Raises OSError."""
        await self.flush()
        self._store_snapshot()
        await self.checkpoint()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files without storing anything."""
        for segment in (*self.segments, *self._doomed):
            segment.close()

    async def remove(self) -> None:
        """Delete the log for good. Raises OSError."""
        async with self._turn:
            self.abandon()
            remove_folder(self._disk, self.folder)

    # -- what there is -----------------------------------------------------------------------

    @property
    def start_offset(self) -> int:
        return self._state.start_offset

    @property
    def end_offset(self) -> int:
        return self.segments[-1].end

    @property
    def recovery_point(self) -> int:
        """Everything before this offset is durable."""
        return self._state.recovery_point

    @property
    def settled_end(self) -> int:
        """Up to here batches may be shown and acknowledged: `flush.messages` asks for no flush."""
        if self.end_offset - self._state.recovery_point >= self.config.flush_messages:
            return self._state.recovery_point
        return self.end_offset

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def latest_epoch(self) -> int:
        return self.epochs.latest

    @property
    def last_epoch(self) -> int:
        """The epoch of the last batch, -1 if there is none; epochs that wrote nothing are later."""
        return self.epochs.at(self.end_offset - 1)

    def end_of_epoch(self, epoch: int) -> tuple[int, int]:
        """(largest known epoch ≤ `epoch`, its end offset); see `Epochs.end_of`."""
        return self.epochs.end_of(epoch, self.end_offset)

    # -- appending ---------------------------------------------------------------------------

    def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
        """Append the one batch of a produce request; `data` is patched in place.

        Raises:
            CorruptBatch, InvalidRecord, BatchTooLarge, InvalidTimestamp, OutOfOrderSequence,
            InvalidProducerEpoch: the batch is refused; nothing was written.
            OSError: the disk failed; nothing counts as written.
        """
        config = self.config
        batch = one_batch(data, config.max_message_bytes)
        if batch.size > config.segment_bytes:
            raise BatchTooLarge(f"{batch.size} bytes fit no segment of {config.segment_bytes}")
        self._check_time(batch, now_ms)
        past = self.producers.check(batch)
        if past is not None:
            timestamp = past.timestamp if config.stamps else -1
            return Appended(past.base_offset, past.last_offset, timestamp, duplicate=True)
        base = self.end_offset
        patch(data, 0, base, epoch)
        if config.stamps:
            stamp(data, 0, batch.size, now_ms)
            batch = _copy(
                batch, attributes=batch.attributes | 0x08, max_timestamp=now_ms, base_offset=base
            )
        batch = _copy(batch, base_offset=base, leader_epoch=epoch)
        self._write(data, [batch], now_ms)
        timestamp = now_ms if config.stamps else -1
        return Appended(base, batch.last_offset, timestamp, duplicate=False)

    def _check_time(self, batch: Batch, now_ms: int) -> None:
        if batch.is_stamped:
            raise InvalidTimestamp("a producer sends the time of creation; the log stamps")
        if self.config.stamps:
            return
        latest_ms = now_ms + self.config.message_timestamp_after_max_ms
        if not -1 <= batch.max_timestamp <= latest_ms:
            raise InvalidTimestamp(f"timestamp {batch.max_timestamp}; now is {now_ms}")

    def append_follower(self, data: Buffer, now_ms: int) -> None:
        """Append what the leader sent: whole batches with their offsets and epochs.

        Raises:
            CorruptBatch: damaged on the way. Misplaced: they cannot follow this log. Nothing was
            written. OSError: the disk failed; nothing counts as written.
        """
        found = [batch for _, batch in batches(data)]
        end, epoch = self.end_offset, self.last_epoch
        for batch in found:
            if batch.base_offset < end or batch.leader_epoch < epoch:
                raise Misplaced(
                    f"offset {batch.base_offset} of epoch {batch.leader_epoch} came where offset "
                    f"{end} follows epoch {epoch}"
                )
            end, epoch = batch.next_offset, batch.leader_epoch
        if found:
            self._write(data, found, now_ms)

    def _write(self, data: Buffer, found: list[Batch], now_ms: int) -> None:
        self._require_disk()
        self._now_ms = now_ms
        try:
            segment = self.segments[-1]
            if segment.size and self._roll_is_due(segment, len(data), found):
                segment = self._roll()
            segment.append(data, found)
        except OSError as error:
            self._failure = error
            raise
        for batch in found:
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
            self.producers.append(batch, now_ms)

    def _roll_is_due(self, segment: Segment, more_bytes: int, found: list[Batch]) -> bool:
        size_max = min(self.config.segment_bytes, MAX_BYTES)
        if segment.size + more_bytes > size_max or found[-1].last_offset - segment.base > MAX_BYTES:
            return True
        first_ms = segment.first_timestamp or 0
        return max(batch.max_timestamp for batch in found) - first_ms > self.config.segment_ms

    def _roll(self) -> Segment:
        self.segments[-1].write_indexes()
        self._store_snapshot()
        return self._new_segment(self.end_offset)

    def _new_segment(self, base: int) -> Segment:
        self._names_synced = False
        segment = Segment(self._disk, self.folder, base, self.config.index_interval_bytes)
        self.segments.append(segment)
        return segment

    # -- durability --------------------------------------------------------------------------

    def flush_is_due(self, now_ms: int) -> bool:
        """By flush.messages or flush.ms."""
        unflushed = self.end_offset - self._state.recovery_point
        if unflushed <= 0:
            return False
        old = now_ms - self._last_flush_ms >= self.config.flush_ms
        return unflushed >= self.config.flush_messages or old

    async def flush(self, now_ms: int | None = None) -> None:
        """Make everything appended so far durable.

        Raises:
            OSError: nothing is known to be durable but what was before; the log takes no more.
        """
        end = self.end_offset
        async with self._turn:
            await self._flush_to(end)
        self._last_flush_ms = now_ms if now_ms is not None else self._now_ms

    async def _flush_to(self, end: int) -> None:
        """The turn is ours, so nothing is cut meanwhile; appends go on."""
        self._require_disk()
        before = self._state.recovery_point
        if end <= before:
            return  # a flush that began later was done while we waited for our turn
        end = max(end, self.end_offset) if end > self.segments[-1].base else end
        try:
            for segment in [s for s in self.segments if s.end > before and s.base < end]:
                await segment.file.fsync()
            if not self._names_synced:
                self._names_synced = True
                await self._disk.fsync_dir(self.folder)
        except OSError as error:
            self._failure = error
            raise
        self._state.recovery_point = end

    async def checkpoint(self) -> None:
        """Make full segments durable, store what is known, delete what is before the start.

        Raises OSError. To lose a checkpoint costs time at a start, no data.
        """
        async with self._turn:
            await self._flush_to(self.segments[-1].base)
            await self._store()
            doomed, self._doomed = self._doomed, []
            for segment in doomed:
                segment.remove()
            if doomed:
                self._snapshots.drop(self._snapshots.below(self.segments[0].base))

    async def _store(self) -> None:
        """The recovery point comes last: all that it promises is durable before it."""
        state, dump = _copy(self._state), self.epochs.dump()
        before, after = self._stored.recovery_point, state.recovery_point
        if after > before:
            for segment in list(self.segments):
                if segment.base < after and segment.end > before:
                    await segment.sync_indexes()
            await self._disk.fsync_dir(self.folder)
        if self.epochs.dirty:
            self.epochs.dirty = False
            try:
                await self._disk.replace(f"{self.folder}/{epochs_file.FILE}", dump)
            except BaseException:
                self.epochs.dirty = True
                raise
        if state != self._stored:
            await store_state(self._disk, self.folder, state)
            self._stored = state

    def _require_disk(self) -> None:
        if self._failure is not None:
            raise self._failure

    # -- reading -----------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, upto: int, *, at_least_one: bool = True) -> bytes:
        """Whole batches from the one that holds `offset` on, none that reaches `upto`.

        Raises:
            OffsetOutOfRange: `offset` is not between start and end of the log.
        """
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRange(
                f"{offset} is not in {self.start_offset}..{self.end_offset} of {self.folder}"
            )
        upto = min(upto, self.end_offset)
        if offset >= upto:
            return b""
        place = self._place_of(offset)
        if offset >= self.segments[place].end:
            place += 1  # what was there is gone: the next batch is in the next segment
        segment = self.segments[place]
        position = segment.position_of(offset)
        return segment.read(position, segment.position_of(upto), max_bytes, at_least_one)

    def offset_for_time(self, timestamp: int) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the first record at or after `timestamp` (ms)."""
        start = self.start_offset
        for segment in self.segments:
            for batch, data in segment.first_since(timestamp, max(start, segment.base)):
                found = first_at_or_after(data, timestamp, start)
                if found is not None:
                    return *found, batch.leader_epoch
        return None

    def max_timestamp(self) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the first record with the largest timestamp."""
        newest = max(segment.max_timestamp for segment in self.segments)
        if newest < 0:
            return None
        found = self.offset_for_time(newest)
        if found is not None:
            return found
        # That one is before the start of the log: DeleteRecords cut through its segment.
        times = (batch.max_timestamp for batch in self._headers(self.start_offset))
        newest = max(times, default=-1)
        return self.offset_for_time(newest) if newest >= 0 else None

    def _place_of(self, offset: int) -> int:
        return bisect_right(self.segments, offset, key=lambda segment: segment.base) - 1

    def _headers(self, offset: int) -> Iterator[Batch]:
        """Of all batches from the one that holds `offset` on."""
        for segment in self.segments:
            if segment.end > offset:
                position = segment.position_of(max(offset, segment.base))
                yield from (batch for _, batch in segment.walk(position))

    # -- cutting -----------------------------------------------------------------------------

    async def truncate(self, offset: int, still: Callable[[], bool] = _always) -> bool:
        """Drop everything from `offset` on; whether anything was dropped.

        `still` is asked at the last moment: if the caller's reason is gone, nothing is dropped.
        Raises OSError.
        """
        if offset >= self.end_offset:
            return False
        async with self._turn:
            await self._lower(offset)
            # From here to the end nothing waits.
            if offset >= self.end_offset or not still():
                return False
            self._cut(offset)
        return True

    async def _lower(self, offset: int) -> None:
        """Nothing from `offset` on counts as durable any more, before it is cut: else other batches
        would come to stand there after a crash, and be believed."""
        self._require_disk()
        self._state.recovery_point = min(self._state.recovery_point, offset)
        if offset < self._stored.recovery_point:
            state = _copy(self._stored, recovery_point=offset)
            await store_state(self._disk, self.folder, state)
            self._stored = state

    def _cut(self, offset: int) -> None:
        offset = max(offset, self.start_offset)
        while len(self.segments) > 1 and self.segments[-1].base >= offset:
            self.segments.pop().remove()
        self.segments[-1].truncate(offset)
        self._state.recovery_point = min(self._state.recovery_point, self.end_offset)
        self.epochs.truncate_to(self.end_offset)
        self._snapshots.drop(self._snapshots.above(self.end_offset))
        self._load_producers()

    async def restart_at(self, offset: int, still: Callable[[], bool] = _always) -> bool:
        """Drop everything and go on at `offset`: the leader has nothing older any more."""
        async with self._turn:
            await self._lower(self.start_offset)
            if not still():
                return False
            for segment in self.segments:
                segment.remove()
            self.segments.clear()
            self._snapshots.drop(self._snapshots.above(-1))
            self._state = State(offset, offset)
            self.epochs, self.producers = Epochs(dirty=True), Producers()
            self._new_segment(offset)
            await self._store()
        return True

    def delete_before(self, offset: int) -> None:
        """Move the start of the log up (DeleteRecords, retention); full segments go with the next
        checkpoint, which makes the new start durable before."""
        assert offset <= self.end_offset
        if offset <= self.start_offset:
            return
        self._state.start_offset = offset
        while len(self.segments) > 1 and self.segments[0].end <= offset:
            self._doomed.append(self.segments.pop(0))
        self.epochs.drop_before(offset)

    def apply_retention(self, now_ms: int, bound: int) -> None:
        """Delete segments that are too old or too much, none that reaches past `bound` (the high
        watermark). Raises OSError."""
        keep, size = self.start_offset, self.size
        for segment in self.segments:
            if segment.end > bound or not segment.size or not self._expired(segment, size, now_ms):
                break
            keep = segment.end
            size -= segment.size
        if keep == self.end_offset and self.segments[-1].size:
            self._roll()
        self.delete_before(keep)

    def _expired(self, segment: Segment, size: int, now_ms: int) -> bool:
        config = self.config
        newest = segment.max_timestamp  # -1: no record has a time, and so no age
        if config.retention_ms >= 0 and 0 <= newest < now_ms - config.retention_ms:
            return True
        return config.retention_bytes >= 0 and size - segment.size >= config.retention_bytes

    # -- producers' snapshots ----------------------------------------------------------------

    def _store_snapshot(self) -> None:
        self._snapshots.store(self.end_offset, self.last_epoch, self.producers)

    def _load_producers(self) -> None:
        """From the newest snapshot that is of this log, and the batches after it."""
        start, self.producers = self._snapshots.newest(
            self.segments[0].base, self.end_offset, self._is_ours
        )
        for batch in self._headers(start):
            self.producers.append(batch, self._now_ms)

    def _is_ours(self, offset: int, epoch: int) -> bool:
        """Epoch and offset of a batch tell all that is before it, as in any replicated log. What is
        before the start was replicated before it was deleted, so there is no other branch."""
        return offset <= self.start_offset or self.epochs.at(offset - 1) == epoch

    def _check(self) -> None:
        """Every invariant; reads all files."""
        assert self.segments, "there is always an active segment"
        for segment, after in zip(self.segments, self.segments[1:], strict=False):
            assert segment.end == after.base, "segments join"
        for segment in self.segments:
            segment._check()
        assert self.segments[0].base <= self.start_offset <= self.end_offset
        assert self._stored.recovery_point <= self._state.recovery_point <= self.end_offset
        self.epochs._check()
        self.producers._check()
        assert all(start <= self.end_offset for start in self.epochs.starts)
        for batch in self._headers(self.start_offset):
            assert self.epochs.at(max(batch.base_offset, self.start_offset)) == batch.leader_epoch


def remove_folder(disk: Disk, folder: str) -> None:
    """Delete a log's folder such that no crash leaves half of it under its name."""
    if not disk.exists(folder):
        return
    aside = folder + DELETED
    if disk.exists(aside):
        disk.rmtree(aside)
    disk.rename(folder, aside)
    disk.rmtree(aside)
