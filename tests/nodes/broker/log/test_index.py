"""The sparse indexes agree with a look at every batch, however they came to be."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.host.real import RealDisk
from nodes.broker.log.batch import Batch
from nodes.broker.log.index import Index

BASE = 100


@st.composite
def rows(draw: st.DrawFn) -> list[tuple[int, Batch]]:
    """(position, batch) of batches back to back, some offsets left out."""
    found, position, offset = [], 0, BASE
    for _ in range(draw(st.integers(0, 12))):
        offset += draw(st.integers(0, 2))
        count, size = draw(st.integers(1, 3)), draw(st.integers(61, 90))
        time = draw(st.integers(-1, 20))
        found.append((position, batch_of(offset, count, size, time)))
        position, offset = position + size, offset + count
    return found


def batch_of(base: int, count: int, size: int, time: int) -> Batch:
    return Batch(base, size, 0, 0, count - 1, 0, time, -1, -1, -1, count)


intervals = st.sampled_from([0, 61, 150, 10_000])


def index_of(rows: Sequence[tuple[int, Batch]], interval: int) -> Index:
    index = Index(BASE, interval)
    for position, batch in rows:
        index.note(position, batch)
        index._check()
    return index


def shape(index: Index) -> tuple[object, ...]:
    return (
        index._offsets,
        index._positions,
        index._times,
        index._time_offsets,
        index.max_timestamp,
        index.max_timestamp_offset,
    )


@given(rows(), intervals)
def test_an_entry_is_a_batch_at_or_before_what_is_looked_for(
    rows: list[tuple[int, Batch]], interval: int
) -> None:
    index = index_of(rows, interval)
    for number, (position, batch) in enumerate(rows):
        for offset in range(batch.base_offset, batch.next_offset):
            at, last_offset = index.entry(index.place_of_offset(offset))
            assert at <= position
            assert last_offset is None or (at, last_offset) in [
                (p, b.last_offset) for p, b in rows[: number + 1]
            ]
        at, _ = index.entry(index.place_of_position(position))
        assert at <= position


@given(rows(), intervals)
def test_entries_are_no_further_apart_than_the_interval_and_a_batch(
    rows: list[tuple[int, Batch]], interval: int
) -> None:
    index = index_of(rows, interval)
    size_max = max((batch.size for _, batch in rows), default=0)
    for position, _ in rows:
        at, _ = index.entry(index.place_of_position(position))
        assert position - at <= interval + size_max


@given(rows(), intervals, st.integers(-1, 25))
def test_no_batch_before_the_answer_is_as_new_as_the_time(
    rows: list[tuple[int, Batch]], interval: int, time: int
) -> None:
    offset = index_of(rows, interval).offset_before_time(time)
    assert all(b.max_timestamp < time for _, b in rows if b.last_offset < offset)


@given(rows(), intervals)
def test_the_newest_is_the_first_of_the_largest(
    rows: list[tuple[int, Batch]], interval: int
) -> None:
    index = index_of(rows, interval)
    newest = max((b.max_timestamp for _, b in rows), default=-1)
    assert index.max_timestamp == newest
    if newest >= 0:
        first = next(b for _, b in rows if b.max_timestamp == newest)
        assert index.max_timestamp_offset == first.last_offset


@given(rows(), intervals, st.data())
def test_a_cut_index_is_the_one_of_the_batches_that_stay(
    rows: list[tuple[int, Batch]], interval: int, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(rows)))
    index = index_of(rows, interval)
    end = rows[keep][0] if keep < len(rows) else sum(b.size for _, b in rows)
    again_from = index.cut(end)
    for position, batch in rows[:keep]:
        if position >= again_from:
            index.note(position, batch)
    assert shape(index) == shape(index_of(rows[:keep], interval))


@given(rows(), intervals, st.data())
def test_what_is_written_in_steps_and_over_a_cut_loads_as_it_was(
    rows: list[tuple[int, Batch]], interval: int, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        disk = RealDisk(Path(folder))
        first = data.draw(st.integers(0, len(rows)))
        keep = data.draw(st.integers(0, first))
        index = index_of(rows[:first], interval)
        index.write(disk, "s")
        end = rows[keep][0] if keep < len(rows) else sum(b.size for _, b in rows)
        again_from = index.cut(end)
        kept = [*rows[:keep], *shifted(rows[first:], end)]
        for position, batch in kept:
            if position >= again_from:
                index.note(position, batch)
        if data.draw(st.booleans()):
            index.write(disk, "s")
            index.write(disk, "s")
        index.write(disk, "s")

        size = sum(b.size for _, b in kept)
        below = data.draw(st.integers(BASE, BASE + 60))
        loaded = Index(BASE, interval)
        again_from = loaded.load(disk, "s", below, size)
        assert all(offset < below for offset in loaded._offsets)
        for position, batch in kept:
            if position >= again_from:
                loaded.note(position, batch)
        assert shape(loaded) == shape(index)


def shifted(rows: Sequence[tuple[int, Batch]], position: int) -> list[tuple[int, Batch]]:
    """The batches as they follow at `position`."""
    found = []
    for _, batch in rows:
        found.append((position, batch))
        position += batch.size
    return found


def test_the_files_are_the_ones_that_kafka_writes(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    rows = [
        (0, batch_of(100, 2, 70, 5)),
        (70, batch_of(102, 1, 70, 9)),
        (140, batch_of(103, 1, 70, 7)),
    ]
    index_of(rows, 0).write(disk, "s")
    assert disk.read("s.index") == bytes.fromhex("00000002 00000046  00000003 0000008c")
    assert disk.read("s.timeindex") == bytes.fromhex(
        "0000000000000005 00000001  0000000000000009 00000002"
    )


@pytest.mark.parametrize("file", ["s.index", "s.timeindex"])
@pytest.mark.parametrize("damage", ["torn", "zeros", "falling", "negative"])
def test_files_that_cannot_be_right_are_not_believed(
    tmp_path: Path, file: str, damage: str
) -> None:
    disk = RealDisk(tmp_path)
    rows = [(n * 70, batch_of(100 + n, 1, 70, n)) for n in range(4)]
    index_of(rows, 0).write(disk, "s")
    right = disk.read(file)
    size = len(right) // 3
    content = {
        "torn": right[:-1],
        "zeros": bytes(2 * size),
        "falling": right[size:] + right[:size],
        "negative": b"\xff" + right[1:],
    }[damage]
    torn = disk.open(file)
    torn.truncate(0)
    torn.write_at(0, content)
    loaded = Index(100, 0)
    assert loaded.load(disk, "s", 1000, 280) == 0
    for position, batch in rows:
        loaded.note(position, batch)
    assert shape(loaded) == shape(index_of(rows, 0))


def test_a_missing_file_means_no_index(tmp_path: Path) -> None:
    assert Index(0, 0).load(RealDisk(tmp_path), "s", 1000, 1000) == 0
