"""The leader dies under load: what was acknowledged stays, once, and in order."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from tests.nodes.broker.clients.cluster import Brokers, wait
from tests.nodes.broker.clients.test_confluent import consume

pytestmark = pytest.mark.local


class Load:
    """An idempotent producer that sends numbers until it is told to stop."""

    def __init__(self, brokers: Brokers, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": brokers.bootstrap(),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 1,
                "batch.num.messages": 20,
                "request.timeout.ms": 1000,
                "socket.timeout.ms": 2000,  # how long a silent connection is believed in
                "delivery.timeout.ms": 60_000,
            }
        )
        self.acked: dict[int, int] = {}  # offset → number
        self.failed: list[str] = []
        self.sent = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            number = self.sent
            self._producer.produce(
                self._topic,
                str(number).encode(),
                partition=0,
                on_delivery=lambda error, message, number=number: self._note(
                    error, message, number
                ),
            )
            self.sent += 1
            self._producer.poll(0.001)
        self._producer.flush(60)

    def _note(self, error: Any, message: Any, number: int) -> None:
        if error is None:
            self.acked[message.offset()] = number
        else:
            self.failed.append(str(error))

    def wait_acked(self, more: int) -> None:
        """Wait until that many more are acknowledged."""
        goal = len(self.acked) + more
        wait(lambda: len(self.acked) >= goal, f"{more} more messages", 30)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(90)


def test_nothing_acknowledged_is_lost_or_doubled_when_leaders_die(brokers: Brokers) -> None:
    topic = brokers.topic(configs={"min.insync.replicas": "2"})
    load = Load(brokers, topic)
    try:
        for _ in range(2):
            load.wait_acked(300)
            leader = brokers.leader(topic)
            brokers.run(brokers.cluster.kill(leader))
            try:
                load.wait_acked(300)
                assert brokers.leader(topic) != leader
            finally:
                brokers.run(brokers.cluster.start_node(leader))
            wait(lambda: brokers.in_sync(topic) == [3], "all three in sync again")
    finally:
        load.end()
    assert load.failed == []
    assert sorted(load.acked.values()) == list(range(load.sent))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers.bootstrap("c2"),
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    read = consume(consumer, load.sent)
    consumer.close()
    assert [int(value) for _, value in read] == list(range(load.sent)), "each once, in order"
    assert {offset: int(value) for offset, value in read} == load.acked


def test_a_paused_leader_is_replaced_and_follows_when_it_wakes(brokers: Brokers) -> None:
    topic = brokers.topic(configs={"min.insync.replicas": "2"})
    load = Load(brokers, topic)
    try:
        load.wait_acked(100)
        leader = brokers.leader(topic)
        brokers.run(brokers.cluster.pause(leader))
        try:
            wait(lambda: brokers.leader(topic) != leader, "another leader")
            load.wait_acked(100)
        finally:
            brokers.run(brokers.cluster.resume(leader))
        wait(lambda: brokers.in_sync(topic) == [3], "all three in sync again")
    finally:
        load.end()
    assert load.failed == []
    assert sorted(load.acked.values()) == list(range(load.sent))
