"""`assay explore --bug all`: how soon each planted bug is found, as a table.

Each bug is explored on its own, with the nemesis and options that it declares, until a finding has
one of the names that it is expected to have. With `--shrink S` the run that shows it is kept and
made as small as it gets in S seconds. The tables are Markdown; `docs/zoo.md` holds some.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from harness import catalog
from harness.errors import UsageError
from harness.explore.campaign import results
from harness.explore.command import fixed_of, run_arguments
from harness.explore.interrupts import Interrupts, noted
from harness.explore.once import Job, explore
from harness.explore.shrinking import shrink
from harness.store import RunFolder

HEAD = "| id | bug | found as | seeds | seconds |\n|---|---|---|---|---|"
HEAD_SHRUNK = (
    "| id | bug | found as | seeds | seconds | operations | faults | nodes | ms | shrunk in |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
SHOWN = ("operations", "faults", "nodes", "ms")


@dataclass(frozen=True, slots=True)
class Row:
    """How one bug fared. `found` is None if no seed showed it; `seeds` is how many were run.
    `shrunk` is what `assay shrink` says of it, if it was asked for."""

    id: str
    name: str
    found: str | None
    seed: int | None
    seeds: int
    took_s: float
    shrunk: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        found = f"{self.found} (seed {self.seed})" if self.found else "**not found**"
        line = f"| {self.id} | `{self.name}` | {found} | {self.seeds} | {self.took_s:.1f} |"
        return line if self.shrunk is None else f"{line} {self._sizes(self.shrunk)} |"

    @staticmethod
    def _sizes(shrunk: Mapping[str, Any]) -> str:
        """Before and after, and how long it took; ≤ where a larger budget may find less."""
        before, after = shrunk["before"], shrunk["after"]
        sizes = [f"{before[name]} → {after[name]}" for name in SHOWN]
        most = "≤ " if shrunk["out of time"] else ""
        return " | ".join([*sizes, f"{most}{shrunk['took_s']:.0f} s, {shrunk['runs']} runs"])


def zoo_command(arguments: argparse.Namespace) -> int:
    """Exit status: 0 if every bug was found, 1 if one was not, 3 if it was interrupted."""
    console = Console(stderr=True, quiet=arguments.json)
    rows: list[Row] = []
    began = time.monotonic()
    with noted() as interrupts, contextlib.suppress(KeyboardInterrupt):
        for row in hunt(arguments, interrupts):
            rows.append(row)
            console.print(str(row), markup=False, highlight=False, soft_wrap=True)
    missing = [row.name for row in rows if row.found is None]
    unknown = len(rows) < len(catalog.names("bugs"))
    took_s = time.monotonic() - began
    if arguments.json:
        shapes: list[dict[str, Any]] = [
            {name: getattr(row, name) for name in Row.__slots__} for row in rows
        ]
        print(json.dumps({"bugs": shapes, "missing": missing, "took_s": round(took_s, 1)}))
    else:
        print(HEAD if arguments.shrink is None else HEAD_SHRUNK, *rows, sep="\n")
        print(f"\n{len(rows) - len(missing)} of {len(rows)} found in {took_s:.0f} s")
    return 1 if missing else 3 if unknown else 0


def hunt(arguments: argparse.Namespace, interrupts: Interrupts) -> Iterator[Row]:
    """Each bug until it is found, or the seeds are used up."""
    for name in catalog.names("bugs"):
        bug = catalog.find("bugs", name)
        own = argparse.Namespace(**{**vars(arguments), "bug": name})
        job = Job(run_arguments(own), fixed_of(own), keep=False)
        began = time.monotonic()
        row = Row(bug.id, name, None, None, 0, 0.0)
        searching = results(job, arguments.seeds, arguments.jobs)
        for tried, result in enumerate(searching, 1):
            interrupts.check()
            names = [anomaly for anomaly, _ in result.found if anomaly in bug.anomalies]
            row = replace(row, seeds=tried, took_s=time.monotonic() - began)
            if names:
                row = replace(row, found=names[0], seed=result.seed)
                break
        searching.close()
        if row.found is not None and row.seed is not None and arguments.shrink is not None:
            kept = explore(replace(job, keep=True), row.seed).folder
            assert kept is not None, "it failed a moment ago"
            row = replace(row, shrunk=_shrunk(RunFolder(kept), row.found, arguments))
        yield row


def _shrunk(
    run: RunFolder, anomaly: str, arguments: argparse.Namespace
) -> Mapping[str, Any] | None:
    """None if the run's tape alone does not show it."""
    try:
        return shrink(run, anomaly, arguments.shrink, arguments.results).to_json()
    except UsageError:
        return None
