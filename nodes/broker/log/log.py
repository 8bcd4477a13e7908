"""The log of one partition: segments, epochs and producers, kept consistent through crashes.

    topic-partition/
        00000000000000000000.log .index .timeindex   a segment, named by its first offset
        00000000000000004711.snapshot                producers as they were at that offset
        leader-epoch-checkpoint                      where each leader epoch began
        log-state, partition.metadata                see `nodes.broker.log.state`

Appends reach the page cache; `flush` makes them durable. Appends, reads and `delete_before` are
synchronous; what waits for the disk (`flush`, `checkpoint`, `truncate`, …) is done one after the
other, in the order that `nodes.broker.log.durability` explains.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath

import msgspec

from harness.host.contract import Disk
from nodes.broker.log import epochs as epochs_file
from nodes.broker.log.batch import (
    STAMPED,
    Batch,
    Buffer,
    batches,
    one_batch,
    patch,
    read_header,
    stamp,
)
from nodes.broker.log.cleaner import Cleaned, Cleaning, groups, replace
from nodes.broker.log.compaction import Horizons, records_of
from nodes.broker.log.config import LogConfig
from nodes.broker.log.durability import Durability
from nodes.broker.log.epochs import Epochs
from nodes.broker.log.errors import (
    BatchTooLarge,
    CorruptBatch,
    Damaged,
    InvalidRecord,
    InvalidTimestamp,
    Misplaced,
    OffsetOutOfRange,
)
from nodes.broker.log.producers import Producers
from nodes.broker.log.records import first_at_or_after, newest_record
from nodes.broker.log.recovery import Recovered, Recovery
from nodes.broker.log.segment import NEVER, Segment
from nodes.broker.log.segments import Segments
from nodes.broker.log.snapshots import Snapshots
from nodes.broker.log.state import State, claim, load_state, remove_folder
from nodes.broker.log.transactions import Marker, Transactions, control_batch, read_marker

SNAPSHOT_BYTES = 16 << 20
"""A checkpoint stores the producers when this much was appended, so that a cut reads no more."""

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

    new_segment: type[Segment] = Segment
    new_segments: type[Segments] = Segments
    new_recovery: type[Recovery] = Recovery
    new_durability: type[Durability] = Durability

    def __init__(self, disk: Disk, folder: str, config: LogConfig, now_ms: int) -> None:
        self._disk, self.folder, self.config = disk, folder, config
        self.segments = self._segments([])
        self.epochs = Epochs()
        self.producers = Producers()
        self.recovered = Recovered()
        self._snapshots = Snapshots(disk, folder)
        self._durability = self.new_durability(disk, folder, State())
        self._now_ms = self._last_flush_ms = now_ms
        self._since_snapshot = 0  # bytes
        self._cleaned_to = 0

    # -- life --------------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
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
        disk.mkdir(folder)
        # Every time: who made it may have died before it came to this, and the power may fail next.
        await disk.fsync_dir(PurePath(folder).parent)
        if topic_id is not None:
            await claim(disk, folder, topic_id)
        log = cls(disk, folder, config or LogConfig(), now_ms)
        try:
            await log._recover()
        except CorruptBatch as error:  # among what was durable, and is read for its headers only
            log.abandon()
            raise Damaged(f"{folder}: {error}") from error
        except BaseException:
            log.abandon()
            raise
        return log

    async def _recover(self) -> None:
        stored = load_state(self._disk, self.folder)
        epochs = self._load_epochs() if stored is not None else None
        self._durability = self.new_durability(self._disk, self.folder, stored or State())
        durable, start = self._state.recovery_point, self._state.start_offset
        self.epochs = epochs or Epochs()
        self.epochs.truncate_to(durable)  # batches after it say themselves of which epoch they are
        interval_bytes = self.config.index_interval_bytes
        recovery = self.new_recovery(
            self._disk,
            self.folder,
            interval_bytes,
            start,
            durable,
            self.epochs,
            use_indexes=epochs is not None,
            new_segment=self.new_segment,
        )
        self.recovered = await recovery.run()
        self.segments = self._segments(self.recovered.segments)
        if not len(self.segments):
            self.segments.begin(start)
        elif self.end_offset < start:
            # Of batches before the start, which nobody asks for, some are gone: then all may go.
            self.segments.restart(start)
        if self.end_offset < durable:
            raise Damaged(f"{self.folder} ends at {self.end_offset}; it was durable to {durable}")
        self._state.start_offset = max(start, self.segments.base)
        self.epochs.truncate_to(self.end_offset)
        self.epochs.drop_before(self.start_offset)
        if self._snapshots.drop(self._snapshots.above(self.end_offset)):
            await self._disk.fsync_dir(self.folder)
        self._load_producers()

    def _segments(self, all: list[Segment]) -> Segments:
        interval_bytes = self.config.index_interval_bytes
        return self.new_segments(self._disk, self.folder, interval_bytes, all, self.new_segment)

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
        self.segments.close()
        for segment in self._durability.doomed:
            segment.close()

    async def remove(self) -> None:
        """Delete the log for good. Raises OSError.

        Who waits for a turn gets none any more: another log may have the folder by then.
        """
        async with self._durability.turn:
            self._durability.failed(OSError(errno.ESTALE, "the log was removed", self.folder))
            self.abandon()
            await remove_folder(self._disk, self.folder)

    # -- what there is -----------------------------------------------------------------------

    @property
    def _state(self) -> State:
        return self._durability.state

    @property
    def start_offset(self) -> int:
        return self._state.start_offset

    @property
    def stored_start(self) -> int:
        """The start that a crash leaves: the next checkpoint moves it."""
        return self._durability.stored.start_offset

    @property
    def end_offset(self) -> int:
        return self.segments.end

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
        return self.segments.size

    @property
    def latest_epoch(self) -> int:
        return self.epochs.latest

    @property
    def last_epoch(self) -> int:
        """The epoch of the last batch, -1 if there is none; epochs that wrote nothing are later."""
        return self.epochs.at(self.end_offset - 1)

    @property
    def transactions(self) -> Transactions:
        return self.producers.transactions

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
        if config.compacts:
            self._require_keys(batch, data)
        past = self.producers.check(batch)
        if past is not None:
            timestamp = past.timestamp if config.stamps else -1
            return Appended(past.base_offset, past.last_offset, timestamp, duplicate=True)
        base = self.end_offset
        patch(data, 0, base, epoch)
        if config.stamps:
            stamp(data, 0, batch.size, now_ms)
            batch = _copy(
                batch, attributes=batch.attributes | STAMPED, max_timestamp=now_ms, base_offset=base
            )
        batch = _copy(batch, base_offset=base, leader_epoch=epoch)
        self._write(data, [batch], now_ms)
        timestamp = now_ms if config.stamps else -1
        return Appended(base, batch.last_offset, timestamp, duplicate=False)

    def _require_keys(self, batch: Batch, data: Buffer) -> None:
        try:
            keyless = sum(record.key is None for record in records_of(batch, data))
        except CorruptBatch as error:
            raise InvalidRecord(str(error)) from error
        if keyless:
            text = f"{keyless} records without a key, which a compacted topic needs"
            raise InvalidRecord(text)

    def append_marker(
        self, producer_id: int, producer_epoch: int, marker: Marker, epoch: int, now_ms: int
    ) -> Appended:
        """Append, as leader, what ends a producer's transaction here.

        Raises:
            InvalidProducerEpoch, CoordinatorFenced: refused; nothing was written. OSError.
        """
        self.producers.check_marker(producer_id, producer_epoch, marker)
        return self.append_own(
            control_batch(producer_id, producer_epoch, marker, now_ms), epoch, now_ms
        )

    def append_own(self, data: bytearray, epoch: int, now_ms: int) -> Appended:
        """Append, as leader, a batch that a broker made; `data` is patched in place.

        Raises:
            InvalidProducerEpoch: of a producer that was replaced; nothing was written.
            OSError: the disk failed; nothing counts as written.
        """
        base = self.end_offset
        patch(data, 0, base, epoch)
        batch = read_header(data)
        self.producers.check_epoch(batch.producer_id, batch.producer_epoch)
        self._write(data, [batch], now_ms)
        return Appended(base, batch.last_offset, -1, duplicate=False)

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
        base = found[0].base_offset if found else end
        if base < end == self.start_offset < found[0].next_offset and not self.size:
            # The leader's log begins in the midst of this batch (DeleteRecords), and so does ours.
            end, restart = base, True
        else:
            restart = False
        for batch in found:
            if batch.base_offset < end or batch.leader_epoch < epoch:
                raise Misplaced(
                    f"offset {batch.base_offset} of epoch {batch.leader_epoch} came where offset "
                    f"{end} follows epoch {epoch}"
                )
            end, epoch = batch.next_offset, batch.leader_epoch
        if restart:
            self.segments.restart(base)
        if found:
            self._write(data, found, now_ms)
            self.epochs.drop_before(self.start_offset)

    def _write(self, data: Buffer, found: list[Batch], now_ms: int) -> None:
        self._durability.require_disk()
        self._now_ms = now_ms
        try:
            if self.segments.is_full(len(data), found, self.config):
                self._roll()
            self.segments.append(data, found)
        except OSError as error:
            self._durability.failed(error)
            raise
        self._since_snapshot += len(data)
        at = 0
        for batch in found:
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
            marker = read_marker(data[at : at + batch.size]) if batch.is_control else None
            self.producers.append(batch, now_ms, marker)
            at += batch.size

    def _roll(self) -> None:
        self._store_snapshot()
        self.segments.roll()

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
        async with self._durability.turn:
            if end > self._state.recovery_point:  # else a flush that began later covered it
                await self._durability.flush(self.segments, self.end_offset)
        self._last_flush_ms = now_ms if now_ms is not None else self._now_ms

    async def checkpoint(self) -> None:
        """Make full segments durable, store what is known, delete what is before the start.

        Raises OSError. To lose a checkpoint costs time at a start, no data.
        """
        async with self._durability.turn:
            await self._durability.flush(self.segments, self.segments.active.base)
            await self._durability.checkpoint(self.segments, self.epochs)
        if self._since_snapshot >= SNAPSHOT_BYTES:
            self._store_snapshot()
            self._snapshots.tidy([segment.base for segment in self.segments])

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
        return self.segments.read(offset, max_bytes, upto, at_least_one)

    def offset_for_time(self, timestamp: int) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the first record at or after `timestamp` (ms)."""
        start = self.start_offset
        for batch, data in self.segments.first_since(timestamp, start):
            found = first_at_or_after(data, timestamp, start)
            if found is not None:
                return *found, batch.leader_epoch
        return None

    def max_timestamp(self) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the first record with the largest timestamp."""
        newest = self.segments.max_timestamp
        found = self.offset_for_time(newest) if newest >= 0 else None
        if found is not None or newest < 0:
            return found
        # That record is before the start of the log: DeleteRecords cut through its segment, perhaps
        # through its batch.
        start = self.start_offset
        batches = self.segments.headers(start)
        first = next(batches, None)
        if first is None:
            return None
        best = newest_record(self.segments.whole(first), start)
        newest = max((batch.max_timestamp for batch in batches), default=-1)
        if best is not None and best[0] >= newest:
            return *best, first.leader_epoch
        return self.offset_for_time(newest) if newest >= 0 else None

    # -- cutting -----------------------------------------------------------------------------

    async def truncate(self, offset: int, still: Callable[[], bool] = _always) -> bool:
        """Drop everything from `offset` on; whether anything was dropped.

        `still` is asked at the last moment: if the caller's reason is gone, nothing is dropped.
        Raises OSError.
        """
        if offset >= self.end_offset:
            return False
        async with self._durability.turn:
            try:
                return await self._truncate(offset, still)
            except CorruptBatch as error:  # it was whole when it was written
                raise self._broken(error) from error

    async def _truncate(self, offset: int, still: Callable[[], bool]) -> bool:
        offset = max(self.segments.floor(offset), self.start_offset)
        await self._durability.lower(min(offset, self.segments.end_before(offset)))
        # From here to the end nothing waits.
        if offset >= self.end_offset or not still():
            return False
        self._cut(offset)
        return True

    def _cut(self, offset: int) -> None:
        self.segments.cut(offset)
        self._cleaned_to = min(self._cleaned_to, offset)
        if self.end_offset < self.start_offset:
            self.segments.restart(self.start_offset)  # the batch that holds the start went, too
        self._state.recovery_point = min(self._state.recovery_point, self.end_offset)
        self.epochs.truncate_to(self.end_offset)
        self._snapshots.drop(self._snapshots.above(self.end_offset))
        self._load_producers()

    async def restart_at(self, offset: int, still: Callable[[], bool] = _always) -> bool:
        """Drop everything and go on at `offset`: the leader has nothing older any more."""
        async with self._durability.turn:
            await self._durability.lower(self.start_offset)
            if not still():
                return False
            self.segments.restart(offset)
            self._snapshots.drop(self._snapshots.above(-1))
            self._durability.state = State(offset, offset)
            self.epochs, self.producers = Epochs(dirty=True), Producers(complete=offset == 0)
            await self._durability.store(self.segments, self.epochs)
        return True

    def delete_before(self, offset: int) -> None:
        """Move the start of the log up (DeleteRecords, retention); full segments go with the next
        checkpoint, which makes the new start durable before."""
        assert offset <= self.end_offset
        if offset <= self.start_offset:
            return
        self._state.start_offset = offset
        self._durability.doomed += self.segments.drop_before(offset)
        self.epochs.drop_before(offset)
        self.transactions.drop_before(offset)

    def apply_retention(self, now_ms: int, bound: int) -> None:
        """Delete segments that are too old or too much, none that reaches past `bound` (the high
        watermark). Raises OSError."""
        if not self.config.deletes:
            return
        keep = self.segments.expired_before(self.config, now_ms, bound)
        if keep == self.end_offset and self.segments.active.size:
            self._roll()
        self.delete_before(keep)

    async def compact(self, now_ms: int, bound: int) -> Cleaned | None:
        """Compact full segments below `bound` (the last stable offset); None if there is nothing to
        do. Raises OSError: the disk failed."""
        config = self.config
        async with self._durability.turn:
            self._durability.require_disk()
            lag_ms = config.min_compaction_lag_ms  # 0: whatever time it says that it is of
            old_ms = now_ms - lag_ms if lag_ms else NEVER
            closed = self.segments.closed(bound, old_ms)
            dirty = sum(segment.size for segment in closed if segment.end > self._cleaned_to)
            total = sum(segment.size for segment in closed)
            if not dirty or dirty < config.min_cleanable_dirty_ratio * total:
                return None
            try:
                return await self._compact(closed, now_ms)
            except CorruptBatch as error:  # it was whole when it was written
                raise self._broken(error) from error
            except OSError as error:
                self._durability.failed(error)
                raise

    async def _compact(self, closed: list[Segment], now_ms: int) -> Cleaned:
        end = closed[-1].end
        await self._durability.flush(self.segments, end)
        horizons = Horizons(now_ms, self.config.delete_retention_ms)
        cleaning = Cleaning(horizons, self.producers, list(self.transactions.aborted))
        await cleaning.look(closed, self._cleaned_to)
        for group in groups(closed, self.config.segment_bytes):
            await replace(self._disk, self.folder, self.segments, group, cleaning)
        self.transactions.forget(cleaning.found.markers)
        self._cleaned_to = end
        return cleaning.found

    def _broken(self, error: CorruptBatch) -> OSError:
        failure = OSError(errno.EIO, str(error), self.folder)
        self._durability.failed(failure)
        return failure

    # -- producers' snapshots ----------------------------------------------------------------

    def _store_snapshot(self) -> None:
        self._since_snapshot = 0
        self._snapshots.store(self.end_offset, self.last_epoch, self.producers)

    def _load_producers(self) -> None:
        """From the newest snapshot that is of this log, and the batches after it."""
        start, self.producers = self._snapshots.newest(
            self.segments.base, self.end_offset, self._is_ours
        )
        self._replay(self.producers, start)
        self.transactions.drop_before(self.start_offset)
        if self.config.compacts:
            aborted = [each.marker_offset for each in self.transactions.aborted]
            self.transactions.forget(at for at in aborted if not self._has_marker(at))
            for producer_id, first in list(self.transactions.open.items()):
                if not self._has_begun(producer_id, first):
                    del self.transactions.open[producer_id]

    def _has_marker(self, offset: int) -> bool:
        """Whether compaction has left it: who is told of an abort skips all up to its marker."""
        first = next(self.segments.headers(offset), None)
        return first is not None and first.base_offset == offset and first.is_control

    def _has_begun(self, producer_id: int, offset: int) -> bool:
        """Whether a transaction that an old snapshot has as open began here. If compaction has left
        nothing of that, it has ended, and its marker is gone, too."""
        if offset < self.segments.base:
            return True
        first = next(self.segments.headers(offset), None)
        return (
            first is not None and first.base_offset == offset and first.producer_id == producer_id
        )

    def _replay(self, producers: Producers, start: int) -> None:
        for batch in self.segments.headers(start):
            marker = read_marker(self.segments.whole(batch)) if batch.is_control else None
            producers.append(batch, self._now_ms, marker)

    def _is_ours(self, offset: int, epoch: int) -> bool:
        """Epoch and offset of a batch tell all that is before it, as in any replicated log. What is
        before the start was replicated before it was deleted, so there is no other branch."""
        return offset <= self.start_offset or self.epochs.at(offset - 1) == epoch

    def _check(self) -> None:
        """Every invariant; reads all files."""
        self.segments._check()
        assert self.segments.base <= self.start_offset <= self.end_offset
        assert self._durability.stored.recovery_point <= self.recovery_point <= self.end_offset
        self.epochs._check()
        self.producers._check()
        assert all(start <= self.end_offset for start in self.epochs.starts)
        for batch in self.segments.headers(self.start_offset):
            assert self.epochs.at(max(batch.base_offset, self.start_offset)) == batch.leader_epoch
        if self.segments.base == 0:
            anew = Producers()
            self._replay(anew, 0)
            anew.transactions.drop_before(self.start_offset)
            assert anew.transactions.open == self.transactions.open
            if not self.config.compacts:
                assert anew.transactions.aborted == self.transactions.aborted
