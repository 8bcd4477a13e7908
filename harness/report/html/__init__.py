"""A run as one self-contained HTML file: opens from disk, asks no network, escapes every value.

The verdict, the findings and the charts are in the page as it loads and need no script; the
operations are packed data that a script draws on a canvas after the first paint, so that a page of
100,000 operations shows its verdict at once. All that came from the system under test is data or
escaped text, never markup (`harness.report.html.markup`).

A folder may lack anything but its history: of a harness that was killed there is no verdict and a
torn last line, of a foreign history no test.json, and logs only where somebody kept them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from harness.history import History
from harness.report.html import (
    charts,
    contract,
    faults,
    findings,
    operations,
    summary,
    values,
)
from harness.report.html.logs import Logs
from harness.report.html.markup import packed, text
from harness.report.visible import visible
from harness.store import RunFolder

SCRIPTS = ("data.js", "search.js", "view.js", "page.js")
"""Concatenated, in this order, into the one script of the page."""


def render(folder: RunFolder) -> str:
    """The page of a run, from what is stored in its folder."""
    test, verdict = folder.load("test.json"), folder.load("verdict.json")
    return page(History.load(folder.history), test, verdict, folder.path)


def page(
    history: History,
    test: Mapping[str, Any],
    verdict: Mapping[str, Any],
    path: Path,
    check: str | None = None,
) -> str:
    """The page of a history.

    Args:
        test, verdict: as in test.json and verdict.json; of either, anything may be missing.
        path: the run's folder, or the history's file.
        check: the command that judges it again, if the path is not enough.
    """
    broken = faults.read(history, test.get("bands", ()))
    anomalies = findings.of_verdict(verdict)
    logs = Logs(path, test.get("started wall ns"))
    stored = test.get("contract", {})
    parts = {
        "TITLE": text(f"{summary.word(verdict).capitalize()}: {summary.title(test, path)}"),
        "WORD": summary.word(verdict),
        "SUMMARY": summary.render(test, verdict, anomalies, history, broken, path, check),
        "FINDINGS": findings.render(anomalies, history, broken, logs, stored),
        "MESSAGES": _messages(path),
        "CHARTS": charts.render(history, broken),
        "CONTRACT": contract.render(stored),
        "COVERAGE": contract.coverage(verdict.get("stats", {}).get("coverage")),
        "OPTIONS": _options(test, verdict),
        "STYLE": _resource("report.css"),
        "SCRIPT": "\n".join(map(_resource, SCRIPTS)),
        "DATA": packed(operations.data(history, broken, _named(anomalies))),
    }
    # The template alternates text and names, so that nothing inserted is ever searched for names.
    pieces = _resource("report.html").split("%%")
    return "".join(piece if i % 2 == 0 else parts[piece] for i, piece in enumerate(pieces))


def _named(anomalies: list[findings.Anomaly]) -> list[dict[str, Any]]:
    return [
        {"id": shown.id, "name": visible(shown.anomaly), "kind": shown.kind, "events": shown.events}
        for anomaly in anomalies
        for shown in anomaly.shown
    ]


def _messages(folder: Path) -> str:
    """The space-time diagram, if one was drawn: as an image, since an image runs no scripts."""
    path = folder / "diagram.svg"
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        '<section id="messages"><h2>Messages</h2>'
        f'<img alt="Messages between hosts" src="data:image/svg+xml;base64,{data}"></section>'
    )


def _options(test: Mapping[str, Any], verdict: Mapping[str, Any]) -> str:
    elsewhere = ("bands", "contract", "command")
    shown = {key: value for key, value in test.items() if key not in elsewhere}
    stats = {k: v for k, v in verdict.get("stats", {}).items() if k != "coverage"}
    return values.render({**shown, **({"statistics": stats} if stats else {})})


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
