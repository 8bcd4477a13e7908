"""Requests of members and administrators of groups, in every version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodes.broker.errors import Code
from tests.nodes.broker.api.broker import ME, NAMES, Broker

JOIN = NAMES["JoinGroup"].request.JoinGroupRequestProtocol
SYNC = NAMES["SyncGroup"].request.SyncGroupRequestAssignment
LEAVE = NAMES["LeaveGroup"].request.MemberIdentity
SUBSCRIPTION = b"\0\0" + b"\0\0\0\1" + b"\0\1t" + b"\0\0\0\0"
OPTIONS = {"group.initial.rebalance.delay.ms": 0}


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path, OPTIONS)
    await broker.start()
    await broker.create_topic("__consumer_offsets", assignments=((ME,),))
    yield broker
    await broker.close()


async def join(broker: Broker, id: str = "", version: int = 9, **more: Any) -> Any:
    fields: dict[str, Any] = {
        "group_id": "g",
        "session_timeout_ms": 10_000,
        "member_id": id,
        "protocol_type": "consumer",
        "protocols": [JOIN(name="range", metadata=SUBSCRIPTION)],
    }
    if version >= 1:
        fields["rebalance_timeout_ms"] = 20_000
    return await broker.ask("JoinGroup", version, **{**fields, **more})


async def joined(broker: Broker, version: int = 9, **more: Any) -> Any:
    """As clients do it: a second time with the id that the first answer tells."""
    answer = await join(broker, version=version, **more)
    if answer.error_code == Code.MEMBER_ID_REQUIRED:
        answer = await join(broker, answer.member_id, version, **more)
    assert answer.error_code == 0
    return answer


async def sync(broker: Broker, id: str, generation: int, version: int = 5, **told: bytes) -> Any:
    named = {"protocol_type": "consumer", "protocol_name": "range"} if version >= 5 else {}
    return await broker.ask(
        "SyncGroup",
        version,
        group_id="g",
        generation_id=generation,
        member_id=id,
        assignments=[SYNC(member_id=id, assignment=data) for data in told.values()],
        **named,
    )


async def heartbeat(broker: Broker, id: str, generation: int, version: int = 4) -> int:
    answer = await broker.ask(
        "Heartbeat", version, group_id="g", generation_id=generation, member_id=id
    )
    return int(answer.error_code)


@pytest.mark.parametrize("version", range(10))
async def test_every_version_joins(broker: Broker, version: int) -> None:
    answer = await joined(broker, version)
    assert (answer.generation_id, answer.protocol_name) == (1, "range")
    assert answer.leader == answer.member_id
    assert [(m.member_id, m.metadata) for m in answer.members] == [(answer.member_id, SUBSCRIPTION)]


@pytest.mark.parametrize("version", range(6))
async def test_every_version_syncs(broker: Broker, version: int) -> None:
    member = await joined(broker)
    answer = await sync(broker, member.member_id, 1, version, own=b"x")
    assert (answer.error_code, answer.assignment) == (0, b"x")


@pytest.mark.parametrize("version", range(5))
async def test_every_version_is_heard(broker: Broker, version: int) -> None:
    member = await joined(broker)
    assert await heartbeat(broker, member.member_id, 1, version) == 0
    assert await heartbeat(broker, member.member_id, 2, version) == Code.ILLEGAL_GENERATION
    assert await heartbeat(broker, "x", 1, version) == Code.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(6))
async def test_every_version_leaves(broker: Broker, version: int) -> None:
    member = await joined(broker)
    id = member.member_id
    fields: dict[str, Any] = {"members": [LEAVE(member_id=id, group_instance_id=None)]}
    answer = await broker.ask(
        "LeaveGroup",
        version,
        group_id="g",
        **(fields if version >= 3 else {"member_id": id}),
    )
    assert answer.error_code == 0
    assert await heartbeat(broker, id, 1) == Code.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(7))
async def test_every_version_describes(broker: Broker, version: int) -> None:
    member = await joined(broker)
    await sync(broker, member.member_id, 1, own=b"x")
    answer = await broker.ask("DescribeGroups", version, groups=["g", "none"])
    one, none = answer.groups
    assert (one.group_state, one.protocol_type, one.protocol_data) == (
        "Stable",
        "consumer",
        "range",
    )
    (described,) = one.members
    assert (described.client_id, described.member_assignment) == ("test", b"x")
    expected = (Code.GROUP_ID_NOT_FOUND, "") if version >= 6 else (0, "Dead")
    assert (none.error_code, none.group_state) == expected


@pytest.mark.parametrize("version", range(6))
async def test_every_version_lists(broker: Broker, version: int) -> None:
    await joined(broker)
    answer = await broker.ask("ListGroups", version)
    (listed,) = answer.groups
    assert (listed.group_id, listed.protocol_type) == ("g", "consumer")
    if version >= 4:
        for phase, count in (("CompletingRebalance", 1), ("Stable", 0)):
            answer = await broker.ask("ListGroups", version, states_filter=[phase])
            assert len(answer.groups) == count
    if version >= 5:
        answer = await broker.ask("ListGroups", version, types_filter=["consumer"])
        assert not answer.groups


async def test_a_group_with_members_is_not_deleted_nor_what_it_subscribes_to(
    broker: Broker,
) -> None:
    await broker.create_topic()
    await joined(broker)
    answer = await broker.ask("DeleteGroups", 2, groups_names=["g"])
    assert answer.results[0].error_code == Code.NON_EMPTY_GROUP
    kind = NAMES["OffsetDelete"].request.OffsetDeleteRequestTopic
    topic = kind(name="t", partitions=[kind.OffsetDeleteRequestPartition(partition_index=0)])
    answer = await broker.ask("OffsetDelete", 0, group_id="g", topics=[topic])
    assert answer.topics[0].partitions[0].error_code == Code.GROUP_SUBSCRIBED_TO_TOPIC


@pytest.mark.parametrize("session_ms", [0, 5_999, 1_800_001])
async def test_a_session_must_be_possible(broker: Broker, session_ms: int) -> None:
    answer = await join(broker, session_timeout_ms=session_ms)
    assert answer.error_code == Code.INVALID_SESSION_TIMEOUT


async def test_a_group_has_a_name(broker: Broker) -> None:
    assert (await join(broker, group_id="")).error_code == Code.INVALID_GROUP_ID


async def test_a_group_without_a_member_knows_nobody(broker: Broker) -> None:
    assert (await join(broker, "x-1")).error_code == Code.UNKNOWN_MEMBER_ID
    assert await heartbeat(broker, "x-1", 1) == Code.UNKNOWN_MEMBER_ID


async def test_who_asks_the_wrong_node_is_told(broker: Broker) -> None:
    partition = broker.partition(0, "__consumer_offsets")
    member = await joined(broker)
    waiting = asyncio.create_task(join(broker, version=3))
    await broker.settle()
    partition.close()
    broker.context.replicas.on_role(partition)
    assert (await waiting).error_code == Code.NOT_COORDINATOR
    assert await heartbeat(broker, member.member_id, 1) == Code.NOT_COORDINATOR
