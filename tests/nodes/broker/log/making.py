"""Record batches as real clients make them, and as draws."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatch as AioBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder as AioBuilder
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from nodes.broker.log.batch import Batch, patch, read_header

GZIP = 1
Record = tuple[int, bytes]
"""(timestamp in ms, value)."""


def batch(
    records: Sequence[Record],
    *,
    producer: int = -1,
    epoch: int = -1,
    sequence: int = -1,
    compression: int = 0,
    library: str = "kafka-python",
) -> bytearray:
    """A batch as a producer sends it: base offset 0, leader epoch as the library has it."""
    build = DefaultRecordBatchBuilder if library == "kafka-python" else AioBuilder
    builder = build(2, compression, False, producer, epoch, sequence, 1 << 24)
    for number, (timestamp, value) in enumerate(records):
        builder.append(number, timestamp, None, value, [])
    return bytearray(builder.build())


def values(*texts: bytes, at_ms: int = 1000) -> bytearray:
    """A batch of these values, all of one time."""
    return batch([(at_ms, text) for text in texts])


def placed(data: bytearray, base: int, epoch: int) -> bytearray:
    """The batch as a leader stores it."""
    data = bytearray(data)
    patch(data, 0, base, epoch)
    return data


def header(data: bytes | bytearray) -> Batch:
    return read_header(data)


def decoded(data: bytes | bytearray, library: str = "kafka-python") -> list[tuple[int, int, bytes]]:
    """(offset, timestamp, value) of every record in any number of batches, as a client reads."""
    found = []
    view = memoryview(bytes(data))
    while view:
        one = bytes(view[: read_header(view).size])
        reader = DefaultRecordBatch(one) if library == "kafka-python" else AioBatch(one)
        assert reader.validate_crc()
        found += [(r.offset, r.timestamp, bytes(r.value)) for r in reader]
        view = view[len(one) :]
    return found


records = st.lists(st.tuples(st.integers(0, 100), st.binary(max_size=30)), min_size=1, max_size=5)
libraries = st.sampled_from(["kafka-python", "aiokafka"])
