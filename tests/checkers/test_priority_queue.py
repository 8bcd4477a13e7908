"""The priority queue's monitor: by every order, by the search on longer histories, by witnesses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from checkers import linearizable as linearizable_checker
from checkers.linearizable import priority_queue
from checkers.linearizable.models import PriorityQueue
from checkers.linearizable.search import Call, search
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.oracle_linear import Asks, histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand, stands

HISTORIES = 5_000
"""Of up to six operations; 100,000 of eight were tried by hand."""

check = priority_queue.check


class Anything:
    """Draws numbers that are inserted once, and takes whatever, inserted or not."""

    def __init__(self) -> None:
        self.left = list(range(1, 9))
        self.inside: list[int] = []

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5 and self.left:
            value = self.left.pop(rng.randrange(len(self.left)))
            self.inside.append(value)
            return "insert", value, value
        strange = [rng.randrange(1, 9)] if rng.random() < 0.3 else []
        return "delete-min", None, rng.choice([None, *self.inside, *strange])


class Nearly:
    """Draws what a priority queue nearly does: each value comes out once, mostly the least."""

    def __init__(self, wrong: float = 0.2) -> None:
        self.left, self.wrong = list(range(1, 60)), wrong
        self.inside: list[int] = []

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5 and self.left:
            value = self.left.pop(rng.randrange(len(self.left)))
            self.inside.append(value)
            return "insert", value, value
        if not self.inside or rng.random() < self.wrong / 2:
            return "delete-min", None, None
        value = min(self.inside) if rng.random() > self.wrong else rng.choice(self.inside)
        self.inside.remove(value)
        return "delete-min", None, value


def drawings(asks: Callable[[], Asks], count: int, operations: int) -> Iterator[list[Call]]:
    """Histories with nothing in doubt up to four in ten."""
    for seed in range(count):
        yield from histories(asks(), 1, operations, seed=seed, doubtful=(seed % 5) * 0.1)


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
@pytest.mark.parametrize("asks", [Anything, Nearly])
def test_the_monitor_agrees_with_every_order(asks: Callable[[], Asks], key: object) -> None:
    outcomes = set()
    for calls in drawings(asks, HISTORIES // 4, 6):
        verdict = check(history_of(calls, key), STRICT)
        valid = linearizable(calls, PriorityQueue())
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


def test_the_monitor_agrees_with_the_search_on_longer_histories(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And needs no search for these, however much is in doubt."""
    monkeypatch.setattr(linearizable_checker, "judge", _forbidden)
    found: set[str] = set()
    for seed in range(300):
        doubtful = (seed % 4) * 0.1
        (calls,) = histories(Nearly(0.04), 1, 30, seed=seed, doubtful=doubtful)
        verdict = check(history_of(calls), STRICT)
        valid = search(calls, PriorityQueue()).linearizable
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts) or {"valid"}
    assert found == {"valid", "priority-inversion", "skipped", "false-empty"}


def _forbidden(*arguments: Any, **more: Any) -> Verdict:
    raise AssertionError("the search was asked")


@pytest.mark.parametrize("asks", [Anything, Nearly])
def test_every_finding_stands_on_its_witness(asks: Callable[[], Asks]) -> None:
    found: set[str] = set()
    for calls in drawings(asks, 400, 8):
        history = history_of(calls)
        for finding in check(history, STRICT).findings:
            if finding.anomaly != "nonlinearizable":
                stands(history, finding, check)
                found.add(finding.anomaly)
    assert found >= {"priority-inversion", "skipped", "false-empty"}


def test_numbers_that_are_inserted_twice_are_searched() -> None:
    def asks(rng: random.Random) -> tuple[str, Any, Any]:
        value = rng.choice([1, 2])
        if rng.random() < 0.5:
            return "insert", value, value
        return "delete-min", None, rng.choice([value, value, None])

    outcomes = set()
    for calls in drawings(lambda: asks, 400, 6):
        valid = linearizable(calls, PriorityQueue())
        outcome = check(history_of(calls), STRICT).outcome
        assert outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES = {
    "priority-inversion": """
        c0: |- insert 1 --|  |- insert 2 --|
        c1:                                  |- delete-min -> 2 --|  |- delete-min -> 1 --|
        """,
    "an insert that may have come later": """
        c0: |- insert 2 --|
        c2:        |- insert 1 ------------------------|
        c1:                  |- delete-min -> 2 --|        |- delete-min -> 1 --|
        """,
    "one lesser value after the other": """
        c0: |- insert 1 --| |- insert 3 --| |- insert 2 --|
        c1:                                                  |- delete-min -> 1 --|
        c2:                                    |- delete-min -> 3 --|
        c3:                                                              |- delete-min -> 2 --|
        """,
    "skipped": """
        c0: |- insert 1 --|  |- insert 2 --|
        c1:                                  |- delete-min -> 2 --|
        """,
    "a greater value stays": """
        c0: |- insert 2 --|  |- insert 1 --|
        c1:                                  |- delete-min -> 1 --|
        """,
    "taken by a delete in doubt": """
        c0: |- insert 1 --|  |- insert 2 --|
        c1:                                  |- delete-min -> 2 --|
        c2:                    |- delete-min --?
        """,
    "false-empty": """
        c0: |- insert 1 --|  |- insert 2 --|
        c1:                                  |- delete-min -> 1 -----------------------|
        c2:                                |- delete-min -> null --|  |- delete-min -> 2 --|
        """,
    "empty for a moment": """
        c0: |- insert 1 --|                     |- insert 2 --|
        c1:                 |- delete-min -> 1 --|
        c2:                     |- delete-min -> null ---|
        """,
    "duplicate": """
        c0: |- insert 1 --|
        c1:                   |- delete-min -> 1 --|
        c2:                     |- delete-min -> 1 --|
        """,
    "future-read": """
        c0:                           |- insert 1 --|
        c1: |- delete-min -> 1 --|
        """,
    "phantom": """
        c0: |- insert 1 --|
        c1:                   |- delete-min -> 7 --|
        """,
    "G1a": """
        c0: |- insert 1 --x
        c1:                   |- delete-min -> 1 --|
        """,
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timelines(name: str) -> None:
    verdict = all_stand(drawn(TIMELINES[name]), check)
    found = "priority-inversion" if name.startswith("one lesser") else name
    assert verdict.counts == ({found: 1} if found in priority_queue.ANOMALIES else {})


def test_every_anomaly_is_drawn() -> None:
    assert set(priority_queue.ANOMALIES) - {"nonlinearizable"} <= set(TIMELINES)


def test_a_finding_is_an_argument() -> None:
    (finding,) = check(drawn(TIMELINES["one lesser value after the other"]), STRICT).findings
    assert finding.claim == "3 came out, and the queue held lesser values all the while: 1, then 2"
    assert len(finding.because) == 4
    assert (
        finding.because[-1] == "however, something less was inside all the while: a contradiction"
    )


SHORT = """
c0: |- insert 1 --|  |- insert 2 --|  |- insert 3 --|
c1:                                                   |- delete-min -> 3 --|
c2:        |- delete-min --?
"""


def test_a_delete_in_doubt_excuses_one_value_only() -> None:
    verdict = all_stand(drawn(SHORT), check)
    assert verdict.counts == {"skipped": 1}
    (finding,) = verdict.findings
    assert finding.claim == (
        "1, 2 never came out, and only 1 delete-min in doubt can have taken any of them in time"
    )
    assert check(drawn(SHORT + "c3:      |- delete-min --?"), STRICT).outcome is Outcome.VALID


def test_a_delete_that_began_too_late_excuses_nothing() -> None:
    late = TIMELINES["skipped"] + "c2:" + " " * 64 + "|- delete-min --?"
    verdict = all_stand(drawn(late), check)
    assert verdict.counts == {"skipped": 1}


def test_what_a_delete_in_doubt_took_had_to_be_the_least() -> None:
    """It can have taken 2 only after somebody took 1, and nobody did."""
    text = """
    c0: |- insert 1 --|  |- insert 2 --|  |- insert 3 --|
    c1:                                                   |- delete-min -> 3 --|
    c2:                                       |- delete-min --?
    c3:                                                                          |- delete-min --?
    """
    assert check(drawn(text), STRICT).outcome is Outcome.INVALID


@pytest.mark.parametrize(
    ("values", "outcome"),
    [
        ([1, 1.5, 10**30, -(10**30)], Outcome.VALID),
        ([1, 1.0], Outcome.VALID),
        (["a", 1], Outcome.UNKNOWN),
        ([True, 2], Outcome.UNKNOWN),
        ([None, 2], Outcome.UNKNOWN),
        ([[1, 2, 3], 4], Outcome.UNKNOWN),
        ([{"a": 1}, 4], Outcome.UNKNOWN),
    ],
)
def test_values_are_numbers_of_any_kind(values: list[Any], outcome: Outcome) -> None:
    legible = sorted(value for value in values if type(value) in (int, float))
    done = [("insert", value, value) for value in values]
    done += [("delete-min", None, value) for value in [*legible, None]]
    events = [
        Op(0, 0, kind, 0, f, value)
        for f, asked, told in done
        for kind, value in ((Kind.INVOKE, asked), (Kind.OK, told))
    ]
    assert check(History.of(events), STRICT).outcome is outcome
    wrong = [*events[: 2 * len(values)], *events[2 * len(values) + 2 :]]
    if outcome is Outcome.VALID:
        assert check(History.of(wrong), STRICT).outcome is Outcome.INVALID


def test_an_empty_history_is_valid() -> None:
    assert check(History.of([]), STRICT).outcome is Outcome.VALID


def test_each_key_is_a_queue_of_its_own() -> None:
    text = """
    c0: |- insert ["a",1] --|  |- insert ["b",2] --|
    c1:                                              |- delete-min -> ["b",2] --|
    """
    assert check(drawn(text.replace('"a"', "7").replace('"b"', "8")), STRICT).outcome is (
        Outcome.VALID
    )
    same = check(drawn(text.replace('"a"', "8").replace('"b"', "8")), STRICT)
    assert same.counts == {"skipped": 1} and same.findings[0].key == 8
