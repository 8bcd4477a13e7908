"""Results are summed, likes are one, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.explore.campaign import Summary
from harness.explore.command import seed_range, tell
from harness.explore.once import Result
from harness.explore.page import render
from harness.verdict import Outcome

ROOT = Path(__file__).parents[2]


def result(seed: int, outcome: Outcome | None, *found: tuple[str, str]) -> Result:
    knobs = {"nemesis": "kill,power"}
    return Result(seed, outcome, found, faults={"kill": 2}, acknowledged=3, knobs=knobs)


def test_failures_that_differ_in_numbers_only_are_of_one_kind() -> None:
    summary = Summary()
    for seed, claim in ((7, "message 3 of key 0 is gone"), (2, "message 41 of key 1 is gone")):
        summary.add(result(seed, Outcome.INVALID, ("lost-write", claim)))
    summary.add(result(3, Outcome.VALID))
    ((kind, runs),) = summary.kinds.items()
    assert kind == ("lost-write", "message # of key # is gone")
    assert [run.seed for run in runs] == [2, 7]
    assert summary.faults == {"kill": 6} and summary.acknowledged == 9
    assert summary.outcomes == {"invalid": 2, "valid": 1} and summary.status == 1


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([Outcome.VALID], 0),
        ([Outcome.VALID, Outcome.UNKNOWN], 3),
        ([Outcome.UNKNOWN, None], 4),
        ([None, Outcome.INVALID, Outcome.UNKNOWN], 1),
        ([], 0),
    ],
)
def test_a_finding_is_worse_than_a_failure_and_that_worse_than_a_doubt(
    outcomes: list[Outcome | None], status: int
) -> None:
    summary = Summary()
    for seed, outcome in enumerate(outcomes):
        summary.add(result(seed, outcome))
    assert summary.status == status


def test_text_and_page_tell_what_was_found_and_escape_it() -> None:
    summary = Summary()
    summary.add(result(1, Outcome.INVALID, ("phantom", "<script> was polled")))
    assert "phantom: <script> was polled" in tell(summary, 1.0, interrupted=False)
    shape = {**summary.to_json(), "seeds": [0, 2], "took_s": 1.0, "command": "assay explore"}
    page = render(shape)
    assert "&lt;script&gt; was polled" in page and "<script>" not in page


def test_seeds_are_a_range_without_its_end() -> None:
    assert list(seed_range("2:4")) == [2, 3]
    for wrong in ("x", "4:2", "1:"):
        with pytest.raises(Exception, match=r"is not A:B|no seed"):
            seed_range(wrong)


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            if int(status.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.local
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_jobs_end_with_the_exploration_however_it_ends(tmp_path: Path, how: int) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "harness.cli", "explore", "log", "--seeds", "0:1000"),
            *("--jobs", "2", "--results", str(tmp_path)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(jobs := children(process.pid)) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(how)
    process.wait(30)
    while any(map(alive, jobs)):
        assert time.monotonic() < deadline, "a job outlived its exploration"
        time.sleep(0.05)
