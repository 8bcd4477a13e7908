"""What Raft promises holds under every schedule of faults that a seed draws."""

from __future__ import annotations

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodes.raft.core import Core
from tests.nodes.raft.machines import Proposal
from tests.nodes.raft.world import CONFIG, World

ELECTED_TICKS = 6 * (CONFIG.patience + CONFIG.election)
"""Enough for several elections that fail for bad luck."""


def settled(world: World) -> None:
    """After all faults are gone the hosts agree, soon, on a leader that gets things done."""
    world.heal()
    world.calm(ELECTED_TICKS)
    leaders = world.leaders()
    assert len(leaders) == 1, "there is no leader, long after all is well"
    marker = Proposal(b"marker")
    world.propose(marker, leaders[0])
    world.calm(3 * CONFIG.heartbeat)
    assert marker.result is not None, "the leader commits nothing"
    assert all(host.register.commands[-1] == b"marker" for host in world.hosts.values())
    world.check_replay()
    world.check_once()


@pytest.mark.parametrize("seed", range(12))
def test_three_hosts_keep_every_promise_and_recover(seed: int) -> None:
    world = World(seed)
    world.run(8000)
    settled(world)


@pytest.mark.parametrize("seed", range(100, 106))
def test_five_hosts_keep_every_promise_and_recover(seed: int) -> None:
    world = World(seed, voters=5)
    world.run(8000)
    settled(world)


@pytest.mark.parametrize("seed", range(200, 204))
def test_a_network_that_loses_and_doubles_half_of_all_is_survived(seed: int) -> None:
    world = World(seed)
    world.run(8000, loss=0.5, doubles=0.5)
    settled(world)


def test_the_schedules_exercise_what_they_are_for() -> None:
    worlds = [World(seed) for seed in range(6)]
    for world in worlds:
        world.run(8000)
    total = sum((world.statistics for world in worlds[1:]), worlds[0].statistics)
    for what in ("crash", "cut", "transfer", "compact", "snapshot", "repeat"):
        assert total[what] > 5, what
    assert total["read"] > 50 and sum(len(world.committed) for world in worlds) > 500


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
@given(seed=st.integers(0, 2**64), voters=st.sampled_from((1, 2, 3, 4, 5)), data=st.data())
def test_any_seed_any_size(seed: int, voters: int, data: st.DataObject) -> None:
    world = World(seed, voters)
    world.run(
        data.draw(st.integers(50, 800)),
        loss=data.draw(st.floats(0, 0.6)),
        doubles=data.draw(st.floats(0, 0.5)),
    )
    settled(world)


def outcome(core: Core) -> tuple[object, ...]:
    """What a tick may change that somebody else can notice, now or at the next message."""
    handing_over = core._leading is not None and core._leading.transfer_to is not None
    return core.role, core.leader, core.term, core.has_ready, handing_over


@pytest.mark.parametrize("seed", range(300, 304))
@pytest.mark.parametrize("voters", (1, 2, 3, 4, 5))
def test_a_driver_need_not_wake_before_the_tick_that_does_something(seed: int, voters: int) -> None:
    world = World(seed, voters)
    for _ in range(40):
        world.run(50)
        for host in world.hosts.values():
            if host.core is None:
                continue
            core = copy.deepcopy(host.core)
            core.take()
            before, ticks = outcome(core), core.ticks_to_next()
            assert ticks > 0
            for _ in range(ticks - 1):
                core.tick()
                assert outcome(core) == before, "too late for that"
            core.tick()
            alone = voters == 1 and core._leading is not None
            assert alone or outcome(core) != before, "too early"
