"""Operations that an object does not have: what follows them proves nothing."""

from __future__ import annotations

import pytest

from checkers.linearizable import counter, priority_queue, queue, register, searched, sets, stack
from harness.checker import Check
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.witnesses import STRICT


def judged(text: str, check: Check = register.check) -> Verdict:
    return check(History.of(parse(text)), STRICT)


def test_a_value_that_an_unknown_operation_may_have_written_is_no_finding() -> None:
    verdict = judged("c0: |-- write 1 --|  |-- incr --|  |-- read -> 2 --|\n")
    assert verdict.outcome is Outcome.UNKNOWN
    assert not verdict.findings
    assert "incr" in verdict.doubts[0] and "phantom" in verdict.doubts[1]


def test_what_was_wrong_before_an_unknown_operation_began_stays_wrong() -> None:
    verdict = judged("c0: |-- write 1 --|  |-- read -> 2 --|  |-- incr --|  |-- read -> 3 --|\n")
    assert verdict.outcome is Outcome.INVALID
    assert verdict.counts == {"phantom": 1}
    assert "incr" in verdict.doubts[0]


def test_an_unknown_operation_that_failed_has_done_nothing() -> None:
    verdict = judged("c0: |-- write 1 --|  |-- incr --x  |-- read -> 2 --|\n")
    assert verdict.outcome is Outcome.INVALID and not verdict.doubts


CHECKS = (
    *(register.check, queue.check, stack.check, sets.check, counter.check, priority_queue.check),
    *(searched.check_lock, searched.check_registers),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__module__ + check.__name__)
def test_a_history_of_other_objects_is_not_called_valid(check: Check) -> None:
    verdict = judged("c0: |-- frobnicate 1 --|\n", check)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "frobnicate" in verdict.doubts[0]
