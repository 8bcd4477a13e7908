"""aiokafka, which speaks older versions of everything."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.nodes.broker.clients.cluster import Brokers

pytestmark = pytest.mark.local


async def read(consumer: Any, count: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend((record.offset, record.value) for record in records)
    return found


@pytest.mark.parametrize(
    ("acks", "idempotent"), [(0, False), (1, False), ("all", False), ("all", True)]
)
async def test_what_is_produced_is_consumed(
    brokers: Brokers, acks: int | str, idempotent: bool
) -> None:
    topic = brokers.topic()
    values = [str(number).encode() for number in range(100)]
    async with AIOKafkaProducer(
        bootstrap_servers=brokers.bootstrap(), acks=acks, enable_idempotence=idempotent
    ) as producer:
        sends = [await producer.send(topic, value, partition=0) for value in values]
        results = await asyncio.gather(*sends)
    if acks:
        assert [result.offset for result in results] == list(range(100))
    async with AIOKafkaConsumer(
        bootstrap_servers=brokers.bootstrap("c2"), auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        assert await read(consumer, 100) == list(enumerate(values))


async def test_a_consumer_seeks_by_offset_and_by_time(brokers: Brokers) -> None:
    place = TopicPartition(brokers.topic(), 0)
    async with AIOKafkaProducer(bootstrap_servers=brokers.bootstrap()) as producer:
        for number in range(5):
            await producer.send_and_wait(
                place.topic, str(number).encode(), partition=0, timestamp_ms=1000 * (number + 1)
            )
    async with AIOKafkaConsumer(bootstrap_servers=brokers.bootstrap()) as consumer:
        consumer.assign([place])
        consumer.seek(place, 3)
        assert await read(consumer, 2) == [(3, b"3"), (4, b"4")]
        found = (await consumer.offsets_for_times({place: 2500}))[place]
        assert (found.offset, found.timestamp) == (2, 3000)
        assert await consumer.beginning_offsets([place]) == {place: 0}
        assert await consumer.end_offsets([place]) == {place: 5}


async def test_offsets_are_kept(brokers: Brokers) -> None:
    place = TopicPartition(brokers.topic(), 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=brokers.bootstrap(), group_id=uuid.uuid4().hex, enable_auto_commit=False
    ) as consumer:
        consumer.assign([place])
        assert await consumer.committed(place) is None
        await consumer.commit({place: 3})
        assert await consumer.committed(place) == 3


async def test_topics_are_administered(brokers: Brokers) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap())
    await admin.start()
    try:
        name = f"topic-{uuid.uuid4().hex[:8]}"
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=3)])
        async with asyncio.timeout(10):
            while name not in await admin.list_topics():
                await asyncio.sleep(0.05)
        async with asyncio.timeout(10):  # until every node has heard of it
            while [len(t["partitions"]) for t in await admin.describe_topics([name])] != [2]:
                await asyncio.sleep(0.05)
        await admin.delete_topics([name])
        async with asyncio.timeout(10):
            while name in await admin.list_topics():
                await asyncio.sleep(0.05)
    finally:
        await admin.close()
