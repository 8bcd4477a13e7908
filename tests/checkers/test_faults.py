"""A fault that nobody saw take effect makes a verdict unknown; one that did not apply does not."""

from __future__ import annotations

from typing import Any

import pytest

from checkers import faults
from harness.history import History
from harness.op import Kind, Op
from harness.verdict import Outcome, Verdict
from tests.checkers.witnesses import STRICT


def fault(outcome: str | None, f: str = "kill", **evidence: Any) -> list[Op]:
    effect = {"effect": {"outcome": outcome, "evidence": evidence}} if outcome else None
    return [
        Op(0, 0, Kind.INFO, "nemesis", f, ["n1"]),
        Op(0, 9, Kind.INFO, "nemesis", f, ["n1"], extra=effect),
    ]


def check(*operations: list[Op]) -> Verdict:
    return faults.check(History.of([op for events in operations for op in events]), STRICT)


def test_faults_that_were_observed_are_counted_and_say_nothing_else() -> None:
    verdict = check(fault("observed"), fault("observed", "cut"), fault("observed"))
    assert verdict.outcome is Outcome.VALID
    assert verdict.stats == {"kill": {"observed": 2}, "cut": {"observed": 1}}


def test_a_fault_that_did_not_apply_is_no_doubt() -> None:
    verdict = check(fault("observed"), fault("skipped", "pause", why="n1 is dead"))
    assert verdict.outcome is Outcome.VALID and "note" not in verdict.stats


@pytest.mark.parametrize("outcome", ["unobserved", "failed", "something new"])
def test_a_fault_without_a_seen_effect_is_a_doubt_with_its_evidence(outcome: str) -> None:
    verdict = check(fault("observed"), fault(outcome, "cut", n1="still answers"))
    assert verdict.outcome is Outcome.UNKNOWN
    (doubt,) = verdict.doubts
    assert doubt.startswith('op 3: cut ["n1"]: ') and "still answers" in doubt


def test_many_doubts_are_few_sentences_and_one_number() -> None:
    verdict = check(*[fault("unobserved") for _ in range(30)])
    assert len(verdict.doubts) == 9 and verdict.doubts[-1] == "22 more faults took no effect"


def test_faults_of_which_none_took_effect_are_noted() -> None:
    verdict = check(fault("skipped"), fault("skipped"))
    assert verdict.outcome is Outcome.VALID
    assert verdict.stats["note"] == "2 faults were asked for and none took effect"


def test_a_long_evidence_is_cut() -> None:
    (doubt,) = check(fault("unobserved", log="x" * 5000)).doubts
    assert len(doubt) < 500


def test_a_history_whose_nemesis_says_nothing_of_effects_is_not_judged() -> None:
    client = [Op(0, 0, Kind.INVOKE, 0, "read"), Op(0, 1, Kind.OK, 0, "read", extra={"effect": {}})]
    verdict = check(fault(None), fault(None, "start"), client)
    assert verdict == Verdict.of()
