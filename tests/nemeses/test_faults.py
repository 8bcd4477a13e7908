"""What each nemesis does to a cluster, and what it says came of it."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import generator as gen
from harness.cluster.contract import Ability, Effect, Link, NodeState, Outcome, Shape, links_of
from harness.errors import NodeNotReady, UsageError
from harness.generator.rehearse import invocations, quick
from harness.nemesis import Nemesis, Package
from nemeses import clock, disk, kill, links, noop, partition, pause
from nemeses.clock import Clock
from nemeses.compose import Composed, compose
from nemeses.disk import Disk
from nemeses.grudges import isolate
from nemeses.kill import Kill
from nemeses.links import Links
from nemeses.losses import Losses
from nemeses.partition import Partition
from nemeses.pause import Pause
from nemeses.rhythm import Rhythm
from tests.nemeses.fake import FakeCluster

ALL = [
    *(kill.package, kill.power_package, pause.package, partition.package, links.package),
    *(clock.package, disk.package),
]
SLOW = Shape(latency_ms=150, jitter_ms=100)


async def do(nemesis: Nemesis, f: str, value: Any, cluster: FakeCluster, seed: int = 0) -> Effect:
    """Resolve and invoke, as the engine does."""
    resolved = nemesis.resolve(f, value, cluster.view(), Random(seed))
    return await nemesis.invoke(f, resolved, cluster)  # type: ignore[arg-type]


# -- kill and power ------------------------------------------------------------------------------


async def test_all_nodes_may_be_killed_and_start_again() -> None:
    cluster, nemesis = FakeCluster(), Kill()
    assert (await do(nemesis, "kill", "all", cluster)).outcome is Outcome.OBSERVED
    assert set(cluster.states.values()) == {NodeState.DEAD}
    assert (await do(nemesis, "start", "all", cluster)).outcome is Outcome.OBSERVED
    assert set(cluster.states.values()) == {NodeState.RUNNING}


def test_start_resolves_to_the_dead_ones() -> None:
    cluster = FakeCluster()
    cluster.states["n2"] = NodeState.DEAD
    assert Kill().resolve("start", "all", cluster.view(), Random(0)) == ["n2"]


async def test_starting_what_runs_is_skipped() -> None:
    assert (await do(Kill(), "start", "all", FakeCluster())).outcome is Outcome.SKIPPED


async def test_a_node_that_cannot_get_ready_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kill, "READY_PATIENCE_S", 0.01)
    cluster, nemesis = FakeCluster(), Kill()
    cluster.never_ready = {"n1"}
    await do(nemesis, "kill", ["n1", "n2"], cluster)
    effect = await do(nemesis, "start", "all", cluster)
    assert effect.outcome is Outcome.OBSERVED
    assert effect.evidence["n1"] == {"outcome": "observed", "state": "running", "ready": False}


async def test_a_start_that_never_happened_is_an_unobserved_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(node: str) -> Effect:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(kill, "READY_PATIENCE_S", 0.01)
    monkeypatch.setattr(kill, "BEGIN_PATIENCE_S", 0.01)
    cluster = FakeCluster()
    cluster.states["n1"] = NodeState.DEAD
    monkeypatch.setattr(cluster, "start_node", hang)
    assert (await do(Kill(), "start", "all", cluster)).outcome is Outcome.UNOBSERVED


async def test_a_process_that_takes_long_to_begin_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine with much to do it took a container's server over a second."""
    cluster, begun = FakeCluster(), asyncio.Event()

    async def slow(node: str) -> Effect:
        async def begin() -> None:
            await begun.wait()
            cluster.states[node] = NodeState.RUNNING

        tasks.append(asyncio.create_task(begin()))
        asyncio.get_running_loop().call_later(0.05, begun.set)
        await asyncio.Event().wait()  # it is never ready
        raise AssertionError

    tasks: list[asyncio.Task[None]] = []
    monkeypatch.setattr(kill, "READY_PATIENCE_S", 0.01)
    monkeypatch.setattr(kill, "BEGIN_PAUSE_S", 0.01)
    cluster.states["n1"] = NodeState.DEAD
    monkeypatch.setattr(cluster, "start_node", slow)
    effect = await do(Kill(), "start", "all", cluster)
    assert effect.evidence["n1"] == {"outcome": "observed", "state": "running", "ready": False}


async def test_a_node_that_dies_at_its_start_is_an_error_once_the_others_are_up() -> None:
    cluster = FakeCluster()
    await do(Kill(), "kill", "all", cluster)
    start, up = cluster.start_node, asyncio.Event()

    async def n1_dies(node: str) -> Effect:
        if node == "n1":
            raise NodeNotReady("n1 ended")
        await asyncio.sleep(0)
        up.set()
        return await start(node)

    cluster.start_node = n1_dies  # type: ignore[method-assign]
    with pytest.raises(NodeNotReady, match="n1 ended"):
        await do(Kill(), "start", "all", cluster)
    assert up.is_set() and cluster.states["n3"] is NodeState.RUNNING


async def test_a_power_failure_spares_what_the_contract_does_not_bear() -> None:
    cluster, nemesis = FakeCluster(), Kill("power-off", Losses(1))
    hit = nemesis.resolve("power-off", "all", cluster.view(), Random(0))
    assert len(hit) == 1
    again = nemesis.resolve("power-off", "majority", cluster.view(), Random(1))
    assert set(again) <= set(hit)  # nobody saw it come back in sync
    effect = await nemesis.invoke("power-off", [], cluster)  # type: ignore[arg-type]
    assert effect.outcome is Outcome.SKIPPED and not cluster.calls


def test_a_kill_counts_as_a_loss_where_disks_are_volatile() -> None:
    assert kill.package(Rhythm(volatile=True)).nemesis.losses is not None  # type: ignore[attr-defined]
    assert kill.package(Rhythm()).nemesis.losses is None  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="min-insync-replicas=1"):
        kill.power_package(Rhythm(losses_max=0))


# -- pause ---------------------------------------------------------------------------------------


async def test_pausing_a_dead_node_is_journaled_as_skipped() -> None:
    cluster = FakeCluster()
    await do(Kill(), "kill", ["n1"], cluster)
    effect = await do(Pause(), "pause", ["n1"], cluster)
    assert effect.outcome is Outcome.SKIPPED
    assert effect.evidence["n1"]["why"] == "n1 is dead"


async def test_a_paused_node_can_be_killed_and_is_then_not_resumed_but_started() -> None:
    cluster, both = FakeCluster(), Composed([Kill(), Pause()])
    await do(both, "pause", ["n1", "n2"], cluster)
    await do(both, "kill", ["n1"], cluster)
    assert both.resolve("resume", "all", cluster.view(), Random(0)) == ["n2"]
    await do(both, "resume", "all", cluster)
    await do(both, "start", "all", cluster)
    assert set(cluster.states.values()) == {NodeState.RUNNING}


# -- partitions and links ------------------------------------------------------------------------


async def test_a_partition_cuts_what_its_grudge_says_and_mends_it() -> None:
    cluster, nemesis = FakeCluster(), Partition()
    grudge = isolate(["n1"], ["n2", "n3"])
    await do(nemesis, "start-partition", grudge, cluster)
    assert cluster.cuts == links_of(grudge)
    assert (await do(nemesis, "stop-partition", None, cluster)).outcome is Outcome.OBSERVED
    assert not cluster.cuts


async def test_a_new_partition_replaces_the_one_before() -> None:
    cluster, nemesis = FakeCluster(), Partition()
    first, second = isolate(["n1"], ["n2", "n3"]), isolate(["n2"], ["n1", "n3"])
    await do(nemesis, "start-partition", first, cluster)
    await do(nemesis, "start-partition", second, cluster)
    assert cluster.cuts == links_of(second)
    healed = frozenset().union(*(call[1] for call in cluster.calls if call[0] == "heal"))
    assert not healed & links_of(second), "what stays cut was never mended in between"


async def test_mending_nothing_is_skipped() -> None:
    assert (await do(Partition(), "stop-partition", None, FakeCluster())).outcome is Outcome.SKIPPED
    assert (await do(Links(), "stop-links", None, FakeCluster())).outcome is Outcome.SKIPPED
    assert (await do(Links(), "reset-links", None, FakeCluster())).outcome is Outcome.SKIPPED


async def test_a_partition_of_a_single_node_is_skipped() -> None:
    effect = await do(Partition(), "start-partition", "halves", FakeCluster(1))
    assert effect.outcome is Outcome.SKIPPED


@pytest.mark.parametrize("behaviour", links.BEHAVIOURS)
@given(seed=st.integers(0, 2**32))
def test_bad_links_stand_in_the_history_as_what_they_do(behaviour: str, seed: int) -> None:
    value = Links().resolve("start-links", behaviour, FakeCluster().view(), Random(seed))
    assert value["behaviour"] == behaviour
    assert Shape(**value["shape"]) == links.BEHAVIOURS[behaviour]
    pairs = {tuple(pair) for pair in value["links"]}
    assert pairs and all((b, a) in pairs for a, b in pairs)
    assert not any(a[0] == "c" and b[0] == "c" for a, b in pairs)


async def test_flaky_links_are_reset_where_they_are_flaky() -> None:
    cluster, nemesis = FakeCluster(), Links()
    await do(nemesis, "start-links", "flaky", cluster)
    resolved = nemesis.resolve("reset-links", None, cluster.view(), Random(0))
    assert {Link(*pair) for pair in resolved} == set(cluster.shapes)
    await nemesis.invoke("reset-links", resolved, cluster)  # type: ignore[arg-type]
    assert cluster.calls[-1] == ("reset", frozenset(cluster.shapes))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start-partition"), st.sampled_from(["one", "halves", "one-way"])),
        st.tuples(st.just("start-links"), st.sampled_from(sorted(links.BEHAVIOURS))),
        st.sampled_from([("stop-partition", None), ("stop-links", None)]),
    ),
    max_size=12,
)


@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_partitions_and_bad_links_do_not_end_each_other(
    steps: list[tuple[str, Any]], seed: int
) -> None:
    """After each step, exactly the present grudge is cut, and what else is bad is shaped."""
    cluster, both, rng = FakeCluster(), Composed([Partition(), Links()]), Random(seed)

    async def play() -> None:
        cut: frozenset[Link] = frozenset()
        bad: dict[Link, Shape] = {}
        for f, value in steps:
            resolved = both.resolve(f, value, cluster.view(), rng)
            if f.endswith("partition"):
                cut = links_of(resolved or {})
            else:
                shape = Shape(**resolved["shape"]) if resolved else Shape()
                bad = {Link(*p): shape for p in resolved["links"]} if resolved else {}
            await both.invoke(f, resolved, cluster)  # type: ignore[arg-type]
            assert cluster.cuts == cut
            reached = {link: s for link, s in cluster.shapes.items() if link not in cut}
            assert reached == {link: s for link, s in bad.items() if link not in cut}

    asyncio.run(play())


# -- clocks and disks ----------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", clock.BEHAVIOURS)
@pytest.mark.parametrize("seed", range(5))
def test_wrong_clocks_stand_in_the_history_as_what_they_show(behaviour: str, seed: int) -> None:
    value = Clock().resolve("start-clock", behaviour, FakeCluster().view(), Random(seed))
    assert value and json.loads(json.dumps(value)) == value
    for wrong in value.values():
        (amount,) = wrong.values()
        assert amount != 0
        assert abs(wrong.get("offset_ms", 0)) <= 2**18 and abs(wrong.get("rate_ppm", 0)) < 50_000


async def test_a_clock_that_is_not_named_again_is_right_again() -> None:
    cluster, nemesis = FakeCluster(), Clock()
    await nemesis.invoke("start-clock", {"n1": {"offset_ms": 5}}, cluster)  # type: ignore[arg-type]
    await nemesis.invoke("start-clock", {"n2": {"rate_ppm": 9}}, cluster)  # type: ignore[arg-type]
    assert cluster.skews == {"n1": (0, 0), "n2": (0, 9)}
    await nemesis.invoke("stop-clock", None, cluster)  # type: ignore[arg-type]
    assert cluster.skews == {"n1": (0, 0), "n2": (0, 0)}
    effect = await nemesis.invoke("stop-clock", None, cluster)  # type: ignore[arg-type]
    assert effect.outcome is Outcome.SKIPPED


@pytest.mark.parametrize(("behaviour", "again"), [("slow", False), ("full", True), ("eio", True)])
async def test_a_node_starts_again_once_its_failed_disk_is_well(
    behaviour: str, again: bool
) -> None:
    cluster, nemesis = FakeCluster(), Disk(Losses(1))
    value = nemesis.resolve("start-disk", behaviour, cluster.view(), Random(3))
    (node,) = value
    await nemesis.invoke("start-disk", value, cluster)  # type: ignore[arg-type]
    assert cluster.ill == {node}
    await nemesis.invoke("stop-disk", None, cluster)  # type: ignore[arg-type]
    assert not cluster.ill and cluster.states[node] is NodeState.RUNNING
    assert (("kill", node) in cluster.calls) is again


# -- packages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ALL)
def test_a_packages_generators_say_only_what_its_nemesis_performs(make: Any) -> None:
    package: Package = make(Rhythm(interval_s=1))
    main = invocations(quick(gen.nemesis(gen.time_limit(100, package.generator))))
    final = invocations(quick(gen.nemesis(package.final_generator)))
    assert {op.f for op in (*main, *final)} == package.nemesis.fs
    for band in package.bands:
        assert band.start | band.stop <= package.nemesis.fs


@given(seed=st.integers(0, 2**32), length=st.integers(0, 25))
def test_the_final_generator_undoes_whatever_was_done(seed: int, length: int) -> None:
    package = compose([make(Rhythm(interval_s=1)) for make in ALL if make != kill.power_package])
    cluster, rng = FakeCluster(), Random(seed)

    async def play() -> None:
        during = gen.nemesis(gen.limit(length, package.generator))
        after = gen.nemesis(package.final_generator)
        for phase in (during, after):
            for op in invocations(quick(phase, seed=seed)):
                value = package.nemesis.resolve(op.f, op.value, cluster.view(), rng)
                await package.nemesis.invoke(op.f, value, cluster)  # type: ignore[arg-type]

    asyncio.run(play())
    assert set(cluster.states.values()) == {NodeState.RUNNING}
    assert not cluster.cuts and not cluster.shapes and not cluster.ill
    assert not any(any(skew) for skew in cluster.skews.values())


def test_a_composed_package_needs_and_draws_what_its_parts_do() -> None:
    package = compose([make(Rhythm()) for make in ALL])
    assert package.name == "kill+power+pause+partition+links+clock+disk"
    assert package.needs == set(Ability)
    assert [band.name for band in package.bands] == package.name.split("+")


def test_kills_and_power_failures_share_one_account() -> None:
    package = compose([kill.package(Rhythm(volatile=True)), kill.power_package(Rhythm())])
    cluster = FakeCluster()
    first = package.nemesis.resolve("kill", "all", cluster.view(), Random(0))
    second = package.nemesis.resolve("power-off", "all", cluster.view(), Random(1))
    assert len(first) == 1 and second == first


def test_a_power_failure_spares_the_others_of_a_node_whose_disk_failed() -> None:
    package = compose([disk.package(Rhythm()), kill.power_package(Rhythm())])
    cluster = FakeCluster()
    broken = package.nemesis.resolve("start-disk", "eio", cluster.view(), Random(0))
    assert package.nemesis.resolve("power-off", "all", cluster.view(), Random(1)) == [*broken]


def test_disks_of_a_tape_fail_within_what_may_be_lost_too() -> None:
    """Shrinking takes events out of a tape: what it leaves must not go beyond the contract."""
    nemesis, view = Disk(Losses(1)), FakeCluster().view()
    resolve = lambda value: nemesis.resolve("start-disk", value, view, Random(0))  # noqa: E731
    first = {"n1": {"how": "eio", "probability": 1.0}}
    assert resolve(first) == first
    assert resolve({"n2": {"how": "full", "size": 0}}) == {}, "n1 is not back in sync"
    assert resolve(first) == first, "it has nothing more to lose"
    slow = {"n2": {"how": "slow-fsync", "seconds": 0.1}}
    assert resolve(slow) == slow, "slowness loses nothing"


async def test_a_node_is_not_started_while_its_disk_fails() -> None:
    package = compose([kill.package(Rhythm()), disk.package(Rhythm())])
    cluster, nemesis = FakeCluster(), package.nemesis
    broken = nemesis.resolve("start-disk", "eio", cluster.view(), Random(0))
    await nemesis.invoke("start-disk", broken, cluster)  # type: ignore[arg-type]
    (node,) = broken
    await nemesis.invoke("kill", [node], cluster)  # type: ignore[arg-type]
    effect = await nemesis.invoke("start", [node], cluster)  # type: ignore[arg-type]
    assert effect.outcome is Outcome.SKIPPED and cluster.states[node] is NodeState.DEAD
    await nemesis.invoke("stop-disk", None, cluster)  # type: ignore[arg-type]
    assert cluster.states[node] is NodeState.RUNNING


def test_nothing_of_nothing_is_a_run_without_faults() -> None:
    package = compose([noop.package(Rhythm())])
    assert package.generator is None and package.final_generator is None and not package.needs
    with pytest.raises(AssertionError, match="not an operation of noop"):
        package_nemesis = noop.Noop()
        package_nemesis.resolve("kill", "one", FakeCluster().view(), Random(0))


@pytest.mark.parametrize(
    ("make", "field", "message"),
    [
        (kill.package, "targets", "'boss' is neither a target nor a node"),
        (pause.package, "targets", "'boss' is neither a target nor a node"),
        (partition.package, "grudges", "'boss' is no way to partition"),
        (links.package, "behaviours", "'boss' is no behaviour of links"),
        (clock.package, "behaviours", "'boss' is no behaviour of clocks"),
        (disk.package, "behaviours", "'boss' is no behaviour of disks"),
    ],
)
def test_an_unknown_target_is_refused_before_anything_starts(
    make: Any, field: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(Rhythm(**{field: ("boss",)}))
