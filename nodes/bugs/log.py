"""What is durable, and what is found again after a crash."""

from __future__ import annotations

from dataclasses import replace

from nodes.broker.log.log import Log
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name


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


def recovery_cuts_too_much(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        async def _recover(self) -> None:
            await super()._recover()
            if self.recovered.verified:
                activate()
                self._durability.state.recovery_point = self.start_offset
                self._cut(self.start_offset + (self.end_offset - self.start_offset) // 2)

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
        id="K54",
        name="recovery-cuts-too-much",
        mechanism="after a crash half of the log is cut, though its batches are whole",
        seen="Jepsen: NATS 2.12.1",
        promise="recovery: the log is cut at the first torn or corrupt batch",
        anomalies=("lost-write", "inconsistent-offsets"),
        nemesis="kill:all",
        plant=recovery_cuts_too_much,
    ),
)
