"""Keys and values of internal topics, and the batches that they are in.

A record is what a coordinator remembers of something: its newest value under a key, or, without a
value, that it is forgotten. Structures are Kafka's own, so that its tools read them: big-endian
integers, strings with a length of 16 bits (-1: null), byte strings and arrays with one of 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct, error

from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from nodes.broker.log.batch import batches
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.transactions import Marker, read_marker

_BATCH_BYTES = 2**31 - 1
"""The builder drops in silence what goes over it, and these records were counted already."""
_INTS = {size: Struct(f">{code}") for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))}


@dataclass(frozen=True, slots=True)
class Record:
    """`value` None: nothing is remembered under the key any more."""

    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Producer:
    """Whose transaction a batch belongs to."""

    id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Written:
    """One batch of an internal topic. With `marker` it ends the transaction of `producer`; else
    what it has counts at once, or, with a producer, when its transaction was committed."""

    last_offset: int
    records: Sequence[Record] = ()
    producer: Producer | None = None
    marker: Marker | None = None


def batch_of(records: Sequence[Record], now_ms: int, producer: Producer | None) -> bytearray:
    """Uncompressed; with a producer it is transactional, and has no sequence."""
    id, epoch = (-1, -1) if producer is None else (producer.id, producer.epoch)
    builder = DefaultRecordBatchBuilder(2, 0, producer is not None, id, epoch, -1, _BATCH_BYTES)
    for number, record in enumerate(records):
        builder.append(number, now_ms, record.key, record.value, [])
    return bytearray(builder.build())


def written(data: bytes) -> Iterator[Written]:
    """The batches in `data`.

    Raises:
        CorruptBatch: something in it is none.
    """
    for at, head in batches(data):
        whole = data[at : at + head.size]
        producer = (
            Producer(head.producer_id, head.producer_epoch) if head.is_transactional else None
        )
        if head.is_control:
            yield Written(head.last_offset, producer=producer, marker=read_marker(whole))
            continue
        try:
            records = [
                Record(bytes(each.key or b""), None if each.value is None else bytes(each.value))
                for each in DefaultRecordBatch(whole)
            ]
        except Exception as failure:  # whatever the decoder makes of hostile bytes
            text = f"the records at offset {head.base_offset}: {failure!r}"
            raise CorruptBatch(text) from failure
        yield Written(head.last_offset, records, producer)


class Reader:
    """Takes a structure apart, field by field.

    Every method raises CorruptBatch where the bytes end too soon.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def number(self, size: int) -> int:
        try:
            (found,) = _INTS[size].unpack_from(self._data, self._at)
        except error as short:
            raise CorruptBatch(f"a record ends within a number: {short}") from short
        self._at += size
        return int(found)

    def string(self) -> str | None:
        size = self.number(2)
        return None if size < 0 else _text(self.raw(size))

    def text(self) -> str:
        """A string that is not null."""
        return self.string() or ""

    def blob(self) -> bytes | None:
        size = self.number(4)
        return None if size < 0 else self.raw(size)

    def count(self) -> int:
        return max(self.number(4), 0)

    def unsigned(self) -> int:
        """A varint without a sign."""
        found = shift = 0
        while True:
            byte = self.number(1) & 0xFF
            found |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return found
            if shift > 28:
                raise CorruptBatch("a number of over five bytes")

    def compact(self) -> str:
        """A string whose length, and one more, is a varint."""
        return _text(self.raw(max(self.unsigned() - 1, 0)))

    def raw(self, size: int) -> bytes:
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise CorruptBatch(f"a record ends after {len(found)} of {size} bytes")
        self._at += size
        return found


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as failure:
        raise CorruptBatch(f"a string that is no UTF-8: {failure}") from failure


class Writer:
    """Puts a structure together. `done` gives its bytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def number(self, size: int, value: int) -> Writer:
        self._parts.append(_INTS[size].pack(value))
        return self

    def string(self, value: str | None) -> Writer:
        if value is None:
            return self.number(2, -1)
        data = value.encode()
        self.number(2, len(data))
        self._parts.append(data)
        return self

    def blob(self, value: bytes | None) -> Writer:
        if value is None:
            return self.number(4, -1)
        self.number(4, len(value))
        self._parts.append(value)
        return self

    def unsigned(self, value: int) -> Writer:
        while value > 0x7F:
            self._parts.append(bytes((value & 0x7F | 0x80,)))
            value >>= 7
        self._parts.append(bytes((value,)))
        return self

    def compact(self, value: str) -> Writer:
        data = value.encode()
        return self.unsigned(len(data) + 1).raw(data)

    def raw(self, data: bytes) -> Writer:
        self._parts.append(data)
        return self

    def done(self) -> bytes:
        return b"".join(self._parts)
