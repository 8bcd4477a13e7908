"""What is remembered of idempotent producers, and what they are told."""

from __future__ import annotations

from dataclasses import replace

from nodes.broker.log.producers import Producers
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name


def producers_lost_on_fail_over(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def lead(self, state: PartitionState) -> None:
            if not self.leading and len(self.log.producers):
                activate()
                self.log.producers = Producers(complete=False)
            super().lead(state)

    return replace(parts, partition=Planted)


BUGS = by_name(
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
)
