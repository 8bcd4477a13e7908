"""The protocol: plain values as generators, contexts, and what an answer is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator import NOTHING, PENDING, Call, Context
from harness.generator.core import bits
from harness.generator.rehearse import imperfect, invocations, perfect, quick
from harness.op import NEMESIS, Kind, Op
from tests.generator import calls, fs, invoked, processes, r, times, values, w


def test_none_has_nothing_to_say() -> None:
    assert quick(None) == []


def test_a_call_is_said_once_with_a_free_process_and_the_present_time() -> None:
    (op,) = invocations(quick(w(1)))
    assert (op.f, op.value, op.time) == ("w", 1, 0)
    assert op.process in (0, 1, NEMESIS)


def test_a_call_keeps_what_it_says_itself() -> None:
    (op,) = invocations(quick(Call("w", 1, process=1, time=30, extra={"a": 1})))
    assert (op.process, op.time) == (1, 30)
    late = invocations(perfect([Call("w", 1, process=0), Call("w", 2, process=0, time=3)]))
    assert times(late) == [0, 10], "what should have been said in the past is due now"


def test_a_call_of_a_process_that_is_busy_or_gone_waits() -> None:
    context = Context.of(2, Random(0))
    context.free = 0b110
    assert gen.lift(Call("w", process=0)).op(context) is PENDING
    assert gen.lift(Call("w", process=7)).op(context) is PENDING
    context.free = 0
    assert gen.lift(w()).op(context) is PENDING


def test_a_sequence_is_said_in_order() -> None:
    assert values(invocations(quick(calls(*range(5))))) == [0, 1, 2, 3, 4]
    assert values(invocations(quick([calls(1, 2), None, [], w(3)]))) == [1, 2, 3]


def test_a_function_is_asked_again_and_again_until_it_says_none() -> None:
    def early(context: Context) -> Call | None:
        return w(context.time) if context.time < 30 else None

    said = perfect(gen.clients(early), concurrency=1)
    assert values(invoked(said)) == [0, 10, 20]


def test_a_function_may_do_without_the_context() -> None:
    said = perfect(gen.limit(3, gen.clients(lambda: w(7))), concurrency=1)
    assert values(invoked(said)) == [7, 7, 7]


def test_what_a_function_returns_is_used_up_before_it_is_asked_again() -> None:
    def pair(context: Context) -> list[Call] | None:
        return [w(context.time), r(context.time)] if context.time < 40 else None

    said = invoked(perfect(gen.clients(pair), concurrency=1))
    assert [(op.f, op.value) for op in said] == [("w", 0), ("r", 0), ("w", 20), ("r", 20)]


def test_a_function_is_not_asked_while_nobody_is_free() -> None:
    asked: list[int] = []
    context = Context.of(2, Random(0))
    context.free = 0
    assert gen.lift(lambda context: asked.append(context.free)).op(context) is PENDING
    assert asked == []


def test_what_is_no_generator_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="'w' is no generator: expected None, a Call, a function"):
        gen.lift("w")
    with pytest.raises(TypeError, match="7 is no generator"):
        gen.lift([w(), 7])


def test_concat_says_one_after_another_and_tells_the_first_alone() -> None:
    told: list[str] = []

    def spy(name: str, *said: Call) -> gen.Generator:
        def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
            told.append(name)
            return generator

        return gen.on_update(react, list(said))

    said = quick(gen.concat(spy("a", w(1)), spy("b", w(2))))
    assert values(invocations(said)) == [1, 2]
    assert told == ["a", "a", "b", "b"] or (told[0] == "a" and told[-1] == "b")


def test_the_time_of_a_context_is_when_something_happens() -> None:
    said = perfect(gen.clients(calls(1, 2, 3)), concurrency=1)
    assert [(op.time, op.type) for op in said] == [
        (0, Kind.INVOKE),
        (10, Kind.OK),
        (10, Kind.INVOKE),
        (20, Kind.OK),
        (20, Kind.INVOKE),
        (30, Kind.OK),
    ]


def test_a_crash_renames_the_process_and_never_the_nemesis() -> None:
    crashed = imperfect(gen.limit(9, gen.clients(gen.repeat(w()))), concurrency=1)
    assert processes(invoked(crashed)) == [0, 0, 1, 1, 1, 2, 2, 2, 3]
    said = imperfect(gen.limit(4, gen.nemesis(gen.repeat(Call("kill")))), concurrency=1)
    assert set(processes(said)) == {NEMESIS}


def test_the_thread_of_a_process_is_its_number_modulo_the_clients() -> None:
    context = Context.of(3, Random(0))
    assert [context.thread_of(p) for p in (0, 1, 2, NEMESIS, 3, "x")] == [0, 1, 2, 3, -1, -1]
    context.processes[1] = 4
    assert context.thread_of(4) == 1 and context.thread_of(1) == -1
    alone = Context.of(2, Random(0), nemesis=False)
    assert alone.thread_of(NEMESIS) == -1 and alone.thread_of(1) == 1


def test_a_free_thread_is_chosen_at_random_and_each_in_its_turn() -> None:
    context = Context.of(7, Random(5))
    context.free = 0b01011010
    seen = [context.some_free() for _ in range(800)]
    assert set(seen) == {1, 3, 4, 6}
    assert min(seen.count(thread) for thread in set(seen)) > 60


@given(st.sets(st.integers(0, 200)))
def test_bits_are_the_threads_of_a_mask(threads: set[int]) -> None:
    assert bits(sum(1 << t for t in threads)) == sorted(threads)
    context = Context.of(201, Random(1), nemesis=False)
    context.free = sum(1 << t for t in threads)
    assert (context.some_free() in threads) if threads else context.some_free() == -1


def test_a_view_shows_some_threads_and_the_same_processes() -> None:
    context = Context.of(3, Random(0))
    context.free = 0b0110
    view = context.view(0b0011)
    assert (view.threads, view.free, view.idle) == (0b0011, 0b0010, False)
    assert view.processes is context.processes and view.list_threads() == [0, 1]


def test_nothing_is_told_to_who_does_not_listen() -> None:
    for deaf in (w(), calls(1), gen.repeat(w()), gen.mix([w(), r()]), gen.stagger(1, w())):
        assert not gen.lift(deaf).listens
    for keen in (gen.until_ok(w()), gen.concurrency_limit(1, w()), [w(), gen.until_ok(r())]):
        assert gen.lift(keen).listens


@given(st.lists(st.sampled_from(["call", "list", "none", "function"]), max_size=6))
def test_concat_says_all_of_everything(kinds: list[str]) -> None:
    def part(kind: str, number: int) -> tuple[object, list[object]]:
        some: dict[str, tuple[object, list[object]]] = {
            "call": (w((number, 0)), [(number, 0)]),
            "list": (calls((number, 0), (number, 1)), [(number, 0), (number, 1)]),
            "none": (None, []),
            "function": (gen.limit(1, lambda: w((number, 2))), [(number, 2)]),
        }
        return some[kind]

    parts = [part(kind, number) for number, kind in enumerate(kinds)]
    said = quick(gen.concat(*(generator for generator, _ in parts)))
    assert values(invocations(said)) == [value for _, expected in parts for value in expected]
    assert gen.concat() is NOTHING


def test_sleep_keeps_one_process_busy_and_log_none() -> None:
    said = perfect(
        gen.clients([w(1), gen.sleep(5e-8), gen.log("hello"), w(2), w(3)]), concurrency=1
    )
    assert fs(said) == ["w"] * 6, "neither is in the history"
    assert times(invoked(said)) == [0, 60, 70]
