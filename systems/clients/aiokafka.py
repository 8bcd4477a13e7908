"""aiokafka, an asyncio library, adapted to the broker port.

It has no `retries` setting: a send is retried until `request_timeout_ms` is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import MessageSizeTooLargeError, TopicAlreadyExistsError

from harness.client import Endpoint
from harness.deadline import wait_until
from harness.errors import Refused, UsageError
from workloads.ports import Message, Partition, Settings


class AioKafka:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._producer: Any = None
        self._consumer: Any = None

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap(), request_timeout_ms=5000)
        await admin.start()
        try:
            topic = NewTopic(name, partitions, replication_factor, topic_configs=dict(configs))
            try:
                answer = await admin.create_topics([topic])
            except TopicAlreadyExistsError:
                pass
            else:
                _raise_for_topics(answer)

            async def led() -> bool:
                (described,) = await admin.describe_topics([name])
                leaders = [p["leader"] for p in described["partitions"]]
                return len(leaders) == partitions and all(leader >= 0 for leader in leaders)

            await wait_until(led, 20.0, f"topic {name} to have a leader for every partition")
        finally:
            await admin.close()

    async def send(self, partition: Partition, value: bytes) -> int | None:
        if self._producer is None:
            self._producer = await self._make_producer()
        try:
            metadata = await self._producer.send_and_wait(
                partition.topic, value, partition=partition.number
            )
        except MessageSizeTooLargeError as error:
            raise Refused(str(error), name=type(error).__name__) from error
        return None if metadata is None or metadata.offset < 0 else int(metadata.offset)

    async def assign(self, partitions: Sequence[Partition]) -> None:
        consumer = await self._make_consumer()
        consumer.assign([TopicPartition(*partition) for partition in partitions])

    async def seek(self, positions: Mapping[Partition, int | None]) -> None:
        consumer = await self._make_consumer()
        for partition, offset in positions.items():
            tp = TopicPartition(*partition)
            if offset is None:
                offset = (await consumer.beginning_offsets([tp]))[tp]
            consumer.seek(tp, offset)

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        consumer = await self._make_consumer()
        batches = await consumer.getmany(
            timeout_ms=int(timeout_s * 1000), max_records=self._settings.poll_records_max
        )
        return [
            Message(Partition(tp.topic, tp.partition), record.offset, record.value or b"")
            for tp, records in batches.items()
            for record in records
        ]

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        consumer = await self._make_consumer()
        found = await consumer.end_offsets([TopicPartition(*p) for p in partitions])
        return {Partition(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        consumer, self._consumer = self._consumer, None
        for client in (producer, consumer):
            if client is not None:
                await client.stop()

    def _bootstrap(self) -> list[str]:
        return [str(address) for address in self._endpoint.bootstrap]

    async def _make_producer(self) -> Any:
        settings = self._settings
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap(),
            acks="all" if settings.acks == "all" else int(settings.acks),
            enable_idempotence=settings.idempotence,
            request_timeout_ms=int(settings.delivery_timeout_s * 1000),
            metadata_max_age_ms=10_000,
        )
        await producer.start()
        return producer

    async def _make_consumer(self) -> Any:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._settings.isolation,
                request_timeout_ms=int(self._settings.request_timeout_s * 1000),
                fetch_max_wait_ms=100,
                metadata_max_age_ms=10_000,
            )
            await consumer.start()
            self._consumer = consumer
        return self._consumer


async def connect(endpoint: Endpoint, settings: Settings) -> AioKafka:
    """The adapter for one process; connections are made on first use.

    Raises:
        UsageError: the settings ask for a number of retries.
    """
    if settings.retries is not None:
        raise UsageError(
            "aiokafka has no setting for retries; leave out -o retries, "
            "or use --client kafka-python or --client confluent"
        )
    return AioKafka(endpoint, settings)


def _raise_for_topics(answer: Any) -> None:
    for _, code, *text in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise Refused(f"creating the topic failed: error {code} {text}")
