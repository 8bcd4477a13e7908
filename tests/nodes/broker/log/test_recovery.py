"""After a crash the log is cut at the first batch that is not right; what was durable is kept."""

from __future__ import annotations

import struct
import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import seeds
from harness.host.contract import Disk
from harness.host.volatile import VolatileDisk
from harness.sim.disk import SimDisk
from harness.sim.disk_faults import INSTANT
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import Damaged
from nodes.broker.log.log import Log
from tests.host.disks import QuickDisk
from tests.host.running import run
from tests.nodes.broker.log.making import batch, decoded, placed, values

NOW = 5000


async def opened(disk: Disk, **config: int) -> Log:
    log = await Log.open(disk, "t-0", LogConfig(**config), now_ms=NOW)
    log._check()
    return log


def texts(log: Log) -> list[bytes]:
    """The values of all records, read segment by segment."""
    found: list[bytes] = []
    offset = log.start_offset
    while data := log.read(offset, 1 << 20, log.end_offset):
        records = decoded(data)
        found += [value for at, _, value in records if at >= offset]
        offset = records[-1][0] + 1
    return found


async def filled(disk: QuickDisk, count: int, *, durable: int = 0, **config: int) -> list[int]:
    """A log of that many batches of one record, killed. Returns where each batch begins."""
    log = await opened(disk, **config)
    starts = []
    for number in range(count):
        if number == durable:
            await log.flush()
            await log.checkpoint()
        starts.append(log.segments.active.size)
        log.append_leader(values(b"value %d" % number), number // 3, NOW)
    log.abandon()
    return starts


@pytest.fixture
def disk(tmp_path: Path) -> QuickDisk:
    return QuickDisk(tmp_path)


FIRST = "t-0/00000000000000000000.log"


async def test_a_log_that_was_killed_is_as_it_was(disk: QuickDisk) -> None:
    await filled(disk, 7)
    log = await opened(disk)
    assert texts(log) == [b"value %d" % n for n in range(7)]
    assert (log.epochs.epochs, log.epochs.starts) == ([0, 1, 2], [0, 3, 6])
    assert (log.recovered.verified, log.recovered.changed) == (7, False)


async def test_a_tail_torn_at_any_byte_loses_that_batch_and_no_other(disk: QuickDisk) -> None:
    starts = await filled(disk, 3)
    whole = disk.read(FIRST)
    file = disk.open(FIRST)
    for size in range(starts[2], len(whole)):
        file.write_at(0, whole)
        file.truncate(size)
        log = await opened(disk)
        assert texts(log) == [b"value 0", b"value 1"]
        assert log.recovered.cut_bytes == size - starts[2]
        assert file.size() == starts[2]
        log.abandon()
    file.close()


async def test_a_flipped_bit_under_the_crc_cuts_the_log_before_its_batch(
    disk: QuickDisk,
) -> None:
    starts = await filled(disk, 3)
    whole = disk.read(FIRST)
    file = disk.open(FIRST)
    for bit in range(8 * starts[1], 8 * starts[2]):
        if bit // 8 - starts[1] in (*range(8), *range(12, 16)):
            continue  # base offset and epoch, which the leader writes: no CRC covers them
        file.write_at(0, whole)
        file.write_at(bit // 8, bytes([whole[bit // 8] ^ 1 << bit % 8]))
        log = await opened(disk)
        assert texts(log) == [b"value 0"]
        log.abandon()
        file.truncate(0)
    file.close()


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 100, b"x"], ids=["zeros", "ones", "one"])
async def test_what_is_no_batch_behind_the_last_is_cut_off(disk: QuickDisk, tail: bytes) -> None:
    await filled(disk, 2)
    file = disk.open(FIRST)
    size = file.size()
    file.write_at(size, tail)
    log = await opened(disk)
    assert (len(texts(log)), file.size(), log.recovered.cut_bytes) == (2, size, len(tail))


async def test_batches_of_an_older_life_behind_the_last_are_cut_off(disk: QuickDisk) -> None:
    log = await opened(disk)
    log.append_leader(values(b"new"), 5, NOW)
    log.abandon()
    file = disk.open(FIRST)
    size = file.size()
    file.write_at(size, placed(values(b"old"), 1, 4))
    log = await opened(disk)
    assert (texts(log), file.size()) == ([b"new"], size)
    log.abandon()
    file.write_at(size, placed(values(b"old"), 0, 5))
    log = await opened(disk)
    assert (texts(log), file.size()) == ([b"new"], size)


# -- what was durable ---------------------------------------------------------------------------


async def test_what_was_durable_is_not_read_again(disk: QuickDisk) -> None:
    await filled(disk, 30, durable=20, index_interval_bytes=100)
    log = await opened(disk, index_interval_bytes=100)
    assert log.recovered.verified == 10
    assert len(texts(log)) == 30
    assert log.epochs.epochs == list(range(10))


@pytest.mark.parametrize("at", [0, 5, 17, 60])
async def test_durable_bytes_are_never_given_up_in_silence(disk: QuickDisk, at: int) -> None:
    starts = await filled(disk, 3, durable=2)
    for start in starts[:2]:
        file = disk.open(FIRST)
        before = file.read_at(0, file.size())
        file.truncate(start + at)
        with pytest.raises(Damaged):
            await opened(disk)
        assert file.read_at(0, 1000) == before[: start + at], "nothing was thrown away"
        file.write_at(0, before)
    assert len(texts(await opened(disk))) == 3


async def test_durable_bytes_that_only_the_producers_state_needs_are_not_passed_over(
    disk: QuickDisk,
) -> None:
    """Their index is believed, so nothing else reads them."""
    starts = await filled(disk, 9, durable=8, index_interval_bytes=0)
    file = disk.open(FIRST)
    file.write_at(starts[4], bytes(30))
    with pytest.raises(Damaged):
        await opened(disk, index_interval_bytes=0)


async def test_a_durable_segment_that_is_missing_is_damage(disk: QuickDisk) -> None:
    await filled(disk, 9, durable=8, segment_bytes=250)
    names = [name for name in disk.listdir("t-0") if name.endswith(".log")]
    assert len(names) > 2
    for name in names[:-1]:
        disk.rename(f"t-0/{name}", "aside")
        with pytest.raises(Damaged):
            await opened(disk, segment_bytes=250)
        disk.rename("aside", f"t-0/{name}")
    assert len(texts(await opened(disk, segment_bytes=250))) == 9


async def test_a_state_that_cannot_be_read_is_damage(disk: QuickDisk) -> None:
    await filled(disk, 3, durable=2)
    disk.open("t-0/log-state").write_at(0, b"?")
    with pytest.raises(Damaged, match="log-state"):
        await opened(disk)


async def test_segments_behind_a_cut_one_are_dropped(disk: QuickDisk) -> None:
    await filled(disk, 9, segment_bytes=250)
    names = [name for name in disk.listdir("t-0") if name.endswith(".log")]
    file = disk.open(f"t-0/{names[1]}")
    file.truncate(file.size() - 1)
    log = await opened(disk, segment_bytes=250)
    assert log.recovered.dropped == [int(name[:-4]) for name in names[2:]]
    assert len(texts(log)) == log.end_offset < int(names[2][:-4])


# -- checkpoints that are lost, late or wrong ---------------------------------------------------


@pytest.mark.parametrize(
    "lost", ["log-state", "leader-epoch-checkpoint", ".index", ".timeindex", ".snapshot"]
)
async def test_any_file_but_the_batches_may_be_lost(disk: QuickDisk, lost: str) -> None:
    config = {"segment_bytes": 250, "index_interval_bytes": 0}
    log = await opened(disk, **config)
    for number in range(9):
        log.append_leader(values(b"value %d" % number), number // 2, NOW)
    await log.close()
    for name in disk.listdir("t-0"):
        if name.endswith(lost):
            disk.remove(f"t-0/{name}")
    again = await opened(disk, **config)
    assert texts(again) == [b"value %d" % n for n in range(9)]
    assert (again.epochs.epochs, again.epochs.starts) == (log.epochs.epochs, log.epochs.starts)


async def test_an_index_of_other_batches_is_made_anew(disk: QuickDisk) -> None:
    await filled(disk, 9, durable=8, index_interval_bytes=0)
    file = disk.open("t-0/00000000000000000000.index")
    last = file.size() - 8
    offset, position = struct.unpack(">ii", file.read_at(last, 8))
    file.write_at(last, struct.pack(">ii", offset, position + 1))
    log = await opened(disk, index_interval_bytes=0)
    assert texts(log) == [b"value %d" % n for n in range(9)]


async def test_epochs_are_known_where_batches_are_not_read(disk: QuickDisk) -> None:
    """Two segments: of each, only the last batches are read."""
    config = {"segment_bytes": 1000, "index_interval_bytes": 0}
    log = await opened(disk, **config)
    for number in range(20):
        log.append_leader(values(b"value %d" % number), number // 3, NOW)
    await log.close()
    again = await opened(disk, **config)
    assert len(again.segments) > 1
    assert (again.epochs.epochs, again.epochs.starts) == (log.epochs.epochs, log.epochs.starts)


async def test_an_epoch_that_wrote_nothing_does_not_cost_the_batches_after_it(
    disk: QuickDisk,
) -> None:
    log = await opened(disk)
    log.append_leader(values(b"one"), 1, NOW)
    await log.flush()
    log.epochs.assign(5, 1)  # led, and wrote nothing
    await log.checkpoint()
    log.append_follower(placed(values(b"two"), 1, 3), NOW)
    log.abandon()
    assert texts(await opened(disk)) == [b"one", b"two"]


# -- power failures -----------------------------------------------------------------------------


async def test_a_cut_below_the_durable_end_survives_a_power_failure_at_any_moment(
    tmp_path: Path,
) -> None:
    disk = VolatileDisk(QuickDisk(tmp_path))
    log = await opened(disk)
    for number in range(6):
        log.append_leader(values(b"old %d" % number), 1, NOW)
    await log.flush()
    await log.checkpoint()
    await log.truncate(2)
    log.append_leader(values(b"new"), 2, NOW)
    before = await opened(VolatileDisk(disk.below))
    assert texts(before) == [b"old %d" % n for n in range(6)], "the cut was not durable"
    before.abandon()
    await log.flush()
    after = await opened(VolatileDisk(disk.below))
    assert texts(after) == [b"old 0", b"old 1", b"new"]


async def test_a_segment_that_was_cut_off_does_not_come_back_behind_new_batches(
    tmp_path: Path,
) -> None:
    disk = VolatileDisk(QuickDisk(tmp_path))
    log = await opened(disk, segment_bytes=250)
    for number in range(6):
        log.append_leader(values(b"old %d" % number), 1, NOW)
    await log.flush()
    await log.checkpoint()
    second = list(log.segments)[1].base
    await log.truncate(second)
    log.append_leader(values(b"new"), 2, NOW)
    await log.flush()
    after = await opened(VolatileDisk(disk.below), segment_bytes=250)
    assert texts(after) == [*(b"old %d" % n for n in range(second)), b"new"]


async def test_a_snapshot_of_batches_that_were_cut_off_is_not_believed(tmp_path: Path) -> None:
    """It comes back with the power failure, since its removal was never synced."""
    disk = VolatileDisk(QuickDisk(tmp_path))
    log = await opened(disk)
    for number in range(4):
        log.append_leader(batch([(0, b"")], producer=7, epoch=0, sequence=number), 1, NOW)
    await log.close()
    log = await opened(disk)
    await log.truncate(2)
    for number in range(2):
        log.append_leader(batch([(0, b"")], producer=8, epoch=0, sequence=number), 2, NOW)
    await log.flush()
    again = await opened(VolatileDisk(disk.below))
    assert again.end_offset == 4
    seven, eight = again.producers.get(7), again.producers.get(8)
    assert seven is not None and seven.last_sequence == 1
    assert eight is not None and eight.last_sequence == 1


async def test_a_log_whose_maker_died_before_its_folder_was_synced_is_there_for_good() -> None:
    machine = SimDisk(partial(seeds.stream, 1), pace=INSTANT)
    machine.mount().mkdir("t-0")  # and that was all that it came to
    machine.kill()
    log = await opened(machine.mount())
    log.append_leader(values(b"x"), 0, NOW)
    await log.flush()
    machine.power_off(harshest=True)
    assert texts(await opened(machine.mount())) == [b"x"]


@pytest.mark.parametrize("segment_bytes", [1 << 20, 150])
@pytest.mark.parametrize("seed", range(20))
async def test_what_a_failed_fsync_left_in_the_page_cache_is_stored_with_what_follows_it(
    seed: int, segment_bytes: int
) -> None:
    """The broker's half of seed 594 of an exploration: after an fsync that failed, what was read at
    the next start stood in the page cache only, no later fsync wrote it, and what was acknowledged
    behind it went with it at a power failure."""
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    log = await opened(machine.mount(), segment_bytes=segment_bytes)
    log.append_leader(values(b"durable"), 0, NOW)
    await log.flush()
    await log.checkpoint()
    log.append_leader(values(b"in doubt"), 0, NOW)
    log.append_leader(values(b"in doubt, too"), 0, NOW)
    machine.faults.fsync_fails()
    with pytest.raises(OSError):
        await log.flush()
    machine.faults.heal()
    machine.kill()
    log = await opened(machine.mount(), segment_bytes=segment_bytes)
    log.append_leader(values(b"acknowledged"), 0, NOW)
    await log.flush()
    machine.power_off()
    again = await opened(machine.mount(), segment_bytes=segment_bytes)
    assert texts(again) == [b"durable", b"in doubt", b"in doubt, too", b"acknowledged"]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("complete", [False, True])
async def test_a_power_failure_leaves_no_half_of_a_log_that_is_removed(
    seed: int, complete: bool
) -> None:
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    disk = machine.mount()
    log = await opened(disk)
    log.append_leader(values(b"x"), 0, NOW)
    await log.close()
    before = disk.listdir("t-0")
    log = await opened(disk)
    removing = log.remove()
    removing.send(None)  # the name is being synced
    if complete:
        with pytest.raises(StopIteration):
            removing.send(None)
    machine.power_off()
    removing.close()
    disk = machine.mount()
    left = disk.listdir("t-0") if disk.exists("t-0") else []
    assert left in ([[]] if complete else [[], before])


async def test_a_start_above_what_was_left_of_the_batches_stays_the_start(tmp_path: Path) -> None:
    disk = VolatileDisk(QuickDisk(tmp_path))
    log = await opened(disk)
    for number in range(6):
        log.append_leader(values(b"value %d" % number), 1, NOW)
        if number == 2:
            await log.flush()
    log.delete_before(5)
    await log.checkpoint()
    again = await opened(VolatileDisk(disk.below))
    assert (again.start_offset, again.end_offset) == (5, 5)
    again.append_leader(values(b"next"), 2, NOW)
    assert texts(again) == [b"next"]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_bytes_in_any_file_open_or_are_refused_by_name(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = QuickDisk(Path(folder))
        config = {
            "segment_bytes": data.draw(st.sampled_from([250, 5000])),
            "index_interval_bytes": data.draw(st.sampled_from([0, 4096])),
        }
        run(filled(disk, 6, durable=data.draw(st.integers(0, 5)), **config))
        name = data.draw(st.sampled_from(disk.listdir("t-0")))
        file = disk.open(f"t-0/{name}")
        file.write_at(
            data.draw(st.integers(0, max(file.size() - 1, 0))), data.draw(st.binary(max_size=90))
        )
        if data.draw(st.booleans()):
            file.truncate(data.draw(st.integers(0, file.size())))
        try:
            log = run(Log.open(disk, "t-0", LogConfig(**config), now_ms=NOW))
        except Damaged:
            return
        assert log.recovery_point <= log.end_offset >= log.start_offset
        log.abandon()
