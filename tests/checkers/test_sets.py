"""The set's monitor: by every order, by the search on longer histories, by its witnesses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from checkers.linearizable import sets
from checkers.linearizable.calls import objects, parts
from checkers.linearizable.models import Set
from checkers.linearizable.search import search
from harness.bench.objects import sets as drawn_sets
from harness.bench.objects import timed
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.oracle_linear import histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand

HISTORIES = 1200
"""100,000 of eight operations were tried by hand."""


class Adds:
    """Draws adds of values of their own, and reads that lack some and have some too many."""

    def __init__(self, wrong: float = 0.3) -> None:
        self.value, self.wrong = 0, wrong

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            return "add", self.value, self.value
        read = range(1, self.value + 1 + (rng.random() < self.wrong / 3))
        return "read", None, tuple(value for value in read if rng.random() > self.wrong)


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
def test_the_monitor_agrees_with_every_order(key: object) -> None:
    found: set[str] = set()
    for seed in range(HISTORIES // 2):
        (calls,) = histories(Adds(), 1, 7, seed=seed)
        verdict = sets.check(history_of(calls, key), STRICT)
        valid = linearizable(calls, Set())
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts) or {"valid"}
    assert found == {"valid", *sets.ANOMALIES} - {"nonlinearizable", "G1a"}


def test_the_monitor_agrees_with_the_search_on_longer_histories() -> None:
    outcomes = set()
    for seed in range(400):
        (calls,) = histories(Adds(wrong=0.02), 1, 24, seed=seed, doubtful=0.1)
        history = history_of(calls)
        answers = [search(mine, Set()) for mine in objects(history, Set()).calls.values()]
        valid = all(answer.linearizable for answer in answers)
        verdict = sets.check(history, STRICT)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


def test_every_finding_stands_on_its_witness() -> None:
    for seed in range(300):
        (calls,) = histories(Adds(), 1, 8, seed=1000 + seed)
        all_stand(history_of(calls), sets.check)


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES = {
    "stale-read": """
        c0: |- add 1 --|  |- add 2 --|
        c1:                             |- read -> [1] --|
        """,
    "an add that overlaps the read": """
        c0: |- add 1 --|  |- add 2 ---------|
        c1:                        |- read -> [1] --|
        """,
    "a read that was known to lack it": """
        c0: |- add 1 ------------------------------------------|
        c1:     |- read -> [1] --|  |- read -> [] --|
        """,
    "adds out of order": """
        c0: |- add 1 --|  |- add 2 --|
        c1:       |- read -> [2] --------|
        """,
    "incomparable-reads": """
        c0: |- add 1 ----------------------|
        c1: |- add 2 ----------------------|
        c2:    |- read -> [1] -----------------|
        c3:    |- read -> [2] -----------------|
        """,
    "future-read": """
        c0:                      |- add 1 --|
        c1: |- read -> [1] --|
        """,
    "phantom": """
        c0: |- add 1 --|
        c1:                |- read -> [1,7] --|
        """,
    "G1a": """
        c0: |- add 1 --x
        c1:                |- read -> [1] --|
        """,
    "in doubt": """
        c0: |- add 1 --?
        c1:                |- read -> [] --|  |- read -> [1] --|
        """,
}
STALE = ("stale-read", "a read that was known to lack it", "adds out of order")


@pytest.mark.parametrize("name", TIMELINES)
def test_timelines(name: str) -> None:
    verdict = all_stand(drawn(TIMELINES[name]), sets.check)
    anomaly = "stale-read" if name in STALE else name
    assert verdict.counts == ({anomaly: 1} if anomaly in sets.ANOMALIES else {})


def test_a_finding_is_an_argument() -> None:
    (finding,) = sets.check(drawn(TIMELINES["adds out of order"]), STRICT).findings
    assert finding.claim == "a read of c1 lacks 1, which was there before"
    assert finding.because == (
        "c0's add 1 ended at op 2",
        "c0's add 2 began later, at op 3",
        "c1's read -> [2] has 2, so it came later still",
        "however, what was read then lacks 1: a contradiction",
    )


def test_a_value_that_was_added_twice_is_left_to_the_search() -> None:
    text = """
    c0: |- add 1 --|  |- add 1 --|
    c1:                             |- read -> [] --|
    """
    assert sets.check(drawn(text), STRICT).counts == {"nonlinearizable": 1}


@pytest.mark.parametrize("part", [1, 7, 1000])
def test_objects_come_in_parts_and_none_is_torn(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkers.linearizable.calls.PART", part)
    history = History.of(timed(drawn_sets(), 300, clients=5, doubtful=0.1))
    whole = objects(history, Set())
    some = list(parts(history, Set()))
    assert (len(some) > 1) == (part < 1000)
    assert [(key, calls) for one in some for key, calls in one.calls.items()] == list(
        whole.calls.items()
    )


def test_keys_that_only_completions_tell_come_at_once() -> None:
    text = """
    c0: |- add [1,2] --|  |- add [2,2] --|
    c1:                                    |- read -> [1,[2]] --|  |- read -> [2,[3]] --|
    """
    history = drawn(text)
    assert len(list(parts(history, Set()))) == 1
    assert sets.check(history, STRICT).outcome is Outcome.INVALID
