"""`assay explore`: seeds from A to B, side by side; what is found is printed at once."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from harness import catalog
from harness.arguments import key_value
from harness.errors import UsageError
from harness.explore.campaign import Summary, results
from harness.explore.counting import Counting
from harness.explore.dasked import results_on
from harness.explore.drawing import FLAGS, draw
from harness.explore.interrupts import noted
from harness.explore.once import Job, Result
from harness.explore.page import write_page
from harness.report.text import WORD
from harness.store import RunFolder

OWN = ("time-limit", "rate")
"""Flags of `assay explore` that no seed draws."""

LIVENESS_S = 30.0
"""After healing, everybody must get something done within so much virtual time."""


def explore_command(arguments: argparse.Namespace) -> int:
    """Exit status: 1 if anything was found, else 4 if a run failed, 3 if one says nothing, 0."""
    if arguments.bug == "all":
        from harness.explore.zoo import zoo_command

        return zoo_command(arguments)
    if arguments.shrink is not None:
        raise UsageError("--shrink goes with --bug all; to shrink one run there is `assay shrink`")
    seeds = arguments.seeds
    job = Job(run_arguments(arguments), fixed_of(arguments))
    draw(job.base, seeds[0], job.fixed)  # wrong usage is said before anything starts
    folder = RunFolder.create(arguments.results, "explore")
    console = Console(stderr=True, quiet=arguments.json)
    summary, began, interrupted = Summary(), time.monotonic(), False
    shown: set[Any] = set()
    try:
        with noted() as interrupts, Counting(console, len(seeds)) as counting:
            for result in _results(job, seeds, arguments):
                interrupts.check()
                summary.add(result)
                counting.advance(len(summary.failing))
                if result.failed:
                    known = bool(result.kinds) and result.kinds <= shown
                    shown |= result.kinds
                    text = describe(result).splitlines()
                    if known:  # and where it is, for it may be another bug of the same looks
                        text = [f"{text[0]}: as before; {result.folder}"]
                    console.print("\n".join(text), markup=False, highlight=False, soft_wrap=True)
                if is_enough(result, "any" if arguments.until_failure else arguments.until):
                    break
    except KeyboardInterrupt:
        interrupted = True
    took_s = time.monotonic() - began
    shape = {
        **summary.to_json(),
        "seeds": [seeds[0], seeds[-1] + 1],
        "took_s": round(took_s, 3),
        "interrupted": interrupted,
        "command": " ".join(["assay", *sys.argv[1:]]),
    }
    folder.save("summary.json", shape)
    page = write_page(folder, shape)
    if arguments.json:
        print(json.dumps({**shape, "run": str(folder.path)}))
    else:
        print(tell(summary, took_s, interrupted))
        print(f"  look:    {page}")
    return summary.status or (3 if interrupted else 0)


def _results(job: Job, seeds: Sequence[int], arguments: argparse.Namespace) -> Iterator[Result]:
    """From processes of this machine, or from a dask cluster."""
    if arguments.scheduler is not None:
        return results_on(arguments.scheduler, job, seeds)
    return results(job, seeds, arguments.jobs)


def is_enough(result: Result, until: str | None) -> bool:
    """Whether it found one of the anomalies that are waited for: `any`, or names and commas."""
    if until is None:
        return False
    names = {name for name, _ in result.found}
    return bool(names) if until == "any" else not names.isdisjoint(until.split(","))


def run_arguments(arguments: argparse.Namespace) -> argparse.Namespace:
    """What `assay run` would be told, of which the knobs are then drawn."""
    from harness.cli import parser

    bug = None
    workload = arguments.workload
    if arguments.bug:
        bug = catalog.find("bugs", arguments.bug)
        workload = workload or bug.workload
    words = ["run", workload or "log", "--cluster", "sim", "--system", arguments.system]
    words += ["--time-limit", str(arguments.time_limit), "--rate", str(arguments.rate)]
    words += ["--results", str(arguments.results), "--liveness", str(LIVENESS_S)]
    words += ["--bug", arguments.bug] if arguments.bug else []
    beyond = arguments.beyond_contract or (bug is not None and bug.beyond_contract)
    words += ["--beyond-contract"] if beyond else []
    for option in () if bug is None else bug.options:
        flag = option.partition("=")[0] in FLAGS  # which the drawing sets
        words += [] if flag else ["-o", option]
    return parser().parse_args(words)


def fixed_of(arguments: argparse.Namespace) -> Mapping[str, str]:
    """The knobs that are not drawn: `--fixed`, and what a bug declares that it needs.

    Raises:
        UsageError: one is not KEY=VALUE.
    """
    fixed: dict[str, str] = {}
    if arguments.bug:
        bug = catalog.find("bugs", arguments.bug)
        fixed |= {"nemesis": bug.nemesis, "nodes": str(bug.nodes)}
        fixed |= dict(option.split("=", 1) for option in bug.options)
    for each in arguments.fixed:
        key, value = key_value("--fixed", each)
        if key in OWN:
            raise UsageError(f"--fixed {each}: give --{key} {value}, which holds for all seeds")
        fixed[key] = value
    return fixed


def seed_range(text: str) -> Sequence[int]:
    """`A:B`, without B; or one seed.

    >>> seed_range("3:6"), seed_range("7")
    (range(3, 6), range(7, 8))
    """
    first, colon, end = text.partition(":")
    try:
        chosen = range(int(first), int(end) if colon else int(first) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not A:B, as in 0:200") from None
    if not chosen:
        raise argparse.ArgumentTypeError(f"there is no seed in {text}")
    return chosen


def describe(result: Result) -> str:
    """A failing seed for a person."""
    word = WORD[result.outcome] if result.outcome is not None else "FAILED"
    lines = [f"{word}  seed {result.seed}, {result.knobs.get('nemesis', '')}"]
    seen = dict.fromkeys(name for name, _ in result.found)
    for name in seen:
        claims = [claim for found, claim in result.found if found == name]
        more = f" (and {len(claims) - 1} more)" if len(claims) > 1 else ""
        lines.append(f"  {name}: {claims[0]}{more}")
    lines += [f"  doubt: {doubt}" for doubt in result.doubts[:3]]
    if result.failure:
        lines.append(f"  failure: {result.failure}")
    if result.same is False:
        lines.append("  warning: run again, it went another way; this is a bug of ours")
    lines += [f"  repeat:  {result.command}"] if result.command else []
    if result.folder is not None:
        lines.append(f"  look:    {result.folder / 'report.html'}")
    return "\n".join(lines)


def tell(summary: Summary, took_s: float, interrupted: bool) -> str:
    """The end of an exploration, for a person."""
    counts = ", ".join(f"{n} {name}" for name, n in sorted(summary.outcomes.items()))
    rate = summary.runs / took_s if took_s else 0.0
    lines = [
        f"{summary.runs} runs{' (interrupted)' if interrupted else ''}: {counts or 'none'}"
        + (f"; {summary.vacuous} of the valid ones are vacuous" if summary.vacuous else ""),
        f"  time:    {summary.virtual_s:.0f} virtual seconds in {took_s:.1f} s, "
        f"{rate:.1f} runs/s; {summary.acknowledged} operations acknowledged",
        "  faults:  "
        + (", ".join(f"{f} {n}" for f, n in sorted(summary.faults.items())) or "none"),
    ]
    for (anomaly, claim), runs in summary.kinds.items():
        seeds = ", ".join(str(run.seed) for run in runs[:5]) + (", …" if len(runs) > 5 else "")
        lines.append(
            f"  found:   {anomaly}: {claim}\n           in {len(runs)} runs: seeds {seeds}"
        )
    for why, runs in summary.silent.items():
        lines.append(
            f"  silent:  {why}\n           in {len(runs)} runs, first of seed {runs[0].seed}"
        )
    if summary.unlike:
        lines.append(f"  warning: run again, these seeds went another way: {summary.unlike}")
    return "\n".join(lines)
