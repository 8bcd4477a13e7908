"""Brokers register, are fenced and unfenced; what they lead and where they are in sync follows."""

from __future__ import annotations

import pytest

from nodes.broker.controller.commands import Fence, Register, Unfence
from nodes.broker.errors import Code
from nodes.broker.metadata import NO_LEADER
from tests.nodes.broker.controller.images import Log, shape

TWO = {"min.insync.replicas": "2"}


def test_a_broker_is_fenced_until_it_has_caught_up() -> None:
    log = Log()
    epoch = log.register(1)
    assert log.image.brokers[1].fenced and epoch == log.image.brokers[1].epoch
    log.unfence(1)
    assert log.image.active(1)


def test_every_process_gets_a_higher_epoch_and_the_same_one_keeps_its_own() -> None:
    log = Log()
    first = log.register(1)
    again = log.apply(Register(1, log.image.brokers[1].incarnation, clean=True))
    assert again == first
    assert log.register(1) > first


@pytest.mark.parametrize("command", [Fence, Unfence])
def test_words_about_an_earlier_process_do_not_count(command: type[Fence] | type[Unfence]) -> None:
    log = Log(1)
    old = log.image.brokers[1].epoch
    log.start(1)
    assert log.code(command(1, old)) is Code.STALE_BROKER_EPOCH
    assert log.code(command(9, 1)) is Code.STALE_BROKER_EPOCH


def test_a_fenced_broker_leads_nothing_and_leaves_every_isr() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3)
    log.topic(2, 1, 3, name="u")
    log.fence(1)
    assert shape(log.state()) == (2, (2, 3), ())
    assert shape(log.state("u")) == (2, (2, 3), ())
    assert log.state().leader_epoch == 1 and log.state("u").leader_epoch == 0
    assert log.state().partition_epoch == log.state("u").partition_epoch == 1


def test_fencing_and_unfencing_again_changes_nothing() -> None:
    log = Log(1, 2)
    log.topic(1, 2)
    log.unfence(1)
    log.fence(2)
    before = log.state()
    log.fence(2)
    assert log.state() is before and log.image.counters.fences == 1


def test_the_last_in_sync_replica_stays_and_leads_again_when_it_is_back() -> None:
    log = Log(1, 2)
    log.topic(1, 2)
    log.fence(2)
    log.fence(1)
    assert shape(log.state()) == (NO_LEADER, (1,), ())
    log.unfence(2)
    assert log.state().leader == NO_LEADER, "it may lack what 1 acknowledged alone"
    log.unfence(1)
    assert shape(log.state()) == (1, (1,), ())


# -- starting anew -------------------------------------------------------------------------------


def test_an_unclean_restart_leaves_every_isr_before_it_may_lead() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3)
    log.start(1)
    assert shape(log.state()) == (2, (2, 3), ())


def test_a_clean_restart_costs_the_leadership_only() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3)
    log.start(1, clean=True)
    assert shape(log.state()) == (2, (1, 2, 3), ())


def test_an_unclean_restart_of_the_only_replica_leads_again() -> None:
    log = Log(1, 2)
    log.topic(1)
    log.register(1)
    assert shape(log.state()) == (NO_LEADER, (1,), ())
    log.unfence(1)
    assert shape(log.state()) == (1, (1,), ())
    assert log.state().leader_epoch == 2, "what it led before is over"


def test_all_restart_uncleanly_one_after_the_other() -> None:
    """The last of them, which the others waited for, has whatever there is."""
    log = Log(1, 2, 3)
    log.topic(1, 2, 3)
    for id in (1, 2, 3):
        log.register(id)
    assert shape(log.state()) == (NO_LEADER, (3,), ())
    log.unfence(1)
    assert log.state().leader == NO_LEADER
    log.unfence(3)
    assert shape(log.state()) == (3, (3,), ())


# -- eligible leader replicas (KIP-966) ----------------------------------------------------------


def test_who_leaves_an_isr_that_is_too_small_stays_eligible() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=TWO)
    log.fence(3)
    assert shape(log.state()) == (1, (1, 2), ()), "there are enough to go on without it"
    log.fence(2)
    assert shape(log.state()) == (1, (1,), (2,))


def test_an_eligible_replica_leads_when_the_last_in_sync_may_have_lost_something() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=TWO)
    log.fence(3)
    log.fence(2)
    log.register(1)
    assert shape(log.state()) == (NO_LEADER, (2,), ())
    log.unfence(1)
    log.unfence(3)
    assert log.state().leader == NO_LEADER, "neither has all that was acknowledged"
    log.unfence(2)
    assert shape(log.state()) == (2, (2,), ())


def test_when_the_last_in_sync_is_fenced_whoever_is_back_first_leads() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=TWO)
    for id in (3, 2, 1):
        log.fence(id)
    assert shape(log.state()) == (NO_LEADER, (1, 2), ())
    log.unfence(2)
    assert shape(log.state()) == (2, (1, 2), ())


def test_an_eligible_replica_that_restarts_uncleanly_is_eligible_no_more() -> None:
    log = Log(1, 2)
    log.topic(1, 2, configs=TWO)
    log.fence(2)
    assert log.state().elr == (2,)
    log.start(2)
    assert shape(log.state()) == (1, (1,), ())


def test_an_isr_that_is_large_enough_needs_nobody_else() -> None:
    log = Log(1, 2, 3)
    log.topic(1, 2, 3, configs=TWO)
    log.fence(3)
    log.fence(2)
    log.unfence(3)
    log.apply(log.alter(1, 3))
    assert shape(log.state()) == (1, (1, 3), ())


def test_no_more_are_needed_than_there_are_replicas() -> None:
    log = Log(1, 2)
    log.topic(1, configs={"min.insync.replicas": "3"})
    log.topic(1, 2, name="u", configs={"min.insync.replicas": "3"})
    log.fence(1)
    assert shape(log.state()) == (NO_LEADER, (1,), ())
    assert shape(log.state("u")) == (2, (2,), (1,))
