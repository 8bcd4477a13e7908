"""A broker that is silent for a session is fenced; a leader that was stopped blames nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nodes.broker.controller.liveness import STEP_S, Liveness


def test_a_silent_broker_is_found_after_its_session() -> None:
    liveness = Liveness(1.0)
    assert liveness.silent([1, 2]) == []
    for step in range(10):
        liveness.passed(STEP_S)
        if step < 5:
            liveness.heard(2)
        assert liveness.silent([1, 2]) == []
    liveness.passed(STEP_S)
    assert liveness.silent([1, 2]) == [1]
    for _ in range(5):
        liveness.passed(STEP_S)
    assert liveness.silent([1, 2]) == [1, 2]
    assert liveness.silent([2]) == [2], "until it is fenced, or heard"


def test_the_time_in_which_the_leader_stood_still_does_not_count() -> None:
    liveness = Liveness(1.0)
    liveness.heard(1)
    liveness.passed(60.0)
    assert liveness.silent([1]) == []


def test_a_new_leader_grants_a_full_session() -> None:
    liveness = Liveness(1.0)
    liveness.heard(1)
    for _ in range(9):
        liveness.passed(STEP_S)
    liveness.restart()
    assert liveness.silent([1]) == []
    for _ in range(9):
        liveness.passed(STEP_S)
        assert liveness.silent([1]) == []


@given(st.lists(st.floats(0, 0.5), max_size=60), st.floats(0.3, 3))
def test_nobody_is_fenced_sooner_than_after_a_session(steps: list[float], session_s: float) -> None:
    liveness, passed_s = Liveness(session_s), 0.0
    liveness.heard(1)
    for step_s in steps:
        liveness.passed(step_s)
        passed_s += step_s
        if liveness.silent([1]):
            assert passed_s > session_s
