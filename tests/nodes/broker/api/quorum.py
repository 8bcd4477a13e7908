"""A controller quorum that agrees at once: the real state machine, without Raft."""

from __future__ import annotations

from typing import Any

import msgspec

from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterPartition,
    AnyCommand,
    Register,
    Unfence,
)
from nodes.broker.controller.controller import Subscriber
from nodes.broker.controller.machine import Machine
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState
from nodes.raft.messages import Entry


class Quorum:
    """Stands in for `nodes.broker.controller.controller.Controller` of broker `id`.

    Attributes:
        lost: while set, nothing can be agreed on. down: brokers that are not registered yet.
    """

    def __init__(self, id: int) -> None:
        self._id, self._machine = id, Machine()
        self._machine.on_change = self._changed
        self._subscribers: list[Subscriber] = []
        self._index = 0
        self.lost = False
        self.leader_id: int | None = id
        self.term = 1
        self.failure: BaseException | None = None
        self.broker_epoch = 0
        self.epochs: dict[int, int] = {}

    def register(self, *ids: int) -> None:
        """Broker processes start and are unfenced."""
        for id in ids:
            self.epochs[id] = self.apply(Register(id, f"process {self._index}", True))
            if id == self._id:
                self.broker_epoch = self.epochs[id]
            self.apply(Unfence(id, self.epochs[id]))

    def apply(self, command: AnyCommand) -> Any:
        """Raises BrokerError."""
        self._index += 1
        entry = Entry(self._index, 1, msgspec.msgpack.encode(command), seed=self._index)
        status, *rest = self._machine.apply(self._index, entry)
        if status == "error":
            raise BrokerError(Code(rest[0]), rest[1])
        return rest[0]

    @property
    def image(self) -> MetadataImage:
        return self._machine.image

    @property
    def fenced(self) -> bool:
        return not self.image.active(self._id)

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.append(subscriber)

    async def submit(self, command: AnyCommand, timeout_s: float = 5.0) -> Any:
        if self.lost:
            raise BrokerError(Code.REQUEST_TIMED_OUT, "the quorum is lost")
        return self.apply(command)

    async def alter_partition(
        self,
        state: PartitionState,
        isr: tuple[int, ...],
        epochs: dict[int, int],
        timeout_s: float = 5.0,
    ) -> PartitionState:
        command = AlterPartition.of(state, self._id, self.broker_epoch, isr, epochs)
        return msgspec.convert(await self.submit(command, timeout_s), PartitionState)

    async def allocate_producer_ids(self, count: int) -> range:
        first = await self.submit(AllocateProducerIds(count))
        return range(first, first + count)

    def _changed(self, old: MetadataImage, new: MetadataImage) -> None:
        for subscriber in self._subscribers:
            subscriber(old, new)
