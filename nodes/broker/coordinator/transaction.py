"""A transactional id as its coordinator remembers it, and what is stored of it.

    Empty ──add──▶ Ongoing ──end──▶ PrepareCommit ──markers──▶ CompleteCommit ──add──▶ Ongoing
      ▲              │                                               │
      └──── init ────┴─────────────▶ PrepareAbort ──markers──▶ CompleteAbort

From *prepare* on the outcome is decided: it is in the log, and whoever coordinates next brings it
to its end. Only then may the producer begin its next transaction.

    key     version 0, transactional id
    value   version 0, producer id, epoch, timeout (ms), state, partitions by topic or null,
            time of the last change, time of the start (ms)

Source: KIP-98; Kafka's TransactionLogKey and TransactionLogValue.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from nodes.broker.coordinator.records import Reader, Record, Writer, Written
from nodes.broker.log.errors import CorruptBatch

_VERSION = 0
EPOCH_MAX = 2**15 - 2
"""A producer id whose epoch is there gets no next one: the producer gets another id."""

Place = tuple[str, int]
"""(topic, partition)"""


class Stage(IntEnum):
    """Of a transaction; the numbers are Kafka's."""

    EMPTY = 0
    ONGOING = 1
    PREPARE_COMMIT = 2
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5

    @property
    def is_prepared(self) -> bool:
        return self in (Stage.PREPARE_COMMIT, Stage.PREPARE_ABORT)

    @property
    def is_idle(self) -> bool:
        """Whether there is no transaction now."""
        return self in (Stage.EMPTY, Stage.COMPLETE_COMMIT, Stage.COMPLETE_ABORT)

    @property
    def spelled(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("_"))


class Transaction(msgspec.Struct, frozen=True):
    """One transactional id.

    Attributes:
        places: the partitions that take part, while it is ongoing or prepared.
        changed_ms, began_ms: by the coordinator's clock; -1 for no transaction.
    """

    id: str
    producer_id: int
    epoch: int
    timeout_ms: int
    stage: Stage = Stage.EMPTY
    places: frozenset[Place] = frozenset()
    changed_ms: int = -1
    began_ms: int = -1

    def record(self) -> Record:
        return Record(_key(self.id), _value(self))

    def forgotten(self) -> Record:
        return Record(_key(self.id), None)


class Transactions:
    """All of one partition of `__transaction_state`.

    Attributes:
        by_id: transactional id → what is known of it.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Transaction] = {}

    def apply(self, batch: Written) -> None:
        """Raises CorruptBatch: a record that is none of Kafka's."""
        for record in batch.records:
            id = _id(record.key)
            if record.value is None:
                self.by_id.pop(id, None)
            else:
                self.by_id[id] = _transaction(id, record.value)


def by_topic(places: frozenset[Place]) -> Mapping[str, list[int]]:
    """Partitions by topic, sorted."""
    found: dict[str, list[int]] = {}
    for topic, number in sorted(places):
        found.setdefault(topic, []).append(number)
    return found


def _key(id: str) -> bytes:
    return Writer().number(2, _VERSION).string(id).done()


def _value(transaction: Transaction) -> bytes:
    writer = Writer().number(2, _VERSION)
    writer.number(8, transaction.producer_id).number(2, transaction.epoch)
    writer.number(4, transaction.timeout_ms).number(1, transaction.stage)
    topics = by_topic(transaction.places)
    writer.number(4, len(topics) if topics else -1)
    for topic, numbers in topics.items():
        writer.string(topic).number(4, len(numbers))
        for number in numbers:
            writer.number(4, number)
    return writer.number(8, transaction.changed_ms).number(8, transaction.began_ms).done()


def _id(key: bytes) -> str:
    reader = Reader(key)
    _require(reader.number(2))
    return reader.text()


def _transaction(id: str, value: bytes) -> Transaction:
    reader = Reader(value)
    _require(reader.number(2))
    producer_id, epoch = reader.number(8), reader.number(2)
    timeout_ms, stage = reader.number(4), reader.number(1)
    places = []
    for _ in range(reader.count()):
        topic = reader.text()
        places += [(topic, reader.number(4)) for _ in range(reader.count())]
    if stage not in set(Stage):
        raise CorruptBatch(f"transaction {id!r} is in stage {stage}")
    return Transaction(
        id,
        producer_id,
        epoch,
        timeout_ms,
        Stage(stage),
        frozenset(places),
        reader.number(8),
        reader.number(8),
    )


def _require(version: int) -> None:
    if version != _VERSION:
        raise CorruptBatch(f"a transaction's record of version {version}")
