"""One segment of a log: `BASE.log`, its sparse offset index and its time index.

    BASE.log         batches, back to back
    BASE.index       per index interval: offset − BASE (int32), position (int32)
    BASE.timeindex   per index interval: largest timestamp so far (int64), its offset − BASE (int32)

The indexes are kept in memory and written when the segment is rolled or closed: reading all batch
headers of a segment gives them back, which is what opening does, so that a lost or wrong index file
can do no harm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from struct import Struct

from harness.host.contract import Disk, File
from nodes.broker.log.batch import (
    HEADER_SIZE,
    Batch,
    CorruptBatch,
    check_crc,
    read_header,
)

_INDEX = Struct(">ii")
_TIME = Struct(">qi")
WALK_BYTES = 1 << 20
"""How much is read at once while headers are walked."""

SMALL_BATCH = 1 << 16
"""A batch up to this size is read whole to get its header: one read instead of two."""


class Segment:
    """The batches from `base` on, up to `end`.

    Attributes:
        end: the next offset. size: bytes of whole batches in the file.
        max_timestamp: the largest of all batches, -1 if empty; max_timestamp_offset: its batch's
            last offset.
    """

    def __init__(self, disk: Disk, folder: str, base: int, index_interval: int) -> None:
        self._disk, self._folder = disk, folder
        self.base = self.end = base
        self.size = 0
        self.max_timestamp = self.max_timestamp_offset = -1
        self._interval = index_interval
        self._offsets: list[int] = []
        self._positions: list[int] = []
        self._times: list[tuple[int, int]] = []
        self._since_entry = 0
        self.file: File = disk.open(self.path("log"), create=True)

    def path(self, suffix: str) -> str:
        return f"{self._folder}/{self.base:020d}.{suffix}"

    def append(
        self, data: bytes | bytearray | memoryview, batches: list[tuple[int, Batch]]
    ) -> None:
        """Write whole batches whose offsets are patched. Raises OSError; then nothing counts."""
        position = self.size
        self.file.write_at(position, data)
        for at, batch in batches:
            self._note(position + at, batch)
        self.size = position + len(data)

    def _note(self, position: int, batch: Batch) -> None:
        if self._since_entry >= self._interval or not self._offsets:
            self._offsets.append(batch.base_offset)
            self._positions.append(position)
            self._times.append((self.max_timestamp, self.max_timestamp_offset))
            self._since_entry = 0
        self._since_entry += batch.size
        if batch.max_timestamp > self.max_timestamp:
            self.max_timestamp = batch.max_timestamp
            self.max_timestamp_offset = batch.last_offset
        self.end = batch.next_offset

    def recover(self, crc_from: int) -> Iterator[Batch]:
        """Walk all batches, rebuilding indexes; cut the file at the first that is not right.

        Batches that end at or before offset `crc_from` were synced: only their headers are read.
        Yields each batch that is kept.
        """
        size = self.file.size()
        position = 0
        while position < size:
            try:
                batch = self._whole(position, size, crc_from)
            except CorruptBatch:
                break
            if batch.base_offset < self.end:
                break  # offsets ascend; anything else is old bytes of a longer life
            self._note(position, batch)
            position += batch.size
            self.size = position
            yield batch
        self.size = position
        if position < size:
            self.file.truncate(position)

    def _whole(self, position: int, size: int, crc_from: int) -> Batch:
        batch = read_header(self.file.read_at(position, HEADER_SIZE))
        if position + batch.size > size:
            raise CorruptBatch("cut short")
        if batch.next_offset > crc_from:
            check_crc(self.file.read_at(position, batch.size), 0, batch.size)
        return batch

    def position_of(self, offset: int) -> int:
        """Where the batch that holds `offset` (or the next one after it) begins."""
        if offset >= self.end:
            return self.size
        place = bisect_right(self._offsets, offset) - 1
        position = self._positions[place] if place >= 0 else 0
        for at, batch in self._walk(position):
            if batch.next_offset > offset:
                return at
        return self.size

    def read(self, position: int, max_bytes: int, end: int, at_least_one: bool) -> bytes:
        """Whole batches from `position` up to position `end`, within `max_bytes`."""
        limit = min(end, position + max_bytes)
        if limit < end:
            place = bisect_right(self._positions, limit) - 1
            cut = max(self._positions[place] if place >= 0 else position, position)
            for at, batch in self._walk(cut):
                if at + batch.size > limit:
                    break
                cut = at + batch.size
            if cut == position and at_least_one:
                header = read_header(self.file.read_at(position, HEADER_SIZE))
                cut = position + header.size
            limit = cut
        return self.file.read_at(position, limit - position) if limit > position else b""

    def truncate(self, offset: int) -> None:
        """Drop the batch that holds `offset` and all after it."""
        position = self.position_of(offset)
        self.file.truncate(position)
        self.size = position
        keep = bisect_right(self._positions, position - 1)
        self.end = self.base
        del self._offsets[keep:], self._positions[keep:], self._times[keep:]
        # The last entry knows the maximum before it; the rest is walked again.
        start = 0
        self.max_timestamp = self.max_timestamp_offset = -1
        if keep:
            start = self._positions.pop()
            self._offsets.pop()
            self.max_timestamp, self.max_timestamp_offset = self._times.pop()
        self._since_entry = self._interval
        for at, batch in self._walk(start):
            self._note(at, batch)

    def offset_for_time(self, timestamp: int) -> tuple[Batch, bytes] | None:
        """The first batch whose maximum timestamp is at least `timestamp`, and its bytes."""
        if self.max_timestamp < timestamp:
            return None
        place = max(bisect_right([t for t, _ in self._times], timestamp - 1) - 1, 0)
        for at, batch in self._walk(self._positions[place] if self._positions else 0):
            if batch.max_timestamp >= timestamp:
                return batch, self.file.read_at(at, batch.size)
        return None

    def headers(self, from_offset: int) -> Iterator[Batch]:
        """The batches from the one that holds `from_offset` on."""
        return (batch for _, batch in self._walk(self.position_of(from_offset)))

    def _walk(self, position: int) -> Iterator[tuple[int, Batch]]:
        window, at = b"", position  # bytes of the file from `at` on
        while position < self.size:
            if position - at + HEADER_SIZE > len(window):
                window, at = self.file.read_at(position, SMALL_BATCH), position
            batch = read_header(window, position - at)
            yield position, batch
            position += batch.size

    def write_indexes(self) -> None:
        """Store the index files, for other tools and for people."""
        entries = zip(self._offsets, self._positions, strict=True)
        index = b"".join(_INDEX.pack(o - self.base, p) for o, p in entries)
        times = b"".join(_TIME.pack(t, max(o - self.base, 0)) for t, o in self._times[1:] if t >= 0)
        for suffix, data in (("index", index), ("timeindex", times)):
            file = self._disk.open(self.path(suffix), create=True)
            try:
                file.truncate(len(data))
                file.write_at(0, data)
            finally:
                file.close()

    def close(self) -> None:
        self.file.close()

    def remove(self) -> None:
        self.close()
        for suffix in ("log", "index", "timeindex", "snapshot"):
            if self._disk.exists(self.path(suffix)):
                self._disk.remove(self.path(suffix))

    def _check(self) -> None:
        """Every invariant; reads all headers."""
        position, end = 0, self.base
        for at, batch in self._walk(0):
            assert at == position and batch.base_offset >= end
            position, end = at + batch.size, batch.next_offset
        assert position == self.size == self.file.size()
        assert end == self.end
        assert all(a < b for a, b in zip(self._offsets, self._offsets[1:], strict=False))
        assert len(self._offsets) == len(self._positions) == len(self._times)
