"""Several checkers judge together."""

from __future__ import annotations

from harness.checker import judge
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Outcome, Verdict

STRICT = Contract("strict")


def fine(history: History, contract: Contract) -> Verdict:
    return Verdict.of(stats={"seen": len(history)})


def broken(history: History, contract: Contract) -> Verdict:
    raise ZeroDivisionError("oh")


def finds(history: History, contract: Contract) -> Verdict:
    return Verdict.of([Finding("odd", "3 is odd")])


def test_a_checker_that_crashes_is_unknown_with_its_traceback() -> None:
    verdict = judge(History.of([]), {"fine": fine, "broken": broken}, STRICT)
    assert verdict.outcome is Outcome.UNKNOWN
    (doubt,) = verdict.doubts
    assert doubt.startswith("broken: the checker crashed; this is a bug of ours")
    assert "ZeroDivisionError: oh" in doubt
    assert verdict.checkers["fine"].outcome is Outcome.VALID and verdict.stats["fine"] == {
        "seen": 0
    }


def test_a_finding_weighs_more_than_a_crash() -> None:
    verdict = judge(History.of([]), {"broken": broken, "finds": finds}, STRICT)
    assert verdict.outcome is Outcome.INVALID and verdict.anomalies() == {"odd": 1}


def test_nobody_to_judge_finds_nothing() -> None:
    assert judge(History.of([]), {}, STRICT).outcome is Outcome.VALID
