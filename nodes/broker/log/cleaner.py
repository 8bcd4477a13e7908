"""Compaction of one log: the newest record of each key stays, at its offset, and older ones go.

Only full segments are compacted, below the high watermark and below every transaction that is open.
A segment is written anew beside itself, made durable, and takes its own place with one rename; so a
crash leaves the old one or the new one, and both say the same of every key's newest record. Small
ones that follow each other become one: the rename is the first step of that, and a segment whose
offsets the one before it has is left over from it (`nodes.broker.log.recovery`).

The last batch of a segment stays, empty perhaps, for segments join; and so does the last one of
each producer, whose sequence is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from harness.host.contract import Disk
from nodes.broker.log.batch import NO_PRODUCER, STAMPED, Batch
from nodes.broker.log.compaction import Horizons, Record, left_of, records_of
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.producers import Producers
from nodes.broker.log.segment import MAX_BYTES, Segment
from nodes.broker.log.segments import Segments
from nodes.broker.log.transactions import Aborted

SUFFIX = ".cleaned"
_PAUSE_BYTES = 8 << 20


@dataclass(slots=True)
class Cleaned:
    """What became of it, in bytes and records; `markers` that are gone, by their offsets."""

    before: int = 0
    after: int = 0
    removed: int = 0
    markers: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Cleaning:
    """One compaction of the segments that are given, oldest first.

    Attributes:
        newest: key → the offset of its newest record.
    """

    horizons: Horizons
    producers: Producers
    aborted: Iterable[Aborted]
    newest: dict[bytes, int] = field(default_factory=dict)
    found: Cleaned = field(default_factory=Cleaned)
    _unended: set[int] = field(default_factory=set)

    # -- which keys there are ------------------------------------------------------------------

    async def look(self, segments: Iterable[Segment], since: int) -> None:
        """Note the keys of all records from offset `since` on. Raises OSError."""
        read = 0
        for segment in segments:
            if segment.end <= since:
                continue
            for at, batch in segment.walk(segment.position_of(max(since, segment.base))):
                self._note(segment, at, batch)
                read = await _pause(read + batch.size)

    def _note(self, segment: Segment, at: int, batch: Batch) -> None:
        if batch.is_control or self._is_aborted(batch):
            return
        try:
            records = records_of(batch, segment.file.read_at(at, batch.size))
        except CorruptBatch:
            return  # its keys are not known: it stays, and nothing goes for it
        for record in records:
            if record.key is not None:
                self.newest[record.key] = record.offset

    def _is_aborted(self, batch: Batch) -> bool:
        return batch.is_transactional and any(
            each.producer_id == batch.producer_id
            and each.first_offset <= batch.base_offset < each.marker_offset
            for each in self.aborted
        )

    # -- what stays ----------------------------------------------------------------------------

    def left(self, segment: Segment, *, is_last: bool) -> Iterator[bytes]:
        """The batches of a segment as they stay; with `is_last` its last one does, though empty."""
        for at, batch in segment.walk(0):
            data = segment.file.read_at(at, batch.size)
            keep = is_last and batch.next_offset == segment.end
            left = self._marker if batch.is_control else self._batch
            after = left(batch, data)
            if after is None and keep:
                after = left_of(_nobodys(batch), [], None)
            self.found.before += batch.size
            if after is not None:
                self.found.after += len(after)
                yield after

    def _has_sequence(self, batch: Batch) -> bool:
        """Whether it is the last one of its producer, as far as is known."""
        known = self.producers.get(batch.producer_id)
        if known is None or not known.batches or known.epoch != batch.producer_epoch:
            return False
        return known.batches[-1].base_offset == batch.base_offset

    def _batch(self, batch: Batch, data: bytes) -> bytes | None:
        try:
            records = [] if self._is_aborted(batch) else records_of(batch, data)
        except CorruptBatch:
            self._stays(batch)
            return data
        over = self.horizons.is_over(batch)
        kept = [record for record in records if self._is_kept(record, over)]
        self.found.removed += batch.count - len(kept)
        if not kept and not self._has_sequence(batch):
            return None
        self._stays(batch)
        decides = self.horizons.of(batch) is None and any(r.is_tombstone for r in kept)
        if len(kept) == batch.count and not decides:
            return data
        return left_of(batch, kept, self.horizons.next(batch) if decides else None)

    def _is_kept(self, record: Record, over: bool) -> bool:
        if record.key is None or self.newest.get(record.key, record.offset) > record.offset:
            return False
        return not (record.is_tombstone and over)

    def _stays(self, batch: Batch) -> None:
        """Even an empty batch of a transaction would begin one that its marker has to end."""
        if batch.is_transactional:
            self._unended.add(batch.producer_id)

    def _marker(self, batch: Batch, data: bytes) -> bytes | None:
        """A marker with nothing left before it that it ends goes, when everybody has seen it."""
        if batch.producer_id in self._unended:
            self._unended.discard(batch.producer_id)
            return data
        if self.horizons.of(batch) is None:
            records = records_of(batch, data)
            return left_of(batch, records, self.horizons.next(batch))
        if not self.horizons.is_over(batch):
            return data
        self.found.markers.append(batch.base_offset)
        self.found.removed += 1
        return None


def _nobodys(batch: Batch) -> Batch:
    """Of the same offsets, and no producer's: it begins and ends no transaction."""
    return msgspec.structs.replace(
        batch,
        attributes=batch.attributes & STAMPED,
        producer_id=NO_PRODUCER,
        producer_epoch=-1,
        base_sequence=-1,
    )


# -- files ---------------------------------------------------------------------------------------


def groups(segments: Iterable[Segment], bytes_max: int) -> list[list[Segment]]:
    """Segments that follow each other and together are not too large for one."""
    found: list[list[Segment]] = []
    room = 0
    for segment in segments:
        fits = segment.size <= room and segment.end - found[-1][0].base < MAX_BYTES
        if found and fits:
            found[-1].append(segment)
            room -= segment.size
        else:
            found.append([segment])
            room = bytes_max - segment.size
    return found


async def replace(
    disk: Disk, folder: str, segments: Segments, group: list[Segment], cleaning: Cleaning
) -> None:
    """Have one segment of what is left of these take their place. Raises OSError."""
    first = group[0]
    await _write(disk, first, _left(group, cleaning))
    if not segments.has(group):  # retention has let go of some of them meanwhile
        disk.remove(f"{first.stem}{SUFFIX}")
        return
    # From here to the new one nothing waits. An index of the old one must not be believed of it.
    for suffix in ("index", "timeindex"):
        if disk.exists(f"{first.stem}.{suffix}"):
            disk.remove(f"{first.stem}.{suffix}")
    disk.rename(f"{first.stem}{SUFFIX}", f"{first.stem}.log")
    merged = segments.merge(group)
    await merged.sync_indexes()
    await disk.fsync_dir(folder)  # before the others go: what is in them is in the new one only now
    for segment in group[1:]:
        segment.remove()


def _left(group: list[Segment], cleaning: Cleaning) -> Iterator[bytes]:
    for segment in group:
        yield from cleaning.left(segment, is_last=segment is group[-1])


async def _write(disk: Disk, segment: Segment, batches: Iterator[bytes]) -> None:
    """Write them to a file beside the segment's, durably. Raises OSError; then there is none."""
    path = f"{segment.stem}{SUFFIX}"
    if disk.exists(path):
        disk.remove(path)  # of a process that died before it came to rename it
    file = disk.open(path, create=True)
    try:
        position = read = 0
        for data in batches:
            file.write_at(position, data)
            position += len(data)
            read = await _pause(read + len(data))
        await file.fsync()
    except OSError:
        file.close()
        disk.remove(path)
        raise
    file.close()


async def _pause(read: int) -> int:
    if read < _PAUSE_BYTES:
        return read
    await asyncio.sleep(0)
    return 0
