"""Each planted bug is found under a seed that is known to show it, and is not found without it.

Runs go to a process that hashes alike (`harness.explore.apart`), so that a pin is exact: one commit
finds it always, or never. A change to the honest broker moves schedules; then a bug may need one of
the seeds that follow its pin.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import parser
from harness.explore.apart import Apart
from harness.explore.command import fixed_of, run_arguments
from harness.explore.once import Job, Result
from harness.explore.zoo_page import PROMISES, page
from harness.verdict import Outcome
from nodes import bugs

SEEDS = {
    "ack-before-replication": 3,
    "hw-on-append": 3,
    "reads-past-hw": 0,
    "truncate-to-hw": 23,
    "no-divergence-check": 27,
    "timeout-as-success": 0,
    "stale-leader-acks": 5,
    "unclean-election": 0,
    "unsynced-preferred": 1,
    "stale-isr-accepted": 0,
    "unclean-restart-trusted": 2,
    "min-isr-ignored": 11,
    "min-isr-at-append-only": 10,
    "joins-too-early": 0,
    "copied-anew": 4,
    "isr-shrunk-alone": 0,
    "term-not-persisted": 1,
    "votes-twice": 4,
    "quorum-too-small": 2,
    "vote-for-anybody": 25,
    "commits-alone": 1,
    "applies-on-append": 4,
    "commit-past-match": 23,
    "conflicts-kept": 1,
    "prefix-unchecked": 23,
    "entry-skipped": 2,
    "snapshot-drops-tail": 2,
    "producer-ids-not-in-snapshot": 2,
    "sessions-not-in-snapshot": 2,
    "entries-not-synced": 0,
    "no-deduplication": 3,
    "duplicate-offset-zero": 3,
    "producers-lost-on-fail-over": 0,
    "producers-lost-on-restart": 0,
    "wrong-offset": 0,
    "ack-before-fsync": 0,
    "ack-during-fsync": 10,
    "recovery-cuts-too-much": 0,
    "orphan-deleted": 0,
    "premature-retention": 0,
    "stale-epochs": 50,
    "damage-signed-anew": 9,
    "enospc-ignored": 0,
    "index-off-by-one": 0,
    "time-rounded-up": 0,
    "time-of-index-entry": 0,
    "newest-forgotten-at-roll": 0,
    "producers-expire-at-once": 3,
    "failed-though-applied": 14,
    "log-start-not-replicated": 3,
    "log-start-not-stored": 0,
    "sequences-not-compared": 2,
    "one-batch-remembered": 1,
    "crc-not-checked": 10,
    "folder-not-synced": 1,
    "ids-given-twice": 1,
}
TRIES = 12

ZOO = Path(__file__).parents[2] / "docs" / "zoo.md"


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    child = Apart()
    yield child
    child.close()


def job(results: Path, *words: str) -> Job:
    told: argparse.Namespace = parser().parse_args(["explore", *words, "--results", str(results)])
    return Job(run_arguments(told), fixed_of(told), keep=False)


def test_every_bug_has_a_seed_a_name_and_its_texts() -> None:
    assert set(SEEDS) == set(bugs.names())
    assert len(set(bugs.names())) == len(bugs.names())
    for name in bugs.names():
        bug = bugs.find(name)
        assert bug.name == name and bug.id.startswith("K")
        assert bug.mechanism and bug.seen and bug.anomalies and bug.nemesis
        assert bug.promise.partition(":")[0] in PROMISES


@pytest.mark.parametrize("name", bugs.names())
def test_a_planted_bug_is_found_as_what_it_is(apart: Apart, name: str, tmp_path: Path) -> None:
    bug, told = bugs.find(name), []
    for seed in range(SEEDS[name], SEEDS[name] + TRIES):
        result = apart.explore(job(tmp_path, "--bug", name), seed)
        told.append((seed, result.found, result.doubts))
        if {anomaly for anomaly, _ in result.found} & set(bug.anomalies):
            break
    else:
        raise AssertionError(f"not found: {told}")
    honest = without_the_bug(apart, result, tmp_path)
    assert honest.outcome is Outcome.VALID, (honest.found, honest.doubts, honest.command)


def without_the_bug(apart: Apart, result: Result, results: Path) -> Result:
    """The same seed with the same knobs."""
    knobs = [f"--fixed={name}={value}" for name, value in result.knobs.items()]
    return apart.explore(job(results, "log", *knobs), result.seed)


@pytest.mark.parametrize("seed", range(100, 120))
def test_nothing_is_found_in_an_honest_broker(apart: Apart, seed: int, tmp_path: Path) -> None:
    result = apart.explore(job(tmp_path, "log"), seed)
    assert result.outcome is Outcome.VALID, (result.found, result.doubts, result.command)


def test_the_page_lists_the_bugs_that_there_are() -> None:
    assert page() in ZOO.read_text(encoding="utf-8")
