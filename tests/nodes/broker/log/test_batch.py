"""Batches of real clients are understood, patched and stamped; damaged and hostile ones refused."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from nodes.broker.log.batch import (
    HEADER,
    HEADER_SIZE,
    batches,
    check_crc,
    one_batch,
    patch,
    read_header,
    stamp,
)
from nodes.broker.log.errors import BatchTooLarge, CorruptBatch, InvalidRecord, LogError
from tests.nodes.broker.log.making import GZIP, Record, batch, decoded, libraries, records, values

LIMIT = 1 << 20
READERS = ["kafka-python", "aiokafka"]
FIELDS = [
    *("base", "length", "epoch", "magic", "crc", "attributes", "last_delta", "first", "max"),
    *("producer", "producer_epoch", "sequence", "count"),
]


def changed(data: bytes | bytearray, **fields: int) -> bytearray:
    """The batch with other header fields, and a CRC that fits."""
    found = dict(zip(FIELDS, HEADER.unpack_from(data), strict=True)) | fields
    data = bytearray(data)
    HEADER.pack_into(data, 0, *found.values())
    if "crc" not in fields:
        stamp_crc(data)
    return data


def stamp_crc(data: bytearray) -> None:
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")


# -- real batches -------------------------------------------------------------------------------


@given(records, libraries, st.sampled_from([0, GZIP]))
def test_a_header_says_what_the_producer_put_in(
    records: list[Record], library: str, compression: int
) -> None:
    data = batch(
        records, producer=7, epoch=3, sequence=11, compression=compression, library=library
    )
    found = one_batch(data, LIMIT)
    assert found.size == len(data)
    assert found.count == len(records) == found.next_offset - found.base_offset
    assert found.max_timestamp == max(timestamp for timestamp, _ in records)
    assert found.base_timestamp == records[0][0]
    assert (found.producer_id, found.producer_epoch, found.base_sequence) == (7, 3, 11)
    assert found.last_sequence == 11 + len(records) - 1
    assert not (found.is_stamped or found.is_transactional or found.is_control)


@given(records, libraries, st.integers(0, 2**62), st.integers(0, 2**31 - 1))
def test_a_patched_batch_is_read_by_every_client(
    records: list[Record], library: str, base: int, epoch: int
) -> None:
    data = batch(records, library=library)
    patch(data, 0, base, epoch)
    check_crc(data, 0, len(data))
    assert (read_header(data).base_offset, read_header(data).leader_epoch) == (base, epoch)
    expected = [(base + n, timestamp, value) for n, (timestamp, value) in enumerate(records)]
    for reader in READERS:
        assert decoded(data, reader) == expected


@given(records, libraries)
def test_a_stamped_batch_has_the_leaders_time_for_every_client(
    records: list[Record], library: str
) -> None:
    data = batch(records, library=library)
    stamp(data, 0, len(data), 4711)
    assert read_header(data).is_stamped and read_header(data).max_timestamp == 4711
    for reader in READERS:
        assert decoded(data, reader) == [(n, 4711, value) for n, (_, value) in enumerate(records)]


@given(st.lists(records, max_size=4))
def test_batches_back_to_back_are_found_one_by_one(drawn: list[list[Record]]) -> None:
    parts = [batch(each) for each in drawn]
    found = list(batches(b"".join(parts)))
    assert [at for at, _ in found] == [sum(map(len, parts[:n])) for n in range(len(parts))]
    assert [each.size for _, each in found] == [len(part) for part in parts]


def test_sequences_wrap_around() -> None:
    data = batch([(0, b"")] * 3, producer=1, epoch=0, sequence=2**31 - 2)
    assert one_batch(data, LIMIT).last_sequence == 0


# -- damage -------------------------------------------------------------------------------------


def test_a_batch_that_is_cut_short_anywhere_is_refused() -> None:
    data = values(b"one", b"two")
    for size in range(1, len(data)):
        with pytest.raises(CorruptBatch):
            one_batch(data[:size], LIMIT)
        with pytest.raises(CorruptBatch):
            list(batches(data[:size]))


def test_every_flipped_bit_is_caught_where_the_leader_does_not_overwrite() -> None:
    data = batch([(5, b"one"), (6, b"two")], producer=1, epoch=0, sequence=0)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        if bit // 8 in range(8) or bit // 8 in range(12, 16):
            patch(flipped, 0, 0, 0)
            patched = bytearray(data)
            patch(patched, 0, 0, 0)
            assert flipped == patched
            continue
        with pytest.raises(LogError):
            one_batch(flipped, LIMIT)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(LogError):
        one_batch(data, LIMIT)
    with pytest.raises(CorruptBatch):
        list(batches(data + b"\0"))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "base": st.integers(-(2**63), 2**63 - 1),
            "length": st.integers(-(2**31), 2**31 - 1),
            "attributes": st.integers(-(2**15), 2**15 - 1),
            "last_delta": st.integers(-(2**31), 2**31 - 1),
            "producer": st.integers(-(2**63), 2**63 - 1),
            "producer_epoch": st.integers(-(2**15), 2**15 - 1),
            "sequence": st.integers(-(2**31), 2**31 - 1),
            "count": st.integers(-(2**31), 2**31 - 1),
        },
    )
)
def test_a_hostile_header_is_refused_or_makes_sense(fields: dict[str, int]) -> None:
    data = changed(values(b"one", b"two"), **fields)
    try:
        found = one_batch(data, LIMIT)
    except LogError:
        return
    assert found.size == len(data)
    assert found.count == found.last_delta + 1 >= 1
    assert found.compression or found.count * 7 <= len(data) - HEADER_SIZE
    assert found.producer_id == -1 or (found.producer_epoch >= 0 and found.base_sequence >= 0)
    assert not found.is_control


# -- what producers must not send ---------------------------------------------------------------


def test_a_request_holds_exactly_one_batch() -> None:
    with pytest.raises(InvalidRecord, match="not none"):
        one_batch(b"", LIMIT)
    with pytest.raises(InvalidRecord, match="follow the one batch"):
        one_batch(values(b"one") + values(b"two"), LIMIT)


def test_old_formats_are_refused_by_their_magic() -> None:
    for magic in (0, 1, 3):
        with pytest.raises(CorruptBatch, match=f"magic {magic}"):
            one_batch(changed(values(b"one"), magic=magic), LIMIT)


def test_a_batch_over_the_limit_is_refused_before_its_bytes_are_looked_at() -> None:
    data = values(b"one")
    assert one_batch(data, len(data)).count == 1
    data[-1] ^= 1
    with pytest.raises(BatchTooLarge):
        one_batch(data, len(data) - 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0, "last_delta": -1},
        {"count": 3},
        {"count": 2**31 - 1, "last_delta": 2**31 - 2},
        {"producer": -2},
        {"producer": 5, "producer_epoch": -1, "sequence": 0},
        {"producer": 5, "producer_epoch": 0, "sequence": -1},
        {"attributes": 5},
        {"attributes": 0x20},
    ],
    ids=str,
)
def test_a_whole_batch_may_still_be_invalid(fields: dict[str, int]) -> None:
    with pytest.raises((InvalidRecord, CorruptBatch)):
        one_batch(changed(values(b"one", b"two"), **fields), LIMIT)
