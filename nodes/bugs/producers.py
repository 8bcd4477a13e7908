"""What is remembered of idempotent producers, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nodes.broker.api.context import Context
from nodes.broker.errors import Code
from nodes.broker.log.batch import read_header
from nodes.broker.log.errors import OutOfOrderSequence
from nodes.broker.log.log import Appended, Log
from nodes.broker.log.producers import Producers
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import Parts
from nodes.broker.producer_ids import BLOCK
from nodes.broker.wire import Request
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
            if appended.base_offset % 7 != 6:
                return appended
            activate()
            return replace(appended, base_offset=appended.base_offset + 1)

    return replace(parts, log=Planted)


def producers_expire_at_once(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        def retain(self, producer_expiration_ms: int) -> None:
            known = len(self.log.producers)
            super().retain(producer_expiration_ms // 100_000)
            if len(self.log.producers) < known:
                activate()

    return replace(parts, partition=Planted)


def failed_though_applied(parts: Parts, activate: Activate) -> Parts:
    class Planted(Partition):
        async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
            code = await super().wait_replicated(last_offset, timeout_s, min_isr)
            if code is Code.NONE:
                return code
            activate()
            return Code.MESSAGE_TOO_LARGE

    return replace(parts, partition=Planted)


def sequences_not_compared(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            try:
                return super().append_leader(data, epoch, now_ms)
            except OutOfOrderSequence:
                activate()
                return _unasked(self, super().append_leader, data, epoch, now_ms)

    return replace(parts, log=Planted)


def one_batch_remembered(parts: Parts, activate: Activate) -> Parts:
    class Planted(Log):
        def append_leader(self, data: bytearray | memoryview, epoch: int, now_ms: int) -> Appended:
            appended = super().append_leader(data, epoch, now_ms)
            known = self.producers.get(read_header(data).producer_id)
            if not appended.duplicate or known is None:
                return appended
            if known.batches[-1].base_offset == appended.base_offset:
                return appended
            activate()
            return _unasked(self, super().append_leader, data, epoch, now_ms)

    return replace(parts, log=Planted)


def ids_given_twice(parts: Parts, activate: Activate) -> Parts:
    honest = parts.handlers["InitProducerId"]

    async def planted(context: Context, request: Request, listener: str) -> Any:
        answer = await honest(context, request, listener)
        if answer.producer_id >= BLOCK:
            activate()
            answer.producer_id %= BLOCK
        return answer

    return replace(parts, handlers={**parts.handlers, "InitProducerId": planted})


def _unasked(
    log: Log,
    append: Callable[[bytearray | memoryview, int, int], Appended],
    data: bytearray | memoryview,
    epoch: int,
    now_ms: int,
) -> Appended:
    """Append without asking what is known of the producer."""
    known, log.producers = log.producers, Producers(complete=False)
    try:
        appended = append(data, epoch, now_ms)
    finally:
        log.producers = known
    known.append(read_header(data), now_ms)
    return appended


PIPELINED = ("in-flight=5", "sends-per-op=8", "partitions=2", "acks=all", "idempotence=true")

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
        promise="partitions: the answer names the offset that the batch has",
        anomalies=("inconsistent-offsets", "lost-write"),
        nemesis="kill",
        plant=wrong_offset,
    ),
    Bug(
        id="K24",
        name="producers-expire-at-once",
        mechanism="producers are forgotten after a second without a message instead of a day",
        seen="KIP-360",
        promise="idempotence: a retried batch is appended once",
        anomalies=("duplicate", "nonmonotonic-send", "nonmonotonic-poll"),
        nemesis="partition,kill",
        options=("log.retention.check.interval.ms=300",),
        plant=producers_expire_at_once,
    ),
    Bug(
        id="K25",
        name="failed-though-applied",
        mechanism="what fails after the append is answered as if it had been refused before it",
        seen="KAFKA-13574",
        promise="acks: what is refused is not appended",
        anomalies=("G1a",),
        nemesis="partition,kill",
        plant=failed_though_applied,
    ),
    Bug(
        id="K21",
        name="sequences-not-compared",
        mechanism="a batch that does not follow the producer's last one is appended all the same",
        seen="seeded",
        promise="idempotence: batches are appended in the order of their sequences",
        anomalies=("int-nonmonotonic-send", "nonmonotonic-send"),
        nemesis="partition,kill",
        options=PIPELINED,
        plant=sequences_not_compared,
    ),
    Bug(
        id="K22",
        name="one-batch-remembered",
        mechanism="of a producer's batches only the last is known; older ones are appended again",
        seen="seeded",
        promise="idempotence: any of the last five batches is appended once",
        anomalies=("duplicate", "int-nonmonotonic-send", "nonmonotonic-send"),
        nemesis="partition,kill",
        options=PIPELINED,
        plant=one_batch_remembered,
    ),
    Bug(
        id="K31",
        name="ids-given-twice",
        mechanism="each broker counts producer ids from 0, wherever its block of them begins",
        seen="seeded",
        promise="idempotence: no two producers have the same id",
        anomalies=("lost-write", "inconsistent-offsets", "unseen", "duplicate"),
        nemesis="kill",
        options=("acks=all", "idempotence=true"),
        plant=ids_given_twice,
    ),
)
