"""How entries get to followers, and what is committed."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from nodes.raft import followers, leading
from nodes.raft.core import Core
from nodes.raft.followers import Follower
from nodes.raft.log import Log, Snapshot
from nodes.raft.messages import Append, AppendReply, Entry, VoteReply
from nodes.raft.ready import HardState, Ready
from tests.nodes.raft.world import CONFIG, World


def entries(*terms: int, first: int = 1) -> list[Entry]:
    return [Entry(index, term, b"%d" % index) for index, term in enumerate(terms, first)]


def core_with(*terms: int, term: int = 9, id: int = 1, **options: Any) -> Core:
    return Core(
        id, (1, 2, 3), Random(1), hard_state=HardState(term), entries=entries(*terms), **options
    )


def answers(core: Core) -> list[Any]:
    ready = core.take()
    assert ready is not None
    core.persisted(ready)
    return [message for _, message in ready.messages]


def test_a_follower_takes_entries_that_follow_what_it_has() -> None:
    core = core_with(1, 1)
    core.receive(2, Append(9, 2, 1, entries(9, 9, first=3), 3, 5))
    assert answers(core) == [AppendReply(9, True, 4, 2, 5)]
    assert (core.log.last_index, core.commit) == (4, 3)


def test_a_follower_commits_no_further_than_it_is_known_to_match() -> None:
    core = core_with(1, 1, 1)
    core.receive(2, Append(9, 2, 1, [], 3, 5))
    assert core.commit == 2, "its entry 3 may be another one than the leader's"


def test_conflicting_entries_are_replaced_and_matching_ones_are_kept() -> None:
    core = core_with(1, 2, 2)
    core.receive(2, Append(9, 0, 0, entries(1, 3), 0, 1))
    assert [entry.term for entry in core.log.entries] == [1, 3]
    ready = core.take()
    assert ready is not None and ready.truncate_from == 2
    assert [entry.index for entry in ready.entries] == [2], "what was there is not written again"


def test_a_late_message_takes_nothing_back() -> None:
    core = core_with(1)
    core.receive(2, Append(9, 1, 1, entries(9, 9, 9, first=2), 4, 2))
    core.receive(2, Append(9, 1, 1, entries(9, first=2), 2, 1))
    assert (core.log.last_index, core.commit) == (4, 4)


def test_a_hint_leads_back_a_term_at_a_time() -> None:
    core = core_with(1, 1, 4, 4, 4)
    core.receive(2, Append(9, 5, 6, [], 0, 1))
    assert answers(core) == [AppendReply(9, False, 2, 5, 1)]
    core.receive(2, Append(9, 8, 6, [], 0, 1))
    assert answers(core) == [AppendReply(9, False, 5, 8, 1)], "its log ends sooner"


def test_a_message_that_is_not_in_order_is_none_of_ours() -> None:
    core = core_with(1)
    core.receive(2, Append(9, 1, 1, [Entry(3, 9)], 0, 1))
    assert core.take() is None and core.log.last_index == 1


def test_a_follower_is_sent_no_more_than_it_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "ENTRIES_MAX", 4)
    monkeypatch.setattr(followers, "IN_FLIGHT_MAX", 8)
    world = World(seed=1)
    leader = world.lead()
    world.packets.clear()
    for number in range(100):
        world.command(leader, b"%d" % number)
        world.finish_disk(leader.id)
    sent = [p.message for p in world.packets if p.receiver == leader.id % 3 + 1]
    assert 8 <= sum(len(m.entries) for m in sent if isinstance(m, Append)) <= 12
    world.calm(CONFIG.heartbeat)
    assert len(world.hosts[1].register.commands) == 100, "and gets the rest when it answers"


def test_a_follower_whose_hint_is_below_what_it_confirmed_is_not_stuck() -> None:
    """Entries of one term were confirmed in part; the rest conflicts, and the message that would
    have replaced it was lost."""
    follower = Follower(next=7)
    assert follower.accepted(4)
    follower.next = 7  # 5 and 6 were sent
    assert follower.refused(prev=6, hint=0)
    assert follower.next == 5 and follower.probing
    assert not follower.refused(prev=6, hint=0), "the same refusal again changes nothing"
    assert not follower.refused(prev=4, hint=0), "nor one of what is confirmed"


def test_an_entry_counts_for_its_leader_only_once_it_is_on_its_disk() -> None:
    core = core_with(1)
    core._campaign(pre=False)
    core.receive(2, VoteReply(10, True))
    writing = core.take()
    assert writing is not None and [entry.index for entry in writing.entries] == [2]
    core.receive(2, AppendReply(10, True, 2, 1, 0))
    assert core.commit == 0
    core.persisted(writing)
    assert core.commit == 2


def test_what_was_written_before_its_tail_was_cut_is_stable_all_the_same() -> None:
    core = core_with(1)
    core.receive(2, Append(9, 1, 1, entries(9, 9, 9, first=2), 1, 1))
    writing = core.take()
    assert writing is not None
    core.receive(3, Append(10, 2, 9, entries(10, first=3), 1, 1))
    core.persisted(writing)
    assert core.stable == 2, "entries 3 and 4 are not in the log any more, entry 2 is"
    core._check()


def test_time_never_goes_back_along_the_log() -> None:
    world = World(seed=1)
    leader = world.lead()
    assert leader.propose(b"x", time_ms=1000, seed=0)
    assert leader.propose(b"y", time_ms=500, seed=0)
    assert [entry.time_ms for entry in leader.log.entries][-2:] == [1000, 1000]
    world.calm(CONFIG.heartbeat)
    world.compact(leader.id)
    assert not leader.log.entries
    assert leader.propose(b"z", time_ms=700, seed=0)
    assert leader.log.last_time_ms == 1000, "not even after the log was compacted"


def test_what_is_handed_out_is_handed_out_once() -> None:
    core = core_with(1, 1)
    core.receive(2, Append(9, 2, 1, [], 2, 1))
    ready = core.take()
    assert ready is not None and [entry.index for entry in ready.committed] == [1, 2]
    assert core.take() is None and not Ready()


def test_a_log_knows_terms_of_what_it_holds_only() -> None:
    log = Log(Snapshot(5, 2), entries(3, 3, 4, first=6))
    assert [log.term(index) for index in (4, 5, 6, 8, 9)] == [None, 2, 3, 4, None]
    assert log.before_term_of(7) == 5 and log.before_term_of(8) == 7
    assert [entry.index for entry in log.batch(6, 2, 100)] == [6, 7]
    assert [entry.index for entry in log.batch(6, 9, 0)] == [6], "at least one"
    assert [entry.index for entry in log.batch(6, 9, 1)] == [6, 7], "and one past the limit"
    log.compact(7, b"state")
    assert (log.snapshot.term, log.last_index, len(log.entries)) == (3, 8, 1)
    log.truncate(8)
    assert (log.last_index, log.last_term) == (7, 3)
