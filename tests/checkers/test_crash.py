"""A node that ends by itself is found; clients and nodes that end on purpose are not."""

from __future__ import annotations

import pytest

from checkers import crash
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Outcome
from tests.checkers.witnesses import STRICT, all_stand


def mark(f: str, value: object) -> list[Op]:
    """What the run journals: both events of an operation of the nemesis."""
    return [Op(0, 50, Kind.INFO, "nemesis", f, value)] * 2


def crashed(node: str, log: str = "") -> list[Op]:
    return mark("crash", {"node": node, "time_ns": 40, "status": -6, "log": log})


def test_a_crash_is_found_with_its_node_and_the_end_of_its_log() -> None:
    history = History.of([*mark("kill", ["n1"]), *crashed("n2", "started\nTraceback: boom\n")])
    verdict = all_stand(history, crash.check)
    assert verdict.outcome is Outcome.INVALID and verdict.counts == {"crash": 1}
    (finding,) = verdict.findings
    assert finding.key == "n2" and finding.witness == (2, 3) and finding.span == (0, 40)
    assert finding.claim == "n2 ended by itself with status -6"
    assert any("Traceback: boom" in sentence for sentence in finding.because)


def test_each_crash_counts_and_the_log_is_cut_to_its_end() -> None:
    log = "\n".join(f"line {number}" for number in range(100))
    history = History.of([op for _ in range(20) for op in crashed("n1", log)])
    verdict = crash.check(history, STRICT)
    assert verdict.counts == {"crash": 20} and verdict.stats == {"crashes": 20}
    text = "\n".join(verdict.findings[0].because)
    assert "line 99" in text and "line 50" not in text


def test_a_node_may_end_itself_while_its_own_disk_fails() -> None:
    ill = [Op(0, 10, Kind.INFO, "nemesis", "start-disk", {"n1": {"how": "eio"}})] * 2
    log = "NodeFailed: the controller failed: OSError: [Errno 5] Input/output error: 'raft/wal'"
    verdict = crash.check(History.of([*ill, *crashed("n1", log), *crashed("n2", log)]), STRICT)
    assert [finding.key for finding in verdict.findings] == ["n2"]
    assert verdict.stats == {"crashes": 1, "halts on a failed disk": 1}


@pytest.mark.parametrize(
    ("how", "log"),
    [
        ("slow-fsync", "OSError: [Errno 5] Input/output error"),
        ("eio", "AssertionError: the quorum is of two minds"),
        ("full", ""),
    ],
)
def test_an_ill_disk_excuses_only_what_it_led_to(how: str, log: str) -> None:
    ill = [Op(0, 10, Kind.INFO, "nemesis", "start-disk", {"n1": {"how": how}})] * 2
    verdict = crash.check(History.of([*ill, *crashed("n1", log)]), STRICT)
    assert verdict.counts == {"crash": 1}


def test_a_node_that_ends_itself_when_its_disk_is_well_has_crashed() -> None:
    ill = [Op(0, 10, Kind.INFO, "nemesis", "start-disk", {"n1": {"how": "eio"}})] * 2
    well = [Op(0, 20, Kind.INFO, "nemesis", "stop-disk")] * 2
    assert crash.check(History.of([*ill, *well, *crashed("n1", "OSError")]), STRICT).counts == {
        "crash": 1
    }


def test_clients_crash_and_nodes_are_killed_on_purpose() -> None:
    history = History.of(
        [
            *mark("kill", ["n1"]),
            Op(0, 60, Kind.INVOKE, 3, "crash"),
            Op(0, 61, Kind.INFO, 3, "crash", None, ("Crash", "as it was told to")),
        ]
    )
    verdict = crash.check(history, STRICT)
    assert verdict.outcome is Outcome.VALID and verdict.counts == {}


def test_a_mark_of_another_shape_is_a_crash_all_the_same() -> None:
    verdict = crash.check(History.of(mark("crash", None)), STRICT)
    assert verdict.findings[0].claim == "a node ended by itself"


def test_a_crash_whose_time_nobody_knows_was_when_it_was_noticed() -> None:
    history = History.of(mark("crash", {"node": "n1", "time_ns": None}))
    (finding,) = all_stand(history, crash.check).findings
    assert finding.span == (0, 50) and "at 0.000 s" in finding.because[0]
