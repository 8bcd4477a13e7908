"""What is wrong with one seed ends no campaign, and nothing of it is left."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.explore import campaign, once
from harness.explore.campaign import Summary, results
from harness.explore.command import fixed_of, run_arguments, tell
from harness.explore.drawing import draw
from harness.explore.once import Job, Result
from harness.verdict import Outcome


def job(*words: str) -> Job:
    from harness.cli import parser

    told: argparse.Namespace = parser().parse_args(["explore", "log", "--time-limit", "1", *words])
    return Job(run_arguments(told), fixed_of(told), keep=False)


def killed_at_2(job: Job, seed: int) -> Result:
    """In a worker: ends as one does that the system is out of memory for."""
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(seed, Outcome.VALID)


def test_a_killed_worker_costs_its_own_seed_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "_attempt", killed_at_2)
    found = {result.seed: result for result in results(job(), range(6), 2)}
    assert sorted(found) == list(range(6))
    assert found.pop(2).failure == "its process was killed"
    assert {result.outcome for result in found.values()} == {Outcome.VALID}


def test_a_bug_of_ours_is_the_result_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(once, "draw", broken)
    (result,) = results(job(), [7], 1)
    assert result.outcome is None and result.failure is not None
    assert "ZeroDivisionError: planted" in result.failure


def test_what_is_thrown_away_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(campaign, "fast", lambda: str(tmp_path))
    folders = []

    def attempt(job: Job, seed: int) -> Result:
        folders.append(job.scratch)
        return Result(seed, Outcome.VALID)

    monkeypatch.setattr(campaign, "_attempt", attempt)
    running = results(job(), [1, 2], 1)
    next(running)
    assert [path.name for path in tmp_path.iterdir()] == [Path(str(folders[0])).name]
    running.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_campaign_left_is_swept_and_that_of_a_living_one_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(campaign, "fast", lambda: str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"assay-explore-{gone.pid}-x", f"assay-explore-{os.getpid()}-x", "another"):
        (tmp_path / name / "inside").mkdir(parents=True)
    assert campaign.sweep() == [f"assay-explore-{gone.pid}-x"]
    assert {path.name for path in tmp_path.iterdir()} == {
        f"assay-explore-{os.getpid()}-x",
        "another",
    }


def test_a_cluster_that_cannot_start_is_a_failure_and_no_doubt(tmp_path: Path) -> None:
    (tmp_path / "dead.py").write_text(DEAD, encoding="utf-8")
    (result,) = results(job("--system", f"{tmp_path}/dead.py:Dead"), [0], 1)
    assert result.outcome is None and "n1" in (result.failure or "")


DEAD = '''
"""A broker whose nodes end at once."""
from systems.broker import Broker

class Dead(Broker):
    def program(self, spec):
        async def ended(host):
            raise SystemExit(3)
        return ended
'''


@pytest.mark.parametrize(
    "fixed",
    ["nodes=abc", "nodes=0", "nemesis-interval=nan", "nemesis-interval=-1", "nemesis-interval=inf"]
    + ["sim.latency-us=-1000", "sim.split=7", "time-limit=3", "rate=9"],
)
def test_wrong_knobs_are_wrong_usage(fixed: str) -> None:
    with pytest.raises(UsageError, match=fixed.partition("=")[0]):
        told = job("--fixed", fixed)
        draw(told.base, 0, told.fixed)


def test_what_says_nothing_is_told_apart_from_what_was_found() -> None:
    summary = Summary()
    summary.add(Result(1, Outcome.UNKNOWN, doubts=("the bug b was not exercised",)))
    summary.add(Result(2, None, failure="n1 never got ready"))
    summary.add(Result(3, Outcome.INVALID, (("lost-write", "gone"),), same=False))
    summary.add(Result(4, Outcome.VALID, warnings=("no fault was applied",)))
    shape = json.loads(json.dumps(summary.to_json()))
    assert [each["anomaly"] for each in shape["found"]] == ["lost-write"]
    assert {each["why"]: each["seeds"] for each in shape["silent"]} == {
        "the bug b was not exercised": [1],
        "n1 never got ready": [2],
    }
    assert shape["unlike"] == [3] and shape["vacuous"] == 1
    text = tell(summary, 1.0, interrupted=False)
    assert "silent:  n1 never got ready" in text and "1 of the valid ones are vacuous" in text
    assert "went another way: [3]" in text
