"""What a log takes, refuses, stamps and flushes; and that clients read its files."""

from __future__ import annotations

import asyncio
import errno
import gzip
import uuid
from pathlib import Path

import pytest
from aiokafka.record.memory_records import MemoryRecords as AioMemoryRecords
from kafka.record.memory_records import MemoryRecords

from nodes.broker.log.batch import HEADER_SIZE
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import (
    BatchTooLarge,
    CorruptBatch,
    InvalidProducerEpoch,
    InvalidTimestamp,
    LogError,
    Misplaced,
    OutOfOrderSequence,
    WrongTopic,
)
from nodes.broker.log.log import Log
from tests.host.disks import QuickDisk
from tests.nodes.broker.log.faulty import FaultyDisk, cancelling, failing
from tests.nodes.broker.log.making import GZIP, batch, decoded, header, placed, values
from tests.nodes.broker.log.test_batch import stamp_crc

NOW = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path)


async def opened(disk: QuickDisk, config: LogConfig | None = None) -> Log:
    return await Log.open(disk, "t-0", config, now_ms=NOW)


def untouched(log: Log, end: int = 0) -> None:
    log._check()
    assert log.end_offset == end


# -- what clients read --------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["kafka-python", "aiokafka"])
@pytest.mark.parametrize("compression", [0, GZIP])
async def test_the_clients_libraries_read_a_segments_file(
    disk: QuickDisk, library: str, compression: int
) -> None:
    log = await opened(disk)
    wanted = []
    for number in range(5):
        records = [(number, b"value %d.%d" % (number, each)) for each in range(number + 1)]
        data = batch(records, compression=compression, library=library)
        base = log.append_leader(data, number, NOW).base_offset
        wanted += [(base + n, time, value) for n, (time, value) in enumerate(records)]
    content = disk.read("t-0/00000000000000000000.log")
    assert content == log.read(0, 1 << 20, log.end_offset)
    for reader in (MemoryRecords, AioMemoryRecords):
        records, found = reader(content), []
        while records.has_next():
            each = records.next_batch()
            assert each.validate_crc()
            found += [(r.offset, r.timestamp, r.value) for r in each]
        assert found == wanted


async def test_a_stamped_log_gives_records_the_leaders_time(disk: QuickDisk) -> None:
    log = await opened(disk, LogConfig(message_timestamp_type="LogAppendTime"))
    data = batch([(7, b"one"), (9, b"two")], producer=1, epoch=0, sequence=0)
    again = bytearray(data)
    assert log.append_leader(data, 0, NOW).timestamp == NOW
    found = log.append_leader(again, 0, NOW + 5)
    assert (found.duplicate, found.timestamp) == (True, NOW)
    assert decoded(log.read(0, 1000, 2)) == [(0, NOW, b"one"), (1, NOW, b"two")]
    assert log.offset_for_time(NOW) == log.max_timestamp() == (NOW, 0, 0)
    log._check()


# -- what is refused ----------------------------------------------------------------------------


async def test_a_batch_over_the_topics_limit_is_refused(disk: QuickDisk) -> None:
    data = values(b"x" * 100)
    log = await opened(disk, LogConfig(max_message_bytes=len(data) - 1))
    with pytest.raises(BatchTooLarge):
        log.append_leader(bytearray(data), 0, NOW)
    untouched(log)
    log.config = LogConfig(max_message_bytes=len(data))
    log.append_leader(bytearray(data), 0, NOW)
    log.config = LogConfig(segment_bytes=len(data) - 1)
    with pytest.raises(BatchTooLarge, match="segment"):
        log.append_leader(bytearray(data), 0, NOW)
    untouched(log, 1)


async def test_a_time_too_far_ahead_is_refused_and_one_long_ago_is_not(disk: QuickDisk) -> None:
    log = await opened(disk, LogConfig(message_timestamp_after_max_ms=1000))
    log.append_leader(values(b"past", at_ms=0), 0, NOW)
    log.append_leader(values(b"ahead", at_ms=NOW + 1000), 0, NOW)
    with pytest.raises(InvalidTimestamp):
        log.append_leader(values(b"too far", at_ms=NOW + 1001), 0, NOW)
    log.config = LogConfig(message_timestamp_type="LogAppendTime")
    log.append_leader(values(b"whatever", at_ms=10 * NOW), 0, NOW)
    untouched(log, 3)


async def test_a_producer_must_not_stamp(disk: QuickDisk) -> None:
    log = await opened(disk)
    data = values(b"one")
    data[22] |= 0x08
    stamp_crc(data)
    with pytest.raises(InvalidTimestamp, match="stamps"):
        log.append_leader(data, 0, NOW)
    untouched(log)


async def test_retries_gaps_and_zombies_after_a_restart_are_what_they_are(
    disk: QuickDisk,
) -> None:
    log = await opened(disk)
    for sequence in range(7):
        log.append_leader(batch([(0, b"")], producer=9, epoch=2, sequence=sequence), 0, NOW)
    await log.close()
    log = await opened(disk)
    for sequence in range(2, 7):
        found = log.append_leader(batch([(0, b"")], producer=9, epoch=2, sequence=sequence), 1, NOW)
        assert (found.duplicate, found.base_offset) == (True, sequence)
    for sequence in (1, 8):
        with pytest.raises(OutOfOrderSequence):
            log.append_leader(batch([(0, b"")], producer=9, epoch=2, sequence=sequence), 1, NOW)
    with pytest.raises(InvalidProducerEpoch):
        log.append_leader(batch([(0, b"")], producer=9, epoch=1, sequence=7), 1, NOW)
    untouched(log, 7)


@pytest.mark.parametrize(
    ("base", "epoch"), [(0, 3), (1, 3), (2, 2)], ids=["again", "overlapping", "older epoch"]
)
async def test_what_cannot_follow_is_refused_by_a_follower(
    disk: QuickDisk, base: int, epoch: int
) -> None:
    log = await opened(disk)
    log.append_follower(placed(values(b"one", b"two"), 0, 3), NOW)
    with pytest.raises(Misplaced):
        log.append_follower(placed(values(b"more", b"of it"), base, epoch), NOW)
    untouched(log, 2)
    assert log.latest_epoch == 3


async def test_of_an_answer_with_a_damaged_batch_a_follower_takes_nothing(disk: QuickDisk) -> None:
    log = await opened(disk)
    data = placed(values(b"one"), 0, 3) + placed(values(b"two"), 1, 3)
    data[-1] ^= 1
    with pytest.raises(CorruptBatch):
        log.append_follower(data, NOW)
    untouched(log)


async def test_a_producers_garbage_is_found_by_who_looks_for_times(disk: QuickDisk) -> None:
    log = await opened(disk)
    data = values(b"some text", b"more")
    data[HEADER_SIZE:] = b"\xff" * (len(data) - HEADER_SIZE)
    stamp_crc(data)
    log.append_leader(data, 0, NOW)
    with pytest.raises(CorruptBatch):
        log.offset_for_time(0)
    squeezed = values(b"text")
    squeezed[22] |= GZIP
    squeezed[HEADER_SIZE:] = gzip.compress(b"no records")
    squeezed[8:12] = (len(squeezed) - 12).to_bytes(4, "big")
    stamp_crc(squeezed)
    log.append_leader(squeezed, 0, NOW)
    with pytest.raises(LogError):
        log.offset_for_time(0)
    untouched(log, 3)


# -- segments -----------------------------------------------------------------------------------


async def test_a_segment_is_full_by_its_size_or_by_the_time_of_its_records(disk: QuickDisk) -> None:
    size = len(values(b"x"))
    log = await opened(disk, LogConfig(segment_bytes=2 * size, segment_ms=50))
    for at_ms in (100, 150, 150, 201, 180, 260):
        log.append_leader(values(b"x", at_ms=at_ms), 0, NOW)
    assert [segment.base for segment in log.segments] == [0, 2, 3, 5]
    log._check()


async def test_offsets_in_a_segment_fit_its_index(disk: QuickDisk) -> None:
    log = await opened(disk)
    log.append_follower(placed(values(b"one"), 0, 0), NOW)
    log.append_follower(placed(values(b"two"), 2**31 - 1, 0), NOW)
    assert len(log.segments) == 1
    log.append_follower(placed(values(b"three"), 2**31, 0), NOW)
    assert len(log.segments) == 2
    found = [offset for offset, _, _ in decoded(log.read(1, 1000, log.end_offset))]
    assert found == [2**31 - 1], "what is left out is passed over"
    found = [offset for offset, _, _ in decoded(log.read(2**31, 1000, log.end_offset))]
    assert found == [2**31]


async def test_deleted_segments_go_with_the_checkpoint_that_stores_the_start(
    disk: QuickDisk,
) -> None:
    log = await opened(disk, LogConfig(segment_bytes=100))
    for _ in range(4):
        log.append_leader(values(b"x"), 0, NOW)
    log.delete_before(2)
    assert disk.exists("t-0/00000000000000000000.log")
    await log.checkpoint()
    names = [name for name in disk.listdir("t-0") if name.endswith(".log")]
    assert names == [f"{base:020d}.log" for base in (2, 3)]


async def test_retention_may_empty_a_log_but_keeps_its_end(disk: QuickDisk) -> None:
    log = await opened(disk, LogConfig(retention_ms=1000))
    log.append_leader(values(b"x", at_ms=NOW), 0, NOW)
    log.apply_retention(NOW + 1000, 1)
    assert log.start_offset == 0
    log.apply_retention(NOW + 1001, 0)
    assert log.start_offset == 0, "it is not committed yet"
    log.apply_retention(NOW + 1001, 1)
    assert (log.start_offset, log.end_offset, log.size) == (1, 1, 0)
    await log.close()
    again = await opened(disk)
    assert (again.start_offset, again.end_offset) == (1, 1)


# -- durability ---------------------------------------------------------------------------------


async def test_flushes_are_due_as_the_topic_says(disk: QuickDisk) -> None:
    log = await opened(disk, LogConfig(flush_messages=3, flush_ms=500))
    assert not log.flush_is_due(NOW + 10_000), "nothing is there"
    log.append_leader(values(b"one", b"two"), 0, NOW)
    assert not log.flush_is_due(NOW + 499)
    assert log.flush_is_due(NOW + 500)
    assert log.settled_end == 2
    log.append_leader(values(b"three"), 0, NOW)
    assert log.flush_is_due(NOW)
    assert log.settled_end == 0
    await log.flush(NOW + 100)
    assert log.settled_end == log.recovery_point == 3
    log.append_leader(values(b"four"), 0, NOW)
    assert not log.flush_is_due(NOW + 599) and log.flush_is_due(NOW + 600)


async def test_flushes_that_wait_for_one_another_share_an_fsync(disk: FaultyDisk) -> None:
    log = await opened(disk)
    await log.flush()
    disk.synced.clear()
    flushes = []
    for _ in range(10):
        log.append_leader(values(b"x"), 0, NOW)
        flushes.append(asyncio.create_task(log.flush()))
        await asyncio.sleep(0)
    await asyncio.gather(*flushes)
    assert log.recovery_point == 10
    assert 1 <= len(disk.synced) < 10


async def test_what_is_appended_during_a_flush_is_not_covered_by_it(disk: FaultyDisk) -> None:
    log = await opened(disk)
    log.append_leader(values(b"one"), 0, NOW)
    flush = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    log.append_leader(values(b"two"), 0, NOW)
    await flush
    assert log.recovery_point == 1
    await log.flush()
    assert log.recovery_point == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_failed_write_leaves_no_trace_and_ends_the_log(
    disk: FaultyDisk, number: int
) -> None:
    log = await opened(disk)
    log.append_leader(values(b"one"), 0, NOW)
    disk.fault = failing("write", ".log", number)
    with pytest.raises(OSError) as first:
        log.append_leader(values(b"two"), 1, NOW)
    untouched(log, 1)
    assert log.latest_epoch == 0
    disk.fault = FaultyDisk.fault
    with pytest.raises(OSError) as second:
        log.append_leader(values(b"two"), 1, NOW)
    assert second.value is first.value
    log.abandon()
    again = await opened(disk)
    assert [value for _, _, value in decoded(again.read(0, 100, 1))] == [b"one"]


async def test_after_a_failed_fsync_nothing_is_promised_any_more(disk: FaultyDisk) -> None:
    log = await opened(disk)
    log.append_leader(values(b"one"), 0, NOW)
    disk.fault = failing("fsync", ".log")
    with pytest.raises(OSError):
        await log.flush()
    disk.fault = FaultyDisk.fault
    assert log.recovery_point == 0
    for work in (log.flush, log.checkpoint, log.close):
        with pytest.raises(OSError):
            await work()
    with pytest.raises(OSError):
        log.append_leader(values(b"two"), 0, NOW)
    assert decoded(log.read(0, 100, 1))[0][2] == b"one", "it can still be read"


async def test_a_name_whose_sync_was_given_up_is_synced_by_the_next_flush(
    disk: FaultyDisk,
) -> None:
    """A client that waited for its acknowledgement hung up in the midst of the flush."""
    log = await opened(disk)
    log.append_leader(values(b"one"), 0, NOW)
    disk.synced.clear()
    disk.fault = cancelling("fsync", log.folder)
    with pytest.raises(asyncio.CancelledError):
        await log.flush()
    disk.fault = FaultyDisk.fault
    log.append_leader(values(b"two"), 0, NOW)
    await log.flush()
    assert log.recovery_point == 2
    assert log.folder in disk.synced


async def test_an_epoch_that_begins_during_a_checkpoint_is_stored_by_the_next(
    disk: FaultyDisk,
) -> None:
    log = await opened(disk)
    log.append_leader(values(b"one"), 1, NOW)
    await log.flush()

    def begin(operation: str, path: str) -> None:
        if (operation, path[-6:]) == ("fsync", ".index") and log.latest_epoch == 1:
            log.append_leader(values(b"two"), 2, NOW)

    disk.fault = begin
    await log.checkpoint()
    disk.fault = FaultyDisk.fault
    assert log.latest_epoch == 2
    await log.flush()
    await log.checkpoint()
    log.abandon()
    again = await opened(disk)
    again._check()
    assert (again.epochs.epochs, again.epochs.starts) == ([1, 2], [0, 1])


async def test_nothing_is_cut_while_it_is_synced(disk: FaultyDisk) -> None:
    log = await opened(disk, LogConfig(segment_bytes=100))
    for _ in range(5):
        log.append_leader(values(b"x"), 0, NOW)
    flush = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    cut = asyncio.create_task(log.truncate(1))
    await asyncio.gather(flush, cut)
    assert (log.end_offset, log.recovery_point) == (1, 1)
    log._check()


async def test_a_cut_is_not_made_when_its_reason_is_gone(disk: FaultyDisk) -> None:
    log = await opened(disk)
    log.append_leader(values(b"x"), 0, NOW)
    assert not await log.truncate(0, lambda: False)
    assert not await log.restart_at(7, lambda: False)
    untouched(log, 1)


async def test_bytes_that_changed_in_the_file_are_the_disks_failure(disk: QuickDisk) -> None:
    """To cut there is asked for again and again; the log takes no more, and its owner knows why."""
    log = await opened(disk)
    for _ in range(5):
        log.append_leader(values(b"x"), 0, NOW)
    log.segments.active.file.write_at(0, bytes(30))
    log.segments.active._places.clear()
    with pytest.raises(OSError) as caught:
        await log.truncate(2)
    assert caught.value.errno == errno.EIO
    with pytest.raises(OSError):
        log.append_leader(values(b"y"), 0, NOW)


# -- folders ------------------------------------------------------------------------------------


async def test_a_folder_belongs_to_one_topic_id(disk: QuickDisk) -> None:
    one, two = uuid.uuid4(), uuid.uuid4()
    log = await Log.open(disk, "t-0", now_ms=NOW, topic_id=one)
    log.append_leader(values(b"x"), 0, NOW)
    await log.close()
    with pytest.raises(WrongTopic):
        await Log.open(disk, "t-0", now_ms=NOW, topic_id=two)
    again = await Log.open(disk, "t-0", now_ms=NOW, topic_id=one)
    assert again.end_offset == 1


@pytest.mark.parametrize("left", [".log", "log-state", "leader-epoch-checkpoint"])
async def test_what_an_interrupted_deletion_left_is_nobodys(disk: QuickDisk, left: str) -> None:
    log = await Log.open(disk, "t-0", now_ms=NOW, topic_id=uuid.uuid4())
    log.append_leader(values(b"x"), 0, NOW)
    await log.close()
    for name in disk.listdir("t-0"):
        if not name.endswith(left):
            disk.remove(f"t-0/{name}")
    assert disk.listdir("t-0")
    with pytest.raises(WrongTopic):
        await Log.open(disk, "t-0", now_ms=NOW, topic_id=uuid.uuid4())


async def test_a_removed_log_leaves_nothing(disk: QuickDisk) -> None:
    log = await opened(disk)
    log.append_leader(values(b"x"), 0, NOW)
    flush = asyncio.create_task(log.flush())
    await asyncio.sleep(0)
    await log.remove()
    await flush
    assert disk.listdir() == []


async def test_a_removed_log_does_nothing_to_the_one_that_has_its_folder_now(
    disk: QuickDisk,
) -> None:
    """Whatever waited for its turn while a topic was deleted and made anew."""
    log = await Log.open(disk, "t-0", now_ms=NOW, topic_id=uuid.uuid4())
    for _ in range(3):
        log.append_leader(values(b"old"), 0, NOW)
    await log.flush()
    log.append_leader(values(b"old"), 0, NOW)
    await log.remove()
    topic_id = uuid.uuid4()
    other = await Log.open(disk, "t-0", now_ms=NOW, topic_id=topic_id)
    for work in (log.flush, log.checkpoint, lambda: log.truncate(1), lambda: log.restart_at(7)):
        with pytest.raises(OSError):
            await work()
    other.append_leader(values(b"new"), 0, NOW)
    other.abandon()
    again = await Log.open(disk, "t-0", now_ms=NOW, topic_id=topic_id)
    again._check()
    assert (again.start_offset, again.end_offset) == (0, 1)


async def test_a_log_restarts_where_its_leader_begins(disk: QuickDisk) -> None:
    log = await opened(disk, LogConfig(segment_bytes=100))
    for sequence in range(4):
        log.append_leader(batch([(0, b"")], producer=9, epoch=0, sequence=sequence), 2, NOW)
    await log.flush()
    await log.checkpoint()
    assert await log.restart_at(500)
    log._check()
    log.append_follower(placed(values(b"next"), 500, 7), NOW)
    await log.close()
    again = await opened(disk)
    assert (again.start_offset, again.end_offset) == (500, 501)
    assert (again.epochs.epochs, again.epochs.starts) == ([7], [500])
    assert len(again.producers) == 0
    assert header(again.read(500, 100, 501)).leader_epoch == 7


# -- configs ------------------------------------------------------------------------------------


def test_a_config_is_read_by_kafkas_names() -> None:
    config = LogConfig.of(
        {"segment.bytes": "2048", "message.timestamp.type": "LogAppendTime", "other": "x"}
    )
    assert config.segment_bytes == 2048 and config.stamps
    assert LogConfig.of({}) == LogConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("segment.bytes", "0"),
        ("segment.bytes", "many"),
        ("retention.ms", "-2"),
        ("message.timestamp.type", "Never"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        LogConfig.of({name: value})
