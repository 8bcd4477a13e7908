"""What is remembered of idempotent producers, so that a retried batch is appended once.

Of each producer id: its epoch and its last five batches (sequences and offsets). A batch that is
among these is a duplicate, answered with the offset that it has; any other must follow the last
sequence. A producer that is not known begins with sequence 0. Only where this replica may have
forgotten somebody, for long idleness or with batches that were deleted before it could read them,
it goes on anywhere. (In Kafka it may begin anywhere always: a second batch that meets a leader
which had refused the first one, not knowing yet that it leads, leaves no place for the first.)

The same rules run on every replica, over what is in the log, so the state is the same wherever
leadership goes; it is rebuilt from the log, or from a snapshot and the rest of the log.

A snapshot holds all five batches, where Kafka's keeps one: retries stay exact over a restart.
Blind to: a retry older than five batches is refused as out of order, as Kafka does; one older than
`producer.id.expiration.ms`, or whose batch retention deleted, is appended again.
Source: KIP-98 (idempotent producer), KIP-185 (five in flight), KIP-360 (unknown producers).
"""

from __future__ import annotations

from itertools import pairwise
from struct import Struct

import msgspec
from crc32c import crc32c

from nodes.broker.log.batch import NO_PRODUCER, SEQUENCE_MASK, Batch
from nodes.broker.log.errors import InvalidProducerEpoch, OutOfOrderSequence

REMEMBERED = 5
"""A producer has at most five requests in flight: a duplicate is one of the last five batches."""

NO_SEQUENCE = -1
_HEAD = Struct(">hI")  # version, CRC-32C of the rest
_VERSION = 2


class Remembered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One batch that a producer wrote."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


class Producer(msgspec.Struct, array_like=True):
    """One producer's state. `seen_ms` is when this replica last appended something of it."""

    producer_id: int
    epoch: int
    seen_ms: int
    batches: list[Remembered]

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    def duplicate_of(self, batch: Batch) -> Remembered | None:
        first, last = batch.base_sequence, batch.last_sequence
        for past in self.batches:
            if past.first_sequence == first and past.last_sequence == last:
                return past
        return None


_Dump = tuple[int, bool, list[Producer]]


class Producers:
    """Producer id → what is remembered, of one partition.

    Attributes:
        complete: whether every producer that ever wrote is here.
    """

    def __init__(self, *, complete: bool = True) -> None:
        self._by_id: dict[int, Producer] = {}
        self.complete = complete

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, producer_id: int) -> bool:
        return producer_id in self._by_id

    def get(self, producer_id: int) -> Producer | None:
        return self._by_id.get(producer_id)

    def check(self, batch: Batch) -> Remembered | None:
        """Whether a client's batch may be appended: None, or what it is a duplicate of.

        Raises:
            OutOfOrderSequence, InvalidProducerEpoch.
        """
        if batch.producer_id == NO_PRODUCER:
            return None
        known = self._by_id.get(batch.producer_id)
        if known is None:
            if self.complete and batch.base_sequence > 0:
                raise OutOfOrderSequence(
                    f"producer {batch.producer_id} begins with sequence {batch.base_sequence}"
                )
            return None
        if batch.producer_epoch < known.epoch:
            raise InvalidProducerEpoch(
                f"producer {batch.producer_id} has epoch {known.epoch}, not {batch.producer_epoch}"
            )
        if batch.producer_epoch > known.epoch:
            expected = 0
        elif (past := known.duplicate_of(batch)) is not None:
            return past
        else:
            expected = (known.last_sequence + 1) & SEQUENCE_MASK
        if batch.base_sequence != expected:
            raise OutOfOrderSequence(
                f"producer {batch.producer_id}, epoch {batch.producer_epoch} sent sequence "
                f"{batch.base_sequence} where {expected} comes next"
            )
        return None

    def append(self, batch: Batch, now_ms: int) -> None:
        """Remember a batch that is in the log now."""
        if batch.producer_id == NO_PRODUCER:
            return
        known = self._by_id.get(batch.producer_id)
        if known is None or known.epoch != batch.producer_epoch:
            known = Producer(batch.producer_id, batch.producer_epoch, now_ms, [])
            self._by_id[batch.producer_id] = known
        known.seen_ms = now_ms
        if not batch.is_control:  # a marker ends a transaction and has no sequence
            past = Remembered(
                batch.base_sequence,
                batch.last_sequence,
                batch.base_offset,
                batch.last_offset,
                batch.max_timestamp,
            )
            known.batches.append(past)
            del known.batches[:-REMEMBERED]

    def expire(self, before_ms: int) -> None:
        """Forget producers that this replica last heard of before this time."""
        for producer_id in [i for i, p in self._by_id.items() if p.seen_ms < before_ms]:
            del self._by_id[producer_id]
            self.complete = False

    def dump(self, epoch: int) -> bytes:
        """A snapshot, taken after a batch of this leader epoch; `load` gives the same state."""
        body = msgspec.msgpack.encode((epoch, self.complete, list(self._by_id.values())))
        return _HEAD.pack(_VERSION, crc32c(body)) + body

    @staticmethod
    def load(data: bytes) -> tuple[int, Producers]:
        """(epoch, producers). Raises ValueError if `data` is no snapshot, or a torn one."""
        if len(data) < _HEAD.size:
            raise ValueError("too short")
        version, crc = _HEAD.unpack_from(data)
        body = memoryview(data)[_HEAD.size :]
        if version != _VERSION or crc != crc32c(body):
            raise ValueError("version or CRC is wrong")
        producers = Producers()
        epoch, producers.complete, known = msgspec.msgpack.decode(body, type=_Dump)
        producers._by_id = {producer.producer_id: producer for producer in known}
        return epoch, producers

    def _check(self) -> None:
        for producer_id, producer in self._by_id.items():
            assert producer_id == producer.producer_id and len(producer.batches) <= REMEMBERED
            offsets = [b.base_offset for b in producer.batches]
            assert offsets == sorted(set(offsets))
            for before, after in pairwise(producer.batches):
                assert before.last_offset < after.base_offset
