"""One segment of a log: the file `BASE.log` of batches back to back, and its indexes.

A read costs a bisection of the sparse index and a look at the batches of at most one index
interval; where recent batches begin is remembered, so a reader at the tail does not even do that.
An index entry is believed only when a batch stands where it points; else the index is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.host.contract import Disk, File
from nodes.broker.log.batch import HEADER_SIZE, Batch, Buffer, check_crc, read_header
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.index import Index

SUFFIXES = ("log", "index", "timeindex")
MAX_BYTES = 2**31 - 1
"""Positions and relative offsets are 31 bits in the index files."""

NEVER = 2**63 - 1
_NEAR_BYTES = 1 << 13
"""How much is read at once to find a batch within an index interval (4 KiB by default)."""

_WALK_BYTES = 1 << 20
"""How much is read at once when many batches are walked."""

_REMEMBERED = 64
"""How many places of recent batches are remembered."""


class Segment:
    """The batches from offset `base` up to `end`.

    Attributes:
        end: the next offset. size: bytes of whole batches. first_timestamp: the largest timestamp
            of the first batch, None while empty.
        dirty: whether something was appended or cut that no `fsync` covers.
    """

    new_index: type[Index] = Index

    def __init__(self, disk: Disk, folder: str, base: int, interval_bytes: int) -> None:
        self._disk, self._interval_bytes = disk, interval_bytes
        self.stem = f"{folder}/{base:020d}"
        self.base = self.end = base
        self.size = 0
        self.first_timestamp: int | None = None
        self.dirty = False
        self.index = self.new_index(base, interval_bytes)
        self._places: dict[int, int] = {}
        self.file: File = disk.open(f"{self.stem}.log", create=True)

    @property
    def max_timestamp(self) -> int:
        return self.index.max_timestamp

    # -- appending ---------------------------------------------------------------------------

    def append(self, data: Buffer, found: list[Batch]) -> None:
        """Write whole batches, whose headers are `found`. Raises OSError; then nothing counts."""
        position = self.size
        self.dirty = True
        try:
            self.file.write_at(position, data)
        except OSError:
            # Part of it may be there. It is cut off now, so that it cannot come to stand behind a
            # shorter batch and be taken for one of the log after a crash.
            self.file.truncate(position)
            raise
        self._remember(self.end, position)
        for batch in found:
            self.note(position, batch)
            position += batch.size
        self.size = position

    def note(self, position: int, batch: Batch) -> None:
        if self.first_timestamp is None:
            self.first_timestamp = batch.max_timestamp
        self.index.note(position, batch)
        self.end = batch.next_offset

    def _remember(self, offset: int, position: int) -> None:
        places = self._places
        places[offset] = position
        if len(places) > _REMEMBERED:
            del places[next(iter(places))]

    # -- reading -----------------------------------------------------------------------------

    def position_of(self, offset: int) -> int:
        """Where the batch that holds `offset`, or else the next one after it, begins."""
        if offset >= self.end:
            return self.size
        known = self._places.get(offset)
        if known is not None:
            return known
        try:
            position = self._find(offset)
        except CorruptBatch:
            self._index_again()
            position = self._find(offset)
        self._remember(offset, position)
        return position

    def _find(self, offset: int) -> int:
        for at, batch in self._walk_from(self.index.place_of_offset(offset)):
            if batch.next_offset > offset:
                return at
        raise CorruptBatch(f"offset {offset} is not found in {self.stem}.log")

    def end_before(self, offset: int) -> int:
        """Where the batch ends that is before the one that holds `offset`; `base` without one."""
        position = self.position_of(offset)
        if not position:
            return self.base
        try:
            return self._end_at(position)
        except CorruptBatch:
            self._index_again()
            return self._end_at(position)

    def _end_at(self, position: int) -> int:
        for at, batch in self._walk_from(self.index.place_of_position(position - 1)):
            if at + batch.size >= position:
                return batch.next_offset
        raise CorruptBatch(f"no batch ends at {position} in {self.stem}.log")

    def _walk_from(self, place: int) -> Iterator[tuple[int, Batch]]:
        """The batches from an entry of the index on, if there is one where it points."""
        position, last_offset = self.index.entry(place)
        for at, batch in self.walk(position, _NEAR_BYTES):
            if last_offset is not None and batch.last_offset != last_offset:
                raise CorruptBatch(f"{self.stem}.index points to no batch at {position}")
            last_offset = None
            yield at, batch

    def read(self, position: int, end: int, max_bytes: int, at_least_one: bool) -> bytes:
        """Whole batches of the bytes from `position` to `end`, at most `max_bytes` of them, except
        that a first batch over it comes whole if `at_least_one`."""
        limit = min(end, position + max_bytes)
        if limit < end:
            try:
                limit = self._whole(position, end, limit, at_least_one)
            except CorruptBatch:
                self._index_again()
                limit = self._whole(position, end, limit, at_least_one)
        return self.file.read_at(position, limit - position) if limit > position else b""

    def _whole(self, position: int, end: int, limit: int, at_least_one: bool) -> int:
        """The end of the last batch that ends at or before `limit`."""
        place = self.index.place_of_position(limit)
        near = self.index.entry(place)[0] > position
        walk = self._walk_from(place) if near else self.walk(position, _NEAR_BYTES)
        for at, batch in walk:
            after = at + batch.size
            if after > limit:
                return min(after, end) if at == position and at_least_one else at
            self._remember(batch.next_offset, after)
        return end

    def first_since(self, timestamp: int, from_offset: int) -> Iterator[tuple[Batch, bytes]]:
        """The batches from `from_offset` on that may hold a record at or after `timestamp` (ms)."""
        if self.max_timestamp < timestamp:
            return
        start = max(self.index.offset_before_time(timestamp), from_offset)
        for at, batch in self.walk(self.position_of(start)):
            if batch.max_timestamp >= timestamp:
                yield batch, self.file.read_at(at, batch.size)

    def walk(
        self, position: int, window_bytes: int = _WALK_BYTES, *, crc_from: int = NEVER
    ) -> Iterator[tuple[int, Batch]]:
        """(position, header) of the batches from `position` on, up to `size`.

        The CRC of those that hold an offset from `crc_from` on is checked.

        Raises:
            CorruptBatch: at the first that is not whole or not right.
        """
        window, at = b"", position  # bytes of the file from `at` on
        while position < self.size:
            here = position - at
            if here + HEADER_SIZE > len(window):
                window, at, here = self._window(position, window_bytes), position, 0
            batch = read_header(window, here)
            if position + batch.size > self.size:
                raise CorruptBatch(f"a batch of {batch.size} bytes is cut short")
            if batch.next_offset > crc_from:
                if here + batch.size > len(window):
                    more = max(window_bytes, batch.size)
                    window, at, here = self._window(position, more), position, 0
                check_crc(window, here, batch.size)
            yield position, batch
            position += batch.size

    def _window(self, position: int, size: int) -> bytes:
        return self.file.read_at(position, min(size, self.size - position))

    # -- cutting and mending -----------------------------------------------------------------

    def load_index(self, below: int) -> int:
        """Take what the index files say of batches before offset `below`.

        Returns where batches must be noted from. Raises CorruptBatch: there are none at all.
        """
        position = self.index.load(self._disk, self.stem, below, self.size)
        if not position:
            return 0
        try:
            last = self.index.place_of_position(position)
            next(self._walk_from(last))
            self.first_timestamp = next(self.walk(0))[1].max_timestamp
        except CorruptBatch:
            self.index = self.new_index(self.base, self._interval_bytes)  # it points to no batch
            return 0
        return position

    def truncate(self, offset: int) -> None:
        """Drop the batch that holds `offset` and all after it. Durable after `fsync`."""
        position = self.position_of(offset)
        self.dirty = True
        self.file.truncate(position)
        self.size = position
        self._places.clear()
        self._note_from(self.index.cut(position))

    def reload(self) -> None:
        """Take the file as it is, durable and whole."""
        self.size = self.file.size()
        self._note_from(0)

    def _note_from(self, position: int) -> None:
        if not self.size:
            self.first_timestamp = None
        self.end = self.base
        for at, batch in self.walk(position):
            self.note(at, batch)

    def _index_again(self) -> None:
        """The index was wrong: make it anew from all headers."""
        index = self.new_index(self.base, self._interval_bytes)
        for at, batch in self.walk(0):
            index.note(at, batch)
        self.index = index
        self._places.clear()

    async def fsync(self) -> None:
        """Make the batches durable. Raises OSError."""
        self.dirty = False
        try:
            await self.file.fsync()
        except BaseException:
            self.dirty = True
            raise

    def write_indexes(self) -> None:
        self.index.write(self._disk, self.stem)

    async def sync_indexes(self) -> None:
        await self.index.sync(self._disk, self.stem)

    def close(self) -> None:
        self.file.close()

    def remove(self) -> None:
        """Delete the files; their names are gone for good after `fsync_dir`."""
        self.close()
        for suffix in SUFFIXES:
            if self._disk.exists(f"{self.stem}.{suffix}"):
                self._disk.remove(f"{self.stem}.{suffix}")

    def _check(self) -> None:
        """Every invariant; reads the whole file."""
        end, position, newest = self.base, 0, -1
        for at, batch in self.walk(0, crc_from=0):
            assert at == position and batch.base_offset >= end
            assert self.position_of(batch.base_offset) == at
            position, end = at + batch.size, batch.next_offset
            newest = max(newest, batch.max_timestamp)
        assert position == self.size == self.file.size()
        assert (end, newest) == (self.end, self.max_timestamp)
        assert (self.first_timestamp is None) == (self.size == 0)
        self.index._check()
