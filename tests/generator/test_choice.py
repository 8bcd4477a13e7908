"""Choosing between generators; repeating, limiting and rewriting one."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator import PENDING, Call, Context
from harness.generator.rehearse import imperfect, invocations, perfect, perfect_info, quick
from harness.op import NEMESIS, Kind, Op
from tests.generator import calls, flying_max, fs, invoked, processes, r, times, values, w


class Waiting(gen.Generator):
    """Has nothing to say until told of enough events."""

    listens = True

    def __init__(self, events: int, then: object) -> None:
        self.events, self.then = events, gen.lift(then)

    def op(self, context: Context) -> gen.Step:
        return self.then.op(context) if self.events <= 0 else PENDING

    def update(self, context: Context, event: Op) -> gen.Generator:
        return Waiting(self.events - 1, self.then)


# -- any ------------------------------------------------------------------------------------------


def test_any_says_whatever_is_due_first_and_ends_with_all() -> None:
    early, late = gen.delay(2e-8, calls(*"abc")), Call("late", process=1, time=35)
    said = invoked(perfect(gen.clients(gen.any_of(early, late)), concurrency=2))
    assert [(op.f, op.time) for op in said] == [("w", 0), ("w", 20), ("late", 35), ("w", 40)]
    assert values(invocations(quick(gen.any_of(calls(1, 2), None)))) == [1, 2]
    assert quick(gen.any_of()) == []


def test_any_breaks_ties_at_random_without_losing_a_call() -> None:
    said = values(invocations(quick(gen.any_of(calls(*range(50)), calls(*range(50, 100))))))
    low = [v for v in said if isinstance(v, int) and v < 50]
    assert sorted(said, key=repr) == sorted(range(100), key=repr)
    assert low == list(range(50)) and said != list(range(100))


def test_any_is_not_held_up_by_one_that_waits() -> None:
    said = quick(gen.any_of(Waiting(5, w("patient")), calls(1, 2, 3)))
    assert values(invocations(said)) == [1, 2, 3, "patient"]


def test_shortest_any_ends_with_the_first_that_ends() -> None:
    said = values(invocations(quick(gen.shortest_any(calls(1, 2), gen.repeat(r("again"))))))
    assert said.count(1) == 1 and said.count(2) == 1 and said[-1] in (1, 2)


# -- mix ------------------------------------------------------------------------------------------


def test_mix_draws_evenly_and_drops_those_that_end() -> None:
    said = fs(invocations(quick(gen.limit(3000, gen.mix([gen.repeat(w()), gen.repeat(r())])))))
    assert 1350 < said.count("w") < 1650
    rest = quick(gen.mix([calls(1), calls(*range(10, 20)), None]))
    assert sorted(values(invocations(rest)), key=repr) == [1, *range(10, 20)]


def test_a_weighted_mix_draws_by_weight() -> None:
    mixed = gen.weighted([(9, gen.repeat(w())), (1, gen.repeat(r()))])
    count = Counter(fs(invocations(quick(gen.limit(3000, mixed)))))
    assert 220 < count["r"] < 380


def test_one_that_waits_does_not_hold_up_a_mix_nor_drop_out_of_it() -> None:
    said = values(invocations(quick(gen.mix([Waiting(4, w("patient")), calls(1, 2, 3)]))))
    assert sorted(said, key=str) == [1, 2, 3, "patient"]


def test_a_mix_of_those_that_wait_waits() -> None:
    assert gen.mix([Waiting(1, w()), None]).op(Context.of(1, Random(0))) is PENDING
    assert gen.mix([]).op(Context.of(1, Random(0))) is None


# -- limit, once, repeat, cycle -------------------------------------------------------------------


@given(st.integers(0, 8), st.integers(0, 8))
def test_limit_says_the_first_few(count: int, there: int) -> None:
    said = values(invocations(quick(gen.limit(count, calls(*range(there))))))
    assert said == list(range(min(count, there)))


def test_once_is_one() -> None:
    assert values(invocations(quick(gen.once(gen.repeat(w(1)))))) == [1]


def test_repeat_says_the_first_call_again_and_again() -> None:
    assert values(invocations(quick(gen.repeat(calls(1, 2), 3)))) == [1, 1, 1]
    assert len(invocations(quick(gen.limit(7, gen.repeat(w(1)))))) == 7
    assert quick(gen.repeat(None, 5)) == [] and quick(gen.repeat(w(), 0)) == []


def test_repeat_asks_a_function_each_time() -> None:
    said = perfect(gen.clients(gen.repeat(lambda context: w(context.time), 3)), concurrency=1)
    assert values(invoked(said)) == [0, 10, 20]


def test_cycle_begins_anew_when_it_ends() -> None:
    assert values(invocations(quick(gen.cycle(calls(1, 2), 3)))) == [1, 2, 1, 2, 1, 2]
    assert values(invocations(quick(gen.limit(5, gen.cycle(calls(1, 2)))))) == [1, 2, 1, 2, 1]
    assert quick(gen.cycle(None)) == [], "what is empty from the start is not asked for ever"


# -- flip-flop, until -----------------------------------------------------------------------------


def test_flip_flop_takes_turns_and_ends_when_one_ends() -> None:
    said = invocations(quick(gen.flip_flop(calls(1, 2, 3), gen.repeat(r("x")))))
    assert values(said) == [1, "x", 2, "x", 3, "x"]
    assert values(invocations(quick(gen.flip_flop(calls(1), calls(2), calls(3))))) == [1, 2, 3]


def test_flip_flop_waits_for_whose_turn_it_is() -> None:
    turns = gen.flip_flop(calls(1, 2), Waiting(3, r("x")))
    said = quick(gen.any_of(turns, gen.limit(4, gen.repeat(w("other")))))
    mine = [v for v in values(invocations(said)) if v != "other"]
    assert mine == [1, "x", 2]


def test_until_ok_ends_with_the_first_success() -> None:
    # Each thread: ok, info, fail in turn. The first is ok.
    assert len(invoked(imperfect(gen.clients(gen.until_ok(gen.repeat(w()))), concurrency=1))) == 1
    never = gen.limit(5, gen.clients(gen.until_ok(gen.repeat(w()))))
    assert len(invoked(perfect_info(never, concurrency=1))) == 5


def test_until_ok_heeds_its_own_operations_alone() -> None:
    """Others succeed beside it; it goes on until one of its own does."""
    seen: list[str] = []

    def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
        seen.append(event.f)
        return generator

    mine = gen.until_ok(gen.repeat(Call("mine", process=0), 3))
    other = gen.limit(4, gen.repeat(Call("other", process=1)))
    said = fs(invoked(quick(gen.on_update(react, gen.any_of(mine, other)))))
    assert said.count("mine") == 1 and said.count("other") == 4
    assert set(seen) == {"mine", "other"}


def test_until_ends_when_its_condition_holds() -> None:
    seen: list[Op] = []

    def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
        seen.append(event)
        return generator

    until = gen.until(lambda: len(seen) >= 6, gen.repeat(w()))
    said = perfect(gen.clients(gen.on_update(react, until)), concurrency=1)
    assert len(invoked(said)) == 3


# -- process limit, concurrency limit -------------------------------------------------------------


def test_process_limit_ends_when_too_many_processes_could_have_spoken() -> None:
    said = perfect_info(gen.clients(gen.process_limit(5, gen.repeat(w()))), concurrency=2)
    # Both crash at once: the third pair could have come from six processes.
    assert sorted(processes(invoked(said)), key=str) == [0, 1, 2, 3]
    calm = perfect(gen.limit(20, gen.clients(gen.process_limit(2, gen.repeat(w())))), concurrency=2)
    assert len(invoked(calm)) == 20, "without a crash the processes stay the same"


@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 12))
def test_at_most_so_many_operations_are_in_flight(most: int, workers: int, count: int) -> None:
    limited = gen.concurrency_limit(most, gen.limit(count, gen.repeat(w())))
    said = perfect(gen.clients(limited), concurrency=workers)
    assert flying_max(said) == min(most, workers, count)
    assert len(invoked(said)) == count


def test_a_crash_makes_room_under_a_concurrency_limit() -> None:
    said = perfect_info(gen.limit(6, gen.clients(gen.concurrency_limit(1, gen.repeat(w())))))
    assert len(invoked(said)) == 6 and flying_max(said) == 1


# -- map, filter, updates -------------------------------------------------------------------------


def test_map_rewrites_every_call_and_f_map_its_name() -> None:
    def double(call: Call) -> Call:
        return Call(call.f, call.value * 2, call.process, call.time, call.type, call.extra)

    assert values(invocations(quick(gen.map_calls(double, calls(1, 2))))) == [2, 4]
    renamed = gen.f_map({"start": "start-db"}, [Call("start"), Call("stop")])
    assert fs(invocations(quick(renamed))) == ["start-db", "stop"]


def test_filter_keeps_what_it_likes() -> None:
    def even(call: Call) -> bool:
        return bool(call.value % 2 == 0)

    assert values(invocations(quick(gen.filter_calls(even, calls(*range(7)))))) == [0, 2, 4, 6]
    assert gen.filter_calls(even, Waiting(1, w(2))).op(Context.of(1, Random(0))) is PENDING


def test_a_generator_whose_updates_are_ignored_is_told_of_nothing() -> None:
    deaf = gen.ignore_updates(gen.until_ok(gen.repeat(w(), 4)))
    assert len(invoked(quick(gen.clients(deaf)))) == 4
    assert not deaf.listens


def test_on_update_may_replace_the_generator_after_any_event() -> None:
    def react(generator: gen.Generator, context: Context, event: Op) -> object:
        return r("seen") if event.type is Kind.OK and event.f == "w" else generator

    said = quick(gen.clients(gen.on_update(react, gen.repeat(w(1)))), concurrency=1)
    assert [(op.f, op.value) for op in invoked(said)] == [("w", 1), ("r", "seen")]


def test_values_are_said_in_order_and_a_range_is_not_unrolled_twice() -> None:
    assert values(invocations(quick(gen.with_values("add", range(4))))) == [0, 1, 2, 3]
    assert set(fs(quick(gen.with_values("add", [7])))) == {"add"}


@pytest.mark.parametrize("count", [1, 3])
def test_updates_reach_the_parts_of_a_choice(count: int) -> None:
    for choose in (gen.mix, lambda parts: gen.any_of(*parts), lambda parts: gen.flip_flop(*parts)):
        patient = Waiting(count, w("patient"))
        context = Context.of(1, Random(0))
        chosen = gen.lift(choose([patient, patient]))
        assert chosen.listens and chosen.op(context) is PENDING
        for _ in range(count):
            chosen = chosen.update(context, Op(0, 0, Kind.OK, 0, "w"))
        assert isinstance(chosen.op(context), tuple)


def test_the_nemesis_is_told_apart() -> None:
    said = quick(gen.any_of(gen.nemesis(gen.limit(2, gen.repeat(Call("kill")))), gen.clients(w())))
    assert {op.process for op in said if op.f == "kill"} == {NEMESIS}
    assert times(said) == [0] * len(said)
