"""`assay suite FILE.toml`: every job in turn, a line each as it ends, and what came of all."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.launch import worst
from harness.report import junit
from harness.store import RunFolder
from harness.suite import running
from harness.suite.jobs import Job, load, only
from harness.suite.outcome import Outcome, outcome
from harness.verdict import Verdict

INTERRUPTED = 3


def suite_command(arguments: argparse.Namespace) -> int:
    """Exit status: 4 if a job could not run, else 1 if one was not as expected, else 3 if one is
    unknown or was not reached, else 0."""
    suite = load(arguments.file)
    jobs = only(suite.jobs, arguments.only)
    folder = RunFolder.create(arguments.results, f"suite-{_plain(suite.name)}")
    width = max(len(job.name) for job in jobs)
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with _interruptible():
        try:
            for each in _outcomes(jobs, folder, arguments.results):
                outcomes.append(each)
                if not arguments.json:
                    print(each.line(width), flush=True)
        except KeyboardInterrupt:
            pass
    took_s = time.monotonic() - began
    left = [job.name for job in jobs[len(outcomes) :]]
    status = worst([*(each.status for each in outcomes), *([INTERRUPTED] if left else [])])
    shape = {
        "suite": suite.name,
        "run": str(folder.path),
        "status": status,
        "took_s": round(took_s, 1),
        "jobs": [each.to_json() for each in outcomes],
        "not run": left,
    }
    folder.save("suite.json", shape)
    verdict = Verdict.merge({each.job.name: each.verdict for each in outcomes})
    folder.save_text(
        "junit.xml", junit.render(verdict.doubted(*_unreached(left)), suite.name, took_s)
    )
    print(json.dumps(shape) if arguments.json else _said(shape, outcomes))
    return status


def _outcomes(jobs: Sequence[Job], folder: RunFolder, results: Path) -> Iterator[Outcome]:
    """Of each job, until all have run or somebody interrupts, who hears of the job that was
    running, too."""
    for number, job in enumerate(jobs, 1):
        words = [*job.words, "--results", str(results.absolute()), "--json"]
        notes = folder.path / f"{number:03}-{_plain(job.name)}"
        ended = running.run(words, job.budget_s, notes)
        yield outcome(job, ended)
        if ended.cut_short == running.INTERRUPTED:
            return


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is as SIGINT, and both are heard even where the shell has them ignored."""
    before = {
        signum: signal.signal(signum, signal.default_int_handler)
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _unreached(left: Sequence[str]) -> list[str]:
    return [f"it was interrupted; not run: {', '.join(left)}"] if left else []


def _said(shape: dict[str, Any], outcomes: Sequence[Outcome]) -> str:
    good = sum(each.status == 0 for each in outcomes)
    lines = [f"{shape['suite']}: {good} of {len(outcomes)} jobs as expected, {shape['took_s']} s"]
    lines += [f"  {line}" for line in _unreached(shape["not run"])]
    for each in outcomes:
        if each.status != 0:
            lines.append(f"  repeat:  {each.job.line}")
            lines += [f"  look:    {run}" for run in each.runs]
    lines.append(f"  look:    {shape['run']}")
    return "\n".join(lines)


def _plain(name: str) -> str:
    """For a file's name."""
    return re.sub(r"[^\w.-]+", "-", name)
