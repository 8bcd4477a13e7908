"""A segment reads, finds and cuts as a plain list of batches does."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.host.real import RealDisk
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.segment import Segment
from tests.nodes.broker.log.making import header, placed, values

BASE = 50


@st.composite
def contents(draw: st.DrawFn) -> list[bytearray]:
    """Batches back to back, as a leader stores them; some offsets are left out."""
    found, offset = [], BASE
    for _ in range(draw(st.integers(0, 8))):
        offset += draw(st.sampled_from([0, 0, 2]))
        texts = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=3))
        data = placed(values(*texts, at_ms=draw(st.integers(0, 9))), offset, 1)
        found.append(data)
        offset += len(texts)
    return found


intervals = st.sampled_from([0, 100, 10_000])


class Made:
    """A segment with these batches, appended in groups, in a folder of its own."""

    def __init__(self, contents: list[bytearray], interval: int, group: int = 1) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.disk = RealDisk(Path(self.folder.name))
        self.disk.mkdir("t-0")
        self.segment = Segment(self.disk, "t-0", BASE, interval)
        for at in range(0, len(contents), group):
            part = contents[at : at + group]
            self.segment.append(b"".join(part), [header(each) for each in part])
            self.segment._check()

    def __enter__(self) -> Segment:
        return self.segment

    def __exit__(self, *_: object) -> None:
        self.segment.close()
        self.folder.cleanup()


@given(contents(), intervals, st.integers(1, 3))
def test_every_offset_is_found(contents: list[bytearray], interval: int, group: int) -> None:
    with Made(contents, interval, group) as segment:
        segment._places.clear()
        for offset in range(BASE, segment.end + 2):
            at = 0
            for data in contents:
                if header(data).next_offset > offset:
                    break
                at += len(data)
            assert segment.position_of(offset) == at


@given(contents(), intervals, st.data())
def test_a_read_gives_whole_batches_up_to_its_limits(
    contents: list[bytearray], interval: int, data: st.DataObject
) -> None:
    with Made(contents, interval) as segment:
        segment._places.clear()
        first = data.draw(st.integers(0, len(contents)))
        last = data.draw(st.integers(first, len(contents)))
        limit = data.draw(st.integers(0, 400))
        at_least_one = data.draw(st.booleans())
        positions = [sum(map(len, contents[:n])) for n in range(len(contents) + 1)]
        expected = b""
        for each in contents[first:last]:
            if len(expected) + len(each) > limit and not (at_least_one and not expected):
                break
            expected += each
        assert segment.read(positions[first], positions[last], limit, at_least_one) == expected


@given(contents(), intervals, st.integers(0, 10), st.integers(BASE, BASE + 20))
def test_no_batch_as_new_as_a_time_is_missed(
    contents: list[bytearray], interval: int, time: int, start: int
) -> None:
    with Made(contents, interval) as segment:
        found = [bytes(data) for _, data in segment.first_since(time, start)]
        wanted = [each for each in contents if header(each).max_timestamp >= time]
        assert found == [each for each in wanted if header(each).next_offset > start]


@given(contents(), intervals, st.data())
def test_a_cut_segment_is_one_that_never_had_more(
    contents: list[bytearray], interval: int, data: st.DataObject
) -> None:
    with Made(contents, interval) as segment:
        segment.write_indexes()
        offset = data.draw(st.integers(BASE, segment.end))
        kept = [each for each in contents if header(each).next_offset <= offset]
        segment.truncate(offset)
        segment._check()
        assert segment.file.read_at(0, 10_000) == b"".join(kept)
        with Made(kept, interval) as fresh:
            assert segment.index._offsets == fresh.index._offsets
            assert (segment.end, segment.first_timestamp) == (fresh.end, fresh.first_timestamp)


@given(contents(), st.data())
def test_an_index_that_points_nowhere_is_made_anew(
    contents: list[bytearray], data: st.DataObject
) -> None:
    with Made(contents, 0) as segment:
        if len(contents) < 2:
            return
        right = list(segment.index._offsets), list(segment.index._positions)
        segment._places.clear()
        place = data.draw(st.integers(0, len(right[1]) - 1))
        segment.index._positions[place] += data.draw(st.integers(1, 60))
        wrong = contents[place + 1]
        assert segment.position_of(header(wrong).last_offset) == right[1][place]
        assert (segment.index._offsets, segment.index._positions) == right


def test_a_damaged_batch_is_not_walked_over() -> None:
    contents = [placed(values(b"one"), BASE, 1), placed(values(b"two"), BASE + 1, 1)]
    with Made(contents, 10_000) as segment:
        segment.file.write_at(len(contents[0]) + 16, b"\1")
        with pytest.raises(CorruptBatch, match="magic"):
            list(segment.walk(0))


def test_what_a_failed_write_left_is_cut_off() -> None:
    contents = [placed(values(b"one"), BASE, 1)]
    with Made(contents, 0) as segment:
        more = placed(values(b"two"), BASE + 1, 1)

        class Half:
            """A file on a disk that is full in the middle of a write."""

            def write_at(self, offset: int, data: bytes) -> None:
                whole.write_at(offset, bytes(data)[:30])
                raise OSError(28, "No space left on device")

            truncate = staticmethod(segment.file.truncate)

        whole, segment.file = segment.file, Half()  # type: ignore[assignment]
        with pytest.raises(OSError, match="space"):
            segment.append(more, [header(more)])
        segment.file = whole
        segment._check()
        assert segment.end == BASE + 1
