"""The log checker and the plain spelling of its definitions agree on every history."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from hypothesis import given, settings

from checkers import log
from checkers.log import ANOMALIES
from checkers.log.order import Order
from checkers.log.tables import Tables
from harness.history import History
from harness.op import Op
from harness.timeline import render
from harness.verdict import Outcome
from tests.checkers import oracle_log
from tests.checkers.logs import broken_histories, true_histories, wild_histories
from tests.checkers.witnesses import STRICT, all_stand

EVERY = partial(log.check, examples=1000)
"""A witness shows more than its finding: messages whose senders it leaves out look invented."""


def cases(history: History) -> oracle_log.Cases:
    """What the checker finds, in the shape of the oracle."""
    order = Order(Tables.of(history))
    found: dict[str, Counter[tuple[Any, tuple[Any, ...]]]] = {}
    for name, detect in ANOMALIES.items():
        every = detect(order)
        made = [every.make(number) for number in range(len(every))]
        if made:
            found[name] = Counter(
                (
                    order.tables.keys[case.key],
                    tuple(order.tables.value(int(order.value[m])) for m in case.messages),
                )
                for case in made
            )
    return found


@settings(max_examples=400, deadline=None)
@given(wild_histories())
def test_it_agrees_with_its_definitions_on_wild_histories(ops: list[Op]) -> None:
    history = History.of(ops)
    assert cases(history) == oracle_log.cases(history), "\n" + render(history)


@settings(max_examples=200, deadline=None)
@given(broken_histories)
def test_it_agrees_with_its_definitions_on_broken_logs(ops: list[Op]) -> None:
    history = History.of(ops)
    assert cases(history) == oracle_log.cases(history), "\n" + render(history)


@settings(max_examples=200, deadline=None)
@given(true_histories)
def test_a_log_that_keeps_its_promises_is_never_accused(ops: list[Op]) -> None:
    """Controls C03 (unknown sends), C04 (gaps) and C06 (seeks and assignments) among others."""
    history = History.of(ops)
    verdict = log.check(history, STRICT)
    assert verdict.outcome is not Outcome.INVALID, "\n" + render(history)


@settings(max_examples=60, deadline=None)
@given(broken_histories)
def test_every_finding_stands_on_its_witness_alone(ops: list[Op]) -> None:
    all_stand(History.of(ops), EVERY)


@settings(max_examples=100, deadline=None)
@given(wild_histories())
def test_every_finding_of_a_wild_history_stands_on_its_witness_alone(ops: list[Op]) -> None:
    all_stand(History.of(ops), EVERY)
