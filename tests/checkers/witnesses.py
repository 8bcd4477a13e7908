"""What every finding must stand: its witness alone shows it, and nothing in the witness is idle."""

from __future__ import annotations

from harness.checker import Check
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


def all_stand(history: History, check: Check) -> Verdict:
    """The verdict, after `stands` of each of its findings."""
    verdict = check(history, STRICT)
    for finding in verdict.findings:
        stands(history, finding, check)
        assert finding.because and "contradiction" in finding.because[-1]
        assert finding.span is not None and 0 <= finding.span[0] <= finding.span[1]
    return verdict
