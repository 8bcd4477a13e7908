"""confluent-kafka (librdkafka), adapted to the broker port.

librdkafka has threads of its own, but its calls block: those of one process run on its own thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from harness.client import Endpoint
from harness.errors import Refused, TimedOut, Unavailable
from harness.threads import WorkerThread
from workloads.ports import Message, Partition, Settings

try:
    import confluent_kafka as rdkafka
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:  # an extra: `pip install assay[confluent]`
    rdkafka = None

T = TypeVar("T")


class Confluent:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._sending = WorkerThread(f"librdkafka producer to {endpoint.node}")
        self._reading = WorkerThread(f"librdkafka consumer of {endpoint.node}")
        self._producer: Any = None
        self._consumer: Any = None
        self._positions: dict[Partition, int | None] = {}

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        await self._reading.call(self._create, name, partitions, replication_factor, dict(configs))

    async def send(self, partition: Partition, value: bytes) -> int | None:
        return await self._sending.call(self._send, partition, value)

    async def assign(self, partitions: Sequence[Partition]) -> None:
        self._positions = dict.fromkeys(partitions)
        await self._reassign()

    async def seek(self, positions: Mapping[Partition, int | None]) -> None:
        self._positions.update(positions)
        await self._reassign()

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        return await self._read(lambda consumer: self._poll(consumer, timeout_s))

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        wanted, timeout_s = list(partitions), self._settings.request_timeout_s

        def ask(consumer: Any) -> dict[Partition, int]:
            return {
                p: consumer.get_watermark_offsets(
                    rdkafka.TopicPartition(*p), timeout=timeout_s, cached=False
                )[1]
                for p in wanted
            }

        return await self._read(ask)

    async def close(self) -> None:
        if self._producer is not None and not self._sending.stuck:
            self._sending.submit(self._producer.purge)
        if self._consumer is not None and not self._reading.stuck:
            self._reading.submit(self._consumer.close)
        self._sending.close()
        self._reading.close()

    async def _read(self, call: Callable[[Any], T]) -> T:
        if self._reading.stuck:
            self._reading.close()
            self._reading = WorkerThread(f"librdkafka consumer of {self._endpoint.node}")
            self._consumer = None
        return await self._reading.call(lambda: call(self._make_consumer()))

    async def _reassign(self) -> None:
        # librdkafka's assign() takes the start offsets, and its seek() fails on a partition that
        # is not being fetched yet: one assign with offsets serves for both.
        wanted = [
            rdkafka.TopicPartition(
                p.topic, p.number, rdkafka.OFFSET_BEGINNING if offset is None else offset
            )
            for p, offset in self._positions.items()
        ]
        await self._read(lambda consumer: consumer.assign(wanted))

    def _common(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": ",".join(str(a) for a in self._endpoint.bootstrap),
            "socket.timeout.ms": int(self._settings.request_timeout_s * 1000),
            "reconnect.backoff.max.ms": 500,
            "topic.metadata.refresh.interval.ms": 5000,
            "log_level": 0,
        }

    def _make_consumer(self) -> Any:
        if self._consumer is None:
            self._consumer = rdkafka.Consumer(
                {
                    **self._common(),
                    # librdkafka wants a group id even where no group is used.
                    "group.id": "assay-standalone",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                    "isolation.level": self._settings.isolation,
                    "fetch.wait.max.ms": 100,
                }
            )
        return self._consumer

    def _poll(self, consumer: Any, timeout_s: float) -> list[Message]:
        if not self._positions:
            return []
        found = consumer.consume(self._settings.poll_records_max, timeout=timeout_s)
        messages = []
        for message in found:
            if message.error() is not None:
                continue  # a broker is away, say; the library goes on by itself
            partition = Partition(message.topic(), message.partition())
            messages.append(Message(partition, message.offset(), message.value() or b""))
            self._positions[partition] = message.offset() + 1
        return messages

    def _send(self, partition: Partition, value: bytes) -> int | None:
        settings = self._settings
        if self._producer is None:
            retries = {} if settings.retries is None else {"retries": settings.retries}
            self._producer = rdkafka.Producer(
                {
                    **self._common(),
                    **retries,
                    "acks": settings.acks,
                    "enable.idempotence": settings.idempotence,
                    "request.timeout.ms": int(settings.request_timeout_s * 1000),
                    "message.timeout.ms": int(settings.delivery_timeout_s * 1000),
                    "linger.ms": 0,
                    "allow.auto.create.topics": False,
                }
            )
        outcome: list[tuple[Any, Any]] = []
        try:
            self._producer.produce(
                partition.topic,
                value,
                partition=partition.number,
                on_delivery=lambda error, message: outcome.append((error, message)),
            )
        except BufferError as error:
            raise Unavailable(str(error)) from error
        deadline = time.monotonic() + settings.delivery_timeout_s + 1.0
        while not outcome:
            if time.monotonic() > deadline:
                raise TimedOut("librdkafka reported no outcome in time")
            self._producer.poll(0.1)
        ((failure, message),) = outcome
        if failure is not None:
            if failure.code() == rdkafka.KafkaError.MSG_SIZE_TOO_LARGE:
                raise Refused(failure.str(), name=failure.name())
            raise TimedOut(failure.str(), name=failure.name())
        offset = message.offset()
        return int(offset) if offset is not None and offset >= 0 else None

    def _create(self, name: str, partitions: int, replicas: int, configs: dict[str, str]) -> None:
        admin = AdminClient(self._common())
        topic = NewTopic(
            name, num_partitions=partitions, replication_factor=replicas, config=configs
        )
        try:
            admin.create_topics([topic], operation_timeout=5.0)[name].result(timeout=10.0)
        except rdkafka.KafkaException as error:
            if error.args[0].code() != rdkafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        deadline = time.monotonic() + 20.0
        while True:
            found = admin.list_topics(name, timeout=5.0).topics[name].partitions
            if len(found) == partitions and all(p.leader >= 0 for p in found.values()):
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"topic {name} has partitions without a leader after 20 s")
            time.sleep(0.1)


async def connect(endpoint: Endpoint, settings: Settings) -> Confluent:
    """The adapter for one process; connections are made on first use.

    Raises:
        Unavailable: confluent-kafka is not installed.
    """
    if rdkafka is None:
        raise Unavailable("confluent-kafka is not installed: pip install 'assay[confluent]'")
    return Confluent(endpoint, settings)
