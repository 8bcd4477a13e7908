"""aiokafka, an asyncio library, adapted to the broker port.

It has no `retries` setting: a send is retried until its time is over; an idempotent one for ever,
which the adapter's own time-out and its way of closing put an end to. It has one batch of a
partition in flight; for more, `systems.clients.pipelined` produces over its client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, TopicAlreadyExistsError

from harness.client import Endpoint
from harness.deadline import wait_until
from harness.errors import Refused, TimedOut, Unavailable, UsageError
from systems.clients.pipelined import Pipelined
from workloads.ports import BrokerPort, Message, Partition, Positions, Settings

# As the other libraries do: what a client meets stands in the history, not on the terminal.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

T = TypeVar("T")

CLIENT_ID = "assay"
"""The library numbers the producers of a process: what a run sends would depend on those before."""

CLOSE_S = 0.5
"""How long a producer may go on delivering before it is ended by force."""


class AioKafka:
    """One process's clients. Made by `connect`."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self._endpoint, self._settings = endpoint, settings
        self._producer: Any = None
        self._pipelined: Pipelined | None = None
        self._consumer: Any = None

    async def create_topic(
        self, name: str, partitions: int, replication_factor: int, configs: Mapping[str, str]
    ) -> None:
        admin = AIOKafkaAdminClient(
            client_id=CLIENT_ID, bootstrap_servers=self._bootstrap(), request_timeout_ms=5000
        )
        await admin.start()
        try:
            topic = NewTopic(name, partitions, replication_factor, topic_configs=dict(configs))
            with contextlib.suppress(TopicAlreadyExistsError):
                _raise_for_topics(await admin.create_topics([topic]))

            async def led() -> bool:
                (described,) = await admin.describe_topics([name])
                leaders = [p["leader"] for p in described["partitions"]]
                return len(leaders) == partitions and all(leader >= 0 for leader in leaders)

            await wait_until(led, 20.0, f"topic {name} to have a leader for every partition")
        finally:
            await admin.close()

    async def send(
        self, partition: Partition, value: bytes, timestamp_ms: int | None = None
    ) -> int | None:
        if self._settings.in_flight > 1:
            return await self._send_pipelined(partition, value, timestamp_ms)
        patience_s = 2 * self._settings.request_timeout_s
        try:
            async with asyncio.timeout(patience_s):
                producer = await self._make_producer()
                # Its own stamp is made in C, which knows no virtual time.
                timestamp_ms = _now_ms() if timestamp_ms is None else timestamp_ms
                future = await producer.send(
                    partition.topic, value, partition=partition.number, timestamp_ms=timestamp_ms
                )
        except MessageSizeTooLargeError as error:
            raise Refused(str(error), name=type(error).__name__) from error
        except (KafkaError, TimeoutError) as error:  # not accepted: nothing was queued
            why = str(error) or f"not accepted within {patience_s:g} s"
            raise Unavailable(why, name=type(error).__name__) from error
        try:
            async with asyncio.timeout(self._settings.delivery_timeout_s):
                metadata = await future
        except MessageSizeTooLargeError as error:
            await self._retire_producer()
            raise Refused(str(error), name=type(error).__name__) from error
        except TimeoutError as error:
            raise TimedOut(
                f"no outcome within {self._settings.delivery_timeout_s:g} s of being accepted"
            ) from error
        if self._settings.acks == "0" or metadata is None:
            return None
        return int(metadata.offset) if metadata.offset >= 0 else None

    async def _send_pipelined(
        self, partition: Partition, value: bytes, timestamp_ms: int | None
    ) -> int | None:
        settings = self._settings
        try:
            async with asyncio.timeout(2 * settings.request_timeout_s):
                producer = await self._make_pipelined(partition.topic)
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(str(error), name=type(error).__name__) from error
        sent = producer.send(partition, value, _now_ms() if timestamp_ms is None else timestamp_ms)
        async with asyncio.timeout(settings.delivery_timeout_s):
            offset = await asyncio.shield(sent)
        return offset if offset >= 0 else None

    async def assign(self, positions: Positions) -> None:
        consumer = await self._make_consumer()
        consumer.assign([TopicPartition(*partition) for partition in positions])
        for partition, offset in positions.items():
            if offset is not None:  # else `auto_offset_reset` puts it at the beginning
                consumer.seek(TopicPartition(*partition), offset)

    async def poll(self, timeout_s: float) -> Sequence[Message]:
        consumer = await self._make_consumer()
        batches = await consumer.getmany(
            timeout_ms=int(timeout_s * 1000), max_records=self._settings.poll_records_max
        )
        return [
            Message(partition, record.offset, record.value or b"")
            for tp, records in batches.items()
            for partition in (Partition(tp.topic, tp.partition),)
            for record in records
        ]

    async def end_offsets(self, partitions: Iterable[Partition]) -> Mapping[Partition, int]:
        consumer = await self._make_consumer()

        async def ask(partition: Partition) -> int:
            tp = TopicPartition(*partition)
            return int((await consumer.end_offsets([tp]))[tp])

        return await self._of_each(partitions, ask)

    async def offsets_for_times(
        self, times: Mapping[Partition, int]
    ) -> Mapping[Partition, tuple[int, int | None] | None]:
        consumer = await self._make_consumer()

        async def ask(partition: Partition) -> tuple[int, int | None] | None:
            tp = TopicPartition(*partition)
            found = (await consumer.offsets_for_times({tp: times[partition]}))[tp]
            return None if found is None else (found.offset, found.timestamp)

        return await self._of_each(times, ask)

    async def delete_records(self, offsets: Mapping[Partition, int]) -> Mapping[Partition, int]:
        timeout_s = self._settings.request_timeout_s
        admin = AIOKafkaAdminClient(
            client_id=CLIENT_ID,
            bootstrap_servers=self._bootstrap(),
            request_timeout_ms=int(timeout_s * 1000),
        )
        wanted = {TopicPartition(*p): RecordsToDelete(offset) for p, offset in offsets.items()}
        try:
            async with asyncio.timeout(2 * timeout_s):
                await admin.start()
                found = await admin.delete_records(wanted)
        finally:
            await admin.close()
        return {Partition(tp.topic, tp.partition): int(low) for tp, low in found.items()}

    async def _of_each(
        self, partitions: Iterable[Partition], ask: Callable[[Partition], Awaitable[T]]
    ) -> dict[Partition, T]:
        """What each partition's leader says; without those that do not in time."""

        async def in_time(partition: Partition) -> T:
            async with asyncio.timeout(self._settings.request_timeout_s):
                return await ask(partition)

        wanted = list(partitions)
        found = await asyncio.gather(*map(in_time, wanted), return_exceptions=True)
        told = zip(wanted, found, strict=True)
        return {p: each for p, each in told if not isinstance(each, BaseException)}

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        pipelined, self._pipelined = self._pipelined, None
        consumer, self._consumer = self._consumer, None
        stops = [_stop(producer)] if producer is not None else []
        stops += [pipelined.close(CLOSE_S)] if pipelined is not None else []
        stops += [consumer.stop()] if consumer is not None else []
        await asyncio.gather(*stops)

    async def _retire_producer(self) -> None:
        """After a broker's refusal: what was refused used up a sequence number of an idempotent
        producer, so that its next message would be out of order, and a process that was refused
        goes on."""
        if self._settings.idempotence:
            producer, self._producer = self._producer, None
            await _stop(producer)

    def _bootstrap(self) -> list[str]:
        return [str(address) for address in self._endpoint.bootstrap]

    async def _make_producer(self) -> Any:
        if self._producer is None:
            settings = self._settings
            producer = AIOKafkaProducer(
                client_id=CLIENT_ID,
                bootstrap_servers=self._bootstrap(),
                acks="all" if settings.acks == "all" else int(settings.acks),
                enable_idempotence=settings.idempotence,
                # Also how long it retries what is not idempotent.
                request_timeout_ms=int(settings.delivery_timeout_s * 1000),
                metadata_max_age_ms=10_000,
            )
            self._producer = await _started(producer)
        return self._producer

    async def _make_pipelined(self, topic: str) -> Pipelined:
        settings = self._settings
        if self._pipelined is None:
            self._pipelined = Pipelined(
                self._bootstrap(), CLIENT_ID, settings.request_timeout_s, settings.in_flight
            )
        await self._pipelined.start(topic)
        return self._pipelined

    async def _make_consumer(self) -> Any:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                client_id=CLIENT_ID,
                bootstrap_servers=self._bootstrap(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level=self._settings.isolation,
                request_timeout_ms=int(self._settings.request_timeout_s * 1000),
                # A fetch after an assignment waits for the answer to the one before: no longer
                # than a poll does. Shorter, and most answers of a calm system are empty.
                fetch_max_wait_ms=200,
                metadata_max_age_ms=10_000,
            )
            self._consumer = await _started(consumer)
        return self._consumer


async def connect(endpoint: Endpoint, settings: Settings) -> BrokerPort:
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


def _now_ms() -> int:
    return int(time.time() * 1000)


async def _started(client: Any) -> Any:
    try:
        await client.start()
    except BaseException:
        await client.stop()  # it may hold connections already
        raise
    return client


async def _stop(producer: Any) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await producer.flush()
    except TimeoutError:
        await _abort(producer)
    else:
        await producer.stop()


async def _abort(producer: Any) -> None:
    """End a producer with undelivered messages, for which its own `stop` would wait, perhaps for
    ever. There is no public way to do so."""
    sending = producer._sender.sender_task
    producer._closed = True
    if sending is not None:
        sending.cancel()
    await producer.client.close()
    while sending is not None and not sending.done():
        sending.cancel()  # it waits for its requests; each cancellation ends one of them
        await asyncio.wait([sending], timeout=0.01)


def _raise_for_topics(answer: Any) -> None:
    for _, code, *text in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            raise Refused(f"creating the topic failed: error {code} {text}")
