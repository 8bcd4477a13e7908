"""The sparse indexes of one segment: offsets to positions, and the growth of its newest timestamp.

    BASE.index       last offset of a batch - BASE (int32), position of the batch (int32)
    BASE.timeindex   largest timestamp before that batch (int64), its last offset - BASE (int32)

An entry is made every `index.interval.bytes`; the time index gets one there only if the largest
timestamp has grown, so both columns of both files ascend strictly. Entries gather in memory and are
written together; those below the log's recovery point are durable, all others are made anew when
the log opens.

Source: Kafka's documentation, "Log"; the layout is the one of Kafka's OffsetIndex and TimeIndex.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from struct import Struct
from struct import error as StructError

from harness.host.contract import Disk, File
from nodes.broker.log.batch import Batch

_ENTRY = Struct(">ii")
_TIME = Struct(">qi")
NO_TIMESTAMP = -1


class Index:
    """Both indexes of the segment that begins at offset `base`.

    Attributes:
        max_timestamp, max_timestamp_offset: the largest of all batches noted, and the last offset
            of the first batch that has it; -1 if there is none.
    """

    def __init__(self, base: int, interval_bytes: int) -> None:
        self.base, self._interval = base, interval_bytes
        self._offsets: list[int] = []
        self._positions: list[int] = []
        self._times: list[int] = []
        self._time_offsets: list[int] = []
        self._since_entry = 0
        self.max_timestamp = self.max_timestamp_offset = NO_TIMESTAMP
        self._written = [0, 0]  # entries of each index that are in its file
        self._synced = -1  # how many offset entries are durable; unknown at first

    def note(self, position: int, batch: Batch) -> None:
        """A batch was appended at `position`."""
        if self._since_entry > self._interval:
            self._offsets.append(batch.last_offset)
            self._positions.append(position)
            self._note_time()
            self._since_entry = 0
        self._since_entry += batch.size
        if batch.max_timestamp > self.max_timestamp:
            self.max_timestamp = batch.max_timestamp
            self.max_timestamp_offset = batch.last_offset

    def _note_time(self) -> None:
        if self.max_timestamp > self.newest_entry:
            self._times.append(self.max_timestamp)
            self._time_offsets.append(self.max_timestamp_offset)

    def place_of_offset(self, offset: int) -> int:
        """The last entry at or before the batch that holds `offset`; -1 is the segment's begin."""
        return bisect_right(self._offsets, offset) - 1

    def place_of_position(self, position: int) -> int:
        """The last entry at or before `position`."""
        return bisect_right(self._positions, position) - 1

    def entry(self, place: int) -> tuple[int, int | None]:
        """(position of a batch, its last offset if known)."""
        return (self._positions[place], self._offsets[place]) if place >= 0 else (0, None)

    @property
    def newest_entry(self) -> int:
        """The largest timestamp that has an entry, -1 if none has."""
        return self._times[-1] if self._times else NO_TIMESTAMP

    def offset_before_time(self, timestamp: int) -> int:
        """All batches before the one that holds this offset are older than `timestamp`."""
        place = bisect_left(self._times, timestamp) - 1
        return self._time_offsets[place] if place >= 0 else self.base

    def cut(self, position: int) -> int:
        """Forget batches from `position` on; returns where to note batches again from."""
        keep = bisect_left(self._positions, position)
        return self._keep(keep)

    def _keep(self, keep: int) -> int:
        """Keep this many entries, as it was just after the last of them was made."""
        del self._offsets[keep:], self._positions[keep:]
        # What was the maximum at the last entry was found before its batch.
        times = bisect_left(self._time_offsets, self._offsets[-1]) if keep else 0
        del self._times[times:], self._time_offsets[times:]
        self._written = [min(self._written[0], keep), min(self._written[1], times)]
        self.max_timestamp = self.newest_entry
        self.max_timestamp_offset = self._time_offsets[-1] if times else NO_TIMESTAMP
        self._since_entry = 0
        self._synced = -1
        return self._positions[-1] if keep else 0

    # -- files -------------------------------------------------------------------------------

    def load(self, disk: Disk, stem: str, below: int, size: int) -> int:
        """Take the entries of batches before offset `below` from the files, if they can be right.

        Returns the position from which batches must be noted. `size` is that of the log file.
        """
        try:
            entries = list(_ENTRY.iter_unpack(disk.read(f"{stem}.index")))
            times = list(_TIME.iter_unpack(disk.read(f"{stem}.timeindex")))
        except (OSError, StructError):
            return 0
        columns = (*zip(*entries, strict=True), *zip(*times, strict=True))
        if not all(_ascends(column) for column in columns):
            return 0
        base = self.base
        self._offsets = [base + o for o, _ in entries]
        self._positions = [p for _, p in entries]
        self._times = [t for t, _ in times]
        self._time_offsets = [base + o for _, o in times]
        self._written = [len(entries), len(times)]
        keep = min(bisect_left(self._offsets, below), bisect_left(self._positions, size))
        return self._keep(keep)

    def write(self, disk: Disk, stem: str) -> None:
        """Bring the files up to date; not durable."""
        self._write(disk, f"{stem}.index", 0, _ENTRY.size, len(self._offsets))
        self._write(disk, f"{stem}.timeindex", 1, _TIME.size, len(self._times))

    def _write(self, disk: Disk, path: str, which: int, size: int, entries: int) -> None:
        written = self._written[which]
        file: File = disk.open(path, create=True)
        try:
            if file.size() != written * size:
                file.truncate(min(file.size(), written * size))
                written = file.size() // size
            if written < entries:
                file.write_at(written * size, self._rows(which, written))
        finally:
            file.close()
        self._written[which] = entries

    def _rows(self, which: int, start: int) -> bytes:
        base = self.base
        if which == 0:
            pairs = zip(self._offsets[start:], self._positions[start:], strict=True)
            return b"".join(_ENTRY.pack(o - base, p) for o, p in pairs)
        moments = zip(self._times[start:], self._time_offsets[start:], strict=True)
        return b"".join(_TIME.pack(t, o - base) for t, o in moments)

    async def sync(self, disk: Disk, stem: str) -> None:
        """Write, and make the files' content durable. Their names are the folder's to sync."""
        if self._synced == len(self._offsets):
            return
        self.write(disk, stem)
        upto = len(self._offsets)
        for suffix in ("index", "timeindex"):
            file = disk.open(f"{stem}.{suffix}")
            try:
                await file.fsync()
            finally:
                file.close()
        self._synced = min(upto, len(self._offsets))

    def _check(self) -> None:
        """Every invariant."""
        assert len(self._offsets) == len(self._positions)
        assert len(self._times) == len(self._time_offsets)
        for column in (self._offsets, self._positions, self._times, self._time_offsets):
            assert all(a < b for a, b in pairwise(column))
        assert not self._times or self._times[-1] <= self.max_timestamp


def _ascends(column: Sequence[int]) -> bool:
    return column[0] >= 0 and all(a < b for a, b in pairwise(column))
