"""One seed and one commit give one history, byte for byte, wherever and whenever they run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.sim.runs import executed

SEEDS = 50
SECONDS = "1"
FAULTS = ("kill", "pause", "partition", "power", "clock", "disk")


def words(seed: int) -> list[str]:
    """A command line whose faults are drawn from the seed."""
    drawn = Random(seed)
    faults = ",".join(sorted(drawn.sample(FAULTS, drawn.randint(1, 3))))
    return [
        *("log", "--nemesis", faults, "--nemesis-interval", "0.5"),
        *("--time-limit", SECONDS, "--rate", "50"),
        # Where segments are split depends on their lengths, and so on every byte that is sent.
        *("-o", "sim.split=0.5"),
    ]


def history(seed: int, results: Path) -> str:
    """The digest of what one run in this process recorded."""
    recorded = executed(words(seed), seed, results).history.read_bytes()
    assert b'"main"' in recorded and b'"type":"ok"' in recorded
    return hashlib.sha256(recorded).hexdigest()


def test_a_seed_gives_the_same_history_after_any_other_runs(tmp_path: Path) -> None:
    seeds = list(range(SEEDS))
    first = {seed: history(seed, tmp_path / "first") for seed in seeds}
    Random(1).shuffle(seeds)
    again = {seed: history(seed, tmp_path / "again") for seed in seeds}
    differ = [seed for seed in seeds if first[seed] != again[seed]]
    assert not differ, f"seeds whose second history is another: {differ}"
    assert len(set(first.values())) == SEEDS


def test_a_seed_gives_the_same_history_in_any_process(tmp_path: Path) -> None:
    def elsewhere(name: str, **environment: str) -> bytes:
        results = tmp_path / name
        run = (sys.executable, "-m", "harness.cli", "run", *words(7), "--cluster", "sim")
        done = subprocess.run(
            [*run, "--seed", "7", "--results", str(results)],
            env={**os.environ, **environment},
            capture_output=True,
            timeout=120,
        )
        assert done.returncode in (0, 3), done.stderr.decode()
        return (results / "log" / "latest" / "history.jsonl").read_bytes()

    plain = elsewhere("plain", PYTHONHASHSEED="0")
    assert plain.count(b"\n") > 100
    assert elsewhere("hashed", PYTHONHASHSEED="12345") == plain
    assert elsewhere("crowded", PYTHONHASHSEED="random", PADDING="x" * 30_000) == plain


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None hashes alike since 3.12")
def test_a_kernel_that_gives_no_process_that_hashes_alike_is_told_of(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness.cli", "replay", str(tmp_path / "none")],
        env={**os.environ, "ASSAY_HASHES_ALIKE": "1", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 2
    assert "warning: this kernel refuses personality" in told.stderr


def test_a_python_without_assertions_is_refused(tmp_path: Path) -> None:
    """kafka-python decodes within an assertion: the run would be another one, and a broken one."""
    words = ["run", "log", "--cluster", "sim", "--seed", "1", "--results", str(tmp_path)]
    command = [sys.executable, "-O", "-m", "harness.cli", *words]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 2 and "leaves assertions out" in told.stderr
    script = "from harness.sim.world import World; World(1)"
    told = subprocess.run([sys.executable, "-O", "-c", script], capture_output=True, text=True)
    assert "leaves assertions out" in told.stderr
