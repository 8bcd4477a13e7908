"""How fast a simulated world runs: its bare loop, its network, and whole runs.

Run: pytest -m bench -s tests/bench/bench_sim.py

PEERS_PYTHON=path/to/python3.13, of an environment that has simloop, simloom, detangle, and msgspec
for ours, adds those to the ping-pong. Times are of the CPU, as other work on the machine would
count otherwise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sim.runs import executed

pytestmark = pytest.mark.bench

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("peers.py")
PEERS = ("simloop", "simloom", "detangle", "asyncio")
ROUNDS = 50_000


def rates(library: str, python: str) -> dict[str, float]:
    """A second of the CPU: round trips, and callbacks that each make the next."""
    done = subprocess.run(
        [python, str(SCRIPT), library, str(ROUNDS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        timeout=300,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    print(
        f"\n{library} on Python {told['python']}: {told['round trips']:,} round trips, "
        f"{told['callbacks']:,} callbacks a second",
        end="",
    )
    return told


def test_250_000_callbacks_and_30_000_round_trips_a_second() -> None:
    """Timer: the ping-pong and the chain of callbacks; the connection is made before."""
    told = rates("assay", sys.executable)
    assert told["callbacks"] >= 250_000
    assert told["round trips"] >= 30_000


def test_none_of_its_peers_is_faster() -> None:
    """Timer: the same, by the same interpreter, one library after another."""
    python = os.environ.get("PEERS_PYTHON")
    if not python:
        pytest.skip("PEERS_PYTHON names no Python with simloop, simloom and detangle")
    ours = rates("assay", python)
    for library in PEERS:
        assert rates(library, python)["round trips"] <= ours["round trips"]


def test_a_minute_under_faults_takes_six_seconds(tmp_path: Path) -> None:
    """Timer: three brokers, 60 virtual seconds at 200 operations a second under kill, partition
    and power, from start to the last final read; not the verdict."""
    words = ("log", "--nemesis", "kill,partition,power", "--time-limit", "60", "--rate", "200")
    assert cpu_s(words, tmp_path) <= 6


def test_a_run_of_an_explorer_takes_half_a_second(tmp_path: Path) -> None:
    """Timer: the same for 10 virtual seconds at 50 operations a second."""
    words = ("log", "--nemesis", "kill,partition,power", "--time-limit", "10", "--rate", "50")
    assert cpu_s(words, tmp_path) <= 0.5


def cpu_s(words: tuple[str, ...], results: Path) -> float:
    """The median of three seeds; the first run, which loads the schemas, does not count."""
    spent = []
    for seed in (1, 1, 2, 3):
        began = time.process_time()
        folder = executed(words, seed, results)
        spent.append(time.process_time() - began)
        events = folder.history.read_bytes().count(b"\n")
        print(f"\nseed {seed}: {spent[-1]:.2f} s, {events:,} events", end="")
    return sorted(spent[1:])[1]
