"""Operations that an object does not have: what follows them proves nothing."""

from __future__ import annotations

import pytest

from checkers import adya, causal, causal_reverse, mutex, set_full, total_queue
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
    *(searched.check_lock, searched.check_registers, set_full.check, total_queue.check),
    *(mutex.check, causal.check, causal_reverse.check, adya.check),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__module__ + check.__name__)
def test_a_history_of_other_objects_is_not_called_valid(check: Check) -> None:
    verdict = judged("c0: |-- frobnicate 1 --|\n", check)
    assert verdict.outcome is Outcome.UNKNOWN
    assert any("frobnicate" in doubt for doubt in verdict.doubts)


UNPROVED = {
    "removed": (set_full.check, "|-- add 1 --| |-- remove 1 --| |-- read -> [] --|"),
    "taken": (total_queue.check, "|-- enqueue 1 --| |-- take -> 1 --| |-- dequeue --|"),
    "begun again": (mutex.check, "|-- acquire -> 2 --| |-- reset --| |-- acquire -> 1 --|"),
    "increased": (causal.check, "|-- write 1 --| |-- incr --| |-- read -> 2 --|"),
    "deleted": (
        causal_reverse.check,
        "|-- write 1 --| |-- write 2 --| |-- remove 1 --| |-- read -> [2] --|",
    ),
    "emptied": (
        adya.check,
        '|-- insert ["k",[1,null]] --| |-- delete "k" --| |-- insert ["k",[null,2]] --|',
    ),
}


@pytest.mark.parametrize("name", UNPROVED)
def test_what_an_unknown_operation_may_explain_is_only_doubted(name: str) -> None:
    check, text = UNPROVED[name]
    verdict = judged(f"c0: {text}\n", check)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "were they harmless" in verdict.doubts[-1]
