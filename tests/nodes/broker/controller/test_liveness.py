"""A broker that is silent for a session is fenced; a leader that was stopped blames nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.broker.controller.liveness import LATE_S, SLACK_S, Liveness

SESSION_S = 1.0


class Leader:
    """Looks for silent brokers when it is told to; its time is a number."""

    def __init__(self, session_s: float = SESSION_S) -> None:
        self.liveness, self.now_s = Liveness(session_s), 0.0

    def heard(self, broker: int) -> None:
        self.liveness.heard(broker, self.now_s)

    def look(self, *brokers: int, late_s: float = 0.0) -> list[int]:
        """The next look, when it is due or later than that: who is silent."""
        self.now_s += self.liveness.pause_s(brokers) + late_s
        return self.liveness.silent(brokers, self.now_s)

    def silent_s(self, *brokers: int) -> float:
        """Look until somebody is silent: when that is."""
        while not self.look(*brokers):
            assert self.now_s < 100, "nobody is found for ever"
        return self.now_s


def test_a_silent_broker_is_found_just_after_its_session() -> None:
    leader = Leader()
    leader.heard(1)
    assert SESSION_S < leader.silent_s(1) <= SESSION_S + 2 * SLACK_S


def test_a_session_begins_with_the_last_heartbeat_not_with_the_last_look() -> None:
    leader = Leader()
    leader.heard(1)
    leader.look(1)
    leader.now_s += 0.2
    leader.heard(1)
    heard_s = leader.now_s
    assert SESSION_S < leader.silent_s(1) - heard_s <= SESSION_S + 2 * SLACK_S


def test_who_is_heard_is_not_blamed_for_who_is_not() -> None:
    leader = Leader()
    for broker in (1, 2):
        leader.heard(broker)
    while not (silent := leader.look(1, 2)):
        leader.heard(2)
    assert silent == [1]
    assert leader.look(1, 2) == [1], "until it is fenced, or heard"


def test_the_time_in_which_the_leader_stood_still_does_not_count() -> None:
    leader = Leader()
    leader.heard(1)
    assert leader.look(1, late_s=60.0) == []
    leader.heard(1)  # it had waited in the leader's sockets
    stopped_s = leader.now_s
    assert leader.silent_s(1) - stopped_s > SESSION_S


def test_a_heartbeat_that_comes_first_after_a_stop_makes_nobody_else_silent() -> None:
    leader = Leader()
    for broker in (1, 2):
        leader.heard(broker)
    leader.liveness.pause_s((1, 2))
    leader.now_s += 60.0
    leader.heard(1)
    assert leader.liveness.silent((1, 2), leader.now_s) == []


def test_a_leader_that_is_always_a_little_late_finds_the_silent_all_the_same() -> None:
    leader = Leader()
    leader.heard(1)
    looks = 0
    while not leader.look(1, late_s=10 * LATE_S):
        looks += 1
    assert looks <= 4, "each pause counts, though not for longer than it was to be"


def test_a_new_leader_grants_a_full_session() -> None:
    leader = Leader()
    leader.heard(1)
    while leader.now_s < 0.9 * SESSION_S:
        leader.look(1)
    leader.liveness.restart()
    assert leader.liveness.silent((1,), leader.now_s) == []
    began_s = leader.now_s
    assert leader.silent_s(1) - began_s > SESSION_S


@given(st.floats(0.3, 10), st.lists(st.floats(0, 5), max_size=5))
def test_a_leader_looks_a_few_times_a_session(session_s: float, silent_for_s: list[float]) -> None:
    leader = Leader(session_s)
    brokers = range(len(silent_for_s))
    for broker, age_s in zip(brokers, silent_for_s, strict=True):
        leader.now_s = max(leader.now_s, 5 - age_s)
        leader.heard(broker)
    assert min(SLACK_S, session_s / 4) <= leader.liveness.pause_s(brokers) <= session_s / 4


@given(st.lists(st.floats(0, 0.5), max_size=60), st.floats(0.3, 3))
def test_nobody_is_fenced_sooner_than_after_a_session(late: list[float], session_s: float) -> None:
    leader = Leader(session_s)
    leader.heard(1)
    for late_s in late:
        if leader.look(1, late_s=late_s):
            assert leader.now_s > session_s
