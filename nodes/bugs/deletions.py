"""What DeleteRecords and retention leave, and who hears of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from nodes.broker.log.batch import Buffer
from nodes.broker.log.log import Log
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name


def log_start_not_replicated(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def low_watermark(self, replicas: Collection[int]) -> int:
            low = self.log.start_offset
            if low > super().low_watermark(replicas):
                activate()
            return low

        def append_fetched(self, data: Buffer, leader_hw: int, leader_start: int) -> None:
            super().append_fetched(data, leader_hw, 0)

    return replace(parts, partition=Planted)


def log_start_not_stored(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        async def checkpoint(self) -> None:
            start = self._state.start_offset
            if start > self._durability.stored.start_offset:
                activate()
            self._state.start_offset = self._durability.stored.start_offset
            await super().checkpoint()
            self._state.start_offset = max(start, self._state.start_offset)

    return replace(parts, log=Planted)


BUGS = by_name(
    Bug(
        id="K50",
        name="log-start-not-replicated",
        mechanism="followers do not hear of a deletion, which is acknowledged all the same",
        seen="seeded",
        promise="retention: DeleteRecords: what is before the low watermark is on no replica",
        anomalies=("deleted-reappears",),
        nemesis="kill:leader,kill",
        options=("delete-p=0.05",),
        plant=log_start_not_replicated,
    ),
    Bug(
        id="K50",
        name="log-start-not-stored",
        mechanism="where the log begins after a deletion is known in memory only",
        seen="seeded",
        promise="retention: DeleteRecords: durable when it is acknowledged",
        anomalies=("deleted-reappears", "stuck"),
        nemesis="kill:all",
        options=("delete-p=0.05", "replication-factor=1"),
        plant=log_start_not_stored,
    ),
)
