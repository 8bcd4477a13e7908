"""What clients learn of the cluster: of their own listener, and nothing of another."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import pytest

from nodes.broker.controller.commands import Fence
from nodes.broker.coordinator.topics import number_of
from nodes.broker.errors import Code
from nodes.broker.parts import HANDLERS
from nodes.broker.wire import APIS, decode_request, encode_response
from tests.nodes.broker.api.broker import FOLLOWER, ME, NAMES, OTHER, Broker

METADATA = NAMES["Metadata"]


async def metadata(
    broker: Broker, *names: str, version: int = 12, listener: str = "c1", **more: Any
) -> Any:
    topics = [METADATA.request.MetadataRequestTopic(name=name) for name in names]
    fields = {"topics": topics, "allow_auto_topic_creation": True, **more}
    return await broker.ask("Metadata", version, listener, **fields)


# -- Metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(13))
async def test_every_version_is_answered(broker: Broker, version: int) -> None:
    await broker.create_topic(assignments=[(FOLLOWER, ME)])
    answer = await metadata(broker, "t", version=version)
    (topic,) = answer.topics
    (part,) = topic.partitions
    assert (topic.name, topic.error_code) == ("t", 0)
    assert (part.leader_id, part.replica_nodes, part.isr_nodes) == (
        FOLLOWER,
        [FOLLOWER, ME],
        [FOLLOWER, ME],
    )
    assert [b.node_id for b in answer.brokers] == [ME, FOLLOWER, OTHER]
    if version >= 10:
        assert topic.topic_id == broker.context.image.topics["t"].id


@pytest.mark.parametrize("listener", ["c1", "c2"])
async def test_a_client_learns_the_addresses_of_its_own_listener(
    broker: Broker, listener: str
) -> None:
    answer = await metadata(broker, listener=listener)
    assert {b.host for b in answer.brokers} == {f"{listener}.{n}" for n in ("one", 2, 3)}
    answer = await broker.ask("DescribeCluster", 1, listener)
    assert {b.host for b in answer.brokers} == {f"{listener}.{n}" for n in ("one", 2, 3)}
    answer = await broker.ask("FindCoordinator", 4, listener, coordinator_keys=["g"])
    assert answer.coordinators[0].host.startswith(listener)


async def test_all_topics_are_told_to_who_names_none(broker: Broker) -> None:
    await broker.create_topic("a")
    await broker.create_topic("b")
    everything = await metadata(broker, topics=None)
    assert {topic.name for topic in everything.topics} == {"a", "b"}
    assert len((await metadata(broker, version=0)).topics) == 2, "version 0 says it so"
    assert (await metadata(broker, version=12)).topics == []


async def test_a_topic_is_found_by_its_id(broker: Broker) -> None:
    await broker.create_topic()
    kind = METADATA.request.MetadataRequestTopic
    id = broker.context.image.topics["t"].id
    topics = [kind(topic_id=id, name=None), kind(topic_id=uuid.UUID(int=5), name=None)]
    found, missing = (await metadata(broker, topics=topics)).topics
    assert (found.name, found.error_code) == ("t", 0)
    assert missing.error_code == Code.UNKNOWN_TOPIC_ID


async def test_a_topic_that_is_not_there_is_unknown_and_not_created(broker: Broker) -> None:
    (topic,) = (await metadata(broker, "nowhere")).topics
    assert topic.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
    assert not broker.context.image.topics


@pytest.mark.parametrize("options", [{"auto.create.topics.enable": True}])
async def test_topics_are_created_when_asked_for_if_that_is_enabled(broker: Broker) -> None:
    (topic,) = (await metadata(broker, "a", allow_auto_topic_creation=False)).topics
    assert topic.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
    good, bad = (await metadata(broker, "a", "not a name")).topics
    assert (good.error_code, len(good.partitions)) == (0, 1)
    assert bad.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_dead_brokers_and_leaderless_partitions_show(broker: Broker) -> None:
    await broker.create_topic(assignments=[(FOLLOWER,), (ME, FOLLOWER)])
    broker.quorum.apply(Fence(FOLLOWER, broker.quorum.epochs[FOLLOWER]))
    answer = await metadata(broker, "t")
    assert [b.node_id for b in answer.brokers] == [ME, OTHER]
    lost, led = answer.topics[0].partitions
    assert (lost.error_code, lost.leader_id) == (Code.LEADER_NOT_AVAILABLE, -1)
    assert (led.error_code, led.leader_id, led.isr_nodes) == (0, ME, [ME])
    assert lost.offline_replicas == led.offline_replicas == [FOLLOWER]


@pytest.mark.parametrize(("leader", "told"), [(OTHER, OTHER), (FOLLOWER, ME), (None, ME)])
async def test_the_controller_is_one_that_can_be_asked(
    broker: Broker, leader: int | None, told: int
) -> None:
    broker.quorum.apply(Fence(FOLLOWER, broker.quorum.epochs[FOLLOWER]))
    broker.quorum.leader_id = leader
    assert (await metadata(broker)).controller_id == told
    assert (await broker.ask("DescribeCluster", 0)).controller_id == told


async def test_a_broker_out_of_service_names_another_as_controller(broker: Broker) -> None:
    broker.quorum.leader_id = None
    for fenced, told in ((ME, FOLLOWER), (FOLLOWER, OTHER), (OTHER, -1)):
        broker.quorum.apply(Fence(fenced, broker.quorum.epochs[fenced]))
        answer = await metadata(broker)
        assert answer.controller_id == told
        assert told == -1 or told in [b.node_id for b in answer.brokers]


async def test_brokers_describe_brokers_only(broker: Broker) -> None:
    answer = await broker.ask("DescribeCluster", 1, endpoint_type=2)
    assert answer.error_code == Code.MISMATCHED_ENDPOINT_TYPE


# -- ApiVersions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(5))
async def test_what_is_served_is_told(broker: Broker, version: int) -> None:
    answer = await broker.ask("ApiVersions", version)
    told = {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys}
    expected = {api.key: (api.low, api.high) for api in APIS.values()}
    expected[0] = (0, expected[0][1])  # see KAFKA-18659
    assert told == expected
    assert set(NAMES) == set(HANDLERS)


async def test_a_version_of_the_future_is_answered_in_version_0(broker: Broker) -> None:
    request = decode_request(bytearray(struct.pack(">hhih", 18, 99, 5, -1) + b"whatever"))
    answer = await HANDLERS["ApiVersions"](broker.context, request, "c1")
    frame = bytes(encode_response(request, answer))
    found = APIS[18].response.decode(frame[4:], version=0, header=True)
    assert (found.header.correlation_id, found.error_code) == (5, Code.UNSUPPORTED_VERSION)
    assert {each.api_key for each in found.api_keys} == set(APIS)


# -- FindCoordinator -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(5))
async def test_every_version_finds_the_same_coordinator(broker: Broker, version: int) -> None:
    expected = (await broker.ask("FindCoordinator", 4, coordinator_keys=["g"])).coordinators[0]
    fields: dict[str, Any] = {"coordinator_keys": ["g"]} if version >= 4 else {"key": "g"}
    answer = await broker.ask("FindCoordinator", version, **fields)
    found = answer.coordinators[0] if version >= 4 else answer
    assert (found.error_code, found.node_id) == (0, expected.node_id)


async def test_a_group_moves_only_when_its_own_coordinator_goes(broker: Broker) -> None:
    groups = [f"group {number}" for number in range(60)]

    async def owners() -> dict[str, int]:
        answer = await broker.ask("FindCoordinator", 4, coordinator_keys=groups)
        return {each.key: each.node_id for each in answer.coordinators}

    before = await owners()
    assert set(before.values()) == {ME, FOLLOWER, OTHER}
    broker.quorum.apply(Fence(OTHER, broker.quorum.epochs[OTHER]))
    after = await owners()
    assert set(after.values()) == {ME, FOLLOWER}
    assert all(after[group] == owner for group, owner in before.items() if owner != OTHER)


async def test_the_coordinator_of_a_transactional_id_leads_the_partition_that_it_is_kept_in(
    broker: Broker,
) -> None:
    """Which is made with the first question."""
    answer = await broker.ask("FindCoordinator", 4, coordinator_keys=["x", ""], key_type=1)
    one, none = answer.coordinators
    states = broker.context.image.topics["__transaction_state"].partitions
    assert one.node_id == states[number_of("x", len(states))].leader and one.port == 91
    assert none.error_code == Code.INVALID_REQUEST


async def test_without_brokers_enough_there_is_no_coordinator_of_transactions(
    broker: Broker,
) -> None:
    broker.quorum.lost = True
    answer = await broker.ask("FindCoordinator", 4, coordinator_keys=["x"], key_type=1)
    assert answer.coordinators[0].error_code == Code.COORDINATOR_NOT_AVAILABLE


async def test_there_are_no_other_coordinators(broker: Broker) -> None:
    answer = await broker.ask("FindCoordinator", 4, coordinator_keys=["x"], key_type=9)
    assert answer.coordinators[0].error_code == Code.INVALID_REQUEST
