"""The stack's monitor: by every order, by the search on longer histories, by its witnesses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from checkers import linearizable as linearizable_checker
from checkers.linearizable import queue, stack
from checkers.linearizable.models import Stack
from checkers.linearizable.search import Call, search
from harness.bench.objects import stacks, timed
from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.oracle_linear import Asks, histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand, stands

HISTORIES = 3_000
"""Of up to seven operations; longer ones are tried by hand."""


class Anything:
    """Draws values that are pushed once, and pops whatever, pushed or not."""

    def __init__(self) -> None:
        self.value = 0

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            return "push", self.value, self.value
        return "pop", None, rng.choice([None, *range(max(1, self.value - 2), self.value + 2)])


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


def drawings(asks: Callable[[], Asks], count: int, operations: int) -> Iterator[list[Call]]:
    """Histories with nothing in doubt up to four in ten."""
    for seed in range(count):
        yield from histories(asks(), 1, operations, seed=seed, doubtful=(seed % 5) * 0.1)


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
@pytest.mark.parametrize("asks", [Anything, Nearly])
def test_the_monitor_agrees_with_every_order(asks: Callable[[], Asks], key: object) -> None:
    outcomes = set()
    for calls in drawings(asks, HISTORIES // 4, 7):
        verdict = stack.check(history_of(calls, key), STRICT)
        valid = linearizable(calls, Stack())
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
        (calls,) = histories(Nearly(0.05), 1, 30, seed=seed, doubtful=doubtful)
        verdict = stack.check(history_of(calls), STRICT)
        valid = search(calls, Stack()).linearizable
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts) or {"valid"}
    assert found >= {"valid", "skipped", "false-empty"}


def _forbidden(*arguments: Any, **more: Any) -> Verdict:
    raise AssertionError("the search was asked")


def test_a_long_legal_stack_is_not_searched_where_pops_are_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linearizable_checker, "judge", _forbidden)
    for seed in range(3):
        history = History.of(timed(stacks(), 8_000, seed=seed, doubtful=0.01))
        assert len(history.select(f="pop", type=Kind.INFO)) > 20
        assert stack.check(history, STRICT).outcome is Outcome.VALID


@pytest.mark.parametrize("asks", [Anything, Nearly])
def test_every_finding_stands_on_its_witness(asks: Callable[[], Asks]) -> None:
    found: set[str] = set()
    for calls in drawings(asks, 400, 8):
        history = history_of(calls)
        for finding in stack.check(history, STRICT).findings:
            if finding.anomaly != "nonlinearizable":
                stands(history, finding, stack.check)
                found.add(finding.anomaly)
    assert found >= {"skipped", "false-empty"}


def test_every_finding_of_longer_histories_stands_on_its_witness() -> None:
    """There, more than two values are in each other's way."""
    found, longest = set(), 0
    for seed in range(150):
        (calls,) = histories(Nearly(0.08), 1, 40, seed=seed, doubtful=0.02)
        history = history_of(calls)
        for finding in stack.check(history, STRICT).findings:
            stands(history, finding, stack.check)
            found.add(finding.anomaly)
            longest = max(longest, len(finding.witness))
    assert found == {"reordered", "skipped", "false-empty"} and longest > 8


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES = {
    "reordered": """
        c0: |- push 1 --|  |- push 2 --|
        c1:                              |- pop -> 1 --|  |- pop -> 2 --|
        """,
    "overlapping pushes": """
        c0: |- push 1 --------|
        c2:   |- push 2 --|
        c1:                     |- pop -> 1 --|  |- pop -> 2 --|
        """,
    "none is the lowest": """
        c0: |- push 1 --|
        c1:              |- push 2 --|
        c2:                |- push 3 -----------|
        c3:                            |- pop -> 1 --------------|
        c4:                                          |- pop -> 2 ------|
        c5:                                                                |- pop -> 3 --|
        """,
    "skipped": """
        c0: |- push 1 --|  |- push 2 --|
        c1:                              |- pop -> 1 --|
        """,
    "the lower value stays": """
        c0: |- push 1 --|  |- push 2 --|
        c1:                              |- pop -> 2 --|
        """,
    "taken by a pop in doubt": """
        c0: |- push 1 --|  |- push 2 --|
        c1:                              |- pop -> 1 --|
        c2:                    |- pop --?
        """,
    "false-empty": """
        c0: |- push 1 --|  |- push 2 --|
        c1:                             |- pop -> 1 ----------------|
        c2:                       |- pop -> null --|  |- pop -> 2 --|
        """,
    "empty for a moment": """
        c0: |- push 1 --|                |- push 2 --|
        c1:                |- pop -> 1 --|
        c2:                   |- pop -> null ---|
        """,
    "duplicate": """
        c0: |- push 1 --|
        c1:               |- pop -> 1 --|
        c2:                 |- pop -> 1 --|
        """,
    "future-read": """
        c0:                  |- push 1 --|
        c1: |- pop -> 1 --|
        """,
    "phantom": """
        c0: |- push 1 --|
        c1:               |- pop -> 7 --|
        """,
    "G1a": """
        c0: |- push 1 --x
        c1:               |- pop -> 1 --|
        """,
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timelines(name: str) -> None:
    verdict = all_stand(drawn(TIMELINES[name]), stack.check)
    found = "reordered" if name == "none is the lowest" else name
    assert verdict.counts == ({found: 1} if found in stack.ANOMALIES else {})


def test_every_anomaly_is_drawn() -> None:
    assert set(stack.ANOMALIES) - {"nonlinearizable"} <= set(TIMELINES)


def test_a_finding_is_an_argument() -> None:
    (finding,) = stack.check(drawn(TIMELINES["reordered"]), STRICT).findings
    assert finding.claim == "1 came out before 2, which lay on it"
    assert finding.because == (
        "c0's push 1 ended at op 1, and c1's pop -> 1 began at op 4",
        "c0's push 2 ended at op 3, and c1's pop -> 2 began at op 6",
        "1 did not lie below 2: its pop ended before, at op 5",
        "2 did not lie below 1: its push began later, at op 2",
        "however, they follow each other without a gap, so that one of them lay lowest: "
        "a contradiction",
    )


SHORT = """
c0: |- push 1 --|  |- push 2 --|  |- push 3 --|
c1:                                             |- pop -> 1 --|
c2:        |- pop --?
"""


def test_a_pop_in_doubt_excuses_one_value_only() -> None:
    verdict = all_stand(drawn(SHORT), stack.check)
    assert verdict.counts == {"skipped": 1}
    (finding,) = verdict.findings
    assert finding.claim == (
        "2, 3 never came out, and only 1 pop in doubt can have taken any of them in time"
    )
    assert stack.check(drawn(SHORT + "c3:      |- pop --?"), STRICT).outcome is Outcome.VALID


def test_a_pop_that_began_too_late_excuses_nothing() -> None:
    late = TIMELINES["skipped"] + "c2:" + " " * 54 + "|- pop --?"
    assert all_stand(drawn(late), stack.check).counts == {"skipped": 1}


def test_what_is_pushed_twice_is_searched() -> None:
    text = """
    c0: |- push 1 --|  |- push 1 --|  |- push 2 --|
    c1:                                             |- pop -> 1 --|
    """
    assert stack.check(drawn(text), STRICT).counts == {"nonlinearizable": 1}


@pytest.mark.parametrize("module", [stack, queue])
def test_a_number_is_the_same_however_it_is_spelled(module: Any) -> None:
    put, take = ("push", "pop") if module is stack else ("enqueue", "dequeue")
    text = f"""
    c0: |- {put} 1.0 --|  |- {take} -> 1 --|
    """
    assert module.check(drawn(text), STRICT).outcome is Outcome.VALID
    other = drawn(text.replace("-> 1", "-> 2"))
    assert module.check(other, STRICT).counts == {"phantom": 1}


def test_values_are_of_any_kind() -> None:
    values: list[Any] = [True, 1.5, "a", [1, 2, 3], {"a": [1]}]
    done = [("push", value, value) for value in values]
    done += [("pop", None, value) for value in reversed(values)]
    events = [
        Op(0, 0, kind, 0, f, value)
        for f, asked, told in done
        for kind, value in ((Kind.INVOKE, asked), (Kind.OK, told))
    ]
    assert stack.check(History.of(events), STRICT).outcome is Outcome.VALID
    assert stack.check(History.of(events[2:]), STRICT).outcome is Outcome.INVALID
    assert stack.check(History.of([]), STRICT).outcome is Outcome.VALID
