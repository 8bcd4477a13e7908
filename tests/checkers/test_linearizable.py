"""Arguments of the search, and what is judged under which name."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from checkers import linearizable
from checkers.linearizable import counter, queue, searched, sets, stack
from checkers.linearizable.argue import Smaller
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Lock, Model, Register
from checkers.linearizable.search import Call, search
from harness.checker import Check
from harness.guarantees import derive
from harness.history import History
from harness.op import Op
from harness.timeline import parse
from harness.verdict import Outcome
from tests.checkers.oracle_linear import Asks, histories, history_of, legal, respects_time
from tests.checkers.oracle_linear import linearizable as has_an_order
from tests.checkers.test_search import OBJECTS
from tests.checkers.witnesses import STRICT, alone

HISTORIES = 150


def test_there_are_histories_of_every_kind() -> None:
    assert len(OBJECTS) == 9


@pytest.mark.parametrize(("model", "asks"), OBJECTS, ids=lambda one: type(one).__name__)
def test_an_argument_needs_all_that_it_names(model: Model, asks: Asks) -> None:
    """Without knowing that one of them happened there is an order, or another would speak of a
    value from nowhere; and the witness alone has none."""
    found = 0
    for calls in histories(asks, HISTORIES, 8, seed=43):
        history = history_of(calls)
        (mine,) = objects(history, model).calls.values() or [[]]
        answer = search(mine, model)
        if answer.linearizable:
            continue
        found += 1
        assert answer.stuck is not None
        smaller = Smaller(mine, answer.stuck, model)
        kept = smaller.least()
        assert smaller.done and not has_an_order([mine[n] for n in kept], model)
        for number in kept:
            fewer = set(kept) - {number}
            assert smaller._supported(fewer) != fewer or _forgotten(smaller, fewer, model)
    assert found > 10


def _forgotten(smaller: Smaller, kept: set[int], model: Model) -> bool:
    """Whether there is an order where the others may or may not have happened."""
    there = [(number, smaller.calls[number]) for number in smaller.there]
    return has_an_order(
        [
            call if number in kept or not call.known else replace(call, optional=True)
            for number, call in there
        ],
        model,
    )


@pytest.mark.parametrize(("model", "asks"), OBJECTS, ids=lambda one: type(one).__name__)
def test_the_verdict_is_that_of_the_search(model: Model, asks: Asks) -> None:
    for calls in histories(asks, HISTORIES, 6, seed=44):
        history = history_of(calls)
        verdict = linearizable.judge(history, model)
        valid = linearizable_in(history, model)
        assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID)
        for finding in verdict.findings:
            again = linearizable.judge(alone(history, finding.witness), model)
            assert again.outcome is Outcome.INVALID
            assert "contradiction" in finding.because[-1]
        orders = linearizable.orders(history, model)
        assert (orders is not None) == valid
        for key, order in (orders or {}).items():
            assert respects_time(order) and legal(order, model)
            known = {call for call in objects(history, model).calls[key] if call.known}
            assert known <= set(order) and len(order) == len(set(order))


def linearizable_in(history: History, model: Model) -> bool:
    return all(has_an_order(calls, model) for calls in objects(history, model).calls.values())


def drawn(text: str) -> History:
    return History.of(parse(text))


TIMELINES: list[tuple[Check, str, bool]] = [
    (
        searched.check_lock,
        """
        c0: |- acquire --|                |- release --|
        c1:                 |- acquire --|
        """,
        False,
    ),
    (
        searched.check_lock,
        """
        c0: |- acquire --|          |- release --|
        c1:                 |- acquire ---------|
        """,
        True,
    ),
    (
        searched.check_lock,
        """
        c0: |- acquire "a" --|                    |- release "a" --|
        c1:                      |- acquire "b" --|
        """,
        True,
    ),
    (
        queue.check,
        """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                     |- dequeue -> 2 --|
        """,
        False,
    ),
    (
        queue.check,
        """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                    |- dequeue -> null --|
        """,
        False,
    ),
    (
        stack.check,
        """
        c0: |- push 1 --|  |- push 2 --|
        c1:                               |- pop -> 1 --|
        """,
        False,
    ),
    (
        stack.check,
        """
        c0: |- push 1 --|  |- push 2 ---------|
        c1:                       |- pop -> 1 --|
        """,
        True,
    ),
    (
        sets.check,
        """
        c0: |- add 1 --|  |- add 2 --|
        c1:                             |- read -> [2] --|
        """,
        False,
    ),
    (
        sets.check,
        """
        c0: |- add [7,1] --|  |- add [7,2] ------|
        c1:                          |- read -> [7,[1]] --|
        """,
        True,
    ),
    (
        counter.check,
        """
        c0: |- add 1 --|  |- increment --|  |- decrement --?
        c1:                                                 |- read -> 2 --|  |- read -> 1 --|
        """,
        True,
    ),
    (
        counter.check,
        """
        c0: |- add 1 --|  |- add 4 --|
        c1:                             |- read -> 4 --|
        """,
        False,
    ),
    (
        searched.check_registers,
        """
        c0: |- txn [["w","x",1],["w","y",1]] --|
        c1:          |- txn [["r","x",null],["r","y",null]] -> [["r","x",1],["r","y",null]] --|
        """,
        False,
    ),
]


@pytest.mark.parametrize(("check", "text", "valid"), TIMELINES)
def test_timelines(check: Check, text: str, valid: bool) -> None:
    verdict = check(drawn(text), STRICT)
    assert verdict.outcome is (Outcome.VALID if valid else Outcome.INVALID)
    assert not verdict.doubts


def test_an_unordered_queue_is_asked_for() -> None:
    history = drawn(
        """
        c0: |- enqueue 1 --|  |- enqueue 2 --|
        c1:                                     |- dequeue -> 2 --|
        """
    )
    unordered = derive("queue", {"model": "unordered"}, "strict")
    assert queue.check(history, unordered).outcome is Outcome.VALID


def test_an_argument_leaves_out_what_went_before() -> None:
    before = [Call(0, "acquire", None, None, 4 * n, 4 * n + 1) for n in range(50)]
    before += [Call(0, "release", None, None, 4 * n + 2, 4 * n + 3) for n in range(50)]
    twice = [Call(n, "acquire", None, None, 300 + 2 * n, 301 + 2 * n) for n in (1, 2)]
    verdict = linearizable.judge(history_of([*before, *twice]), Lock())
    (finding,) = verdict.findings
    assert finding.claim == "no order is legal for these 2 operations: acquire; acquire"
    assert len(finding.witness) == 4


def test_what_cannot_be_read_is_a_doubt() -> None:
    verdict = linearizable.judge(drawn("c0: |- cas 7 --|"), Register())
    assert verdict.outcome is Outcome.UNKNOWN and "cannot read" in verdict.doubts[0]


def test_out_of_budget_is_a_doubt_that_says_how_far_it_came() -> None:
    calls = [Call(n, "write", n, n, n, 100 + n) for n in range(12)]
    reads = [Call(20 + n, "read", None, n, 200 + 2 * n, 201 + 2 * n) for n in (3, 4)]
    verdict = linearizable.judge(history_of([*calls, *reads]), Register(), budget=10)
    assert verdict.outcome is Outcome.UNKNOWN
    assert "given up after" in verdict.doubts[0] and "were placed" in verdict.doubts[0]


def test_a_search_that_places_nothing_is_given_up_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linearizable, "SHARE_MIN", -80)
    writes = [Call(n, "write", n % 7, n % 7, n, 100 + n) for n in range(20)]
    verdict = linearizable.judge(
        history_of([*writes, Call(99, "read", None, 6, 50, 51)]), Register(), budget=-80
    )
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.doubts[0].endswith("0 of 21 operations were placed")


def test_a_value_from_nowhere_needs_no_search() -> None:
    swaps = [Call(n, "cas", (n, n + 1), (n, n + 1), n, 200 + n) for n in range(40)]
    writes = [Call(100 + n, "write", n, n, 100 + n, 300 + n) for n in range(40)]
    read = Call(999, "read", None, 77, 150, 151)
    verdict = linearizable.judge(history_of([*swaps, *writes, read]), Register())
    (finding,) = verdict.findings
    assert finding.claim == "no order is legal for this operation: read -> 77"


def test_keys_share_the_budget() -> None:
    together = [Call(n, "write", n % 7, n % 7, n, 100 + n) for n in range(40)]
    reads = [Call(99 + n, "read", None, v, 200 + 2 * n, 201 + 2 * n) for n, v in enumerate((1, 2))]
    one = list(history_of([*together, *reads], key=1))
    other = [op_of_other_key(op) for op in history_of([*together, *reads], key=2)]
    verdict = linearizable.judge(History.of([*one, *other]), Register(), budget=3_000)
    assert verdict.outcome is Outcome.UNKNOWN and len(verdict.doubts) == 2
    assert verdict.stats["configurations"] < 3_000 + linearizable.SHARE_MIN + 1_000


def op_of_other_key(op: Op) -> Op:
    return msgspec.structs.replace(op, process=int(op.process) + 1_000)
