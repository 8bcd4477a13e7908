"""`cluster_test`: valid runs reach the test function, others fail with their argument."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import testing
from harness.errors import EnvironmentFailure, UsageError
from harness.explore.apart import Apart
from harness.explore.drawing import NEMESES
from harness.explore.once import Job, Result
from harness.store import RunFolder
from harness.testing import cluster_test, pinned
from harness.verdict import Outcome

LOST = ("lost-write", "message 3 of key 0 is gone")


class FakeChild:
    """Answers for the process that runs the seeds."""

    ended = False

    def __init__(self, tmp_path: Path) -> None:
        self.asked: list[tuple[int, dict[str, str]]] = []
        self.tmp_path = tmp_path

    def explore(self, job: Job, seed: int) -> Result:
        knobs = dict(job.fixed)
        self.asked.append((seed, knobs))
        return self.answer(seed, knobs)

    def answer(self, seed: int, knobs: dict[str, str]) -> Result:
        return Result(seed, Outcome.VALID, acknowledged=5, knobs=knobs)

    def lost(self, seed: int, knobs: dict[str, str]) -> Result:
        """What came of a run that lost a write, with its folder."""
        folder = RunFolder.create(self.tmp_path, "log")
        finding = {"claim": LOST[1], "because": ["op 3: it was acknowledged", "a contradiction"]}
        anomalies = {"lost-write": {"count": 1, "examples": [finding]}}
        folder.save("verdict.json", {"anomalies": anomalies})
        command = f"assay run log --seed {seed}"
        return Result(
            seed, Outcome.INVALID, (LOST,), knobs=knobs, folder=folder.path, command=command
        )


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild(tmp_path)
    monkeypatch.setattr(testing, "_child", lambda: fake)
    return fake


def test_every_example_is_a_run_that_the_function_looks_at(child: FakeChild) -> None:
    seen: list[int] = []

    @cluster_test(max_examples=5, seeds=100)
    def check(run: Result) -> None:
        assert run.acknowledged == 5
        seen.append(run.seed)

    check()
    assert seen == [seed for seed, _ in child.asked] and 1 <= len(seen) <= 5
    for seed, knobs in child.asked:
        mix = knobs["nemesis"].split(",")
        assert mix == ["none"] or (set(mix) <= set(NEMESES) and len(set(mix)) == len(mix))
        assert knobs["nodes"] in {"1", "2", "3", "5"} and 0 <= seed < 100


def test_what_is_given_is_not_drawn(child: FakeChild) -> None:
    @cluster_test(nemesis="kill:leader", options={"acks": "1", "nodes": 3}, max_examples=4)
    def check(run: Result) -> None:
        pass

    check()
    assert {(k["nemesis"], k["acks"], k["nodes"]) for _, k in child.asked} == {
        ("kill:leader", "1", "3")
    }


def test_pinned_schedules_come_first_and_win_over_what_is_given(child: FakeChild) -> None:
    @cluster_test(options={"acks": "all"}, max_examples=1)
    @pinned(seed=7, nodes=5)
    @pinned(seed=8, acks=1, **{"nemesis-interval": 2})
    def check(run: Result) -> None:
        pass

    check()
    assert sorted(child.asked[:2], key=lambda each: each[0]) == [
        (7, {"acks": "all", "nodes": "5"}),
        (8, {"acks": "1", "nemesis-interval": "2"}),
    ]


def test_a_finding_fails_the_test_with_its_argument_and_its_command(child: FakeChild) -> None:
    child.answer = child.lost  # type: ignore[method-assign]

    @cluster_test(max_examples=3)
    def check(run: Result) -> None:
        raise AssertionError("an invalid run is nothing to look at")

    with pytest.raises(AssertionError) as failed:
        check()
    text = str(failed.value)
    for said in (LOST[1], "op 3: it was acknowledged", "repeat:  assay run log --seed"):
        assert said in text


def test_fewer_faults_are_looked_for_that_show_the_same(child: FakeChild) -> None:
    def answer(seed: int, knobs: dict[str, str]) -> Result:
        valid = Result(seed, Outcome.VALID, knobs=knobs)
        return child.lost(seed, knobs) if "power" in knobs["nemesis"].split(",") else valid

    child.answer = answer  # type: ignore[method-assign]

    @cluster_test(max_examples=60)
    def check(run: Result) -> None:
        pass

    with pytest.raises(AssertionError, match="seed 0, power\n"):
        check()


def test_a_run_that_could_not_be_is_no_finding(child: FakeChild) -> None:
    child.answer = lambda seed, knobs: Result(seed, None, failure="no memory")  # type: ignore[method-assign]

    @cluster_test(max_examples=2)
    def check(run: Result) -> None:
        pass

    with pytest.raises(EnvironmentFailure, match="no memory"):
        check()


def test_a_pinned_schedule_that_cannot_be_is_said(child: FakeChild) -> None:
    def refuse(seed: int, knobs: dict[str, str]) -> Result:
        raise UsageError("five replicas on one node")

    child.answer = refuse  # type: ignore[method-assign]

    @cluster_test(max_examples=1)
    @pinned(seed=1, nodes=1)
    def check(run: Result) -> None:
        pass

    with pytest.raises(UsageError, match="five replicas"):
        check()


def test_the_test_keeps_its_name_and_what_it_says_of_itself() -> None:
    @cluster_test()
    def the_log_keeps_its_promises(run: Result) -> None:
        """As it says."""

    made: Any = the_log_keeps_its_promises
    assert (made.__name__, made.__doc__) == ("the_log_keeps_its_promises", "As it says.")
    assert made.__module__ == __name__


# -- with the broker ------------------------------------------------------------------------------


@pytest.fixture
def apart() -> Iterator[Apart]:
    child = Apart()
    yield child
    child.close()


def test_the_honest_broker_passes_and_every_run_did_something(tmp_path: Path) -> None:
    path = tmp_path / "test_mine.py"
    path.write_text(MINE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


MINE = """\
from harness.testing import cluster_test, pinned

@cluster_test("log", nemesis="kill", time_limit_s=1, options={"nodes": 1}, max_examples=2)
@pinned(seed=1, nodes=3)
def test_the_log_keeps_its_promises(run):
    assert run.acknowledged > 0
"""


def test_a_child_that_is_gone_is_a_failure_of_the_environment(apart: Apart, tmp_path: Path) -> None:
    apart.close()
    assert apart.ended
    with pytest.raises((EnvironmentFailure, ValueError)):
        apart.explore(_job(tmp_path), 1)


def test_wrong_usage_in_the_child_is_wrong_usage_here(apart: Apart, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing that can be drawn fits"):
        apart.explore(_job(tmp_path, acks="many"), 1)


def _job(results: Path, **fixed: str) -> Job:
    from tests.explore.test_dasked import job_in

    job = job_in(results)
    return Job(job.base, {**job.fixed, **fixed})
