"""Where logs begin and end, for those who ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nodes.broker.controller.commands import Fence
from nodes.broker.errors import Code
from tests.nodes.broker.api.broker import FOLLOWER, ME, NAMES, OTHER, Broker, batch
from tests.nodes.broker.api.test_fetch import ALONE, fill, move_there_and_back

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3


async def listed(
    broker: Broker, timestamp: int, *, version: int = 7, epoch: int = -1, **more: Any
) -> Any:
    kind = NAMES["ListOffsets"].request.ListOffsetsTopic
    part = kind.ListOffsetsPartition(
        partition_index=0, current_leader_epoch=epoch, timestamp=timestamp
    )
    topic = kind(name=more.pop("topic", "t"), partitions=[part])
    answer = await broker.ask(
        "ListOffsets", version, **{"replica_id": -1, "topics": [topic], **more}
    )
    return answer.topics[0].partitions[0]


# -- ListOffsets ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 8))
async def test_every_version_tells_the_end(broker: Broker, version: int) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 3)
    part = await listed(broker, LATEST, version=version)
    assert (part.error_code, part.offset) == (0, 3)
    assert part.leader_epoch == (0 if version >= 4 else -1)


async def test_for_a_consumer_the_end_is_the_high_watermark(broker: Broker) -> None:
    await broker.create_topic()
    await fill(broker, 3)
    await broker.follow(1, FOLLOWER)
    await broker.follow(2, OTHER)
    assert (await listed(broker, LATEST)).offset == 1


async def test_for_a_follower_the_end_is_the_logs(broker: Broker) -> None:
    await broker.create_topic()
    await fill(broker, 3)
    assert (await listed(broker, LATEST, replica_id=FOLLOWER, listener="peer")).offset == 3
    assert (await listed(broker, LATEST, replica_id=FOLLOWER)).offset == 0, "no peer's listener"


async def test_the_start_moves_with_deleted_records(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 3)
    assert (await listed(broker, EARLIEST)).offset == 0
    await deleted(broker, 2)
    assert (await listed(broker, EARLIEST)).offset == 2


async def test_a_time_finds_the_first_message_at_or_after_it(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    for timestamp in (1000, 3000, 2000):
        await broker.produce(batch(b"a", b"b", timestamp=timestamp))
    expected = {0: (1000, 0), 1001: (1001, 1), 1002: (3000, 2), 3001: (3001, 3), 3002: (-1, -1)}
    found = {}
    for timestamp in expected:
        part = await listed(broker, timestamp)
        found[timestamp] = (part.timestamp, part.offset)
    assert found == expected


async def test_a_time_finds_nothing_above_the_high_watermark(broker: Broker) -> None:
    await broker.create_topic()
    await fill(broker, 2)
    part = await listed(broker, 0)
    assert (part.error_code, part.timestamp, part.offset) == (0, -1, -1)


async def test_the_largest_timestamp_is_found(broker: Broker) -> None:
    await broker.create_topic(assignments=ALONE)
    assert (await listed(broker, MAX_TIMESTAMP)).offset == -1
    for timestamp in (1000, 3000, 2000):
        await broker.produce(batch(b"a", b"b", timestamp=timestamp))
    part = await listed(broker, MAX_TIMESTAMP)
    assert (part.timestamp, part.offset) == (3001, 3)


@pytest.mark.parametrize(("version", "timestamp"), [(6, MAX_TIMESTAMP), (7, -4), (7, -99)])
async def test_other_special_timestamps_are_refused(
    broker: Broker, version: int, timestamp: int
) -> None:
    await broker.create_topic(assignments=ALONE)
    part = await listed(broker, timestamp, version=version)
    assert part.error_code == Code.UNSUPPORTED_FOR_MESSAGE_FORMAT


@pytest.mark.parametrize(
    ("version", "code"), [(5, Code.OFFSET_NOT_AVAILABLE), (4, Code.LEADER_NOT_AVAILABLE)]
)
async def test_a_new_leader_tells_no_end_before_it_knows_what_is_committed(
    broker: Broker, version: int, code: Code
) -> None:
    """Else the end would go back for a consumer that the leader before told a higher one."""
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)
    await move_there_and_back(broker)
    broker.partition().hw = 1  # as the last fetch from the leader before told it
    assert (await listed(broker, LATEST, version=version)).error_code == code
    assert (await listed(broker, EARLIEST, version=version)).error_code == 0
    await broker.follow(3)
    assert (await listed(broker, LATEST, version=version)).offset == 3


async def test_stale_epochs_and_other_leaders_are_refused(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    assert (await listed(broker, LATEST)).error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert (await listed(broker, LATEST, epoch=1)).error_code == Code.UNKNOWN_LEADER_EPOCH
    part = await listed(broker, LATEST, topic="nowhere")
    assert part.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


# -- OffsetForLeaderEpoch ------------------------------------------------------------------------


async def ended(broker: Broker, epoch: int, *, current: int = -1, version: int = 4) -> Any:
    kind = NAMES["OffsetForLeaderEpoch"].request.OffsetForLeaderTopic
    part = kind.OffsetForLeaderPartition(
        partition=0, current_leader_epoch=current, leader_epoch=epoch
    )
    answer = await broker.ask(
        "OffsetForLeaderEpoch", version, topics=[kind(topic="t", partitions=[part])]
    )
    return answer.topics[0].partitions[0]


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_epochs_end_where_the_next_begins(broker: Broker, version: int) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)
    await move_there_and_back(broker)
    await fill(broker, 2)
    found = {epoch: await ended(broker, epoch, version=version) for epoch in (0, 1, 2, 3)}
    assert {e: (part.leader_epoch, part.end_offset) for e, part in found.items()} == {
        0: (0, 3),
        1: (0, 3),
        2: (2, 5),
        3: (-1, -1),
    }


async def test_an_epoch_is_asked_of_its_leader(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    assert (await ended(broker, 0)).error_code == Code.NOT_LEADER_OR_FOLLOWER
    assert (await ended(broker, 0, current=4)).error_code == Code.UNKNOWN_LEADER_EPOCH


# -- DeleteRecords -------------------------------------------------------------------------------


async def deleted(
    broker: Broker, offset: int, *, version: int = 2, topic: str = "t", timeout_ms: int = 1000
) -> Any:
    kind = NAMES["DeleteRecords"].request.DeleteRecordsTopic
    part = kind.DeleteRecordsPartition(partition_index=0, offset=offset)
    answer = await broker.ask(
        "DeleteRecords",
        version,
        topics=[kind(name=topic, partitions=[part])],
        timeout_ms=timeout_ms,
    )
    return answer.topics[0].partitions[0]


@pytest.mark.parametrize("version", [0, 1, 2])
async def test_records_are_deleted_up_to_an_offset(broker: Broker, version: int) -> None:
    await broker.create_topic(assignments=ALONE)
    await fill(broker, 5)
    lows = [(await deleted(broker, n, version=version)).low_watermark for n in (2, 1, 4, -1)]
    assert lows == [2, 2, 4, 5]
    assert (await broker.produce(batch(b"x"))).base_offset == 5


async def test_what_is_not_committed_cannot_be_deleted(broker: Broker) -> None:
    await broker.create_topic()
    await fill(broker, 3)
    part = await deleted(broker, 1)
    assert (part.error_code, part.low_watermark) == (Code.OFFSET_OUT_OF_RANGE, -1)


async def test_a_deletion_is_told_when_every_replica_alive_has_heard_of_it(
    broker: Broker,
) -> None:
    await broker.create_topic()
    await fill(broker, 3)
    broker.quorum.apply(Fence(OTHER, broker.quorum.epochs[OTHER]))
    await broker.follow(3, start=0)
    waiting = asyncio.create_task(deleted(broker, 2))
    await broker.settle()
    assert not waiting.done()
    await broker.follow(3, start=1)
    await broker.settle()
    assert not waiting.done()
    await broker.follow(3, start=2)
    part = await waiting
    assert (part.error_code, part.low_watermark) == (0, 2)


async def test_a_deletion_waits_for_a_replica_that_may_lead_before_it_fetches(
    broker: Broker,
) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)], min_insync_replicas="2")
    await fill(broker, 3)
    await broker.follow(3, start=0)
    broker.quorum.apply(Fence(FOLLOWER, broker.quorum.epochs[FOLLOWER]))
    assert broker.partition().state.elr == (FOLLOWER,)
    part = await deleted(broker, 2, timeout_ms=10)
    assert (part.error_code, part.low_watermark) == (Code.REQUEST_TIMED_OUT, -1)


async def test_a_deletion_is_in_doubt_after_its_time(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME, FOLLOWER)])
    await fill(broker, 3)
    await broker.follow(3, start=0)
    part = await deleted(broker, 2, timeout_ms=10)
    assert (part.error_code, part.low_watermark) == (Code.REQUEST_TIMED_OUT, -1)
    assert (await listed(broker, EARLIEST)).offset == 2


async def test_records_are_deleted_by_the_leader_only(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    assert (await deleted(broker, 0)).error_code == Code.NOT_LEADER_OR_FOLLOWER
    part = await deleted(broker, 0, topic="nowhere")
    assert part.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
