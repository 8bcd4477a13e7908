"""The log checker and the plain spelling of its definitions agree on every history."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from checkers import log
from checkers.log import ANOMALIES
from checkers.log.order import Order
from checkers.log.tables import Tables
from harness.history import History
from harness.op import Kind, Op
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


@settings(max_examples=200, deadline=None)
@given(wild_histories() | broken_histories | true_histories)
def test_the_worst_lag_is_that_of_its_definition(ops: list[Op]) -> None:
    history = History.of(ops)
    worst = log.check(history, STRICT).stats["worst-realtime-lag"]
    assert (worst["lag"] if worst else 0) == oracle_log.worst_lag(history), "\n" + render(history)


@settings(max_examples=200, deadline=None)
@given(true_histories, st.data())
def test_a_true_history_that_is_cut_anywhere_is_never_accused(
    ops: list[Op], data: st.DataObject
) -> None:
    cut = History.of(ops[: data.draw(st.integers(0, len(ops)))])
    assert log.check(cut, STRICT).outcome is not Outcome.INVALID, "\n" + render(cut)


@settings(max_examples=150, deadline=None)
@given(broken_histories, st.data())
def test_to_learn_more_never_clears_a_log(ops: list[Op], data: st.DataObject) -> None:
    """Sends elsewhere, failures, and reads of what was read add to an argument at most."""
    history = History.of(ops)
    before = log.check(history, STRICT)
    last = ops[-1].time
    reads = [op.value for op in ops if op.f == "poll" and op.type is Kind.OK]
    news = [
        ("send", [["send", 0, 5000]], Kind.OK, [["send", 0, [10**6, 5000]]]),
        ("send", [["send", 0, 5001]], Kind.FAIL, [["send", 0, 5001]]),
        *(("poll", [["poll"]], Kind.OK, read) for read in reads),
        *(("poll", [["poll"]], Kind.FAIL, read) for read in reads),
    ]
    more = list(ops)
    for number, news_of in enumerate(data.draw(st.lists(st.sampled_from(news), max_size=3))):
        f, asked, kind, told = news_of
        # A fresh process each, which has no position yet; a repeated send would be another doubt.
        more.append(Op(0, last, Kind.INVOKE, 20_000 + number, f, asked))
        more.append(Op(0, last, kind, 20_000 + number, f, told))
    after = log.check(History.of(more), STRICT)
    assert all(after.counts.get(name, 0) >= count for name, count in before.counts.items())


@settings(max_examples=150, deadline=None)
@given(broken_histories)
def test_to_learn_that_a_send_took_place_never_clears_a_log(ops: list[Op]) -> None:
    before = log.check(History.of(ops), STRICT)
    learned = [
        msgspec.structs.replace(op, type=Kind.OK) if op.type is Kind.INFO and op.f == "send" else op
        for op in ops
    ]
    after = log.check(History.of(learned), STRICT)
    assert after.outcome >= before.outcome


@settings(max_examples=60, deadline=None)
@given(broken_histories)
def test_every_finding_stands_on_its_witness_alone(ops: list[Op]) -> None:
    all_stand(History.of(ops), EVERY)


@settings(max_examples=100, deadline=None)
@given(wild_histories())
def test_every_finding_of_a_wild_history_stands_on_its_witness_alone(ops: list[Op]) -> None:
    all_stand(History.of(ops), EVERY)
