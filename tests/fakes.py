"""A cluster, a system, a nemesis and a workload in memory: the engine without the world.

The workload is a set: `add` puts a number into it, `read` returns all. A client reaches the set
while its node runs and no link of the node is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

from harness import generator as gen
from harness.client import Endpoint
from harness.cluster.contract import (
    Ability,
    Address,
    Effect,
    Link,
    NodeSpec,
    NodeState,
    Shape,
)
from harness.errors import EnvironmentFailure, TimedOut, Unavailable
from harness.generator import Call
from harness.guarantees import Contract
from harness.history import History
from harness.nemesis import Band, Package, View
from harness.op import Kind, Op
from harness.system import Command
from harness.verdict import Finding, Verdict
from harness.workload import Options, Workload


class FakeCluster:
    """See `harness.cluster.contract.Cluster`. `did` is all that was asked of it, in order."""

    kind = "fake"
    nodes: Sequence[str] = ("n1", "n2", "n3")
    clients: Sequence[str] = ("c1", "c2")

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        self.clock = clock
        self.supports = frozenset({Ability.KILL, Ability.PAUSE, Ability.CUT})
        self.states = dict.fromkeys(self.nodes, NodeState.STOPPED)
        self.cuts: set[Link] = set()
        self.did: list[str] = []
        self.fails: dict[str, EnvironmentFailure] = {}  # by the name of a method
        self.hangs: set[str] = set()
        self.stopped = 0
        self._crashes: list[Mapping[str, Any]] = []

    async def _do(self, name: str, *what: str) -> None:
        self.did.append(" ".join((name, *what)))
        if name in self.hangs:
            await asyncio.get_running_loop().create_future()
        if name in self.fails:
            raise self.fails[name]
        await asyncio.sleep(0.01)

    async def start(self) -> None:
        await self._do("start")
        self.states = dict.fromkeys(self.nodes, NodeState.RUNNING)

    async def stop(self) -> None:
        self.stopped += 1
        self.states = dict.fromkeys(self.nodes, NodeState.STOPPED)

    def state(self, node: str) -> NodeState:
        return self.states[node]

    def address(self, node: str, host: str) -> Address:
        return Address("127.0.0.1", 100 * self.clients.index(host) + self.nodes.index(node))

    def admin(self, node: str) -> Address:
        return Address("127.0.0.1", 9000 + self.nodes.index(node))

    def log(self, node: str) -> Path:
        return Path("node.log")

    def data(self, node: str) -> Path:
        return Path("data")

    def crash(self, node: str) -> None:
        """The node ends by itself."""
        self.states[node] = NodeState.DEAD
        crash = {"node": node, "time_ns": self.clock(), "status": 1, "log": "Traceback"}
        self._crashes.append(crash)

    def crashes(self) -> Sequence[Mapping[str, Any]]:
        return tuple(self._crashes)

    async def _change(
        self, name: str, node: str, before: Collection[NodeState], after: NodeState
    ) -> Effect:
        if self.states[node] not in before:
            return Effect.skipped(f"{node} is {self.states[node].value}")
        await self._do(name, node)
        self.states[node] = after
        return Effect.observed()

    async def start_node(self, node: str) -> Effect:
        return await self._change("start_node", node, {NodeState.DEAD}, NodeState.RUNNING)

    async def kill(self, node: str) -> Effect:
        alive = {NodeState.RUNNING, NodeState.PAUSED}
        return await self._change("kill", node, alive, NodeState.DEAD)

    async def power_off(self, node: str) -> Effect:
        return await self.kill(node)

    async def pause(self, node: str) -> Effect:
        return await self._change("pause", node, {NodeState.RUNNING}, NodeState.PAUSED)

    async def resume(self, node: str) -> Effect:
        return await self._change("resume", node, {NodeState.PAUSED}, NodeState.RUNNING)

    async def cut(self, links: Collection[Link]) -> Effect:
        await self._do("cut")
        self.cuts |= set(links)
        return Effect.observed()

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        await self._do("heal")
        self.cuts = set() if links is None else self.cuts - set(links)
        return Effect.observed()

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        raise AssertionError("not in these tests")

    async def reset(self, links: Collection[Link]) -> Effect:
        raise AssertionError("not in these tests")

    async def skew(self, node: str, offset_ns: int, rate_ppm: int = 0) -> Effect:
        raise AssertionError("not in these tests")

    async def damage(self, node: str, how: str, options: Mapping[str, Any]) -> Effect:
        raise AssertionError("not in these tests")


clusters: list[FakeCluster] = []
"""Those that a test of the command line made, the newest last."""


class FakeSystem:
    """See `harness.system.System`. n1 leads."""

    name = "fake"
    peer_ports: Sequence[str] = ()
    own = True

    def __init__(self) -> None:
        self.elections = 0
        self.never_ready = False

    def command(self, spec: NodeSpec) -> Command:
        raise AssertionError("nobody starts a process here")

    async def ready(self, cluster: Any, node: str) -> bool:
        return cluster.state(node) is NodeState.RUNNING and not self.never_ready

    async def view(self, cluster: Any) -> View:
        self.elections += 1
        facts = {"elections": self.elections}
        return View(tuple(cluster.nodes), tuple(cluster.clients), {}, {"n1": 3}, "n2", facts)

    def port(self, workload: str, library: str | None) -> Callable[..., Any]:
        raise AssertionError("nobody asks for a port here")

    def stats(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"elections": after["elections"] - before["elections"]}


@dataclass(slots=True)
class World:
    """What all clients of a test share."""

    cluster: FakeCluster
    members: set[int] = field(default_factory=set)
    loses: set[int] = field(default_factory=set)  # acknowledged and forgotten
    set_ups: int = 0
    open_clients: int = 0
    set_up_fails: Exception | None = None
    set_up_hangs: bool = False
    lost_answers: bool = False


class SetClient:
    """One process's client of the set."""

    def __init__(self, world: World, endpoint: Endpoint | None = None) -> None:
        self.world, self.endpoint = world, endpoint

    async def open(self, endpoint: Endpoint) -> Self:
        self.world.open_clients += 1
        return type(self)(self.world, endpoint)

    async def setup(self) -> None:
        self.world.set_ups += 1
        if self.world.set_up_hangs:
            await asyncio.get_running_loop().create_future()
        if self.world.set_up_fails is not None:
            raise self.world.set_up_fails

    async def invoke(self, op: Op) -> Any:
        await asyncio.sleep(0.002)
        assert self.endpoint is not None
        cluster = self.world.cluster
        if cluster.state(self.endpoint.node) is not NodeState.RUNNING or cluster.cuts:
            raise Unavailable(f"{self.endpoint.node} cannot be reached")
        if op.f == "add" and op.value not in self.world.loses:
            self.world.members.add(op.value)
        if self.world.lost_answers:
            raise TimedOut("no answer came")
        return sorted(self.world.members) if op.f == "read" else op.value

    async def teardown(self) -> None:
        pass

    async def close(self) -> None:
        self.world.open_clients -= 1


class FinalRead:
    """One read by a client; `missing` is what is said to be stuck."""

    def __init__(self, missing: Sequence[str] = (), endless: bool = False) -> None:
        self.missing, self.endless = missing, endless
        self.seen: list[Op] = []

    @property
    def generator(self) -> Any:
        read = gen.clients(Call("read"))
        return (
            gen.concat(read, gen.clients(gen.delay(1, gen.repeat(Call("read")))))
            if (self.endless)
            else read
        )

    def observe(self, op: Op) -> None:
        self.seen.append(op)

    def stuck(self) -> Sequence[str]:
        return self.missing


def check_set(history: History, contract: Contract) -> Verdict:
    """What was added before the last read began is in it."""
    reads = [op for op in history if op.f == "read" and op.type is Kind.OK]
    if not reads:
        return Verdict.of(doubts=["nobody read"])
    begun = history.invocation(reads[-1].index).index
    added = [op for op in history if op.f == "add" and op.type is Kind.OK and op.index < begun]
    return Verdict.of(
        Finding("lost-add", f"{op.value} is gone", witness=(op.index,), key=op.value)
        for op in added
        if op.value not in reads[-1].value
    )


class SetOptions(Options, frozen=True):
    """None that matter."""

    size: int = 100_000


def set_workload(world: World, final: FinalRead | None = None, **more: Any) -> Workload:
    numbers = gen.with_values("add", range(100_000))
    settings: dict[str, Any] = {
        "name": "set",
        "options": SetOptions(),
        "client": SetClient(world),
        "generator": gen.mix([numbers, gen.repeat(Call("read"))]),
        "checks": {"set": check_set},
        "final_reads": (lambda: final) if final is not None else None,
        "reads": frozenset({"read"}),
    }
    return Workload(**{**settings, **more})


class Killer:
    """A nemesis that kills and cuts, and has no memory of either."""

    fs = frozenset({"kill", "cut", "pause"})

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        return [next(iter(view.leaders))] if value == "leader" else value

    async def invoke(self, f: str, value: Any, cluster: Any) -> Effect:
        if f == "cut":
            effect: Effect = await cluster.cut([Link("n1", "n2")])
            return effect
        do = cluster.kill if f == "kill" else cluster.pause
        return Effect.all({node: await do(node) for node in value})


def killing(*calls: Call, every_s: float = 0.5, final: Any = None) -> Package:
    return Package(
        name="killer",
        nemesis=Killer(),
        generator=gen.delay(every_s, list(calls)) if calls else None,
        final_generator=final,
        bands=(Band("kill", frozenset({"kill"}), frozenset({"start"}), "#c0392b"),),
        needs=frozenset({Ability.KILL}),
    )
