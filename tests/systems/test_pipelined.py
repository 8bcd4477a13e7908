"""The producer with several batches in flight, against a broker in the hands of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from kafka.record.default_records import DefaultRecordBatch

from systems.clients import pipelined
from systems.clients.pipelined import NotDelivered, Pipelined
from workloads.ports import Partition

HERE, THERE = Partition("t", 0), Partition("t", 1)
NOT_LEADER, OUT_OF_ORDER, TOO_LARGE, DUPLICATE = 6, 45, 10, 46


class Broker:
    """Stands for aiokafka's client: produce requests wait until they are answered."""

    def __init__(self) -> None:
        self.asked: list[tuple[Partition, int, asyncio.Future[Any]]] = []
        self.cluster = SimpleNamespace(leader_for_partition=lambda tp: 1)

    async def send(self, node: int, request: Any) -> Any:
        ((topic, ((number, data),)),) = request._topics
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        sequence = DefaultRecordBatch(data).base_sequence
        self.asked.append((Partition(topic, number), sequence, answer))
        code, offset = await answer
        return SimpleNamespace(topics=[(topic, [(number, code, offset, -1)])])

    async def force_metadata_update(self) -> None:
        pass

    async def close(self) -> None:
        pass

    @property
    def waiting(self) -> list[int]:
        """The sequences of requests that have no answer yet."""
        return [sequence for _, sequence, answer in self.asked if not answer.done()]

    def answer(self, sequence: int, code: int = 0, offset: int = -1) -> None:
        (future,) = (f for _, s, f in self.asked if s == sequence and not f.done())
        future.set_result((code, offset))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Pipelined, Broker]]:
    monkeypatch.setattr(pipelined, "BACKOFF_S", 0)
    broker = Broker()
    producer = Pipelined(["127.0.0.1:1"], "test", 1.0, 3)
    producer._client, producer._id, producer._epoch = broker, 7, 0
    yield producer, broker
    await producer.close(0)


Made = tuple[Pipelined, Broker]


def given(producer: Pipelined, count: int, partition: Partition = HERE) -> list[asyncio.Task[int]]:
    return [producer.send(partition, str(n).encode(), 1000 + n) for n in range(count)]


async def test_so_many_are_under_way_and_no_more(made: Made) -> None:
    producer, broker = made
    sent = given(producer, 5)
    await settle()
    assert broker.waiting == [0, 1, 2]
    broker.answer(1, offset=11)
    await settle()
    assert broker.waiting == [0, 2, 3]
    broker.answer(0, offset=10)
    await settle()
    assert broker.waiting == [2, 3, 4]
    assert [await task for task in sent[:2]] == [10, 11]


async def test_partitions_do_not_wait_for_each_other(made: Made) -> None:
    producer, broker = made
    given(producer, 3), given(producer, 3, THERE)
    await settle()
    assert [partition for partition, _, _ in broker.asked].count(THERE) == 3


async def test_what_was_refused_is_sent_again_before_all_behind_it(made: Made) -> None:
    producer, broker = made
    sent = given(producer, 3)
    await settle()
    broker.answer(1, OUT_OF_ORDER)
    await settle()
    assert broker.waiting == [0, 2, 1], "all before it are under way"
    broker.answer(2, OUT_OF_ORDER)
    broker.answer(0, NOT_LEADER)
    broker.answer(1, OUT_OF_ORDER)
    await settle()
    assert broker.waiting == [0, 1, 2] and len(broker.asked) == 7
    for sequence in range(3):
        broker.answer(sequence, offset=sequence)
    assert [await task for task in sent] == [0, 1, 2]


async def test_an_answer_that_is_out_of_order_may_come_after_the_one_before(made: Made) -> None:
    """It is about what the broker had when the batch came."""
    producer, broker = made
    sent = given(producer, 2)
    await settle()
    broker.answer(0, NOT_LEADER)
    await settle()
    broker.answer(0, offset=0)
    await settle()
    broker.answer(1, OUT_OF_ORDER)
    await settle()
    broker.answer(1, offset=1)
    assert [await task for task in sent] == [0, 1]


async def test_a_duplicate_is_in_the_log_wherever_that_is(made: Made) -> None:
    producer, broker = made
    (sent,) = given(producer, 1)
    await settle()
    broker.answer(0, DUPLICATE)
    assert await sent == -1


async def test_a_lost_connection_is_no_answer(made: Made) -> None:
    producer, broker = made
    (sent,) = given(producer, 1)
    await settle()
    broker.asked[0][2].set_exception(KafkaConnectionError("lost"))
    await settle()
    broker.answer(0, offset=4)
    assert await sent == 4


@pytest.mark.parametrize("code", [OUT_OF_ORDER, TOO_LARGE])
async def test_what_cannot_be_tried_again_ends_the_producer_in_doubt(made: Made, code: int) -> None:
    producer, broker = made
    sent = given(producer, 4)
    await settle()
    broker.answer(0, code)
    with pytest.raises(NotDelivered):
        await sent[0]
    broker.answer(1, NOT_LEADER)
    with pytest.raises(NotDelivered):
        await sent[1]


async def test_closing_ends_what_waits(made: Made) -> None:
    producer, broker = made
    sent = given(producer, 4)
    await settle()
    await producer.close(0)
    assert all(task.cancelled() for task in sent) and len(broker.asked) == 3
