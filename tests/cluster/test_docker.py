"""The docker cluster beyond the contract: nothing is left, whatever dies and whenever."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests

from harness.cluster import leftovers, netfilter
from harness.cluster.contract import Link, NodeState, Outcome, Shape
from harness.cluster.docker import DockerCluster
from harness.cluster.machines import Machines, has_ended
from harness.cluster.netfilter import Drops
from harness.cluster.postmortem import thread_states
from harness.errors import EnvironmentFailure, FaultNotPossible
from harness.system import Command
from tests.cluster.harnesses import AHarness
from tests.conformance.echo import EchoSystem, Talk, call, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_engine")]

C1_TO_N1, N1_TO_C1 = Link("c1", "n1"), Link("n1", "c1")

# An engine under load takes half a second for each of a few removals.
GONE_DEADLINE_S = 30.0


@pytest.fixture
def engine() -> Iterator[Any]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DockerCluster]:
    cluster = DockerCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    await cluster.start()
    yield cluster
    await cluster.stop()


def left(engine: Any, label: str) -> list[str]:
    """The names of a run's containers and networks."""
    wanted = {"label": f"{leftovers.RUN}={label}"}
    found = engine.containers.list(all=True, filters=wanted, ignore_removed=True)
    return sorted(thing.name for thing in (*found, *engine.networks.list(filters=wanted)))


async def wait_for_none(engine: Any, label: str) -> None:
    await wait_until(
        lambda: not left(engine, label), f"nothing is left of {label}", GONE_DEADLINE_S, 0.1
    )


async def test_nothing_is_left_when_the_harness_is_killed_while_a_node_is_paused(
    tmp_path: Path, engine: Any
) -> None:
    async with AHarness.running("docker", tmp_path / "run") as harness:
        paused = (await harness.wait_until_ready())["paused"]
        assert len(left(engine, harness.label)) == 4, "three containers and a network"
        assert set(thread_states(paused)) == {"T"}
        await harness.kill()
        await wait_for_none(engine, harness.label)
        assert thread_states(paused) == []


async def test_nothing_is_left_when_the_harness_ends_by_an_interrupt(
    tmp_path: Path, engine: Any
) -> None:
    async with AHarness.running("docker", tmp_path / "run") as harness:
        await harness.wait_until_ready()
        harness.process.send_signal(signal.SIGINT)
        await wait_for_none(engine, harness.label)


@pytest.mark.parametrize("after_ms", [100, 300, 600, 1000, 1500])
async def test_nothing_is_left_when_the_harness_is_killed_while_it_starts(
    tmp_path: Path, engine: Any, after_ms: int
) -> None:
    async with AHarness.running("docker", tmp_path / "run") as harness:
        await asyncio.wait([asyncio.create_task(harness.process.wait())], timeout=after_ms / 1000)
        await harness.kill()
        await wait_for_watchdog(harness.label)
        assert left(engine, harness.label) == []


async def wait_for_watchdog(label: str) -> None:
    """Wait until the watchdog of a run has ended: from then on nothing is looked after."""

    def watches() -> bool:
        return any(label in arguments for arguments in _command_lines())

    await wait_until(lambda: not watches(), "the watchdog has ended", GONE_DEADLINE_S, 0.1)


def _command_lines() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue


@pytest.mark.parametrize("step", [0, 100, 300, 500, 800, 1200])
async def test_a_start_cancelled_half_way_leaves_nothing(
    tmp_path: Path, engine: Any, step: int
) -> None:
    cluster = DockerCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    starting = asyncio.create_task(cluster.start())
    await asyncio.wait([starting], timeout=step / 1000)
    starting.cancel()
    await asyncio.wait([starting])
    await cluster.stop()
    assert left(engine, cluster.label) == []
    await wait_for_watchdog(cluster.label)


async def test_stop_leaves_nothing(cluster: DockerCluster, engine: Any) -> None:
    await cluster.pause("n1")
    await cluster.kill("n2")
    await cluster.cut([C1_TO_N1])
    await cluster.stop()
    assert left(engine, cluster.label) == []
    with pytest.raises(EnvironmentFailure):
        await cluster.kill("n1")


async def test_what_the_watchdog_could_not_remove_is_found_by_its_label(
    tmp_path: Path, engine: Any, cluster: DockerCluster
) -> None:
    async with AHarness.running("docker", tmp_path / "other") as harness:
        await harness.wait_until_ready()
        assert len(left(engine, harness.label)) == 4
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _is_watchdog_of(harness.label, entry):
                os.kill(int(entry.name), signal.SIGKILL)
        await harness.kill()
    leftovers.remove_orphans()  # or another test run on this machine did
    assert left(engine, harness.label) == []
    assert len(left(engine, cluster.label)) == 3, "a run that lives is let alone"
    assert (await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}))["node"] == "n1"


def _is_watchdog_of(label: str, entry: Path) -> bool:
    try:
        arguments = (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"harness.cluster.watchdog" in arguments and label.encode() in arguments


async def test_a_container_that_ends_is_a_failure_of_the_environment(
    cluster: DockerCluster, engine: Any
) -> None:
    engine.containers.get(f"assay-{cluster.label}-n1").remove(force=True)
    await wait_until(lambda: cluster.failure is not None, "the end is noticed")
    with pytest.raises(EnvironmentFailure, match="container of n1 has ended"):
        await cluster.kill("n2")
    with pytest.raises(EnvironmentFailure, match="container of n1 has ended"):
        await cluster.heal()


async def test_what_a_node_started_dies_with_it(tmp_path: Path) -> None:
    class Forking(EchoSystem):
        def command(self, spec: Any) -> Command:
            command = super().command(spec)
            shell = f"sleep 1000 & echo $! >{spec.data}/child; exec {' '.join(command.argv)}"
            return Command(["/bin/sh", "-c", shell], command.env, command.files)

    cluster = DockerCluster(Forking(), nodes=1, folder=tmp_path / "run", seed=1)
    await cluster.start()
    leader = (await cluster.pause("n1")).evidence["pid"]
    children = _in_group(leader) - {leader}
    assert len(children) == 1
    await cluster.kill("n1")
    await wait_until(lambda: not _in_group(leader), "the group is gone")
    await cluster.stop()


def _in_group(leader: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == leader and fields[0] != "Z":
                found.add(int(entry.name))
    return found


async def test_a_node_killed_from_outside_is_a_crash_by_its_signal(cluster: DockerCluster) -> None:
    await cluster.pause("n1")
    pid = (await cluster.resume("n1")).evidence["pid"]
    os.kill(pid, signal.SIGKILL)
    await wait_until(lambda: len(cluster.crashes()) == 1, "the crash is reported")
    (crash,) = cluster.crashes()
    assert (crash["node"], crash["status"]) == ("n1", -9)
    assert cluster.state("n1") is NodeState.DEAD


async def test_a_fault_meets_the_end_of_a_node_that_nobody_has_noticed_yet(
    cluster: DockerCluster,
) -> None:
    await cluster.pause("n1")
    pidfd = os.pidfd_open((await cluster.resume("n1")).evidence["pid"])
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert has_ended(pidfd, 10_000), "it has ended, and our loop has not run since"
    os.close(pidfd)
    assert (await cluster.kill("n1")).outcome is Outcome.SKIPPED
    assert cluster.state("n1") is NodeState.DEAD and len(cluster.crashes()) == 1
    assert (await cluster.start_node("n1")).outcome is Outcome.OBSERVED


async def test_each_cut_link_is_seen_to_drop(cluster: DockerCluster) -> None:
    both = [C1_TO_N1, N1_TO_C1, Link("n1", "n2"), Link("n2", "n1")]
    dropped = (await cluster.cut(both)).evidence["dropped"]
    assert set(dropped) == {"c1->n1", "n1->c1", "n1->n2", "n2->n1"}
    assert all(packets >= 1 for packets in dropped.values())


async def test_a_rule_that_somebody_took_away_is_noticed(cluster: DockerCluster) -> None:
    await cluster.cut([C1_TO_N1])
    pid = cluster._machines.machines["n1"].pid
    netfilter.apply(pid, Drops())
    effect = await cluster.cut([C1_TO_N1])
    assert effect.outcome is Outcome.UNOBSERVED
    assert effect.evidence["wrong_rules"] == [f"n1: into {cluster.address('n1', 'c1').port}"]


async def test_a_cancelled_cut_is_whole_and_can_be_healed(cluster: DockerCluster) -> None:
    cutting = asyncio.create_task(cluster.cut([C1_TO_N1, N1_TO_C1]))
    await asyncio.wait([cutting], timeout=0.005)
    cutting.cancel()
    await asyncio.wait([cutting])
    assert (await cluster.heal()).outcome is Outcome.OBSERVED
    assert (await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}))["node"] == "n1"


async def test_names_of_machines_still_resolve_during_a_cut(cluster: DockerCluster) -> None:
    await cluster.cut([Link("n1", "n2"), Link("n2", "n1")])
    machine = cluster._machines.machines["n1"]
    _, output = await asyncio.to_thread(
        machine.container.exec_run,
        ["python3", "-c", "import socket; print(socket.gethostbyname('n2'))"],
    )
    assert output.decode().strip() == cluster.address("n2", "c1").host


async def test_the_network_of_a_run_leads_nowhere_else(cluster: DockerCluster, engine: Any) -> None:
    (network,) = engine.networks.list(filters={"label": f"{leftovers.RUN}={cluster.label}"})
    assert network.attrs["Internal"] is True
    ports = engine.containers.get(f"assay-{cluster.label}-n1").ports
    assert not any(ports.values()), "nothing is published"


async def test_after_a_run_its_addresses_lead_nowhere(cluster: DockerCluster) -> None:
    where = cluster.address("n1", "c1")
    await cluster.stop()
    with pytest.raises(OSError) as error:
        await asyncio.open_connection(*where)
    assert error.value.errno == errno.EHOSTUNREACH


async def test_links_cannot_be_shaped_yet_and_it_says_so(cluster: DockerCluster) -> None:
    with pytest.raises(FaultNotPossible, match="--cluster local"):
        await cluster.shape([C1_TO_N1], Shape(latency_ms=5))
    talk = await Talk.open(cluster.address("n1", "c1"))
    assert await talk.ask({"do": "echo", "text": "x"})
    talk.close()


async def test_an_engine_whose_processes_are_not_ours_is_refused() -> None:
    machines = Machines({}, lambda end: None)
    with pytest.raises(EnvironmentFailure, match="does not run on this machine"):
        machines._require_here(os.getpid(), "0123456789abcdef" * 4)
    with pytest.raises(EnvironmentFailure, match="does not run on this machine"):
        machines._require_here(1 << 30, "0123456789abcdef" * 4)


async def test_an_engine_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    cluster = DockerCluster(EchoSystem(), nodes=1, folder=tmp_path / "run", seed=1)
    with pytest.raises(EnvironmentFailure, match="no Docker Engine answers"):
        await cluster.start()
    await cluster.stop()


async def test_an_engine_that_stops_answering_is_a_failure_in_words(
    cluster: DockerCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **more: Any) -> None:
        raise requests.ConnectionError("the engine is gone")

    await cluster.kill("n1")
    with monkeypatch.context() as patch:
        patch.setattr(cluster._machines._client.api, "exec_create", refuse)
        with pytest.raises(EnvironmentFailure, match="cannot start n1: the engine is gone"):
            await cluster.start_node("n1")
    assert cluster.state("n1") is NodeState.DEAD
    assert (await cluster.start_node("n1")).outcome is Outcome.OBSERVED


async def test_what_cannot_be_removed_is_said_and_left_to_the_watchdog(
    tmp_path: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = DockerCluster(EchoSystem(), nodes=1, folder=tmp_path / "run", seed=1)
    await cluster.start()
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "remove_run", lambda client, run: [])
        with pytest.raises(EnvironmentFailure, match="did not remove"):
            await cluster.stop()
    assert cluster.state("n1") is NodeState.STOPPED
    await wait_for_none(engine, cluster.label)


async def test_three_nodes_start_within_seconds(tmp_path: Path) -> None:
    cluster = DockerCluster(EchoSystem(), nodes=3, folder=tmp_path / "run", seed=1)
    now = asyncio.get_running_loop().time
    began = now()
    await cluster.start()
    took_s = now() - began
    await cluster.stop()
    assert took_s < 15, "about 2 s where nothing else runs"
