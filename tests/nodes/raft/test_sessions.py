"""A command of a session applies once, and never if that cannot be known."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.raft import sessions
from nodes.raft.sessions import SessionExpired, Sessions


def test_a_repeated_command_gets_the_first_result_and_is_not_applied() -> None:
    kept = Sessions()
    kept.open(5)
    assert kept.apply((5, 1, 1), lambda: "first") == "first"
    assert kept.apply((5, 1, 1), lambda: pytest.fail("again")) == "first"


def test_a_command_of_an_unknown_session_is_refused() -> None:
    with pytest.raises(SessionExpired):
        Sessions().apply((5, 1, 1), lambda: pytest.fail("applied"))


def test_results_that_nobody_asks_for_any_more_are_forgotten_and_never_applied_again() -> None:
    kept = Sessions()
    kept.open(5)
    kept.apply((5, 1, 1), lambda: 1)
    kept.apply((5, 3, 3), lambda: 3)
    assert kept.dump() == [(5, 3, [(3, 3)])]
    assert kept.apply((5, 1, 1), lambda: pytest.fail("again")) is None
    assert kept.apply((5, 2, 2), lambda: pytest.fail("after it was given up")) is None


def test_an_echo_with_an_old_bound_does_not_lower_it() -> None:
    kept = Sessions()
    kept.open(5)
    for number in (1, 2, 3):
        kept.apply((5, number, number), lambda: None)
    kept.apply((5, 3, 1), lambda: pytest.fail("again"))
    assert kept.apply((5, 2, 1), lambda: pytest.fail("again")) is None


def test_the_session_that_was_not_used_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    kept = Sessions()
    kept.open(1)
    kept.open(2)
    kept.apply((1, 1, 1), lambda: None)
    kept.open(3)
    kept.apply((1, 2, 1), lambda: None)
    with pytest.raises(SessionExpired):
        kept.apply((2, 1, 1), lambda: None)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)), max_size=40),
    st.integers(0, 40),
)
def test_nothing_applies_twice_and_a_dump_goes_on_as_the_original(
    commands: list[tuple[int, int, int]], cut: int
) -> None:
    kept, times = Sessions(), Counter[tuple[int, int]]()
    kept.open(1)
    kept.open(2)
    for place, (id, sequence, lowest) in enumerate(commands):
        if place == cut:
            kept = Sessions.load(msgspec.msgpack.decode(msgspec.msgpack.encode(kept.dump())))
        session = id, sequence, min(lowest, sequence)
        if id > 2:
            with pytest.raises(SessionExpired):
                kept.apply(session, lambda: pytest.fail("applied"))
            continue
        kept.apply(session, lambda id=id, n=sequence: times.update([(id, n)]))  # type: ignore[misc]
    assert all(count == 1 for count in times.values())
