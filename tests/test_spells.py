"""Faults of a history as spells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.spells import Spell, spells
from tests.stories import Events, fault, history, mark, ns, operation, phase


def times(found: list[Spell]) -> list[tuple[str, str | None, float, float]]:
    return [(s.kind, s.node, s.begin / 1e9, s.end / 1e9) for s in found]


def test_a_killed_node_is_down_until_it_was_started_again() -> None:
    found = spells(history(fault(1, "kill", ["n1", "n2"]), fault(3, "start", ["n1"], took_s=0.5)))
    assert times(found) == [("kill", "n1", 1, 3.5), ("kill", "n2", 1, 3.5)]
    two = spells(
        history(
            fault(1, "kill", ["n1", "n2"]), fault(3, "start", ["n1"]), fault(5, "start", ["n2"])
        )
    )
    assert times(two) == [("kill", "n1", 1, 3), ("kill", "n2", 1, 5)]


def test_start_does_not_resume_and_resume_does_not_start() -> None:
    found = spells(
        history(
            fault(1, "kill", ["n1"]),
            fault(2, "pause", ["n2"]),
            fault(3, "start", ["n1", "n2"]),
            fault(4, "resume", ["n2", "n1"]),
        )
    )
    assert times(found) == [("kill", "n1", 1, 3), ("pause", "n2", 2, 4)]


def test_a_start_that_failed_ends_nothing() -> None:
    dead = {"n1": {"outcome": "unobserved", "state": "dead"}, "n2": {"outcome": "observed"}}
    found = spells(
        history(
            fault(1, "kill", ["n1", "n2"]),
            fault(2, "start", ["n1", "n2"], outcome="unobserved", evidence=dead),
            fault(3, "start", ["n1"], outcome="failed"),
            fault(4, "start", ["n1"]),
        )
    )
    assert times(found) == [("kill", "n1", 1, 4), ("kill", "n2", 1, 2)]


def test_a_partition_ends_with_its_stop_or_with_the_next_one() -> None:
    first, second = {"n1": ["n2"]}, {"n3": ["c1"]}
    found = spells(
        history(
            fault(1, "start-partition", first, took_s=0.2),
            fault(3, "start-partition", second),
            fault(5, "stop-partition", took_s=0.1),
        )
    )
    assert times(found) == [("partition", None, 1, 3), ("partition", None, 3, 5.1)]
    assert [spell.links for spell in found] == [{("n2", "n1")}, {("c1", "n3")}]
    assert [spell.between_nodes for spell in found] == [True, False]
    assert [spell.applied for spell in found] == [ns(1.2), ns(3)]


def test_links_are_read_from_pairs() -> None:
    value = {"behaviour": "flaky", "shape": {}, "links": [["c1", "n1"], ["n1", "c1"]]}
    found = spells(
        history(fault(1, "start-links", value), fault(2, "reset-links"), fault(3, "stop-links"))
    )
    assert times(found) == [("links", None, 1, 3), ("reset-links", None, 2, 2)]
    assert not found[0].between_nodes
    assert found[1].between_nodes, "nobody says what it hit, so it may have been anything"


def test_healing_ends_everything_and_so_does_the_end() -> None:
    broken = [fault(1, "kill", ["n1"]), fault(2, "start-partition", {"n1": ["n2"]})]
    healed = spells(history(*broken, phase("main", 0, 5), phase("heal", 5, 7), fault(9, "noop")))
    assert [(s.kind, s.end) for s in healed[:2]] == [("kill", ns(7)), ("partition", ns(7))]
    cut_off = spells(history(*broken, phase("heal", 5, None), operation(8, 9, 0, "send")))
    assert [(s.kind, s.end) for s in cut_off] == [("kill", ns(9)), ("partition", ns(9))]


def test_what_was_skipped_was_no_fault() -> None:
    partly = {"n1": {"outcome": "skipped", "why": "n1 is dead"}, "n2": {"outcome": "observed"}}
    found = spells(
        history(
            fault(1, "pause", ["n1"], outcome="skipped"),
            fault(2, "pause", ["n1", "n2"], evidence=partly),
            fault(4, "resume", ["n2"]),
        )
    )
    assert times(found) == [("pause", "n2", 2, 4)]


def test_a_fault_that_nobody_confirmed_may_have_been_one() -> None:
    for how in ("failed", "unobserved"):
        found = spells(history(fault(1, "kill", ["n1"], outcome=how), operation(2, 3, 0, "send")))
        assert times(found) == [("kill", "n1", 1, 3)]
    pending = spells(history(fault(1, "kill", ["n1"], took_s=None), operation(2, 3, 0, "send")))
    assert times(pending) == [("kill", "n1", 1, 3)]


def test_a_crash_is_a_spell_from_when_the_node_ended() -> None:
    crash = {"node": "n2", "time_ns": ns(0.8), "status": 1, "log": "Traceback"}
    found = spells(history(mark(1, "crash", crash), fault(3, "start", ["n2"])))
    assert times(found) == [("crash", "n2", 0.8, 3)]


def test_a_clients_crash_and_the_marks_of_a_run_are_no_faults() -> None:
    told = history(
        operation(1, 2, 0, "crash"), phase("main", 0, 3), mark(4, "stats", {"elections": 2})
    )
    assert spells(told) == []


def test_faults_of_other_tools_are_read_as_far_as_they_say() -> None:
    found = spells(
        history(
            fault(1, "start-partition", "majority", outcome=None),
            fault(2, "stop-partition", "network-healed", outcome=None),
            fault(3, "kill", {"n1": "killed"}, outcome=None),
            fault(4, "start", "all", outcome=None),
            fault(5, "bump-clock", {"n1": 300}, took_s=1, outcome=None),
        )
    )
    assert times(found) == [
        ("partition", None, 1, 2),
        ("kill", "n1", 3, 4),
        ("bump-clock", "n1", 5, 6),
    ]


def test_a_spell_knows_what_its_target_was() -> None:
    roles = {"n1": ["leader", "controller"], "n2": ["follower"]}
    (spell,) = spells(history(fault(1, "kill", ["n1"], roles=roles)))
    assert spell.roles == ("leader", "controller")
    assert spell.describe() == "kill of n1 at 1.0 s"


def test_a_fault_that_is_a_state_lasts_and_any_other_is_over_with_its_own_operation() -> None:
    lasting = [fault(1, f, ["n1"], took_s=0.5) for f in ("kill", "pause", "start-gremlins")]
    found = spells(history(*lasting, fault(2, "gremlins", took_s=0.5), operation(8, 9, 0, "send")))
    assert {spell.kind + f" at {spell.begin / 1e9:g}": spell.end / 1e9 for spell in found} == {
        "kill at 1": 9,
        "pause at 1": 9,
        "gremlins at 1": 9,
        "gremlins at 2": 2.5,
    }


def test_a_fault_acts_as_what_its_effect_says_that_it_is_like() -> None:
    (known,) = spells(history(fault(1, "kill", ["n1"])))
    assert known.acts_as == "kill"
    (unknown,) = spells(history(fault(1, "start-gremlins", None)))
    assert (unknown.kind, unknown.acts_as) == ("gremlins", "gremlins")
    (told,) = spells(history(fault(1, "start-gremlins", None, evidence={"like": "pause"})))
    assert (told.kind, told.acts_as) == ("gremlins", "pause")


def test_a_fault_may_be_like_another_one_at_each_of_its_nodes() -> None:
    """As `Effect.all` puts the effects of several nodes together."""
    evidence = {
        "n1": {"outcome": "observed", "like": "kill"},
        "n2": {"outcome": "observed", "like": "pause"},
        "n3": {"outcome": "observed"},
    }
    found = spells(history(fault(1, "start-gremlins", ["n1", "n2", "n3"], evidence=evidence)))
    assert [spell.acts_as for spell in found] == ["kill", "pause", "gremlins"]


@pytest.mark.parametrize("like", [None, 7, ["pause"], {"kind": "pause"}, ""])
def test_what_a_fault_is_like_is_believed_only_if_it_is_a_name(like: object) -> None:
    (spell,) = spells(history(fault(1, "start-gremlins", ["n1"], evidence={"like": like})))
    assert spell.acts_as == "gremlins"


def test_what_was_never_answered_is_like_nothing() -> None:
    (spell,) = spells(history(fault(1, "start-gremlins", ["n1"], took_s=None)))
    assert spell.acts_as == "gremlins"


FAULTS: st.SearchStrategy[tuple[str, object]] = st.one_of(
    st.tuples(
        st.sampled_from(["kill", "pause", "power-off", "start", "resume"]),
        st.lists(st.sampled_from(["n1", "n2", "n3"]), unique=True),
    ),
    st.tuples(st.sampled_from(["start-partition", "stop-partition"]), st.just({"n1": ["n2"]})),
    st.tuples(st.sampled_from(["start-links", "stop-links", "reset-links"]), st.none()),
)


@given(st.lists(st.tuples(FAULTS, st.sampled_from(["observed", "skipped", "failed"])), max_size=12))
def test_spells_begin_with_a_fault_lie_in_the_history_and_are_in_order(
    asked: list[tuple[tuple[str, object], str]],
) -> None:
    stories: list[Events] = [
        fault(at, f, value, took_s=0.5, outcome=outcome)
        for at, ((f, value), outcome) in enumerate(asked)
    ]
    told: History = history(*stories)
    found = spells(told)
    assert [s.begin for s in found] == sorted(s.begin for s in found)
    for spell in found:
        assert told[spell.position].time == spell.begin <= spell.applied
        assert spell.begin <= spell.end <= int(told.time[-1])
        assert not told[spell.position].f.startswith("stop-")
    # One node is not hit twice by one kind at once: a second kill of a dead node is skipped, but
    # where the run does not say so, both end together.
    skipped = {at for at, (_, outcome) in enumerate(asked) if outcome == "skipped"}
    assert not {spell.begin // ns(1) for spell in found} & skipped


@pytest.mark.parametrize("value", [None, 3, "all", [], {}, [["n1", "n2", "n3"]], {"links": 7}])
def test_no_value_of_a_fault_is_too_strange(value: object) -> None:
    (spell,) = spells(history(fault(1, "kill", value, outcome=None)))
    assert spell.kind == "kill" and spell.between_nodes


def test_a_spell_tells_which_operation_ended_it() -> None:
    told = history(
        fault(1, "kill", ["n1"]),
        fault(2, "start-partition", {"n2": ["n3"]}),
        fault(3, "start-partition", {"n1": ["n3"]}),
        fault(4, "bump-clock", ["n2"]),
        phase("heal", 5, 6),
        fault(7, "pause", ["n1"]),
        fault(8, "flip-bits", ["n1"], took_s=None),
    )
    ended = {s.kind: s.healer for s in spells(told) if s.kind != "partition"}
    assert ended == {"kill": 10, "bump-clock": 6, "pause": None, "flip-bits": None}
    assert [s.healer for s in spells(told) if s.kind == "partition"] == [4, 10]
