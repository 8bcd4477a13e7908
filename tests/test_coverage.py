"""What a run exercised, counted from its history."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.coverage import Coverage, coverage
from harness.history import History
from harness.op import Kind
from tests.stories import Events, fault, history, mark, operation, phase, poll, send

ROLES = {"n1": ["leader", "controller"], "n2": ["follower"], "n3": ["leader"]}


def sends(*spans: tuple[float, float]) -> list[Events]:
    return [send(a, b, p, key=0, value=p, offset=p) for p, (a, b) in enumerate(spans)]


READ = poll(90, 91, 99, {0: [(0, 0)]})


def warnings(*told: Events, nemesis: str = "kill", elections: int | None = None) -> list[str]:
    stats = [] if elections is None else [mark(99, "stats", {"elections": elections})]
    found = coverage(history(phase("main", 0, 80, nemesis=nemesis), *told, READ, *stats))
    return list(found.warnings)


def test_operations_are_counted_by_phase_and_outcome() -> None:
    told = history(
        phase("main", 0, 10),
        phase("heal", 10, 12),
        phase("final-reads", 12, 20),
        *sends((1, 2), (9.5, 11)),
        operation(3, 4, 7, "send", kind=Kind.FAIL),
        operation(5, None, 8, "send"),
        poll(13, 14, 9, {0: [(0, 0)]}),
        operation(21, 22, 9, "poll", kind=Kind.INFO),
    )
    found = coverage(told)
    assert found.operations == {
        "main": {"send": {"ok": 1, "fail": 1}},
        "heal": {"send": {"ok": 1}},
        "final-reads": {"poll": {"ok": 1}},
        "outside": {"poll": {"info": 1}},
    }
    assert [(p.name, p.complete) for p in found.phases] == [
        ("main", True),
        ("heal", True),
        ("final-reads", True),
    ]


def test_a_fault_meets_what_was_going_on_while_it_was() -> None:
    told = history(
        phase("main", 0, 50),
        *sends((1, 2), (2, 11), (12, 13), (14, 30), (21, 22)),
        operation(9, 15, 8, "poll", kind=Kind.FAIL),
        operation(9, None, 9, "send"),
        fault(10, "kill", ["n1"], roles=ROLES),
        fault(20, "start", ["n1"]),
    )
    (exposure,) = coverage(told).faults
    assert (exposure.in_flight, exposure.writes, exposure.reads) == (3, 3, 0)
    assert (exposure.failed, exposure.unknown) == (1, 1)
    assert (exposure.role, exposure.phase) == ("leader+controller", "main")


def test_what_is_in_flight_while_a_fault_is_applied_met_it() -> None:
    """A process does not die in the instant in which the harness says kill."""
    told = history(*sends((1, 2), (10.1, 10.15), (10.3, 11)), fault(10, "kill", ["n1"], took_s=0.2))
    assert coverage(told).faults[0].in_flight == 1


def test_faults_are_tabled_by_kind_role_and_phase() -> None:
    told = history(
        phase("main", 0, 50),
        *sends((1, 49)),
        fault(2, "kill", ["n1", "n2"], roles=ROLES),
        fault(4, "start", ["n1", "n2"]),
        fault(6, "kill", ["n2"], roles=ROLES),
        fault(8, "start", ["n2"]),
        fault(10, "start-partition", {"n1": ["n2"]}, roles=ROLES),
        fault(12, "start-partition", {"c1": ["n2"]}),
        fault(14, "stop-partition"),
        fault(60, "pause", "somebody"),
    )
    shape = coverage(told).to_json()
    assert [(r["fault"], r["role"], r["phase"], r["count"]) for r in shape["faults"]] == [
        ("kill", "leader+controller", "main", 1),
        ("kill", "follower", "main", 2),
        ("partition", "links between nodes", "main", 1),
        ("partition", "links to clients", "main", 1),
        ("pause", "unknown", "outside", 1),
    ]
    assert shape["faults"][1]["writes"] == 2
    assert [row["op"] for row in shape["each fault"]][:2] == [3, 3]
    json.dumps(shape, allow_nan=False)


def test_a_run_that_met_its_faults_is_not_warned_of() -> None:
    kills = [fault(10, "kill", ["n1"]), fault(20, "start", ["n1"])]
    assert warnings(*sends((9, 12)), *kills, elections=3) == []


def test_a_fault_that_met_no_acknowledged_write_is_warned_of() -> None:
    kills = [fault(10, "kill", ["n1"]), fault(20, "start", ["n1"])]
    assert warnings(*sends((1, 2)), *kills, operation(9, 15, 8, "send", kind=Kind.FAIL)) == [
        "no acknowledged write overlapped a fault"
    ]
    pauses = [fault(30, "pause", ["n1"]), fault(40, "resume", ["n1"])]
    assert warnings(*sends((9, 12)), *kills, *pauses) == [
        "no acknowledged write overlapped a fault of kind pause"
    ]


def test_a_nemesis_that_did_nothing_is_warned_of() -> None:
    asked = "nemesis kill was asked for, and no fault was applied: "
    assert warnings(*sends((1, 2))) == [asked + "the run was too short"]
    skipped = fault(3, "kill", ["n1"], outcome="skipped")
    assert warnings(*sends((1, 2)), skipped) == [asked + "all 1 of its operations were skipped"]
    assert warnings(*sends((1, 2)), nemesis="none") == []


def test_a_crash_is_not_a_fault_that_was_asked_for() -> None:
    crash = mark(3, "crash", {"node": "n1", "time_ns": 1})
    assert len(warnings(*sends((1, 2)), crash)) == 1


def test_faults_that_met_nothing_at_all_are_warned_of() -> None:
    said = warnings(*sends((1, 2)), fault(10, "kill", ["n1"]), fault(11, "start", ["n1"]))
    assert said == [
        "no acknowledged write overlapped a fault",
        "no operation was in flight when a fault came",
    ]


def test_leaders_that_never_moved_are_warned_of_where_they_should_have() -> None:
    kills = [fault(10, "kill", ["n1"]), fault(20, "start", ["n1"])]
    assert warnings(*sends((9, 12)), *kills, elections=0) == [
        "no leader was elected during the run, in spite of its faults"
    ]
    cut = [fault(10, "start-partition", {"c1": ["n1"]}), fault(20, "stop-partition")]
    slow = [fault(10, "start-links", {"links": [["n1", "n2"]]}), fault(20, "stop-links")]
    for calm in (cut, slow):
        assert warnings(*sends((9, 12)), *calm, elections=0) == []


@pytest.mark.parametrize("f", ["txn", "dequeue", "drain", "pop", "delete-min", "generate"])
def test_who_takes_something_out_has_looked(f: str) -> None:
    assert coverage(history(operation(1, 2, 0, f, None, 7))).warnings == []


def test_a_run_in_which_nothing_was_acknowledged_says_nothing() -> None:
    failed = operation(1, 2, 0, "send", kind=Kind.FAIL)
    found = coverage(history(failed, operation(3, None, 1, "r")))
    assert found.nothing
    assert found.warnings == [
        "no write was acknowledged, so nothing could be lost",
        "no read was acknowledged, so nobody looked",
    ]
    assert not coverage(history(*sends((1, 2)))).nothing
    assert not coverage(history(READ)).nothing


def test_a_workload_may_name_reads_of_its_own() -> None:
    told = history(operation(1, 2, 0, "peek"), fault(1.5, "kill", ["n1"]))
    assert coverage(told).faults[0].writes == 1
    assert coverage(told, frozenset({"peek"})).faults[0].reads == 1


def test_the_numbers_of_the_system_are_read_from_the_history() -> None:
    told = history(*sends((1, 2)), mark(3, "stats", {"elections": 4}))
    assert coverage(told).system == {"elections": 4}


def test_a_phase_that_was_cut_short_is_known() -> None:
    killed = coverage(history(phase("main", 0, None), *sends((1, 2))))
    assert [p.name for p in killed.cut_short] == ["main"]
    stuck = coverage(
        history(phase("main", 0, 1), phase("final-reads", 2, 3, complete=False), *sends((1, 2)))
    )
    assert stuck.cut_short == []


def test_an_empty_history_has_exercised_nothing() -> None:
    found = coverage(History.of([]))
    assert found.nothing and found.to_json()["faults"] == []


KINDS = st.sampled_from([Kind.OK, Kind.FAIL, Kind.INFO, None])


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), KINDS, st.booleans()), max_size=8),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=3),
)
def test_what_a_fault_met_is_what_counting_one_by_one_finds(
    clients: list[tuple[int, int, Kind | None, bool]], faults: list[tuple[int, int]]
) -> None:
    told: list[Events] = []
    for process, (a, b, kind, reads) in enumerate(clients):
        f = "poll" if reads else "send"
        end = None if kind is None else max(a, b)
        told.append(operation(min(a, b), end, process, f, kind=kind or Kind.OK))
    for number, (a, b) in enumerate(faults):
        kind_name = f"x{number}"
        told.append(fault(min(a, b), f"start-{kind_name}", None))
        told.append(fault(max(a, b), f"stop-{kind_name}", None))
    found: Coverage = coverage(history(*told, operation(30, 31, 99, "assign")))
    for exposure in found.faults:
        begin, end = exposure.spell.begin / 1e9, exposure.spell.end / 1e9
        spans: list[tuple[float, float, Any, bool]] = [
            (min(a, b), float("inf") if k is None else max(a, b), k, r) for a, b, k, r in clients
        ]
        met = [(k, r) for a, b, k, r in spans if a <= end and b >= begin]
        assert exposure.in_flight == sum(a <= begin <= b for a, b, _, _ in spans)
        assert exposure.writes == met.count((Kind.OK, False))
        assert exposure.reads == met.count((Kind.OK, True))
        assert exposure.failed == sum(k is Kind.FAIL for k, _ in met)
        assert exposure.unknown == sum(k in (None, Kind.INFO) for k, _ in met)
