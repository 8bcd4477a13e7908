"""The log of one partition: segments, epochs and producers, kept consistent through crashes.

    topic-partition/
        00000000000000000000.log .index .timeindex   a segment, named by its first offset
        00000000000000004711.snapshot                producers as they were at that offset
        leader-epoch-checkpoint                      where each leader epoch began
        log-state                                    log start offset, recovery point

Appends reach the page cache; `flush` makes them durable. After a crash the log is cut at the first
batch that is torn or corrupt; what was flushed before is only read by its headers. Epochs and
producers are rebuilt from the batches themselves, since a checkpoint may be older than the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from harness.host.contract import Disk
from nodes.broker.log import epochs as epochs_module
from nodes.broker.log.batch import Batch, batches, patch, stamp
from nodes.broker.log.epochs import Epochs
from nodes.broker.log.producers import Producers
from nodes.broker.log.records import first_at_or_after
from nodes.broker.log.segment import Segment

STATE = "log-state"


class OffsetOutOfRange(Exception):
    """A read below the start or above the end of the log."""


class TooLarge(Exception):
    """A batch over `max.message.bytes`."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The topic's settings that a log obeys, in Kafka's words and defaults."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * 24 * 3600 * 1000
    index_interval_bytes: int = 4096
    max_message_bytes: int = 1_048_588
    flush_messages: int = 2**63 - 1
    flush_ms: int = 2**63 - 1
    retention_ms: int = 7 * 24 * 3600 * 1000
    retention_bytes: int = -1
    message_timestamp_type: str = "CreateTime"

    @staticmethod
    def of(configs: Mapping[str, str]) -> LogConfig:
        """From a topic's configs, by Kafka's names; others are not the log's."""
        names = {name: name.replace("_", ".") for name in LogConfig.__slots__}
        given = {name: configs[kafka] for name, kafka in names.items() if kafka in configs}
        return msgspec.convert(given, LogConfig, strict=False)


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a leader's append went. `timestamp` is -1 unless the log stamps (LogAppendTime)."""

    base_offset: int
    last_offset: int
    timestamp: int
    duplicate: bool


class _State(msgspec.Struct):
    start_offset: int = 0
    recovery_point: int = 0


class Log:
    """One partition's log. Not thread safe; one loop owns it."""

    def __init__(self, disk: Disk, folder: str, config: LogConfig) -> None:
        self._disk, self.folder, self.config = disk, folder, config
        self.segments: list[Segment] = []
        self.epochs = Epochs()
        self.producers = Producers()
        self._state = _State()
        self._last_flush_ms = 0
        self._roll_at_ms: int | None = None

    # -- life --------------------------------------------------------------------------------

    @staticmethod
    def open(disk: Disk, folder: str, config: LogConfig | None = None, *, clean: bool) -> Log:
        """Open or make the log. Unless `clean`, batches after the recovery point are verified."""
        log = Log(disk, folder, config or LogConfig())
        disk.mkdir(folder)
        log._state = log._load_state()
        log.epochs = Epochs.load(disk, folder)
        bases = [int(n[:-4]) for n in disk.listdir(folder) if n.endswith(".log")]
        crc_from = 2**63 - 1 if clean else log._state.recovery_point
        rebuilt = Epochs()
        for base in bases:
            if log.segments and base != log.segments[-1].end:
                # A segment after a cut one is not ours any more: offsets would have a hole.
                log._remove_file(base)
                continue
            segment = Segment(disk, folder, base, log.config.index_interval_bytes)
            log.segments.append(segment)
            for batch in segment.recover(crc_from):
                rebuilt.assign(batch.leader_epoch, batch.base_offset)
        if not log.segments:
            log._new_segment(log._state.start_offset)
        log._state.start_offset = max(log._state.start_offset, log.segments[0].base)
        log.epochs.truncate_to(log.end_offset)
        log._adopt(rebuilt)
        log._rebuild_producers()
        return log

    def _adopt(self, rebuilt: Epochs) -> None:
        """The batches say where epochs with messages began; the checkpoint knows no better."""
        for epoch, start in zip(rebuilt.epochs, rebuilt.starts, strict=True):
            self.epochs.assign(epoch, start)
        self.epochs.drop_before(self.start_offset)

    async def close(self) -> None:
        """Flush and store everything, for a clean start."""
        await self.flush()
        self._store_snapshot()
        for segment in self.segments[-1:]:
            segment.write_indexes()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the files without storing anything."""
        for segment in self.segments:
            segment.close()

    def remove(self) -> None:
        """Delete the log's files for good."""
        self.abandon()
        self._disk.rmtree(self.folder)

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
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def latest_epoch(self) -> int:
        return self.epochs.latest

    def end_of_epoch(self, epoch: int) -> tuple[int, int]:
        """(largest known epoch ≤ `epoch`, its end offset); see `Epochs.end_of`."""
        return self.epochs.end_of(epoch, self.end_offset)

    # -- appending ---------------------------------------------------------------------------

    def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
        """Append a producer's batch (or several); `data` is patched in place.

        Raises:
            CorruptBatch, TooLarge, ProducerError: the batch is refused; nothing was written.
            OSError: the disk failed; nothing counts as written.
        """
        found = list(batches(data))
        for _, batch in found:
            if batch.size > self.config.max_message_bytes:
                raise TooLarge(f"{batch.size} bytes are over {self.config.max_message_bytes}")
            past = self.producers.check(batch)
            if past is not None:
                return Appended(past.base_offset, past.last_offset, -1, duplicate=True)
        stamped = self.config.message_timestamp_type == "LogAppendTime"
        base = offset = self.end_offset
        for at, batch in found:
            patch(data, at, offset, epoch)
            if stamped:
                stamp(data, at, batch.size, now_ms)
            offset += batch.last_delta + 1
        self.epochs.assign(epoch, base)
        self._write(data, now_ms)
        return Appended(base, offset - 1, now_ms if stamped else -1, duplicate=False)

    def append_follower(self, data: bytes | memoryview, now_ms: int) -> None:
        """Append what the leader sent: whole batches with their offsets and epochs.

        Raises:
            CorruptBatch: damaged on the way, or offsets that do not follow; nothing was written.
            OSError: the disk failed; nothing counts as written.
        """
        expected = self.end_offset
        for _, batch in batches(data):
            if batch.base_offset < expected:
                raise ValueError(f"offset {batch.base_offset} came, {expected} was expected")
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
            expected = batch.next_offset
        self._write(data, now_ms)

    def _write(self, data: bytes | bytearray | memoryview, now_ms: int) -> None:
        segment = self.segments[-1]
        if segment.size and self._roll_is_due(segment, len(data), now_ms):
            segment = self._roll()
        if self._roll_at_ms is None:
            self._roll_at_ms = now_ms + self.config.segment_ms
        found = list(batches(data, crc=False))
        segment.append(data, found)
        for _, batch in found:
            self.producers.append(batch)

    def _roll_is_due(self, segment: Segment, more: int, now_ms: int) -> bool:
        config = self.config
        too_old = self._roll_at_ms is not None and now_ms >= self._roll_at_ms
        # Index entries hold 31 bits.
        return segment.size + more > min(config.segment_bytes, 2**31 - 1) or too_old

    def _roll(self) -> Segment:
        self.segments[-1].write_indexes()
        self._store_snapshot()
        return self._new_segment(self.end_offset)

    def _new_segment(self, base: int) -> Segment:
        self.segments.append(
            Segment(self._disk, self.folder, base, self.config.index_interval_bytes)
        )
        self._roll_at_ms = None
        return self.segments[-1]

    # -- durability --------------------------------------------------------------------------

    def flush_is_due(self, now_ms: int) -> bool:
        """By flush.messages or flush.ms."""
        unflushed = self.end_offset - self._state.recovery_point
        if unflushed <= 0:
            return False
        if self._last_flush_ms == 0:
            self._last_flush_ms = now_ms
        old = now_ms - self._last_flush_ms >= self.config.flush_ms
        return unflushed >= self.config.flush_messages or old

    async def flush(self, now_ms: int = 0) -> None:
        """Make everything appended so far durable. Raises OSError; then nothing new is durable."""
        end = self.end_offset
        if end > self._state.recovery_point:
            for segment in self.segments:
                if segment.end > self._state.recovery_point:
                    await segment.file.fsync()
            await self._disk.fsync_dir(self.folder)
            self._state.recovery_point = max(self._state.recovery_point, min(end, self.end_offset))
        self._last_flush_ms = now_ms

    async def checkpoint(self) -> None:
        """Store epochs, log start and recovery point. To lose this costs time at a start, no data."""
        await self._disk.replace(f"{self.folder}/{STATE}", msgspec.json.encode(self._state))
        if self.epochs.dirty:
            dump = self.epochs.dump()
            self.epochs.dirty = False
            await self._disk.replace(f"{self.folder}/{epochs_module.FILE}", dump)

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
        if offset >= upto:
            return b""
        segment = self._segment_of(offset)
        position = segment.position_of(offset)
        end = segment.size if upto >= segment.end else segment.position_of(upto)
        if position == segment.size and segment is not self.segments[-1]:
            return self.read(segment.end, max_bytes, upto, at_least_one=at_least_one)
        return segment.read(position, max_bytes, end, at_least_one)

    def offset_for_time(self, timestamp: int) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the first record at or after `timestamp` (ms)."""
        for segment in self.segments:
            found = segment.offset_for_time(timestamp)
            if found is not None:
                batch, data = found
                at, offset = first_at_or_after(data, timestamp)
                if offset >= self.start_offset:
                    return at, offset, batch.leader_epoch
        return None

    def max_timestamp(self) -> tuple[int, int, int] | None:
        """(timestamp, offset, epoch) of the record with the largest timestamp."""
        best = max(self.segments, key=lambda s: (s.max_timestamp, -s.base))
        if best.max_timestamp < 0:
            return None
        return self.offset_for_time(best.max_timestamp)

    def _segment_of(self, offset: int) -> Segment:
        low, high = 0, len(self.segments) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.segments[middle].base <= offset:
                low = middle
            else:
                high = middle - 1
        return self.segments[low]

    # -- cutting -----------------------------------------------------------------------------

    def truncate(self, offset: int) -> bool:
        """Drop everything from `offset` on; whether anything was dropped."""
        if offset >= self.end_offset:
            return False
        while len(self.segments) > 1 and self.segments[-1].base >= offset:
            self.segments.pop().remove()
        last = self.segments[-1]
        if offset <= last.base:
            last.remove()
            self.segments.pop()
            self._new_segment(max(offset, self.start_offset))
        else:
            last.truncate(offset)
        self._state.recovery_point = min(self._state.recovery_point, self.end_offset)
        self.epochs.truncate_to(self.end_offset)
        self._drop_snapshots_after(self.end_offset)
        self._rebuild_producers()
        return True

    def restart_at(self, offset: int) -> None:
        """Drop everything and go on at `offset`: the leader has nothing older any more."""
        for segment in self.segments:
            segment.remove()
        self.segments.clear()
        self._drop_snapshots_after(-1)
        self._state.start_offset = self._state.recovery_point = offset
        self.epochs = Epochs(dirty=True)
        self.producers.clear()
        self._new_segment(offset)

    def delete_before(self, offset: int) -> None:
        """Move the start of the log up (DeleteRecords, retention); whole segments go."""
        assert offset <= self.end_offset
        if offset <= self.start_offset:
            return
        self._state.start_offset = offset
        while len(self.segments) > 1 and self.segments[0].end <= offset:
            self.segments.pop(0).remove()
        self.epochs.drop_before(offset)

    def apply_retention(self, now_ms: int, bound: int) -> None:
        """Delete whole segments that are too old or too much, none that reaches `bound` (the high
        watermark), never the active one."""
        config = self.config
        keep = self.start_offset
        size = self.size
        for segment in self.segments[:-1]:
            old = config.retention_ms >= 0 and segment.max_timestamp < now_ms - config.retention_ms
            much = 0 <= config.retention_bytes < size - segment.size
            if segment.end > bound or not (old or much):
                break
            keep = segment.end
            size -= segment.size
        self.delete_before(keep)

    # -- producers' snapshots ----------------------------------------------------------------

    def _store_snapshot(self) -> None:
        file = self._disk.open(self._snapshot(self.end_offset), create=True)
        try:
            data = self.producers.dump()
            file.truncate(len(data))
            file.write_at(0, data)
        finally:
            file.close()

    def _snapshot(self, offset: int) -> str:
        return f"{self.folder}/{offset:020d}.snapshot"

    def _snapshots(self) -> list[int]:
        names = self._disk.listdir(self.folder)
        return [int(name[:-9]) for name in names if name.endswith(".snapshot")]

    def _drop_snapshots_after(self, offset: int) -> None:
        for at in self._snapshots():
            if at > offset:
                self._disk.remove(self._snapshot(at))

    def _rebuild_producers(self) -> None:
        """From the newest snapshot that fits the log, and the batches after it."""
        self.producers = Producers()
        start = self.start_offset
        for at in reversed(self._snapshots()):
            if self.start_offset <= at <= self.end_offset:
                try:
                    self.producers = Producers.load(self._disk.read(self._snapshot(at)))
                except (msgspec.MsgspecError, ValueError, OSError):
                    continue  # torn: an older one and more of the log will do
                start = at
                break
        for batch in self._headers(start):
            self.producers.append(batch)

    def _headers(self, start: int) -> Iterator[Batch]:
        for segment in self.segments:
            if segment.end > start:
                yield from (b for b in segment.headers(max(start, segment.base)))

    def _load_state(self) -> _State:
        try:
            return msgspec.json.decode(self._disk.read(f"{self.folder}/{STATE}"), type=_State)
        except (FileNotFoundError, msgspec.MsgspecError):
            return _State()

    def _remove_file(self, base: int) -> None:
        for suffix in ("log", "index", "timeindex", "snapshot"):
            path = f"{self.folder}/{base:020d}.{suffix}"
            if self._disk.exists(path):
                self._disk.remove(path)

    def _check(self) -> None:
        """Every invariant, in order."""
        assert self.segments, "there is always an active segment"
        for segment, after in zip(self.segments, self.segments[1:], strict=False):
            assert segment.end == after.base, "segments join"
        for segment in self.segments:
            segment._check()
        assert self.segments[0].base <= self.start_offset <= self.end_offset
        assert self._state.recovery_point <= self.end_offset
        self.epochs._check()
        assert not self.epochs.starts or self.epochs.starts[-1] <= self.end_offset
