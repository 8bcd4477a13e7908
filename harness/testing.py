"""Tests of one's own for pytest: this workload is valid under any schedule of faults.

    from harness.testing import cluster_test, pinned

    @cluster_test("log", nemesis="kill,partition", options={"acks": "all"}, max_examples=20)
    @pinned(seed=7, nodes=5)
    def test_the_log_keeps_its_promises(run):
        assert run.acknowledged > 0

Hypothesis draws the seed, the faults and the size of the cluster; the seed decides the rest, as in
`assay explore`. A run is simulated, judged by its contract, and given to the test function when it
is valid. When it is not, Hypothesis looks for fewer faults that show it as well, and the test fails
with the argument and the command that repeats it. `pinned` schedules are run first, every time.
"""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, reject, settings
from hypothesis import strategies as st

from harness.cli import parser
from harness.errors import EnvironmentFailure, UsageError
from harness.explore.apart import Apart
from harness.explore.command import describe, fixed_of, run_arguments
from harness.explore.drawing import NEMESES
from harness.explore.once import Job, Result
from harness.store import RunFolder

TestFunction = Callable[[Result], Any]

SEEDS = 1 << 31

MIX = st.tuples(*(st.sampled_from(("", name)) for name in NEMESES)).map(
    lambda mix: ",".join(filter(None, mix)) or "none"
)
"""Each fault for itself or not, so that each can be left out: without any the run is simplest."""

DRAWN: Mapping[str, st.SearchStrategy[str]] = {
    "nemesis": MIX,
    "nodes": st.sampled_from(("3", "1", "2", "5")),
    "nemesis-interval": st.sampled_from(("1.0", "0.5", "2.0", "3.0")),
}
"""What Hypothesis draws and shrinks itself, simplest first; all else is the seed's affair."""


@dataclass(frozen=True)
class Schedule:
    """One example: a seed, and the knobs that it does not decide."""

    seed: int
    fixed: Mapping[str, str] = field(default_factory=dict)
    pinned: bool = False


def cluster_test(
    workload: str = "log",
    *,
    system: str = "broker",
    nemesis: str | None = None,
    options: Mapping[str, object] | None = None,
    bug: str | None = None,
    seeds: int = SEEDS,
    max_examples: int = 20,
    time_limit_s: float = 10.0,
    rate: float = 50.0,
    results: Path = Path("results"),
) -> Callable[[TestFunction], Callable[[], None]]:
    """Make a test of a function that takes a valid run's `harness.explore.once.Result`.

    Args:
        nemesis: as for `--nemesis`; drawn if it is not given.
        options: as for `-o`, or knobs of `assay explore --fixed`; what is not given is drawn.
        seeds: how many there are. max_examples: how many are tried each time.
        results: where failing runs are kept.
    """
    words = ["explore", workload, "--system", system, "--results", str(results)]
    words += ["--time-limit", str(time_limit_s), "--rate", str(rate)]
    words += [] if bug is None else ["--bug", bug]
    knobs = {**(options or {}), **({} if nemesis is None else {"nemesis": nemesis})}
    words += [word for key, value in knobs.items() for word in ("--fixed", f"{key}={value}")]

    @functools.cache
    def job() -> Job:  # of the first example: a wrong name fails its own test only
        told = parser().parse_args(words)
        return Job(run_arguments(told), fixed_of(told))

    limits = settings(
        max_examples=max_examples,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )

    def decorate(function: TestFunction) -> Callable[[], None]:
        def body(schedule: Schedule) -> None:
            function(_valid(job(), schedule))

        for name in ("__name__", "__qualname__", "__doc__", "__module__"):
            setattr(body, name, getattr(function, name))
        test: Any = given(schedule=st.deferred(lambda: _schedules(seeds, job().fixed)))(body)
        for schedule in getattr(function, PINNED, ()):
            test = example(schedule=schedule)(test)
        return limits(test)  # type: ignore[no-any-return]

    return decorate


PINNED = "assay_pinned"


def pinned(seed: int, **fixed: object) -> Callable[[Any], Any]:
    """Run this schedule, too, first and every time. Below `cluster_test`. Knobs with a dash or a
    dot in their name are given with `**{"nemesis-interval": 1}`."""
    schedule = Schedule(seed, {key: str(value) for key, value in fixed.items()}, pinned=True)

    def pin(function: Any) -> Any:
        setattr(function, PINNED, (schedule, *getattr(function, PINNED, ())))
        return function

    return pin


def _schedules(seeds: int, fixed: Mapping[str, str]) -> st.SearchStrategy[Schedule]:
    drawn = {name: knob for name, knob in DRAWN.items() if name not in fixed}
    return st.builds(Schedule, st.integers(0, seeds - 1), st.fixed_dictionaries(drawn))


def _valid(job: Job, schedule: Schedule) -> Result:
    """The run of this schedule, which is valid.

    Raises:
        AssertionError: it is not. EnvironmentFailure: it could not run.
    """
    fixed = {**job.fixed, **schedule.fixed}
    try:
        result = _child().explore(replace(job, fixed=fixed), schedule.seed)
    except UsageError:
        if schedule.pinned:
            raise
        reject()  # these faults do not fit this cluster: power failures that it could not bear
    if result.outcome is None:
        raise EnvironmentFailure(result.failure or "the run failed")
    if result.failed:
        raise AssertionError("\n".join([describe(result), *_argument(result)]))
    return result


def _argument(result: Result) -> list[str]:
    """The sentences of the first finding of each anomaly."""
    if result.folder is None:
        return []
    found = RunFolder(result.folder).load("verdict.json").get("anomalies", {})
    lines = []
    for name, told in found.items():
        for finding in told["examples"][:1]:
            lines.append(f"{name}: {finding['claim']}")
            lines += [f"  {sentence}" for sentence in finding["because"]]
    return lines


_children: list[Apart] = []


def _child() -> Apart:
    """One for all tests of this process, which need not wait for it to begin each time."""
    if not _children or _children[0].ended:
        _children[:] = [Apart()]
        atexit.register(_children[0].close)
    return _children[0]
