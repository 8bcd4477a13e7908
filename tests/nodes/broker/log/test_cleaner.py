"""What compaction leaves of a log agrees with a plain list of its records."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AioBatch
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from harness import seeds
from harness.host.contract import Disk
from harness.sim.disk import SimDisk
from harness.sim.disk_faults import INSTANT
from nodes.broker.log.batch import patch, read_header
from nodes.broker.log.compaction import left_of, records_of
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import CorruptBatch, InvalidRecord
from nodes.broker.log.log import Log
from nodes.broker.log.transactions import Marker
from tests.host.disks import QuickDisk
from tests.host.running import run

HOUR_MS = 3_600_000
Pair = tuple[bytes | None, bytes | None]
"""(key, value)"""


async def opened(disk: Disk, segment_bytes: int = 300) -> Log:
    config = LogConfig(
        segment_bytes=segment_bytes,
        cleanup_policy="compact",
        min_cleanable_dirty_ratio=0.0,
        delete_retention_ms=HOUR_MS,
    )
    log = await Log.open(disk, "t-0", config, now_ms=0)
    log._check()
    return log


def batch(
    pairs: Sequence[Pair],
    *,
    at_ms: int = 0,
    codec: int = 0,
    producer: int = -1,
    sequence: int = -1,
    transactional: bool = False,
) -> bytearray:
    epoch = -1 if producer < 0 else 0
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, epoch, sequence, 1 << 20)
    for number, (key, value) in enumerate(pairs):
        builder.append(number, at_ms + number, key, value, [("h", b"x")])
    return bytearray(builder.build())


def read(log: Log) -> list[tuple[int, int, bytes | None, bytes | None]]:
    """(offset, timestamp, key, value) of every record that a consumer finds, markers left out."""
    found = []
    offset = log.start_offset
    while data := log.read(offset, 1 << 20, log.end_offset):
        view = memoryview(data)
        while view:
            head = read_header(view)
            one = DefaultRecordBatch(bytes(view[: head.size]))
            assert one.validate_crc()
            if not head.is_control and head.count:
                found += [(r.offset, r.timestamp, r.key, r.value) for r in one]
                assert all(
                    r.headers == [("h", b"x")] for r in DefaultRecordBatch(bytes(view[: head.size]))
                )
            view = view[head.size :]
            offset = head.next_offset
    return found


@dataclass
class Model:
    """All records, and where full segments end."""

    rows: list[tuple[int, int, bytes, bytes | None]] = field(default_factory=list)

    def compacted(self, upto: int) -> list[tuple[int, int, bytes, bytes | None]]:
        newest = {key: offset for offset, _, key, _ in self.rows if offset < upto}
        return [r for r in self.rows if r[0] >= upto or newest[r[2]] == r[0]]


keys = st.sampled_from([b"a", b"b", b"c", b"d"])
pairs = st.lists(st.tuples(keys, st.binary(max_size=40)), min_size=1, max_size=4)


@settings(max_examples=150)
@given(
    st.lists(pairs | st.sampled_from(["compact", "reopen", "cut"]), min_size=1, max_size=25),
    st.sampled_from([0, 1, 2, 3, 4]),
    st.sampled_from([200, 300, 5000]),
)
def test_the_newest_record_of_each_key_stays_where_it_was(
    steps: list[list[Pair] | str], codec: int, segment_bytes: int
) -> None:
    async def main(folder: Path) -> None:
        disk = QuickDisk(folder)
        log, model = await opened(disk, segment_bytes), Model()
        for step in steps:
            end = log.end_offset
            if step == "reopen":
                log.abandon()
                log = await opened(disk, segment_bytes)
            elif step == "cut":
                await log.truncate(max(end - 3, log.start_offset))
                model.rows = [row for row in model.rows if row[0] < log.end_offset]
            elif step == "compact":
                full = [segment.end for segment in log.segments][:-1]
                found = await log.compact(1000, end)
                if found is not None:
                    before = len(model.rows)
                    model.rows = model.compacted(max(full))
                    assert found.removed == before - len(model.rows)
            else:
                assert not isinstance(step, str)
                log.append_leader(batch(step, codec=codec), 0, 0)
                model.rows += [
                    (end + n, n, key or b"", value) for n, (key, value) in enumerate(step)
                ]
            log._check()
            assert read(log) == model.rows
        log.abandon()

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


async def test_a_tombstone_stays_for_its_time_and_takes_what_it_deletes_at_once(
    tmp_path: Path,
) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(batch([(b"k", b"old"), (b"x", b"y")]), 0, 0)
    log.append_leader(batch([(b"k", None)], at_ms=7), 0, 0)
    for _ in range(4):
        log.append_leader(batch([(b"fill", b"." * 100)]), 0, 0)
    assert await log.compact(1000, log.end_offset) is not None
    assert [row[:4] for row in read(log)][:2] == [(1, 1, b"x", b"y"), (2, 7, b"k", None)]

    async def again(now_ms: int) -> list[bytes | None]:
        log._cleaned_to = 0
        assert await log.compact(now_ms, log.end_offset) is not None
        log._check()
        return [key for _, _, key, value in read(log) if value is None]

    assert await again(1000 + HOUR_MS) == [b"k"], "the first compaction has set the horizon"
    assert await again(1001 + HOUR_MS) == []


async def test_the_sequences_of_producers_outlive_their_records(tmp_path: Path) -> None:
    disk = QuickDisk(tmp_path)
    log = await opened(disk)
    for sequence in range(3):
        log.append_leader(batch([(b"k", b"%d" % sequence)], producer=5, sequence=sequence), 0, 0)
    for _ in range(4):
        log.append_leader(batch([(b"k", b"." * 100)]), 0, 0)
    await log.compact(0, log.end_offset)
    assert read(log)[0][0] > 2, "nothing of the producer's is left"
    log.abandon()
    for snapshot in disk.listdir("t-0"):
        if snapshot.endswith(".snapshot"):
            disk.remove(f"t-0/{snapshot}")
    log = await opened(disk)
    known = log.producers.get(5)
    assert known is not None and known.last_sequence == 2
    again = batch([(b"k", b"2")], producer=5, sequence=2)
    assert log.append_leader(again, 0, 0).duplicate


async def test_what_was_aborted_goes_at_once_and_its_marker_in_time(tmp_path: Path) -> None:
    disk = QuickDisk(tmp_path)
    log = await opened(disk)

    def transact(sequence: int, key: bytes, commit: bool) -> None:
        data = batch([(key, b"v")], producer=1, sequence=sequence, transactional=True)
        log.append_leader(data, 0, 0)
        log.append_marker(1, 0, Marker(commit, 0), 0, 0)

    transact(0, b"committed", True)
    transact(1, b"aborted", False)
    transact(2, b"committed, too", True)
    for _ in range(6):
        log.append_leader(batch([(b"fill", b"." * 100)]), 0, 0)
    await log.compact(0, log.end_offset)
    keys = [key for _, _, key, _ in read(log)]
    assert keys[:2] == [b"committed", b"committed, too"]
    assert [a.marker_offset for a in log.transactions.aborted] == [3]
    for hour in range(1, 8):  # what ends a segment stays until the segment has joined another
        log._cleaned_to = 0
        await log.compact(hour * (HOUR_MS + 1), log.end_offset)
        log._check()
    assert log.transactions.aborted == [], "nobody skips up to a marker that is not there"
    log.abandon()
    log = await opened(disk)
    assert log.transactions.aborted == [] and log.transactions.open == {}
    assert [key for _, _, key, _ in read(log)][:2] == keys[:2]


async def test_an_old_snapshot_opens_no_transaction_whose_marker_is_gone(tmp_path: Path) -> None:
    """The newer ones went with the power: snapshots are not synced."""
    disk = QuickDisk(tmp_path)
    log = await opened(disk)

    def fill() -> None:
        log.append_leader(batch([(b"fill", b"." * 200)]), 0, 0)

    log.append_leader(batch([(b"k", b"v")], producer=1, sequence=0, transactional=True), 0, 0)
    fill()
    fill()
    old = max(log._snapshots.offsets())
    log.append_marker(1, 1, Marker(False, 0), 0, 0)
    for _ in range(4):
        fill()
    for hour in range(1, 8):
        log._cleaned_to = 0
        await log.compact(hour * (HOUR_MS + 1), log.end_offset)
    assert log.transactions.open == {}
    await log.checkpoint()
    log.abandon()
    for at in log._snapshots.offsets():
        if at != old:
            disk.remove(f"t-0/{at:020d}.snapshot")
    log = await opened(disk)
    assert log.transactions.open == {}, "nobody would ever end it"


async def test_segments_that_retention_lets_go_meanwhile_are_not_compacted(tmp_path: Path) -> None:
    disk = QuickDisk(tmp_path)
    log = await opened(disk)
    for number in range(8):
        log.append_leader(batch([(b"%d" % (number % 3), b"." * 100)]), 0, 0)
    compacting = asyncio.ensure_future(log.compact(0, log.end_offset))
    while not any(name.endswith(".cleaned") for name in disk.listdir("t-0")):
        await asyncio.sleep(0)
    log.delete_before(log.segments.closed(log.end_offset, 0)[1].end)
    await compacting
    log._check()
    await log.checkpoint()
    rows = read(log)
    log.abandon()
    log = await opened(disk)
    assert read(log) == rows


async def test_nothing_above_the_bound_is_touched(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    for _ in range(8):
        log.append_leader(batch([(b"k", b"." * 100)]), 0, 0)
    bound = [segment.end for segment in log.segments][1]
    await log.compact(0, bound)
    assert [offset for offset, *_ in read(log)] == [bound - 1, *range(bound, log.end_offset)]


async def test_a_log_that_is_cut_where_nothing_is_left_before_it_opens_again(
    tmp_path: Path,
) -> None:
    disk = QuickDisk(tmp_path)
    log = await opened(disk)
    for base in (9, 10):
        data = batch([(b"k", b"v")])
        patch(data, 0, base, 0)
        log.append_follower(data, 0)
    await log.flush()
    await log.checkpoint()
    assert await log.truncate(5)
    log._check()
    assert (log.start_offset, log.end_offset) == (0, 0), "the leader sends what comes next"
    log.abandon()
    log = await opened(disk)
    assert log.end_offset == 0


async def test_a_compacted_topic_takes_no_record_without_a_key(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    with pytest.raises(InvalidRecord):
        log.append_leader(batch([(b"k", b"v"), (None, b"v")]), 0, 0)
    with pytest.raises(InvalidRecord):
        garbage = batch([(b"k", b"v")], codec=1)
        garbage[61:] = bytes(len(garbage) - 61)
        from nodes.broker.log.batch import sign

        sign(garbage, 0, len(garbage))
        log.append_leader(garbage, 0, 0)
    assert log.end_offset == 0


async def test_small_segments_become_one(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    for number in range(60):
        log.append_leader(batch([(b"%d" % (number % 3), b"v")]), 0, 0)
    many = len(log.segments)
    for _ in range(6):
        log._cleaned_to = 0
        await log.compact(0, log.end_offset)
    assert len(log.segments) < many // 4
    log._check()


@pytest.mark.parametrize("seed", range(40))
async def test_a_power_failure_in_the_midst_of_it_loses_no_newest_record(seed: int) -> None:
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    log = await opened(machine.mount())
    for number in range(30):
        log.append_leader(batch([(b"%d" % (number % 4), b"%d" % number)]), 0, 0)
    await log.flush()
    await log.checkpoint()
    expected = {key: value for _, _, key, value in read(log)}
    count = 0
    effect = machine._mount

    class Ended(BaseException):
        pass

    assert effect is not None
    honest = effect.fsync_dir

    async def dies(path: str = ".") -> None:
        nonlocal count
        count += 1
        if count > seed % 4:
            raise Ended
        await honest(path)

    effect.fsync_dir = dies  # type: ignore[method-assign, assignment]
    with contextlib.suppress(Ended):
        await log.compact(0, log.end_offset)
    machine.power_off()
    again = await opened(machine.mount())
    found = {key: value for _, _, key, value in read(again)}
    assert found == expected
    again.append_leader(batch([(b"more", b"v")]), 0, 0)
    await again.flush()
    again._check()


@given(
    st.lists(
        st.tuples(st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=9)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([0, 1, 2, 3, 4]),
    st.integers(0, 2**40),
    st.data(),
)
def test_what_is_left_of_a_batch_is_what_a_client_decodes(
    pairs: list[Pair], codec: int, horizon: int, data: st.DataObject
) -> None:
    whole = batch(pairs, at_ms=1000, codec=codec, producer=3, sequence=9)
    head = read_header(whole)
    records = records_of(head, whole)
    assert [(r.key, r.is_tombstone) for r in records] == [(k, v is None) for k, v in pairs]
    kept = [r for r in records if data.draw(st.booleans())]
    after = left_of(head, kept, data.draw(st.none() | st.just(horizon)))
    now = read_header(after)
    assert (now.base_offset, now.last_offset, now.base_sequence, now.last_sequence) == (
        head.base_offset,
        head.last_offset,
        head.base_sequence,
        head.last_sequence,
    )
    if kept:
        decoded = [(r.offset, r.timestamp, r.key, r.value) for r in DefaultRecordBatch(after)]
        assert decoded == [(r.offset, r.timestamp, r.key, pairs[r.offset][1]) for r in kept]
        assert now.max_timestamp == max(r.timestamp for r in kept)
    assert records_of(now, after) == kept


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("left", [0, 1, 3])
def test_what_is_left_of_a_compressed_batch_is_decompressed_even_if_it_is_nothing(
    codec: int, left: int
) -> None:
    whole = batch([(b"k", b"." * 500)] * 3, codec=codec)
    head = read_header(whole)
    assert head.compression == codec
    after = left_of(head, records_of(head, whole)[:left], None)
    for decoder in (DefaultRecordBatch, AioBatch):
        assert [bytes(record.value) for record in decoder(after)] == [b"." * 500] * left
    assert len(records_of(read_header(after), after)) == left


@given(st.binary(max_size=60), st.integers(0, 5), st.sampled_from([0, 1, 2, 3, 4]))
def test_bytes_that_are_no_records_are_said_to_be_none(
    payload: bytes, count: int, codec: int
) -> None:
    head = read_header(batch([(b"k", b"v")], codec=codec))
    head = type(head)(0, 61 + len(payload), 0, codec, 0, 0, 0, -1, -1, -1, count)
    try:
        found = records_of(head, bytes(61) + payload)
    except CorruptBatch:
        return
    assert len(found) == count
