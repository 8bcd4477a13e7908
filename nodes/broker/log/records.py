"""Records inside a batch, decoded by kafka-python; looked at only where a timestamp asks for it.

Where the library of a batch's compression is not there to look inside, the batch answers as if all
its records had its largest timestamp.
"""

from __future__ import annotations

from collections.abc import Iterator

from kafka.errors import UnsupportedCodecError
from kafka.record.default_records import DefaultRecordBatch

from nodes.broker.log.errors import CorruptBatch


def first_at_or_after(data: bytes, timestamp: int, start: int) -> tuple[int, int] | None:
    """(timestamp, offset) of the first record from offset `start` on at or after `timestamp` (ms).

    Raises:
        CorruptBatch: the producer stored what is no records.
    """
    return next((found for found in _times(data, start) if found[0] >= timestamp), None)


def newest_record(data: bytes, start: int) -> tuple[int, int] | None:
    """(timestamp, offset) of the first with the largest timestamp, from offset `start` on.

    Raises:
        CorruptBatch: as above.
    """
    return max(_times(data, start), key=lambda found: (found[0], -found[1]), default=None)


def _times(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    batch = DefaultRecordBatch(data)
    if batch.timestamp_type == 1:  # stamped on append: all have that time
        yield batch.max_timestamp, max(batch.base_offset, start)
        return
    try:
        for record in batch:
            if record.offset >= start:
                yield int(record.timestamp), int(record.offset)
    except UnsupportedCodecError:
        yield batch.max_timestamp, max(batch.base_offset, start)
    except Exception as error:  # whatever the decoder makes of hostile bytes
        raise CorruptBatch(f"the records at offset {batch.base_offset}: {error!r}") from error
