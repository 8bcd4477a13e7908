"""Jobs run one after another, each in a process of its own, and nothing is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.suite import running

ROOT = Path(__file__).parents[2]

TWO = """
[[job]]
name = "a run"
command = "run"
workload = "log"
cluster = "sim"
time-limit = 1
rate = 20
seed = 3
[[job]]
name = "a bug"
command = "explore"
bug = "orphan-deleted"
seeds = "0:5"
expect = ["lost-write"]
[[job]]
name = "more than there is"
command = "explore"
seeds = "3"
time-limit = 1
expect = "found"
"""


def assay(tmp_path: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "some.toml").write_text(text, encoding="utf-8")
    words = ["suite", str(tmp_path / "some.toml"), "--results", str(tmp_path / "results"), *more]
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_each_job_says_how_it_went_and_the_worst_of_them_is_the_status(tmp_path: Path) -> None:
    ended = assay(tmp_path, TWO)
    assert ended.returncode == 1, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("OK       a run               valid in 1 run, ")
    assert lines[1].startswith("OK       a bug               found lost-write in ")
    assert lines[2].startswith(
        "FAILED   more than there is  expected something, found nothing in 1"
    )
    assert lines[3].startswith("some: 2 of 3 jobs as expected, ")
    folder = (tmp_path / "results" / "suite-some" / "latest").resolve()
    stored = json.loads((folder / "suite.json").read_text())
    assert [job["status"] for job in stored["jobs"]] == [0, 0, 1] and stored["status"] == 1
    junit = ElementTree.fromstring((folder / "junit.xml").read_text())
    assert {k: junit.get(k) for k in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "0",
    }


def test_only_json_is_said_where_that_was_asked_for(tmp_path: Path) -> None:
    ended = assay(tmp_path, TWO, "--only", "a r*", "--json")
    told = json.loads(ended.stdout)
    assert ended.returncode == told["status"] == 0
    assert [job["name"] for job in told["jobs"]] == ["a run"] and told["not run"] == []
    assert Path(told["jobs"][0]["runs"][0], "history.jsonl").exists()


def test_wrong_usage_is_said_before_anything_runs(tmp_path: Path) -> None:
    ended = assay(tmp_path, TWO + '[[job]]\nname = "c"\nworkload = "lo"\n')
    assert ended.returncode == 2 and "job c: 'lo' is none of the workloads" in ended.stderr
    assert not (tmp_path / "results").exists()


LONG = """
[[job]]
name = "long"
command = "explore"
seeds = "0:100000"
jobs = 2
[[job]]
name = "never"
command = "explore"
seeds = "0:1"
"""


def processes_of(tmp_path: Path) -> list[int]:
    """Whose command line names the folder, or whose parent's does."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(tmp_path).encode() in told:
                found.append(int(entry.name))
    return found


def wait_until_two_explore(tmp_path: Path) -> None:
    """The job has begun, and its own processes have."""
    deadline = time.monotonic() + 60
    while not any(_spawned(pid) for pid in processes_of(tmp_path)):
        assert time.monotonic() < deadline, "no job began"
        time.sleep(0.05)


def _spawned(pid: int) -> bool:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return b"explore" in Path(f"/proc/{pid}/cmdline").read_bytes() and bool(
            children.read_text().split()
        )
    except OSError:
        return False


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 3), (signal.SIGKILL, -9)])
def test_interrupted_or_killed_it_leaves_nobody_behind(
    tmp_path: Path, signum: int, status: int
) -> None:
    (tmp_path / "some.toml").write_text(LONG, encoding="utf-8")
    words = ["suite", str(tmp_path / "some.toml"), "--results", str(tmp_path / "results")]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    wait_until_two_explore(tmp_path)
    process.send_signal(signum)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == status
    if signum == signal.SIGINT:
        assert out.startswith("UNKNOWN  long") and "(interrupted)" in out.splitlines()[0]
        assert "it was interrupted; not run: never" in out
    deadline = time.monotonic() + 30
    while left := processes_of(tmp_path):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)


def test_a_job_whose_time_is_up_tells_what_it_has(tmp_path: Path) -> None:
    words: Sequence[str] = ["explore", "--seeds", "0:100000", "--json"]
    results = ["--results", str(tmp_path / "results")]
    ended = running.run([*words, *results], 6.0, tmp_path / "notes")
    assert ended.cut_short == "the time was up" and ended.status == 3
    assert json.loads(ended.out)["interrupted"] is True
