"""`assay explore --bug all`: how soon each planted bug is found, as a table.

Each bug is explored on its own, with the nemesis and options that it declares, until a finding has
one of the names that it is expected to have. The table is Markdown; `docs/zoo.md` holds one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from harness import catalog
from harness.explore.campaign import results
from harness.explore.command import fixed_of, run_arguments
from harness.explore.once import Job

HEAD = "| id | bug | found as | seeds | seconds |\n|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Row:
    """How one bug fared. `found` is None if no seed showed it; `seeds` is how many were run."""

    id: str
    name: str
    found: str | None
    seed: int | None
    seeds: int
    took_s: float

    def __str__(self) -> str:
        found = f"{self.found} (seed {self.seed})" if self.found else "**not found**"
        return f"| {self.id} | `{self.name}` | {found} | {self.seeds} | {self.took_s:.1f} |"


def zoo_command(arguments: argparse.Namespace) -> int:
    """Exit status: 0 if every bug was found, 1 if one was not."""
    console = Console(stderr=True, quiet=arguments.json)
    rows: list[Row] = []
    began = time.monotonic()
    for row in hunt(arguments):
        rows.append(row)
        console.print(str(row), markup=False, highlight=False, soft_wrap=True)
    missing = [row.name for row in rows if row.found is None]
    took_s = time.monotonic() - began
    if arguments.json:
        shapes: list[dict[str, Any]] = [
            {name: getattr(row, name) for name in Row.__slots__} for row in rows
        ]
        print(json.dumps({"bugs": shapes, "missing": missing, "took_s": round(took_s, 1)}))
    else:
        print(HEAD, *rows, sep="\n")
        print(f"\n{len(rows) - len(missing)} of {len(rows)} found in {took_s:.0f} s")
    return 1 if missing else 0


def hunt(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each bug until it is found, or the seeds are used up."""
    for name in catalog.names("bugs"):
        bug = catalog.find("bugs", name)
        own = argparse.Namespace(**{**vars(arguments), "bug": name})
        job = Job(run_arguments(own), fixed_of(own), keep=False)
        began, tried = time.monotonic(), 0
        found, seed = None, None
        searching = results(job, arguments.seeds, arguments.jobs)
        for result in searching:
            tried += 1
            names = [anomaly for anomaly, _ in result.found if anomaly in bug.anomalies]
            if names:
                found, seed = names[0], result.seed
                break
        searching.close()
        yield Row(bug.id, name, found, seed, tried, time.monotonic() - began)


def page() -> str:
    """What there is in the zoo, as a Markdown table: `python -m harness.explore.zoo`."""
    lines = [
        "| id | name | mechanism | seen as any of | nemesis |",
        "|---|---|---|---|---|",
    ]
    for name in catalog.names("bugs"):
        bug = catalog.find("bugs", name)
        flags = "".join(f" -o {option}" for option in bug.options)
        flags += f" --nodes {bug.nodes}" if bug.nodes != 3 else ""
        seen = ", ".join(bug.anomalies)
        lines.append(f"| {bug.id} | {name} | {bug.mechanism} | {seen} | `{bug.nemesis}{flags}` |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
