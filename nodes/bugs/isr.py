"""Who counts as in sync, and who may lead: bugs of leaders and of the controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from nodes.broker.controller import partitions
from nodes.broker.controller.commands import AlterPartition, AnyCommand, Register
from nodes.broker.controller.machine import Machine
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import NO_LEADER, MetadataImage, PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.broker.replicas import Replicas
from nodes.bugs.bug import Activate, Bug, by_name

altered = msgspec.structs.replace


def unclean_election(parts: Parts, activate: Activate) -> Parts:
    return _with_leaders(parts, activate, lambda state: state.leader == NO_LEADER)


def unsynced_preferred(parts: Parts, activate: Activate) -> Parts:
    return _with_leaders(parts, activate, lambda state: state.replicas[0] not in state.isr)


def _with_leaders(
    parts: Parts, activate: Activate, wrongly: Callable[[PartitionState], bool]
) -> Parts:
    """Where it says so, the first replica that is in service leads, whatever it has."""

    class Planted(Machine):
        def change(
            self, image: MetadataImage, command: AnyCommand, index: int, seed: int
        ) -> tuple[MetadataImage, Any]:
            image, result = super().change(image, command, index, seed)
            return partitions.each_partition(image, promoted), result

    def promoted(image: MetadataImage, state: PartitionState) -> PartitionState:
        first = next((r for r in state.replicas if image.active(r)), NO_LEADER)
        if first in (NO_LEADER, *state.isr) or not wrongly(state):
            return state
        activate()
        return altered(
            state,
            leader=first,
            isr=(first,),
            elr=(),
            leader_epoch=state.leader_epoch + 1,
            partition_epoch=state.partition_epoch + 1,
        )

    return replace(parts, machine=Planted)


def stale_isr_accepted(parts: Parts, activate: Activate) -> Parts:
    class Planted(Machine):
        def change(
            self, image: MetadataImage, command: AnyCommand, index: int, seed: int
        ) -> tuple[MetadataImage, Any]:
            try:
                return super().change(image, command, index, seed)
            except BrokerError as error:
                fenced = error.code in (Code.FENCED_LEADER_EPOCH, Code.INVALID_UPDATE_VERSION)
                if not fenced or not isinstance(command, AlterPartition):
                    raise
                activate()
                return overwritten(image, command)

    def overwritten(
        image: MetadataImage, command: AlterPartition
    ) -> tuple[MetadataImage, PartitionState]:
        """As a leader of ZooKeeper's days wrote the whole state, itself included."""
        topic = image.topic_by_id(command.topic_id)
        assert topic is not None  # else it was refused for another reason
        before = topic.partitions[command.partition]
        after = altered(
            before,
            leader=command.broker,
            isr=command.isr,
            elr=(),
            leader_epoch=before.leader_epoch + 1,
            partition_epoch=before.partition_epoch + 1,
        )
        states = (*topic.partitions[: after.partition], after)
        states += topic.partitions[after.partition + 1 :]
        topics = {**image.topics, topic.name: altered(topic, partitions=states)}
        return altered(image, topics=topics), after

    return replace(parts, machine=Planted)


def unclean_restart_trusted(parts: Parts, activate: Activate) -> Parts:
    class Planted(Machine):
        def change(
            self, image: MetadataImage, command: AnyCommand, index: int, seed: int
        ) -> tuple[MetadataImage, Any]:
            if isinstance(command, Register) and not command.clean:
                activate()
                command = altered(command, clean=True)
            return super().change(image, command, index, seed)

    return replace(parts, machine=Planted)


def min_isr_ignored(parts: Parts, activate: Activate) -> Parts:
    class Planted(Replicas):
        def min_isr(self, topic: str) -> int:
            if super().min_isr(topic) > 1:
                activate()
            return 1

    return replace(parts, replicas=Planted)


def min_isr_at_append_only(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        """Whoever wrote while enough were in sync is acknowledged when they are no more."""

        def lead(self, state: PartitionState) -> None:
            needed, self.min_isr = self.min_isr, 1
            super().lead(state)
            self.min_isr = needed

        def advance(self) -> None:
            needed, self.min_isr = self.min_isr, 1
            if self.leading and len(self.state.isr) < needed:
                activate()
            super().advance()
            self.min_isr = needed

        async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
            return await super().wait_replicated(last_offset, timeout_s, 1)

    return replace(parts, partition=Planted)


def joins_too_early(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def may_join(self, replica: int) -> bool:
            follower = self.progress.get(replica)
            if not self.leading or follower is None or follower.end < 0:
                return False
            if replica in self.maximal_isr:
                return False
            if follower.end < self.hw:
                activate()
            return True

    return replace(parts, partition=Planted)


def copied_anew(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        emptying: asyncio.Task[None] | None = None

        def follow(self, state: PartitionState) -> None:
            anew = self.leading or state.leader_epoch != self.state.leader_epoch
            super().follow(state)
            if anew and self.offline is None and self.log.end_offset > self.log.start_offset:
                activate()
                self.emptying = asyncio.create_task(self.truncate(self.log.start_offset))

    return replace(parts, partition=Planted)


def isr_shrunk_alone(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        @property
        def maximal_isr(self) -> set[int]:
            late = self.laggards(1_000_000_000)
            if late:
                activate()
            return super().maximal_isr - set(late)

    return replace(parts, partition=Planted)


SLOW = ("replica.fetch.max.bytes=100", "sim.latency-us=8000")
"""A follower that lacks a little takes a second to catch up."""

BUGS = by_name(
    Bug(
        id="K11",
        name="unclean-election",
        mechanism="when none of the ISR is in service any replica leads, though it was forbidden",
        seen="Jepsen: Kafka, 2013; KAFKA-1028",
        promise="elections: only an ISR member may lead",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="kill:one,pause:one",
        options=(
            "min-insync-replicas=1",
            "replication-factor=2",
            "broker.session.timeout.ms=1000",
            "nemesis-interval=3",
        ),
        nodes=5,
        plant=unclean_election,
    ),
    Bug(
        id="K63",
        name="unsynced-preferred",
        mechanism="the preferred replica leads as soon as it is in service, in sync or not",
        seen="RabbitMQ: an unsynchronised mirror is promoted (Jepsen: RabbitMQ)",
        promise="elections: only an ISR member may lead",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="kill,partition",
        plant=unsynced_preferred,
    ),
    Bug(
        id="K07",
        name="stale-isr-accepted",
        mechanism="the controller takes the ISR of a leader that was deposed, and it leads again",
        seen="KIP-497; KAFKA-2729: cached zkVersion",
        promise="ISR: versioned; a stale leader's change is fenced",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="partition,partition",
        options=(*SLOW, "broker.session.timeout.ms=1000", "replica.lag.time.max.ms=800"),
        plant=stale_isr_accepted,
    ),
    Bug(
        id="K10",
        name="unclean-restart-trusted",
        mechanism="a broker that lost its power keeps its places in the ISRs",
        seen="KIP-903, KIP-966",
        promise="recovery: an unclean restart leaves every ISR before it may lead",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="power:leader",
        options=(*SLOW, "broker.session.timeout.ms=3000", "nemesis-interval=1"),
        plant=unclean_restart_trusted,
    ),
    Bug(
        id="K01",
        name="min-isr-ignored",
        mechanism="acks=all is acknowledged by an ISR of one, min.insync.replicas or not",
        seen="Jepsen: Kafka, 2013",
        promise="min.insync.replicas: acks=all with a smaller ISR is refused",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="pause:minority,kill:leader",
        options=(*SLOW, "broker.session.timeout.ms=1000"),
        nodes=5,
        plant=min_isr_ignored,
    ),
    Bug(
        id="K06",
        name="min-isr-at-append-only",
        mechanism="whether enough are in sync is looked at before the append, and never again",
        seen="seeded",
        promise="min.insync.replicas: NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="pause:minority,partition",
        options=(*SLOW, "broker.session.timeout.ms=1000", "nemesis-interval=1", "partitions=8"),
        nodes=5,
        plant=min_isr_at_append_only,
    ),
    Bug(
        id="K09",
        name="joins-too-early",
        mechanism="a follower is let into the ISR when it fetches, not when it has caught up",
        seen="KIP-966",
        promise="ISR: a follower is in sync when it has caught up",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="pause:one,kill:leader",
        options=(*SLOW, "broker.session.timeout.ms=1000", "nemesis-interval=2", "partitions=1"),
        plant=joins_too_early,
    ),
    Bug(
        id="K62",
        name="copied-anew",
        mechanism="a follower empties its log at each change of leader, in sync as it counts",
        seen="RabbitMQ: autoheal discards the losers' logs (Jepsen: RabbitMQ)",
        promise="leader epoch: followers truncate to the epoch's end",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="kill:leader,kill",
        options=SLOW,
        plant=copied_anew,
    ),
    Bug(
        id="K07",
        name="isr-shrunk-alone",
        mechanism="a leader waits no more for who lags, before the controller knows of it",
        seen="KIP-497",
        promise="ISR: leaders shrink it through the controller",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="partition",
        plant=isr_shrunk_alone,
    ),
)
