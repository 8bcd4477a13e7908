"""confluent-kafka (librdkafka), adapted to the broker port.

librdkafka has threads of its own, but its calls block: those of one process run on its own thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from harness.client import Endpoint
from harness.errors import OpError, Refused, TimedOut, Unavailable
from harness.threads import WorkerThread
from systems.clients.ends import of_each, require_one_in_flight
from workloads.ports import BrokerPort, Message, Partition, Positions, Settings

try:
    import confluent_kafka as rdkafka
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:  # an extra: `pip install assay[confluent]`
    rdkafka = None

T = TypeVar("T")


REFUSALS = (
    "NOT_ENOUGH_REPLICAS",
    "TOPIC_EXCEPTION",
    "TOPIC_AUTHORIZATION_FAILED",
    "UNKNOWN_TOPIC_OR_PART",
)
"""Nothing was appended by the attempt that got this answer. Definite only where it was the only
one; see `systems/clients/kafka_python.py`."""


class Confluent:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._sending = WorkerThread(f"librdkafka producer to {endpoint.node}")
        self._reading = WorkerThread(f"librdkafka consumer of {endpoint.node}")
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
        # Its `seek` fails on a partition that is not being fetched yet; `assign` takes offsets.
        wanted = [
            rdkafka.TopicPartition(*p, rdkafka.OFFSET_BEGINNING if offset is None else offset)
            for p, offset in positions.items()
        ]
        await self._read(lambda consumer: consumer.assign(wanted))

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        return await self._read(lambda consumer: self._poll(consumer, timeout_s))

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        wanted, timeout_s = list(partitions), self._settings.request_timeout_s
        return await self._read(
            lambda consumer: of_each(
                wanted, timeout_s, partial(_end, consumer), rdkafka.KafkaException
            )
        )

    async def offsets_for_times(
        self, times: Mapping[Partition, int]
    ) -> Mapping[Partition, tuple[int, int | None] | None]:
        asked, timeout_s = dict(times), self._settings.request_timeout_s
        return await self._read(
            lambda consumer: of_each(
                asked, timeout_s, partial(_since, consumer, asked), rdkafka.KafkaException
            )
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
            self._reading = WorkerThread(f"librdkafka consumer of {self._endpoint.node}")
        return await self._reading.call(lambda: call(self._make_consumer()))

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
        # `consume` waits until it has as many as it may return; `poll` waits for one.
        first = consumer.poll(timeout_s)
        if first is None:
            return []
        more = consumer.consume(self._settings.poll_records_max - 1, timeout=0)
        # Errors are news, a broker that is away, say: the library goes on by itself.
        return [
            Message(Partition(m.topic(), m.partition()), m.offset(), m.value() or b"")
            for m in (first, *more)
            if m.error() is None
        ]

    def _make_producer(self) -> Any:
        if self._producer is None:
            settings = self._settings
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
        return self._producer

    def _send(self, partition: Partition, value: bytes, timestamp_ms: int | None) -> int | None:
        producer = self._make_producer()
        outcome: list[tuple[Any, Any]] = []
        try:
            producer.produce(
                partition.topic,
                value,
                partition=partition.number,
                timestamp=timestamp_ms or 0,  # 0 is now
                on_delivery=lambda error, message: outcome.append((error, message)),
            )
        except BufferError as error:
            raise Unavailable(str(error)) from error
        except rdkafka.KafkaException as error:  # not accepted: nothing was queued
            failure = error.args[0]
            if failure.fatal():
                # It says so for ever, and a process that was refused goes on: with another one.
                self._producer = None
            raise Refused(failure.str(), name=failure.name()) from error
        # It looks for messages whose time is over once a second.
        deadline = time.monotonic() + self._settings.delivery_timeout_s + 1.5
        while not outcome:
            if time.monotonic() > deadline:
                raise TimedOut("librdkafka reported no outcome in time")
            producer.poll(0.1)
        ((failure, message),) = outcome
        if failure is not None:
            raise self._error(failure)
        offset = message.offset()
        if self._settings.acks == "0" or offset is None:
            return None
        return int(offset) if offset >= 0 else None

    def _error(self, failure: Any) -> OpError:
        name = failure.name()
        only_attempt = self._settings.retries == 0
        if name == "MSG_SIZE_TOO_LARGE" or (only_attempt and name in REFUSALS):
            return Refused(failure.str(), name=name)
        return TimedOut(failure.str(), name=name)

    def _delete(self, offsets: Mapping[Partition, int]) -> dict[Partition, int]:
        timeout_s = self._settings.request_timeout_s
        wanted = [rdkafka.TopicPartition(*partition, at) for partition, at in offsets.items()]
        admin = AdminClient(self._common())  # without it nobody would hear the answers
        asked = admin.delete_records(
            wanted, request_timeout=2 * timeout_s, operation_timeout=timeout_s
        )
        return {
            Partition(tp.topic, tp.partition): int(told.result(timeout=3 * timeout_s).low_watermark)
            for tp, told in asked.items()
        }

    def _close_producer(self) -> None:
        if self._producer is not None:
            # What was sent may still arrive for the delivery time-out.
            self._producer.flush(self._settings.delivery_timeout_s + 1.0)
            self._producer = None

    def _close_consumer(self) -> None:
        _close_consumer(self._consumer)

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


async def connect(endpoint: Endpoint, settings: Settings) -> BrokerPort:
    """The adapter for one process; connections are made on first use.

    Raises:
        Unavailable: confluent-kafka is not installed.
        UsageError: the settings ask for several messages in flight.
    """
    require_one_in_flight(settings, "confluent")
    if rdkafka is None:
        raise Unavailable("confluent-kafka is not installed: pip install 'assay[confluent]'")
    return Confluent(endpoint, settings)


def _end(consumer: Any, partition: Partition, timeout_s: float) -> int:
    asked = rdkafka.TopicPartition(*partition)
    _, end = consumer.get_watermark_offsets(asked, timeout_s, cached=False)
    return int(end)


def _since(
    consumer: Any, times: Mapping[Partition, int], partition: Partition, timeout_s: float
) -> tuple[int, int | None] | None:
    """It does not say how old the message is."""
    asked = rdkafka.TopicPartition(*partition, times[partition])
    (found,) = consumer.offsets_for_times([asked], timeout_s)
    if found.error is not None:
        raise rdkafka.KafkaException(found.error)
    return (int(found.offset), None) if found.offset >= 0 else None


def _close_consumer(consumer: Any) -> None:
    if consumer is not None:
        consumer.close()
