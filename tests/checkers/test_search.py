"""The search agrees with the trying of all orders, and its orders are legal."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from checkers.linearizable import models
from checkers.linearizable.models import UNKNOWN, Model
from checkers.linearizable.search import NEVER, Call, search
from tests.checkers.oracle_linear import Asks, histories, legal, linearizable, respects_time

HISTORIES = 600
"""Of each model; 100,000 of eight operations, of all models together, were tried by hand."""


def register(rng: random.Random) -> tuple[str, Any, Any]:
    value = rng.choice([None, 1, 2])
    if rng.random() < 0.3:
        pair = (value, rng.choice([1, 2]))
        return "cas", pair, pair
    if rng.random() < 0.5:
        return "write", value, value
    return "read", None, value


def queue(rng: random.Random) -> tuple[str, Any, Any]:
    value = rng.choice([1, 2, 3])
    if rng.random() < 0.5:
        return "enqueue", value, value
    return "dequeue", None, rng.choice([value, value, None])


def stack(rng: random.Random) -> tuple[str, Any, Any]:
    f, asked, told = queue(rng)
    return {"enqueue": "push", "dequeue": "pop"}[f], asked, told


def priorities(rng: random.Random) -> tuple[str, Any, Any]:
    f, asked, told = queue(rng)
    return {"enqueue": "insert", "dequeue": "delete-min"}[f], asked, told


def members(rng: random.Random) -> tuple[str, Any, Any]:
    value = rng.choice([1, 2, 3])
    if rng.random() < 0.5:
        return "add", value, value
    return "read", None, tuple(rng.sample([1, 2, 3], rng.randint(0, 3)))


def counter(rng: random.Random) -> tuple[str, Any, Any]:
    if rng.random() < 0.5:
        amount = rng.choice([1, 2, -1])
        return rng.choice([("add", amount, amount), ("increment", None, None)])
    return "read", None, rng.randint(0, 3)


def lock(rng: random.Random) -> tuple[str, Any, Any]:
    return rng.choice(["acquire", "release"]), None, None


def registers(rng: random.Random) -> tuple[str, Any, Any]:
    told = tuple(
        (rng.choice("rw"), rng.choice("xy"), rng.choice([1, 2])) for _ in range(rng.randint(1, 2))
    )
    return "txn", tuple((f, k, v if f == "w" else None) for f, k, v in told), told


OBJECTS: list[tuple[Model, Asks]] = [
    (models.Register(), register),
    (models.Fifo(), queue),
    (models.Unordered(), queue),
    (models.Stack(), stack),
    (models.PriorityQueue(), priorities),
    (models.Set(), members),
    (models.Counter(), counter),
    (models.Lock(), lock),
    (models.MultiRegister(), registers),
]


@pytest.mark.parametrize("optional", [False, True], ids=["", "optional"])
@pytest.mark.parametrize(("model", "asks"), OBJECTS, ids=lambda one: type(one).__name__)
def test_the_search_agrees_with_every_order(model: Model, asks: Asks, optional: bool) -> None:
    outcomes = set()
    for calls in histories(asks, HISTORIES // 2, 6, seed=4, optional=optional):
        answer = search(calls, model)
        expected = linearizable(calls, model)
        assert answer.linearizable is expected, calls
        _check_order([calls[number] for number in answer.order], calls, model, expected)
        outcomes.add(expected)
    assert outcomes == {True, False}


def _check_order(order: Sequence[Call], calls: Sequence[Call], model: Model, whole: bool) -> None:
    assert respects_time(order) and legal(order, model)
    if whole:
        assert {call for call in calls if call.known} <= set(order)


def test_a_search_out_of_budget_says_how_far_it_came() -> None:
    together = [Call(n, "write", n, n, n, 100 + n) for n in range(12)]
    reads = [Call(20 + n, "read", None, n, 200 + 2 * n, 201 + 2 * n) for n in (3, 4)]
    answer = search([*together, *reads], models.Register(), budget=10)
    assert answer.linearizable is None
    order = [[*together, *reads][number] for number in answer.order]
    assert order and respects_time(order) and legal(order, models.Register())


def test_an_operation_that_never_returned_may_happen_much_later() -> None:
    write = Call(0, "write", 1, UNKNOWN, 0, NEVER)
    nothing = Call(1, "read", None, None, 1, 2)
    one = Call(1, "read", None, 1, 3, 4)
    assert search([write, nothing, one], models.Register()).linearizable
    back = search([write, one, Call(1, "read", None, None, 5, 6)], models.Register())
    assert back.linearizable is False and back.stuck == 2


def test_the_unknown_outcome_of_a_dequeue_is_any_value() -> None:
    puts = [Call(0, "enqueue", n, n, 2 * n, 2 * n + 1) for n in (1, 2, 3)]
    lost = Call(1, "dequeue", None, UNKNOWN, 8, NEVER)
    gone = [Call(2, "dequeue", None, n, 10 + 2 * n, 11 + 2 * n) for n in (2, 3)]
    assert search([*puts, lost, *gone], models.Fifo()).linearizable, "it took 1"
    assert search([*puts, *gone], models.Fifo()).linearizable is False
    assert search([*puts, *gone], models.Unordered()).linearizable


def test_operations_in_doubt_that_are_alike_are_tried_once() -> None:
    doubts = [Call(n, "write", 1, UNKNOWN, n, NEVER) for n in range(200)]
    reads = [Call(999, "read", None, 2, 1000, 1001)]
    answer = search([*doubts, *reads], models.Register())
    assert answer.linearizable is False and answer.configurations < 1000
