"""One seed of an exploration: draw, run in a world, judge, and keep what failed.

A run's history goes to a temporary folder and is thrown away when nothing was found. What failed is
run again, whole, with logs and data and a report, in a run folder of its own: whether the second
history is the first is looked at, too.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.arguments import parse_test, weather
from harness.errors import EnvironmentFailure, UsageError
from harness.explore.drawing import draw
from harness.history import History
from harness.launch import store_verdict
from harness.op import KINDS, Kind
from harness.progress import Silent
from harness.run import Run
from harness.sim.world import World
from harness.spells import operations
from harness.store import RunFolder
from harness.verdict import Outcome, Verdict

PREFIX = "assay-explore-"


@dataclass(frozen=True, slots=True)
class Job:
    """What all seeds of an exploration share; picklable.

    Attributes:
        base: parsed arguments of `assay run`. fixed: knobs that are not drawn.
        keep: whether a run that failed is run again, whole, where it stays.
        scratch: the folder for what is thrown away; None for one of the system's.
    """

    base: argparse.Namespace
    fixed: Mapping[str, str] = field(default_factory=dict)
    keep: bool = True
    scratch: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one seed.

    Attributes:
        outcome: of the verdict; None if the run itself failed, which `failure` says.
        found: (anomaly, claim) of each finding.
        faults: how often each kind of fault was injected, and seen to work.
        acknowledged: operations of clients that were ok.
        warnings: what the run did not exercise.
        folder: where a failing run was stored. same: whether running it again gave its history.
        command: repeats it.
    """

    seed: int
    outcome: Outcome | None
    found: tuple[tuple[str, str], ...] = ()
    doubts: tuple[str, ...] = ()
    faults: Mapping[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    took_s: float = 0.0
    virtual_s: float = 0.0
    failure: str | None = None
    warnings: tuple[str, ...] = ()
    folder: Path | None = None
    same: bool | None = None
    knobs: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome is not Outcome.VALID

    @property
    def kinds(self) -> frozenset[tuple[str, str]]:
        """Anomaly and claim without numbers: alike for what is probably one bug."""
        return frozenset((name, re.sub(r"\d+", "#", claim)) for name, claim in self.found)


def explore(job: Job, seed: int) -> Result:
    """Run one seed. What is wrong with one of them, a bug of ours even, ends no campaign.

    Raises:
        UsageError: nothing that can be drawn fits the job.
    """
    try:
        return _explore(job, seed)
    except UsageError:
        raise
    except Exception:
        return Result(seed, outcome=None, failure=f"a bug of ours\n{traceback.format_exc()}")


def _explore(job: Job, seed: int) -> Result:
    began = time.perf_counter()
    arguments, knobs = draw(job.base, seed, job.fixed)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=job.scratch or fast()) as scratch:
        folder = RunFolder(Path(scratch))
        run, verdict, virtual_s = play(arguments, seed, folder, keep=False)
        history = folder.history.read_bytes() if folder.history.exists() else b""
        told = _told(folder)
    result = Result(
        seed=seed,
        outcome=None if run.failure is not None and not verdict.findings else verdict.outcome,
        found=tuple((f.anomaly, f.claim) for f in verdict.findings),
        doubts=verdict.doubts,
        took_s=time.perf_counter() - began,
        virtual_s=virtual_s,
        failure=None if run.failure is None else str(run.failure),
        warnings=tuple(verdict.stats.get("coverage", {}).get("warnings", ())),
        knobs=knobs,
        command=run.test.record["command"],
        **told,
    )
    # A bug that did not act is no failure that anybody would look at.
    idle = bool(arguments.bug) and result.outcome is Outcome.UNKNOWN
    return _kept(result, arguments, history) if job.keep and result.failed and not idle else result


def play(
    arguments: argparse.Namespace, seed: int, folder: RunFolder, *, keep: bool
) -> tuple[Run, Verdict, float]:
    """The run, its verdict, and the virtual seconds it took."""
    test = parse_test(arguments, seed, keep=keep)
    with World(seed, weather(arguments.options)) as world:
        run = Run(test, folder, Silent(), world.now_ns)
        try:
            world.run(run.execute())
        except EnvironmentFailure as error:  # before there was anything to judge
            run.failure = error
            doubt = f"the run failed: {error}"
            return run, Verdict(Outcome.UNKNOWN, doubts=(doubt,)), world.now_ns() / 1e9
        return run, run.judge(), world.now_ns() / 1e9


def _told(folder: RunFolder) -> dict[str, Any]:
    """Faults that were seen to work, and operations that were acknowledged."""
    if not folder.history.exists():
        return {}
    history = History.load(folder.history)
    acknowledged = int(((history.process >= 0) & (history.type == KINDS.index(Kind.OK))).sum())
    return {"faults": dict(Counter(_injected(history))), "acknowledged": acknowledged}


def _injected(history: History) -> Iterator[str]:
    """A disk's fault was seen to work if it struck, which its end tells: nobody may have written
    anything meanwhile."""
    ill = 0
    for begun, ended in operations(history):
        effect = (ended.extra or {}).get("effect") if ended is not None else None
        if not isinstance(effect, dict) or effect.get("outcome") != "observed":
            continue
        if begun.f == "start-disk":
            ill += 1
            continue
        if begun.f == "stop-disk":
            yield from ["start-disk"] * (ill if _struck(effect.get("evidence")) else 0)
            ill = 0
        yield begun.f
    yield from ["start-disk"] * ill  # the run ended first: nothing is known


def _struck(evidence: Any) -> bool:
    """Whether some disk of a `stop-disk` did something wrong, or did not tell."""
    nodes = evidence.values() if isinstance(evidence, dict) else ()
    return any(not isinstance(told, dict) or told.get("acted") != {} for told in nodes)


def _kept(result: Result, arguments: argparse.Namespace, history: bytes) -> Result:
    """Run it again, whole, where it stays."""
    folder = RunFolder.create(arguments.results, arguments.workload.rpartition("/")[2])
    began = time.perf_counter()
    run, verdict, _ = play(arguments, result.seed, folder, keep=True)
    title = f"{run.test.workload.name} / {run.test.package.name} / sim, seed {result.seed}"
    store_verdict(folder, verdict, title, time.perf_counter() - began)
    again = folder.history.read_bytes() if folder.history.exists() else b""
    shape = {name: getattr(result, name) for name in Result.__slots__}
    return Result(**{**shape, "folder": folder.path, "same": again == history})


def fast() -> str | None:
    """Memory rather than a disk, where there is some."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
