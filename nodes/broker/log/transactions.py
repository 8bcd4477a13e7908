"""Transactions as one partition sees them: which are open, and which were aborted.

A producer's transaction opens here with its first transactional batch and ends with a *marker*, a
batch of one control record that the coordinator has the leader append. Readers that want committed
messages only go up to the *last stable offset*: no transaction that is open begins below it, nor
one whose marker may still be lost. They skip themselves what was aborted: they are told of each
aborted transaction that meets what they get.

    control record   key: version (int16), kind (int16: 0 abort, 1 commit)
                     value: version (int16), epoch of the coordinator (int32)

All of it is a function of the log, so replicas agree on it; it is stored with the producers'
snapshots. (Kafka keeps the aborted ones in `.txnindex` files, one a segment.)
Source: KIP-98; Kafka's design document "Transactional Messaging".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from struct import Struct

import msgspec
from kafka.record.default_records import DefaultRecordBatch

from nodes.broker.log.batch import HEADER, LENGTH_FROM, MAGIC, Batch, Buffer, sign
from nodes.broker.log.errors import CorruptBatch

ABORT, COMMIT = 0, 1
CONTROL_ATTRIBUTES = 0x30
"""Transactional, control."""

_KEY = Struct(">hh")
_VALUE = Struct(">hi")


class Marker(msgspec.Struct, frozen=True):
    """How a transaction ended. `coordinator_epoch` tells an older coordinator from a newer one."""

    committed: bool
    coordinator_epoch: int


class Aborted(msgspec.Struct, frozen=True, array_like=True):
    """An aborted transaction, from its first offset to its marker's.

    `stable`: no transaction that was open when it ended, or came later, begins below it.
    """

    producer_id: int
    first_offset: int
    marker_offset: int
    stable: int


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """A transaction whose marker is in the log, but perhaps not on all replicas yet."""

    first_offset: int
    marker_offset: int


class Dump(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot has of it."""

    open: dict[int, int] = {}
    decided: list[Decided] = []
    aborted: list[Aborted] = []


class Transactions:
    """Of one partition.

    Attributes:
        open: producer id → the first offset of its transaction.
        aborted: by the offsets of their markers.
    """

    def __init__(self, dump: Dump | None = None) -> None:
        dump = dump or Dump()
        self.open = dict(dump.open)
        self.aborted = list(dump.aborted)
        self._decided = list(dump.decided)

    def dump(self) -> Dump:
        return Dump(dict(self.open), list(self._decided), list(self.aborted))

    # -- growing and shrinking ---------------------------------------------------------------

    def wrote(self, batch: Batch) -> None:
        """A transactional batch that is no marker is in the log."""
        self.open.setdefault(batch.producer_id, batch.base_offset)

    def ended(self, batch: Batch, marker: Marker) -> None:
        """A marker is in the log. Without an open transaction it ends nothing."""
        first = self.open.pop(batch.producer_id, None)
        if first is None:
            return
        self._decided.append(Decided(first, batch.base_offset))
        if not marker.committed:
            stable = min(self.open.values(), default=batch.next_offset)
            self.aborted.append(Aborted(batch.producer_id, first, batch.base_offset, stable))

    def replicated(self, hw: int) -> None:
        """Markers below the high watermark can be lost no more."""
        if self._decided and self._decided[0].marker_offset < hw:
            self._decided = [each for each in self._decided if each.marker_offset >= hw]

    def forget(self, markers: Iterable[int]) -> None:
        """Nothing is left of the aborted transactions that these ended, not even the markers."""
        gone = set(markers)
        self.aborted = [each for each in self.aborted if each.marker_offset not in gone]

    def drop_before(self, start: int) -> None:
        """The log begins at `start` now."""
        while self.aborted and self.aborted[0].marker_offset < start:
            self.aborted.pop(0)

    # -- reading -----------------------------------------------------------------------------

    def stable_end(self, hw: int) -> int:
        """The last stable offset: readers of committed messages get what is below it."""
        if not self.open and not self._decided:
            return hw  # as it is nearly always: every fetch asks
        unsettled = (each.first_offset for each in self._decided if each.marker_offset >= hw)
        return min((hw, *self.open.values(), *unsettled))

    def aborted_in(self, start: int, end: int) -> list[Aborted]:
        """Those with messages or a marker from `start` on, and which begin below `end`."""
        found = []
        place = bisect_left(self.aborted, start, key=lambda each: each.marker_offset)
        for each in self.aborted[place:]:
            if each.first_offset < end:
                found.append(each)
            if each.stable >= end:
                break
        return sorted(found, key=lambda each: each.first_offset)

    def _check(self) -> None:
        markers = [each.marker_offset for each in self.aborted]
        assert markers == sorted(set(markers))
        assert all(each.first_offset < each.marker_offset for each in self.aborted)
        assert all(each.first_offset < each.marker_offset for each in self._decided)


# -- markers -------------------------------------------------------------------------------------


def control_batch(producer_id: int, epoch: int, marker: Marker, now_ms: int) -> bytearray:
    """A marker as a batch, without its offset and leader epoch."""
    kind = COMMIT if marker.committed else ABORT
    key, value = _KEY.pack(0, kind), _VALUE.pack(0, marker.coordinator_epoch)
    # Attributes, deltas of time and offset, key, value, no headers; lengths are zigzag varints.
    record = bytes((0, 0, 0, 2 * len(key))) + key + bytes((2 * len(value),)) + value + b"\0"
    record = bytes((2 * len(record),)) + record
    size = HEADER.size + len(record)
    head = HEADER.pack(
        0,
        size - LENGTH_FROM,
        -1,
        MAGIC,
        0,
        CONTROL_ATTRIBUTES,
        0,
        now_ms,
        now_ms,
        producer_id,
        epoch,
        -1,
        1,
    )
    data = bytearray(head + record)
    sign(data, 0, size)
    return data


def read_marker(data: Buffer) -> Marker:
    """What a control batch says.

    Raises:
        CorruptBatch: it is none.
    """
    try:
        (record,) = DefaultRecordBatch(bytes(data))
        _, kind = _KEY.unpack_from(record.key)
        _, epoch = _VALUE.unpack_from(record.value)
    except Exception as error:  # whatever the decoder makes of hostile bytes
        raise CorruptBatch(f"a control batch that is no marker: {error!r}") from error
    if kind not in (ABORT, COMMIT):
        raise CorruptBatch(f"a control record of kind {kind}")
    return Marker(kind == COMMIT, epoch)
