"""What every finding must stand: its witness alone shows it, and nothing in the witness is idle."""

from __future__ import annotations

import json
import re
from typing import Any

from harness.checker import Check
from harness.cycle import Cycle, Transaction
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

STRICT = Contract("strict", {})


def alone(history: History, positions: tuple[int, ...]) -> History:
    """The history of some events only."""
    return History.of([history[position] for position in positions])


def is_in(finding: Finding, verdict: Verdict) -> bool:
    """Whether the verdict has the same finding, wherever its operations stand there."""
    same = (finding.anomaly, finding.key, finding.claim)
    return same in [(one.anomaly, one.key, one.claim) for one in verdict.findings]


def operations(history: History, finding: Finding) -> list[tuple[int, ...]]:
    """The witness, operation by operation."""
    return list(dict.fromkeys(map(history.operation, finding.witness)))


def stands(history: History, finding: Finding, check: Check) -> None:
    """Assert that the witness shows the finding, and not without any of its operations."""
    whole = operations(history, finding)
    assert finding.witness == tuple(sorted(p for events in whole for p in events)), (
        f"{finding}: a witness is made of whole operations"
    )
    assert is_in(finding, check(alone(history, finding.witness), STRICT)), (
        f"{finding} is not confirmed by its witness"
    )
    for left_out in whole:
        rest = tuple(p for p in finding.witness if p not in left_out)
        assert not is_in(finding, check(alone(history, rest), STRICT)), (
            f"{finding} does not need its operation {left_out}"
        )


def all_stand(history: History, check: Check, again: Check | None = None) -> Verdict:
    """The verdict, after `stands` of each of its findings.

    Args:
        again: finds what `check` finds in parts of the history, without making witnesses small,
            which is where the time goes.
    """
    verdict = check(history, STRICT)
    for finding in verdict.findings:
        stands(history, finding, again or check)
        assert finding.because and "contradiction" in finding.because[-1]
        assert finding.span is not None and 0 <= finding.span[0] <= finding.span[1]
        if finding.cycle is not None:
            tells(history, finding, finding.cycle)
    return verdict


def tells(history: History, finding: Finding, cycle: Cycle) -> None:
    """Assert that a finding says what its cycle holds, and this what happened."""
    assert finding.because == cycle.sentences()
    named = {name for sentence in finding.because for name in re.findall(r"\bT\d+\b", sentence)}
    assert named == {one.name for one in cycle.transactions}
    assert Cycle.from_json(json.loads(json.dumps(cycle.to_json()))) == cycle
    assert {at for one in cycle.transactions for at in one.events} <= set(finding.witness)
    if any(history[one.events[0]].f != "txn" for one in cycle.transactions):
        return
    values = [_mops(history, one) for one in cycle.transactions]
    for step in cycle.steps:
        shown = [values[place][mop] for place, mop in step.mops]
        assert (step.kind in ("ww", "wr", "rw")) == bool(shown)
        assert all(mop in cycle.transactions[place].mops for place, mop in step.mops)
        for value in step.values:
            assert not shown or value is None or any(value in _told(mop[2]) for mop in shown)
        if shown:
            assert {step.source, step.target} <= {place for place, _ in step.mops}
            assert sum(mop[1] == step.key for mop in shown) >= 2, "both touched the key"


def _mops(history: History, one: Transaction) -> list[list[Any]]:
    told = history[one.events[-1 if one.outcome == "ok" else 0]].value
    assert isinstance(told, list) and len(told) == one.size
    return told


def _told(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
