"""Many seeds side by side: jobs are processes of their own, and end with this one.

Results come as they are ready, so their order is chance's; each of them is its seed's.
"""

from __future__ import annotations

import concurrent.futures as futures
import ctypes
import itertools
import multiprocessing
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.explore.once import Job, Result, explore

_PR_SET_PDEATHSIG = 1

Explore = Callable[[Job, int], Result]


def results(job: Job, seeds: Sequence[int], jobs: int) -> Generator[Result, None, None]:
    """Of all seeds. Whoever stops asking, or is interrupted, leaves no process behind."""
    if jobs == 1 or len(seeds) == 1:
        for seed in seeds:
            yield explore(job, seed)
        return
    context = multiprocessing.get_context("spawn")
    parent = os.getpid()
    with futures.ProcessPoolExecutor(jobs, context, _begin, (parent,)) as pool:
        waiting: set[futures.Future[Result]] = set()
        left = iter(seeds)
        try:
            while True:
                # A few ahead only: a campaign that ends at its first failure has little to undo.
                waiting |= {
                    pool.submit(explore, job, seed)
                    for seed in itertools.islice(left, 2 * jobs - len(waiting))
                }
                if not waiting:
                    return
                done, waiting = futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            for each in waiting:
                each.cancel()
            if waiting:
                for child in multiprocessing.active_children():
                    child.kill()


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
    failing: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        self.runs += 1
        self.outcomes["failed" if result.outcome is None else result.outcome.name.lower()] += 1
        self.faults.update(result.faults)
        self.mixes.update(result.knobs.get("nemesis", "").split(","))
        self.acknowledged += result.acknowledged
        self.virtual_s += result.virtual_s
        if result.failed:
            self.failing.append(result)

    @property
    def kinds(self) -> dict[tuple[str, str], list[Result]]:
        """What is probably one bug → the runs that showed it, by seed."""
        found: dict[tuple[str, str], list[Result]] = defaultdict(list)
        for result in sorted(self.failing, key=lambda r: r.seed):
            for kind in sorted(result.kinds) or [
                ("failed", result.failure or "; ".join(result.doubts))
            ]:
                found[kind].append(result)
        return dict(found)

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
            "found": [
                {
                    "anomaly": anomaly,
                    "claim": claim,
                    "seeds": [result.seed for result in runs],
                    "runs": [str(result.folder) for result in runs if result.folder],
                    "repeat": runs[0].command,
                }
                for (anomaly, claim), runs in self.kinds.items()
            ],
        }
