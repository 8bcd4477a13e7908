"""Transactional producers of three libraries, and readers of what they committed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from kafka import KafkaProducer

from tests.nodes.broker.clients.cluster import Brokers, wait

pytestmark = pytest.mark.local

Batch = tuple[Sequence[bytes], bool]
"""(values, whether they are committed)"""

TRANSACTIONS: Sequence[Batch] = (
    ([b"1", b"2", b"3"], True),
    ([b"4", b"5"], False),
    ([b"6"], True),
    ([b"7", b"8"], False),
)


def confluent(servers: str, topic: str, id: str, them: Sequence[Batch]) -> None:
    producer = Producer({"bootstrap.servers": servers, "transactional.id": id})
    producer.init_transactions(20)
    for values, commit in them:
        producer.begin_transaction()
        for number, value in enumerate(values):
            producer.produce(topic, value, partition=number % 2)
        producer.flush(20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


def kafka_python(servers: str, topic: str, id: str, them: Sequence[Batch]) -> None:
    producer = KafkaProducer(bootstrap_servers=servers.split(","), transactional_id=id)
    try:
        producer.init_transactions()
        for values, commit in them:
            producer.begin_transaction()
            for number, value in enumerate(values):
                producer.send(topic, value, partition=number % 2)
            producer.flush()
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
    finally:
        producer.close()


def aiokafka(servers: str, topic: str, id: str, them: Sequence[Batch]) -> None:
    async def main() -> None:
        async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=id) as producer:
            for values, commit in them:
                await producer.begin_transaction()
                for number, value in enumerate(values):
                    await producer.send_and_wait(topic, value, partition=number % 2)
                if commit:
                    await producer.commit_transaction()
                else:
                    await producer.abort_transaction()

    asyncio.run(main())


def reader(brokers: Brokers, isolation: str, group: str = "") -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": brokers.bootstrap("c2"),
            "group.id": group or uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "enable.auto.commit": False,
        }
    )


def read(brokers: Brokers, topic: str, count: int, isolation: str = "read_committed") -> set[Any]:
    """The values of a topic of two partitions; waits for `count`, and a little for more."""
    consumer = reader(brokers, isolation)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(2)])
    found: list[Any] = []

    def enough() -> bool:
        message = consumer.poll(0.3)
        if message is not None and not message.error():
            found.append(message.value())
        return message is None and len(found) >= count

    wait(enough, f"{count} messages")
    consumer.close()
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("library", [confluent, kafka_python, aiokafka])
def test_what_was_committed_is_read_and_what_was_aborted_is_not(
    brokers: Brokers, library: Callable[[str, str, str, Sequence[Batch]], None]
) -> None:
    topic = brokers.topic(2)
    library(brokers.bootstrap(), topic, uuid.uuid4().hex, TRANSACTIONS)
    assert read(brokers, topic, 4) == {b"1", b"2", b"3", b"6"}
    assert len(read(brokers, topic, 8, "read_uncommitted")) == 8


def test_who_takes_over_a_transactional_id_fences_who_had_it(brokers: Brokers) -> None:
    topic, id = brokers.topic(2), uuid.uuid4().hex
    config = {"bootstrap.servers": brokers.bootstrap(), "transactional.id": id}
    zombie = Producer(config)
    zombie.init_transactions(20)
    zombie.begin_transaction()
    zombie.produce(topic, b"zombie's", partition=0)
    zombie.flush(20)
    confluent(brokers.bootstrap(), topic, id, [([b"heir's"], True)])
    with pytest.raises(KafkaException) as refusal:
        zombie.commit_transaction(20)
    assert refusal.value.args[0].fatal()
    assert read(brokers, topic, 1) == {b"heir's"}


def test_offsets_move_with_what_was_made_of_the_messages(brokers: Brokers) -> None:
    """Consume, transform, produce: an aborted round leaves no trace, and is done again."""
    source, sink, group = brokers.topic(1), brokers.topic(2), uuid.uuid4().hex
    plain = Producer({"bootstrap.servers": brokers.bootstrap()})
    for number in range(4):
        plain.produce(source, b"%d" % number)
    plain.flush(20)
    for commit in (False, True):
        consumer = reader(brokers, "read_committed", group)
        consumer.subscribe([source])
        taken: list[Any] = []

        def all_taken(consumer: Consumer = consumer, taken: list[Any] = taken) -> bool:
            message = consumer.poll(0.3)
            if message is not None and not message.error():
                taken.append(message.value())
            return len(taken) == 4

        wait(all_taken, "four messages")
        producer = Producer(
            {"bootstrap.servers": brokers.bootstrap(), "transactional.id": f"{group}-worker"}
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in taken:
            producer.produce(sink, b"of " + value, partition=0)
        places = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(places, consumer.consumer_group_metadata(), 20)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
        (committed,) = consumer.committed([TopicPartition(source, 0)], 20)
        assert committed.offset == (4 if commit else -1001)
        consumer.close()
    assert read(brokers, sink, 4) == {b"of %d" % number for number in range(4)}
