"""A cycle is data: what is told of it, where it is left out, and its form as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.cycle import Cycle, Step, Transaction


def transaction(number: int, **other: Any) -> Transaction:
    shape: dict[str, Any] = {
        "name": f"T{number}",
        "events": (2 * number, 2 * number + 1),
        "process": number,
        "outcome": "ok",
        "mops": {0: f"append {number} to key 1", 1: "read key 2: []"},
        "size": 2,
    }
    return Transaction(**{**shape, **other})


def ring(size: int, left_out: int = 0) -> Cycle:
    """Each has missed a write of the next; where some are left out, two ends do not meet."""
    steps = [
        Step(at, (at + 1) % size, "rw", "it did", at, (at, None), ((at, 1), ((at + 1) % size, 0)))
        for at in range(size)
    ]
    if left_out:
        del steps[size // 2]
    return Cycle(tuple(map(transaction, range(1, size + 1))), tuple(steps), left_out)


def test_a_step_has_an_arrow_and_a_sentence_and_the_last_one_states_the_contradiction() -> None:
    cycle = ring(3)
    assert [cycle.arrow(step) for step in cycle.steps] == [
        "T1 -rw(0)-> T2",
        "T2 -rw(1)-> T3",
        "T3 -rw(2)-> T1",
    ]
    assert [said for _, said in cycle.argument()] == [
        "T1 < T2, because it did",
        "T2 < T3, because it did",
        "however, T3 < T1, because it did; so T1 would come before itself: a contradiction",
    ]


def test_a_transaction_is_told_with_how_it_ended_and_with_what_shows_something() -> None:
    one = transaction(4, outcome="info", mops={at: f"m{at}" for at in range(9)}, size=20)
    assert one.said(frozenset({7})) == (
        "T4 is op 9, process 4, whose outcome is unknown: m0; m1; m2; m3; m4; m7; … and 14 more"
    )
    assert ", which failed: " in transaction(4, outcome="fail").said()


def test_the_ring_names_each_on_the_way_and_the_place_where_some_are_left_out() -> None:
    assert ring(3).ring == (0, 1, 2)
    cut = ring(5, left_out=7)
    assert cut.ring == (0, 1, 2, None, 3, 4)
    assert [said for step, said in cut.argument() if step is None] == ["… and so on, 7 times more"]


def test_a_long_key_is_cut_in_a_label() -> None:
    label = Step(0, 1, "ww", "", key="k" * 500, mops=((0, 0),)).label
    assert len(label) < 40 and "…" in label


@pytest.mark.parametrize("cycle", [ring(2), ring(9), ring(5, left_out=7)])
def test_its_json_says_it_all(cycle: Cycle) -> None:
    assert Cycle.from_json(json.loads(json.dumps(cycle.to_json()))) == cycle


def broken(**other: Any) -> dict[str, Any]:
    return {**ring(3).to_json(), **other}


@pytest.mark.parametrize(
    "shape",
    [
        {},
        broken(steps=[]),
        broken(steps=ring(3).to_json()["steps"][:2]),
        broken(steps=[{"from": "T1"}]),
        broken(transactions=[]),
        broken(transactions=7),
        broken(**{"left out": "many"}),
    ],
)
def test_what_is_no_cycle_is_none(shape: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Cycle.from_json(shape)
