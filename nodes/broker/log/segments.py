"""All segments of a log, in the order of their offsets: one row of batches in several files.

There is always an active one, the last; it may be empty. Segments join: one begins at the offset
where the one before it ends, though batches inside one may leave offsets out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise

from harness.host.contract import Disk
from nodes.broker.log.batch import Batch, Buffer
from nodes.broker.log.config import LogConfig
from nodes.broker.log.segment import MAX_BYTES, Segment

_HEADERS_BYTES = 1 << 13
"""How much is read at once where only headers are wanted."""


class Segments:
    """The segments in one folder.

    Attributes:
        names_synced: whether every name in the folder is as durable as its file.
    """

    def __init__(
        self,
        disk: Disk,
        folder: str,
        interval_bytes: int,
        all: list[Segment],
        new_segment: type[Segment] = Segment,
    ) -> None:
        self._disk, self._folder, self._interval_bytes = disk, folder, interval_bytes
        self._all, self._new_segment = all, new_segment
        self.names_synced = False

    @property
    def base(self) -> int:
        return self._all[0].base

    @property
    def end(self) -> int:
        return self._all[-1].end

    @property
    def active(self) -> Segment:
        return self._all[-1]

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self._all)

    @property
    def max_timestamp(self) -> int:
        """The largest of all batches, also of those before the start of the log; -1: none."""
        return max(segment.max_timestamp for segment in self._all)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    # -- growing -----------------------------------------------------------------------------

    def append(self, data: Buffer, found: list[Batch]) -> None:
        """Write whole batches, whose headers are `found`. Raises OSError; then nothing counts."""
        self._all[-1].append(data, found)

    def is_full(self, more_bytes: int, found: list[Batch], config: LogConfig) -> bool:
        """Whether these batches go to a new segment: by size, or by the time of their records."""
        active = self._all[-1]
        if not active.size:
            return False
        size_max = min(config.segment_bytes, MAX_BYTES)
        if active.size + more_bytes > size_max or found[-1].last_offset - active.base > MAX_BYTES:
            return True
        newest = max(batch.max_timestamp for batch in found)
        return newest - (active.first_timestamp or 0) > config.segment_ms

    def roll(self) -> None:
        """Make a new active segment. Raises OSError."""
        self._all[-1].write_indexes()
        self.begin(self.end)

    def begin(self, base: int) -> None:
        """Have an active segment that begins at `base`. Raises OSError."""
        self.names_synced = False
        self._all.append(self._new_segment(self._disk, self._folder, base, self._interval_bytes))

    # -- reading -----------------------------------------------------------------------------

    def read(self, offset: int, max_bytes: int, upto: int, at_least_one: bool) -> bytes:
        """Whole batches of one segment, from the one that holds `offset` on, none that reaches
        `upto`; base ≤ offset < upto ≤ end."""
        place = self._place_of(offset)
        if offset >= self._all[place].end:
            place += 1  # what was there is gone: the next batch is in the next segment
        segment = self._all[place]
        position = segment.position_of(offset)
        return segment.read(position, segment.position_of(upto), max_bytes, at_least_one)

    def headers(self, offset: int) -> Iterator[Batch]:
        """Of all batches from the one that holds `offset` on."""
        for segment in self._all:
            if segment.end > offset:
                position = segment.position_of(max(offset, segment.base))
                yield from (batch for _, batch in segment.walk(position, _HEADERS_BYTES))

    def first_since(self, timestamp: int, offset: int) -> Iterator[tuple[Batch, bytes]]:
        """The batches from `offset` on that may hold a record at or after `timestamp` (ms)."""
        for segment in self._all:
            if segment.end > offset:
                yield from segment.first_since(timestamp, max(offset, segment.base))

    def floor(self, offset: int) -> int:
        """Where the batch that holds `offset` begins; base ≤ offset."""
        first = next(self.headers(offset), None)
        return offset if first is None else min(first.base_offset, offset)

    def whole(self, batch: Batch) -> bytes:
        """The bytes of a batch whose header was read here."""
        segment = self._all[self._place_of(batch.base_offset)]
        return segment.file.read_at(segment.position_of(batch.base_offset), batch.size)

    def between(self, offset: int, end: int) -> list[Segment]:
        """Those with batches in this range."""
        return [s for s in self._all if s.end > offset and s.base < end]

    def dirty(self, end: int) -> list[Segment]:
        """Those that begin before `end` and have to be synced."""
        return [s for s in self._all if s.dirty and s.base < end]

    def _place_of(self, offset: int) -> int:
        return bisect_right(self._all, offset, key=lambda segment: segment.base) - 1

    # -- shrinking ---------------------------------------------------------------------------

    def end_before(self, offset: int) -> int:
        """Where the log ends after `cut`: before `offset`, where compaction left nothing between;
        base ≤ offset."""
        place = self._place_of(offset)
        if place and self._all[place].base == offset:
            place -= 1
        return self._all[place].end_before(offset)

    def cut(self, offset: int) -> None:
        """Drop the batch that holds `offset` and all after it; base ≤ offset. Raises OSError."""
        self.names_synced = False
        while len(self._all) > 1 and self._all[-1].base >= offset:
            self._all.pop().remove()
        self._all[-1].truncate(offset)

    def has(self, group: list[Segment]) -> bool:
        """Whether all of these are still of the log."""
        return all(segment in self._all for segment in group)

    def merge(self, group: list[Segment]) -> Segment:
        """The file of the first of these holds all that is left of them now; the files of the
        others are the caller's to remove. Returns the segment of that file. Raises OSError."""
        at, end = self._all.index(group[0]), group[-1].end
        merged = self._new_segment(self._disk, self._folder, group[0].base, self._interval_bytes)
        merged.reload()
        assert merged.end == end, "the last batch stays"
        self._all[at : at + len(group)] = [merged]
        for segment in group:
            segment.close()
        return merged

    def restart(self, base: int) -> None:
        """Drop everything, and begin again at `base`. Raises OSError."""
        while self._all:
            self._all.pop().remove()
        self.begin(base)

    def drop_before(self, offset: int) -> list[Segment]:
        """Let go of the segments that end at or before `offset`, but never of the active one.

        Returns them; their files are the caller's to remove.
        """
        place = 0
        while place < len(self._all) - 1 and self._all[place].end <= offset:
            place += 1
        dropped, self._all[:place] = self._all[:place], []
        return dropped

    def closed(self, bound: int, before_ms: int) -> list[Segment]:
        """The full ones, oldest first, that end at or before `bound` and are older than that."""
        found: list[Segment] = []
        for segment in self._all[:-1]:
            if segment.end > bound or segment.max_timestamp > before_ms:
                break
            found.append(segment)
        return found

    def expired_before(self, config: LogConfig, now_ms: int, bound: int) -> int:
        """Retention gives up all segments before this offset, none that reaches past `bound`."""
        size, keep = self.size, self.base
        for segment in self._all:
            old = 0 <= segment.max_timestamp < now_ms - config.retention_ms  # -1: of no age
            much = 0 <= config.retention_bytes <= size - segment.size
            expired = (old and config.retention_ms >= 0) or much
            if not expired or not segment.size or segment.end > bound:
                break
            keep, size = segment.end, size - segment.size
        return keep

    def close(self) -> None:
        for segment in self._all:
            segment.close()

    def _check(self) -> None:
        """Every invariant; reads all files."""
        assert self._all, "there is always an active segment"
        for segment, after in pairwise(self._all):
            assert segment.end == after.base, "segments join"
            assert segment.size, "only the active one may be empty"
        for segment in self._all:
            segment._check()
