"""kafka-python (3.x), a blocking library, adapted to the broker port.

All calls of one process run on threads of its own, one for the producer and one for the consumer.
A call that is cancelled leaves its thread behind; the adapter then makes a new consumer on a new
thread, while the producer is not used again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)

from harness.client import Endpoint
from harness.errors import Refused, Unavailable
from harness.threads import WorkerThread
from systems.clients.ends import of_each, require_one_in_flight
from workloads.ports import BrokerPort, Message, Partition, Positions, Settings

T = TypeVar("T")

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""Refused whenever it is tried, so that no earlier attempt can have been written."""

REFUSALS = (
    NotEnoughReplicasError,
    InvalidTopicError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
"""Nothing was appended by the attempt that got this answer. Definite only where it was the only
one: a retry can be refused for a reason that the first attempt, whose answer was lost, never met.
NotLeaderOrFollower is none of these: a leader that appends and is then replaced answers so, too
(KAFKA-13574)."""


class KafkaPython:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._sending = WorkerThread(f"producer to {endpoint.node}")
        self._reading = WorkerThread(f"consumer of {endpoint.node}")
        self._producer: Any = None
        self._consumer: Any = None
        self._closed = False

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        await self._reading.call(self._create, name, partitions, replication_factor, dict(configs))

    async def send(
        self, partition: Partition, value: bytes, timestamp_ms: int | None = None
    ) -> int | None:
        return await self._sending.call(self._send, partition, value, timestamp_ms)

    async def assign(self, positions: Positions) -> None:
        await self._read(lambda consumer: _assign(consumer, positions))

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        return await self._read(lambda consumer: _poll(consumer, timeout_s))

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        wanted, timeout_s = list(partitions), self._settings.request_timeout_s
        return await self._read(
            lambda consumer: of_each(wanted, timeout_s, partial(_end, consumer), KafkaError)
        )

    async def offsets_for_times(
        self, times: Mapping[Partition, int]
    ) -> Mapping[Partition, tuple[int, int | None] | None]:
        asked, timeout_s = dict(times), self._settings.request_timeout_s
        return await self._read(
            lambda consumer: of_each(asked, timeout_s, partial(_since, consumer, asked), KafkaError)
        )

    async def delete_records(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        return await self._reading.call(self._delete, dict(offsets))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Behind a call that never came back, these run when it does.
        if self._producer is not None or self._sending.stuck:
            self._sending.submit(self._close_producer)
        if self._consumer is not None or self._reading.stuck:
            self._reading.submit(self._close_consumer)
        self._sending.close()
        self._reading.close()

    async def _read(self, call: Callable[[Any], T]) -> T:
        if self._reading.stuck:
            # The abandoned call may still hold the old consumer: it is never touched again.
            old, self._consumer = self._consumer, None
            self._reading.submit(_close_consumer, old)
            self._reading.close()
            self._reading = WorkerThread(f"consumer of {self._endpoint.node}")
        return await self._reading.call(lambda: call(self._make_consumer()))

    def _common(self) -> dict[str, Any]:
        timeout_ms = int(self._settings.request_timeout_s * 1000)
        return {
            "bootstrap_servers": [str(address) for address in self._endpoint.bootstrap],
            "request_timeout_ms": timeout_ms,
            "bootstrap_timeout_ms": timeout_ms,
            "reconnect_backoff_max_ms": 500,
            # A client that sends rarely must notice a new leader sooner than in five minutes.
            "metadata_max_age_ms": 10_000,
        }

    def _make_consumer(self) -> Any:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **self._common(),
                metrics_enabled=False,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._settings.isolation,
                max_poll_records=self._settings.poll_records_max,
                fetch_max_wait_ms=100,
            )
        return self._consumer

    def _make_producer(self) -> Any:
        if self._producer is None:
            settings = self._settings
            retries = {} if settings.retries is None else {"retries": settings.retries}
            self._producer = KafkaProducer(
                **self._common(),
                **retries,
                metrics_enabled=False,
                acks=-1 if settings.acks == "all" else int(settings.acks),
                enable_idempotence=settings.idempotence,
                delivery_timeout_ms=int(settings.delivery_timeout_s * 1000),
                max_block_ms=int(settings.request_timeout_s * 1000),
                allow_auto_create_topics=False,
            )
        return self._producer

    def _send(self, partition: Partition, value: bytes, timestamp_ms: int | None) -> int | None:
        settings = self._settings
        try:
            producer = self._make_producer()
            future = producer.send(
                partition.topic,
                partition=partition.number,
                value=value,
                timestamp_ms=timestamp_ms,
            )
        except TOO_LARGE as error:
            raise Refused(str(error), name=type(error).__name__) from error
        except KafkaError as error:  # not accepted: nothing was queued
            raise Unavailable(str(error), name=type(error).__name__) from error
        try:
            metadata = future.get(timeout=settings.delivery_timeout_s + 0.5)
        except TOO_LARGE as error:
            self._retire_producer()
            raise Refused(str(error), name=type(error).__name__) from error
        except REFUSALS as error:
            if settings.retries != 0:
                raise
            raise Refused(str(error), name=type(error).__name__) from error
        if settings.acks == "0":
            return None  # the library makes up an offset
        return None if metadata.offset is None or metadata.offset < 0 else int(metadata.offset)

    def _create(self, name: str, partitions: int, replicas: int, configs: dict[str, str]) -> None:
        admin = KafkaAdminClient(**self._common())
        try:
            topic = NewTopic(name, partitions, replicas, topic_configs=configs)
            with contextlib.suppress(TopicAlreadyExistsError):
                admin.create_topics([topic], timeout_ms=5000)
            admin.wait_for_topics([name], timeout_ms=20_000)
        finally:
            admin.close()

    def _delete(self, offsets: Mapping[Partition, int]) -> dict[Partition, int]:
        admin = KafkaAdminClient(**self._common())
        try:
            wanted = {TopicPartition(*partition): at for partition, at in offsets.items()}
            timeout_ms = int(self._settings.request_timeout_s * 1000)
            found = admin.delete_records(wanted, timeout_ms=timeout_ms)
        finally:
            admin.close()
        return {
            Partition(tp.topic, tp.partition): told["low_watermark"] for tp, told in found.items()
        }

    def _retire_producer(self) -> None:
        """After a broker's refusal: what it cannot retry ends an idempotent producer, which would
        say the same of every later message, and a process that was refused goes on."""
        if self._settings.idempotence:
            self._close_producer()
            self._producer = None

    def _close_producer(self) -> None:
        if self._producer is not None:
            # It goes on trying what was sent for the delivery time-out; then its threads can end.
            with contextlib.suppress(KafkaError):
                self._producer.close(timeout=self._settings.delivery_timeout_s + 1.0)

    def _close_consumer(self) -> None:
        _close_consumer(self._consumer)


async def connect(endpoint: Endpoint, settings: Settings) -> BrokerPort:
    """The adapter for one process; connections are made on first use.

    Raises:
        UsageError: the settings ask for several messages in flight.
    """
    require_one_in_flight(settings, "kafka-python")
    return KafkaPython(endpoint, settings)


def _assign(consumer: Any, positions: Positions) -> None:
    consumer.assign([TopicPartition(*partition) for partition in positions])
    for partition, offset in positions.items():
        if offset is None:
            consumer.seek_to_beginning(TopicPartition(*partition))
        else:
            consumer.seek(TopicPartition(*partition), offset)


def _poll(consumer: Any, timeout_s: float) -> list[Message]:
    batches = consumer.poll(timeout_ms=int(timeout_s * 1000))
    return [
        Message(Partition(tp.topic, tp.partition), record.offset, record.value or b"")
        for tp, records in batches.items()
        for record in records
    ]


def _end(consumer: Any, partition: Partition, timeout_s: float) -> int:
    tp = TopicPartition(*partition)
    return int(consumer.end_offsets([tp], timeout_ms=int(timeout_s * 1000))[tp])


def _since(
    consumer: Any, times: Mapping[Partition, int], partition: Partition, timeout_s: float
) -> tuple[int, int | None] | None:
    tp = TopicPartition(*partition)
    asked = {tp: times[partition]}
    found = consumer.offsets_for_times(asked, timeout_ms=int(timeout_s * 1000))[tp]
    return None if found is None else (int(found.offset), found.timestamp)


def _close_consumer(consumer: Any) -> None:
    if consumer is not None:
        with contextlib.suppress(KafkaError):
            consumer.close(autocommit=False, timeout_ms=500)
