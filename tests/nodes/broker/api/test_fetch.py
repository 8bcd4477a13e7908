"""What consumers and followers get, and when."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from kafka.record.memory_records import MemoryRecords

from nodes.broker.api.fetch import REFUSAL_S
from nodes.broker.controller.commands import ElectPreferred, Fence
from nodes.broker.errors import Code
from tests.nodes.broker.api.broker import FOLLOWER, ME, NAMES, OTHER, Broker, batch, fetched

ALONE = [(ME,)]


def values(part: Any) -> list[bytes]:
    """The values of the records in an answer."""
    records = MemoryRecords(bytes(part.records))
    found = []
    while (each := records.next_batch()) is not None:
        found += [record.value for record in each]
    return found


async def fill(broker: Broker, count: int, size: int = 0) -> None:
    for number in range(count):
        await broker.produce(batch(str(number).encode().rjust(size, b"0")))


@pytest.mark.parametrize("version", range(4, 13))
async def test_every_version_is_answered(broker: Broker, version: int) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 3)
    part = await broker.fetch(1, version=version)
    assert (part.error_code, part.high_watermark) == (0, 3)
    assert values(part) == [b"1", b"2"]


async def test_a_consumer_sees_nothing_above_the_high_watermark(broker: Broker) -> None:
    await broker.create_topic()
    await fill(broker, 3)
    part = await broker.fetch(0)
    assert (part.error_code, part.high_watermark, part.records) == (0, 0, b"")
    await broker.follow(2, FOLLOWER)
    await broker.follow(3, OTHER)
    part = await broker.fetch(0)
    assert (part.high_watermark, part.last_stable_offset) == (2, 2)
    assert values(part) == [b"0", b"1"]
    part = await broker.fetch(3)
    assert (part.error_code, part.records) == (0, b""), "above it, but in the log: no error"


async def test_without_transactions_read_committed_reads_the_same(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 2)
    part = await broker.fetch(0, isolation_level=1)
    assert (values(part), part.last_stable_offset, part.aborted_transactions) == (
        [b"0", b"1"],
        2,
        [],
    )


@pytest.mark.parametrize("offset", [-1, 4, 1 << 40])
async def test_an_offset_outside_the_log_is_out_of_range(broker: Broker, offset: int) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 3)
    part = await broker.fetch(offset)
    assert (part.error_code, part.records) == (Code.OFFSET_OUT_OF_RANGE, b"")


async def test_an_offset_below_the_start_is_out_of_range_and_never_silence(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 3)
    kind = NAMES["DeleteRecords"].request.DeleteRecordsTopic
    wanted = kind.DeleteRecordsPartition(partition_index=0, offset=2)
    await broker.ask("DeleteRecords", 2, topics=[kind(name="t", partitions=[wanted])])
    assert (await broker.fetch(1)).error_code == Code.OFFSET_OUT_OF_RANGE
    part = await broker.fetch(2)
    assert (values(part), part.log_start_offset) == ([b"2"], 2)


# -- waiting -------------------------------------------------------------------------------------


async def test_a_fetch_waits_for_messages(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    waiting = asyncio.create_task(broker.fetch(0, max_wait_ms=5000))
    await broker.settle()
    assert not waiting.done()
    await fill(broker, 1)
    assert values(await waiting) == [b"0"]


async def test_a_consumer_waits_for_the_high_watermark_and_not_for_the_append(
    broker: Broker,
) -> None:
    await broker.create_topic()
    waiting = asyncio.create_task(broker.fetch(0, max_wait_ms=5000))
    await broker.settle()
    await fill(broker, 1)
    await broker.follow(1, FOLLOWER)
    await broker.settle()
    assert not waiting.done()
    await broker.follow(1, OTHER)
    assert values(await waiting) == [b"0"]


async def test_a_fetch_waits_for_min_bytes(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    waiting = asyncio.create_task(broker.fetch(0, max_wait_ms=5000, min_bytes=150))
    await fill(broker, 1)
    await broker.settle()
    assert not waiting.done()
    await broker.produce(batch(b"x" * 100))
    assert values(await waiting) == [b"0", b"x" * 100]


async def test_a_fetch_ends_after_max_wait_with_what_there_is(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 1)
    part = await broker.fetch(0, max_wait_ms=20, min_bytes=10_000)
    assert values(part) == [b"0"]


async def test_an_error_is_told_at_once(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    async with asyncio.timeout(2):
        part = await broker.fetch(9, max_wait_ms=60_000)
    assert part.error_code == Code.OFFSET_OUT_OF_RANGE


async def test_who_waits_is_told_when_the_leader_changes(broker: Broker) -> None:
    await broker.create_topic()
    waiting = asyncio.create_task(broker.fetch(0, max_wait_ms=60_000))
    await broker.settle()
    broker.quorum.apply(Fence(ME, broker.quorum.epochs[ME]))
    async with asyncio.timeout(2):
        part = await waiting
    assert part.error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert part.high_watermark == -1


async def test_who_waits_is_told_when_the_topic_goes(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    waiting = asyncio.create_task(broker.fetch(0, max_wait_ms=60_000))
    await broker.settle()
    await broker.ask("DeleteTopics", 3, topic_names=["t"], timeout_ms=1000)
    async with asyncio.timeout(2):
        assert (await waiting).error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


# -- limits --------------------------------------------------------------------------------------


async def test_a_partitions_limit_cuts_between_batches(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 10, size=100)
    size = len(batch(b"0" * 100))
    part = await broker.fetch(0, part={"bytes_max": 3 * size + 1})
    assert len(values(part)) == 3


async def test_one_batch_comes_whole_however_small_the_limits(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 2, size=1000)
    part = await broker.fetch(0, part={"bytes_max": 1}, max_bytes=1)
    assert len(values(part)) == 1


async def test_the_total_limit_is_shared_and_only_the_first_may_exceed_it(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME,)] * 3)
    for partition in range(3):
        for _ in range(2):
            await broker.produce(batch(b"x" * 1000), partition=partition)
    size = len(batch(b"x" * 1000))
    topics = [fetched("t", number, 0) for number in range(3)]
    for limit, counts in ((1, [1, 0, 0]), (3 * size, [2, 1, 0]), (9 * size, [2, 2, 2])):
        answer = await broker.fetch_all(topics, max_bytes=limit)
        (topic,) = answer.responses
        assert [len(values(part)) for part in topic.partitions] == counts


@pytest.mark.parametrize("options", [{"fetch.max.bytes": 2500}])
async def test_the_brokers_own_limit_holds(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 10, size=1000)
    assert len(values(await broker.fetch(0))) == 2


# -- leaders and epochs --------------------------------------------------------------------------


async def test_epochs_that_are_over_or_not_known_are_fenced(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await move_there_and_back(broker)
    epoch = broker.partition().state.leader_epoch
    assert epoch == 2
    codes = [(await broker.fetch(0, part={"epoch": e})).error_code for e in (-1, 1, 2, 3)]
    assert codes == [0, Code.FENCED_LEADER_EPOCH, 0, Code.UNKNOWN_LEADER_EPOCH]


async def move_there_and_back(broker: Broker) -> None:
    """This broker leads, then the follower, then this one again."""
    await broker.follow(broker.partition().log.end_offset)
    broker.quorum.apply(Fence(ME, broker.quorum.epochs[ME]))
    broker.quorum.register(ME)
    # It is in sync again as soon as the leader of the time says so.
    state = broker.partition().state
    quorum, broker.quorum._id = broker.quorum, FOLLOWER
    own, quorum.broker_epoch = quorum.broker_epoch, quorum.epochs[FOLLOWER]
    await quorum.alter_partition(state, (FOLLOWER, ME), {ME: own})
    quorum._id, quorum.broker_epoch = ME, own
    quorum.apply(ElectPreferred("t", 0))
    assert broker.partition().leading


async def test_who_does_not_lead_says_who_does(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    topic = fetched("", 0, 0)
    topic.topic_id = broker.partition().state.topic_id
    answer = await broker.fetch_all([topic], version=16)
    (part,) = answer.responses[0].partitions
    assert part.error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert (part.current_leader.leader_id, part.current_leader.leader_epoch) == (FOLLOWER, 0)
    assert [(e.node_id, e.host) for e in answer.node_endpoints] == [(FOLLOWER, "c1.2")]


async def test_a_consumer_that_asks_the_wrong_node_again_and_again_does_not_spin(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(3):
        part = await broker.fetch(0, max_wait_ms=500)
        assert part.error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert loop.time() - began >= 3 * REFUSAL_S


async def test_a_consumer_that_would_not_wait_is_refused_at_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.broker.api.fetch.REFUSAL_S", 3600)
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    part = await asyncio.wait_for(broker.fetch(0, max_wait_ms=0), 60)
    assert part.error_code == Code.NOT_LEADER_OR_FOLLOWER


async def test_topics_are_named_by_id_in_later_versions(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 1)
    topic = fetched("", 0, 0)
    topic.topic_id = broker.partition().state.topic_id
    answer = await broker.fetch_all([topic], version=13)
    assert answer.responses[0].topic_id == topic.topic_id
    assert values(answer.responses[0].partitions[0]) == [b"0"]
    topic.topic_id = uuid.UUID(int=99)
    answer = await broker.fetch_all([topic], version=13)
    assert answer.responses[0].topic_id == topic.topic_id
    assert answer.responses[0].partitions[0].error_code == Code.UNKNOWN_TOPIC_ID


@pytest.mark.parametrize(("topic", "number"), [("nowhere", 0), ("t", 5)])
async def test_what_is_not_there_is_unknown(broker: Broker, topic: str, number: int) -> None:
    await broker.create_topic(assignments=ALONE)
    answer = await broker.fetch_all([fetched(topic, number, 0)])
    assert answer.responses[0].partitions[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_session_that_nobody_opened_is_not_found(broker: Broker) -> None:
    answer = await broker.ask("Fetch", 11, topics=[], session_id=5, session_epoch=1)
    assert answer.error_code == Code.FETCH_SESSION_ID_NOT_FOUND


async def test_no_session_is_offered(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    answer = await broker.fetch_all([fetched("t", 0, 0)])
    assert (answer.error_code, answer.session_id) == (0, 0)


async def test_a_fetch_of_nothing_is_answered_at_once(broker: Broker) -> None:
    async with asyncio.timeout(2):
        answer = await broker.fetch_all([], max_wait_ms=60_000)
    assert answer.responses == []


# -- followers -----------------------------------------------------------------------------------


async def test_a_follower_reads_up_to_the_end_and_moves_the_high_watermark(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)
    part = await broker.follow(0)
    assert (values(part), part.high_watermark) == ([b"0", b"1", b"2"], 0)
    part = await broker.follow(3)
    assert (part.records, part.high_watermark) == (b"", 3)


async def test_a_follower_of_an_older_process_moves_nothing(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)
    await broker.follow(0)
    old = broker.quorum.epochs[FOLLOWER] - 1
    assert (await broker.follow(3, epoch=old)).error_code == Code.STALE_BROKER_EPOCH
    assert broker.partition().hw == 0


async def test_a_follower_whose_log_has_parted_is_told_where_and_moves_nothing(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)  # epoch 0: offsets 0-2
    await move_there_and_back(broker)
    await fill(broker, 2)  # epoch 2: offsets 3, 4
    hw = broker.partition().hw
    part = await broker.follow(5, last_epoch=1)  # it wrote in epoch 1, which is unknown here
    assert (part.error_code, part.records) == (0, b"")
    assert (part.diverging_epoch.epoch, part.diverging_epoch.end_offset) == (0, 3)
    part = await broker.follow(5, last_epoch=0)
    assert (part.diverging_epoch.epoch, part.diverging_epoch.end_offset) == (0, 3)
    assert broker.partition().hw == hw
    part = await broker.follow(3, last_epoch=0)
    assert values(part) == [b"0", b"1"]


async def test_only_peers_are_served_as_replicas(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 1)
    answer = await broker.fetch_all([fetched("t", 0, 1)], replica_id=FOLLOWER)
    assert answer.error_code == Code.CLUSTER_AUTHORIZATION_FAILED
    assert answer.responses[0].partitions[0].error_code == Code.CLUSTER_AUTHORIZATION_FAILED
    assert broker.partition().hw == 0


async def test_one_that_is_no_replica_moves_nothing(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 1)
    assert (await broker.follow(1, OTHER)).error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert broker.partition().hw == 0


async def test_a_follower_that_caught_up_joins_the_isr(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    broker.quorum.apply(Fence(FOLLOWER, broker.quorum.epochs[FOLLOWER]))
    assert broker.partition().state.isr == (ME,)
    await fill(broker, 2)
    broker.quorum.register(FOLLOWER)
    await broker.follow(1)
    await broker.settle()
    assert broker.partition().state.isr == (ME,)
    await broker.follow(2)
    await broker.settle()
    assert broker.partition().state.isr == (ME, FOLLOWER)
