"""AlterPartition is fenced by all that its leader believes; elections are clean unless allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from nodes.broker.controller.commands import AlterConfig, DeleteTopic, ElectPreferred, Withdraw
from nodes.broker.errors import Code
from nodes.broker.metadata import NO_LEADER
from tests.nodes.broker.controller.images import Log, shape

UNCLEAN = {"unclean.leader.election.enable": "true"}


@pytest.fixture
def log() -> Log:
    """1 leads, 2 is in sync, 3 was and is back."""
    log = Log(1, 2, 3, 4)
    log.topic(1, 2, 3)
    log.fence(3)
    log.unfence(3)
    assert shape(log.state()) == (1, (1, 2), ())
    return log


def test_a_leader_widens_and_shrinks_its_isr(log: Log) -> None:
    result = log.apply(log.alter(3, 1, 2))
    assert tuple(result[4]) == (1, 2, 3), "in the order of the replicas"
    assert shape(log.state()) == (1, (1, 2, 3), ())
    log.apply(log.alter(1, 3))
    assert shape(log.state()) == (1, (1, 3), ())
    assert (log.state().leader_epoch, log.state().partition_epoch) == (0, 3)


def test_the_isr_that_it_has_is_granted_as_it_is(log: Log) -> None:
    before = log.state()
    log.apply(log.alter(1, 2))
    assert log.state() is before


Change = Callable[[Log], dict[str, Any]]

FENCED: list[tuple[str, Change, Code]] = [
    ("an earlier leader epoch", lambda log: {"leader_epoch": -1}, Code.FENCED_LEADER_EPOCH),
    ("a leader epoch to come", lambda log: {"leader_epoch": 1}, Code.FENCED_LEADER_EPOCH),
    ("an earlier partition epoch", lambda log: {"partition_epoch": 0}, Code.INVALID_UPDATE_VERSION),
    ("a partition epoch to come", lambda log: {"partition_epoch": 9}, Code.INVALID_UPDATE_VERSION),
    ("an earlier process", lambda log: {"broker_epoch": 0}, Code.STALE_BROKER_EPOCH),
    ("a follower", lambda log: {"broker": 2}, Code.FENCED_LEADER_EPOCH),
    ("nobody", lambda log: {"broker": 9}, Code.STALE_BROKER_EPOCH),
    ("another topic", lambda log: {"topic_id": UUID(int=7)}, Code.UNKNOWN_TOPIC_ID),
    ("no partition", lambda log: {"partition": 1}, Code.UNKNOWN_TOPIC_OR_PARTITION),
    ("no partition", lambda log: {"partition": -1}, Code.UNKNOWN_TOPIC_OR_PARTITION),
    ("not itself", lambda log: {"isr": (2, 3)}, Code.INVALID_REQUEST),
    ("nobody at all", lambda log: {"isr": ()}, Code.INVALID_REQUEST),
    ("no replica", lambda log: {"isr": (1, 4)}, Code.INVALID_REQUEST),
    ("one twice", lambda log: {"isr": (1, 2, 2)}, Code.INVALID_REQUEST),
    ("a member of no known process", lambda log: {"epochs": {}}, Code.INELIGIBLE_REPLICA),
    (
        "a member's earlier process",
        lambda log: {"epochs": {3: log.image.brokers[3].epoch - 1}},
        Code.INELIGIBLE_REPLICA,
    ),
]


@pytest.mark.parametrize(("what", "change", "code"), FENCED, ids=[row[0] for row in FENCED])
def test_a_request_that_is_wrong_in_one_thing_is_refused(
    log: Log, what: str, change: Change, code: Code
) -> None:
    assert log.code(log.alter(1, 2, 3, **change(log))) is code
    assert log.code(log.alter(1, 2, 3)) is Code.NONE, "and only for that"


def test_a_fenced_member_may_not_join(log: Log) -> None:
    request = log.alter(1, 2, 3)
    log.fence(3)
    assert log.code(request) is Code.INELIGIBLE_REPLICA


def test_a_member_that_started_anew_since_it_fetched_may_not_join(log: Log) -> None:
    """KIP-903: it may lack what it had when it caught up."""
    request = log.alter(1, 2, 3)
    log.start(3)
    assert log.code(request) is Code.INELIGIBLE_REPLICA
    log.apply(log.alter(1, 2, 3))


def test_a_deposed_leader_cannot_shrink_the_new_one_away(log: Log) -> None:
    request = log.alter(1)
    log.fence(1)
    log.unfence(1)
    assert shape(log.state()) == (2, (2,), ())
    assert log.code(request) is Code.FENCED_LEADER_EPOCH


def test_a_leader_of_a_deleted_topic_cannot_speak_for_a_new_one_of_its_name(log: Log) -> None:
    log.apply(DeleteTopic("t"))
    log.topic(1, 2, 3)
    request = log.alter(1, 2)
    log.apply(DeleteTopic("t"))
    log.topic(1, 2, 3)
    assert log.code(request) is Code.UNKNOWN_TOPIC_ID


# -- elections -----------------------------------------------------------------------------------


def test_nobody_outside_the_isr_leads_by_itself(log: Log) -> None:
    log.fence(2)
    log.fence(1)
    assert shape(log.state()) == (NO_LEADER, (1,), ())
    assert log.image.active(3) and log.image.counters.unclean_elections == 0


def test_an_unclean_election_where_it_is_allowed() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=UNCLEAN)
    log.fence(3)
    log.unfence(3)
    log.fence(2)
    log.fence(1)
    assert shape(log.state()) == (3, (3,), ())
    assert log.image.counters.unclean_elections == 1


def test_allowing_it_later_helps_a_partition_that_waits(log: Log) -> None:
    log.fence(2)
    log.fence(1)
    changes = [(key, 0, value) for key, value in UNCLEAN.items()]
    log.apply(AlterConfig("t", changes))
    assert shape(log.state()) == (3, (3,), ())


def test_allowing_it_for_all_topics_does_too(log: Log) -> None:
    log.fence(2)
    log.fence(1)
    changes = [(key, 0, value) for key, value in UNCLEAN.items()]
    log.apply(AlterConfig("", changes))
    assert shape(log.state()) == (3, (3,), ())


def test_a_clean_election_is_preferred_to_an_unclean_one() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=UNCLEAN)
    log.fence(1)
    assert shape(log.state()) == (2, (2, 3), ())
    assert log.image.counters.unclean_elections == 0


def test_the_preferred_replica_leads_again_on_request(log: Log) -> None:
    log.start(1, clean=True)
    assert log.state().leader == 2
    log.apply(ElectPreferred("t", 0))
    assert shape(log.state()) == (1, (1, 2), ())


def test_the_preferred_replica_is_not_made_leader_out_of_sync(log: Log) -> None:
    assert log.code(ElectPreferred("t", 0)) is Code.ELECTION_NOT_NEEDED
    log.fence(1)
    assert log.code(ElectPreferred("t", 0)) is Code.PREFERRED_LEADER_NOT_AVAILABLE
    log.unfence(1)
    assert log.code(ElectPreferred("t", 0)) is Code.PREFERRED_LEADER_NOT_AVAILABLE
    assert log.code(ElectPreferred("t", 1)) is Code.UNKNOWN_TOPIC_OR_PARTITION


def test_lowering_what_must_be_in_sync_makes_nobody_else_eligible() -> None:
    """With one enough, the leader may acknowledge alone what the others lack."""
    log = Log(1, 2)
    log.topic(1, 2, configs={"min.insync.replicas": "2"})
    log.fence(2)
    assert log.state().elr == (2,)
    log.apply(AlterConfig("t", [("min.insync.replicas", 0, "1")]))
    assert shape(log.state()) == (1, (1,), ())
    log.apply(AlterConfig("t", [("min.insync.replicas", 0, "2")]))
    assert shape(log.state()) == (1, (1,), ()), "and raising it brings nobody back"


def withdrawal(log: Log, broker: int) -> Withdraw:
    state = log.state()
    return Withdraw(broker, log.image.brokers[broker].epoch, state.topic_id, state.partition)


def test_a_replica_that_cannot_be_served_leads_no_more(log: Log) -> None:
    log.apply(withdrawal(log, 1))
    assert shape(log.state()) == (2, (2,), ())
    assert log.image.active(1), "for its other partitions"
    log.apply(withdrawal(log, 1))
    assert log.code(ElectPreferred("t", 0)) is Code.PREFERRED_LEADER_NOT_AVAILABLE
    assert log.image.counters.elections == 1


def test_a_replica_that_cannot_be_served_is_not_eligible() -> None:
    log = Log(1, 2)
    log.topic(1, 2, configs={"min.insync.replicas": "2"})
    log.fence(2)
    assert log.state().elr == (2,)
    log.apply(withdrawal(log, 2))
    assert shape(log.state()) == (1, (1,), ())


def test_the_last_replica_in_sync_stays_since_nobody_has_more(log: Log) -> None:
    log.fence(2)
    before = log.state()
    log.apply(withdrawal(log, 1))
    assert log.state() == before and shape(before) == (1, (1,), ())


def test_only_the_process_that_is_there_withdraws_and_only_from_its_topic(log: Log) -> None:
    earlier = withdrawal(log, 1)
    log.start(1)
    assert log.code(earlier) is Code.STALE_BROKER_EPOCH
    of_deleted = withdrawal(log, 2)
    log.apply(DeleteTopic("t"))
    log.topic(1, 2, 3)
    assert log.code(of_deleted) is Code.UNKNOWN_TOPIC_ID


def test_what_happened_is_counted(log: Log) -> None:
    log.apply(log.alter(1, 2, 3))
    log.fence(1)
    counters = log.image.counters
    assert (counters.elections, counters.isr_shrinks, counters.isr_expands) == (1, 2, 1)
    assert counters.fences == 2
