"""Whether a job came out as it was expected to. Pure functions of what its command said."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.suite.jobs import Job
from harness.suite.running import Ended
from harness.verdict import Finding, Verdict

FAILED = 4

WORD = {0: "OK", 1: "FAILED", 3: "UNKNOWN", FAILED: "COULD NOT RUN"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes:
        status: 0 as expected, 1 not, 3 unknown, 4 could not run.
        said: why, in some words. found: anomaly → how often, in runs of an exploration.
        runs: the folders to look at.
    """

    job: Job
    status: int
    said: str
    found: Mapping[str, int]
    runs: tuple[str, ...]
    took_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.job.name,
            "status": self.status,
            "said": self.said,
            "expect": self.job.expect,
            "found": dict(self.found),
            "runs": list(self.runs),
            "took_s": round(self.took_s, 1),
            "command": self.job.line,
        }

    @property
    def verdict(self) -> Verdict:
        """As a part of JUnit's: what was not as expected is a failure, what is unknown an error."""
        if self.status == 0:
            return Verdict.of()
        if self.status == 1:
            return Verdict.of([Finding("not as expected", self.said, (self.job.line, *self.runs))])
        return Verdict.of(doubts=[f"{self.said}: {self.job.line}"])

    def line(self, width: int) -> str:
        return f"{WORD[self.status]:<8} {self.job.name:<{width}}  {self.said}, {self.took_s:.0f} s"


def outcome(job: Job, ended: Ended) -> Outcome:
    shapes = _shapes(ended.out)
    found = _found(shapes)
    runs = tuple(str(run) for shape in shapes for run in _runs(shape))
    status, said = _judged(job, ended, shapes, found)
    said += f" ({ended.cut_short})" if ended.cut_short else ""
    return Outcome(job, status, said, found, runs, ended.took_s)


def _judged(
    job: Job, ended: Ended, shapes: list[dict[str, Any]], found: Mapping[str, int]
) -> tuple[int, str]:
    """The job's status, and why."""
    if not shapes and ended.cut_short and ended.status in (3, -signal.SIGINT):
        return 3, "it had not begun"
    if not shapes or ended.status not in (0, 1, 3):
        lines = ended.err.strip().splitlines()
        why = lines[-1].removeprefix("assay: ") if lines else f"it ended with {ended.status}"
        return FAILED, why
    named = ", ".join(f"{name} {count}" for name, count in found.items())
    runs = sum(shape.get("runs", 1) for shape in shapes)
    many = f"{runs} run{'s' if runs != 1 else ''}"
    if job.expect == "valid":
        words = {0: "valid", 1: f"found {named}", 3: _doubt(shapes)}
        return ended.status, f"{words[ended.status]} in {many}"
    hit = [name for name in found if job.expect == "found" or name in job.expect]
    if hit:
        return 0, f"found {', '.join(hit)} in {many}"
    if ended.cut_short:
        return 3, f"found {named or 'nothing'} yet in {many}"
    wanted = "something" if job.expect == "found" else " or ".join(job.expect)
    return 1, f"expected {wanted}, found {named or 'nothing'} in {many}"


def _shapes(out: str) -> list[dict[str, Any]]:
    """Of one run, or of each of several; none if it said nothing that can be read."""
    try:
        told = json.loads(out)
    except ValueError:
        return []
    return told if isinstance(told, list) else [told]


def _found(shapes: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for shape in shapes:
        for name, told in shape.get("anomalies", {}).items():
            found[name] = found.get(name, 0) + told["count"]
        for kind in shape.get("found", ()):
            if kind["anomaly"] != "failed":  # a run that says nothing, or could not run
                found[kind["anomaly"]] = found.get(kind["anomaly"], 0) + len(kind["seeds"])
    return found


def _runs(shape: Mapping[str, Any]) -> list[str]:
    """What is worth looking at: the run, or the page of an exploration and its first finding."""
    own = [shape["run"]] if shape.get("run") else []
    return own + [kind["runs"][0] for kind in shape.get("found", ()) if kind["runs"]][:3]


def _doubt(shapes: list[dict[str, Any]]) -> str:
    """What is unknown of a run, or how the runs of an exploration went."""
    for shape in shapes:
        if shape.get("valid") == "unknown" and shape.get("doubts"):
            return f"unknown: {shape['doubts'][0]}"
    counts = [f"{n} {word}" for shape in shapes for word, n in shape.get("outcomes", {}).items()]
    return f"unknown: {', '.join(counts) or 'nothing'}"
