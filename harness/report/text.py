"""A verdict as text, for a terminal: what happened, what was expected, evidence, next command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.cycle import Cycle
from harness.report.visible import visible
from harness.verdict import Finding, Outcome, Verdict

WORD = {Outcome.VALID: "VALID", Outcome.UNKNOWN: "UNKNOWN", Outcome.INVALID: "INVALID"}

EXAMPLES_MAX = 3

COLUMNS = 100
"""Of a cycle's lines, which stand in columns."""


def render(
    verdict: Verdict, title: str, *, repeat: str | None = None, report: Path | None = None
) -> str:
    """The verdict for a person; the first line alone says how it went."""
    lines = [f"{WORD[verdict.outcome]}  {visible(title)}"]
    lines += _anomalies(verdict)
    lines += _allowed(verdict)
    lines += [_line("  doubt: ", doubt) for doubt in verdict.doubts]
    lines += _numbers(verdict.stats)
    if repeat is not None:
        lines.append(_line("  repeat:  ", repeat))
    if report is not None:
        lines.append(f"  look:    {report}{_first_operation(verdict.findings)}")
    return "\n".join(lines)


def _anomalies(verdict: Verdict) -> list[str]:
    lines = []
    for anomaly, count in verdict.anomalies().items():
        shown = [finding for finding in verdict.findings if finding.anomaly == anomaly]
        lines.append(_line("  ", f"{anomaly}: {count}"))
        for finding in shown[:EXAMPLES_MAX]:
            lines.append(_line("    ", finding.claim))
            lines += _argument(finding)
        if count > EXAMPLES_MAX:
            lines.append(f"    … and {count - EXAMPLES_MAX} more")
    return lines


def _argument(finding: Finding) -> list[str]:
    if finding.cycle is None:
        return [_line("      ", sentence) for sentence in finding.because]
    return [
        line for head, said in _steps(finding.cycle) for line in _wrapped("      " + head, said)
    ]


def _steps(cycle: Cycle) -> Iterator[tuple[str, str]]:
    """Each transaction, and beside each step its sentence; a step's head, and what is said."""
    for sentence in cycle.who():
        name, _, rest = sentence.partition(" ")
        yield f"{visible(name)} ", visible(rest)
    told = [("…" if step is None else cycle.arrow(step), said) for step, said in cycle.argument()]
    width = max(len(visible(arrow)) for arrow, _ in told)
    for arrow, said in told:
        yield f"{visible(arrow):<{width}}  ", visible(said)


def _wrapped(head: str, said: str) -> list[str]:
    """Lines of COLUMNS, the further ones indented as far as the first; no value is cut in two."""
    return textwrap.wrap(
        said,
        COLUMNS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _allowed(verdict: Verdict) -> list[str]:
    lines = []
    for name, count in verdict.legal().items():
        first = next(finding for finding in verdict.allowed if finding.anomaly == name)
        reason = first.reason or "legal under this contract"
        lines.append(_line("  allowed: ", f"{name} × {count}: {reason}"))
    return lines


def _numbers(stats: Mapping[str, Any]) -> list[str]:
    lines = []
    system = stats.get("system")
    if system:
        lines.append(_line("  system:  ", ", ".join(f"{k} {v}" for k, v in system.items())))
    warnings = stats.get("coverage", {}).get("warnings", ())
    lines += [_line("  warning: ", warning) for warning in warnings]
    parts = {name: part for name, part in stats.items() if isinstance(part, Mapping)}
    lines += [
        _line("  note:    ", f"{name}: {part['note']}")
        for name, part in parts.items()
        if "note" in part
    ]
    return lines


def _first_operation(findings: Iterable[Finding]) -> str:
    return next((f"#op-{f.witness[0]}" for f in findings if f.witness), "")


def _line(head: str, text: str) -> str:
    """Whatever the text holds, it can neither command a terminal nor pass for a line of ours."""
    return head + visible(text).replace("\n", "\n" + " " * (len(head) + 2))
