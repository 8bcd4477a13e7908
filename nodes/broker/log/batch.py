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
What is inside the records is not looked at: a producer can store garbage that only readers notice.
Source: Kafka's documentation, "Record Batch"; KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import msgspec
from crc32c import crc32c

from nodes.broker.log.errors import BatchTooLarge, CorruptBatch, InvalidRecord

Buffer = bytes | bytearray | memoryview

HEADER = Struct(">qiibIhiqqqhii")
HEADER_SIZE = HEADER.size
LENGTH_FROM = 12
"""The length field counts from here."""

RECORD_SIZE_MIN = 7
"""Length, attributes, two deltas, null key, null value, no headers."""

MAGIC = 2
NO_PRODUCER = -1
STAMPED = 0x08
"""The attribute that says that the leader's clock gave the timestamps."""

SEQUENCE_MASK = 0x7FFFFFFF
"""Sequences wrap around to 0 after 2^31 - 1."""

_CRC_AT, _CRC_FROM = 17, 21
_EPOCH_AT, _ATTRIBUTES_AT, _MAX_TIMESTAMP_AT = 12, 21, 35
_LONG, _INT, _SHORT, _UINT = Struct(">q"), Struct(">i"), Struct(">h"), Struct(">I")

assert HEADER_SIZE == 61


class Batch(msgspec.Struct, frozen=True, gc=False):
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
        return (self.base_sequence + self.last_delta) & SEQUENCE_MASK

    @property
    def compression(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & 0x07

    @property
    def is_stamped(self) -> bool:
        """Whether the time is the leader's (LogAppendTime)."""
        return bool(self.attributes & STAMPED)

    @property
    def is_transactional(self) -> bool:
        return bool(self.attributes & 0x10)

    @property
    def is_control(self) -> bool:
        return bool(self.attributes & 0x20)


def read_header(data: Buffer, at: int = 0) -> Batch:
    """The header of the batch that begins at `at`; its records and CRC are not looked at.

    Raises:
        CorruptBatch: too short, another magic, or numbers that cannot be. The stated length is
            at least a header's; whether the bytes are there is for the caller to see.
    """
    if len(data) - at < HEADER_SIZE:
        raise CorruptBatch(f"{len(data) - at} bytes are no batch header")
    fields = HEADER.unpack_from(data, at)
    base, length, epoch, magic, _, attributes, delta, first, last, pid, p_epoch, seq, count = fields
    if magic != MAGIC:
        raise CorruptBatch(f"magic {magic}, where {MAGIC} is the only one supported")
    if length < HEADER_SIZE - LENGTH_FROM:
        raise CorruptBatch(f"a length of {length} cannot hold the header")
    if base < 0 or delta < 0 or count < 0:
        raise CorruptBatch(f"base offset {base}, last offset delta {delta}, {count} records")
    size = length + LENGTH_FROM
    return Batch(base, size, epoch, attributes, delta, first, last, pid, p_epoch, seq, count)


def check_crc(data: Buffer, at: int, size: int) -> None:
    """Raises CorruptBatch if the batch at `at` is cut short or its CRC is wrong."""
    if len(data) - at < size:
        raise CorruptBatch(f"{len(data) - at} of {size} bytes are there")
    (stated,) = _UINT.unpack_from(data, at + _CRC_AT)
    found = crc32c(memoryview(data)[at + _CRC_FROM : at + size])
    if found != stated:
        raise CorruptBatch(f"CRC {found:#010x}, where {stated:#010x} is stated")


def batches(data: Buffer) -> Iterator[tuple[int, Batch]]:
    """(position, header) of each batch in `data`, which must hold whole ones. CRCs are checked.

    Raises:
        CorruptBatch: at the first that is not whole or not right.
    """
    at = 0
    while at < len(data):
        batch = read_header(data, at)
        check_crc(data, at, batch.size)
        yield at, batch
        at += batch.size


def one_batch(data: Buffer, max_bytes: int) -> Batch:
    """The header of the single batch of a produce request, verified.

    Raises:
        BatchTooLarge: over `max_bytes`. CorruptBatch: damaged, or of an old format.
        InvalidRecord: none, more than one, or what a producer must not send.
    """
    if not data:
        raise InvalidRecord("a produce request holds one batch, not none")
    batch = read_header(data)
    if batch.size > max_bytes:
        raise BatchTooLarge(f"a batch of {batch.size} bytes is over the limit of {max_bytes}")
    check_crc(data, 0, batch.size)
    if batch.size != len(data):
        raise InvalidRecord(f"{len(data) - batch.size} bytes follow the one batch of a request")
    if batch.count < 1 or batch.last_delta != batch.count - 1:
        raise InvalidRecord(f"{batch.count} records, but a last delta of {batch.last_delta}")
    if batch.producer_id != NO_PRODUCER and (batch.producer_epoch < 0 or batch.base_sequence < 0):
        raise InvalidRecord(
            f"producer {batch.producer_id} with epoch {batch.producer_epoch} "
            f"and sequence {batch.base_sequence}"
        )
    if batch.producer_id < NO_PRODUCER:
        raise InvalidRecord(f"producer id {batch.producer_id}")
    if batch.compression > 4:
        raise InvalidRecord(f"compression {batch.compression} is not known")
    if not batch.compression and batch.count * RECORD_SIZE_MIN > batch.size - HEADER_SIZE:
        raise InvalidRecord(f"{batch.count} records do not fit into {batch.size} bytes")
    if batch.is_control:
        raise InvalidRecord("markers of transactions are written by brokers only")
    return batch


def patch(data: bytearray | memoryview, at: int, base_offset: int, leader_epoch: int) -> None:
    """Write what the leader decides; the CRC does not cover it."""
    _LONG.pack_into(data, at, base_offset)
    _INT.pack_into(data, at + _EPOCH_AT, leader_epoch)


def stamp(data: bytearray | memoryview, at: int, size: int, now_ms: int) -> None:
    """Make it LogAppendTime: attribute bit 3, maximum timestamp, and a new CRC."""
    (attributes,) = _SHORT.unpack_from(data, at + _ATTRIBUTES_AT)
    _SHORT.pack_into(data, at + _ATTRIBUTES_AT, attributes | 0x08)
    _LONG.pack_into(data, at + _MAX_TIMESTAMP_AT, now_ms)
    sign(data, at, size)


def sign(data: bytearray | memoryview, at: int, size: int) -> None:
    """Write the CRC of what is there."""
    _UINT.pack_into(data, at + _CRC_AT, crc32c(memoryview(data)[at + _CRC_FROM : at + size]))
