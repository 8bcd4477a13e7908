"""What a log refuses, each with the error code that Kafka's protocol has for it.

LogError
├── CorruptBatch            2   damaged or malformed bytes; nothing was written
├── InvalidRecord          87   well-formed, but not what a producer may send
│   └── BatchTooLarge      10   over max.message.bytes, or over segment.bytes
├── InvalidTimestamp       32   too far in the future, or of a type the topic does not take
├── OutOfOrderSequence     45   a batch of this producer is missing before this one
├── InvalidProducerEpoch   47   a zombie: a newer incarnation of the producer has written
├── InvalidTxnState        48   a batch of no transaction from a producer that is in one
├── CoordinatorFenced      52   a marker of a coordinator that was replaced
├── OffsetOutOfRange        1   a read outside the log
├── Misplaced              -1   a leader sent offsets or epochs that cannot follow this log
├── WrongTopic             -1   the folder belongs to another topic of the same name
└── Damaged                56   bytes that were durable are unreadable; nothing was thrown away

Errors of the disk stay `OSError` (KAFKA_STORAGE_ERROR, 56).
"""

from __future__ import annotations

from typing import ClassVar


class LogError(Exception):
    """A request that the log refuses. The log is as it was before."""

    code: ClassVar[int] = -1


class CorruptBatch(LogError):
    """Bytes that are no valid batch. Says what is wrong with them."""

    code = 2


class InvalidRecord(LogError):
    """A batch that is whole, but that a producer must not send."""

    code = 87


class BatchTooLarge(InvalidRecord):
    """A batch over the topic's limit."""

    code = 10


class InvalidTimestamp(LogError):
    """A timestamp that the topic does not take."""

    code = 32


class OutOfOrderSequence(LogError):
    """A gap: a batch before this one is missing."""

    code = 45


class InvalidProducerEpoch(LogError):
    """An epoch below the newest one: a zombie."""

    code = 47


class InvalidTxnState(LogError):
    """A batch outside of the transaction that its producer is in."""

    code = 48


class CoordinatorFenced(LogError):
    """A marker of a coordinator that another one has replaced."""

    code = 52


class OffsetOutOfRange(LogError):
    """An offset below the start or above the end of the log."""

    code = 1


class Misplaced(LogError):
    """Batches of a leader that cannot follow what this replica has."""


class WrongTopic(LogError):
    """The folder's topic id is not the expected one."""


class Damaged(LogError):
    """Durable bytes cannot be read. Only replication can say whether they may be given up."""

    code = 56
