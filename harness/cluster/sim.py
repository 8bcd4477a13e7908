"""A cluster in a simulated world: the node programs as coroutines, virtual time, one seed.

Runs on the harness' loop of the world that is running (`harness.sim.world`). Each node is a machine
of that world; every link is one of its links, and every fault is done to them directly:

    kill        the process' callbacks never run again; its kernel ends its connections
    power off   the same, silently, and un-synced writes are kept, lost or torn
    pause       the process' callbacks wait
    cut, shape  links hold their bytes, or are slow, narrow, lossy, in slices
    skew        the wall clock is off, and runs at another rate
    damage      the disk: see `DAMAGE`

The admin port is reached beside all links, in no time worth mentioning.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.cluster.contract import Ability, Address, Effect, Link, NodeSpec, NodeState, Shape
from harness.cluster.layout import Plan, check_disk, names, spread_out
from harness.errors import EnvironmentFailure, NodeNotReady, UsageError
from harness.sim.links import WHOLE
from harness.sim.links import Link as SimLink
from harness.sim.loop import SimLoop
from harness.sim.machine import Machine
from harness.sim.world import World
from harness.system import System

PROBE_S = 5.0  # of one readiness probe, as on other clusters
QUOTED_LINES = 15


class SimCluster:
    """See the module, and `harness.cluster.contract.Cluster`, whose promises this class keeps.

    Arguments:
        folder: the run's folder; logs and, at the end, data are written to `folder/nodes`.
        disk: "volatile" makes a kill lose what was not synced, as on other clusters.
        keep: whether logs and data are written at all.
    """

    kind = "sim"

    def __init__(
        self,
        system: System,
        *,
        folder: Path,
        seed: int,
        nodes: int = 3,
        clients: int = 2,
        options: Mapping[str, Any] | None = None,
        disk: str = "real",
        ready_timeout_s: float = 30.0,
        keep: bool = True,
    ) -> None:
        self.nodes, self.clients = names(nodes, clients)
        check_disk(disk)
        if not system.own:
            raise UsageError(
                f"{system.name} is no system of this project: it cannot run in a simulated world; "
                "use --cluster local or docker"
            )
        self.system, self.seed, self.disk = system, seed, disk
        self.folder = folder.absolute()
        self._plan = Plan(
            self.nodes,
            self.clients,
            tuple(system.peer_ports),
            lambda node: "/data",
            seed,
            {"disk": disk, "options": dict(options or {})},
        )
        self._ready_timeout_s, self._keep = ready_timeout_s, keep
        self._specs: dict[str, NodeSpec] = {}
        self._states = dict.fromkeys(self.nodes, NodeState.STOPPED)
        self._machines: dict[str, Machine] = {}
        self._statuses: dict[str, int] = {}
        self._crashes: list[Mapping[str, Any]] = []
        self._world: World | None = None
        self._stopped = False

    supports = frozenset(Ability)

    # -- start and stop ----------------------------------------------------------------------

    async def start(self) -> None:
        if self._world is not None or self._stopped:
            raise UsageError("a sim cluster starts once; make a new one")
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SimLoop) or loop.world is None:
            raise UsageError("a sim cluster runs in a simulated world: World(seed).run(...)")
        world = self._world = loop.world
        prefix = world.claim()  # another cluster of this world has hosts of its own
        hosts = {node: f"{prefix}{node}" for node in self.nodes}
        self._specs = spread_out(self._plan, hosts)
        for node, spec in self._specs.items():
            machine = self._machines[node] = world.machine(hosts[node])
            machine.on_end = partial(self._on_end, node)
            for client in self.clients:
                world.network.route(spec.bind[client], f"{prefix}{client}")
        try:
            for node in self.nodes:
                self._launch(node)
            async with asyncio.TaskGroup() as group:
                for node in self.nodes:
                    group.create_task(self._wait_until_ready(node))
        except ExceptionGroup as errors:
            await self.stop()
            raise errors.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        for node, machine in self._machines.items():
            self._states[node] = NodeState.STOPPED
            if machine.loop is not None:
                machine.kill()
            if self._keep:
                self.log(node)
                self.data(node)

    # -- what there is -----------------------------------------------------------------------

    def state(self, node: str) -> NodeState:
        return self._states[self._known(node)]

    def address(self, node: str, host: str) -> Address:
        if host not in self.clients:
            raise UsageError(f"there is no client host {host!r}; there are {self.clients}")
        return self._spec(node).advertised[host]

    def admin(self, node: str) -> Address:
        return self._spec(node).bind["admin"]

    def log(self, node: str) -> Path:
        path = self.folder / "nodes" / self._known(node) / "node.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._machines[node].lines if node in self._machines else []
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    def data(self, node: str) -> Path:
        """A copy of what the node's disk shows now."""
        folder = self.folder / "nodes" / self._known(node) / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if node in self._machines:
            for name, content in self._machines[node].disk.files():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return folder

    def crashes(self) -> Sequence[Mapping[str, Any]]:
        return tuple(self._crashes)

    # -- nodes -------------------------------------------------------------------------------

    async def start_node(self, node: str) -> Effect:
        world = self._working()
        if self.state(node) not in (NodeState.DEAD, NodeState.STOPPED):
            return Effect.skipped(f"{node} is {self.state(node).value}")
        began = world.now_ns()
        self._launch(node)
        try:
            await self._wait_until_ready(node)
        except _Overtaken as overtaken:
            return Effect.skipped(str(overtaken))
        ms = (world.now_ns() - began) // 1_000_000
        return Effect.observed(incarnation=self._machines[node].starts, ms=ms)

    async def kill(self, node: str) -> Effect:
        return self._end(node, power=self.disk == "volatile")

    async def power_off(self, node: str) -> Effect:
        return self._end(node, power=True)

    async def pause(self, node: str) -> Effect:
        self._working()
        if self.state(node) is not NodeState.RUNNING:
            return Effect.skipped(f"{node} is {self.state(node).value}")
        self._machines[node].pause()
        self._states[node] = NodeState.PAUSED
        return Effect.observed(incarnation=self._machines[node].starts)

    async def resume(self, node: str) -> Effect:
        self._working()
        if self.state(node) is not NodeState.PAUSED:
            return Effect.skipped(f"{node} is {self.state(node).value}")
        late = self._machines[node].resume()
        self._states[node] = NodeState.RUNNING
        return Effect.observed(incarnation=self._machines[node].starts, waited=late)

    async def skew(self, node: str, offset_ns: int, rate_ppm: int = 0) -> Effect:
        self._working()
        self._known(node)
        clock = self._machines[node].clock
        before = clock.offset_ns
        clock.skew(offset_ns, rate_ppm)
        return Effect.observed(before_ns=before, offset_ns=clock.offset_ns, rate_ppm=rate_ppm)

    async def damage(self, node: str, how: str, options: Mapping[str, Any]) -> Effect:
        self._working()
        self._known(node)
        if how not in DAMAGE:
            raise UsageError(f"there is no damage {how!r}; there are {', '.join(DAMAGE)}")
        return DAMAGE[how](self._machines[node], dict(options))

    # -- links -------------------------------------------------------------------------------

    async def cut(self, links: Collection[Link]) -> Effect:
        found = self._links(links)
        if not found:
            return Effect.skipped("no links")
        whole = [link for link in found if not link.cut]
        if not whole:
            return Effect.skipped("these links are cut already")
        network = self._working().network
        network.cut(whole)
        return Effect.observed(links=len(whole), connections=sum(len(link.pipes) for link in whole))

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        network = self._working().network
        found = list(network.links.values()) if links is None else self._links(links)
        broken = [link for link in found if link.cut or link.shape is not WHOLE]
        if not broken:
            return Effect.skipped("these links are whole")
        held = sum(pipe.held for link in broken for pipe in link.pipes)
        for link in broken:
            link.shape = WHOLE
        network.heal(broken)
        return Effect.observed(links=len(broken), held=held)

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        found = self._links(links)
        if not found:
            return Effect.skipped("no links")
        for link in found:
            link.shape = shape
        return Effect.observed(links=len(found))

    async def reset(self, links: Collection[Link]) -> Effect:
        network = self._working().network
        count = network.reset(self._links(links))
        if not count:
            return Effect.skipped("no connection uses these links")
        return Effect.observed(connections=count)

    # -- inside ------------------------------------------------------------------------------

    def _launch(self, node: str) -> None:
        self._states[node] = NodeState.RUNNING
        self._machines[node].start(self.system.program(self._specs[node]))

    async def _wait_until_ready(self, node: str) -> None:
        """Probe until the node is ready. Raises NodeNotReady, or _Overtaken by another fault."""
        machine = self._machines[node]
        start = machine.starts
        now = asyncio.get_running_loop().time
        began, pause_s = now(), 0.01
        deadline = began + self._ready_timeout_s
        while True:
            self._working()
            state = self.state(node)
            if machine.starts != start or (state is NodeState.DEAD and node not in self._statuses):
                raise _Overtaken(f"{node} was killed while it started")
            if state is NodeState.DEAD:
                raise NodeNotReady(
                    f"{node} ended {now() - began:.1f} s after its start, before it was ready: "
                    f"exit status {self._statuses[node]}\n{self._quote(node)}"
                )
            if state is NodeState.PAUSED:
                deadline = now() + self._ready_timeout_s  # it has no chance meanwhile
            elif await self._probe(node):
                return
            if now() > deadline:
                raise NodeNotReady(
                    f"{node} was not ready after {self._ready_timeout_s:g} s; it still runs, as "
                    f"incarnation {machine.starts}"
                    f"\n{self._quote(node)}"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(0.1, pause_s * 1.5)

    async def _probe(self, node: str) -> bool:
        try:
            async with asyncio.timeout(PROBE_S):
                return await self.system.ready(self, node)
        except TimeoutError:
            return False

    def _end(self, node: str, *, power: bool) -> Effect:
        self._working()
        before = self.state(node)
        if before not in (NodeState.RUNNING, NodeState.PAUSED):
            return Effect.skipped(f"{node} is {before.value}")
        machine = self._machines[node]
        self._statuses.pop(node, None)
        self._states[node] = NodeState.DEAD
        lost = machine.power_off() if power else machine.kill()
        evidence = {"disk": _in_short(lost)} if lost else {}
        return Effect.observed(incarnation=machine.starts, was=before.value, **evidence)

    def _on_end(self, node: str, status: int) -> None:
        """A process ended by itself."""
        self._states[node] = NodeState.DEAD
        self._statuses[node] = status
        if not self._stopped and self._world is not None:
            crash = {"node": node, "time_ns": self._world.now_ns(), "status": status}
            self._crashes.append({**crash, "log": self._quote(node)})

    def _quote(self, node: str) -> str:
        lines = self._machines[node].lines[-QUOTED_LINES:]
        return "\n".join(lines) if lines else "(nothing)"

    def _links(self, links: Collection[Link]) -> list[SimLink]:
        network = self._working().network
        found = []
        for link in sorted(links):
            ends = {link.source, link.target}
            if not ends <= {*self.nodes, *self.clients} or ends <= {*self.clients}:
                raise UsageError(f"there is no link {link.source}→{link.target}")
            found.append(network.link(self._host(link.source), self._host(link.target)))
        return found

    def _host(self, name: str) -> str:
        """A node's or client host's name in the world."""
        prefix = self._specs[self.nodes[0]].bind["admin"].host.removesuffix(self.nodes[0])
        return f"{prefix}{name}"

    def _spec(self, node: str) -> NodeSpec:
        self._known(node)
        if not self._specs:
            raise EnvironmentFailure("the cluster is not running")
        return self._specs[node]

    def _known(self, node: str) -> str:
        if node not in self.nodes:
            raise UsageError(f"there is no node {node!r}; there are {', '.join(self.nodes)}")
        return node

    def _working(self) -> World:
        if self._world is None or self._stopped:
            raise EnvironmentFailure("the cluster is not running")
        return self._world


class _Overtaken(Exception):
    """Another fault hit the node while it was waited for."""


def _in_short(lost: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a power failure took, in a few numbers; the disk's own journal has it whole."""
    files = lost.get("files", {})
    return {
        "unsynced_files": len(files),
        "unsynced_names": sum(len(told["lost"]) for told in lost.get("names", {}).values()),
        "policies": sorted({told["policy"] for told in files.values()}),
    }


def _heal_disk(machine: Machine, options: dict[str, Any]) -> Effect:
    """How often its faults struck is part of the effect: a disk that nobody used had none."""
    return Effect.observed(acted=machine.disk.faults.heal())


def _switch(name: str) -> Callable[[Machine, dict[str, Any]], Effect]:
    """A fault that stays until the disk is healed."""

    def damage(machine: Machine, options: dict[str, Any]) -> Effect:
        getattr(machine.disk.faults, name)(**options)
        return Effect.observed(on=name, **json.loads(json.dumps(options, default=str)))

    return damage


def _rot(name: str) -> Callable[[Machine, dict[str, Any]], Effect]:
    """What is stored changes, now."""

    def damage(machine: Machine, options: dict[str, Any]) -> Effect:
        try:
            acted = getattr(machine.disk, name)(**options)
        except FileNotFoundError as error:
            return Effect.skipped(f"there is no file {error.filename}")
        return Effect.observed(**options) if acted else Effect.skipped("nothing durable to damage")

    return damage


DAMAGE: Mapping[str, Callable[[Machine, dict[str, Any]], Effect]] = {
    "eio": _switch("eio"),
    "fsync-fails": _switch("fsync_fails"),
    "full": _switch("full_after"),
    "slow-fsync": _switch("slow_fsync"),
    "bit-rot": _rot("bit_rot"),
    "cut-tail": _rot("cut_tail"),
    "roll-back": _rot("roll_back"),
    "heal": _heal_disk,
}
