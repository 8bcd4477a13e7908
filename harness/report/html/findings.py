"""Findings as sections: the sentences, the sub-history they speak of, the nodes' logs around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from harness.history import History
from harness.op import Op
from harness.report.html.logs import Logs
from harness.timeline import render as render_timeline


def witnesses(verdict: Mapping[str, Any]) -> dict[int, set[str]]:
    """Event index → anomalies whose shown findings speak of it."""
    found: dict[int, set[str]] = {}
    for kind in ("anomalies", "allowed"):
        for name, anomaly in verdict.get(kind, {}).items():
            for example in anomaly["examples"]:
                for index in example["witness"]:
                    found.setdefault(index, set()).add(name)
    return found


def render(verdict: Mapping[str, Any], history: History, logs: Logs) -> str:
    """All findings, forbidden ones first."""
    forbidden = _sections(verdict.get("anomalies", {}), "forbidden", history, logs)
    allowed = _sections(verdict.get("allowed", {}), "allowed", history, logs)
    if not forbidden and not allowed:
        return "<p>None.</p>"
    return "\n".join((*forbidden, *allowed))


def _sections(anomalies: Mapping[str, Any], kind: str, history: History, logs: Logs) -> list[str]:
    sections = []
    for name, found in anomalies.items():
        shown: Sequence[Mapping[str, Any]] = found["examples"]
        more = int(found["count"]) - len(shown)
        inside = "\n".join(_finding(f, history, logs, first=i == 0) for i, f in enumerate(shown))
        sections.append(
            f'<section class="anomaly {kind}" id="anomaly-{escape(name, True)}">'
            f"<h3>{escape(name)} <small>× {int(found['count'])}"
            f"{', allowed under this contract' if kind == 'allowed' else ''}</small></h3>"
            f"{inside}{f'<p>… and {more} more in verdict.json or the history.</p>' if more else ''}"
            "</section>"
        )
    return sections


def _finding(finding: Mapping[str, Any], history: History, logs: Logs, *, first: bool) -> str:
    ops = [history[index] for index in finding["witness"] if 0 <= index < len(history)]
    because = "".join(f"<li>{escape(sentence)}</li>" for sentence in finding["because"])
    reason = finding.get("reason")
    return (
        f"<details{' open' if first else ''}><summary>{escape(finding['claim'])}</summary>"
        + (f"<p class=reason>Allowed: {escape(reason)}</p>" if reason else "")
        + f"<ol class=because>{because}</ol>"
        + _table(ops)
        + (f"<pre class=timeline>{escape(render_timeline(ops))}</pre>" if ops else "")
        + _logs(ops, logs)
        + "</details>"
    )


def _table(ops: Sequence[Op]) -> str:
    rows = "".join(
        f'<tr class={op.type.value}><td><a class=op href="#op-{op.index}">{op.index}</a></td>'
        f"<td>{op.time / 1e9:.4f} s</td><td>{escape(str(op.process))}</td>"
        f"<td>{op.type.value}</td><td>{escape(op.f)}</td><td><code>{escape(_short(op.value))}</code>"
        f"{' ' + escape(': '.join(op.error)) if op.error else ''}</td></tr>"
        for op in ops
    )
    head = "<tr><th>op</th><th>time</th><th>process</th><th>type</th><th>f</th><th>value</th></tr>"
    return f"<table class=ops>{head}{rows}</table>"


def _logs(ops: Sequence[Op], logs: Logs) -> str:
    if not ops:
        return ""
    lines = logs.between(ops[0].time, ops[-1].time)
    if not lines:
        return ""
    text = "\n".join(escape(line) for line in lines)
    return f"<details><summary>Logs of the nodes around it</summary><pre>{text}</pre></details>"


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) < 400 else text[:400] + "…"
