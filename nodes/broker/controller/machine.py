"""The metadata's state machine: (image, command, the entry's index and seed) → (image, result).

Pure and deterministic: every node applies the same entries and has the same image. A result is
["ok", result, index] or ["error", code, text]; a command that fails changes nothing.

Why two leaders of one partition never both ack `acks=all`: a new leader is chosen by a committed
entry that raises the leader epoch, and the old leader may not have heard of it. To ack, the old
one needs every member of the ISR *that it believes in* to have fetched the batch from it, and
`min.insync.replicas` of these. What it believes is the committed ISR or one committed before it,
widened by whoever it has asked to let in. The new leader is of the committed ISR, or was eligible:
it left an ISR that was too small to ack anything from then on. Either way it is among those whose
fetch the old leader waits for. A replica that has heard of the new epoch takes nothing more from
the old leader, so the batch can only have been acked if the new leader had it before it began to
lead. To get the new leader out of the ISR, the old one would need a committed AlterPartition,
which is refused: its leader epoch is stale.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from nodes.broker.controller import partitions, topics
from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterConfig,
    AlterPartition,
    AnyCommand,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    ElectPreferred,
    Fence,
    Register,
    Unfence,
    Withdraw,
)
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import BrokerState, MetadataImage
from nodes.raft.messages import Entry

replace = msgspec.structs.replace


class Machine:
    """Holds the image; told of every committed entry. Implements `nodes.raft.applied.StateMachine`.

    Attributes:
        on_change: called with (old, new) after each entry that changed the image.
    """

    def __init__(self) -> None:
        self.image = MetadataImage()
        self.on_change: Callable[[MetadataImage, MetadataImage], None] = lambda old, new: None

    def apply(self, index: int, entry: Entry) -> Any:
        old = self.image
        try:
            command = msgspec.msgpack.decode(entry.command, type=AnyCommand)
            new, result = self.change(old, command, index, entry.seed)
            answer: list[Any] = ["ok", msgspec.to_builtins(result), index]
        except BrokerError as error:
            new, answer = old, ["error", int(error.code), str(error)]
        except msgspec.MsgspecError as error:
            new, answer = old, ["error", int(Code.INVALID_REQUEST), str(error)]
        self.image = replace(new, offset=index)
        if new is not old:
            self.on_change(old, self.image)
        return answer

    def change(
        self, image: MetadataImage, command: AnyCommand, index: int, seed: int
    ) -> tuple[MetadataImage, Any]:
        """See `apply`."""
        return apply(image, command, index, seed)

    def snapshot(self) -> bytes:
        return self.image.dump()

    def restore(self, data: bytes, index: int) -> None:
        old, self.image = self.image, MetadataImage.load(data)
        self.on_change(old, self.image)


def apply(
    image: MetadataImage, command: AnyCommand, index: int, seed: int
) -> tuple[MetadataImage, Any]:
    """The image after the command, and its result.

    Raises:
        BrokerError: it cannot be done; the image stays.
    """
    # The seed of a leader that started anew may repeat itself, the index never does.
    rng = Random(f"{seed}/{index}")
    match command:
        case Register():
            return _register(image, command, index)
        case Unfence():
            return _unfence(image, command), None
        case Fence():
            return _fence(image, command), None
        case CreateTopic():
            return topics.create_topic(image, command, rng)
        case DeleteTopic():
            return topics.delete_topic(image, command)
        case CreatePartitions():
            return topics.create_partitions(image, command, rng), None
        case AlterConfig():
            return topics.alter_config(image, command), None
        case AlterPartition():
            return partitions.alter_partition(image, command)
        case Withdraw():
            return partitions.withdraw(image, command), None
        case AllocateProducerIds():
            return _allocate_producer_ids(image, command)
        case ElectPreferred():
            return partitions.elect_preferred(image, command), None


def _register(image: MetadataImage, command: Register, index: int) -> tuple[MetadataImage, int]:
    """A new epoch. An incarnation that did not end cleanly may have lost what it never synced: it
    leaves every ISR where somebody else stays, before it may lead again (KIP-903, KIP-966)."""
    known = image.brokers.get(command.broker)
    if known is not None and known.incarnation == command.incarnation:
        return image, known.epoch  # the same process asks again
    broker = BrokerState(command.broker, index, command.incarnation, fenced=True)
    image = replace(image, brokers={**image.brokers, broker.id: broker})
    image = topics.with_defaults(image, command.defaults)
    if command.clean:
        return partitions.each_partition(
            image, lambda image, state: partitions.step_down(image, state, broker.id)
        ), index
    return partitions.each_partition(
        image, lambda image, state: partitions.leave(image, state, broker.id, lost=True)
    ), index


def _unfence(image: MetadataImage, command: Unfence) -> MetadataImage:
    broker = partitions.current(image, command.broker, command.epoch)
    if not broker.fenced:
        return image
    brokers = {**image.brokers, broker.id: replace(broker, fenced=False)}
    return partitions.each_partition(replace(image, brokers=brokers), partitions.review)


def _fence(image: MetadataImage, command: Fence) -> MetadataImage:
    broker = partitions.current(image, command.broker, command.epoch)
    if broker.fenced:
        return image
    counters = replace(image.counters, fences=image.counters.fences + 1)
    brokers = {**image.brokers, broker.id: replace(broker, fenced=True)}
    return partitions.each_partition(
        replace(image, brokers=brokers, counters=counters),
        lambda image, state: partitions.leave(image, state, broker.id, lost=False),
    )


def _allocate_producer_ids(
    image: MetadataImage, command: AllocateProducerIds
) -> tuple[MetadataImage, int]:
    """The result is the first of `count` ids that nobody else gets."""
    if command.count <= 0:
        raise BrokerError(Code.INVALID_REQUEST, f"{command.count} producer ids")
    first = image.next_producer_id
    return replace(image, next_producer_id=first + command.count), first
