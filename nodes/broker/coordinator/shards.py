"""The partitions of an internal topic that this broker leads, as their coordinator.

A shard is made when the partition's leadership comes here, loaded in the background, and dropped
when it goes, or comes again in another epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from harness.host.contract import Host
from nodes.broker.background import Background
from nodes.broker.coordinator.shard import Shard, State
from nodes.broker.coordinator.topics import Internal, place_of
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.metadata import MetadataImage
from nodes.broker.partition import Partition

S = TypeVar("S", bound=State)


class Shards(Generic[S]):
    """`new_state` makes the state of an empty log.

    Attributes:
        on_loaded, on_dropped: called with each shard that has come to know all, or leads no more.
    """

    def __init__(self, host: Host, topic: Internal, new_state: Callable[[], S]) -> None:
        self._host, self.topic, self._new_state = host, topic, new_state
        self._shards: dict[int, Shard[S]] = {}
        self._background = Background(host, "coordinator.failed")
        self.on_loaded: Callable[[Shard[S]], None] = lambda shard: None
        self.on_dropped: Callable[[Shard[S]], None] = lambda shard: None

    def __iter__(self) -> Iterator[Shard[S]]:
        """Those that are loaded and lead."""
        return iter([shard for shard in self._shards.values() if shard.loaded and shard.leads])

    def of(self, image: MetadataImage, name: str) -> Shard[S]:
        """The shard that keeps `name`.

        Raises:
            BrokerError: this broker is not its coordinator, or does not know all yet.
        """
        try:
            place = place_of(image, self.topic, name)
        except BrokerError as error:
            # Who was sent here knows of a topic that this broker has not heard of yet. Every client
            # looks again after NOT_COORDINATOR; after the other some give up.
            raise BrokerError(Code.NOT_COORDINATOR, str(error)) from error
        return self.numbered(place.partition)

    def numbered(self, number: int) -> Shard[S]:
        """Raises BrokerError, as above."""
        shard = self._shards.get(number)
        if shard is None:
            raise BrokerError(Code.NOT_COORDINATOR)
        shard.require()
        return shard

    def took_role(self, partition: Partition) -> None:
        """A partition of this broker leads, follows, or is closed now."""
        if partition.state.topic != self.topic.name:
            return
        number = partition.state.partition
        shard = self._shards.get(number)
        if shard is not None and shard.partition is partition and shard.leads:
            return
        if shard is not None:
            del self._shards[number]
            self.on_dropped(shard)
        if partition.leading and not partition.closed and partition.offline is None:
            shard = self._shards[number] = Shard(self._host, partition, self._new_state())
            self._background.spawn(self._load(shard), f"loading {partition.name}")

    async def _load(self, shard: Shard[S]) -> None:
        name, began = shard.partition.name, self._host.clock.monotonic_ns()
        try:
            await shard.load()
        except (BrokerError, LogError, OSError) as error:
            self._host.log("coordinator.not-loaded", partition=name, error=f"{error!r}")
            return
        took_ms = (self._host.clock.monotonic_ns() - began) // 1_000_000
        self._host.log("coordinator.loaded", partition=name, epoch=shard.epoch, ms=took_ms)
        self.on_loaded(shard)

    async def close(self) -> None:
        await self._background.close()
        shards, self._shards = self._shards, {}
        for shard in shards.values():
            self.on_dropped(shard)
