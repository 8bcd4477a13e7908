"""Offsets that standalone consumers keep here, and producer ids."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.broker.errors import Code
from nodes.broker.producer_ids import BLOCK
from tests.nodes.broker.api.broker import NAMES, Broker

COMMIT = NAMES["OffsetCommit"].request.OffsetCommitRequestTopic


async def commit(
    broker: Broker, offset: int, *, topic: str = "t", metadata: str = "", **more: Any
) -> int:
    part = COMMIT.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=metadata
    )
    version = more.pop("version", 8)
    fields = {"group_id": "g", "topics": [COMMIT(name=topic, partitions=[part])], **more}
    answer = await broker.ask("OffsetCommit", version, **fields)
    return int(answer.topics[0].partitions[0].error_code)


async def committed(broker: Broker, group: str = "g", *, version: int = 8) -> tuple[int, str]:
    if version >= 8:
        kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
        topic = kind.OffsetFetchRequestTopics(name="t", partition_indexes=[0])
        groups = [kind(group_id=group, topics=[topic])]
        answer = await broker.ask("OffsetFetch", version, groups=groups)
        assert answer.groups[0].error_code == 0
        part = answer.groups[0].topics[0].partitions[0]
    else:
        topic = NAMES["OffsetFetch"].request.OffsetFetchRequestTopic(
            name="t", partition_indexes=[0]
        )
        answer = await broker.ask("OffsetFetch", version, group_id=group, topics=[topic])
        assert answer.error_code == 0
        part = answer.topics[0].partitions[0]
    assert part.error_code == 0
    return part.committed_offset, part.metadata


@pytest.mark.parametrize("version", range(2, 9))
async def test_every_version_commits(broker: Broker, version: int) -> None:
    await broker.create_topic()
    assert await commit(broker, 5, metadata="note", version=version) == 0
    assert await committed(broker) == (5, "note")


@pytest.mark.parametrize("version", range(1, 9))
async def test_every_version_fetches(broker: Broker, version: int) -> None:
    await broker.create_topic()
    assert await committed(broker, version=version) == (-1, "")
    await commit(broker, 5)
    await commit(broker, 3)
    assert await committed(broker, version=version) == (3, "")
    assert await committed(broker, "another", version=version) == (-1, "")


@pytest.mark.parametrize("version", [2, 7, 8])
async def test_all_offsets_of_a_group_are_told_to_who_names_none(
    broker: Broker, version: int
) -> None:
    await broker.create_topic("a")
    await broker.create_topic("b")
    for topic, offset in (("a", 1), ("b", 2)):
        await commit(broker, offset, topic=topic)
    await commit(broker, 3, topic="a", group_id="another")
    if version >= 8:
        kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
        answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
        topics = answer.groups[0].topics
    else:
        answer = await broker.ask("OffsetFetch", version, group_id="g", topics=None)
        topics = answer.topics
    assert {t.name: t.partitions[0].committed_offset for t in topics} == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"group_id": ""}, Code.INVALID_GROUP_ID),
        ({"member_id": "somebody"}, Code.UNKNOWN_MEMBER_ID),
        ({"generation_id_or_member_epoch": 3}, Code.ILLEGAL_GENERATION),
        ({"topic": "nowhere"}, Code.UNKNOWN_TOPIC_OR_PARTITION),
        ({"metadata": "x" * 5000}, Code.OFFSET_METADATA_TOO_LARGE),
    ],
)
async def test_commits_that_cannot_be_are_refused(
    broker: Broker, more: dict[str, Any], code: Code
) -> None:
    await broker.create_topic()
    assert await commit(broker, 5, **more) == code
    assert not broker.context.image.group_offsets


async def test_a_lost_quorum_is_told(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    broker.quorum.lost = True
    assert await commit(broker, 6) == Code.COORDINATOR_NOT_AVAILABLE
    kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
    answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
    assert answer.groups[0].error_code == Code.COORDINATOR_NOT_AVAILABLE, "rather than old offsets"


# -- InitProducerId ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(5))
async def test_every_producer_gets_an_id_of_its_own(broker: Broker, version: int) -> None:
    answers = [await broker.ask("InitProducerId", version, transactional_id=None) for _ in range(3)]
    assert [(a.error_code, a.producer_epoch) for a in answers] == [(0, 0)] * 3
    assert len({a.producer_id for a in answers}) == 3


async def test_ids_of_a_block_that_is_used_up_come_from_the_next(broker: Broker) -> None:
    ids = [await broker.context.producer_ids.take() for _ in range(BLOCK + 1)]
    assert len(set(ids)) == BLOCK + 1
    assert broker.context.image.next_producer_id == 1000 + 2 * BLOCK


async def test_transactional_ids_are_refused(broker: Broker) -> None:
    answer = await broker.ask("InitProducerId", 4, transactional_id="x")
    assert answer.error_code == Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert answer.producer_id == -1


async def test_no_id_without_a_quorum(broker: Broker) -> None:
    broker.quorum.lost = True
    answer = await broker.ask("InitProducerId", 4, transactional_id=None)
    assert answer.error_code == Code.COORDINATOR_NOT_AVAILABLE
