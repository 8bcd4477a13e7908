"""Batches on disk that are not what was stored, and indexes that point elsewhere."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace

from nodes.broker.log.batch import Batch, Buffer, check_crc, sign
from nodes.broker.log.durability import Durability
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.index import Index
from nodes.broker.log.log import Appended, Log
from nodes.broker.log.recovery import Recovery
from nodes.broker.log.segment import Segment
from nodes.broker.log.segments import Segments
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name

# -- what a power failure left -------------------------------------------------------------------


def crc_not_checked(parts: Parts, activate: Activate) -> Parts:
    class Unchecked(Recovery):
        def _batches(self, segment: Segment, position: int) -> Iterator[tuple[int, Batch]]:
            for at, batch in segment.walk(position):
                if not _is_whole(segment, at, batch):
                    activate()
                yield at, batch

    class Planted(Log):
        new_recovery = Unchecked

    return replace(parts, log=Planted)


def damage_signed_anew(parts: Parts, activate: Activate) -> Parts:
    class Signing(Recovery):
        def _batches(self, segment: Segment, position: int) -> Iterator[tuple[int, Batch]]:
            for at, batch in segment.walk(position):
                if not _is_whole(segment, at, batch):
                    activate()
                    data = bytearray(segment.file.read_at(at, batch.size))
                    sign(data, 0, batch.size)
                    segment.file.write_at(at, data)
                yield at, batch

    class Planted(Log):
        new_recovery = Signing

    return replace(parts, log=Planted)


def _is_whole(segment: Segment, at: int, batch: Batch) -> bool:
    try:
        check_crc(segment.file.read_at(at, batch.size), 0, batch.size)
    except CorruptBatch:
        return False
    return True


# -- what is synced -----------------------------------------------------------------------------


def folder_not_synced(parts: Parts, activate: Activate) -> Parts:
    class Nameless(Durability):
        async def _sync_names(self, segments: Segments) -> None:
            activate()
            segments.names_synced = True

    class Planted(Log):
        new_durability = Nameless

    return replace(parts, log=Planted)


# -- no room -------------------------------------------------------------------------------------


def enospc_ignored(parts: Parts, activate: Activate) -> Parts:
    class Careless(Segments):
        def append(self, data: Buffer, found: list[Batch]) -> None:
            try:
                super().append(data, found)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                activate()

    class Planted(Log):
        new_segments = Careless

        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            end = self.end_offset
            appended = super().append_leader(data, epoch, now_ms)
            if appended.duplicate or self.end_offset > end:
                return appended
            return replace(appended, last_offset=end - 1)  # nothing of it has to be waited for

    return replace(parts, log=Planted)


# -- indexes -------------------------------------------------------------------------------------


def index_off_by_one(parts: Parts, activate: Activate) -> Parts:
    class Ahead(Index):
        def place_of_offset(self, offset: int) -> int:
            """The entry after the one that is meant."""
            place = super().place_of_offset(offset)
            if place + 1 == len(self._offsets):
                return place
            activate()
            return place + 1

    return _with_index(parts, Ahead)


def _with_index(parts: Parts, index: type[Index]) -> Parts:
    class Misled(Segment):
        new_index = index

    class Planted(Log):
        new_segment = Misled

    return replace(parts, log=Planted)


# -- looking up by time --------------------------------------------------------------------------


def time_rounded_up(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def offset_for_time(self, timestamp: int) -> tuple[int, int, int] | None:
            later = super().offset_for_time(timestamp + 1)
            if later != super().offset_for_time(timestamp):
                activate()
            return later

    return replace(parts, log=Planted)


def time_of_index_entry(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def offset_for_time(self, timestamp: int) -> tuple[int, int, int] | None:
            found = super().offset_for_time(timestamp)
            if found is None:
                return None
            segment = next(s for s in self.segments if s.end > found[1])
            entry = max(segment.index.offset_before_time(timestamp), self.start_offset)
            batch = next(self.segments.headers(entry))
            if batch.base_offset >= found[1]:
                return found
            activate()
            return batch.max_timestamp, batch.base_offset, batch.leader_epoch

    return replace(parts, log=Planted)


def newest_forgotten_at_roll(parts: Parts, activate: Activate) -> Parts:
    class Forgetful(Segments):
        def roll(self) -> None:
            index = self.active.index
            super().roll()
            known = index.newest_entry
            if known < index.max_timestamp:
                activate()
                index.max_timestamp = known

    class Planted(Log):
        new_segments = Forgetful

    return replace(parts, log=Planted)


UNSYNCED = ("flush-messages=1000000", "log.segment.bytes=1000000")
"""Much is in page caches only."""
HASTE = ("final-timeout-s=10",)
"""A key that cannot be read is polled in vain until then."""

BUGS = by_name(
    Bug(
        id="K53",
        name="crc-not-checked",
        mechanism="after a power failure a batch whose header is whole is taken for whole",
        seen="seeded",
        promise="recovery: the log is cut at the first torn or corrupt batch",
        anomalies=("stuck",),
        nemesis="power",
        options=("value-bytes=700", "partitions=4", "nemesis-interval=0.5", *UNSYNCED, *HASTE),
        plant=crc_not_checked,
    ),
    Bug(
        id="K55",
        name="damage-signed-anew",
        mechanism="after a power failure damaged batches get a CRC that fits them, and are served",
        seen="Jepsen: NATS 2.12.1",
        promise="recovery: the log is cut at the first torn or corrupt batch",
        anomalies=("phantom", "inconsistent-offsets", "lost-write", "unseen"),
        nemesis="power",
        options=("value-bytes=700", "partitions=4", *UNSYNCED),
        plant=damage_signed_anew,
    ),
    Bug(
        id="K57",
        name="folder-not-synced",
        mechanism="a new segment's file is synced, the folder that its name is in is not",
        seen="KAFKA-3968; Pillai et al., OSDI 2014",
        promise="flush.messages: 1 = fsync before ack",
        anomalies=("lost-write", "unseen", "read-then-lost", "inconsistent-offsets"),
        nemesis="power:all",
        options=("flush-messages=1", "log.segment.bytes=2000"),
        plant=folder_not_synced,
    ),
    Bug(
        id="K58",
        name="enospc-ignored",
        mechanism="an append for which there was no room is acknowledged",
        seen="seeded",
        promise="acks: all = every in-sync replica has it",
        anomalies=("lost-write", "inconsistent-offsets", "unseen"),
        nemesis="disk:full",
        plant=enospc_ignored,
    ),
    Bug(
        id="K51",
        name="index-off-by-one",
        mechanism="a look-up in the index of offsets gives the entry after the one that is meant",
        seen="seeded",
        promise="fetch: all batches from the offset on that is asked for",
        anomalies=("lost-write", "poll-skip", "int-poll-skip", "unseen", "read-then-lost"),
        nemesis="kill,power",
        options=("log.index.interval.bytes=300",),
        plant=index_off_by_one,
    ),
    Bug(
        id="K52",
        name="time-rounded-up",
        mechanism="a look-up by time gives the first message after it, not the one of just then",
        seen="seeded; Redpanda: chaos",
        promise="standalone consumers: a seek by time finds the first message that is not older",
        anomalies=("listoffsets-too-late",),
        nemesis="kill",
        options=("times-p=0.2",),
        plant=time_rounded_up,
    ),
    Bug(
        id="K52",
        name="time-of-index-entry",
        mechanism="a look-up by time gives where the search begins: the entry of the time index",
        seen="seeded",
        promise="standalone consumers: a seek by time finds the first message that is not older",
        anomalies=("listoffsets-too-early",),
        nemesis="kill",
        options=("times-p=0.2", "log.index.interval.bytes=300"),
        plant=time_of_index_entry,
    ),
    Bug(
        id="K52",
        name="newest-forgotten-at-roll",
        mechanism="of a full segment the newest timestamp is the one that its time index knows",
        seen="seeded",
        promise="standalone consumers: a seek by time finds the first message that is not older",
        anomalies=("listoffsets-too-late",),
        nemesis="kill",
        options=("times-p=0.2", "log.segment.bytes=2000"),
        plant=newest_forgotten_at_roll,
    ),
)
