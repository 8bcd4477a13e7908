"""What a log tells of transactions agrees with a list of what was appended, whatever befalls it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from harness.host.contract import Disk
from nodes.broker.log.batch import read_header
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import (
    CoordinatorFenced,
    CorruptBatch,
    InvalidProducerEpoch,
    InvalidTxnState,
)
from nodes.broker.log.log import Log
from nodes.broker.log.transactions import Marker, control_batch, read_marker
from tests.host.disks import QuickDisk
from tests.host.running import run
from tests.nodes.broker.log.making import batch

NOW = 5000


async def opened(disk: Disk) -> Log:
    log = await Log.open(disk, "t-0", LogConfig(segment_bytes=400), now_ms=NOW)
    log._check()
    return log


def transactional(producer: int, sequence: int, *, epoch: int = 0) -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, True, producer, epoch, sequence, 1 << 20)
    builder.append(0, 1000, None, b"%d/%d" % (producer, sequence), [])
    return bytearray(builder.build())


@dataclass
class Model:
    """(offset, producer, what) in the order of appending; what is "data", "commit" or "abort"."""

    rows: list[tuple[int, int, str]] = field(default_factory=list)

    def transactions(self) -> list[tuple[int, int, int, str]]:
        """(producer, first offset, marker's offset or -1, how it ended or "open")."""
        found: list[tuple[int, int, int, str]] = []
        open: dict[int, int] = {}
        for offset, producer, what in self.rows:
            if what == "data":
                open.setdefault(producer, offset)
            elif producer in open:
                found.append((producer, open.pop(producer), offset, what))
        return found + [(producer, first, -1, "open") for producer, first in open.items()]

    def stable_end(self, hw: int) -> int:
        return min(
            [hw]
            + [
                first
                for _, first, marker, _ in self.transactions()
                if marker == -1 or marker >= hw
                if first < hw
            ]
        )

    def aborted_in(self, start: int, end: int) -> set[tuple[int, int]]:
        return {
            (producer, first)
            for producer, first, marker, how in self.transactions()
            if how == "abort" and marker >= start and first < end
        }


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["data", "data", "data", "commit", "abort", "reopen", "cut"]),
            st.integers(1, 3),
        ),
        max_size=30,
    )
)
def test_what_is_open_stable_and_aborted_agrees_with_the_list_of_all_batches(
    steps: list[tuple[str, int]],
) -> None:
    async def main(folder: Path) -> None:
        disk = QuickDisk(folder)
        log, model = await opened(disk), Model()
        sequences: dict[int, list[tuple[int, int]]] = {}
        for what, producer in steps:
            end = log.end_offset
            if what == "data":
                past = sequences.setdefault(producer, [])
                log.append_leader(transactional(producer, len(past)), 0, NOW)
                past.append((end, len(past)))
                model.rows.append((end, producer, what))
            elif what == "reopen":
                log.abandon()
                log = await opened(disk)
            elif what == "cut":
                at = max(end - producer, 0)
                await log.truncate(at)
                model.rows = [row for row in model.rows if row[0] < at]
                for past in sequences.values():
                    past[:] = [row for row in past if row[0] < at]
            else:
                log.append_marker(producer, 0, Marker(what == "commit", 0), 0, NOW)
                model.rows.append((end, producer, what))
            log._check()
        told = log.transactions
        for hw in range(log.end_offset + 1):
            assert told.stable_end(hw) == model.stable_end(hw)
            for start in range(hw):
                found = told.aborted_in(start, hw)
                assert {(a.producer_id, a.first_offset) for a in found} == model.aborted_in(
                    start, hw
                )
                assert found == sorted(found, key=lambda each: each.first_offset)
        log.abandon()

    with tempfile.TemporaryDirectory() as folder:
        run(main(Path(folder)))


async def test_a_marker_below_the_high_watermark_holds_nothing_back(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(transactional(1, 0), 0, NOW)
    log.append_marker(1, 0, Marker(True, 0), 0, NOW)
    assert log.transactions.stable_end(1) == 0, "the marker may be lost"
    assert log.transactions.stable_end(2) == 2
    log.transactions.replicated(2)
    assert log.transactions.stable_end(2) == 2


async def test_what_is_deleted_is_not_told_of(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(transactional(1, 0), 0, NOW)
    log.append_marker(1, 0, Marker(False, 0), 0, NOW)
    log.delete_before(2)
    assert log.transactions.aborted_in(0, 9) == []
    log._check()


async def test_a_zombie_is_fenced_by_the_marker_of_its_successor(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(transactional(1, 0), 0, NOW)
    log.append_marker(1, 1, Marker(False, 0), 0, NOW)
    with pytest.raises(InvalidProducerEpoch):
        log.append_leader(transactional(1, 1), 0, NOW)
    with pytest.raises(InvalidProducerEpoch):
        log.append_marker(1, 0, Marker(True, 0), 0, NOW)
    assert log.end_offset == 2


async def test_an_older_coordinator_ends_nothing(tmp_path: Path) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(transactional(1, 0), 0, NOW)
    log.append_marker(1, 0, Marker(True, 5), 0, NOW)
    log.append_leader(transactional(1, 1), 0, NOW)
    with pytest.raises(CoordinatorFenced):
        log.append_marker(1, 0, Marker(False, 4), 0, NOW)
    log.append_leader(transactional(1, 0, epoch=1), 0, NOW)
    with pytest.raises(CoordinatorFenced):
        log.append_marker(1, 1, Marker(False, 4), 0, NOW)
    assert log.transactions.stable_end(log.end_offset) == 2


async def test_no_batch_of_a_producer_is_outside_of_the_transaction_that_it_is_in(
    tmp_path: Path,
) -> None:
    log = await opened(QuickDisk(tmp_path))
    log.append_leader(transactional(1, 0), 0, NOW)
    with pytest.raises(InvalidTxnState):
        log.append_leader(batch([(0, b"x")], producer=1, epoch=0, sequence=1), 0, NOW)


@given(
    st.integers(0, 2**62),
    st.integers(0, 2**15 - 1),
    st.builds(Marker, st.booleans(), st.integers(0, 2**31 - 1)),
)
def test_a_marker_is_what_clients_read_as_one(producer: int, epoch: int, marker: Marker) -> None:
    data = control_batch(producer, epoch, marker, NOW)
    assert read_marker(data) == marker
    head, theirs = read_header(data), DefaultRecordBatch(bytes(data))
    assert theirs.validate_crc() and theirs.is_control_batch and theirs.is_transactional
    assert (head.producer_id, head.producer_epoch, head.count) == (producer, epoch, 1)
    assert head.is_control and head.is_transactional and head.base_sequence == -1
    (record,) = theirs
    assert record.timestamp == NOW and record.key[2:] == (b"\0\1" if marker.committed else b"\0\0")


@pytest.mark.parametrize("data", [b"", b"x" * 70, bytes(batch([(0, b"x")]))])
def test_what_is_no_marker_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(CorruptBatch):
        read_marker(data)
