"""What the log workload asks for, rehearsed."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator.core import Context
from harness.generator.rehearse import LATENCY_NS, imperfect, invocations, perfect, rehearse
from harness.op import Kind, Op
from workloads import deletions, sends, times
from workloads.filled import NOWHERE, Newest
from workloads.log import Options, generator
from workloads.sends import PollUnseen, Sends

SEEDS = st.integers(0, 2**32)


def asked(count: int, seed: int = 1, **options: Any) -> list[Op]:
    made = gen.clients(gen.limit(count, generator(Options(**options))))
    return invocations(imperfect(made, concurrency=4, seed=seed))


@settings(max_examples=25)
@given(seed=SEEDS, keys=st.integers(1, 5), per_op=st.integers(1, 4))
def test_every_value_is_sent_to_its_key_once_and_in_order(
    seed: int, keys: int, per_op: int
) -> None:
    ops = asked(300, seed, partitions=keys, sends_per_op=per_op)
    by_key: dict[int, list[int]] = {}
    for op in ops:
        if op.f == "send":
            assert 1 <= len(op.value) <= per_op
            for _, key, value in op.value:
                by_key.setdefault(key, []).append(value)
    assert all(0 <= key < keys for key in by_key)
    assert all(values == list(range(len(values))) for values in by_key.values())


@settings(max_examples=25)
@given(seed=SEEDS)
def test_assignments_are_some_of_the_keys(seed: int) -> None:
    for op in asked(400, seed, topics=2, partitions=3):
        if op.f == "assign":
            assert op.value and op.value == sorted(set(op.value))
            assert set(op.value) <= set(range(6))


def test_every_process_begins_with_an_assignment_a_crashed_ones_successor_too() -> None:
    ops = asked(2000)
    first = {op.process: op.f for op in reversed(ops)}
    assert len(first) > 20, "imperfect operations crash their processes"
    assert set(first.values()) == {"assign"}


def test_sends_and_polls_are_even_and_assignments_rare() -> None:
    count = Counter(op.f for op in asked(4000, crash_clients_s=0))
    assert count["send"] == pytest.approx(count["poll"], rel=0.15)
    assert "crash" not in count


def test_no_more_assignments_than_the_first_where_none_are_wanted() -> None:
    made = gen.clients(gen.limit(1000, generator(Options(assign_p=0, crash_clients_s=0))))
    count = Counter(op.f for op in invocations(perfect(made, concurrency=4)))
    assert count["assign"] == 4


def test_clients_crash_about_as_often_as_they_should() -> None:
    work = gen.stagger(0.01, generator(Options(crash_clients_s=2)))
    ops = invocations(perfect(gen.time_limit(100, gen.clients(work)), concurrency=4))
    assert Counter(op.f for op in ops)["crash"] == pytest.approx(50, rel=0.3)


# -- keys with unseen messages -------------------------------------------------------------------


def offsets_by_value(op: Op, context: Context) -> tuple[Kind, int]:
    return Kind.OK, LATENCY_NS


def test_an_assignment_gets_the_keys_whose_newest_message_nobody_polled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sends, "UNSEEN_P", 1.0)
    wants = gen.lift([gen.Call("assign", [0]), gen.Call("assign", [0])])
    asked: gen.Generator = PollUnseen(wants, {}, {})
    context = Context.of(1, Random(0))

    def told(kind: Kind, f: str, value: Any) -> None:
        nonlocal asked
        asked = asked.update(context, Op(0, 0, kind, 0, f, value))

    told(Kind.OK, "send", [["send", 1, [4, 10]], ["send", 2, [0, 11]]])
    told(Kind.OK, "send", [["send", 3, 12]])  # without an offset, as with acks=0
    told(Kind.INFO, "send", [["send", 0, 13]])
    told(Kind.OK, "poll", [["poll", {"1": [[3, 9], [4, 10]], "2": [[0, 10]]}]])
    step = asked.op(context)
    assert isinstance(step, tuple)
    call, asked = step
    assert call.value == [0, 2, 3]
    told(Kind.OK, "poll", [["poll", {"2": [[1, 11]], "3": [[0, "changed"], [1, 12]]}]])
    step = asked.op(context)
    assert isinstance(step, tuple)
    assert step[0].value == [0]


@given(seed=SEEDS)
def test_other_calls_pass_as_they_are(seed: int) -> None:
    plain = gen.limit(50, gen.mix([Sends((0, 0)), gen.repeat(gen.Call("poll", [["poll"]]))]))
    watched = PollUnseen(gen.lift(plain), {}, {})
    run = [
        [(op.f, op.value, op.process, op.time) for op in rehearse(g, offsets_by_value, seed=seed)]
        for g in (gen.clients(plain), gen.clients(watched))
    ]
    assert run[0] == run[1]


# -- questions by time ---------------------------------------------------------------------------


def test_a_question_is_of_keys_and_values_that_were_acknowledged() -> None:
    asked: gen.Generator = times.asked(gen.lift([times.ASK] * 3))
    context = Context.of(1, Random(0))

    def ask() -> Any:
        nonlocal asked
        step = asked.op(context)
        assert isinstance(step, tuple)
        asked = step[1]
        return step[0].value

    assert ask() == {}
    for kind, value in ((Kind.OK, [["send", 1, [4, 10]], ["send", 2, 3]]), (Kind.INFO, "?")):
        asked = asked.update(context, Op(0, 0, kind, 0, "send", value))
    for _ in range(2):
        told = ask()
        assert set(told) == {"1", "2"} and 0 <= told["1"] <= 10 and 0 <= told["2"] <= 3


def test_questions_by_time_are_as_frequent_as_they_should_be() -> None:
    made = gen.clients(gen.limit(2000, generator(Options(times_p=0.1, crash_clients_s=0))))
    count = Counter(op.f for op in invocations(perfect(made, concurrency=4)))
    assert count[times.F] == pytest.approx(200, rel=0.3)
    assert times.F not in Counter(op.f for op in asked(500))


# -- deletions -----------------------------------------------------------------------------------


def test_a_deletion_takes_half_of_what_is_known_of_a_key_at_most() -> None:
    known = {0: Newest(9, 40), 1: Newest(3, 0), 2: Newest(5, NOWHERE)}
    asked = [deletions.older(known, Random(seed)) for seed in range(200)]
    assert {key for each in asked for key in each} == {"0"}, "nothing is left of the others"
    offsets = [each["0"] for each in asked]
    assert min(offsets) == 0 and max(offsets) == 20
    assert deletions.older({}, Random(0)) == {}


def test_deletions_are_as_frequent_as_they_should_be() -> None:
    made = gen.clients(gen.limit(2000, generator(Options(delete_p=0.05, crash_clients_s=0))))
    count = Counter(op.f for op in invocations(perfect(made, concurrency=4)))
    assert count[deletions.F] == pytest.approx(100, rel=0.4)
    assert deletions.F not in Counter(op.f for op in asked(500))
