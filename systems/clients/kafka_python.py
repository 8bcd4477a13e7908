"""kafka-python (3.x), a blocking library, adapted to the broker port.

All calls of one process run on its own thread. A call that is cancelled leaves that thread behind;
the adapter then makes a new consumer on a new thread, while the producer is not used again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
)

from harness.client import Endpoint
from harness.errors import Refused
from harness.threads import WorkerThread
from workloads.ports import Message, Partition, Settings

T = TypeVar("T")

_DEFINITE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""Refused before anything was written. All else is in doubt once a send may have been retried: a
retry can be refused for a reason that the first attempt, whose answer was lost, never met."""


class KafkaPython:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._sending = WorkerThread(f"producer to {endpoint.node}")
        self._reading = WorkerThread(f"consumer of {endpoint.node}")
        self._producer: Any = None
        self._consumer: Any = None

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        await self._reading.call(self._create, name, partitions, replication_factor, dict(configs))

    async def send(self, partition: Partition, value: bytes) -> int | None:
        return await self._sending.call(self._send, partition, value)

    async def assign(self, partitions: Sequence[Partition]) -> None:
        wanted = [TopicPartition(*partition) for partition in partitions]
        await self._read(lambda consumer: consumer.assign(wanted))

    async def seek(self, positions: Mapping[Partition, int | None]) -> None:
        await self._read(lambda consumer: _seek(consumer, positions))

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        return await self._read(lambda consumer: _poll(consumer, timeout_s))

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        wanted = [TopicPartition(*partition) for partition in partitions]
        timeout_ms = int(self._settings.request_timeout_s * 2000)
        found = await self._read(lambda c: c.end_offsets(wanted, timeout_ms=timeout_ms))
        return {Partition(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def close(self) -> None:
        for thread, client in ((self._sending, self._producer), (self._reading, self._consumer)):
            if client is not None and not thread.stuck:
                thread.submit(_close, client)
            thread.close()

    async def _read(self, call: Callable[[Any], T]) -> T:
        if self._reading.stuck:
            # The abandoned call may still hold the old consumer: it is never touched again.
            self._reading.close()
            self._reading = WorkerThread(f"consumer of {self._endpoint.node}")
            self._consumer = None
        return await self._reading.call(lambda: call(self._make_consumer()))

    def _common(self) -> dict[str, Any]:
        timeout_ms = int(self._settings.request_timeout_s * 1000)
        return {
            "bootstrap_servers": [str(address) for address in self._endpoint.bootstrap],
            "request_timeout_ms": timeout_ms,
            "bootstrap_timeout_ms": timeout_ms * 2,
            "reconnect_backoff_max_ms": 500,
            # A client that sends rarely must notice a new leader sooner than in five minutes.
            "metadata_max_age_ms": 10_000,
            "metrics_enabled": False,
        }

    def _make_consumer(self) -> Any:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **self._common(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._settings.isolation,
                max_poll_records=self._settings.poll_records_max,
                fetch_max_wait_ms=100,
            )
        return self._consumer

    def _send(self, partition: Partition, value: bytes) -> int | None:
        settings = self._settings
        if self._producer is None:
            retries = {} if settings.retries is None else {"retries": settings.retries}
            self._producer = KafkaProducer(
                **self._common(),
                **retries,
                acks=-1 if settings.acks == "all" else int(settings.acks),
                enable_idempotence=settings.idempotence,
                delivery_timeout_ms=int(settings.delivery_timeout_s * 1000),
                max_block_ms=int(settings.request_timeout_s * 1000),
                allow_auto_create_topics=False,
            )
        try:
            future = self._producer.send(partition.topic, partition=partition.number, value=value)
            metadata = future.get(timeout=settings.delivery_timeout_s + 1.0)
        except _DEFINITE as error:
            raise Refused(str(error), name=type(error).__name__) from error
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


async def connect(endpoint: Endpoint, settings: Settings) -> KafkaPython:
    """The adapter for one process; connections are made on first use."""
    return KafkaPython(endpoint, settings)


def _seek(consumer: Any, positions: Mapping[Partition, int | None]) -> None:
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


def _close(client: Any) -> None:
    try:
        if isinstance(client, KafkaProducer):
            client.close(timeout=0)
        else:
            client.close(autocommit=False, timeout_ms=500)
    except KafkaError:
        pass  # closing is a courtesy; the sockets go with the client
