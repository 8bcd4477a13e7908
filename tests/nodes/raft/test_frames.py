"""What a crash leaves of a frame is told from what came to it later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.raft.frames import (
    MAGIC,
    SECTOR_BYTES,
    Found,
    find_frame,
    frame,
    frame_size,
    is_torn,
)

# As of MessagePack of entries: anything, but no sector of zeros.
PAYLOADS = st.binary(max_size=2000).map(lambda data: data.replace(bytes(64), b"x" * 64))
BEFORE = st.integers(0, 2 * SECTOR_BYTES)


@given(PAYLOADS, PAYLOADS)
def test_frames_are_found_one_after_the_other(first: bytes, second: bytes) -> None:
    data = frame(first) + frame(second)
    assert find_frame(data, 0) == first
    assert find_frame(data, frame_size(first)) == second
    assert find_frame(data, len(data)) is Found.NOTHING_WHOLE


@given(PAYLOADS, BEFORE, st.data())
def test_a_write_that_ended_too_soon_is_torn(
    payload: bytes, before: int, data: st.DataObject
) -> None:
    """The file is longer already, or not; the bytes that were not written are zero."""
    whole = frame(payload)
    size = data.draw(st.integers(0, len(whole) - 1))
    padded = data.draw(st.integers(0, len(whole) - size))
    left = b"x" * before + whole[:size] + bytes(padded)
    if not any(left[before:]) or left[before:] != whole:
        assert find_frame(left, before) is Found.NOTHING_WHOLE
        assert is_torn(left, before)


@given(PAYLOADS, BEFORE, st.data())
def test_any_sectors_that_were_not_written_make_it_torn(
    payload: bytes, before: int, data: st.DataObject
) -> None:
    left = bytearray(b"x" * before + frame(payload))
    first, last = before // SECTOR_BYTES, (len(left) - 1) // SECTOR_BYTES
    lost = data.draw(st.sets(st.integers(first, last), min_size=1))
    for sector in lost:
        begin = max(sector * SECTOR_BYTES, before)
        end = min((sector + 1) * SECTOR_BYTES, len(left))
        left[begin:end] = bytes(end - begin)
    assert find_frame(bytes(left), before) is Found.NOTHING_WHOLE
    assert is_torn(bytes(left), before)


@given(PAYLOADS, BEFORE, st.data())
def test_a_bit_that_flips_in_a_whole_frame_is_no_torn_write(
    payload: bytes, before: int, data: st.DataObject
) -> None:
    left = bytearray(b"x" * before + frame(payload))
    at = data.draw(st.integers(before, len(left) - 1))
    left[at] ^= 1 << data.draw(st.integers(0, 7))
    assert find_frame(bytes(left), before) is Found.NOTHING_WHOLE
    assert not is_torn(bytes(left), before)


@given(PAYLOADS, PAYLOADS, st.data())
def test_a_whole_frame_behind_a_damaged_one_is_found(
    first: bytes, second: bytes, data: st.DataObject
) -> None:
    left = bytearray(frame(first) + frame(second))
    begin = data.draw(st.integers(0, frame_size(first) - 1))
    end = data.draw(st.integers(begin + 1, frame_size(first)))
    left[begin:end] = bytes(end - begin)
    found = find_frame(bytes(left), 0)
    assert found is Found.WHOLE_ONE_LATER or found == first


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC * 20, bytes(100), b"\xff" * 100])
def test_what_is_no_frame_is_none(data: bytes) -> None:
    assert find_frame(data, 0) is Found.NOTHING_WHOLE


def test_a_length_that_is_a_lie_reads_nothing() -> None:
    data = bytearray(frame(b"payload"))
    data[4:8] = b"\xff\xff\xff\xff"
    assert find_frame(bytes(data), 0) is Found.NOTHING_WHOLE
