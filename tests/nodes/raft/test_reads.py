"""Reads see all that was committed before they were asked for (thesis, §6.4)."""

from __future__ import annotations

from nodes.raft.core import Core
from nodes.raft.messages import Append
from nodes.raft.ready import Ready
from tests.nodes.raft.world import CONFIG, World


def taken(core: Core) -> Ready:
    ready = core.take()
    assert ready is not None
    core.persisted(ready)
    return ready


def test_a_read_waits_for_a_majority_to_answer_after_it_was_asked() -> None:
    world = World(seed=1)
    leader = world.lead()
    world.read(leader)
    assert world.statistics["read"] == 0
    world.settle()
    assert world.statistics["read"] == 1


def test_answers_to_earlier_heartbeats_confirm_nothing() -> None:
    world = World(seed=1)
    leader = world.lead()
    for _ in range(CONFIG.heartbeat):
        world.tick(leader.id)
    world.finish_disk(leader.id)
    world.read(leader)
    world.finish_disk(leader.id)
    rounds = sorted({p.message.round for p in world.packets if isinstance(p.message, Append)})
    assert len(rounds) == 2
    early = [p for p in world.packets if p.message.round == rounds[0]]
    late = [p for p in world.packets if p not in early]
    world.packets = early
    world.settle()
    assert world.statistics["read"] == 0
    world.packets = late
    world.settle()
    assert world.statistics["read"] == 1


def test_a_new_leader_answers_once_it_has_committed_something_of_its_own() -> None:
    world = World(seed=1)
    core = world.elect(1, {1, 2})
    world.read(core)
    assert core.commit == 0
    world.settle()
    world.calm(CONFIG.heartbeat)
    assert world.statistics["read"] == 1 and core.commit > 0


def test_a_leader_that_is_cut_off_answers_nobody() -> None:
    world = World(seed=1)
    leader = world.lead()
    world.isolate(leader.id)
    world.read(leader)
    world.calm(3 * CONFIG.patience)
    assert world.statistics["read"] == 0 and not world._reads, "it knows that the read is lost"


def test_who_does_not_lead_is_not_asked() -> None:
    world = World(seed=1)
    leader = world.lead()
    follower = world.hosts[leader.id % 3 + 1].core
    assert follower is not None and not follower.read_index(7)


def test_a_single_voter_confirms_itself() -> None:
    world = World(seed=1, voters=1)
    leader = world.lead()
    assert leader.read_index(7)
    assert taken(leader).reads == [(7, leader.commit)]
