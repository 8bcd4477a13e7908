"""Findings as the page tells them: sentences, the operations they speak of, the nodes' logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.history import History
from harness.op import Op
from harness.report.html import ring, witness
from harness.report.html.contract import reason
from harness.report.html.faults import Faults
from harness.report.html.logs import Logs
from harness.report.html.markup import anchor, text
from harness.timeline import render as render_timeline

FORBIDDEN: Final = "forbidden"
ALLOWED: Final = "allowed"
_KEYS = {FORBIDDEN: "anomalies", ALLOWED: "allowed"}
_OPERATION = re.compile(r"\bop (\d+)\b")
TIMELINE_CHARS_MAX = 120


@dataclass(frozen=True, slots=True)
class Shown:
    """A finding on the page; `kind` is FORBIDDEN or ALLOWED, `id` the element's."""

    id: str
    kind: str
    anomaly: str
    finding: Mapping[str, Any]

    @property
    def events(self) -> list[int]:
        return [int(index) for index in self.finding.get("witness", ())]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """All findings of one name: how many there were, and those that the verdict kept."""

    name: str
    kind: str
    count: int
    shown: Sequence[Shown]

    @property
    def id(self) -> str:
        return f"anomaly-{anchor(self.name)}" + ("-allowed" if self.kind == ALLOWED else "")


def of_verdict(verdict: Mapping[str, Any]) -> list[Anomaly]:
    """The anomalies of a verdict's JSON, forbidden ones first; findings are numbered through."""
    anomalies, number = [], 0
    for kind, key in _KEYS.items():
        for name, found in verdict.get(key, {}).items():
            shown = []
            for example in found.get("examples", ()):
                number += 1
                shown.append(Shown(f"finding-{number}", kind, name, example))
            anomalies.append(Anomaly(name, kind, int(found.get("count", len(shown))), shown))
    return anomalies


def render(
    anomalies: Sequence[Anomaly],
    history: History,
    faults: Faults,
    logs: Logs,
    contract: Mapping[str, Any],
) -> str:
    """All findings as HTML. `contract`: as in test.json; it says why they are forbidden."""
    if not anomalies:
        return "<p>None.</p>"
    return "\n".join(
        f'<section class="anomaly {each.kind}" id="{each.id}"><h3>{text(each.name)} '
        f"<small>× {each.count:,}{_allowed(each)}</small></h3>"
        f"{_said(_forbids(each, contract))}"
        f"{''.join(_findings(each, history, faults, logs))}</section>"
        for each in anomalies
    )


def _allowed(anomaly: Anomaly) -> str:
    return " · allowed under this contract" if anomaly.kind == ALLOWED else ""


def _forbids(anomaly: Anomaly, contract: Mapping[str, Any]) -> str:
    return "" if anomaly.kind == ALLOWED else reason(contract, anomaly.name)


def _said(why: str | None) -> str:
    return f"<p class=reason>{text(why)}</p>" if why else ""


def _findings(anomaly: Anomaly, history: History, faults: Faults, logs: Logs) -> Iterator[str]:
    for number, shown in enumerate(anomaly.shown):
        yield _finding(shown, history, faults, logs, is_open=number == 0)
    more = anomaly.count - len(anomaly.shown)
    if more > 0:
        yield f"<p class=hint>… and {more:,} more like these; the history holds them all.</p>"


def _finding(shown: Shown, history: History, faults: Faults, logs: Logs, *, is_open: bool) -> str:
    finding = shown.finding
    ops = witness.operations(history, shown.events)
    return (
        f'<details class="finding" id="{shown.id}"{" open" if is_open else ""}>'
        f"<summary>{_linked(text(finding.get('claim', '')), links=False)}</summary>"
        f"{_said(finding.get('reason') and 'Allowed: ' + str(finding['reason']))}"
        f"{_argument(finding)}"
        f"{witness.table(ops, faults)}{_show(shown) if ops else ''}"
        f"{_as_text(ops)}{_logs(ops, logs)}</details>"
    )


def _argument(finding: Mapping[str, Any]) -> str:
    """The sentences; a cycle's drawing has said before who its transactions are."""
    because, cycle = finding.get("because", ()), ring.read(finding.get("cycle"))
    drawn = "" if cycle is None else ring.render(cycle)
    told = 0 if cycle is None else len(cycle.transactions)
    return f"{drawn}<ol class=because>{''.join(_sentences(because[told:]))}</ol>"


def _sentences(because: Sequence[str]) -> Iterator[str]:
    """Items of a list; indented lines are quoted by the sentence before them."""
    quoted: list[str] = []
    sentence: str | None = None
    for line in [*because, None]:
        if line is not None and line.startswith("    "):
            quoted.append(line.removeprefix("    "))
            continue
        if sentence is not None or quoted:
            quotation = f"<pre>{text(chr(10).join(quoted))}</pre>" if quoted else ""
            yield f"<li>{_linked(text(sentence or ''))}{quotation}</li>"
        sentence, quoted = line, []


def _show(shown: Shown) -> str:
    return (
        f'<p class="script"><a class="show" href="#timeline" data-finding="{shown.id}">'
        "Show these operations in the timeline</a></p>"
    )


def _linked(escaped: str, *, links: bool = True) -> str:
    """`op 17` in a sentence leads to the operation."""
    if not links:
        return escaped
    return _OPERATION.sub(r'<a class=op href="#op-\1">op \1</a>', escaped)


def _as_text(ops: Sequence[tuple[Op, Op | None]]) -> str:
    events = sorted((op for pair in ops for op in pair if op is not None), key=lambda op: op.index)
    if not events:
        return ""
    try:
        drawn = render_timeline(events, text_max=TIMELINE_CHARS_MAX)
    except ValueError:  # a process with a name that no timeline can hold
        return ""
    return f"<details><summary>As a timeline in text</summary><pre>{text(drawn)}</pre></details>"


def _logs(ops: Sequence[tuple[Op, Op | None]], logs: Logs) -> str:
    lines = logs.around([op.time for pair in ops for op in pair if op is not None])
    if not lines:
        return ""
    return (
        f"<details><summary>The nodes' logs around it ({len(lines)} lines)</summary>"
        f"<pre>{text(chr(10).join(lines))}</pre></details>"
    )
