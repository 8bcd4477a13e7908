"""The register's monitor: by every order, by timelines, by its witnesses, and beside the search."""

from __future__ import annotations

import random
from typing import Any

import pytest

from checkers.linearizable import register
from checkers.linearizable.models import Register
from harness.history import History
from harness.timeline import parse
from harness.verdict import Outcome, Verdict
from tests.checkers.oracle_linear import histories, history_of, linearizable
from tests.checkers.witnesses import STRICT, all_stand

HISTORIES = 1500
"""100,000 of eight operations were tried by hand."""


class Writes:
    """Draws writes of values of their own, and reads of what may have been written."""

    def __init__(self) -> None:
        self.value = 0

    def __call__(self, rng: random.Random) -> tuple[str, Any, Any]:
        if rng.random() < 0.5:
            self.value += 1
            return "write", self.value, self.value
        return "read", None, rng.choice([None, *range(max(1, self.value - 2), self.value + 2)])


@pytest.mark.parametrize("key", [None, 3], ids=["", "keyed"])
def test_the_monitor_agrees_with_every_order(key: object) -> None:
    found: set[str] = set()
    for calls in histories(Writes(), HISTORIES // 2, 6, seed=41):
        verdict = register.check(history_of(calls, key), STRICT)
        valid = linearizable(calls, Register())
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID), calls
        found |= set(verdict.counts) or {"valid"}
    assert found == {"valid", "stale-read", "future-read", "phantom"}


def test_every_finding_stands_on_its_witness() -> None:
    for calls in histories(Writes(), 400, 8, seed=42):
        all_stand(history_of(calls), register.check)


def drawn(text: str) -> History:
    return History.of(parse(text))


def verdict_of(text: str) -> Verdict:
    return all_stand(drawn(text), register.check)


STALE = """
c0: |- write 1 --|   |- write 2 --|
c1:                                |- read -> 1 --|
"""
OVERLAPPING = """
c0: |- write 1 --|   |- write 2 ---------|
c1:                        |- read -> 1 --|
"""
TO_AND_FRO = """
c0: |- write 1 ---------------------------------|
c1: |- write 2 ---------------------------------|
c2:    |- read -> 1 --| |- read -> 2 --| |- read -> 1 --|
"""
UNWRITTEN = """
c0: |- write 1 --|
c1:                 |- read -> null --|
"""
FUTURE = """
c0:                  |- write 1 --|
c1: |- read -> 1 --|
"""
PHANTOM = """
c0: |- write 1 --|
c1:                 |- read -> 7 --|
"""
ABORTED = """
c0: |- write 1 --x
c1:                 |- read -> 1 --|
"""
DOUBTFUL = """
c0: |- write 1 --?
c1:               |- read -> null --| |- read -> 1 --|
c2: |- write 2 --?
"""
DOUBTFUL_ONCE = """
c0: |- write 1 --?
c1:               |- read -> 1 --| |- read -> null --|
"""


@pytest.mark.parametrize(
    ("text", "anomaly"),
    [
        (STALE, "stale-read"),
        (OVERLAPPING, None),
        (TO_AND_FRO, "stale-read"),
        (UNWRITTEN, "stale-read"),
        (FUTURE, "future-read"),
        (PHANTOM, "phantom"),
        (ABORTED, "G1a"),
        (DOUBTFUL, None),
        (DOUBTFUL_ONCE, "stale-read"),
    ],
)
def test_timelines(text: str, anomaly: str | None) -> None:
    assert verdict_of(text).counts == ({anomaly: 1} if anomaly else {})


def test_a_finding_is_an_argument() -> None:
    (finding,) = verdict_of(STALE).findings
    assert finding.claim == "1 was read after 2 had replaced it"
    assert finding.because == (
        "c0's write 1, the only one of this value, began at op 0",
        "c0's write 2, the only one of this value, began at op 2",
        "c0's write 1 ended at op 1, before c0's write 2 began at op 2: so 1 came before 2",
        "c0's write 2 ended at op 3, so that 2 had come by then",
        "however, c1's read -> 1 began later, at op 4, and 1 was written once: a contradiction",
    )


def test_a_value_that_was_written_twice_is_left_to_the_search() -> None:
    twice = """
    c0: |- write [0,1] --| |- write [0,2] --| |- write [0,1] --|
    c1: |- write [4,1] --| |- write [4,2] --|
    c2:                                                              |- read -> [0,1] --|
    c3:                                                              |- read -> [4,1] --|
    """
    verdict = register.check(drawn(twice), STRICT)
    assert [(one.anomaly, one.key) for one in verdict.findings] == [("stale-read", 4)]
    assert verdict.stats["searched"] == 4


def test_a_cas_is_left_to_the_search() -> None:
    swapped = """
    c0: |- write 1 --| |- cas [1,2] --|
    c1:                                         |- read -> 1 --|
    """
    assert register.check(drawn(swapped), STRICT).counts == {"nonlinearizable": 1}
    in_doubt = swapped.replace("[1,2] --|", "[1,2] --?")
    assert register.check(drawn(in_doubt), STRICT).outcome is Outcome.VALID


def test_values_of_any_json_are_told_apart() -> None:
    later = STALE.replace("|- read", "               |- read")
    strings = later.replace("1 ", '"a" ').replace("2 ", '"b" ')
    assert register.check(drawn(strings), STRICT).counts == {"stale-read": 1}
    lists = later.replace("1 ", "[1,1,1] ").replace("2 ", "[2,2,2] ")
    assert register.check(drawn(lists), STRICT).counts == {"nonlinearizable": 1}, "by the search"


def test_a_history_without_operations_is_valid() -> None:
    assert register.check(drawn(""), STRICT).outcome is Outcome.VALID
    assert register.check(drawn("c0: |- read -> null --|"), STRICT).outcome is Outcome.VALID
