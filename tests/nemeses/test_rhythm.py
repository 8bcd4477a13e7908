"""When faults come and go, rehearsed without a cluster."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import generator as gen
from harness.generator.rehearse import invocations, perfect
from harness.nemesis import Package
from harness.op import Op
from nemeses import kill, links, partition, pause
from nemeses.compose import compose
from nemeses.rhythm import OUTAGES, Rhythm, on_and_off, spells
from systems.broker import NODE_OPTIONS

NS = 1_000_000_000
SEEDS = st.integers(0, 2**32)

ON_OFF = {
    kill.package: ("kill", "start"),
    kill.power_package: ("power-off", "start"),
    pause.package: ("pause", "resume"),
    partition.package: ("start-partition", "stop-partition"),
}


THREE = (kill.package, pause.package, partition.package)


def rehearsed(package: Package, seconds: float, seed: int = 1) -> list[Op]:
    """The nemesis' operations while clients work, as in a run."""
    work = gen.stagger(0.05, gen.repeat(gen.Call("work")))
    both = gen.time_limit(seconds, gen.clients(work, package.generator))
    return [op for op in invocations(perfect(both, seed=seed)) if op.process == "nemesis"]


@pytest.mark.parametrize("make", ON_OFF)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_a_fault_begins_ends_and_begins_again(make: object, seed: int) -> None:
    ops = rehearsed(make(Rhythm(interval_s=2)), 30, seed)  # type: ignore[operator]
    start, stop = ON_OFF[make]  # type: ignore[index]
    expected = [start, stop] * len(ops)
    assert [op.f for op in ops] == expected[: len(ops)]
    assert len(ops) >= 6


@settings(max_examples=30)
@given(seed=SEEDS, interval_s=st.floats(0.5, 10), packages=st.integers(1, 4))
def test_faults_and_calms_keep_to_the_rhythm(seed: int, interval_s: float, packages: int) -> None:
    rhythm = Rhythm(interval_s, packages=packages)
    ops = rehearsed(pause.package(rhythm), 12 * interval_s * packages, seed)
    begin_s, calm = 0.0, (0.1, 1.9)
    for op in ops:
        if op.f == "pause":
            low, high = calm
            assert low * interval_s <= op.time / NS - begin_s <= high * interval_s + 0.01
            fault = (0.1, 0.6) if op.value in OUTAGES else (0.4, 1.6)
        else:
            low, high = fault
            assert low * interval_s <= op.time / NS - begin_s <= high * interval_s + 0.01
            calm = (0.1 * (packages + 1) / 2, 1.9 * (packages + 1) / 2)
        begin_s = op.time / NS


def test_a_leader_is_gone_for_longer_than_a_session_in_most_faults() -> None:
    rng, session_s = Random(0), NODE_OPTIONS["broker.session.timeout.ms"] / 1000
    lengths = [Rhythm().fault_s(rng, "leader") for _ in range(1000)]
    assert sum(length > session_s + 0.5 for length in lengths) > 700


def test_half_a_minute_of_three_packages_has_every_fault() -> None:
    rhythm = Rhythm(packages=3)
    for seed in range(20):
        ops = rehearsed(compose([m(rhythm) for m in THREE]), 30, seed)
        assert {op.f for op in ops} >= {"kill", "pause", "start-partition"}


def test_faults_of_three_packages_overlap_often_but_not_always() -> None:
    rhythm, seconds = Rhythm(packages=3), 1500
    by_count: Counter[int] = Counter()
    active: set[str] = set()
    before = 0
    for op in rehearsed(compose([m(rhythm) for m in THREE]), seconds):
        by_count[len(active)] += op.time - before
        before = op.time
        ended = {"start": "kill", "resume": "pause", "stop-partition": "start-partition"}.get(op.f)
        active = active - {ended} if ended else active | {op.f}
    share = {count: time / (seconds * NS) for count, time in by_count.items()}
    assert 0.2 < share[0] < 0.6
    assert 0.3 < share[1] < 0.6
    assert 0.05 < share[2] + share[3] < 0.4


def test_every_target_is_drawn() -> None:
    ops = rehearsed(kill.package(Rhythm(interval_s=0.5)), 120)
    assert {op.value for op in ops if op.f == "kill"} == set(Rhythm().targets)


def test_the_same_seed_draws_the_same_faults_at_the_same_times() -> None:
    def once(seed: int) -> list[tuple[int, str, object]]:
        all_three = compose([m(Rhythm()) for m in THREE])
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
    generator = gen.lift(spells(lambda rng, first: [(1, gen.Call("on")), (2, gen.Call("off"))]))
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
