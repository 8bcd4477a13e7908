"""Many seeds side by side: jobs are processes of their own, and end with this one.

Results come as they are ready, so their order is chance's; each of them is its seed's.
"""

from __future__ import annotations

import concurrent.futures as futures
import ctypes
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.explore.once import PREFIX, Job, Result, explore, fast
from harness.verdict import Outcome

_PR_SET_PDEATHSIG = 1

Explore = Callable[[Job, int], Result]


def results(job: Job, seeds: Sequence[int], jobs: int) -> Generator[Result, None, None]:
    """Of all seeds. Whoever stops asking, or is interrupted, leaves no process and no file behind.

    A seed whose process is killed (by a system that is out of memory, say) is tried once more.
    """
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=fast()) as scratch:
        job = replace(job, scratch=scratch)
        if jobs == 1 or len(seeds) == 1:
            for seed in seeds:
                yield _attempt(job, seed)
            return
        left = list(reversed(seeds))
        while left:
            lost = []
            for seed, result in _pooled(job, left, jobs):
                if result is None:
                    lost.append(seed)
                else:
                    yield result
            for seed in lost:  # alone, so that it takes no other seed with it
                for _, result in _pooled(job, [seed], 1):
                    yield result or Result(seed, outcome=None, failure="its process was killed")


def sweep() -> list[str]:
    """Remove what campaigns left in memory that were killed; the folders' names."""
    removed = []
    for folder in Path(fast() or tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return sorted(removed)


def _pooled(
    job: Job, left: list[int], jobs: int
) -> Generator[tuple[int, Result | None], None, None]:
    """Takes seeds from the end of `left`, until all are done or a process is killed: None is the
    result of every seed that was under way then."""
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(jobs, context, _begin, (os.getpid(),)) as pool:
        waiting: dict[futures.Future[Result], int] = {}
        try:
            while left or waiting:
                # A few ahead only: a campaign that ends at its first failure has little to undo.
                while left and len(waiting) < 2 * jobs:
                    seed = left.pop()
                    waiting[pool.submit(_attempt, job, seed)] = seed
                done, _ = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
                if any(isinstance(each.exception(), BrokenExecutor) for each in done):
                    yield from ((seed, None) for seed in waiting.values())
                    waiting.clear()
                    return
                for each in done:
                    yield waiting.pop(each), each.result()
        finally:
            for each in waiting:
                each.cancel()
            if waiting:
                for child in multiprocessing.active_children():
                    child.kill()


def _attempt(job: Job, seed: int) -> Result:
    try:
        return explore(job, seed)
    except UsageError as error:  # for this seed alone: the first one was tried beforehand
        return Result(seed, outcome=None, failure=str(error))


def _begin(parent: int) -> None:
    """In a new process: Ctrl-C is its parent's business, whose end is its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it went before it could be said


@dataclass(slots=True)
class Summary:
    """What came of all seeds so far."""

    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    mixes: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    virtual_s: float = 0.0
    vacuous: int = 0  # valid, but something was not exercised
    unlike: list[int] = field(default_factory=list)  # seeds that went another way, run again
    failing: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.outcomes["failed" if result.outcome is None else result.outcome.name.lower()] += 1
        self.faults.update(result.faults)
        self.mixes.update(result.knobs.get("nemesis", "").split(","))
        self.acknowledged += result.acknowledged
        self.virtual_s += result.virtual_s
        self.vacuous += result.outcome is Outcome.VALID and bool(result.warnings)
        self.unlike += [result.seed] if result.same is False else []
        if result.failed:
            self.failing.append(result)

    @property
    def kinds(self) -> dict[tuple[str, str], list[Result]]:
        """What is probably one bug → the runs that showed it, by seed."""
        found: dict[tuple[str, str], list[Result]] = defaultdict(list)
        for result in self._by_seed():
            for kind in sorted(result.kinds):
                found[kind].append(result)
        return dict(found)

    @property
    def silent(self) -> dict[str, list[Result]]:
        """Why runs say nothing, though nothing was found → these runs, by seed."""
        why: dict[str, list[Result]] = defaultdict(list)
        for result in self._by_seed():
            if not result.found:
                why[result.failure or "; ".join(result.doubts)].append(result)
        return dict(why)

    def _by_seed(self) -> list[Result]:
        return sorted(self.failing, key=lambda result: result.seed)

    @property
    def status(self) -> int:
        """1 if anything was found, else 4 if a run failed, else 3 if one says nothing."""
        for outcome, status in (("invalid", 1), ("failed", 4), ("unknown", 3)):
            if self.outcomes[outcome]:
                return status
        return 0

    def to_json(self) -> dict[str, Any]:
        return {
            "runs": self.runs,
            "outcomes": dict(self.outcomes),
            "faults": dict(self.faults),
            "acknowledged": self.acknowledged,
            "virtual_s": round(self.virtual_s, 3),
            "vacuous": self.vacuous,
            "unlike": sorted(self.unlike),
            "found": [
                {"anomaly": anomaly, "claim": claim, **_where(runs)}
                for (anomaly, claim), runs in self.kinds.items()
            ],
            "silent": [{"why": why, **_where(runs)} for why, runs in self.silent.items()],
        }


def _where(runs: Sequence[Result]) -> dict[str, Any]:
    return {
        "seeds": [result.seed for result in runs],
        "runs": [str(result.folder) for result in runs if result.folder],
        "repeat": runs[0].command,
    }
