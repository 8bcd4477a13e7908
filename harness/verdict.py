"""What a checker says of a history, and how several say it together.

Outcomes are ordered: `valid < unknown < invalid`. A verdict separates *findings* (what the run's
contract forbids) from what is *allowed* (anomalies that are legal under it, listed all the same).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from harness.cycle import Cycle
from harness.windows import Windows

EXAMPLES_MAX = 8
"""Findings of one anomaly that go into the JSON form of a verdict; its count is always exact."""


class Outcome(IntEnum):
    """Ordered, so that the outcome of several checks is their `max`."""

    VALID = 0
    UNKNOWN = 1
    INVALID = 2

    @property
    def json(self) -> bool | str:
        """True, False or "unknown", as Jepsen's `:valid?`."""
        return "unknown" if self is Outcome.UNKNOWN else self is Outcome.VALID

    @property
    def exit_status(self) -> int:
        """0 valid, 1 invalid, 3 unknown."""
        return {Outcome.VALID: 0, Outcome.UNKNOWN: 3, Outcome.INVALID: 1}[self]


@dataclass(frozen=True, slots=True)
class Finding:
    """An argument that an anomaly happened.

    Attributes:
        anomaly: the anomaly's name in the field's terms, e.g. "lost-write".
        claim: the anomaly in one sentence.
        because: sentences that lead to the contradiction; the last one states it.
        witness: indices of the operations' events that the sentences use, ascending. Replaying them
            confirms the finding; without any one of them it is gone.
        key: the key, partition or object it is about, if there is one.
        span: nanoseconds [from, to] in which a cause of this anomaly must lie, if known.
        reason: why it is allowed, when it is.
        window: the same as `span` and what else a licence may ask, one row; if the checker knows.
        excusable: False where no contract may allow it, whatever the window.
        cycle: what the sentences were made of, where they tell of a circle.
    """

    anomaly: str
    claim: str
    because: tuple[str, ...] = ()
    witness: tuple[int, ...] = ()
    key: Any = None
    span: tuple[int, int] | None = None
    reason: str | None = None
    window: Windows | None = field(default=None, compare=False, repr=False)
    excusable: bool = True
    cycle: Cycle | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        shape: dict[str, Any] = {
            "anomaly": self.anomaly,
            "claim": self.claim,
            "because": list(self.because),
            "witness": list(self.witness),
        }
        if self.key is not None:
            shape["key"] = self.key
        if self.span is not None:
            shape["span"] = list(self.span)
        if self.reason is not None:
            shape["reason"] = self.reason
        if self.cycle is not None:
            shape["cycle"] = self.cycle.to_json()
        return shape


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check, or of several merged.

    Attributes:
        outcome: the worst of what was found; UNKNOWN has a `doubt`.
        findings: anomalies that the contract forbids (for a bare checker: all that it found).
        allowed: anomalies that are legal under the contract, with `reason`.
        counts: exact number per anomaly of `findings`, where it exceeds the findings kept.
        allowed_counts: the same of `allowed`.
        doubts: why the outcome is unknown, or what weakens it.
        stats: numbers worth showing.
        checkers: verdicts of the parts, by the checker's name.
        windows: by anomaly, a row for each case that was counted, argued or not. Not stored.
    """

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    allowed: tuple[Finding, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    allowed_counts: Mapping[str, int] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    checkers: Mapping[str, Verdict] = field(default_factory=dict)
    windows: Mapping[str, Windows] = field(default_factory=dict, compare=False, repr=False)

    @staticmethod
    def of(
        findings: Iterable[Finding] = (),
        *,
        doubts: Iterable[str] = (),
        counts: Mapping[str, int] | None = None,
        stats: Mapping[str, Any] | None = None,
        windows: Mapping[str, Windows] | None = None,
    ) -> Verdict:
        """INVALID with findings, else UNKNOWN with doubts, else VALID."""
        found, doubted = tuple(findings), tuple(doubts)
        outcome = Outcome.INVALID if found else Outcome.UNKNOWN if doubted else Outcome.VALID
        return Verdict(
            outcome,
            found,
            counts=dict(counts or {}),
            doubts=doubted,
            stats=dict(stats or {}),
            windows=dict(windows or {}),
        )

    @staticmethod
    def merge(parts: Mapping[str, Verdict]) -> Verdict:
        """The worst outcome of the parts; nothing of any part is dropped."""
        counts: Counter[str] = Counter()
        allowed_counts: Counter[str] = Counter()
        for part in parts.values():
            counts.update(part.anomalies())
            allowed_counts.update(part.legal())
        return Verdict(
            outcome=max((part.outcome for part in parts.values()), default=Outcome.VALID),
            findings=tuple(finding for part in parts.values() for finding in part.findings),
            allowed=tuple(finding for part in parts.values() for finding in part.allowed),
            counts=dict(counts),
            allowed_counts=dict(allowed_counts),
            doubts=tuple(f"{name}: {d}" for name, part in parts.items() for d in part.doubts),
            stats={name: dict(part.stats) for name, part in parts.items() if part.stats},
            checkers=dict(parts),
        )

    def anomalies(self) -> dict[str, int]:
        """Exact count of each forbidden anomaly."""
        return _exact(self.findings, self.counts)

    def legal(self) -> dict[str, int]:
        """Exact count of each allowed anomaly."""
        return _exact(self.allowed, self.allowed_counts)

    def doubted(self, *doubts: str) -> Verdict:
        """The same verdict with more doubts: what was valid is unknown now."""
        if not doubts:
            return self
        return replace(
            self, outcome=max(self.outcome, Outcome.UNKNOWN), doubts=(*self.doubts, *doubts)
        )

    def with_stats(self, more: Mapping[str, Any]) -> Verdict:
        """The same verdict with more numbers."""
        return replace(self, stats={**self.stats, **more})

    def to_json(self) -> dict[str, Any]:
        """The shape that `--json` prints and `verdict.json` holds, less `run`."""
        return {
            "valid": self.outcome.json,
            "anomalies": _examples(self.findings, self.anomalies()),
            "allowed": _examples(self.allowed, self.legal()),
            "doubts": list(self.doubts),
            "checkers": {name: part.to_json() for name, part in self.checkers.items()},
            "stats": dict(self.stats),
        }


def _exact(findings: Iterable[Finding], counts: Mapping[str, int]) -> dict[str, int]:
    kept = Counter(finding.anomaly for finding in findings)
    return {name: max(counts.get(name, 0), count) for name, count in kept.items()}


def _examples(findings: Iterable[Finding], counts: Mapping[str, int]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: {"count": count, "examples": []} for name, count in counts.items()
    }
    for finding in findings:
        examples = shown[finding.anomaly]["examples"]
        if len(examples) < EXAMPLES_MAX:
            examples.append(finding.to_json())
    return shown
