"""Topics and configs as administrators create, change and delete them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from nodes.broker.controller.commands import AnyCommand, CreateTopic, DeleteTopic
from nodes.broker.errors import Code
from tests.nodes.broker.api.broker import FOLLOWER, ME, NAMES, OTHER, Broker, batch

CREATE = NAMES["CreateTopics"].request.CreatableTopic
TOPIC, BROKER = 2, 4


def creatable(name: str, partitions: int = 2, replicas: int = 3, **configs: str | None) -> Any:
    entries = [
        CREATE.CreatableTopicConfig(name=key.replace("_", "."), value=value)
        for key, value in configs.items()
    ]
    return CREATE(
        name=name, num_partitions=partitions, replication_factor=replicas, configs=entries
    )


async def created(broker: Broker, *topics: Any, version: int = 7, **more: Any) -> list[Any]:
    answer = await broker.ask("CreateTopics", version, topics=list(topics), timeout_ms=1000, **more)
    return list(answer.topics)


# -- CreateTopics --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(2, 8))
async def test_a_topic_is_created(broker: Broker, version: int) -> None:
    (topic,) = await created(broker, creatable("t"), version=version)
    assert (topic.name, topic.error_code) == ("t", 0)
    state = broker.context.image.topics["t"]
    assert [sorted(p.replicas) for p in state.partitions] == [[ME, FOLLOWER, OTHER]] * 2
    if version >= 5:
        assert (topic.num_partitions, topic.replication_factor) == (2, 3)
        assert {c.name: c.value for c in topic.configs}["retention.ms"] == "604800000"
    if version >= 7:
        assert topic.topic_id == state.id


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        pytest.param(creatable("a b"), Code.INVALID_TOPIC_EXCEPTION, id="a bad name"),
        pytest.param(creatable(""), Code.INVALID_TOPIC_EXCEPTION, id="no name"),
        pytest.param(creatable("x" * 250), Code.INVALID_TOPIC_EXCEPTION, id="a long name"),
        pytest.param(creatable("n", 0), Code.INVALID_PARTITIONS, id="no partitions"),
        pytest.param(creatable("n", 1, 4), Code.INVALID_REPLICATION_FACTOR, id="too many copies"),
        pytest.param(creatable("n", 1, 0), Code.INVALID_REPLICATION_FACTOR, id="no copies"),
        pytest.param(creatable("n", retention_ms="x"), Code.INVALID_CONFIG, id="a bad value"),
        pytest.param(creatable("n", no_such="1"), Code.INVALID_CONFIG, id="an unknown config"),
        pytest.param(creatable("n", retention_ms=None), Code.INVALID_CONFIG, id="no value"),
        pytest.param(creatable("t"), Code.TOPIC_ALREADY_EXISTS, id="it is there"),
    ],
)
async def test_a_topic_that_cannot_be_is_refused_and_the_others_are_created(
    broker: Broker, topic: Any, code: Code
) -> None:
    await created(broker, creatable("t"))
    bad, good = await created(broker, topic, creatable("good"))
    assert (bad.error_code, good.error_code) == (code, 0)
    assert bad.error_message
    assert set(broker.context.image.topics) == {"t", "good"}


async def test_a_topic_that_is_there_twice_is_not_created(broker: Broker) -> None:
    found = await created(broker, creatable("t"), creatable("t"))
    assert {topic.error_code for topic in found} == {Code.INVALID_REQUEST}
    assert not broker.context.image.topics


async def test_to_validate_creates_nothing(broker: Broker) -> None:
    good, bad = await created(broker, creatable("t"), creatable("n", 1, 9), validate_only=True)
    assert (good.error_code, bad.error_code) == (0, Code.INVALID_REPLICATION_FACTOR)
    assert not broker.context.image.topics


async def test_replicas_can_be_assigned(broker: Broker) -> None:
    kind = CREATE.CreatableReplicaAssignment
    rows = [(1, [OTHER, ME]), (0, [FOLLOWER, OTHER])]
    assignments = [kind(partition_index=n, broker_ids=ids) for n, ids in rows]
    topic = CREATE(name="t", num_partitions=-1, replication_factor=-1, assignments=assignments)
    (found,) = await created(broker, topic)
    assert found.error_code == 0
    partitions = broker.context.image.topics["t"].partitions
    assert [p.replicas for p in partitions] == [(FOLLOWER, OTHER), (OTHER, ME)]


@pytest.mark.parametrize(
    ("rows", "partitions", "code"),
    [
        ([(1, [ME])], -1, Code.INVALID_REPLICA_ASSIGNMENT),
        ([(0, [ME, ME])], -1, Code.INVALID_REPLICA_ASSIGNMENT),
        ([(0, [9])], -1, Code.INVALID_REPLICA_ASSIGNMENT),
        ([(0, [ME])], 1, Code.INVALID_REQUEST),
    ],
)
async def test_assignments_that_cannot_be_are_refused(
    broker: Broker, rows: list[tuple[int, list[int]]], partitions: int, code: Code
) -> None:
    kind = CREATE.CreatableReplicaAssignment
    assignments = [kind(partition_index=n, broker_ids=ids) for n, ids in rows]
    topic = CREATE(
        name="t", num_partitions=partitions, replication_factor=-1, assignments=assignments
    )
    (found,) = await created(broker, topic)
    assert found.error_code == code


async def test_a_lost_quorum_is_told(broker: Broker) -> None:
    broker.quorum.lost = True
    (found,) = await created(broker, creatable("t"))
    assert found.error_code == Code.REQUEST_TIMED_OUT


# -- DeleteTopics, CreatePartitions --------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 7))
async def test_a_topic_is_deleted_by_name(broker: Broker, version: int) -> None:
    await broker.create_topic()
    if version >= 6:
        kind = NAMES["DeleteTopics"].request.DeleteTopicState
        fields: dict[str, Any] = {"topics": [kind(name="t"), kind(name="nowhere")]}
    else:
        fields = {"topic_names": ["t", "nowhere"]}
    answer = await broker.ask("DeleteTopics", version, timeout_ms=1000, **fields)
    codes = {each.name: each.error_code for each in answer.responses}
    assert codes == {"t": 0, "nowhere": Code.UNKNOWN_TOPIC_OR_PARTITION}
    assert not broker.context.image.topics
    assert (await broker.produce(batch(b"a"))).error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_a_topic_is_deleted_by_id(broker: Broker) -> None:
    await broker.create_topic()
    id = broker.context.image.topics["t"].id
    kind = NAMES["DeleteTopics"].request.DeleteTopicState
    topics = [kind(topic_id=id), kind(topic_id=uuid.UUID(int=9)), kind(name="t", topic_id=id)]
    answer = await broker.ask("DeleteTopics", 6, topics=topics, timeout_ms=1000)
    assert [each.error_code for each in answer.responses] == [
        0,
        Code.UNKNOWN_TOPIC_ID,
        Code.INVALID_REQUEST,
    ]
    assert answer.responses[0].name == "t"


async def test_a_topic_that_was_made_anew_is_not_the_one_that_was_to_be_deleted(
    broker: Broker,
) -> None:
    """The node that is asked has not heard of it yet."""
    await broker.create_topic()
    old, submit = broker.context.image.topics["t"].id, broker.quorum.submit

    async def late(command: AnyCommand, timeout_s: float) -> Any:
        broker.quorum.apply(DeleteTopic("t"))
        broker.quorum.apply(CreateTopic("t", 1, 1, {}))
        return await submit(command, timeout_s)

    broker.quorum.submit = late  # type: ignore[method-assign]
    kind = NAMES["DeleteTopics"].request.DeleteTopicState
    answer = await broker.ask("DeleteTopics", 6, topics=[kind(topic_id=old)], timeout_ms=1000)
    assert [each.error_code for each in answer.responses] == [Code.UNKNOWN_TOPIC_ID]
    assert broker.context.image.topics["t"].id != old


async def test_who_deletes_by_name_learns_which_topic_it_was(broker: Broker) -> None:
    await broker.create_topic()
    id = broker.context.image.topics["t"].id
    kind = NAMES["DeleteTopics"].request.DeleteTopicState
    answer = await broker.ask("DeleteTopics", 6, topics=[kind(name="t")], timeout_ms=1000)
    assert [(each.name, each.topic_id) for each in answer.responses] == [("t", id)]


async def grown(
    broker: Broker, count: int, *, name: str = "t", version: int = 3, **more: Any
) -> int:
    kind = NAMES["CreatePartitions"].request.CreatePartitionsTopic
    topic = kind(name=name, count=count, assignments=more.pop("assignments", None))
    answer = await broker.ask("CreatePartitions", version, topics=[topic], timeout_ms=1, **more)
    return int(answer.results[0].error_code)


@pytest.mark.parametrize("version", range(4))
async def test_partitions_are_added(broker: Broker, version: int) -> None:
    await broker.create_topic()
    assert await grown(broker, 3, version=version) == 0
    assert len(broker.context.image.topics["t"].partitions) == 3


async def test_partitions_are_never_taken_away(broker: Broker) -> None:
    await broker.create_topic()
    assert await grown(broker, 1) == Code.INVALID_PARTITIONS
    assert await grown(broker, 2, validate_only=True) == 0
    assert await grown(broker, 2, name="nowhere") == Code.UNKNOWN_TOPIC_OR_PARTITION
    assert len(broker.context.image.topics["t"].partitions) == 1


async def test_added_partitions_can_be_assigned(broker: Broker) -> None:
    await broker.create_topic()
    kind = NAMES["CreatePartitions"].request.CreatePartitionsTopic.CreatePartitionsAssignment
    assert await grown(broker, 2, assignments=[kind(broker_ids=[OTHER, ME])]) == 0
    assert broker.context.image.topics["t"].partitions[1].replicas == (OTHER, ME)


# -- configs -------------------------------------------------------------------------------------


async def described(
    broker: Broker, kind: int, name: str, *, version: int = 4, keys: list[str] | None = None
) -> Any:
    resource = NAMES["DescribeConfigs"].request.DescribeConfigsResource(
        resource_type=kind, resource_name=name, configuration_keys=keys
    )
    answer = await broker.ask(
        "DescribeConfigs", version, resources=[resource], include_synonyms=True
    )
    return answer.results[0]


async def altered(broker: Broker, kind: int, name: str, *changes: Any, **more: Any) -> int:
    request = NAMES["IncrementalAlterConfigs"].request.AlterConfigsResource
    configs = [
        request.AlterableConfig(name=key, config_operation=operation, value=value)
        for key, operation, value in changes
    ]
    resource = request(resource_type=kind, resource_name=name, configs=configs)
    answer = await broker.ask("IncrementalAlterConfigs", 1, resources=[resource], **more)
    return int(answer.responses[0].error_code)


@pytest.mark.parametrize("version", range(1, 5))
async def test_a_topics_configs_say_where_they_come_from(broker: Broker, version: int) -> None:
    await broker.create_topic(retention_ms="5")
    result = await described(broker, TOPIC, "t", version=version)
    found = {c.name: (c.value, c.config_source, c.read_only) for c in result.configs}
    assert found["retention.ms"] == ("5", 1, False)
    assert found["min.insync.replicas"] == ("1", 5, False)
    synonyms = {c.name: c.synonyms for c in result.configs}["retention.ms"]
    assert [(s.name, s.value, s.source) for s in synonyms] == [
        ("retention.ms", "5", 1),
        ("log.retention.ms", "604800000", 5),
    ]


async def test_only_the_configs_that_were_asked_for_are_told(broker: Broker) -> None:
    await broker.create_topic()
    result = await described(broker, TOPIC, "t", keys=["retention.ms", "no.such"])
    assert [config.name for config in result.configs] == ["retention.ms"]


async def test_operations_set_delete_append_and_subtract(broker: Broker) -> None:
    await broker.create_topic(cleanup_policy="delete")

    async def value(name: str) -> str:
        return str((await described(broker, TOPIC, "t", keys=[name])).configs[0].value)

    assert await altered(broker, TOPIC, "t", ("retention.ms", 0, "7")) == 0
    assert await value("retention.ms") == "7"
    assert await altered(broker, TOPIC, "t", ("retention.ms", 1, None)) == 0
    assert await value("retention.ms") == "604800000"
    assert await altered(broker, TOPIC, "t", ("cleanup.policy", 2, "delete")) == 0
    assert await value("cleanup.policy") == "delete", "it was in the list before"
    assert await altered(broker, TOPIC, "t", ("cleanup.policy", 2, "compact")) == 0
    assert await value("cleanup.policy") == "delete,compact"
    assert await altered(broker, TOPIC, "t", ("cleanup.policy", 3, "delete")) == 0
    assert await value("cleanup.policy") == "compact"
    for operation, item in ((2, "shred"), (3, "compact")):
        change = ("cleanup.policy", operation, item)
        assert await altered(broker, TOPIC, "t", change) == Code.INVALID_CONFIG


@pytest.mark.parametrize(
    ("kind", "name", "changes", "code"),
    [
        (TOPIC, "t", [("retention.ms", 0, "x")], Code.INVALID_CONFIG),
        (TOPIC, "t", [("no.such", 0, "1")], Code.INVALID_CONFIG),
        (TOPIC, "t", [("retention.ms", 9, "1")], Code.INVALID_REQUEST),
        (TOPIC, "t", [("retention.ms", 0, "1"), ("retention.ms", 1, "")], Code.INVALID_REQUEST),
        (TOPIC, "nowhere", [("retention.ms", 0, "1")], Code.UNKNOWN_TOPIC_OR_PARTITION),
        (TOPIC, "", [("retention.ms", 0, "1")], Code.INVALID_REQUEST),
        (BROKER, "1", [("log.retention.ms", 0, "1")], Code.INVALID_REQUEST),
        (BROKER, "", [("socket.request.max.bytes", 0, "1")], Code.INVALID_CONFIG),
        (8, "x", [], Code.INVALID_REQUEST),
    ],
)
async def test_changes_that_cannot_be_are_refused(
    broker: Broker, kind: int, name: str, changes: list[Any], code: Code
) -> None:
    await broker.create_topic()
    assert await altered(broker, kind, name, *changes) == code
    assert broker.context.image.topics["t"].configs == {}


async def test_to_validate_changes_nothing(broker: Broker) -> None:
    await broker.create_topic()
    change = ("retention.ms", 0, "7")
    assert await altered(broker, TOPIC, "t", change, validate_only=True) == 0
    assert broker.context.image.topics["t"].configs == {}


async def test_the_brokers_default_is_the_topics_value(broker: Broker) -> None:
    await broker.create_topic()
    assert await altered(broker, BROKER, "", ("log.retention.ms", 0, "9")) == 0
    result = await described(broker, TOPIC, "t", keys=["retention.ms"])
    assert (result.configs[0].value, result.configs[0].config_source) == ("9", 3)
    result = await described(broker, BROKER, "", keys=None)
    assert [(config.name, config.value) for config in result.configs] == [("log.retention.ms", "9")]


@pytest.mark.parametrize("options", [{"fetch.max.bytes": 5000}])
async def test_a_broker_tells_how_it_was_started(broker: Broker) -> None:
    result = await described(broker, BROKER, "1")
    found = {c.name: (c.value, c.config_source, c.read_only) for c in result.configs}
    assert found["fetch.max.bytes"] == ("5000", 4, True)
    assert found["replica.lag.time.max.ms"] == ("30000", 5, True)
    assert found["log.retention.ms"] == ("604800000", 5, False)
    types = {c.name: c.config_type for c in result.configs}
    assert (types["fetch.max.bytes"], types["auto.create.topics.enable"]) == (5, 1)


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [
        (TOPIC, "nowhere", Code.UNKNOWN_TOPIC_OR_PARTITION),
        (BROKER, "2", Code.INVALID_REQUEST),
        (99, "x", Code.INVALID_REQUEST),
    ],
)
async def test_what_cannot_be_described_is_refused(
    broker: Broker, kind: int, name: str, code: Code
) -> None:
    assert (await described(broker, kind, name)).error_code == code
