"""kafka-python, whose schemas the broker itself uses, and which negotiates other versions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import TopicAlreadyExistsError
from kafka.structs import OffsetAndMetadata

from tests.nodes.broker.clients.cluster import Brokers, wait

pytestmark = pytest.mark.local


@pytest.fixture
def admin(brokers: Brokers) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(bootstrap_servers=brokers.bootstrap().split(","))
    yield admin
    admin.close()


@pytest.fixture
def consumer(brokers: Brokers) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=brokers.bootstrap("c2").split(","),
        group_id=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    yield consumer
    consumer.close()


def poll(consumer: KafkaConsumer, count: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []

    def enough() -> bool:
        for records in consumer.poll(timeout_ms=200).values():
            found.extend((record.offset, record.value) for record in records)
        return len(found) >= count

    wait(enough, f"{count} messages")
    return found


@pytest.mark.parametrize(
    ("acks", "idempotent"), [(0, False), (1, False), ("all", False), ("all", True)]
)
def test_what_is_produced_is_consumed(
    brokers: Brokers, consumer: KafkaConsumer, acks: int | str, idempotent: bool
) -> None:
    topic = brokers.topic()
    producer = KafkaProducer(
        bootstrap_servers=brokers.bootstrap().split(","), acks=acks, enable_idempotence=idempotent
    )
    values = [str(number).encode() for number in range(100)]
    sends = [producer.send(topic, value, partition=0) for value in values]
    producer.flush(20)
    if acks:
        assert [send.get(10).offset for send in sends] == list(range(100))
    producer.close()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek_to_beginning(place)
    assert poll(consumer, 100) == list(enumerate(values))


def test_a_consumer_seeks_by_offset_and_by_time(brokers: Brokers, consumer: KafkaConsumer) -> None:
    topic = brokers.topic()
    producer = KafkaProducer(bootstrap_servers=brokers.bootstrap().split(","), linger_ms=0)
    for number in range(5):
        timestamp = 1000 * (number + 1)
        producer.send(topic, str(number).encode(), partition=0, timestamp_ms=timestamp).get(10)
    producer.close()
    place = TopicPartition(topic, 0)
    consumer.assign([place])
    consumer.seek(place, 3)
    assert poll(consumer, 2) == [(3, b"3"), (4, b"4")]
    found = consumer.offsets_for_times({place: 2500})[place]
    assert (found.offset, found.timestamp) == (2, 3000)
    assert consumer.beginning_offsets([place]) == {place: 0}
    assert consumer.end_offsets([place]) == {place: 5}


def test_offsets_are_kept(brokers: Brokers, consumer: KafkaConsumer) -> None:
    place = TopicPartition(brokers.topic(), 0)
    consumer.assign([place])
    assert consumer.committed(place) is None
    consumer.commit({place: OffsetAndMetadata(7, "seven", -1)})
    assert consumer.committed(place) == 7


def test_topics_and_configs_are_administered(brokers: Brokers, admin: KafkaAdminClient) -> None:
    name = f"topic-{uuid.uuid4().hex[:8]}"
    new = NewTopic(
        name, num_partitions=2, replication_factor=2, topic_configs={"retention.ms": "9"}
    )
    admin.create_topics([new])
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics([new])
    wait(lambda: name in admin.list_topics(), "the topic")
    described = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    assert "retention.ms" in str(described)
    admin.delete_topics([name])
    wait(lambda: name not in admin.list_topics(), "the topic to go")
