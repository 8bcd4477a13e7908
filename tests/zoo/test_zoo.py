"""Each planted bug is found under a seed that is known to show it, and is not found without it.

The table of docs/zoo.md is what `assay list bugs --json` prints.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.arguments import parse_test
from harness.cli import parser
from harness.progress import Silent
from harness.run import Run
from harness.sim.world import World
from harness.store import RunFolder
from harness.verdict import Outcome, Verdict
from nodes import bugs
from nodes.bugs.bug import Bug

# The seeds were found in processes that hash alike; another hash order makes another history, so a
# bug that needs luck gets a few neighbours.
SEEDS = {
    "ack-before-replication": 0,
    "hw-on-append": 0,
    "reads-past-hw": 0,
    "timeout-as-success": 1,
    "stale-leader-acks": 1,
    "producers-lost-on-fail-over": 0,
    "ack-before-fsync": 0,
    "recovery-cuts-too-much": 0,
}
TRIES = 6


def run(folder: Path, bug: Bug, seed: int, *, planted: bool) -> Verdict:
    words = ["run", "log", "--cluster", "sim", "--time-limit", "10", "--rate", "100"]
    words += ["--nemesis", bug.nemesis, "--seed", str(seed)]
    for option in bug.options:
        words += ["-o", option]
    if planted:
        words += ["--bug", bug.name]
    test = parse_test(parser().parse_args(words), seed)
    with World(seed) as world:
        run = Run(test, RunFolder.create(folder, "log"), Silent(), world.now_ns)
        world.run(run.execute())
        return run.judge()


def test_every_bug_has_a_seed_a_name_and_its_texts() -> None:
    assert set(SEEDS) == set(bugs.names())
    assert len(set(bugs.names())) == len(bugs.names())
    for name in bugs.names():
        bug = bugs.find(name)
        assert bug.name == name and bug.id.startswith("K")
        assert bug.mechanism and bug.seen and bug.promise and bug.anomalies and bug.nemesis


@pytest.mark.parametrize("name", bugs.names())
def test_a_planted_bug_is_found_as_what_it_is(name: str, tmp_path: Path) -> None:
    bug = bugs.find(name)
    told: list[object] = []
    for seed in range(SEEDS[name], SEEDS[name] + TRIES):
        verdict = run(tmp_path, bug, seed, planted=True)
        told.append((seed, verdict.anomalies(), verdict.stats["bug"]))
        if set(verdict.anomalies()) & set(bug.anomalies):
            break
    else:
        raise AssertionError(f"not found: {told}")
    assert verdict.outcome is Outcome.INVALID
    assert verdict.stats["bug"]["activations"] > 0
    honest = run(tmp_path, bug, seed, planted=False)
    assert honest.outcome is Outcome.VALID, (honest.anomalies(), honest.doubts)


@pytest.mark.parametrize("seed", range(100, 120))
def test_nothing_is_found_in_an_honest_broker(seed: int, tmp_path: Path) -> None:
    any_bug = bugs.find("stale-leader-acks")
    nemesis = ("kill,partition", "power", "pause,kill", "partition,links")[seed % 4]
    verdict = run(tmp_path, replace(any_bug, nemesis=nemesis), seed, planted=False)
    assert verdict.outcome is Outcome.VALID, (verdict.anomalies(), verdict.doubts)
