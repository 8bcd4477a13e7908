"""When: rates, pauses, limits and windows of time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator import PENDING, Call, Context
from harness.generator.rehearse import invocations, perfect, perfect_info, quick, rehearse
from harness.op import NEMESIS, Kind, Op
from tests.generator import calls, fs, invoked, r, times, values, w

NS = 1_000_000_000


# -- time limit -----------------------------------------------------------------------------------


def test_a_time_limit_counts_from_the_first_call() -> None:
    delayed = gen.time_limit(3e-8, [Call("w", 0, time=100), gen.repeat(w(1))])
    said = perfect(gen.clients(delayed), concurrency=1)
    assert times(invoked(said)) == [100, 110, 120]


def test_calls_that_are_due_too_late_are_not_said() -> None:
    said = quick(gen.clients(gen.time_limit(5e-8, gen.delay(2e-8, gen.repeat(w())))), concurrency=1)
    assert times(invoked(said)) == [0, 20, 40]


def test_a_time_limit_ends_even_if_nothing_more_is_due() -> None:
    limited = gen.time_limit(1e-8, [w(), gen.until(lambda: False, gen.repeat(w()))])
    context = Context.of(1, Random(0))
    step = limited.op(context)
    assert isinstance(step, tuple)
    context.time, context.free = 10, 0
    assert step[1].op(context) is None


@given(st.integers(1, 300), st.integers(1, 4))
def test_no_call_lies_past_a_time_limit(limit_ns: int, workers: int) -> None:
    said = perfect_info(
        gen.clients(gen.time_limit(limit_ns / NS, gen.repeat(w()))), concurrency=workers
    )
    assert all(op.time < limit_ns for op in invoked(said))
    assert len(invoked(said)) == workers * -(-limit_ns // 10)


# -- stagger --------------------------------------------------------------------------------------


def test_stagger_spaces_calls_by_its_mean_in_total() -> None:
    """Not by thread: ten workers are no faster than one."""
    for workers in (1, 10):
        said = quick(
            gen.clients(gen.limit(4000, gen.stagger(0.01, gen.repeat(w())))), concurrency=workers
        )
        begun = times(invoked(said))
        gaps = [b - a for a, b in pairwise(begun)]
        assert min(gaps) >= 0 and max(gaps) <= 0.02 * NS
        assert 0.0095 * NS < sum(gaps) / len(gaps) < 0.0105 * NS
        below = sum(gap < 0.005 * NS for gap in gaps) / len(gaps)
        assert 0.22 < below < 0.28, "evenly between nothing and twice the mean"


def test_the_first_staggered_call_is_due_at_once() -> None:
    assert times(invocations(quick(gen.stagger(5, w())))) == [0]


def test_a_stagger_makes_up_for_a_system_that_stalled_but_not_for_ever() -> None:
    """Else a slow system would be spared the load; and a long stall must not end in a burst."""
    rate = gen.clients(gen.stagger(0.01, gen.repeat(w())))

    def stall(seconds: float) -> Counter[int]:
        first = True

        def complete(op: object, context: Context) -> tuple[Kind, int]:
            nonlocal first
            took, first = (int(seconds * NS) if first else 0), False
            return Kind.OK, took

        said = rehearse(gen.limit(1000, rate), complete, concurrency=1)
        return Counter(t // (NS // 10) for t in times(invoked(said)))

    assert 40 < stall(0.5)[5] < 75, "50 are made up for, and 10 are due"
    assert 85 < stall(10)[100] < 135, "a second's worth of 10 s"


# -- delay ----------------------------------------------------------------------------------------


def test_delay_spaces_calls_evenly() -> None:
    said = quick(gen.clients(gen.delay(3e-8, calls(1, 2, 3, 4))), concurrency=1)
    assert times(invoked(said)) == [0, 30, 60, 90]


def test_a_delay_that_falls_behind_catches_up() -> None:
    # Each operation takes 10 ns on one thread, and one is due every 4 ns.
    said = perfect(gen.clients(gen.delay(4e-9, calls(*range(4)))), concurrency=1)
    assert times(invoked(said)) == [0, 10, 20, 30]
    slow_first = rehearse(
        gen.clients(gen.delay(3e-8, calls(*range(5)))),
        lambda op, context: (Kind.OK, 100 if op.value == 0 else 1),
        concurrency=1,
    )
    assert times(invoked(slow_first)) == [0, 100, 101, 102, 120]


# -- windows --------------------------------------------------------------------------------------


def test_cycle_times_hands_the_turn_over_by_the_clock() -> None:
    turns = gen.cycle_times((3e-8, gen.repeat(w())), (2e-8, gen.repeat(r())))
    said = invoked(perfect(gen.clients(gen.limit(11, turns)), concurrency=1))
    assert "".join(fs(said)) == "wwwrrwwwrrw"
    assert times(said) == [10 * n for n in range(11)]


def test_a_generator_goes_on_in_its_next_window_where_it_was() -> None:
    turns = gen.cycle_times((2e-8, calls(*range(10))), (1e-8, gen.repeat(r("x"))))
    said = values(invoked(perfect(gen.clients(gen.limit(7, turns)), concurrency=1)))
    assert said == [0, 1, "x", 2, 3, "x", 4]


def test_a_call_that_falls_into_the_others_window_is_left_for_later() -> None:
    slow = gen.delay(5e-8, gen.repeat(w()))
    turns = gen.cycle_times((3e-8, slow), (2e-8, gen.repeat(r())))
    said = invoked(perfect(gen.clients(gen.limit(6, turns)), concurrency=1))
    assert [(op.f, op.time) for op in said] == [
        ("w", 0),
        ("r", 30),
        ("r", 40),
        ("w", 50),
        ("r", 80),
        ("r", 90),
    ]


def test_windows_end_when_a_generator_ends() -> None:
    said = quick(gen.clients(gen.cycle_times((1, calls(1, 2)), (1, gen.repeat(r())))))
    assert values(invoked(said)) == [1, 2]


def test_windows_wait_with_whose_turn_it_is() -> None:
    waiting = gen.concurrency_limit(0, gen.repeat(w()))
    turns = gen.cycle_times((1, waiting), (1, gen.repeat(r())))
    assert turns.op(Context.of(1, Random(0))) is PENDING


@given(st.integers(0, 500), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_every_moment_lies_in_the_window_that_the_clock_says(
    at: int, a: int, b: int, c: int
) -> None:
    parts = [(length / NS, gen.repeat(Call(f))) for length, f in ((a, "a"), (b, "b"), (c, "c"))]
    context = Context.of(1, Random(0))
    step = gen.cycle_times(*parts).op(context)
    assert isinstance(step, tuple)
    context.time = at
    again = step[1].op(context)
    assert isinstance(again, tuple)
    within = at % (a + b + c)
    assert again[0].f == ("a" if within < a else "b" if within < a + b else "c")
    assert again[0].time == at


# -- cache ----------------------------------------------------------------------------------------


class Dear(gen.Generator):
    """Expensive to ask; its calls are due 100 ns after they were asked for."""

    def __init__(self, asked: list[int]) -> None:
        self.asked = asked

    def op(self, context: Context) -> gen.Step:
        self.asked.append(context.time)
        call = gen.fill_in(Call("dear", time=context.time + 100), context)
        return (call, self) if isinstance(call, Call) else call


def test_an_expensive_generator_is_asked_now_and_then() -> None:
    def asked_while_others_go_on(keep_s: float) -> tuple[int, int]:
        asked: list[int] = []
        cheap = gen.limit(50, gen.delay(1e-8, gen.repeat(w())))
        both = gen.any_of(cheap, gen.cache(keep_s, Dear(asked)))
        said = perfect(gen.limit(55, gen.clients(both)), concurrency=8)
        return len(asked), fs(invoked(said)).count("dear")

    often, said = asked_while_others_go_on(0)
    seldom, said_too = asked_while_others_go_on(1e-6)
    assert seldom * 3 < often and said == said_too == 5


def test_a_cached_call_is_taken_once_and_not_of_a_process_that_is_busy() -> None:
    context = Context.of(2, Random(0), nemesis=False)
    cached = gen.cache(1, calls(1, 2))
    first = cached.op(context)
    assert isinstance(first, tuple) and first[0].value == 1
    context.time = 5
    again = cached.op(context)
    assert isinstance(again, tuple) and (again[0].value, again[0].time) == (1, 5)
    assert isinstance(again[0].process, int)
    context.free &= ~(1 << again[0].process)
    other = cached.op(context)
    assert isinstance(other, tuple) and other[0].process != again[0].process
    after = again[1].op(context)
    assert isinstance(after, tuple) and after[0].value == 2


def test_a_cache_forgets_at_its_time_and_when_something_happens() -> None:
    asked: list[int] = []
    context = Context.of(1, Random(0), nemesis=False)
    cached = gen.cache(1e-7, Dear(asked))
    for context.time in (0, 50, 99, 100, 150):
        cached.op(context)
    assert asked == [0, 100]

    def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
        return generator

    keen = gen.cache(1, gen.on_update(react, Dear(asked)))
    keen.op(context)
    keen.update(context, Op(0, 0, Kind.OK, 0, "w")).op(context)
    assert asked == [0, 100, 150, 150]


def test_a_cache_of_what_ended_or_waits_says_so() -> None:
    context = Context.of(1, Random(0), nemesis=False)
    assert gen.cache(1, None).op(context) is None
    ended = gen.cache(1, [])
    assert ended.op(context) is None and ended.op(context) is None
    assert gen.cache(1, gen.concurrency_limit(0, w())).op(context) is PENDING


# -- sleep ----------------------------------------------------------------------------------------


def test_a_nemesis_that_sleeps_holds_up_no_client() -> None:
    said = perfect(
        gen.clients(gen.limit(4, gen.repeat(w())), [Call("kill"), gen.sleep(1e-7), Call("start")]),
        concurrency=1,
    )
    assert times(invoked(said)) == [0, 10, 20, 30]
    faults = [(op.f, op.time) for op in said if op.process == NEMESIS]
    assert faults == [("kill", 0), ("kill", 10), ("start", 110), ("start", 120)]


@pytest.mark.parametrize("windows", [(), ((0, w()),)])
def test_windows_have_a_length(windows: tuple[tuple[float, object], ...]) -> None:
    with pytest.raises(AssertionError):
        gen.cycle_times(*windows)
