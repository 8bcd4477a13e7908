"""What is remembered of idempotent producers, so that a retried batch is appended once.

Of each producer id: its epoch and its last five batches (sequences and offsets). A batch that is
among these is a duplicate, answered with the offset that it has; any other must follow the last
sequence. A producer that is not known begins with sequence 0. Only where this replica may have
forgotten somebody, for long idleness or with batches that were deleted before it could read them,
it goes on anywhere. (In Kafka it may begin anywhere always: a second batch that meets a leader
which had refused the first one, not knowing yet that it leads, leaves no place for the first.)

The same rules run on every replica, over what is in the log, so the state is the same wherever
leadership goes; it is rebuilt from the log, or from a snapshot and the rest of the log.

A snapshot holds all five batches, where Kafka's keeps one: retries stay exact over a restart. It
holds the transactions, too, which are open or were aborted (`nodes.broker.log.transactions`).
Blind to: a retry older than five batches is refused as out of order, as Kafka does; one older than
`producer.id.expiration.ms`, or whose batch retention deleted, is appended again.
Source: KIP-98 (idempotent producer), KIP-185 (five in flight), KIP-360 (unknown producers).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from struct import Struct

import msgspec
from crc32c import crc32c

from nodes.broker.log.batch import NO_PRODUCER, SEQUENCE_MASK, Batch
from nodes.broker.log.errors import (
    CoordinatorFenced,
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequence,
)
from nodes.broker.log.transactions import Dump, Marker, Transactions

REMEMBERED = 5
"""A producer has at most five requests in flight: a duplicate is one of the last five batches."""

NO_SEQUENCE = -1
_HEAD = Struct(">hI")  # version, CRC-32C of the rest
_VERSION = 3


class Remembered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One batch that a producer wrote."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


class Producer(msgspec.Struct, array_like=True):
    """One producer's state. `seen_ms` is when this replica last appended something of it.

    `coordinator_epoch`: of whoever ended its last transaction; -1 before. `markers`: how many of
    this epoch came.
    """

    producer_id: int
    epoch: int
    seen_ms: int
    batches: list[Remembered]
    coordinator_epoch: int = -1
    markers: int = 0

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    def duplicate_of(self, batch: Batch) -> Remembered | None:
        first, last = batch.base_sequence, batch.last_sequence
        for past in self.batches:
            if past.first_sequence == first and past.last_sequence == last:
                return past
        return None


_Dump = tuple[int, bool, list[Producer], Dump]


class Producers:
    """Producer id → what is remembered, of one partition.

    Attributes:
        complete: whether every producer that ever wrote is here.
        transactions: theirs.
    """

    def __init__(self, *, complete: bool = True) -> None:
        self._by_id: dict[int, Producer] = {}
        self.complete = complete
        self.transactions = Transactions()

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Producer]:
        return iter(self._by_id.values())

    def __contains__(self, producer_id: int) -> bool:
        return producer_id in self._by_id

    def get(self, producer_id: int) -> Producer | None:
        return self._by_id.get(producer_id)

    def check(self, batch: Batch) -> Remembered | None:
        """Whether a client's batch may be appended: None, or what it is a duplicate of.

        Raises:
            OutOfOrderSequence, InvalidProducerEpoch, InvalidTxnState.
        """
        if batch.producer_id == NO_PRODUCER:
            return None
        if not batch.is_transactional and batch.producer_id in self.transactions.open:
            text = f"producer {batch.producer_id} is in a transaction, and this batch is not"
            raise InvalidTxnState(text)
        known = self._by_id.get(batch.producer_id)
        if known is None:
            if self.complete and batch.base_sequence > 0:
                raise OutOfOrderSequence(
                    f"producer {batch.producer_id} begins with sequence {batch.base_sequence}"
                )
            return None
        self.check_epoch(batch.producer_id, batch.producer_epoch)
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

    def check_marker(self, producer_id: int, epoch: int, marker: Marker) -> None:
        """Whether a coordinator's marker may be appended.

        Raises:
            InvalidProducerEpoch, CoordinatorFenced: something newer has been here.
        """
        self.check_epoch(producer_id, epoch)
        known = self._by_id.get(producer_id)
        if known is not None and marker.coordinator_epoch < known.coordinator_epoch:
            text = f"{marker.coordinator_epoch}; there was one of {known.coordinator_epoch}"
            raise CoordinatorFenced(f"a coordinator of epoch {text}")

    def check_epoch(self, producer_id: int, epoch: int) -> None:
        """Raises InvalidProducerEpoch: a newer one has been here."""
        known = self._by_id.get(producer_id)
        if known is not None and epoch < known.epoch:
            text = f"producer {producer_id} has epoch {known.epoch}, not {epoch}"
            raise InvalidProducerEpoch(text)

    def append(self, batch: Batch, now_ms: int, marker: Marker | None = None) -> None:
        """Remember a batch that is in the log now; `marker` is what a control batch says."""
        if batch.producer_id == NO_PRODUCER:
            return
        known = self._by_id.get(batch.producer_id)
        if known is None or known.epoch != batch.producer_epoch:
            fenced = known.coordinator_epoch if known is not None else -1
            known = Producer(batch.producer_id, batch.producer_epoch, now_ms, [], fenced)
            self._by_id[batch.producer_id] = known
        known.seen_ms = now_ms
        if marker is not None:  # it has no sequence
            known.coordinator_epoch = marker.coordinator_epoch
            known.markers += 1
            self.transactions.ended(batch, marker)
            return
        if batch.is_transactional:
            self.transactions.wrote(batch)
        if batch.base_sequence == NO_SEQUENCE:
            return  # a coordinator wrote it, and never sends anything twice
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
        """Forget producers that this replica last heard of before this time, unless they are in a
        transaction."""
        opened = self.transactions.open
        for producer_id in [i for i, p in self._by_id.items() if p.seen_ms < before_ms]:
            if producer_id not in opened:
                del self._by_id[producer_id]
                self.complete = False

    def dump(self, epoch: int) -> bytes:
        """A snapshot, taken after a batch of this leader epoch; `load` gives the same state."""
        known = list(self._by_id.values())
        body = msgspec.msgpack.encode((epoch, self.complete, known, self.transactions.dump()))
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
        epoch, producers.complete, known, dump = msgspec.msgpack.decode(body, type=_Dump)
        producers.transactions = Transactions(dump)
        producers._by_id = {producer.producer_id: producer for producer in known}
        return epoch, producers

    def _check(self) -> None:
        for producer_id, producer in self._by_id.items():
            assert producer_id == producer.producer_id and len(producer.batches) <= REMEMBERED
            offsets = [b.base_offset for b in producer.batches]
            assert offsets == sorted(set(offsets))
            for before, after in pairwise(producer.batches):
                assert before.last_offset < after.base_offset
        self.transactions._check()
