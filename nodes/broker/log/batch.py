"""Record batches, magic 2, as opaque bytes with a header that is read and patched in place.

    offset  size  field                        |
    0       8     base offset                  | patched by the leader
    8       4     length of what follows       |
    12      4     partition leader epoch       | patched by the leader
    16      1     magic, 2                     |
    17      4     CRC-32C of all that follows  |
    21      2     attributes: 0-2 compression, 3 timestamp type, 4 transactional, 5 control
    23      4     last offset delta
    27      8     base timestamp               35  8  max timestamp
    43      8     producer id                  51  2  producer epoch        53  4  base sequence
    57      4     number of records            61     records, perhaps compressed

The CRC leaves out what the leader patches, so a batch travels and rests as its producer sent it.
Source: Kafka's documentation, "Record Batch"; KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from crc32c import crc32c

HEADER = Struct(">qiibIhiqqqhii")
HEADER_SIZE = HEADER.size
LENGTH_FROM = 12  # `length` counts from here
CRC_FROM = 21
MAGIC = 2
NO_PRODUCER = -1
NO_SEQUENCE = -1

_PLACE = Struct(">q")
_EPOCH = Struct(">i")

assert HEADER_SIZE == 61


class CorruptBatch(Exception):
    """Bytes that are no valid batch. Says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch's header; `size` is the whole batch's, in bytes."""

    base_offset: int
    size: int
    leader_epoch: int
    attributes: int
    last_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequences wrap around at 2^31."""
        return (self.base_sequence + self.last_delta) & 0x7FFFFFFF

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & 0x20)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & 0x10)


def read_header(data: bytes | bytearray | memoryview, at: int = 0) -> Batch:
    """The header of the batch that begins at `at`; its records and CRC are not looked at.

    Raises:
        CorruptBatch: too short, another magic, or numbers that cannot be.
    """
    if len(data) - at < HEADER_SIZE:
        raise CorruptBatch(f"{len(data) - at} bytes are no batch header")
    (
        base,
        length,
        epoch,
        magic,
        _,
        attributes,
        delta,
        first,
        last,
        pid,
        pepoch,
        sequence,
        count,
    ) = HEADER.unpack_from(data, at)
    if magic != MAGIC:
        raise CorruptBatch(f"magic {magic} is not supported")
    if length < HEADER_SIZE - LENGTH_FROM:
        raise CorruptBatch(f"a length of {length} cannot hold the header")
    if delta < 0 or count < 0 or base < 0:
        raise CorruptBatch(f"base offset {base}, delta {delta}, count {count}")
    size = length + LENGTH_FROM
    return Batch(base, size, epoch, attributes, delta, first, last, pid, pepoch, sequence, count)


def check_crc(data: bytes | bytearray | memoryview, at: int, size: int) -> None:
    """Raises CorruptBatch if the batch at `at` is cut short or its CRC is wrong."""
    if len(data) - at < size:
        raise CorruptBatch(f"{len(data) - at} of {size} bytes are there")
    stated = int.from_bytes(data[at + 17 : at + CRC_FROM], "big")
    found = crc32c(memoryview(data)[at + CRC_FROM : at + size])
    if found != stated:
        raise CorruptBatch(f"CRC {found:#010x} is not the stated {stated:#010x}")


def batches(
    data: bytes | bytearray | memoryview, *, crc: bool = True
) -> Iterator[tuple[int, Batch]]:
    """(position, header) of each batch in `data`, which must hold whole ones.

    Raises:
        CorruptBatch: at the first that is not whole or not right.
    """
    at = 0
    while at < len(data):
        batch = read_header(data, at)
        if crc:
            check_crc(data, at, batch.size)
        elif len(data) - at < batch.size:
            raise CorruptBatch(f"{len(data) - at} of {batch.size} bytes are there")
        yield at, batch
        at += batch.size


def patch(data: bytearray | memoryview, at: int, base_offset: int, leader_epoch: int) -> None:
    """Write what the leader decides; the CRC does not cover it."""
    _PLACE.pack_into(data, at, base_offset)
    _EPOCH.pack_into(data, at + 12, leader_epoch)


def stamp(data: bytearray | memoryview, at: int, size: int, now_ms: int) -> None:
    """Make it LogAppendTime: attribute bit 3, maximum timestamp, and a new CRC."""
    view = memoryview(data)
    attributes = int.from_bytes(view[at + 21 : at + 23], "big") | 0x08
    view[at + 21 : at + 23] = attributes.to_bytes(2, "big")
    _PLACE.pack_into(data, at + 35, now_ms)
    crc = crc32c(view[at + CRC_FROM : at + size])
    view[at + 17 : at + CRC_FROM] = crc.to_bytes(4, "big")
