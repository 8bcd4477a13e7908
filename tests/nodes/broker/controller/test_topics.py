"""Topics and configs as clients change them: Kafka's rules, and Kafka's codes where they break."""

from __future__ import annotations

from collections import Counter

import pytest

from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterConfig,
    AnyCommand,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    Register,
)
from nodes.broker.controller.topics import PARTITIONS_MAX
from nodes.broker.errors import Code
from tests.nodes.broker.controller.images import Log, shape

SET, DELETE, APPEND, SUBTRACT = range(4)


@pytest.fixture
def log() -> Log:
    log = Log(1, 2, 3)
    log.topic(1, 2, name="there")
    return log


def create(name: str = "t", partitions: int = 1, factor: int = 1, **configs: str) -> CreateTopic:
    return CreateTopic(name, partitions, factor, configs)


def test_a_topic_has_what_was_asked_for(log: Log) -> None:
    id, partitions, factor = log.apply(create("t", 6, 2))
    topic = log.image.topics["t"]
    assert (str(topic.id), partitions, factor) == (id, 6, 2)
    assert [state.partition for state in topic.partitions] == list(range(6))
    assert all(len(state.replicas) == 2 for state in topic.partitions)
    assert all(state.leader == state.replicas[0] for state in topic.partitions)
    assert {state.leader_epoch for state in topic.partitions} == {0}


def test_defaults_are_those_of_the_brokers() -> None:
    log = Log()
    defaults = {"num.partitions": "4", "default.replication.factor": "1"}
    log.apply(Register(1, "a", True, defaults))
    log.unfence(1)
    assert log.apply(create("t", -1, -1))[1:] == [4, 1]


def test_leaders_and_followers_are_spread_over_the_brokers() -> None:
    log = Log(1, 2, 3, 4)
    log.apply(create("t", 24, 2))
    states = log.image.topics["t"].partitions
    assert set(Counter(state.leader for state in states).values()) == {6}
    assert len(Counter(state.replicas for state in states)) == 12, "and no two pair up for ever"


def test_fenced_brokers_get_no_replicas(log: Log) -> None:
    log.fence(3)
    log.apply(create("t", 8, 2))
    used = {r for state in log.image.topics["t"].partitions for r in state.replicas}
    assert used == {1, 2}


def test_assigned_replicas_are_taken_as_they_are(log: Log) -> None:
    log.fence(3)
    log.apply(CreateTopic("t", -1, -1, {}, [(3, 1), (1, 2)]))
    first, second = log.image.topics["t"].partitions
    assert (first.replicas, shape(first)) == ((3, 1), (1, (1,), ()))
    assert (second.replicas, shape(second)) == ((1, 2), (1, (1, 2), ()))


def test_two_topics_never_have_the_same_id() -> None:
    """Not even of one name and by one seed: a replica tells by the id whose messages it holds."""
    log = Log(1)
    ids = set()
    for _ in range(3):
        ids.add(log.apply(create())[0])
        log.apply(DeleteTopic("t"))
    assert len(ids) == 3


def test_validating_creates_nothing(log: Log) -> None:
    before = log.image.topics
    assert log.apply(CreateTopic("t", 3, 2, {}, validate_only=True))[1:] == [3, 2]
    assert log.image.topics == before
    assert log.code(CreateTopic("there", 1, 1, {}, validate_only=True)) is Code.TOPIC_ALREADY_EXISTS


REFUSED: list[tuple[AnyCommand, Code]] = [
    (create("there"), Code.TOPIC_ALREADY_EXISTS),
    (create(""), Code.INVALID_TOPIC_EXCEPTION),
    (create("."), Code.INVALID_TOPIC_EXCEPTION),
    (create(".."), Code.INVALID_TOPIC_EXCEPTION),
    (create("a/b"), Code.INVALID_TOPIC_EXCEPTION),
    (create("../etc"), Code.INVALID_TOPIC_EXCEPTION),
    (create("ä"), Code.INVALID_TOPIC_EXCEPTION),
    (create("a\0"), Code.INVALID_TOPIC_EXCEPTION),
    (create("x" * 250), Code.INVALID_TOPIC_EXCEPTION),
    (create("t", 0), Code.INVALID_PARTITIONS),
    (create("t", -2), Code.INVALID_PARTITIONS),
    (create("t", PARTITIONS_MAX + 1), Code.INVALID_PARTITIONS),
    (create("t", 1, 0), Code.INVALID_REPLICATION_FACTOR),
    (create("t", 1, -2), Code.INVALID_REPLICATION_FACTOR),
    (create("t", 1, 4), Code.INVALID_REPLICATION_FACTOR),
    (CreateTopic("t", -1, -1, {"no.such": "1"}), Code.INVALID_CONFIG),
    (CreateTopic("t", -1, -1, {"min.insync.replicas": "0"}), Code.INVALID_CONFIG),
    (CreateTopic("t", -1, -1, {"cleanup.policy": "forget"}), Code.INVALID_CONFIG),
    (CreateTopic("t", -1, -1, {}, [(1, 9)]), Code.INVALID_REPLICA_ASSIGNMENT),
    (CreateTopic("t", -1, -1, {}, [(1, 1)]), Code.INVALID_REPLICA_ASSIGNMENT),
    (CreateTopic("t", -1, -1, {}, [()]), Code.INVALID_REPLICA_ASSIGNMENT),
    (DeleteTopic("t"), Code.UNKNOWN_TOPIC_OR_PARTITION),
    (CreatePartitions("t", 2), Code.UNKNOWN_TOPIC_OR_PARTITION),
    (CreatePartitions("there", 1), Code.INVALID_PARTITIONS),
    (CreatePartitions("there", 0), Code.INVALID_PARTITIONS),
    (CreatePartitions("there", PARTITIONS_MAX + 1), Code.INVALID_PARTITIONS),
    (CreatePartitions("there", 3, [(1, 2)]), Code.INVALID_REPLICA_ASSIGNMENT),
    (CreatePartitions("there", 2, [(1, 9)]), Code.INVALID_REPLICA_ASSIGNMENT),
    (AlterConfig("t", []), Code.UNKNOWN_TOPIC_OR_PARTITION),
    (AlterConfig("there", [("no.such", SET, "1")]), Code.INVALID_CONFIG),
    (AlterConfig("there", [("retention.ms", SET, "soon")]), Code.INVALID_CONFIG),
    (AlterConfig("there", [("retention.ms", APPEND, "1")]), Code.INVALID_CONFIG),
    (AlterConfig("there", [("cleanup.policy", SUBTRACT, "delete")]), Code.INVALID_CONFIG),
    (AlterConfig("there", [("retention.ms", 9, "1")]), Code.INVALID_REQUEST),
    (AlterConfig("", [("socket.request.max.bytes", SET, "1")]), Code.INVALID_CONFIG),
    (AllocateProducerIds(0), Code.INVALID_REQUEST),
    (AllocateProducerIds(-5), Code.INVALID_REQUEST),
]


@pytest.mark.parametrize(("command", "code"), REFUSED, ids=[str(row[0])[:60] for row in REFUSED])
def test_what_cannot_be_is_refused_and_changes_nothing(
    log: Log, command: AnyCommand, code: Code
) -> None:
    assert log.code(command) is code


def test_names_that_differ_in_dots_and_underscores_only_collide(log: Log) -> None:
    log.apply(create("a.b"))
    assert log.code(create("a_b")) is Code.INVALID_TOPIC_EXCEPTION


def test_one_bad_change_of_several_spoils_all(log: Log) -> None:
    changes = [("retention.ms", SET, "1"), ("retention.ms", SET, "soon")]
    assert log.code(AlterConfig("there", changes)) is Code.INVALID_CONFIG
    assert log.image.topics["there"].configs == {}


def test_a_static_number_that_is_none_is_told_when_it_is_needed() -> None:
    log = Log()
    log.apply(Register(1, "a", True, {"num.partitions": "many"}))
    log.unfence(1)
    assert log.code(create("t", -1)) is Code.INVALID_CONFIG
    assert log.code(create("t", 1)) is Code.NONE


def test_a_topic_grows_and_keeps_what_it_has(log: Log) -> None:
    before = log.state("there")
    log.apply(CreatePartitions("there", 4))
    states = log.image.topics["there"].partitions
    assert states[0] == before and len(states) == 4
    assert all(len(state.replicas) == 2 for state in states)


def test_producer_ids_are_never_given_twice(log: Log) -> None:
    first = log.apply(AllocateProducerIds(100))
    assert log.apply(AllocateProducerIds(1)) == first + 100


# -- configs -------------------------------------------------------------------------------------


def test_configs_are_set_deleted_appended_and_subtracted(log: Log) -> None:
    def now(*changes: tuple[str, int, str]) -> dict[str, str]:
        log.apply(AlterConfig("there", list(changes)))
        return log.image.topics["there"].configs

    assert now(("retention.ms", SET, "5")) == {"retention.ms": "5"}
    assert now(("retention.ms", DELETE, "")) == {}
    policy = {"cleanup.policy": "delete"}
    assert now(("cleanup.policy", APPEND, "delete")) == policy, "the default has it already"
    assert now(("cleanup.policy", SUBTRACT, "compact")) == policy
    assert now(("no.such", DELETE, "")) == policy


def test_a_config_is_the_topics_then_the_clusters_then_the_brokers(log: Log) -> None:
    def value() -> str:
        return log.image.config("there", "retention.ms", "default")

    assert value() == "default"
    log.register(3, **{"retention.ms": "3"})
    assert value() == "3"
    log.apply(AlterConfig("", [("retention.ms", SET, "2")]))
    assert value() == "2"
    log.apply(AlterConfig("there", [("retention.ms", SET, "1")]))
    assert value() == "1"
    log.apply(AlterConfig("there", [("retention.ms", DELETE, "")]))
    log.apply(AlterConfig("", [("retention.ms", DELETE, "")]))
    assert value() == "3", "what the brokers were started with is there again"


def test_static_configs_are_those_of_the_newest_process(log: Log) -> None:
    log.register(1, **{"retention.ms": "1", "segment.ms": "1"})
    log.apply(AlterConfig("", [("segment.ms", SET, "7")]))
    log.register(2, **{"retention.ms": "2", "segment.ms": "2"})
    assert log.image.broker_configs == {"retention.ms": "2", "segment.ms": "7"}
    log.register(3)
    assert log.image.broker_configs == {"segment.ms": "7"}
