"""Images built by commands, as the log would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nodes.broker.controller.commands import (
    AlterPartition,
    AnyCommand,
    CreateTopic,
    Fence,
    Register,
    Unfence,
)
from nodes.broker.controller.machine import Machine
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState
from nodes.raft.messages import Entry


class Log:
    """A machine, and the entries that it was given."""

    def __init__(self, *brokers: int) -> None:
        self.machine = Machine()
        self.entries: list[Entry] = []
        for id in brokers:
            self.start(id)

    @property
    def image(self) -> MetadataImage:
        return self.machine.image

    def apply(self, command: AnyCommand) -> Any:
        """The result. Raises BrokerError."""
        index = len(self.entries) + 1
        entry = Entry(index, 1, msgspec.msgpack.encode(command), seed=index * 7919)
        self.entries.append(entry)
        status, *rest = self.machine.apply(index, entry)
        self.image._check()
        if status == "error":
            raise BrokerError(Code(rest[0]), rest[1])
        assert rest[1] == index
        return rest[0]

    def code(self, command: AnyCommand) -> Code:
        """The error with which a command fails, leaving all as it was."""
        before = self.image
        try:
            self.apply(command)
        except BrokerError as error:
            assert msgspec.structs.replace(before, offset=self.image.offset) == self.image
            return error.code
        return Code.NONE

    # -- brokers -----------------------------------------------------------------------------

    def register(self, id: int, *, clean: bool = False, **defaults: str) -> int:
        """A process starts; its epoch."""
        command = Register(id, f"process {len(self.entries)}", clean, defaults)
        return int(self.apply(command))

    def start(self, id: int, *, clean: bool = False) -> int:
        """A process starts and is unfenced; its epoch."""
        epoch = self.register(id, clean=clean)
        self.apply(Unfence(id, epoch))
        return epoch

    def fence(self, id: int) -> None:
        self.apply(Fence(id, self.image.brokers[id].epoch))

    def unfence(self, id: int) -> None:
        self.apply(Unfence(id, self.image.brokers[id].epoch))

    # -- partitions --------------------------------------------------------------------------

    def topic(
        self, *replicas: int, name: str = "t", configs: Mapping[str, str] | None = None
    ) -> PartitionState:
        """A topic of one partition; the first of its replicas leads."""
        self.apply(CreateTopic(name, -1, -1, dict(configs or {}), [tuple(replicas)]))
        return self.state(name)

    def state(self, name: str = "t", number: int = 0) -> PartitionState:
        state = self.image.partition(name, number)
        assert state is not None
        return state

    def alter(self, *isr: int, name: str = "t", **changes: Any) -> AlterPartition:
        """The leader's request for this ISR, right in everything but the changes."""
        state, brokers = self.state(name), self.image.brokers
        broker = changes.get("broker", state.leader)
        epoch = brokers[broker].epoch if broker in brokers else 0
        epochs = {id: brokers[id].epoch for id in isr if id in brokers}
        request = AlterPartition.of(state, broker, epoch, isr, epochs)
        return msgspec.structs.replace(request, **changes)


def shape(state: PartitionState) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return state.leader, state.isr, state.elr
