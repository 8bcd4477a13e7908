"""What a leader acknowledges and shows, and what a follower cuts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nodes.broker.errors import Code
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name


def ack_before_replication(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
            if self.leading and self.hw <= last_offset:
                activate()
            return Code.NONE

    return replace(parts, partition=Planted)


def hw_on_append(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        @property
        def maximal_isr(self) -> set[int]:
            if len(self.state.isr) > 1:
                activate()
            return {self._me}

    return replace(parts, partition=Planted)


def reads_past_hw(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def read(self, offset: int, max_bytes: int, upto: int, *, at_least_one: bool) -> bytes:
            if upto < self.log.end_offset:
                activate()
            return super().read(offset, max_bytes, self.log.end_offset, at_least_one=at_least_one)

    return replace(parts, partition=Planted)


def truncate_to_hw(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        cutting: asyncio.Task[None] | None = None

        def follow(self, state: PartitionState) -> None:
            anew = self.leading or state.leader_epoch != self.state.leader_epoch
            super().follow(state)
            if anew and self.offline is None and self.hw < self.log.end_offset:
                activate()
                self.cutting = asyncio.create_task(self.truncate(self.hw))

    return replace(parts, partition=Planted)


def no_divergence_check(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        async def truncate_after_divergence(self, epoch: int, end: int) -> None:
            activate()
            self.log.epochs.truncate_to(self.log.start_offset)  # so that nobody asks again

    return replace(parts, partition=Planted)


def timeout_as_success(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
            # The purgatory of this node is emptied early, as that of a busy one is.
            code = await super().wait_replicated(last_offset, min(timeout_s, 0.3), min_isr)
            if code is not Code.REQUEST_TIMED_OUT:
                return code
            activate()
            return Code.NONE

    return replace(parts, partition=Planted)


def stale_leader_acks(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
            code = await super().wait_replicated(last_offset, timeout_s, min_isr)
            if code is not Code.NOT_LEADER_OR_FOLLOWER:
                return code
            activate()
            return Code.NONE

    return replace(parts, partition=Planted)


BUGS = by_name(
    Bug(
        id="K03",
        name="truncate-to-hw",
        mechanism="a follower cuts its log to its own high watermark whenever the leader changes",
        seen="KIP-101",
        promise="leader epoch: followers truncate to the epoch's end, never to their own mark",
        anomalies=("lost-write", "inconsistent-offsets"),
        nemesis="kill",
        plant=truncate_to_hw,
    ),
    Bug(
        id="K04",
        name="no-divergence-check",
        mechanism="a follower keeps what has parted from its leader's log, and goes on behind it",
        seen="KIP-101, KIP-279",
        promise="leader epoch: followers truncate to the epoch's end, never to their own mark",
        anomalies=("inconsistent-offsets", "lost-write", "read-then-lost", "stuck"),
        nemesis="partition,kill",
        plant=no_divergence_check,
    ),
    Bug(
        id="K02",
        name="ack-before-replication",
        mechanism="acks=all is answered as soon as the leader has appended",
        seen="Kafka 0.8 (Jepsen: Kafka, 2013); KAFKA-1211",
        promise="acks: all = every in-sync replica has it",
        anomalies=("lost-write",),
        nemesis="kill,partition",
        plant=ack_before_replication,
    ),
    Bug(
        id="K02",
        name="hw-on-append",
        mechanism="the high watermark moves when the leader appends, not when followers have it",
        seen="KAFKA-1211",
        promise="high watermark: min log end offset over the ISR",
        anomalies=("lost-write", "inconsistent-offsets", "read-then-lost"),
        nemesis="kill,partition",
        plant=hw_on_append,
    ),
    Bug(
        id="K02",
        name="reads-past-hw",
        mechanism="consumers are served up to the log end instead of the high watermark",
        seen="KAFKA-1211; seeded",
        promise="high watermark: consumers never see an offset at or past it",
        anomalies=("inconsistent-offsets", "read-then-lost", "lost-write"),
        nemesis="kill:leader,partition",
        plant=reads_past_hw,
    ),
    Bug(
        id="K14",
        name="timeout-as-success",
        mechanism="an acks=all produce whose time is up is answered as replicated",
        seen="seeded",
        promise="acks: all = every in-sync replica has it",
        anomalies=("lost-write",),
        nemesis="partition",
        plant=timeout_as_success,
    ),
    Bug(
        id="K07",
        name="stale-leader-acks",
        mechanism="a leader that was deposed acknowledges what it had not replicated",
        seen="split brain: Jepsen on many systems",
        promise="controller: two leaders of one partition never both ack all",
        anomalies=("lost-write", "inconsistent-offsets"),
        nemesis="partition",
        plant=stale_leader_acks,
    ),
)
