"""The main job, end to end: a broker under faults, driven by real clients, judged and explained."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.echo import wait_until

ROOT = Path(__file__).parents[1]
RUN_DEADLINE_S = 240.0
GONE_DEADLINE_S = 30.0

KINDS = [
    pytest.param("local", marks=pytest.mark.local),
    pytest.param("docker", marks=pytest.mark.docker),
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    if kind == "docker":
        request.getfixturevalue("docker_engine")
    return kind


@dataclass
class Done:
    """How a command ended."""

    status: int
    shape: dict[str, Any]
    errors: str


@asynccontextmanager
async def assay(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that runs, killed in the end if it still does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness.cli", *map(str, arguments)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(*arguments: str | Path) -> Done:
    """Run a command to its end; JSON must be all that it prints."""
    async with assay(*arguments) as process, asyncio.timeout(RUN_DEADLINE_S):
        output, errors = await process.communicate()
    assert process.returncode is not None
    assert output, f"it printed nothing, with status {process.returncode}: {errors.decode()}"
    return Done(process.returncode, json.loads(output), errors.decode())


def main_job(kind: str, results: Path, seconds: int, *more: str) -> list[str | Path]:
    return [
        *("run", "log", "--system", "broker", "--cluster", kind, "--nemesis", "kill,partition"),
        *("--time-limit", str(seconds), "--nemesis-interval", "3", "--results", results),
        *("--json", *more),
    ]


def running_in(folder: Path) -> Iterator[int]:
    """Processes whose arguments name the folder: the nodes of `local` among them."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in arguments:
                yield int(entry.name)


async def test_a_broker_under_faults_keeps_its_promises(kind: str, tmp_path: Path) -> None:
    run = await ended(*main_job(kind, tmp_path, 15, "--seed", "7"))
    assert run.status == 0, (run.shape, run.errors)
    assert run.shape["valid"] is True and run.shape["anomalies"] == {}
    assert run.shape["stats"]["system"]["elections"] > 0, "the faults were felt"
    faults = run.shape["checkers"]["faults"]["stats"]
    assert faults["kill"]["observed"] > 0 and faults["start-partition"]["observed"] > 0
    assert run.shape["checkers"]["log"]["stats"]["sends"]["ok"] > 20
    folder = Path(run.shape["run"])
    for name in ("history.jsonl", "verdict.json", "report.html", "junit.xml", "test.json"):
        assert (folder / name).stat().st_size > 0
    for node in ("n1", "n2", "n3"):
        assert (folder / "nodes" / node / "node.log").stat().st_size > 0
    again = await ended("check", folder, "--json")
    assert (again.status, again.shape["valid"]) == (0, True)
    assert not list(running_in(tmp_path))


async def test_a_run_that_is_killed_leaves_nothing_but_a_history_to_check(
    kind: str, tmp_path: Path
) -> None:
    def operations() -> int:
        found = list(tmp_path.glob("log/latest/history.jsonl"))
        return found[0].read_bytes().count(b'"ok"') if found else 0

    async with assay(*main_job(kind, tmp_path, 60)) as harness:
        await wait_until(lambda: operations() > 20, "the workload is under way", 120, 0.1)
        harness.send_signal(signal.SIGKILL)
        await harness.wait()
    await wait_until(
        lambda: not list(running_in(tmp_path)), "no process is left", GONE_DEADLINE_S, 0.1
    )
    (history,) = tmp_path.glob("log/latest/history.jsonl")
    checked = await ended("check", history.parent, "--json")
    assert checked.status in (0, 3), checked.shape
