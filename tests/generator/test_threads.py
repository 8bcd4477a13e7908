"""Who: combinators over threads and processes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator import PENDING, Call, Context
from harness.generator.rehearse import (
    imperfect,
    invocations,
    perfect,
    perfect_info,
    quick,
)
from harness.op import NEMESIS, Kind, Op
from tests.generator import calls, fs, invoked, processes, r, times, values, w


def test_clients_and_nemesis_keep_to_their_threads() -> None:
    said = perfect(gen.limit(20, gen.clients(gen.repeat(w()))))
    assert set(processes(said)) == {0, 1}
    assert set(processes(quick(gen.limit(5, gen.nemesis(gen.repeat(w())))))) == {NEMESIS}
    both = quick(gen.clients(gen.limit(4, gen.repeat(w())), gen.limit(2, gen.repeat(r()))))
    assert {op.process for op in both if op.f == "r"} == {NEMESIS}
    assert len(invoked(both)) == 4
    mirrored = quick(gen.nemesis(gen.limit(2, gen.repeat(r())), gen.limit(4, gen.repeat(w()))))
    assert Counter(fs(mirrored)) == Counter(fs(both))


def test_on_threads_shows_a_generator_its_threads_alone() -> None:
    seen: set[int] = set()

    def look(context: Context) -> Call:
        seen.add(context.threads)
        return w()

    said = perfect(gen.limit(9, gen.on_threads(lambda t: t in (1, 2), look)), concurrency=4)
    assert set(processes(said)) == {1, 2} and seen == {0b110}


def test_a_restricted_generator_hears_of_its_threads_alone() -> None:
    heard: set[object] = set()

    def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
        heard.add(event.process)
        return generator

    mine = gen.clients(gen.on_update(react, gen.limit(6, gen.repeat(w()))))
    other = gen.nemesis(gen.limit(3, gen.repeat(r())))
    imperfect(gen.any_of(mine, other))
    assert NEMESIS not in heard and heard >= {0, 1}


# -- reserve --------------------------------------------------------------------------------------


def test_reserve_gives_each_its_threads_and_the_rest_to_the_last() -> None:
    parts = (gen.repeat(Call(f)) for f in "abc")
    a, b, c = parts
    said = perfect(gen.limit(60, gen.clients(gen.reserve(2, a, 3, b, c))), concurrency=6)
    by_f = {f: {op.process for op in said if op.f == f} for f in "abc"}
    assert by_f == {"a": {0, 1}, "b": {2, 3, 4}, "c": {5}}


def test_reserves_nest() -> None:
    """Threads are counted among those that a reserve was given, not from the first of all."""
    inner = gen.reserve(1, gen.repeat(Call("x")), gen.repeat(Call("y")))
    said = perfect(
        gen.limit(60, gen.clients(gen.reserve(2, gen.repeat(Call("a")), inner))), concurrency=5
    )
    by_f = {f: {op.process for op in said if op.f == f} for f in "axy"}
    assert by_f == {"a": {0, 1}, "x": {2}, "y": {3, 4}}


def test_a_reserve_ends_when_all_its_parts_end_and_one_part_holds_up_no_other() -> None:
    said = quick(gen.clients(gen.reserve(1, calls(1, 2), calls(*range(10, 15)))), concurrency=2)
    assert sorted(values(invoked(said)), key=str) == sorted([1, 2, *range(10, 15)], key=str)
    held = gen.reserve(1, gen.until(lambda: False, lambda: None), calls(1))
    assert values(invoked(quick(gen.clients(held), concurrency=2))) == [1]


def test_parts_of_a_reserve_hear_of_their_own_threads_even_after_a_crash() -> None:
    first = gen.until_ok(gen.repeat(Call("a")))
    said = imperfect(
        gen.clients(gen.reserve(1, first, gen.limit(8, gen.repeat(Call("b"))))), concurrency=2
    )
    assert fs(invoked(said)).count("a") == 1, "its first operation is ok, whatever the others do"


def test_ties_in_a_reserve_are_drawn_by_the_number_of_threads() -> None:
    """Otherwise a part with one thread of ten would begin first half of the time."""
    first: Counter[str] = Counter()
    for seed in range(400):
        some = gen.clients(gen.reserve(1, gen.repeat(Call("a")), gen.repeat(Call("b"))))
        (op, *_) = quick(gen.limit(1, some), concurrency=10, seed=seed)
        first[op.f] += 1
    assert 15 < first["a"] < 75


# -- copies ---------------------------------------------------------------------------------------


def test_each_thread_has_a_copy_of_its_own() -> None:
    said = perfect(gen.clients(gen.each_thread(calls(1, 2))), concurrency=3)
    by_process = {p: [op.value for op in invoked(said) if op.process == p] for p in range(3)}
    assert by_process == {0: [1, 2], 1: [1, 2], 2: [1, 2]}


def test_a_thread_goes_on_with_its_copy_after_a_crash_and_a_process_begins_anew() -> None:
    threads = perfect_info(gen.clients(gen.each_thread(calls(1, 2, 3))), concurrency=1)
    assert [(op.process, op.value) for op in invoked(threads)] == [(0, 1), (1, 2), (2, 3)]
    fresh = gen.limit(4, gen.clients(gen.each_process(calls(1, 2, 3))))
    said = imperfect(fresh, concurrency=1)  # ok, info, fail, ok, …
    assert [(op.process, op.value) for op in invoked(said)] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_copies_are_over_when_every_thread_is_through() -> None:
    said = perfect(gen.concat(gen.clients(gen.each_thread(calls(1, 2))), r("after")), concurrency=2)
    assert values(invocations(said))[-1] == "after"
    assert len(invocations(said)) == 5


def test_a_copy_hears_of_its_own_thread_alone() -> None:
    said = imperfect(
        gen.clients(gen.each_thread(gen.limit(9, gen.until_ok(gen.repeat(w()))))), concurrency=3
    )
    assert Counter(processes(invoked(said))) == {0: 1, 1: 1, 2: 1}, "each stops at its own ok"


# -- synchronize, phases, then --------------------------------------------------------------------


def test_synchronize_waits_until_every_thread_is_free() -> None:
    slow = Call("slow", process=0)
    said = perfect(gen.clients([slow, gen.synchronize(calls("after"))]), concurrency=2)
    begun = {op.value or op.f: op.time for op in invoked(said)}
    assert begun == {"slow": 0, "after": 10}


@given(st.integers(1, 4), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_a_phase_begins_when_all_of_the_one_before_is_done(workers: int, sizes: list[int]) -> None:
    parts = [gen.clients(calls(*[number] * size)) for number, size in enumerate(sizes)]
    said = imperfect(gen.phases(*parts), concurrency=workers)
    assert Counter(values(invoked(said))) == Counter(
        {number: size for number, size in enumerate(sizes) if size}
    )
    ends = [op.time for op in said if op.type is not Kind.INVOKE]
    for number in range(len(sizes)):
        before = [op for op in said if isinstance(op.value, int) and op.value < number]
        begin = [op.time for op in invoked(said) if op.value == number]
        if before and begin:
            assert max(op.time for op in before) <= min(begin)
    assert len(ends) == sum(sizes)


def test_then_is_written_in_reverse() -> None:
    said = perfect(gen.clients(gen.then(w("second"), calls("first"))), concurrency=3)
    assert values(invoked(said)) == ["first", "second"]


def test_phases_wait_for_the_nemesis_too_where_it_is_theirs() -> None:
    kill = gen.nemesis(Call("kill"))
    said = perfect(gen.phases(kill, gen.clients(w("later"))))
    assert times(invoked(said)) == [10]


# -- recorded calls -------------------------------------------------------------------------------


def test_a_list_of_calls_keeps_processes_their_order_and_their_times() -> None:
    said = perfect(
        gen.on_processes(
            [
                Call("a", process=0, time=5),
                Call("b", process=1, time=0),
                Call("c", process=0, time=0),
                Call("d", process=NEMESIS, time=40),
            ]
        )
    )
    asked = [(op.f, op.process, op.time) for op in invocations(said)]
    assert asked == [("b", 1, 0), ("a", 0, 5), ("c", 0, 15), ("d", NEMESIS, 40)]


def test_a_process_that_crashed_drops_what_it_had_left() -> None:
    recorded = [Call(f, process=p) for p, f in ((0, "a"), (0, "b"), (2, "c"), (1, "d"))]
    said = perfect_info(gen.on_processes(recorded), concurrency=2)
    assert sorted(fs(invoked(said))) == ["a", "c", "d"], "process 2 follows process 0"


def test_a_tape_replays_a_history() -> None:
    first = imperfect(
        gen.clients(gen.stagger(3e-8, gen.limit(12, gen.mix([gen.repeat(w(1)), r(2)]))))
    )
    again = imperfect(gen.tape(first))
    assert [(op.f, op.value, op.process, op.time) for op in invoked(again)] == [
        (op.f, op.value, op.process, op.time) for op in invoked(first)
    ]


def test_a_call_of_a_list_needs_its_process() -> None:
    with pytest.raises(AssertionError, match="every call of a list needs its process"):
        gen.on_processes([w()])


# -- independent keys -----------------------------------------------------------------------------


def test_sequential_keys_come_one_after_another() -> None:
    said = quick(gen.sequential_keys("ab", lambda key: calls(1, 2)))
    assert values(invocations(said)) == [["a", 1], ["a", 2], ["b", 1], ["b", 2]]


def test_concurrent_keys_have_groups_of_their_own() -> None:
    some = gen.concurrent_keys(2, range(4), lambda key: calls("x", "y", "z"))
    said = invoked(perfect(gen.clients(some), concurrency=4))
    assert Counter(str(op.value) for op in said) == {
        str([key, value]): 1 for key in range(4) for value in "xyz"
    }
    groups: dict[int, set[int]] = {}
    for op in said:
        assert isinstance(op.process, int)
        groups.setdefault(op.value[0], set()).add(op.process // 2)
    assert all(len(group) == 1 for group in groups.values()), "a key stays with its group"
    assert {group for (group,) in groups.values()} == {0, 1}


def test_a_group_moves_on_when_its_key_is_done() -> None:
    some = gen.concurrent_keys(1, range(5), lambda key: calls("x"))
    said = perfect(gen.clients(some), concurrency=2)
    keys = [op.value[0] for op in invoked(said)]
    assert (set(keys[:2]), set(keys[2:4]), keys[4:]) == ({0, 1}, {2, 3}, [4])


def test_keys_hear_of_their_own_groups() -> None:
    some = gen.concurrent_keys(1, range(3), lambda key: gen.until_ok(gen.repeat(w())))
    said = imperfect(gen.clients(some), concurrency=3)
    assert Counter(op.value[0] for op in invoked(said)) == {0: 1, 1: 1, 2: 1}


def test_groups_must_divide_the_threads() -> None:
    some = gen.clients(gen.concurrent_keys(2, range(3), lambda key: calls("x")))
    with pytest.raises(AssertionError, match="3 threads cannot be grouped by 2"):
        some.op(Context.of(3, Random(0)))


def test_a_group_whose_members_are_all_busy_waits() -> None:
    context = Context.of(2, Random(0), nemesis=False)
    context.free = 0
    assert gen.concurrent_keys(1, range(3), lambda key: calls("x")).op(context) is PENDING
