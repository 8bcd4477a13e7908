"""The simulated world can fail: each bug that is planted in a core or its host is caught by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nodes.raft import core as core_module
from nodes.raft import leading as leading_module
from nodes.raft.core import Core
from nodes.raft.leading import Leading
from nodes.raft.messages import Append, Vote
from nodes.raft.ready import HardState, Ready, Role
from nodes.raft.sessions import Sessions
from tests.nodes.raft.machines import Disk
from tests.nodes.raft.test_core import settled
from tests.nodes.raft.world import World

SEEDS = range(400)


class VoteForgotten(Disk):
    """A host that comes back has its term, but not whom it gave its vote."""

    def save(self, ready: Ready) -> None:
        super().save(ready)
        self.hard_state = HardState(self.hard_state.term, 0)


class EntriesForgotten(Disk):
    """What was acknowledged before it was durable is gone with the power."""

    def save(self, ready: Ready) -> None:
        super().save(ready)
        self.entries = self.entries[: -len(ready.entries) or None]


class OldTermsCounted(Leading):
    """Commits whatever a majority has, in whichever term it was written (§5.4.2, figure 8)."""

    def advance_commit(self) -> None:
        core = self._core
        matches = sorted([core.stable, *(f.match for f in self.followers.values())], reverse=True)
        core.commit = max(core.commit, matches[len(core.voters) // 2])


class OwnEntriesTrusted(Leading):
    """Counts the leader's own entries before its disk has them."""

    def advance_commit(self) -> None:
        stable, self._core.stable = self._core.stable, self._core.log.last_index
        super().advance_commit()
        self._core.stable = stable


class ReadsUnconfirmed(Leading):
    """Answers reads from what it knows, as if nobody could have taken over."""

    def read(self, id: int) -> None:
        self._core.read_confirmed(id)


class LogsUncompared(Core):
    """Gives its vote to whoever asks first."""

    def _is_complete(self, vote: Vote) -> bool:
        return True


class PrefixUnchecked(Core):
    """Takes entries without asking whether what is before them is the same."""

    def _on_append(self, leader: int, append: Append) -> None:
        prev = self.log.term(append.prev_index)
        if prev is not None and append.term >= self.term:
            append = Append(
                append.term, append.prev_index, prev, append.entries, append.commit, append.round
            )
        super()._on_append(leader, append)


class VotesTwice(Core):
    """Gives a vote to everybody who asks in its term."""

    def _on_vote(self, sender: int, vote: Vote) -> None:
        if vote.term == self.term and not vote.pre and self.role is Role.FOLLOWER:
            self.vote = 0
        super()._on_vote(sender, vote)


def world_with(**parts: Any) -> Callable[[int], World]:
    kind = type("Mutated", (World,), parts)
    return lambda seed: kind(seed, voters=3 + 2 * (seed % 2))


@contextmanager
def led_by(kind: type[Leading]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_module, "Leading", kind)
        yield


def caught(make: Callable[[int], World]) -> str:
    """What the world says of the bug, under the first seed that shows it."""
    for seed in SEEDS:
        world = make(seed)
        try:
            world.run(6000)
            settled(world)
        except AssertionError as error:
            return str(error)
    raise RuntimeError("nobody noticed the bug")


def test_honest_cores_pass() -> None:
    for seed in range(6):
        world = world_with()(seed)
        world.run(6000)
        settled(world)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"disk_class": EntriesForgotten}, "disks"),
        ({"core_class": LogsUncompared}, "lacks entry"),
        ({"core_class": PrefixUnchecked}, ""),
        ({"core_class": VotesTwice}, "two leaders"),
        ({"saves_first": False}, "disks"),
    ],
)
def test_a_bug_in_a_host_is_caught(parts: dict[str, Any], says: str) -> None:
    assert says in caught(world_with(**parts))


def test_sessions_that_forget_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "apply", lambda self, session, apply: apply())
    assert "again" in caught(world_with())


def test_reads_that_nobody_confirms_are_caught() -> None:
    with led_by(ReadsUnconfirmed):
        assert "a read missed" in caught(world_with())


def test_a_leader_that_trusts_what_it_has_not_written_is_caught() -> None:
    with led_by(OwnEntriesTrusted):
        assert "on 0 disks" in caught(lambda seed: World(seed, voters=1))


def two_candidates(disk: type[Disk]) -> World:
    """Both may stand in one term; the third host votes for one, crashes, and is asked again."""
    world = type("Mutated", (World,), {"disk_class": disk})(1)
    for id in (1, 3):
        world.tick_until(id, Role.PRE_CANDIDATE)
    for id in (1, 3):
        world.hand(id, 2)
        world.hand(2, id)
    world.hand(1, 2)
    world.crash(2)
    world.restart(2)
    world.hand(2, 1)
    world.hand(3, 2)
    world.hand(2, 3)
    return world


def test_a_vote_that_is_not_durable_is_caught() -> None:
    assert [core.id for core in two_candidates(Disk).leaders()] == [1]
    with pytest.raises(AssertionError, match="has two leaders"):
        two_candidates(VoteForgotten)


def figure_8() -> World:
    """Ongaro & Ousterhout's figure 8: an entry of an old term on a majority, yet not committed."""
    world = World(8, voters=5)
    everybody = {1, 2, 3, 4, 5}
    one = world.elect(1, {1, 2, 3})
    world.heartbeat(1, everybody, rounds=8)
    world.command(one, b"x")
    world.exchange({1, 2})
    five = world.elect(5, {3, 4, 5})
    assert (five.log.last_index, five.log.last_term) == (2, five.term)
    one = world.elect(1, {1, 2, 3})
    world.heartbeat(1, {1, 2}, rounds=4)
    world.heartbeat(1, {1, 3}, rounds=4)
    disk = world.hosts[3].disk
    assert disk.has(2, 1) and not disk.has(3, one.term), "one step before it may be committed"
    world.elect(5, {3, 4, 5})
    world.exchange(everybody)
    return world


def test_what_figure_8_forbids_does_not_happen_to_honest_leaders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leading_module, "ENTRIES_MAX", 1)
    settled(figure_8())


def test_a_leader_that_commits_old_terms_by_counting_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leading_module, "ENTRIES_MAX", 1)
    with led_by(OldTermsCounted), pytest.raises(AssertionError, match="lacks entry 2"):
        figure_8()
