"""The newest snapshot that is whole and of this log is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.real import RealDisk
from nodes.broker.log.producers import Producers
from nodes.broker.log.snapshots import Snapshots
from tests.nodes.broker.log.test_producers import batch_of


@pytest.fixture
def disk(tmp_path: Path) -> RealDisk:
    disk = RealDisk(tmp_path)
    disk.mkdir("t-0")
    return disk


def producers(count: int) -> Producers:
    found = Producers()
    for id in range(count):
        found.append(batch_of(id, 0, 0, 1, base=id), 0)
    return found


def anything(offset: int, epoch: int) -> bool:
    return True


def test_the_newest_in_the_range_is_taken(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    for offset in (7, 100, 30):
        snapshots.store(offset, 1, producers(offset))
    assert snapshots.offsets() == [7, 30, 100]
    assert disk.exists("t-0/00000000000000000030.snapshot")
    offset, found = snapshots.newest(0, 99, anything)
    assert (offset, len(found)) == (30, 30)
    assert [snapshots.newest(start, 99, anything)[0] for start in (30, 31)] == [30, 31]
    assert len(snapshots.newest(31, 99, anything)[1]) == 0


def test_a_torn_one_is_passed_over(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    snapshots.store(10, 1, producers(1))
    snapshots.store(20, 1, producers(2))
    disk.open("t-0/00000000000000000020.snapshot").truncate(9)
    assert snapshots.newest(0, 50, anything)[0] == 10


def test_one_of_batches_that_were_cut_off_is_passed_over(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    snapshots.store(10, 1, producers(1))
    snapshots.store(20, 3, producers(2))
    epochs = {10: 1, 20: 4}
    offset, _ = snapshots.newest(0, 50, lambda offset, epoch: epochs[offset] == epoch)
    assert offset == 10


def test_a_shorter_one_replaces_a_longer_one(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    snapshots.store(10, 1, producers(5))
    snapshots.store(10, 1, producers(1))
    assert len(snapshots.newest(0, 50, anything)[1]) == 1


def test_others_are_dropped_by_offset(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    for offset in (10, 20, 30):
        snapshots.store(offset, 1, producers(1))
    assert snapshots.drop(snapshots.above(20))
    assert not snapshots.drop(snapshots.above(20))
    assert snapshots.offsets() == [10, 20]


def test_those_at_the_bases_of_segments_and_the_newest_are_kept(disk: RealDisk) -> None:
    snapshots = Snapshots(disk, "t-0")
    for offset in (10, 20, 30, 31, 32, 40, 41, 42):
        snapshots.store(offset, 1, producers(1))
    snapshots.tidy([20, 40, 60])
    assert snapshots.offsets() == [20, 32, 40, 41, 42]
