"""`assay bench checkers`: measures every row, and prints the page."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.bench import measure, porcupine
from harness.bench.measure import Checked
from harness.bench.page import Line, page
from harness.bench.rows import ROWS, Row
from harness.errors import UsageError

TIMES = 3


def bench_command(arguments: argparse.Namespace) -> int:
    """Exit status: 1 if a target was missed, or a verdict is wrong; else 0."""
    rows = [row for row in ROWS if not arguments.only or row.name in arguments.only]
    unknown = set(arguments.only) - {row.name for row in ROWS}
    if unknown:
        known = ", ".join(repr(row.name) for row in ROWS)
        raise UsageError(f"no such row: {', '.join(sorted(unknown))}; there are {known}")
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as name:
        folder = Path(name)
        program, missing = _peer(folder, arguments.no_peers)
        lines = []
        for row in rows:
            print(row.name, "…", file=sys.stderr, flush=True)
            lines.append(measured(row, folder, program, arguments.operations))
    print(page(lines, missing), end="")
    return 1 if any(any(line.missed()) for line in lines) else 0


def _peer(folder: Path, unwanted: bool) -> tuple[Path | None, str]:
    """The peer's program, or why there is none."""
    if unwanted:
        return None, "not wanted"
    try:
        return porcupine.build(folder), ""
    except porcupine.Missing as why:
        return None, str(why)


def measured(row: Row, folder: Path, program: Path | None, most: int | None = None) -> Line:
    """The row, with at most `most` operations a history."""
    operations = min(row.operations, most or row.operations)
    with _histories(row, folder, operations) as paths:
        decode_s = measure.decoded(paths)
        runs = _runs(row, paths)
        peer = None
        if program is not None and row.peer is not None:
            peer = porcupine.asked(program, row.peer, paths)
    best = min(runs, key=lambda run: run.check_s)
    growth = None
    if row.histories == 1:
        with _histories(row, folder, operations // 2) as paths:
            measure.decoded(paths)
            half_s = min(run.check_s for run in _runs(row, paths))
        growth = best.check_s / half_s if half_s else None
    load_s = min(run.load_s for run in runs)
    return Line(row, operations, decode_s, load_s, best, growth, peer)


def _runs(row: Row, paths: list[Path]) -> list[Checked]:
    return [measure.checked(row.checker, row.options, paths) for _ in range(TIMES)]


@contextmanager
def _histories(row: Row, folder: Path, operations: int) -> Iterator[list[Path]]:
    """The row's histories as files, while they are needed: each has some hundred MB."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        yield row.write(Path(name), operations)
