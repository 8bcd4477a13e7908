"""What is remembered of idempotent producers, so that a retried batch is appended once.

Of each producer id: its epoch and its last five batches (sequence and offset). A batch that is
among these is a duplicate, answered with the offset that it has; any other must follow the last
sequence.
The same rules run on every replica, over what is in the log, so that the state is the same wherever
leadership goes; it is rebuilt from the log, or from a snapshot and the rest of the log.
Source: KIP-98 (idempotent producer), KIP-185 (five in flight), KIP-360 (unknown producers).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from nodes.broker.log.batch import NO_PRODUCER, Batch

REMEMBERED = 5
"""At most five requests are in flight, so a duplicate is one of the last five batches."""


class ProducerError(Exception):
    """A batch that must not be appended. `code` is Kafka's error code."""

    code = -1


class OutOfOrderSequence(ProducerError):
    """A gap: a batch before this one is missing."""

    code = 45


class InvalidProducerEpoch(ProducerError):
    """An epoch below the newest: a zombie."""

    code = 47


@dataclass(frozen=True, slots=True)
class Appended:
    """One remembered batch."""

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    timestamp: int


@dataclass(slots=True)
class Producer:
    epoch: int
    batches: deque[Appended] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else -1


class Producers:
    """Producer id → what is remembered, of one partition."""

    def __init__(self) -> None:
        self._by_id: dict[int, Producer] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def check(self, batch: Batch) -> Appended | None:
        """Whether a batch may be appended: None, or where its duplicate stands.

        Raises:
            OutOfOrderSequence, InvalidProducerEpoch.
        """
        if batch.producer_id == NO_PRODUCER:
            return None
        known = self._by_id.get(batch.producer_id)
        if known is None:
            # Never seen, or expired and forgotten. Its state may have gone with retention, so any
            # sequence is taken (Kafka ≥ 2.5 does so); a duplicate of it cannot be in the log, since
            # state is kept at least as long as the batches that made it.
            return None
        if batch.producer_epoch < known.epoch:
            raise InvalidProducerEpoch(
                f"producer {batch.producer_id} has epoch {known.epoch}, not {batch.producer_epoch}"
            )
        if batch.producer_epoch > known.epoch:
            if batch.base_sequence != 0:
                raise OutOfOrderSequence(
                    f"producer {batch.producer_id} begins epoch {batch.producer_epoch} with "
                    f"sequence {batch.base_sequence}"
                )
            return None
        for past in known.batches:
            if (past.first_sequence, past.last_sequence) == (
                batch.base_sequence,
                batch.last_sequence,
            ):
                return past
        expected = (known.last_sequence + 1) & 0x7FFFFFFF
        if known.batches and batch.base_sequence != expected:
            raise OutOfOrderSequence(
                f"producer {batch.producer_id} sent sequence {batch.base_sequence}; "
                f"{expected} comes next"
            )
        return None

    def append(self, batch: Batch) -> None:
        """Remember a batch that is in the log now."""
        if batch.producer_id == NO_PRODUCER or batch.is_control:
            return
        known = self._by_id.get(batch.producer_id)
        if known is None or known.epoch != batch.producer_epoch:
            known = self._by_id[batch.producer_id] = Producer(batch.producer_epoch)
        known.batches.append(
            Appended(
                batch.base_sequence,
                batch.last_sequence,
                batch.base_offset,
                batch.last_offset,
                batch.max_timestamp,
            )
        )

    def expire(self, before_ms: int) -> None:
        """Forget producers whose last batch is older than `before_ms`."""
        for producer_id in list(self._by_id):
            batches = self._by_id[producer_id].batches
            if not batches or batches[-1].timestamp < before_ms:
                del self._by_id[producer_id]

    def clear(self) -> None:
        self._by_id.clear()

    def dump(self) -> bytes:
        """A snapshot; `load` gives the same state."""
        rows = [
            (producer_id, p.epoch, [tuple(getattr(b, n) for n in _FIELDS) for b in p.batches])
            for producer_id, p in self._by_id.items()
        ]
        return msgspec.msgpack.encode(rows)

    @staticmethod
    def load(data: bytes) -> Producers:
        """Raises ValueError if `data` is no snapshot."""
        producers = Producers()
        for producer_id, epoch, rows in msgspec.msgpack.decode(data, type=_Snapshot):
            batches = deque((Appended(*row) for row in rows), maxlen=REMEMBERED)
            producers._by_id[producer_id] = Producer(epoch, batches)
        return producers


_FIELDS = ("first_sequence", "last_sequence", "base_offset", "last_offset", "timestamp")
_Snapshot = list[tuple[int, int, list[tuple[int, int, int, int, int]]]]
