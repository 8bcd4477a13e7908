"""What is remembered of idempotent producers, and what they are told."""

from __future__ import annotations

from dataclasses import replace

from nodes.broker.log.log import Appended, Log
from nodes.broker.log.producers import Producers
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name


def no_deduplication(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            sent = bytes(data)
            appended = super().append_leader(data, epoch, now_ms)
            if not appended.duplicate:
                return appended
            activate()
            self.producers = Producers(complete=False)
            return super().append_leader(bytearray(sent), epoch, now_ms)

    return replace(parts, log=Planted)


def duplicate_offset_zero(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            appended = super().append_leader(data, epoch, now_ms)
            if not appended.duplicate:
                return appended
            activate()
            return replace(appended, base_offset=0)

    return replace(parts, log=Planted)


def producers_lost_on_fail_over(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def lead(self, state: PartitionState) -> None:
            if not self.leading and len(self.log.producers):
                activate()
                self.log.producers = Producers(complete=False)
            super().lead(state)

    return replace(parts, partition=Planted)


def producers_lost_on_restart(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def _load_producers(self) -> None:
            if self.end_offset > self.start_offset:
                activate()
            self.producers = Producers(complete=False)

    return replace(parts, log=Planted)


def wrong_offset(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            appended = super().append_leader(data, epoch, now_ms)
            if appended.base_offset % 50 != 49:
                return appended
            activate()
            return replace(appended, base_offset=appended.base_offset + 1)

    return replace(parts, log=Planted)


BUGS = by_name(
    Bug(
        id="K22",
        name="no-deduplication",
        mechanism="a batch that was appended already is appended again",
        seen="seeded; Redpanda #3039",
        promise="idempotence: a retried batch is appended once",
        anomalies=("duplicate",),
        nemesis="partition,kill",
        plant=no_deduplication,
    ),
    Bug(
        id="K23",
        name="duplicate-offset-zero",
        mechanism="a retried batch is answered with offset 0 instead of the one it has",
        seen="Jepsen: Bufstream 0.1.0",
        promise="idempotence: a retried batch is appended once",
        anomalies=("inconsistent-offsets", "duplicate"),
        nemesis="partition,kill",
        plant=duplicate_offset_zero,
    ),
    Bug(
        id="K20",
        name="producers-lost-on-fail-over",
        mechanism="a new leader knows no producers, though they are in its log",
        seen="Redpanda #3039",
        promise="idempotence: the state survives leader change",
        anomalies=("duplicate", "nonmonotonic-send", "nonmonotonic-poll"),
        nemesis="kill,partition",
        plant=producers_lost_on_fail_over,
    ),
    Bug(
        id="K20",
        name="producers-lost-on-restart",
        mechanism="a broker that restarts knows no producers, though they are in its log",
        seen="Redpanda #3039",
        promise="idempotence: its state survives fail-over and restart",
        anomalies=("duplicate", "nonmonotonic-send", "nonmonotonic-poll"),
        nemesis="kill:all,partition",
        plant=producers_lost_on_restart,
    ),
    Bug(
        id="K23",
        name="wrong-offset",
        mechanism="now and then a produce is answered with the offset after its own",
        seen="seeded; Jepsen: Bufstream 0.1.0",
        promise="offsets: the answer names where the batch is",
        anomalies=("inconsistent-offsets", "lost-write"),
        nemesis="kill",
        plant=wrong_offset,
    ),
)
