"""A verdict as text, for a terminal: what happened, what was expected, evidence, next command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.verdict import Finding, Outcome, Verdict

WORD = {Outcome.VALID: "VALID", Outcome.UNKNOWN: "UNKNOWN", Outcome.INVALID: "INVALID"}

EXAMPLES_MAX = 3


def render(
    verdict: Verdict, title: str, *, repeat: str | None = None, report: Path | None = None
) -> str:
    """The verdict for a person; the first line alone says how it went."""
    lines = [f"{WORD[verdict.outcome]}  {title}"]
    lines += _anomalies(verdict)
    if verdict.allowed:
        lines += _allowed(verdict.allowed)
    lines += [f"  doubt: {_indented(doubt)}" for doubt in verdict.doubts]
    lines += _numbers(verdict.stats)
    if repeat is not None:
        lines.append(f"  repeat:  {repeat}")
    if report is not None:
        lines.append(f"  look:    {report}{_first_operation(verdict.findings)}")
    return "\n".join(lines)


def _anomalies(verdict: Verdict) -> list[str]:
    lines = []
    for anomaly, count in verdict.anomalies().items():
        shown = [finding for finding in verdict.findings if finding.anomaly == anomaly]
        lines.append(f"  {anomaly}: {count}")
        for finding in shown[:EXAMPLES_MAX]:
            lines.append(f"    {finding.claim}")
            lines += [f"      {sentence}" for sentence in finding.because]
        if count > EXAMPLES_MAX:
            lines.append(f"    … and {count - EXAMPLES_MAX} more")
    return lines


def _allowed(allowed: Iterable[Finding]) -> list[str]:
    by_name: dict[str, list[Finding]] = {}
    for finding in allowed:
        by_name.setdefault(finding.anomaly, []).append(finding)
    return [
        f"  allowed: {name} × {len(found)}: {found[0].reason or 'legal under this contract'}"
        for name, found in by_name.items()
    ]


def _numbers(stats: Mapping[str, Any]) -> list[str]:
    lines = []
    system = stats.get("system")
    if system:
        lines.append("  system:  " + ", ".join(f"{k} {v}" for k, v in system.items()))
    warnings = stats.get("coverage", {}).get("warnings", ())
    lines += [f"  warning: {warning}" for warning in warnings]
    return lines


def _first_operation(findings: Iterable[Finding]) -> str:
    return next((f"#op-{f.witness[0]}" for f in findings if f.witness), "")


def _indented(text: str) -> str:
    return text.replace("\n", "\n         ")
