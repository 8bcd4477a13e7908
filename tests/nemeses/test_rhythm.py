"""When faults come and go, rehearsed without a cluster."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator.rehearse import invocations, perfect
from harness.nemesis import Package
from harness.op import Op
from nemeses import kill, links, partition, pause
from nemeses.compose import compose
from nemeses.rhythm import Rhythm, on_and_off, spells

NS = 1_000_000_000
SEEDS = st.integers(0, 2**32)

ON_OFF = {
    kill.package: ("kill", "start"),
    kill.power_package: ("power-off", "start"),
    pause.package: ("pause", "resume"),
    partition.package: ("start-partition", "stop-partition"),
}


def rehearsed(package: Package, seconds: float, seed: int = 1) -> list[Op]:
    """The nemesis' operations while clients work, as in a run."""
    work = gen.stagger(0.05, gen.repeat(gen.Call("work")))
    both = gen.time_limit(seconds, gen.clients(work, package.generator))
    return [op for op in invocations(perfect(both, seed=seed)) if op.process == "nemesis"]


@pytest.mark.parametrize("make", ON_OFF)
@given(seed=SEEDS)
def test_a_fault_begins_ends_and_begins_again(make: object, seed: int) -> None:
    ops = rehearsed(make(Rhythm(interval_s=2)), 30, seed)  # type: ignore[operator]
    start, stop = ON_OFF[make]  # type: ignore[index]
    expected = [start, stop] * len(ops)
    assert [op.f for op in ops] == expected[: len(ops)]
    assert len(ops) >= 6


@given(seed=SEEDS, interval_s=st.floats(0.5, 10))
def test_a_fault_and_a_calm_last_a_tenth_to_nearly_twice_the_interval(
    seed: int, interval_s: float
) -> None:
    ops = rehearsed(pause.package(Rhythm(interval_s)), 12 * interval_s, seed)
    times = [0, *(op.time for op in ops)]
    gaps = [(b - a) / NS for a, b in pairwise(times)]
    assert all(0.099 * interval_s <= gap <= 1.91 * interval_s for gap in gaps)


def test_the_mean_of_many_gaps_is_the_interval() -> None:
    rng = Random(0)
    draws = [Rhythm(4).draw_s(rng) for _ in range(10_000)]
    assert sum(draws) / len(draws) == pytest.approx(4, rel=0.02)


def test_every_target_is_drawn() -> None:
    ops = rehearsed(kill.package(Rhythm(interval_s=0.5)), 120)
    assert {op.value for op in ops if op.f == "kill"} == set(Rhythm().targets)


def test_the_same_seed_draws_the_same_faults_at_the_same_times() -> None:
    def once(seed: int) -> list[tuple[int, str, object]]:
        all_three = compose([m(Rhythm()) for m in (kill.package, pause.package, partition.package)])
        return [(op.time, op.f, op.value) for op in rehearsed(all_three, 60, seed)]

    assert once(5) == once(5)
    assert once(5) != once(6)


def test_a_spell_holds_though_it_is_asked_for_again_and_again() -> None:
    """Clients draw chance between the askings; the fault must not move away each time."""
    generator = gen.lift(on_and_off(Rhythm(4), "on", ["x"], "off", None))
    context = gen.Context.of(1, Random(3))
    first = generator.op(context)
    assert isinstance(first, tuple)
    _, committed = first
    due = set()
    for _ in range(50):
        context.rng.random()
        step = committed.op(context)
        assert isinstance(step, tuple)
        due.add(step[0].time)
    assert len(due) == 1


def test_a_busy_nemesis_makes_a_fault_late_but_not_short() -> None:
    generator = gen.lift(spells(lambda rng: [(1, gen.Call("on")), (2, gen.Call("off"))]))
    context = gen.Context.of(1, Random(0))
    _, generator = generator.op(context)  # type: ignore[misc]
    context.time = 5 * NS  # somebody else's fault took that long
    call, generator = generator.op(context)  # type: ignore[misc]
    assert (call.f, call.time) == ("on", 5 * NS)
    call, _ = generator.op(context)  # type: ignore[misc]
    assert (call.f, call.time) == ("off", 7 * NS)


def test_flaky_links_are_reset_again_and_again_before_they_are_mended() -> None:
    rhythm = Rhythm(interval_s=2, behaviours=("flaky",))
    ops = [op.f for op in rehearsed(links.package(rhythm), 60)]
    spell = ["start-links", *["reset-links"] * links.RESETS, "stop-links"]
    assert ops[: 2 * len(spell)] == spell * 2


def test_other_links_are_not_reset() -> None:
    rhythm = Rhythm(interval_s=2, behaviours=("slow", "slicing"))
    assert {op.f for op in rehearsed(links.package(rhythm), 60)} == {"start-links", "stop-links"}
