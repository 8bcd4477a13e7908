"""Golden histories are well-formed, and each says its verdict, its origin and why it is kept."""

from __future__ import annotations

import pytest

from harness import consistency, guarantees
from harness.history import History
from harness.op import Kind
from tests.golden import FOLDER, Golden, golden

ALL = golden()

UNDRAWN = {
    *("crash", "election-safety", "vote-regression", "metadata-divergence", "metadata-regression"),
    *("listoffsets-too-early", "listoffsets-too-late"),
}
"""Told of what nodes say of themselves, or by one workload's own runs: shown by timelines in
`tests/checkers` only. No other name may lack a golden history."""


def by_name(one: Golden) -> str:
    return one.file.name


@pytest.mark.parametrize("one", ALL, ids=by_name)
def test_a_golden_history_loads_and_is_one(one: Golden) -> None:
    history = History.load(one.file)
    history._check()
    assert len(history) > 0
    assert len(history.select(type=Kind.OK)) > 0
    assert bool(history.notes) == ("torn" in one.file.stem)


@pytest.mark.parametrize("one", ALL, ids=by_name)
def test_a_golden_history_says_why_it_is_kept(one: Golden) -> None:
    assert len(one.origin) > 10 and len(one.why) > 20
    assert (one.verdict == "invalid") == bool(one.anomalies)


def test_every_file_is_a_history_or_speaks_of_one() -> None:
    histories = {one.file.stem for one in ALL}
    assert len(histories) == len(ALL), "a name has one history"
    assert {path.stem for path in FOLDER.glob("*.toml")} == histories


def test_every_anomaly_that_can_be_forbidden_has_a_golden_history() -> None:
    shown = {name for one in ALL for name in one.anomalies}
    assert {*guarantees.FORBIDDEN, *consistency.ANOMALIES} - shown <= UNDRAWN


def test_edn_and_json_of_one_history_are_the_same_history() -> None:
    edn, jsonl = (
        History.load(FOLDER / f"log-valid{suffix}") for suffix in ("-jepsen.edn", ".jsonl")
    )
    assert [(op.type, op.process, op.f, op.value) for op in edn] == [
        (op.type, op.process, op.f, op.value) for op in jsonl
    ]
