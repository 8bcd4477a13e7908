"""Consumers of three libraries share the partitions of a topic, and what they have read."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka import KafkaConsumer

from tests.nodes.broker.clients.cluster import Brokers, wait

pytestmark = pytest.mark.local

PARTITIONS = 4
MESSAGES = 40


class Member:
    """A consumer on a thread of its own. `read` has (partition, value) of all that it got."""

    def __init__(self, run: Callable[[Member], None]) -> None:
        self.ending = threading.Event()
        self.assigned: set[int] = set()
        self.read: list[tuple[int, bytes]] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[Member], None]) -> None:
        try:
            run(self)
        except BaseException as error:
            self.failure = error

    def end(self) -> None:
        self.ending.set()
        self._thread.join(30)
        assert not self._thread.is_alive() and self.failure is None, self.failure


def confluent(strategy: str) -> Callable[[Brokers, str, str], Callable[[Member], None]]:
    def library(brokers: Brokers, topic: str, group: str) -> Callable[[Member], None]:
        def run(member: Member) -> None:
            consumer = Consumer(
                {
                    "bootstrap.servers": brokers.bootstrap(),
                    "group.id": group,
                    "auto.offset.reset": "earliest",
                    "enable.auto.commit": False,
                    "partition.assignment.strategy": strategy,
                    "session.timeout.ms": 6000,
                }
            )
            consumer.subscribe([topic])
            while not member.ending.is_set():
                message = consumer.poll(0.1)
                member.assigned = {place.partition for place in consumer.assignment()}
                if message is not None and not message.error():
                    member.read.append((message.partition(), message.value()))
                    consumer.commit(message, asynchronous=False)
            consumer.close()

        return run

    return library


def kafka_python(brokers: Brokers, topic: str, group: str) -> Callable[[Member], None]:
    def run(member: Member) -> None:
        consumer = KafkaConsumer(
            topic,
            bootstrap_servers=brokers.bootstrap().split(","),
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
        )
        while not member.ending.is_set():
            found = consumer.poll(timeout_ms=100)
            member.assigned = {place.partition for place in consumer.assignment()}
            member.read += [(r.partition, r.value) for records in found.values() for r in records]
            if found:
                consumer.commit()
        consumer.close()

    return run


def aiokafka(brokers: Brokers, topic: str, group: str) -> Callable[[Member], None]:
    async def main(member: Member) -> None:
        async with AIOKafkaConsumer(
            topic,
            bootstrap_servers=brokers.bootstrap(),
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
        ) as consumer:
            while not member.ending.is_set():
                found = await consumer.getmany(timeout_ms=100)
                member.assigned = {place.partition for place in consumer.assignment()}
                member.read += [(r.partition, r.value) for rs in found.values() for r in rs]
                if found:
                    await consumer.commit()

    return lambda member: asyncio.run(main(member))


@contextmanager
def member(run: Callable[[Member], None]) -> Iterator[Member]:
    there = Member(run)
    try:
        yield there
    finally:
        there.end()


def produce(brokers: Brokers, topic: str) -> None:
    producer = Producer({"bootstrap.servers": brokers.bootstrap()})
    for number in range(MESSAGES):
        producer.produce(topic, b"%d" % number, partition=number % PARTITIONS)
    assert producer.flush(20) == 0


@pytest.mark.parametrize(
    "library",
    [confluent("range"), confluent("cooperative-sticky"), kafka_python, aiokafka],
    ids=["confluent", "confluent cooperative-sticky", "kafka-python", "aiokafka"],
)
def test_partitions_are_shared_and_taken_over(brokers: Brokers, library: Any) -> None:
    topic, group = brokers.topic(PARTITIONS), uuid.uuid4().hex
    produce(brokers, topic)
    run = library(brokers, topic, group)
    with ExitStack() as stack:
        one = stack.enter_context(member(run))
        wait(lambda: len(one.assigned) == PARTITIONS, "one member owns all", 30)
        with member(run) as two:
            wait(
                lambda: len(one.assigned) == len(two.assigned) == PARTITIONS // 2,
                "two members own half each",
                30,
            )
            assert not one.assigned & two.assigned
            wait(lambda: len({*one.read, *two.read}) == MESSAGES, "all are read", 30)
        wait(lambda: len(one.assigned) == PARTITIONS, "one member owns all again", 30)
    with member(run) as later:
        wait(lambda: len(later.assigned) == PARTITIONS, "the next one owns all", 30)
        began = time.monotonic()
        wait(lambda: time.monotonic() > began + 1, "a second is over")
        assert later.read == [], "all was committed"


def test_groups_are_listed_described_and_deleted(brokers: Brokers) -> None:
    topic, group = brokers.topic(PARTITIONS), uuid.uuid4().hex
    produce(brokers, topic)
    admin = AdminClient({"bootstrap.servers": brokers.bootstrap()})
    with member(confluent("range")(brokers, topic, group)) as one:
        wait(lambda: len(one.read) == MESSAGES, "all are read", 30)
        listed = admin.list_consumer_groups(request_timeout=10).result()
        assert group in {each.group_id for each in listed.valid}
        described = admin.describe_consumer_groups([group], request_timeout=10)[group].result()
        assert described.state.name == "STABLE" and len(described.members) == 1
        owned = described.members[0].assignment.topic_partitions
        assert {(place.topic, place.partition) for place in owned} == {
            (topic, number) for number in range(PARTITIONS)
        }
    (offsets,) = admin.list_consumer_group_offsets([_of(group)], request_timeout=10).values()
    committed = {p.partition: p.offset for p in offsets.result().topic_partitions}
    assert committed == dict.fromkeys(range(PARTITIONS), MESSAGES // PARTITIONS)
    admin.delete_consumer_groups([group], request_timeout=10)[group].result()
    listed = admin.list_consumer_groups(request_timeout=10).result()
    assert group not in {each.group_id for each in listed.valid}


def _of(group: str) -> Any:
    from confluent_kafka import ConsumerGroupTopicPartitions

    return ConsumerGroupTopicPartitions(group)


def test_a_group_outlives_its_coordinator(brokers: Brokers) -> None:
    """Whoever keeps the group's partition dies: another one does, and forgets nothing."""
    topic, group = brokers.topic(PARTITIONS), uuid.uuid4().hex
    produce(brokers, topic)
    with member(confluent("range")(brokers, topic, group)) as one:
        wait(lambda: len(one.read) == MESSAGES, "all are read", 30)
        coordinator = _coordinator(brokers, group)
        brokers.run(brokers.cluster.kill(coordinator))
        try:
            produce_again = Producer({"bootstrap.servers": brokers.bootstrap(), "acks": "all"})
            for number in range(PARTITIONS):
                produce_again.produce(topic, b"more", partition=number)
            assert produce_again.flush(30) == 0
            wait(lambda: len(one.read) == MESSAGES + PARTITIONS, "it goes on", 60)
        finally:
            brokers.run(brokers.cluster.start_node(coordinator))
    check = Consumer({"bootstrap.servers": brokers.bootstrap(), "group.id": group})
    places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    committed = {place.offset for place in check.committed(places, 20)}
    assert committed == {MESSAGES // PARTITIONS + 1}
    check.close()


def _coordinator(brokers: Brokers, group: str) -> str:
    """The node that leads the partition in which the group is kept."""
    from nodes.broker.coordinator.topics import GROUPS, number_of

    for node in brokers.cluster.nodes:
        state = brokers.state(node)
        assert state is not None
        kept = [p for p in state["partitions"] if p["topic"] == GROUPS.name]
        led = {replica["partition"] for replica in state["replicas"] if replica["leading"]}
        if f"{GROUPS.name}-{number_of(group, len(kept))}" in led:
            return node
    raise AssertionError("nobody coordinates it")
