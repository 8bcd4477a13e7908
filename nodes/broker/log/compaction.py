"""Which records of a batch stay when a log is compacted, and the batch that is left of it.

A record goes when a later one of the log has its key, or when it has no value (a *tombstone*) and
stood long enough for every reader to have seen it: the batch says until when, in the place of its
base timestamp (its *delete horizon*, attribute bit 6), from the first compaction that met it on.
What was written in an aborted transaction goes at once; its marker goes when nothing is left for it
to end, and its own horizon has passed.

Offsets stay, and so do sequences: what is left of a batch spans the same of both.
Source: Kafka's documentation, "Log Compaction"; KIP-534 (delete horizons); LogCleaner and
MemoryRecords.filterTo for what neither says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kafka.codec import (
    gzip_decode,
    gzip_encode,
    lz4_decode,
    lz4_encode,
    snappy_decode,
    snappy_encode,
    zstd_decode,
    zstd_encode,
)

from nodes.broker.log.batch import HEADER, HEADER_SIZE, LENGTH_FROM, Batch, Buffer, sign
from nodes.broker.log.errors import CorruptBatch

HORIZON, COMPRESSION = 0x40, 0x07
"""Of the attributes."""
_CODECS: Mapping[int, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    1: (gzip_decode, gzip_encode),
    2: (snappy_decode, snappy_encode),
    3: (lz4_decode, lz4_encode),
    4: (zstd_decode, zstd_encode),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `rest` is all of its bytes behind the timestamp's delta."""

    offset: int
    timestamp: int
    key: bytes | None
    is_tombstone: bool
    attributes: int
    rest: bytes


@dataclass(frozen=True, slots=True)
class Horizons:
    """`now_ms`, and how long after it tombstones and markers stay that are met at first now."""

    now_ms: int
    retention_ms: int

    def of(self, batch: Batch) -> int | None:
        """Until when the tombstones of a batch stay, if that is decided."""
        return batch.base_timestamp if batch.attributes & HORIZON else None

    def is_over(self, batch: Batch) -> bool:
        horizon = self.of(batch)
        return horizon is not None and horizon < self.now_ms

    def next(self, batch: Batch) -> int:
        horizon = self.of(batch)
        return self.now_ms + self.retention_ms if horizon is None else horizon


def records_of(batch: Batch, data: Buffer) -> list[Record]:
    """The records of a batch, decompressed.

    Raises:
        CorruptBatch: the producer stored what is no records.
    """
    payload = bytes(memoryview(data)[HEADER_SIZE : batch.size])
    try:
        if batch.compression:
            payload = _CODECS[batch.compression][0](payload)
        return list(_records(batch, payload))
    except CorruptBatch:
        raise
    except Exception as error:  # whatever a codec makes of hostile bytes
        raise CorruptBatch(f"the records at offset {batch.base_offset}: {error!r}") from error


def _records(batch: Batch, payload: bytes) -> Iterator[Record]:
    at = 0
    for _ in range(batch.count):
        size, at = _varint(payload, at)
        end = at + size
        if size < 0 or end > len(payload):
            raise CorruptBatch(f"a record of {size} bytes at offset {batch.base_offset}")
        attributes, at = payload[at], at + 1
        time_delta, at = _varint(payload, at)
        rest_at = at
        offset_delta, at = _varint(payload, at)
        key, at = _bytes(payload, at)
        value_size, at = _varint(payload, at)
        if at + max(value_size, 0) >= end:  # a number of headers follows
            raise CorruptBatch(f"a record of {size} bytes that holds more")
        yield Record(
            batch.base_offset + offset_delta,
            batch.base_timestamp + time_delta,
            key,
            value_size < 0,
            attributes,
            payload[rest_at:end],
        )
        at = end


def left_of(batch: Batch, kept: Sequence[Record], horizon_ms: int | None) -> bytes:
    """The batch with these of its records; the offsets and sequences that it spans are the same.

    With a horizon it is noted; without one the batch keeps its own, if it has one.
    """
    attributes, base_ms = batch.attributes, batch.base_timestamp
    if horizon_ms is not None:
        attributes, base_ms = attributes | HORIZON, horizon_ms
    payload = b"".join(_encoded(record, base_ms) for record in kept)
    if not kept:
        attributes &= ~COMPRESSION  # to decompress nothing is an error for most clients
    elif batch.compression:
        payload = _CODECS[batch.compression][1](payload)
    newest = max((record.timestamp for record in kept), default=batch.max_timestamp)
    if batch.is_stamped:
        newest = batch.max_timestamp
    size = HEADER_SIZE + len(payload)
    data = bytearray(
        HEADER.pack(
            batch.base_offset,
            size - LENGTH_FROM,
            batch.leader_epoch,
            2,
            0,
            attributes,
            batch.last_delta,
            base_ms,
            newest,
            batch.producer_id,
            batch.producer_epoch,
            batch.base_sequence,
            len(kept),
        )
        + payload
    )
    sign(data, 0, size)
    return bytes(data)


def _encoded(record: Record, base_ms: int) -> bytes:
    body = bytes((record.attributes,)) + _signed(record.timestamp - base_ms) + record.rest
    return _signed(len(body)) + body


# -- varints, zigzag -----------------------------------------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(number, where it ends). Raises CorruptBatch."""
    found = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise CorruptBatch("a record ends within a number")
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (found >> 1) ^ -(found & 1), at


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise CorruptBatch(f"a key of {size} bytes")
    return data[at : at + size], at + size


def _signed(value: int) -> bytes:
    value = value << 1 if value >= 0 else (-value << 1) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
