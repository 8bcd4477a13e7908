"""Seeds on a dask cluster: a scheduler and two workers on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import parser
from harness.errors import EnvironmentFailure
from harness.explore.apart import Apart
from harness.explore.command import run_arguments
from harness.explore.dasked import results_on
from harness.explore.once import Job
from harness.verdict import Outcome

distributed = pytest.importorskip("distributed", reason="dask is an extra: pip install assay[dask]")

FIXED = {"nemesis": "kill:one", "nodes": "1", "acks": "all", "nemesis-interval": "1"}


def job_in(results: Path) -> Job:
    words = ["explore", "log", "--time-limit", "1", "--rate", "20", "--results", str(results)]
    told = parser().parse_args(words)
    return Job(run_arguments(told), FIXED)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Its address; processes, as on many machines."""
    with distributed.LocalCluster(
        host="127.0.0.1",
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        worker_dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


def test_a_cluster_runs_the_same_seeds_as_a_process_of_ones_own(
    scheduler: str, tmp_path: Path
) -> None:
    job = job_in(tmp_path)
    there = {result.seed: result for result in results_on(scheduler, job, range(4))}
    assert sorted(there) == [0, 1, 2, 3]
    own = Apart()
    try:
        here = {seed: own.explore(job, seed) for seed in range(4)}
    finally:
        own.close()
    assert all(result.outcome is Outcome.VALID for result in there.values())
    for seed, result in there.items():
        assert result.acknowledged > 0
        assert result.acknowledged == here[seed].acknowledged
        assert (result.faults, result.virtual_s) == (here[seed].faults, here[seed].virtual_s)


def test_whoever_has_enough_leaves_nothing_to_be_done(scheduler: str, tmp_path: Path) -> None:
    some = results_on(scheduler, job_in(tmp_path), range(100))
    assert next(iter(some)).outcome is Outcome.VALID
    some.close()  # type: ignore[attr-defined]
    with distributed.Client(scheduler, set_as_default=False) as client:
        deadline = time.monotonic() + 30
        while any(client.processing().values()):
            assert time.monotonic() < deadline, "seeds that nobody wants are still to be run"


def test_a_scheduler_that_does_not_answer_is_a_failure_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.explore.dasked.CONNECT_TIMEOUT_S", 0.2)
    with pytest.raises(EnvironmentFailure, match="no dask scheduler answers"):
        next(iter(results_on("tcp://127.0.0.1:9", job_in(tmp_path), range(1))))


def test_without_dask_the_option_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from harness.cli import main\n"
        "sys.exit(main(['explore', '--seeds', '0:1', '--scheduler', 'tcp://127.0.0.1:9']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'assay[dask]'" in done.stderr
