"""Who may lead, and who keeps the peace (thesis, §3.4, §4.2.3, §6.2, §9.6)."""

from __future__ import annotations

import pytest

from nodes.raft.core import Core
from nodes.raft.messages import Append, Vote, VoteReply
from nodes.raft.ready import Role
from tests.nodes.raft.machines import Proposal
from tests.nodes.raft.world import CONFIG, World


@pytest.fixture
def world() -> World:
    return World(seed=1)


def follower_of(world: World, leader: Core) -> Core:
    core = world.hosts[next(id for id in world.voters if id != leader.id)].core
    assert core is not None
    return core


def test_a_single_voter_leads_alone() -> None:
    world = World(seed=1, voters=1)
    leader = world.lead()
    proposal = world.command(leader, b"x")
    assert leader.commit < leader.log.last_index, "it is not on the disk yet"
    world.settle()
    assert proposal.result == 1


def test_a_single_voter_leads_once_its_term_is_on_its_disk() -> None:
    """Else it could lead the same term again after a crash, with other entries."""
    world = World(seed=1, voters=1)
    core = world.hosts[1].core
    assert core is not None
    while core.term == 0:
        world.tick(1)
    assert core.role is Role.CANDIDATE
    world.finish_disk(1)
    assert core.role is Role.LEADER


def test_a_host_that_hears_a_leader_ignores_whoever_wants_to_replace_it(world: World) -> None:
    leader = world.lead()
    follower = follower_of(world, leader)
    term = follower.term
    for pre in (True, False):
        for core, sender in ((follower, 3), (leader, follower.id)):
            sender = next(id for id in world.voters if id not in (core.id, leader.id))
            core.receive(sender, Vote(term + 5, 10**6, term + 4, pre))
            assert core.term == term and core.take() is None, "not even an answer"


def test_a_host_that_hears_nobody_any_more_gives_its_vote(world: World) -> None:
    leader = world.lead()
    follower = follower_of(world, leader)
    other = next(id for id in world.voters if id not in (leader.id, follower.id))
    for _ in range(CONFIG.patience):
        follower.tick()
    follower.take()
    follower.receive(other, Vote(follower.term + 1, 10**6, follower.term, pre=False))
    ready = follower.take()
    assert ready is not None and ready.hard_state is not None
    assert ready.hard_state.vote == other, "the vote is saved with the answer"
    assert (other, VoteReply(follower.term, True)) in ready.messages


def test_a_host_that_was_cut_off_does_not_raise_its_term(world: World) -> None:
    leader = world.lead()
    lonely = follower_of(world, leader)
    term = leader.term
    world.isolate(lonely.id)
    world.calm(20 * CONFIG.patience)
    assert lonely.role is Role.PRE_CANDIDATE and lonely.term == term
    world.heal()
    world.calm(CONFIG.patience)
    assert (world.leaders(), leader.term) == ([leader], term), "its return disturbs nobody"
    assert lonely.leader == leader.id


def test_a_leader_that_no_majority_answers_steps_down(world: World) -> None:
    leader = world.lead()
    world.isolate(leader.id)
    for _ in range(CONFIG.patience - CONFIG.heartbeat):
        world.tick(leader.id)
    assert leader.role is Role.LEADER
    for _ in range(CONFIG.heartbeat + 1):
        world.tick(leader.id)
    assert leader.role is not Role.LEADER and leader.leader is None


def test_a_minority_that_is_lost_leaves_the_leader_in_place() -> None:
    world = World(seed=3, voters=5)
    leader = world.lead()
    for id in [id for id in world.voters if id != leader.id][:2]:
        world.crash(id)
    world.calm(10 * CONFIG.patience)
    assert world.leaders() == [leader]


def test_a_higher_term_is_never_ignored_by_a_leader(world: World) -> None:
    """Else a host with a higher term, which refuses the leader, could never come back."""
    leader = world.lead()
    follower = follower_of(world, leader)
    follower.term += 3
    world.calm(20 * CONFIG.patience)
    assert len(world.leaders()) == 1
    terms = [host.core.term for host in world.hosts.values() if host.core is not None]
    assert len(set(terms)) == 1 and terms[0] >= follower.term


def test_a_log_that_lacks_entries_gets_no_vote(world: World) -> None:
    leader = world.lead()
    behind = follower_of(world, leader)
    world.isolate(behind.id)
    world.command(leader, b"x")
    world.settle()
    world.heal()
    voter = world.hosts[next(i for i in world.voters if i not in (leader.id, behind.id))].core
    assert voter is not None
    world.crash(voter.id)
    world.restart(voter.id)
    voter = world.hosts[voter.id].core
    assert voter is not None
    for pre in (True, False):
        vote = Vote(voter.term + 1, behind.log.last_index, behind.log.last_term, pre)
        voter.receive(behind.id, vote)
        ready = voter.take()
        assert ready is not None
        assert [message.granted for _, message in ready.messages] == [False]


def test_a_pre_candidate_may_still_give_its_vote(world: World) -> None:
    """Two hosts that lose patience at once shall not wait for each other's next attempt."""
    world.tick_until(1, Role.PRE_CANDIDATE)
    world.tick_until(2, Role.PRE_CANDIDATE)
    core = world.hosts[2].core
    assert core is not None
    core.receive(3, Vote(core.term + 1, 0, 0, pre=False))
    assert (core.vote, core.role) == (3, Role.FOLLOWER)


# -- handing over --------------------------------------------------------------------------------


def test_leadership_is_handed_to_a_host_that_has_everything(world: World) -> None:
    leader = world.lead()
    heir = follower_of(world, leader)
    world.command(leader, b"x")
    assert leader.transfer(heir.id)
    assert leader.propose(b"y", 0, 0) is None, "it would only be overwritten"
    world.calm(2)
    assert world.leaders() == [heir] and heir.leader == heir.id
    assert heir.commit == heir.log.last_index, "and all was kept"


def test_a_transfer_that_does_not_come_about_is_given_up(world: World) -> None:
    leader = world.lead()
    heir = follower_of(world, leader)
    world.crash(heir.id)
    assert leader.transfer(heir.id)
    world.calm(CONFIG.patience)
    assert world.leaders() == [leader]
    proposal = world.command(leader, b"x")
    world.settle()
    assert proposal.result == 1


def test_leadership_is_handed_to_other_voters_only(world: World) -> None:
    leader = world.lead()
    follower = follower_of(world, leader)
    assert not leader.transfer(leader.id) and not leader.transfer(9)
    assert not follower.transfer(leader.id)


def test_strangers_are_not_heard(world: World) -> None:
    leader = world.lead()
    leader.receive(9, Append(10**6, 0, 0, [], 0, 0))
    leader.receive(leader.id, Append(10**6, 0, 0, [], 0, 0))
    assert leader.role is Role.LEADER


def test_no_command_is_lost_over_many_handovers(world: World) -> None:
    wanted = []
    for number in range(12):
        leader = world.lead()
        wanted.append(b"%d" % number)
        world.propose(Proposal(wanted[-1]), leader)
        assert leader.transfer(world.voters[number % 3]) or leader.id == world.voters[number % 3]
    world.lead()
    assert all(host.register.commands == wanted for host in world.hosts.values())
