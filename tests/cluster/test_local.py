"""The local cluster beyond the contract: what becomes of its processes, whatever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.contract import Ability, Link, NodeState, Outcome, Shape
from harness.cluster.local import LocalCluster, find_proxy_server
from harness.cluster.postmortem import thread_states
from harness.errors import EnvironmentFailure, FaultNotPossible, UsageError
from tests.cluster.harnesses import AHarness
from tests.conformance.echo import EchoSystem, Talk, call, wait_until

pytestmark = pytest.mark.local

C1_TO_N1 = Link("c1", "n1")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[LocalCluster]:
    cluster = LocalCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    await cluster.start()
    yield cluster
    await cluster.stop()


def processes_of(folder: Path) -> dict[int, str]:
    """Live processes that work in a folder or name it in their arguments: pid → arguments."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = (entry / "cwd").readlink()
        except OSError:
            continue
        if str(folder) in arguments or where.is_relative_to(folder):
            found[int(entry.name)] = arguments
    return found


async def wait_for_none(folder: Path, deadline_s: float = 2.0) -> None:
    await wait_until(lambda: not processes_of(folder), f"nothing runs in {folder}", deadline_s)


@asynccontextmanager
async def harness_in(folder: Path) -> AsyncIterator[AHarness]:
    """A harness with three nodes, one of them paused, and its proxies."""
    async with AHarness.running("local", folder / "run") as harness:
        pids = await harness.wait_until_ready()
        assert len(processes_of(folder)) >= 5, "three nodes, the proxies, the harness"
        assert set(thread_states(pids["paused"])) == {"T"}
        yield harness


async def test_nothing_is_left_when_the_harness_is_killed_while_a_node_is_paused(
    tmp_path: Path,
) -> None:
    async with harness_in(tmp_path) as harness:
        await harness.kill()
        await wait_for_none(tmp_path)


async def test_nothing_is_left_when_the_harness_ends_by_an_interrupt(tmp_path: Path) -> None:
    async with harness_in(tmp_path) as harness:
        harness.process.send_signal(signal.SIGINT)
        await wait_for_none(tmp_path)


async def test_nothing_is_left_when_the_supervisor_is_killed(cluster: LocalCluster) -> None:
    await cluster.pause("n1")
    supervisor = cluster.supervisor_pid
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    await wait_for_none(cluster.folder)
    with pytest.raises(EnvironmentFailure, match="supervisor"):
        await cluster.kill("n2")
    with pytest.raises(EnvironmentFailure, match="supervisor"):
        await cluster.cut([C1_TO_N1])
    await cluster.stop()


async def test_the_death_of_the_proxies_is_a_failure_of_the_environment(
    cluster: LocalCluster,
) -> None:
    (proxies,) = [pid for pid, args in processes_of(cluster.folder).items() if "toxiproxy" in args]
    os.kill(proxies, signal.SIGKILL)
    await wait_until(lambda: cluster.failure is not None, "the death is noticed")
    with pytest.raises(EnvironmentFailure, match=r"proxy server died: killed by signal 9"):
        await cluster.heal()
    assert cluster.crashes() == ()


async def test_stop_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    cluster = LocalCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    await cluster.start()
    where = [cluster.address("n1", "c1"), cluster.admin("n1"), cluster.admin("n2")]
    await cluster.pause("n1")
    await cluster.stop()
    assert processes_of(tmp_path) == {}
    for address in where:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
    with pytest.raises(EnvironmentFailure):
        await cluster.kill("n1")


@pytest.mark.parametrize("step", range(0, 400, 50))
async def test_a_start_cancelled_half_way_leaves_no_process(tmp_path: Path, step: int) -> None:
    cluster = LocalCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    starting = asyncio.create_task(cluster.start())
    await asyncio.wait([starting], timeout=step / 1000)
    starting.cancel()
    await asyncio.wait([starting])
    await cluster.stop()
    await wait_for_none(tmp_path)


async def test_a_stop_while_starting_leaves_no_process(tmp_path: Path) -> None:
    cluster = LocalCluster(EchoSystem(), nodes=2, folder=tmp_path / "run", seed=1)
    starting = asyncio.create_task(cluster.start())
    await asyncio.wait([starting], timeout=0.01)
    await cluster.stop()
    with pytest.raises(EnvironmentFailure):
        await starting
    await wait_for_none(tmp_path)


async def test_a_cancelled_stop_still_stops(cluster: LocalCluster) -> None:
    stopping = asyncio.create_task(cluster.stop())
    await asyncio.wait([stopping], timeout=0.001)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert processes_of(cluster.folder) == {}


async def test_what_a_node_started_dies_with_it(tmp_path: Path) -> None:
    class Forking(EchoSystem):
        def command(self, spec: Any) -> Any:
            command = super().command(spec)
            shell = f"sleep 1000 & setsid sleep 1001 & exec {' '.join(command.argv)}"
            return type(command)(["/bin/sh", "-c", shell], command.env, command.files)

    cluster = LocalCluster(Forking(), nodes=1, folder=tmp_path / "run", seed=1)
    await cluster.start()

    def sleepers() -> list[list[str]]:
        running = processes_of(tmp_path).values()
        return sorted(args.split() for args in running if "sleep 100" in args)

    await wait_until(lambda: len(sleepers()) == 2, "both are there")
    await cluster.kill("n1")
    await wait_until(lambda: sleepers() == [["sleep", "1001"]], "only who left the group is there")
    await cluster.stop()
    assert processes_of(tmp_path) == {}


async def test_an_interrupt_of_the_terminal_does_not_reach_the_nodes(
    cluster: LocalCluster,
) -> None:
    ours = os.getpgid(0)
    for pid in processes_of(cluster.folder):
        assert os.getpgid(pid) != ours and os.getsid(pid) != os.getsid(0)
    assert cluster.supervisor_pid is not None
    os.kill(cluster.supervisor_pid, signal.SIGINT)
    assert (await call(cluster.address("n1", "c1"), {"do": "echo", "text": "x"}))["node"] == "n1"


async def test_a_node_that_is_killed_while_it_starts_is_skipped(tmp_path: Path) -> None:
    class Slow(EchoSystem):
        patient = True

        async def ready(self, cluster: Any, node: str) -> bool:
            return self.patient and await super().ready(cluster, node)

    system = Slow()
    cluster = LocalCluster(system, nodes=1, folder=tmp_path / "run", seed=1)
    await cluster.start()
    await cluster.kill("n1")
    system.patient = False
    starting = asyncio.create_task(cluster.start_node("n1"))
    await wait_until(lambda: cluster.state("n1") is NodeState.RUNNING, "its process runs")
    await cluster.kill("n1")
    assert (await starting).outcome is Outcome.SKIPPED
    assert cluster.crashes() == ()
    await cluster.stop()


async def test_a_reset_sends_rst_to_idle_connections(cluster: LocalCluster) -> None:
    idle = await Talk.open(cluster.address("n1", "c1"))
    await idle.ask({"do": "echo", "text": "x"})
    effect = await cluster.reset([C1_TO_N1])
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(idle.reader.read(), 5)
    assert effect.evidence["connections"] == 1, "ours; the probe's does not count"


async def test_a_cut_tells_how_many_bytes_it_holds(cluster: LocalCluster) -> None:
    talk = await Talk.open(cluster.address("n1", "c1"))
    await talk.ask({"do": "echo", "text": "x"})
    await cluster.cut([C1_TO_N1])
    talk.send({"do": "echo", "text": "x" * 1000})

    async def holds() -> bool:
        return int((await cluster.cut([C1_TO_N1])).evidence["held_bytes"]) > 1000

    await wait_until(holds, "the bytes have reached the proxy")


@pytest.mark.parametrize(
    "shape", [Shape(duplicate=0.1), Shape(reorder=0.1), Shape(latency_ms=1, corrupt=0.1)]
)
async def test_what_a_stream_cannot_do_is_refused(cluster: LocalCluster, shape: Shape) -> None:
    with pytest.raises(FaultNotPossible, match="TCP"):
        await cluster.shape([C1_TO_N1], shape)


async def test_lost_connections_are_drawn_and_end_when_healed(cluster: LocalCluster) -> None:
    await cluster.shape([C1_TO_N1], Shape(loss=0.5))
    talks = [await Talk.open(cluster.address("n1", "c1")) for _ in range(20)]
    answers = await asyncio.gather(
        *(talk.ask({"do": "echo", "text": "x"}, 2.0) for talk in talks), return_exceptions=True
    )
    lost = [talk for talk, answer in zip(talks, answers, strict=True) if answer != answers_ok]
    assert 3 <= len(lost) <= 17
    assert (await cluster.heal()).outcome is Outcome.OBSERVED
    for talk in lost:
        assert await asyncio.wait_for(talk.reader.read(), 5) == b""


answers_ok = {"node": "n1", "listener": "c1", "text": "x"}


async def test_a_partition_of_three_nodes_is_quick(tmp_path: Path) -> None:
    cluster = LocalCluster(EchoSystem(), nodes=3, folder=tmp_path / "run", seed=1)
    await cluster.start()
    links = [Link("n1", "n2"), Link("n2", "n1"), Link("n1", "n3"), Link("n3", "n1")]
    took_ms = []
    for _ in range(5):
        took_ms.append((await cluster.cut(links)).evidence["applied_ms"])
        took_ms.append((await cluster.heal(links)).evidence["applied_ms"])
    await cluster.stop()
    assert min(took_ms) < 100, took_ms


def test_arguments_that_do_not_go_together_are_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Foreign(EchoSystem):
        name, own = "foreign", False

    make: Callable[..., LocalCluster] = LocalCluster
    with pytest.raises(UsageError, match="volatile"):
        make(Foreign(), folder=tmp_path, seed=1, disk="volatile")
    with pytest.raises(UsageError):
        make(EchoSystem(), folder=tmp_path, seed=1, nodes=0)
    with pytest.raises(UsageError, match="floppy"):
        make(EchoSystem(), folder=tmp_path, seed=1, disk="floppy")
    with pytest.raises(UsageError, match="squid"):
        make(EchoSystem(), folder=tmp_path, seed=1, proxy="squid")
    monkeypatch.delenv("TOXIPROXY_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="toxiproxy-server"):
        find_proxy_server("server")
    assert find_proxy_server("auto") == ()


def test_power_off_needs_a_volatile_disk(tmp_path: Path) -> None:
    real = LocalCluster(EchoSystem(), folder=tmp_path, seed=1)
    volatile = LocalCluster(EchoSystem(), folder=tmp_path, seed=1, disk="volatile")
    assert volatile.supports - real.supports == {Ability.POWER_OFF}
    assert not {Ability.SKEW, Ability.DAMAGE} & volatile.supports


async def test_a_run_does_not_disturb_others_nor_does_its_death(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    async with harness_in(tmp_path / "one") as one, harness_in(tmp_path / "two"):
        await one.kill()
        await wait_for_none(tmp_path / "one")
        assert len(processes_of(tmp_path / "two")) >= 5, "three nodes, the proxies, the harness"
        await cluster.cut([C1_TO_N1])
        assert (await cluster.heal()).outcome is Outcome.OBSERVED
        for node in cluster.nodes:
            reply = await call(cluster.address(node, "c1"), {"do": "echo", "text": "x"})
            assert reply["node"] == node
    await wait_for_none(tmp_path / "two")
