"""Records inside a batch, decoded by kafka-python; looked at only where a timestamp asks for it."""

from __future__ import annotations

from kafka.record.default_records import DefaultRecordBatch


def first_at_or_after(data: bytes, timestamp: int) -> tuple[int, int]:
    """(timestamp, offset) of the first record in this batch at or after `timestamp` (ms).

    The batch's header must promise one. For a batch stamped on append, all have that time.
    """
    batch = DefaultRecordBatch(data)
    if batch.timestamp_type == 1:
        return batch.max_timestamp, batch.base_offset
    for record in batch:
        if record.timestamp >= timestamp:
            return int(record.timestamp), int(record.offset)
    raise AssertionError("the header's maximum timestamp is one of a record")
