"""The contract of a run, and what the run exercised: what a verdict is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.report.html import values
from harness.report.html.markup import text

_MODES = {
    "derived": "Derived from the options of the run: what they permit is listed as allowed where "
    "the history holds a cause for it.",
    "strict": "The strongest promise of the system: no setting of the run that weakens it is an "
    "excuse.",
}
FORBIDDEN = "forbidden"
_TABLES = ("warnings", "operations", "faults", "each fault")


def render(stored: Mapping[str, Any]) -> str:
    """HTML of the `contract` in test.json."""
    if not stored:
        return "<p>The run stored none.</p>"
    mode = str(stored.get("mode", ""))
    return (
        f"<p>{text(_MODES.get(mode, mode))}</p>{_rules(stored)}"
        f"<h3>What it follows from</h3>{values.render(stored.get('promises', {}))}"
    )


def reason(stored: Mapping[str, Any], anomaly: str) -> str:
    """Why the contract forbids an anomaly that it was found to forbid; empty if it does not say."""
    rule = _anomalies(stored).get(anomaly)
    if not rule:
        return ""
    if rule.get("here") == FORBIDDEN:
        return f"Forbidden: {rule.get('because', '')}."
    return f"It would be {rule.get('here')}; the history holds no such cause."


def _anomalies(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    found = stored.get("anomalies")
    return found if isinstance(found, Mapping) else {}


def _rules(stored: Mapping[str, Any]) -> str:
    """A row for each rule, forbidding ones first; anomalies that share one stand together."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, rule in _anomalies(stored).items():
        here = str(rule.get("here")).removesuffix(" after nothing")
        names.setdefault((here, str(rule.get("because"))), []).append(name)
    ordered = sorted(names.items(), key=lambda row: row[0][0] != FORBIDDEN)
    rows = [
        f"<tr><td>{'<br>'.join(map(text, those))}<td class={_kind(here)}>{text(here)}"
        f"<td>{text(because)}</tr>"
        for (here, because), those in ordered
    ]
    if not rows:
        return ""
    head = "<tr><th scope=col>anomaly<th scope=col>here<th scope=col>because</tr>"
    return f"<div class=wide><table class=rules>{head}{''.join(rows)}</table></div>"


def _kind(here: str) -> str:
    return "forbids" if here == FORBIDDEN else "permits"


def coverage(stored: Mapping[str, Any] | None) -> str:
    """HTML of the coverage in a verdict's statistics; warnings first."""
    if not stored:
        return "<p>Nobody counted.</p>"
    return "".join(_coverage(stored))


def _coverage(stored: Mapping[str, Any]) -> Iterator[str]:
    for warning in stored.get("warnings", ()):
        yield f"<p class=warning>{text(warning)}</p>"
    faults = stored.get("faults")
    if faults:
        yield f"<h3>Faults, and the operations that they met</h3>{values.render(faults)}"
    elif faults is not None:
        yield "<p>No fault took effect.</p>"
    each = stored.get("each fault")
    if each:
        yield f"<details><summary>Each fault</summary>{values.render(each)}</details>"
    operations = stored.get("operations")
    if operations:
        yield f"<h3>Operations by phase</h3>{values.render(_flat(operations))}"
    for name, value in stored.items():
        if name not in _TABLES and value:
            yield f"<h3>{text(name.capitalize())}</h3>{values.render(value)}"


def _flat(operations: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[dict[str, Any]]:
    """phase → f → outcome → count, as rows."""
    return [
        {"phase": phase, "operation": f, "ok": 0, "fail": 0, "info": 0, **counts}
        for phase, fs in operations.items()
        for f, counts in fs.items()
    ]
