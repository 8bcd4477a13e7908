"""Records inside a batch, decoded by kafka-python; looked at only where a timestamp asks for it."""

from __future__ import annotations

from kafka.errors import UnsupportedCodecError
from kafka.record.default_records import DefaultRecordBatch

from nodes.broker.log.errors import CorruptBatch


def first_at_or_after(data: bytes, timestamp: int, start: int) -> tuple[int, int] | None:
    """(timestamp, offset) of the first record from offset `start` on at or after `timestamp` (ms).

    If the batch is stamped on append, all its records have that time. Where the library of its
    compression is not there to look inside, the batch answers as if all had the largest.

    Raises:
        CorruptBatch: the producer stored what is no records.
    """
    batch = DefaultRecordBatch(data)
    whole = max(batch.base_offset, start) if batch.max_timestamp >= timestamp else None
    if batch.timestamp_type == 1:
        return None if whole is None else (batch.max_timestamp, whole)
    try:
        for record in batch:
            if record.timestamp >= timestamp and record.offset >= start:
                return int(record.timestamp), int(record.offset)
    except UnsupportedCodecError:
        return None if whole is None else (batch.max_timestamp, whole)
    except Exception as error:  # whatever the decoder makes of hostile bytes
        raise CorruptBatch(f"the records at offset {batch.base_offset}: {error!r}") from error
    return None
