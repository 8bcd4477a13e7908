"""What producers are told, and what is in the log then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodes.broker.controller.commands import AlterConfig, Fence
from nodes.broker.errors import Code
from nodes.broker.log.batch import read_header
from nodes.broker.server import Disconnect
from tests.nodes.broker.api.broker import FOLLOWER, ME, NAMES, OTHER, Broker, batch

REQUEST = NAMES["Produce"].request


async def test_offsets_count_messages(broker: Broker) -> None:
    await broker.create_topic()
    first = await broker.produce(batch(b"a", b"b"))
    second = await broker.produce(batch(b"c"))
    assert (first.error_code, first.base_offset, second.base_offset) == (0, 0, 2)
    assert first.log_append_time_ms == -1
    assert broker.partition().log.end_offset == 3


@pytest.mark.parametrize("version", range(3, 12))
async def test_every_version_is_answered(broker: Broker, version: int) -> None:
    await broker.create_topic()
    part = await broker.produce(batch(b"a"), version=version)
    assert (part.index, part.error_code, part.base_offset) == (0, 0, 0)


async def test_the_batch_is_stored_with_its_offset_and_the_leaders_epoch(broker: Broker) -> None:
    await broker.create_topic()
    await broker.produce(batch(b"a"))
    await broker.produce(batch(b"b"))
    header = read_header(broker.partition().log.read(1, 1000, 2, at_least_one=True))
    assert (header.base_offset, header.leader_epoch) == (1, broker.partition().state.leader_epoch)


async def test_acks_0_is_not_answered(broker: Broker) -> None:
    await broker.create_topic()
    assert await broker.produce(batch(b"a"), acks=0) is None
    assert broker.partition().log.end_offset == 1


async def test_acks_0_loses_its_connection_when_something_was_refused(broker: Broker) -> None:
    with pytest.raises(Disconnect):
        await broker.produce(batch(b"a"), acks=0, topic="nowhere")


async def test_acks_all_waits_until_every_replica_in_sync_has_it(broker: Broker) -> None:
    await broker.create_topic(min_insync_replicas="2")
    sent = asyncio.create_task(broker.produce(batch(b"a"), acks=-1))
    await broker.settle()
    await broker.follow(1, FOLLOWER)
    await broker.settle()
    assert not sent.done(), "the third is in sync as well"
    await broker.follow(1, OTHER)
    part = await sent
    assert (part.error_code, part.base_offset, broker.partition().hw) == (0, 0, 1)


async def test_acks_all_is_in_doubt_after_its_time(broker: Broker) -> None:
    await broker.create_topic()
    part = await broker.produce(batch(b"a"), acks=-1, timeout_ms=10)
    assert (part.error_code, part.base_offset) == (Code.REQUEST_TIMED_OUT, -1)
    assert broker.partition().log.end_offset == 1


async def test_acks_all_with_too_few_in_sync_appends_nothing(broker: Broker) -> None:
    await broker.create_topic(min_insync_replicas="2")
    for id in (FOLLOWER, OTHER):
        broker.quorum.apply(Fence(id, broker.quorum.epochs[id]))
    part = await broker.produce(batch(b"a"), acks=-1)
    assert part.error_code == Code.NOT_ENOUGH_REPLICAS
    assert broker.partition().log.end_offset == 0
    assert (await broker.produce(batch(b"a"), acks=1)).error_code == 0


async def test_acks_all_says_when_too_few_were_left_after_the_append(broker: Broker) -> None:
    await broker.create_topic(min_insync_replicas="2")
    sent = asyncio.create_task(broker.produce(batch(b"a"), acks=-1))
    await broker.settle()
    for id in (FOLLOWER, OTHER):
        broker.quorum.apply(Fence(id, broker.quorum.epochs[id]))
    part = await sent
    assert part.error_code == Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND


async def test_a_leader_that_is_deposed_acknowledges_nothing_that_waits(broker: Broker) -> None:
    await broker.create_topic()
    sent = asyncio.create_task(broker.produce(batch(b"a"), acks=-1))
    await broker.settle()
    broker.quorum.apply(Fence(ME, broker.quorum.epochs[ME]))
    assert (await sent).error_code == Code.NOT_LEADER_OR_FOLLOWER


@pytest.mark.parametrize("acks", [2, -2])
async def test_other_acks_are_refused(broker: Broker, acks: int) -> None:
    await broker.create_topic()
    part = await broker.produce(batch(b"a"), acks=acks)
    assert part.error_code == Code.INVALID_REQUIRED_ACKS
    assert broker.partition().log.end_offset == 0


async def test_who_does_not_lead_says_who_does(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    kind = REQUEST.TopicProduceData
    part = kind.PartitionProduceData(index=0, records=batch(b"a"))
    answer = await broker.ask(
        "Produce",
        10,
        acks=1,
        timeout_ms=1000,
        topic_data=[kind(name="t", partition_data=[part])],
    )
    (found,) = answer.responses[0].partition_responses
    assert found.error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert (found.current_leader.leader_id, found.current_leader.leader_epoch) == (FOLLOWER, 0)
    (endpoint,) = answer.node_endpoints
    assert (endpoint.node_id, endpoint.host, endpoint.port) == (FOLLOWER, "c1.2", 91)


@pytest.mark.parametrize(("topic", "partition"), [("nowhere", 0), ("t", 7), ("t", -1)])
async def test_what_is_not_there_is_unknown(broker: Broker, topic: str, partition: int) -> None:
    await broker.create_topic()
    part = await broker.produce(batch(b"a"), topic=topic, partition=partition)
    assert part.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


def damaged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(damaged(batch(b"a")), Code.CORRUPT_MESSAGE, id="a wrong CRC"),
        pytest.param(batch(b"a")[:-1], Code.CORRUPT_MESSAGE, id="cut short"),
        pytest.param(batch(b"a")[:30], Code.CORRUPT_MESSAGE, id="half a header"),
        pytest.param(b"\0" * 100, Code.CORRUPT_MESSAGE, id="an old format"),
        pytest.param(batch(b"a") + batch(b"b"), Code.INVALID_RECORD, id="two batches"),
        pytest.param(b"", Code.INVALID_RECORD, id="no batch"),
        pytest.param(None, Code.INVALID_RECORD, id="null"),
        pytest.param(batch(b"x" * 2000), Code.MESSAGE_TOO_LARGE, id="too large"),
        pytest.param(
            batch(b"a", producer=5, epoch=0, sequence=0, transactional=True),
            Code.INVALID_RECORD,
            id="of a transaction",
        ),
    ],
)
async def test_bad_batches_are_refused_and_leave_no_trace(
    broker: Broker, data: bytes | None, code: Code
) -> None:
    await broker.create_topic(max_message_bytes="1000")
    part = await broker.produce(data)
    assert (part.error_code, part.base_offset) == (code, -1)
    assert part.error_message
    assert broker.partition().log.end_offset == 0
    assert (await broker.produce(batch(b"good"))).base_offset == 0


async def test_partitions_of_a_request_fail_each_for_itself_and_wait_side_by_side(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER), (ME,), (FOLLOWER,)])
    kind = REQUEST.TopicProduceData
    parts = [kind.PartitionProduceData(index=n, records=batch(b"a")) for n in (0, 1, 2, 9)]
    began = asyncio.get_running_loop().time()
    answer = await broker.ask(
        "Produce", 9, acks=-1, timeout_ms=50, topic_data=[kind(name="t", partition_data=parts)]
    )
    found = {part.index: part.error_code for part in answer.responses[0].partition_responses}
    assert found == {
        0: Code.REQUEST_TIMED_OUT,
        1: Code.NONE,
        2: Code.NOT_LEADER_OR_FOLLOWER,
        9: Code.UNKNOWN_TOPIC_OR_PARTITION,
    }
    assert asyncio.get_running_loop().time() - began < 1


# -- idempotent producers ------------------------------------------------------------------------


def numbered(sequence: int, *values: bytes, epoch: int = 0) -> bytes:
    return batch(*values or (b"v",), producer=7, epoch=epoch, sequence=sequence)


async def test_a_batch_that_comes_again_gets_its_first_offset_again(broker: Broker) -> None:
    await broker.create_topic()
    for sequence in range(5):
        assert (await broker.produce(numbered(sequence))).base_offset == sequence
    for sequence in range(5):
        part = await broker.produce(numbered(sequence))
        assert (part.error_code, part.base_offset) == (0, sequence)
    assert broker.partition().log.end_offset == 5
    assert broker.context.metrics.duplicates == 5


async def test_a_duplicate_is_not_acknowledged_before_the_first_is_replicated(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    first = await broker.produce(numbered(0), acks=-1, timeout_ms=5)
    again = asyncio.create_task(broker.produce(numbered(0), acks=-1))
    await broker.settle()
    assert first.error_code == Code.REQUEST_TIMED_OUT and not again.done()
    await broker.follow(1)
    part = await again
    assert (part.error_code, part.base_offset) == (0, 0)


async def test_a_gap_and_a_zombie_are_refused(broker: Broker) -> None:
    await broker.create_topic()
    await broker.produce(numbered(0))
    assert (await broker.produce(numbered(2))).error_code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    await broker.produce(numbered(0, epoch=1))
    assert (await broker.produce(numbered(1))).error_code == Code.INVALID_PRODUCER_EPOCH
    assert broker.partition().log.end_offset == 2


async def test_requests_are_appended_in_the_order_of_their_arrival(broker: Broker) -> None:
    """Begun one after the other, none waits for the one before it, and their order is the log's."""
    await broker.create_topic()
    sends = [
        asyncio.create_task(broker.produce(numbered(sequence), acks=-1)) for sequence in range(5)
    ]
    await broker.settle()
    assert broker.partition().log.end_offset == 5
    for id in (FOLLOWER, OTHER):
        await broker.follow(5, id)
    assert [(await send).base_offset for send in sends] == list(range(5))


# -- settings of the topic -----------------------------------------------------------------------


async def test_flush_messages_1_makes_it_durable_before_it_is_acknowledged(
    broker: Broker,
) -> None:
    await broker.create_topic(flush_messages="1")
    await broker.produce(batch(b"a"))
    assert broker.partition().log.recovery_point == 1


async def test_a_changed_limit_is_obeyed_at_once(broker: Broker) -> None:
    await broker.create_topic()
    assert (await broker.produce(batch(b"x" * 500))).error_code == 0
    broker.quorum.apply(AlterConfig("t", [("max.message.bytes", 0, "100")]))
    assert (await broker.produce(batch(b"x" * 500))).error_code == Code.MESSAGE_TOO_LARGE


async def test_log_append_time_is_told(broker: Broker) -> None:
    await broker.create_topic(message_timestamp_type="LogAppendTime")
    part = await broker.produce(batch(b"a"))
    assert part.log_append_time_ms > 1_600_000_000_000


async def test_what_went_in_is_counted(broker: Broker) -> None:
    await broker.create_topic()
    data = batch(b"a", b"b", b"c")
    await broker.produce(data)
    await broker.produce(batch(b"d"), topic="nowhere")
    metrics = broker.context.metrics
    assert (metrics.messages_in, metrics.bytes_in) == (3, len(data))
    failures: dict[Any, int] = {("Produce", Code.UNKNOWN_TOPIC_OR_PARTITION): 1}
    assert metrics.errors == failures
