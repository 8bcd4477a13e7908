"""Golden histories are well-formed, and each says its verdict, its origin and why it is kept."""

from __future__ import annotations

import pytest

from harness.history import History
from harness.op import Kind
from tests.golden import FOLDER, Golden, golden

ALL = golden()


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


def test_edn_and_json_of_one_history_are_the_same_history() -> None:
    edn, jsonl = (
        History.load(FOLDER / f"log-valid{suffix}") for suffix in ("-jepsen.edn", ".jsonl")
    )
    assert [(op.type, op.process, op.f, op.value) for op in edn] == [
        (op.type, op.process, op.f, op.value) for op in jsonl
    ]
