"""A run as one self-contained HTML file: opens from disk, asks no network, escapes every value.

The verdict, the findings and the charts are in the page as it loads; the operations are data that a
small script draws on a canvas after the first paint, so that a page of 100,000 operations shows its
verdict at once. All that came from the system under test is data or escaped text, never markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from harness.history import History
from harness.report.html import charts, findings, operations
from harness.report.html.logs import Logs

_WORD = {True: "valid", False: "invalid", "unknown": "unknown"}
_MEANING = {
    True: "Nothing that the contract forbids was seen.",
    False: "Something that the contract forbids happened.",
    "unknown": "The history does not decide it.",
}


def render(folder: Path) -> str:
    """The page of the run in `folder`, from what is stored there."""
    test, verdict = _load(folder / "test.json"), _load(folder / "verdict.json")
    history = History.load(folder / "history.jsonl")
    bands = operations.bands(history, test.get("bands", ()))
    valid = verdict.get("valid", "unknown")
    parts = {
        "TITLE": escape(f"{test.get('name', folder.parent.name)} — {_WORD[valid]}"),
        "VERDICT_CLASS": _WORD[valid],
        "VERDICT": _verdict(test, verdict, folder),
        "FINDINGS": findings.render(verdict, history, Logs(folder, test)),
        "CHARTS": charts.render(history, bands),
        "CONTRACT": _contract(test),
        "COVERAGE": _coverage(verdict.get("stats", {}).get("coverage", {})),
        "OPTIONS": _options(test, verdict),
        "STYLE": _resource("report.css"),
        "SCRIPT": _resource("report.js"),
        "DATA": _json(operations.data(history, bands, findings.witnesses(verdict))),
    }
    page = _resource("report.html")
    pieces = page.split("%%")
    # The template alternates text and names, so that nothing inserted is ever searched for names.
    return "".join(p if i % 2 == 0 else parts[p] for i, p in enumerate(pieces))


def _load(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    assert isinstance(value, dict)
    return value


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that is safe inside a script element: no `<` can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _verdict(test: Mapping[str, Any], verdict: Mapping[str, Any], folder: Path) -> str:
    valid = verdict.get("valid", "unknown")
    rows = [
        f"<h1><span class=mark>{_WORD[valid].upper()}</span> {escape(str(test.get('name', '')))}"
        f"<small>{escape(_under(test))}</small></h1>",
        f"<p class=meaning>{_MEANING[valid]}</p>",
    ]
    counts = _counts(verdict.get("anomalies", {}), "forbidden")
    counts += _counts(verdict.get("allowed", {}), "allowed")
    if counts:
        rows.append(f"<ul class=counts>{''.join(counts)}</ul>")
    rows += [f"<pre class=doubt>{escape(str(doubt))}</pre>" for doubt in verdict.get("doubts", ())]
    command = test.get("command")
    if command:
        rows.append(f"<p>Repeat it: <code class=command>{escape(command)}</code></p>")
    return "\n".join(rows)


def _under(test: Mapping[str, Any]) -> str:
    options = test.get("options", {})
    said = [options.get("system"), options.get("cluster"), f"nemesis {options.get('nemesis')}"]
    return " · ".join(str(s) for s in [*said, f"seed {test.get('seed')}"] if s)


def _counts(anomalies: Mapping[str, Any], kind: str) -> list[str]:
    return [
        f'<li class={kind}><a href="#anomaly-{escape(name, True)}">{escape(name)}</a> '
        f"× {int(found['count'])}{' (allowed)' if kind == 'allowed' else ''}</li>"
        for name, found in anomalies.items()
    ]


def _contract(test: Mapping[str, Any]) -> str:
    rows = test.get("explained contract", ())
    if not rows:
        return "<p>The run did not store one.</p>"
    body = "".join(
        f"<tr class={'forbidden' if 'forbidden' in str(row[1]) else 'legal'}>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><tr><th>anomaly</th><th>here</th><th>because</th></tr>{body}</table>"


def _coverage(coverage: Mapping[str, Any]) -> str:
    warnings = "".join(f"<li class=warning>{escape(w)}</li>" for w in coverage.get("warnings", ()))
    rest = {key: value for key, value in coverage.items() if key != "warnings"}
    return (f"<ul>{warnings}</ul>" if warnings else "") + _tree(rest)


def _options(test: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    hidden = ("explained contract", "bands", "contract")
    shown = {key: value for key, value in test.items() if key not in hidden}
    stats = {k: v for k, v in verdict.get("stats", {}).items() if k != "coverage"}
    return _tree({**shown, "statistics": stats})


def _tree(value: Any) -> str:
    """Nested tables of a JSON value."""
    if isinstance(value, Mapping):
        rows = "".join(
            f"<tr><th>{escape(str(key))}</th><td>{_tree(each)}</td></tr>"
            for key, each in value.items()
        )
        return f"<table class=tree>{rows}</table>"
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        columns = list(dict.fromkeys(key for each in value for key in each))
        head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{_tree(each.get(c, ''))}</td>" for c in columns) + "</tr>"
            for each in value[:200]
        )
        return f"<table class=rows><tr>{head}</tr>{body}</table>"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return escape(text)
