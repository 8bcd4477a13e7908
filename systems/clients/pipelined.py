"""An idempotent producer with several batches of a partition in flight, over aiokafka's client.

aiokafka's own has one request to a node, and one batch of a partition, under way at a time. Here a
message is a batch, and up to `in_flight` of a partition's are under way, in the order in which they
were given: one is sent, and sent again, only while all before it are under way or done, as
librdkafka and the Java client do. So a broker sees sequences out of order where it refused a batch
and got the next one, and must put up with whole rows of duplicates.

What cannot be tried again ends the producer, and leaves all that is under way in doubt.
Source: KIP-98; KIP-185; the Java client's `TransactionManager`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    DuplicateSequenceNumber,
    KafkaError,
    OutOfOrderSequenceNumber,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from workloads.ports import Partition

BACKOFF_S = 0.1
"""Before a batch is sent again; the default of `retry.backoff.ms`."""

_BATCH_BYTES = 1 << 20
_STORAGE = 56  # KAFKA_STORAGE_ERROR: another replica will lead


class NotDelivered(Exception):
    """The producer has ended; whether the message is in the log is not known."""


@dataclass(eq=False, slots=True)
class Batch:
    """One message. `alone` says whether all before it were acknowledged when it was sent."""

    data: bytes
    under_way: bool = False
    alone: bool = False


@dataclass(slots=True)
class Lane:
    """The batches of a partition that are not acknowledged, in order."""

    in_flight: int
    sequence: int = 0
    batches: list[Batch] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_turn(self, batch: Batch) -> None:
        """Wait until it may be sent; it is under way then."""
        while True:
            before = self.batches[: self.batches.index(batch)]
            if len(before) < self.in_flight and all(each.under_way for each in before):
                batch.under_way, batch.alone = True, not before
                self.wake()
                return
            await self.changed.wait()

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Pipelined:
    """The producer of one process, with an id of its own."""

    def __init__(self, bootstrap: list[str], client_id: str, timeout_s: float, in_flight: int):
        self._bootstrap, self._client_id = bootstrap, client_id
        self._timeout_ms, self._in_flight = int(timeout_s * 1000), in_flight
        self._client: Any = None
        self._id, self._epoch = -1, -1
        self._starting = asyncio.Lock()
        self._lanes: dict[Partition, Lane] = {}
        self._tasks: set[asyncio.Task[int]] = set()
        self._ended: BaseException | None = None

    async def start(self, topic: str) -> None:
        """Raises KafkaError: no broker gave an id. May be cancelled, and tried again."""
        async with self._starting:
            if self._client is not None:
                return
            client: Any = AIOKafkaClient(
                bootstrap_servers=self._bootstrap,
                client_id=self._client_id,
                request_timeout_ms=self._timeout_ms,
                metadata_max_age_ms=10_000,
            )
            try:
                await client.bootstrap()
                await client.add_topic(topic)
                request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
                answer = await client.send(client.get_random_node(), request)
                if answer.error_code:
                    raise for_code(answer.error_code)()
            except BaseException:
                await client.close()  # it may hold connections already
                raise
            self._id, self._epoch = answer.producer_id, answer.producer_epoch
            self._client = client

    def send(self, partition: Partition, value: bytes, timestamp_ms: int) -> asyncio.Task[int]:
        """Give it a message, behind all that it was given before; the result is the offset, -1 if
        the broker has forgotten it.

        The task raises NotDelivered.
        """
        lane = self._lanes.setdefault(partition, Lane(self._in_flight))
        builder = DefaultRecordBatchBuilder(
            2,
            0,
            is_transactional=0,
            producer_id=self._id,
            producer_epoch=self._epoch,
            base_sequence=lane.sequence,
            batch_size=_BATCH_BYTES,
        )
        builder.append(0, timestamp_ms, None, value, [])
        batch = Batch(bytes(builder.build()))
        lane.sequence += 1
        lane.batches.append(batch)
        task = asyncio.create_task(self._deliver(partition, lane, batch))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def close(self, patience_s: float) -> None:
        """Let go of everything; what is under way has so much time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    def _done(self, task: asyncio.Task[int]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever sent it may have gone

    async def _deliver(self, partition: Partition, lane: Lane, batch: Batch) -> int:
        while True:
            await lane.wait_turn(batch)
            if self._ended is not None:
                raise NotDelivered(f"the producer has ended: {self._ended!r}") from self._ended
            error, offset = await self._attempt(partition, batch)
            if error is None or error is DuplicateSequenceNumber:
                lane.batches.remove(batch)
                lane.wake()
                return offset
            if not _retriable(error, batch):
                self._ended = error()
                raise NotDelivered(error.__name__) from self._ended
            batch.under_way = False
            await self._look_again()

    async def _attempt(self, partition: Partition, batch: Batch) -> tuple[Any, int]:
        """(class of the error, None for none; the offset, -1 if not told)."""
        leader = self._client.cluster.leader_for_partition(TopicPartition(*partition))
        if leader is None or leader < 0:
            return KafkaError, -1
        request = ProduceRequest(
            required_acks=-1,
            timeout=self._timeout_ms,
            topics=[(partition.topic, [(partition.number, batch.data)])],
            transactional_id=None,
        )
        try:
            answer = await self._client.send(leader, request)
        except KafkaError:
            return KafkaError, -1
        ((_, ((_, code, offset, *_),), *_),) = answer.topics
        return (for_code(code) if code else None), offset

    async def _look_again(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_ms / 1000):
                await self._client.force_metadata_update()
        await asyncio.sleep(BACKOFF_S)


def _retriable(error: Any, batch: Batch) -> bool:
    if error is OutOfOrderSequenceNumber:
        # One before it was refused, and is sent again before it is.
        return not batch.alone
    return error is KafkaError or bool(error.retriable) or error.errno == _STORAGE
