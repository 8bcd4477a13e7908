"""The counter's monitor: by every order, by the search on longer histories, by its witnesses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from checkers.linearizable import counter
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Counter
from checkers.linearizable.search import search
from harness.history import History
from harness.op import Op
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.oracle_linear import histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand, stands

HISTORIES = 1200
"""100,000 of eight operations were tried by hand."""


class Counts:
    """Draws additions that are all alike, and reads that are nearly right."""

    def __init__(self, amount: int = 1, off: int = 1) -> None:
        self.added, self.amount, self.off = 0, amount, off

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.added += 1
            return "add", self.amount, self.amount
        read = self.added - rng.randint(-self.off, self.off + 1)
        return "read", None, max(0, read) * self.amount


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
def test_the_monitor_agrees_with_every_order(key: object) -> None:
    found: set[str] = set()
    for seed in range(HISTORIES // 2):
        (calls,) = histories(Counts(amount=1 + seed % 2), 1, 8, seed=seed)
        verdict = counter.check(history_of(calls, key), STRICT)
        valid = linearizable(calls, Counter())
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts) or {"valid"}
    assert found >= {"valid", "stale-read", "future-read", "nonmonotonic-read"}


def test_the_monitor_agrees_with_the_search_on_longer_histories() -> None:
    outcomes = set()
    for seed in range(400):
        (calls,) = histories(Counts(off=0), 1, 20, seed=seed, doubtful=0.1)
        history = history_of(calls)
        answers = [search(mine, Counter()) for mine in objects(history, Counter()).calls.values()]
        valid = all(answer.linearizable for answer in answers)
        verdict = counter.check(history, STRICT)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        outcomes.add(valid)
    assert outcomes == {True, False}


def test_every_finding_stands_on_its_witness() -> None:
    for seed in range(300):
        (calls,) = histories(Counts(), 1, 8, seed=1000 + seed)
        history = history_of(calls)
        for finding in counter.check(history, STRICT).findings:
            if finding.anomaly != "nonlinearizable":
                stands(history, finding, counter.check)


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES = {
    "stale-read": """
        c0: |- increment --|  |- increment --|
        c1:                                     |- read -> 1 --|
        """,
    "an addition that overlaps the read": """
        c0: |- increment --|  |- increment -----------|
        c1:                              |- read -> 1 --|
        """,
    "future-read": """
        c0: |- increment --|                    |- increment --|
        c1:                  |- read -> 2 --|
        """,
    "nonmonotonic-read": """
        c0: |- increment ------------------------------------|
        c1:     |- read -> 1 --|  |- read -> 0 --|
        """,
    "in doubt": """
        c0: |- increment --?
        c1:                   |- read -> 0 --|  |- read -> 1 --|
        """,
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timelines(name: str) -> None:
    verdict = all_stand(drawn(TIMELINES[name]), counter.check)
    assert verdict.counts == ({name: 1} if name in counter.ANOMALIES else {})
    assert "searched" not in verdict.stats


def test_reads_that_are_right_one_by_one_may_have_no_order() -> None:
    """Each is within its bounds, and none goes back; yet the first needs the addition in doubt, and
    with it the second is too low."""
    text = """
    c0: |- increment --?
    c1:                   |- read -> 1 --|
    c2:                                     |- increment --|
    c3:                                                       |- read -> 1 --|
    """
    assert counter.check(drawn(text), STRICT).counts == {"nonlinearizable": 1}
    assert (
        counter.check(drawn(text.replace("-> 1 --|\n    c2", "-> 0 --|\n    c2")), STRICT).counts
        == {}
    )


def test_amounts_that_differ_are_left_to_the_search() -> None:
    text = """
    c0: |- add 1 --|  |- add 4 --|
    c1:                             |- read -> 4 --|
    """
    assert counter.check(drawn(text), STRICT).counts == {"nonlinearizable": 1}


def test_keys_that_columns_call_right_are_right_call_by_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two keys, of which each may be wrong: the verdict is that of the slow way, findings too."""
    outcomes = set()
    for seed in range(300):
        ops: list[Op] = []
        for key in (3, 4):
            asks = Counts(off=seed % 2)
            (calls,) = histories(asks, 1, 10, seed=seed + 1000 * key, doubtful=0.1)
            ops += [replace(op, process=op.process + 100 * key) for op in history_of(calls, key)]
        history = History.of(ops)
        fast = counter.check(history, STRICT)
        with monkeypatch.context() as slow:
            slow.setattr(counter, "_in_question", lambda history, keyed: None)
            assert counter.check(history, STRICT).findings == fast.findings
        outcomes.add(fast.outcome)
    assert outcomes >= {Outcome.VALID, Outcome.INVALID}
