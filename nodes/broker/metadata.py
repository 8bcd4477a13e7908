"""What the cluster agrees on: brokers, topics, partitions and configs, as one immutable image.

Every node has an image; it changes only by applying the committed metadata log, so images at the
same offset are equal. A change replaces the parts it touches and shares the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

NO_LEADER = -1


class PartitionState(msgspec.Struct, frozen=True, array_like=True):
    """One partition.

    Attributes:
        replicas: broker ids, the preferred leader first. isr: those in sync, never empty.
        elr: eligible to take the place of the ISR, see `nodes.broker.controller.partitions`.
        leader: a member of `isr`, or NO_LEADER.
        leader_epoch: rises with every change of leader. partition_epoch: with every change at all.
    """

    topic: str
    topic_id: uuid.UUID
    partition: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    leader: int
    leader_epoch: int
    partition_epoch: int
    elr: tuple[int, ...] = ()


class TopicState(msgspec.Struct, frozen=True, array_like=True):
    """A topic; partitions are numbered from 0."""

    name: str
    id: uuid.UUID
    partitions: tuple[PartitionState, ...]
    configs: dict[str, str]


class BrokerState(msgspec.Struct, frozen=True, array_like=True):
    """A broker as it last registered.

    Attributes:
        epoch: of this registration; rises with each.
        incarnation: drawn anew by each process.
        fenced: leads nothing and joins no ISR until it has caught up with the metadata.
    """

    id: int
    epoch: int
    incarnation: str
    fenced: bool


class Counters(msgspec.Struct, frozen=True, array_like=True):
    """What happened so far, counted over the committed log and so equal on all nodes."""

    elections: int = 0
    unclean_elections: int = 0
    isr_shrinks: int = 0
    isr_expands: int = 0
    fences: int = 0


_NONE: Mapping[Any, Any] = MappingProxyType({})


class MetadataImage(msgspec.Struct, frozen=True):
    """Everything, after the entry at `offset` of the metadata log.

    Attributes:
        broker_configs: the cluster's values of topics' configs, changed at run time or static.
        defaults: the static ones, as the newest broker to register has them.
    """

    offset: int = 0
    cluster_id: str = ""
    brokers: Mapping[int, BrokerState] = _NONE
    topics: Mapping[str, TopicState] = _NONE
    broker_configs: Mapping[str, str] = _NONE
    next_producer_id: int = 1000
    counters: Counters = Counters()
    defaults: Mapping[str, str] = _NONE

    def partition(self, topic: str, partition: int) -> PartitionState | None:
        state = self.topics.get(topic)
        if state is None or not 0 <= partition < len(state.partitions):
            return None
        return state.partitions[partition]

    def topic_by_id(self, id: uuid.UUID) -> TopicState | None:
        return next((topic for topic in self.topics.values() if topic.id == id), None)

    def active(self, broker: int) -> bool:
        """Whether a broker is registered and not fenced."""
        state = self.brokers.get(broker)
        return state is not None and not state.fenced

    def config(self, topic: str, name: str, default: str) -> str:
        """A topic's config, else the cluster's, else the default."""
        state = self.topics.get(topic)
        if state is not None and name in state.configs:
            return state.configs[name]
        return self.broker_configs.get(name, default)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(
            (
                self.offset,
                self.cluster_id,
                list(self.brokers.values()),
                list(self.topics.values()),
                dict(self.broker_configs),
                self.next_producer_id,
                self.counters,
                dict(self.defaults),
            )
        )

    @staticmethod
    def load(data: bytes) -> MetadataImage:
        offset, cluster_id, brokers, topics, configs, producer_id, counters, defaults = (
            msgspec.msgpack.decode(data, type=_Dump)
        )
        return MetadataImage(
            offset,
            cluster_id,
            {broker.id: broker for broker in brokers},
            {topic.name: topic for topic in topics},
            configs,
            producer_id,
            counters,
            defaults,
        )

    def _check(self) -> None:
        """Every invariant of what is agreed on."""
        for topic in self.topics.values():
            for number, state in enumerate(topic.partitions):
                assert (state.topic, state.topic_id, state.partition) == (
                    topic.name,
                    topic.id,
                    number,
                )
                assert len(set(state.replicas)) == len(state.replicas) > 0
                assert state.isr and set(state.isr) <= set(state.replicas)
                assert set(state.elr) <= set(state.replicas) - set(state.isr)
                assert state.leader == NO_LEADER or state.leader in state.isr
                assert state.leader == NO_LEADER or self.active(state.leader)
        assert all(id == broker.id for id, broker in self.brokers.items())


_Dump = tuple[
    int,
    str,
    list[BrokerState],
    list[TopicState],
    dict[str, str],
    int,
    Counters,
    dict[str, str],
]
