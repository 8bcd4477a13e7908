"""What can be asked of the metadata. Each is one entry of the replicated log."""

from __future__ import annotations

from uuid import UUID

import msgspec

from nodes.broker.metadata import PartitionState


class Command(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all commands."""


class Register(Command, frozen=True):
    """A broker process starts.

    Attributes:
        incarnation: no other process of this cluster has or had the same.
        clean: the process before it stored everything before it ended, so that its log is what its
            ISRs believe it is.
        defaults: its static configs, as far as they are defaults for topics.
    """

    broker: int
    incarnation: str
    clean: bool
    defaults: dict[str, str] = {}


class Unfence(Command, frozen=True):
    """A registered broker has caught up with the metadata."""

    broker: int
    epoch: int


class Fence(Command, frozen=True):
    """A broker was not heard for a session."""

    broker: int
    epoch: int


class CreateTopic(Command, frozen=True):
    name: str
    partitions: int  # -1: the broker's default
    replication_factor: int
    configs: dict[str, str]
    assignments: list[tuple[int, ...]] = []
    validate_only: bool = False


class DeleteTopic(Command, frozen=True):
    """By its id, if there is one, whatever its name is; a name may be another topic's by now."""

    name: str
    id: UUID | None = None


class CreatePartitions(Command, frozen=True):
    name: str
    count: int
    assignments: list[tuple[int, ...]] = []


class AlterConfig(Command, frozen=True):
    """`topic` "" stands for all brokers. Operations: 0 set, 1 delete, 2 append, 3 subtract."""

    topic: str
    changes: list[tuple[str, int, str]]


class AlterPartition(Command, frozen=True):
    """A leader's wish for its ISR, fenced by all that it believes.

    `epochs`: member → the broker epoch with which it last fetched.
    """

    broker: int
    broker_epoch: int
    topic_id: UUID
    partition: int
    leader_epoch: int
    partition_epoch: int
    isr: tuple[int, ...]
    epochs: dict[int, int]

    @staticmethod
    def of(
        state: PartitionState,
        broker: int,
        broker_epoch: int,
        isr: tuple[int, ...],
        epochs: dict[int, int],
    ) -> AlterPartition:
        """The wish of a leader that believes `state`."""
        return AlterPartition(
            broker,
            broker_epoch,
            state.topic_id,
            state.partition,
            state.leader_epoch,
            state.partition_epoch,
            isr,
            epochs,
        )


class Withdraw(Command, frozen=True):
    """A broker cannot serve its replica: its disk failed, or what it has is damaged."""

    broker: int
    broker_epoch: int
    topic_id: UUID
    partition: int


class AllocateProducerIds(Command, frozen=True):
    count: int


class ElectPreferred(Command, frozen=True):
    """Make the preferred leader lead, where it is in sync."""

    topic: str
    partition: int


AnyCommand = (
    Register
    | Unfence
    | Fence
    | CreateTopic
    | DeleteTopic
    | CreatePartitions
    | AlterConfig
    | AlterPartition
    | Withdraw
    | AllocateProducerIds
    | ElectPreferred
)
