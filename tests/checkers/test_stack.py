"""The stack's monitor: by every order, and by the search on longer histories."""

from __future__ import annotations

import random
from typing import Any

import pytest

from checkers.linearizable import stack
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Stack
from checkers.linearizable.search import search
from harness.verdict import Outcome
from tests.checkers.oracle_linear import histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, alone

HISTORIES = 1000


class Nearly:
    """Draws what a stack nearly does."""

    def __init__(self, wrong: float = 0.2) -> None:
        self.value, self.wrong = 0, wrong
        self.inside: list[int] = []

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            self.inside.append(self.value)
            return "push", self.value, self.value
        if rng.random() < self.wrong or not self.inside:
            return "pop", None, None
        at = -1 if rng.random() > self.wrong else rng.randrange(len(self.inside))
        return "pop", None, self.inside.pop(at)


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
def test_the_monitor_agrees_with_every_order(key: object) -> None:
    outcomes = set()
    for seed in range(HISTORIES):
        (calls,) = histories(Nearly(), 1, 7, seed=seed, doubtful=(seed % 3) * 0.1)
        verdict = stack.check(history_of(calls, key), STRICT)
        valid = linearizable(calls, Stack())
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


def test_the_monitor_agrees_with_the_search_on_longer_histories() -> None:
    outcomes = set()
    for seed in range(300):
        (calls,) = histories(Nearly(wrong=0.03), 1, 30, seed=seed, doubtful=0.0)
        history = history_of(calls)
        valid = all(
            search(c, Stack()).linearizable for c in objects(history, Stack()).calls.values()
        )
        verdict = stack.check(history, STRICT)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        for finding in verdict.findings:
            assert stack.check(alone(history, finding.witness), STRICT).outcome is Outcome.INVALID
        outcomes.add(valid)
    assert outcomes == {True, False}
