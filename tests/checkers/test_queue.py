"""The queue's monitor: by every order, by the search on longer histories, by its witnesses."""

from __future__ import annotations

import random
from typing import Any

import pytest

from checkers import linearizable as linearizable_checker
from checkers.linearizable import queue
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Fifo, Model, Unordered
from checkers.linearizable.search import search
from harness.guarantees import derive
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.oracle_linear import histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand, stands

HISTORIES = 600
"""Of each kind; 100,000 of eight operations were tried by hand."""

MODELS: list[tuple[str, Model]] = [("fifo", Fifo()), ("unordered", Unordered())]


class Anything:
    """Draws values that are put in once, and takes whatever, put in or not."""

    def __init__(self) -> None:
        self.value = 0

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            return "enqueue", self.value, self.value
        taken = [None, *range(max(1, self.value - 2), self.value + 2)]
        return "dequeue", None, rng.choice(taken)


class Nearly:
    """Draws what a queue nearly does: each value comes out once, mostly in order."""

    def __init__(self) -> None:
        self.value = 0
        self.inside: list[int] = []

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            self.inside.append(self.value)
            return "enqueue", self.value, self.value
        if rng.random() < 0.2 or not self.inside:
            return "dequeue", None, None
        at = 0 if rng.random() < 0.8 else rng.randrange(len(self.inside))
        return "dequeue", None, self.inside.pop(at)


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
@pytest.mark.parametrize("asks", [Anything, Nearly])
@pytest.mark.parametrize(("name", "model"), MODELS)
def test_the_monitor_agrees_with_every_order(
    name: str, model: Model, asks: type[Anything] | type[Nearly], key: object
) -> None:
    contract = derive("queue", {"model": name}, "strict")
    outcomes = set()
    for calls in histories(asks(), HISTORIES // 4, 7, seed=51):
        verdict = queue.check(history_of(calls, key), contract)
        valid = linearizable(calls, model)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_the_monitor_agrees_with_the_search_on_longer_histories(name: str, model: Model) -> None:
    contract = derive("queue", {"model": name}, "strict")
    found: set[str] = set()
    for seed in range(300):
        (calls,) = histories(Nearly(), 1, 30, seed=seed, doubtful=0.02)
        history = history_of(calls)
        verdict = queue.check(history, contract)
        answers = [search(mine, model) for mine in objects(history, model).calls.values()]
        valid = all(answer.linearizable for answer in answers)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts)
    assert found >= {"false-empty"} | ({"reordered", "skipped"} if name == "fifo" else set())


@pytest.mark.parametrize("asks", [Anything, Nearly])
def test_every_finding_stands_on_its_witness(asks: type[Anything] | type[Nearly]) -> None:
    for calls in histories(asks(), 300, 8, seed=52):
        history = history_of(calls)
        for finding in queue.check(history, STRICT).findings:
            if finding.anomaly != "nonlinearizable":
                stands(history, finding, queue.check)


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES = {
    "reordered": """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                    |- dequeue -> 2 --|  |- dequeue -> 1 --|
        """,
    "overlapping enqueues": """
        c0: |- enqueue 1 --------------|
        c2:         |- enqueue 2 --|
        c1:                                    |- dequeue -> 2 --|  |- dequeue -> 1 --|
        """,
    "skipped": """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                    |- dequeue -> 2 --|
        """,
    "taken by a dequeue in doubt": """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                    |- dequeue -> 2 --|
        c2:        |- dequeue --?
        """,
    "false-empty": """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                    |- dequeue -> 1 --------------------|
        c2:                                  |- dequeue -> null --|  |- dequeue -> 2 --|
        """,
    "empty for a moment": """
        c0: |- enqueue 1 --|       |- enqueue 2 --|
        c1:                  |- dequeue -> 1 --|
        c2:                     |- dequeue -> null --|
        """,
    "duplicate": """
        c0: |- enqueue 1 --|
        c1:                   |- dequeue -> 1 --|
        c2:                     |- dequeue -> 1 --|
        """,
    "future-read": """
        c0:                        |- enqueue 1 --|
        c1: |- dequeue -> 1 --|
        """,
    "phantom": """
        c0: |- enqueue 1 --|
        c1:                   |- dequeue -> 7 --|
        """,
    "G1a": """
        c0: |- enqueue 1 --x
        c1:                   |- dequeue -> 1 --|
        """,
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timelines(name: str) -> None:
    verdict = all_stand(drawn(TIMELINES[name]), queue.check)
    assert verdict.counts == ({name: 1} if name in queue.ANOMALIES else {})


def test_every_anomaly_is_drawn() -> None:
    assert set(queue.ANOMALIES) - {"nonlinearizable"} <= set(TIMELINES)


def test_a_finding_is_an_argument() -> None:
    (finding,) = queue.check(drawn(TIMELINES["false-empty"]), STRICT).findings
    assert finding.claim == "a dequeue found nothing, and the queue held 1, then 2 all the while"
    assert finding.because[-1].startswith("however, c2's dequeue -> null from op ")


def test_a_dequeue_in_doubt_excuses_one_value_only() -> None:
    """What it cannot have taken is found by the search."""
    text = """
    c0: |- enqueue 1 --|  |- enqueue 2 --|  |- enqueue 3 --|
    c1:                                                     |- dequeue -> 3 --|
    c2:        |- dequeue --?
    """
    verdict = queue.check(drawn(text), STRICT)
    assert verdict.counts == {"nonlinearizable": 1}
    twice = text + "c3:        |- dequeue --?"
    assert queue.check(drawn(twice), STRICT).outcome is Outcome.VALID


@pytest.mark.parametrize(("name", "model"), MODELS)
def test_a_legal_queue_is_never_searched_however_much_is_in_doubt(
    name: str, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = derive("queue", {"model": name}, "strict")
    searched: list[Outcome] = []
    judge = linearizable_checker.judge

    def noted(*arguments: Any, **more: Any) -> Verdict:
        verdict = judge(*arguments, **more)
        searched.append(verdict.outcome)
        return verdict

    monkeypatch.setattr(linearizable_checker, "judge", noted)
    for calls in histories(Nearly(), 1500, 6, seed=53, doubtful=0.4):
        verdict = queue.check(history_of(calls), contract)
        assert (verdict.outcome is Outcome.VALID) == linearizable(calls, model), calls
    assert searched and set(searched) == {Outcome.INVALID}
