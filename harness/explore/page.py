"""The summary page of an exploration: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from harness.store import RunFolder

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em;
       color-scheme: light dark; }
table { border-collapse: collapse; margin: 1em 0; }
td, th { border: 1px solid #8884; padding: .3em .8em; text-align: left; vertical-align: top; }
code { font-size: 13px; overflow-wrap: anywhere; }
.invalid { color: #c0392b; } .valid { color: #1e8449; }
"""


def write_page(folder: RunFolder, shape: Mapping[str, Any]) -> Path:
    """Write `summary.html`; its path."""
    folder.save_text("summary.html", render(shape))
    return folder.path / "summary.html"


def render(shape: Mapping[str, Any]) -> str:
    found, silent = shape["found"], shape["silent"]
    verdict = f"{len(found)} kinds of findings" if found else "nothing found"
    first, end = shape["seeds"]
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><title>Exploration</title>",
            f"<style>{STYLE}</style><h1>Seeds {first} to {end - 1}: ",
            f"<span class={'invalid' if found else 'valid'}>{verdict}</span></h1>",
            f"<p>{shape['runs']} runs, {shape['virtual_s']:.0f} virtual seconds in ",
            f"{shape['took_s']:.1f} s; {shape['acknowledged']} operations acknowledged.</p>",
            f"<p><code>{escape(shape['command'])}</code></p>",
            *(_section(f"{each['anomaly']}: {each['claim']}", each) for each in found),
            *(_section(f"Says nothing: {each['why']}", each) for each in silent),
            "<h2>Runs</h2>",
            _table(("outcome", "runs"), shape["outcomes"].items()),
            f"<p>Of the valid ones {shape['vacuous']} did not exercise all that they were to.</p>",
            _unlike(shape["unlike"]),
            "<h2>Faults that were injected and seen to work</h2>",
            _table(("fault", "times"), sorted(shape["faults"].items())),
            "</html>\n",
        ]
    )


def _section(title: str, each: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, each["seeds"]))
    links = "".join(
        f'<p><a href="{escape((Path(run) / "report.html").as_uri(), quote=True)}">{escape(run)}</a>'
        for run in each["runs"][:5]
    )
    return (
        f"<h2 class=invalid>{escape(title)}</h2><p>Seeds: {seeds}</p>"
        f"<p><code>{escape(each['repeat'])}</code></p>{links}"
    )


def _unlike(seeds: Sequence[int]) -> str:
    if not seeds:
        return ""
    listed = ", ".join(map(str, seeds))
    return f"<p class=invalid>Run again, these went another way, a bug of ours: seeds {listed}</p>"


def _table(heads: Iterable[str], rows: Iterable[tuple[Any, Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
