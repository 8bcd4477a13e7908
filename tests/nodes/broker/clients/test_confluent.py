"""librdkafka, the client that most of the world uses."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    IsolationLevel,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
    ResourceType,
)

from tests.nodes.broker.clients.cluster import Brokers, wait

pytestmark = pytest.mark.local


def produce(brokers: Brokers, topic: str, values: list[bytes], **config: Any) -> list[int]:
    """Offsets of the values in partition 0."""
    offsets: list[int] = []

    def delivered(error: Any, message: Any) -> None:
        assert error is None, error
        offsets.append(message.offset())

    producer = Producer({"bootstrap.servers": brokers.bootstrap(), **config})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=delivered)
    assert producer.flush(20) == 0
    return offsets


def consume(consumer: Consumer, count: int, deadline_s: float = 20.0) -> list[tuple[int, bytes]]:
    """(offset, value) of the next messages."""
    found: list[tuple[int, bytes]] = []
    deadline = time.monotonic() + deadline_s
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} came"
        message = consumer.poll(0.2)
        if message is None:
            continue
        assert message.error() is None, message.error()
        found.append((message.offset(), message.value()))
    return found


@pytest.fixture
def consumer(brokers: Brokers) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": brokers.bootstrap("c2"),
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    yield consumer
    consumer.close()


@pytest.fixture
def admin(brokers: Brokers) -> AdminClient:
    return AdminClient({"bootstrap.servers": brokers.bootstrap()})


@pytest.mark.parametrize("acks", ["0", "1", "all"])
@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_what_is_produced_is_consumed(
    brokers: Brokers, consumer: Consumer, acks: str, codec: str
) -> None:
    topic = brokers.topic()
    values = [f"{number} {'x' * 50}".encode() for number in range(200)]
    config = {"acks": acks, "compression.type": codec, "linger.ms": 5}
    offsets = produce(brokers, topic, values, **config)
    if acks != "0":
        assert offsets == list(range(200))
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert consume(consumer, 200) == list(enumerate(values))


def test_an_idempotent_producer_keeps_its_order(brokers: Brokers, consumer: Consumer) -> None:
    topic = brokers.topic()
    values = [str(number).encode() for number in range(2000)]
    config = {"enable.idempotence": True, "linger.ms": 0, "batch.num.messages": 10}
    assert produce(brokers, topic, values, **config) == list(range(2000))
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert [value for _, value in consume(consumer, 2000)] == values


def test_keys_stay_in_their_partitions(brokers: Brokers, consumer: Consumer) -> None:
    topic = brokers.topic(partitions=3)
    producer = Producer({"bootstrap.servers": brokers.bootstrap()})
    for number in range(60):
        producer.produce(topic, str(number).encode(), key=str(number % 6).encode())
    assert producer.flush(20) == 0
    consumer.assign([TopicPartition(topic, number, 0) for number in range(3)])
    homes: dict[bytes, set[int]] = {}
    for _ in range(60):
        message = None
        while message is None:
            message = consumer.poll(1)
        assert message.error() is None
        homes.setdefault(message.key(), set()).add(message.partition())
    assert len(homes) == 6 and all(len(home) == 1 for home in homes.values())


def test_a_consumer_seeks_by_offset_and_by_time(brokers: Brokers, consumer: Consumer) -> None:
    topic = brokers.topic()
    producer = Producer({"bootstrap.servers": brokers.bootstrap(), "linger.ms": 0})
    for number in range(10):
        producer.produce(topic, str(number).encode(), partition=0, timestamp=1000 * (number + 1))
    assert producer.flush(20) == 0
    place = TopicPartition(topic, 0, 4)
    consumer.assign([place])
    assert consume(consumer, 1) == [(4, b"4")]
    consumer.seek(TopicPartition(topic, 0, 8))
    assert consume(consumer, 2) == [(8, b"8"), (9, b"9")]
    (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, 3500)], timeout=10)
    assert found.offset == 3
    (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, 999_999)], timeout=10)
    assert found.offset in (OFFSET_END, 10)
    assert consumer.get_watermark_offsets(place, timeout=10) == (0, 10)


def test_a_consumer_waits_at_the_end_for_what_comes(brokers: Brokers, consumer: Consumer) -> None:
    topic = brokers.topic()
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert consumer.poll(0.5) is None
    produce(brokers, topic, [b"late"])
    assert consume(consumer, 1) == [(0, b"late")]


def test_read_committed_reads_everything(brokers: Brokers) -> None:
    topic = brokers.topic()
    produce(brokers, topic, [b"a"])
    consumer = Consumer(
        {
            "bootstrap.servers": brokers.bootstrap(),
            "group.id": "g",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert consume(consumer, 1) == [(0, b"a")]
    consumer.close()


def test_offsets_of_a_standalone_consumer_are_kept(brokers: Brokers, consumer: Consumer) -> None:
    topic = brokers.topic()
    produce(brokers, topic, [b"a", b"b", b"c"])
    place = TopicPartition(topic, 0)
    (before,) = consumer.committed([place], timeout=10)
    assert before.offset < 0
    consumer.assign([TopicPartition(topic, 0, 0)])
    consume(consumer, 2)
    consumer.commit(asynchronous=False)
    (after,) = consumer.committed([place], timeout=10)
    assert after.offset == 2


def test_topics_are_created_described_grown_and_deleted(
    brokers: Brokers, admin: AdminClient
) -> None:
    topic = brokers.topic(partitions=2)
    found = admin.list_topics(topic, timeout=10).topics[topic]
    assert {p.id: sorted(p.replicas) for p in found.partitions.values()} == {
        0: [1, 2, 3],
        1: [1, 2, 3],
    }
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(10)
    wait(
        lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 4,
        "four partitions",
    )
    admin.delete_topics([topic])[topic].result(10)
    wait(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic to go")
    with pytest.raises(KafkaException):
        admin.delete_topics([topic])[topic].result(10)


def test_the_cluster_is_described(brokers: Brokers, admin: AdminClient) -> None:
    cluster = admin.describe_cluster().result(10)
    assert sorted(node.id for node in cluster.nodes) == [1, 2, 3]
    assert cluster.controller.id in (1, 2, 3)
    addresses = {f"{node.host}:{node.port}" for node in cluster.nodes}
    assert addresses == set(brokers.bootstrap().split(","))


def test_configs_are_described_and_altered(brokers: Brokers, admin: AdminClient) -> None:
    topic = brokers.topic(configs={"retention.ms": "60000"})
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def value(name: str) -> str:
        (described,) = admin.describe_configs([resource]).values()
        return str(described.result(10)[name].value)

    assert (value("retention.ms"), value("min.insync.replicas")) == ("60000", "1")
    entry = ConfigEntry("min.insync.replicas", "2", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    (altered,) = admin.incremental_alter_configs([change]).values()
    altered.result(10)
    wait(lambda: value("min.insync.replicas") == "2", "the change on every node")


def test_records_are_deleted_and_offsets_listed(
    brokers: Brokers, admin: AdminClient, consumer: Consumer
) -> None:
    topic = brokers.topic()
    produce(brokers, topic, [b"a", b"b", b"c"])
    place = TopicPartition(topic, 0)
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, 2)]).values()
    assert deleted.result(10).low_watermark == 2

    def listed(spec: OffsetSpec) -> int:
        (future,) = admin.list_offsets(
            {place: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED
        ).values()
        return int(future.result(10).offset)

    assert (listed(OffsetSpec.earliest()), listed(OffsetSpec.latest())) == (2, 3)
    consumer.assign([TopicPartition(topic, 0, 0)])
    assert consume(consumer, 1) == [(2, b"c")], "out of range, so from the earliest there is"
