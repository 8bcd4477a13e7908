"""Opening a log's segments after a clean stop, a kill or a power failure.

What was durable (below the recovery point) is believed: its index is loaded, its batches are not
read. What came later is verified batch by batch: whole, CRC right, offsets and epochs ascending;
the log is cut at the first that is not, and segments after it are dropped. Durable bytes are never
given up in silence: if they cannot be read, opening fails, since another replica may need this
one's other batches, and only replication knows whether it does.

Source: KIP-101 on why epochs may not descend; a batch of an older life of the file that happens to
stand where the next one is expected shows by its epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.host.contract import Disk
from nodes.broker.log import cleaner
from nodes.broker.log.batch import Batch
from nodes.broker.log.epochs import Epochs
from nodes.broker.log.errors import CorruptBatch, Damaged
from nodes.broker.log.segment import SUFFIXES, Segment

_PAUSE_BYTES = 8 << 20
"""The loop gets its turn after this much was read."""


@dataclass(slots=True)
class Recovered:
    """What opening found. `segments` is empty for a new log.

    Attributes:
        cut_bytes: torn or corrupt bytes at the end that were dropped.
        dropped: base offsets of segments that could not belong to the log any more.
        verified: batches whose CRC was checked.
    """

    segments: list[Segment] = field(default_factory=list)
    cut_bytes: int = 0
    dropped: list[int] = field(default_factory=list)
    verified: int = 0

    @property
    def changed(self) -> bool:
        return bool(self.cut_bytes or self.dropped)


@dataclass(slots=True)
class Recovery:
    """How to open: everything before `durable` is believed, `start` is the log's first offset.

    `epochs` gets those of all batches that are not believed. `use_indexes` says that indexes and
    epochs are known up to `durable`; without it all batches are read.
    """

    disk: Disk
    folder: str
    interval_bytes: int
    start: int
    durable: int
    epochs: Epochs
    use_indexes: bool
    new_segment: type[Segment] = Segment

    async def run(self) -> Recovered:
        """Raises Damaged, OSError."""
        found = Recovered()
        bases = self._bases(found)
        if bases and bases[0] > self.start and self.durable > self.start:
            raise Damaged(f"{self.folder}: offsets {self.start} to {bases[0]} are missing")
        for base in bases:
            if found.segments and base != found.segments[-1].end:
                # A compaction that was cut short has left one whose batches are in that before it.
                if found.segments[-1].end < base < self.durable:
                    self._let_go(found)
                    raise Damaged(
                        f"{self.folder}: offsets {found.segments[-1].end} to {base} are missing"
                    )
                self._drop(base, found)
                continue
            segment = self.new_segment(self.disk, self.folder, base, self.interval_bytes)
            found.segments.append(segment)
            try:
                await self._segment(segment, found)
            except BaseException:
                self._let_go(found)
                raise
        if found.changed:
            await self._settle(found)
        return found

    def _bases(self, found: Recovered) -> list[int]:
        """Segments by their names. Those wholly before the start were deleted; they go again."""
        names = self.disk.listdir(self.folder)
        for name in names:
            if name.endswith(cleaner.SUFFIX):  # of a compaction that did not come to its end
                self.disk.remove(f"{self.folder}/{name}")
        bases = [int(n[:-4]) for n in names if n.endswith(".log") and n[:-4].isdigit()]
        while len(bases) > 1 and bases[1] <= self.start:
            self._drop(bases.pop(0), found)
        return bases

    async def _segment(self, segment: Segment, found: Recovered) -> None:
        size = segment.size = segment.file.size()
        position = 0
        try:
            if self.use_indexes:
                position = segment.load_index(self.durable)
            read = 0
            for at, batch in self._batches(segment, position):
                self._take(segment, at, batch, found)
                position = at + batch.size
                read += batch.size
                if read >= _PAUSE_BYTES:
                    read = 0
                    await asyncio.sleep(0)
        except CorruptBatch as error:
            self._cut(segment, position, size, error, found)
        # One that was cut down to what was durable may be longer again after a power failure.
        segment.dirty = segment.end >= self.durable
        if segment.end > self.durable:
            await self._write_again(segment)

    def _batches(self, segment: Segment, position: int) -> Iterator[tuple[int, Batch]]:
        """(position, header) of those that can be believed. Raises CorruptBatch: at another."""
        return segment.walk(position, crc_from=self.durable)

    def _take(self, segment: Segment, at: int, batch: Batch, found: Recovered) -> None:
        if batch.base_offset < segment.end:
            raise CorruptBatch("offsets ascend; this is of an older life")
        believed = batch.next_offset <= self.durable
        if not (believed and self.use_indexes):
            if batch.leader_epoch < self.epochs.latest:
                raise CorruptBatch("epochs ascend; this is of an older life")
            self.epochs.assign(batch.leader_epoch, batch.base_offset)
        segment.note(at, batch)
        found.verified += not believed

    def _cut(
        self, segment: Segment, position: int, size: int, error: CorruptBatch, found: Recovered
    ) -> None:
        if segment.end < self.durable:
            raise Damaged(f"{segment.stem}.log at byte {position}: {error}") from error
        segment.file.truncate(position)
        segment.size = position
        found.cut_bytes += size - position

    async def _write_again(self, segment: Segment) -> None:
        """What can be read need not be durable: after an fsync that failed it may be in the page
        cache only, and no later fsync writes what nobody wrote since. What is acknowledged behind
        it would go with it at the next power failure."""
        position = segment.position_of(max(self.durable, segment.base))
        while data := segment.file.read_at(position, min(_PAUSE_BYTES, segment.size - position)):
            segment.file.write_at(position, data)
            position += len(data)
            await asyncio.sleep(0)

    def _drop(self, base: int, found: Recovered) -> None:
        found.dropped.append(base)
        for suffix in SUFFIXES:
            path = f"{self.folder}/{base:020d}.{suffix}"
            if self.disk.exists(path):
                self.disk.remove(path)

    async def _settle(self, found: Recovered) -> None:
        """What was cut must not come back with the next power failure, behind other batches."""
        if found.segments:
            await found.segments[-1].fsync()
        await self.disk.fsync_dir(self.folder)

    def _let_go(self, found: Recovered) -> None:
        for segment in found.segments:
            segment.close()
