"""`results/index.html`: all runs of a results folder, newest first, with their verdicts.

Made anew after each run from what the run folders hold, so that deleting a folder is all it takes
to forget a run. A folder whose harness was killed has no verdict, and is listed so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import UsageError
from harness.store import RunFolder

RUNS_MAX = 1000
"""The newest runs; a nightly suite adds some hundred a week."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Runs</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884 }}
.valid {{ color: #1a7f37 }} .invalid {{ color: #cf222e; font-weight: 600 }}
.unknown, .unjudged {{ color: #9a6700 }}
</style></head><body>
<h1>Runs</h1>
<table><thead><tr><th>Run<th>Verdict<th>Anomalies<th>System<th>Nemesis<th>Seed</tr></thead>
<tbody>
{rows}
</tbody></table>
</body></html>
"""


def write_index(results: Path) -> None:
    """Write `results/index.html`, whole or not at all.

    Raises:
        EnvironmentFailure: it cannot be written.
    """
    found = sorted(_runs(results), key=lambda folder: folder.path.name, reverse=True)
    rows = "\n".join(_row(folder) for folder in found[:RUNS_MAX])
    RunFolder(results.resolve()).save_text("index.html", _PAGE.format(rows=rows))


def _runs(results: Path) -> Iterator[RunFolder]:
    for test in os.scandir(results):
        if not test.is_dir(follow_symlinks=False):
            continue
        for run in os.scandir(test.path):
            if run.is_dir(follow_symlinks=False) and Path(run.path, "test.json").exists():
                yield RunFolder(Path(run.path))


def _row(folder: RunFolder) -> str:
    test, verdict = _load(folder, "test.json"), _load(folder, "verdict.json")
    options = test.get("options")
    options = options if isinstance(options, Mapping) else {}
    valid = verdict.get("valid", "unjudged")
    word = {True: "valid", False: "invalid"}[valid] if isinstance(valid, bool) else str(valid)
    word = word if word in ("valid", "invalid", "unjudged") else "unknown"
    name = f"{folder.path.parent.name}/{folder.path.name}"
    page = "report.html" if folder.report.exists() else ""
    cells = (
        f'<a href="{escape(quote(f"{name}/{page}"), quote=True)}">{escape(name)}</a>',
        f"<span class={word}>{word}</span>",
        escape(", ".join(_anomalies(verdict))),
        *(escape(str(options.get(key, ""))) for key in ("system", "nemesis")),
        escape(str(test.get("seed", ""))),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _anomalies(verdict: Mapping[str, Any]) -> Iterator[str]:
    for kind, note in (("anomalies", ""), ("allowed", " (allowed)")):
        found = verdict.get(kind)
        for name, shown in found.items() if isinstance(found, Mapping) else ():
            count = shown.get("count") if isinstance(shown, Mapping) else None
            yield f"{name} × {json.dumps(count)}{note}"


def _load(folder: RunFolder, name: str) -> Mapping[str, Any]:
    """What is there; nothing if it is damaged: one bad folder must not hide all others."""
    try:
        return folder.load(name)
    except UsageError:
        return {}
