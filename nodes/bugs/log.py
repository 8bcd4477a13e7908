"""What is durable, and what is found again after a crash."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nodes.broker.log.durability import Durability
from nodes.broker.log.log import Appended, Log
from nodes.broker.log.segment import Segment
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, Plant, by_name


def ack_before_fsync(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def flush_is_due(self, now_ms: int) -> bool:
            if super().flush_is_due(now_ms):
                activate()
            return False

        @property
        def settled_end(self) -> int:
            return self.end_offset

    return replace(parts, log=Planted)


def ack_during_fsync(parts: Parts, activate: Activate) -> Parts:
    class Hasty(Durability):
        syncing: set[asyncio.Task[None]]

        async def _sync_batches(self, segment: Segment) -> None:
            activate()
            begun = asyncio.ensure_future(segment.fsync())
            self.syncing = {begun, *getattr(self, "syncing", ())}
            begun.add_done_callback(self._over)

        def _over(self, begun: asyncio.Task[None]) -> None:
            self.syncing.discard(begun)
            if not begun.cancelled() and isinstance(error := begun.exception(), OSError):
                self.failed(error)

    class Planted(Log):
        new_durability = Hasty

    return replace(parts, log=Planted)


def recovery_keeps(share: float) -> Plant:
    """After a crash only so much of each log is kept."""

    def plant(parts: Parts, activate: Activate) -> Parts:
        class Planted(Log):
            async def _recover(self) -> None:
                await super()._recover()
                if self.recovered.verified:
                    activate()
                    start, end = self.start_offset, self.end_offset
                    self._durability.state.recovery_point = start
                    self._cut(start + int((end - start) * share))

        return replace(parts, log=Planted)

    return plant


def premature_retention(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def apply_retention(self, now_ms: int, bound: int) -> None:
            base = min(self.segments.active.base, bound)
            if base > self.start_offset:
                activate()
                self.delete_before(base)

    return replace(parts, log=Planted)


def stale_epochs(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            last = self.last_epoch if self.last_epoch >= 0 else epoch
            if last != epoch:
                activate()
            return super().append_leader(data, last, now_ms)

    return replace(parts, log=Planted)


BUGS = by_name(
    Bug(
        id="K57",
        name="ack-before-fsync",
        mechanism="flush.messages=1 is acknowledged without an fsync",
        seen="Jepsen: NATS 2.12.1",
        promise="flush.messages: 1 = fsync before ack",
        anomalies=("lost-write", "read-then-lost", "inconsistent-offsets"),
        nemesis="power:all",
        options=("flush-messages=1",),
        plant=ack_before_fsync,
    ),
    Bug(
        id="K57",
        name="ack-during-fsync",
        mechanism="flush.messages=1 is acknowledged when its fsync begins, not when it ends",
        seen="Jepsen: NATS 2.12.1",
        promise="flush.messages: 1 = fsync before ack",
        anomalies=("lost-write", "read-then-lost", "inconsistent-offsets"),
        nemesis="power:all",
        options=("flush-messages=1", "replication-factor=1", "nemesis-interval=1"),
        plant=ack_during_fsync,
    ),
    Bug(
        id="K54",
        name="recovery-cuts-too-much",
        mechanism="after a crash half of the log is cut, though its batches are whole",
        seen="Jepsen: NATS 2.12.1",
        promise="recovery: the log is cut at the first torn or corrupt batch",
        anomalies=("lost-write", "inconsistent-offsets"),
        nemesis="kill:all",
        plant=recovery_keeps(0.5),
    ),
    Bug(
        id="K56",
        name="orphan-deleted",
        mechanism="after a crash a log is taken for an orphan, and emptied",
        seen="Jepsen: NATS 2.12.1",
        promise="recovery: the log is cut at the first torn or corrupt batch",
        anomalies=("lost-write", "read-then-lost", "inconsistent-offsets"),
        nemesis="kill:all",
        plant=recovery_keeps(0.0),
    ),
    Bug(
        id="K49",
        name="premature-retention",
        mechanism="retention deletes every closed segment, expired or not",
        seen="seeded",
        promise="retention: only what is too old or too much is deleted",
        anomalies=("lost-write", "unseen", "read-then-lost"),
        nemesis="kill",
        options=("log.segment.bytes=2000", "log.retention.check.interval.ms=500"),
        plant=premature_retention,
    ),
    Bug(
        id="K05",
        name="stale-epochs",
        mechanism="a new leader appends in the epoch of the one before it",
        seen="KIP-101, KIP-320",
        promise="leader epoch: each leader's batches carry its own",
        anomalies=("inconsistent-offsets", "lost-write", "read-then-lost", "stuck"),
        nemesis="partition,kill",
        plant=stale_epochs,
    ),
)
