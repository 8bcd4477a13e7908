"""What `local` and `docker` have in common: nodes are processes of this machine's kernel.

A node is a folder (`nodes/n1/` with `data/`, `node.log` and what else its system writes), a spec,
and at times a process, which somebody else owns: a supervisor or a container. Here is the life of
that process: start, wait for readiness by probe, pause, kill, and the record of its ends. Signals
are seen to work in /proc.

A subclass says who owns the processes (`Owner`), what the nodes' surroundings are (`_surround`) and
how links are broken (`_working_links`).
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.cluster.contract import Ability, Address, Effect, Link, NodeSpec, NodeState, Shape
from harness.cluster.layout import Plan, check_disk, names
from harness.cluster.node import LinkFaults, Node
from harness.cluster.postmortem import describe, quote, tail, thread_states
from harness.cluster.processes import Exit, Owner
from harness.cluster.unbroken import Unbroken
from harness.errors import EnvironmentFailure, FaultNotPossible, NodeNotReady, UsageError
from harness.system import System

STATE_DEADLINE_S = 5.0
PROBE_DEADLINE_S = 5.0  # of one readiness probe, which must not hang the start


class ProcessCluster(ABC):
    """See `harness.cluster.contract.Cluster`, whose promises this class keeps.

    Arguments:
        folder: the run's folder; nodes live in `folder/nodes`.
        options: the system's options for nodes, as JSON values.
        disk: "volatile" lets our own nodes keep un-fsynced writes in their process, so that killing
            one is a power failure.

    Raises:
        UsageError: these arguments do not go together.
    """

    kind: ClassVar[str]

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
    ) -> None:
        self.nodes, self.clients = names(nodes, clients)
        check_disk(disk)
        if disk == "volatile" and not system.own:
            raise UsageError(f"--disk volatile needs a node of this project; {system.name} is none")
        self.system, self.seed, self.disk = system, seed, disk
        self.folder = folder.absolute()
        self._options = dict(options or {})
        self._ready_timeout_s = ready_timeout_s
        self._nodes: dict[str, Node] = {}
        self._crashes: list[Mapping[str, Any]] = []
        self._steps = Unbroken()  # a fault is whole, whoever gives it up, so that states stay true
        self._started = self._stopped = False
        self._stopping: asyncio.Task[None] | None = None

    # -- what differs ------------------------------------------------------------------------

    @property
    @abstractmethod
    def _owner(self) -> Owner:
        """Whose children the processes are."""

    @abstractmethod
    async def _surround(self) -> Mapping[str, NodeSpec]:
        """Make everything that the nodes need around them, and tell each what it is told."""

    @abstractmethod
    def _working_links(self) -> LinkFaults:
        """Raises EnvironmentFailure if the cluster does not work."""

    @abstractmethod
    def _release(self) -> None:
        """Give back what is held beside the processes."""

    def _here(self, node: Node, path: str) -> Path:
        """A path as the node sees it, as seen from here."""
        return Path(path)

    def _plan(self, data: Callable[[str], str | Path], **more: Any) -> Plan:
        """For the layout. `data` says where a node sees its data."""
        more = {"disk": self.disk, "options": self._options, **more}
        ports = tuple(self.system.peer_ports)
        return Plan(self.nodes, self.clients, ports, data, self.seed, more)

    def _require_working(self) -> None:
        if self._stopped or not self._started:
            raise EnvironmentFailure("the cluster is not running")
        self._owner.require_alive()

    @property
    def supports(self) -> frozenset[Ability]:
        able = {Ability.KILL, Ability.PAUSE, Ability.CUT}
        if self.disk == "volatile":
            able.add(Ability.POWER_OFF)
        return frozenset(able)

    @property
    def failure(self) -> str | None:
        """Why nothing can be done with this cluster any more: something of its own has died."""
        try:
            self._require_working()
        except EnvironmentFailure as error:
            return str(error)
        return None

    # -- start and stop ----------------------------------------------------------------------

    async def start(self) -> None:
        if self._started or self._stopped:
            raise UsageError(f"a {self.kind} cluster starts once; make a new one")
        self._started = True
        try:
            await self._owner.open()
            specs = await self._surround()
            self._nodes = {name: Node(name, self._folder(name), s) for name, s in specs.items()}
            await self._all(self._launch(node) for node in self._nodes.values())
            await self._all(self._wait_until_ready(node) for node in self._nodes.values())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        # Whoever waits may be cancelled, once or twice; the stopping itself goes on to its end.
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        cancelled = None
        while not self._stopping.done():
            try:
                await asyncio.shield(self._stopping)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _stop(self) -> None:
        self._stopped = True
        try:
            await self._owner.close()
        finally:
            await self._steps.settle()  # whatever was under way has failed by now
            for node in self._nodes.values():
                node.state, node.pid = NodeState.STOPPED, None
            self._release()

    async def _all(self, steps: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Run the steps side by side; at the first error cancel the others and raise it."""
        try:
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(step)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    # -- nodes -------------------------------------------------------------------------------

    async def start_node(self, node: str) -> Effect:
        self._require_working()
        it = self._node(node)
        began = time.monotonic()
        if not await self._steps.run(self._launch_if_dead(it)):
            return Effect.skipped(f"{node} is {it.state.value}")
        try:
            await self._wait_until_ready(it)
        except _Overtaken as overtaken:
            return Effect.skipped(str(overtaken))
        return Effect.observed(pid=it.pid, ms=ms_since(began))

    async def kill(self, node: str) -> Effect:
        return await self._steps.run(self._end(self._node(node)))

    async def power_off(self, node: str) -> Effect:
        if self.disk != "volatile":
            raise FaultNotPossible(
                "a process cannot lose the page cache of this machine: use --disk volatile (own "
                "nodes) or --cluster sim"
            )
        return await self._steps.run(self._end(self._node(node)))

    async def pause(self, node: str) -> Effect:
        to_paused = self._signal(node, NodeState.RUNNING, "SIGSTOP", NodeState.PAUSED)
        return await self._steps.run(to_paused)

    async def resume(self, node: str) -> Effect:
        to_running = self._signal(node, NodeState.PAUSED, "SIGCONT", NodeState.RUNNING)
        return await self._steps.run(to_running)

    async def skew(self, node: str, offset_ns: int, rate_ppm: int = 0) -> Effect:
        raise FaultNotPossible(f"the {self.kind} cluster has one clock: use --cluster sim")

    async def damage(self, node: str, how: str, options: Mapping[str, Any]) -> Effect:
        raise FaultNotPossible(f"the {self.kind} cluster shares this machine's disk")

    async def _launch_if_dead(self, node: Node) -> bool:
        async with node.turn:
            dead = node.state in (NodeState.DEAD, NodeState.STOPPED)
            if dead:
                await self._launch(node)
            return dead

    async def _launch(self, node: Node) -> None:
        command = self.system.command(node.spec)
        node.data.mkdir(parents=True, exist_ok=True)
        for path, content in command.files.items():
            here = self._here(node, path)
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_bytes(content)
        env = {**self._owner.env, **command.env}
        node.pid = await self._owner.start(node.name, command.argv, env, node.folder, node.log)
        node.starts += 1
        # Its end may have been reported together with its start.
        died = node.last_exit is not None and node.last_exit.pid == node.pid
        node.state = NodeState.DEAD if died else NodeState.RUNNING
        if died:
            node.pid = None

    async def _wait_until_ready(self, node: Node) -> None:
        """Probe until the node is ready. Raises NodeNotReady, or _Overtaken by another fault."""
        start, began = node.starts, time.monotonic()
        deadline = began + self._ready_timeout_s
        pause_s = 0.01
        while True:
            self._require_working()
            if node.starts != start or node.state is NodeState.DEAD:
                self._explain_death(node, start, began)
            if node.state is NodeState.PAUSED:
                deadline = time.monotonic() + self._ready_timeout_s  # it has no chance meanwhile
            elif await self._probe(node):
                return
            if time.monotonic() > deadline:
                raise NodeNotReady(
                    f"{node.name} was not ready after {self._ready_timeout_s:g} s; its process "
                    f"{node.pid} still runs\n{quote(node.log)}"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(0.1, pause_s * 1.5)

    async def _probe(self, node: Node) -> bool:
        try:
            async with asyncio.timeout(PROBE_DEADLINE_S):
                return await self.system.ready(self, node.name)
        except TimeoutError:
            return False

    def _explain_death(self, node: Node, start: int, began: float) -> None:
        end = node.last_exit
        if node.starts != start or (end is not None and end.planned):
            raise _Overtaken(f"{node.name} was killed while it started")
        status = "unknown" if end is None else describe(end.status)
        raise NodeNotReady(
            f"{node.name} ended {time.monotonic() - began:.1f} s after its start, before it was "
            f"ready: {status}\n{quote(node.log)}"
        )

    async def _end(self, node: Node) -> Effect:
        self._require_working()
        async with node.turn:
            if node.state not in (NodeState.RUNNING, NodeState.PAUSED):
                return Effect.skipped(f"{node.name} is {node.state.value}")
            began, was = time.monotonic(), node.state.value
            end = await self._owner.kill(node.name)
            if end is None:
                return Effect.skipped(f"{node.name} ended by itself")  # just before we came
            # The kernel says that it has ended: that the process is gone could not be surer.
            return Effect.observed(pid=end.pid, status=end.status, was=was, ms=ms_since(began))

    async def _signal(self, name: str, before: NodeState, signal: str, after: NodeState) -> Effect:
        self._require_working()
        node = self._node(name)
        async with node.turn:
            if node.state is not before:
                return Effect.skipped(f"{name} is {node.state.value}")
            began = time.monotonic()
            pid = await self._owner.signal(name, signal)
            if pid is None or node.state is not before:
                return Effect.skipped(f"{name} ended by itself")
            node.state = after
            states = await self._wait_for_threads(pid, stopped=after is NodeState.PAUSED)
            evidence = {"pid": pid, "threads": states, "ms": ms_since(began)}
            if not states or any((s == "T") != (after is NodeState.PAUSED) for s in states):
                return Effect.unobserved(**evidence)
            return Effect.observed(**evidence)

    async def _wait_for_threads(self, pid: int, stopped: bool) -> list[str]:
        """Wait until all threads are stopped (or none is); return their states at last."""
        deadline = time.monotonic() + STATE_DEADLINE_S
        while True:
            states = thread_states(pid)
            settled = all((state == "T") == stopped for state in states)
            if settled or time.monotonic() > deadline:
                return states
            await asyncio.sleep(0.001)

    def _on_exit(self, end: Exit) -> None:
        node = self._nodes[end.name]
        node.last_exit = end
        node.state, node.pid = NodeState.DEAD, None
        if not end.planned and not self._stopped:
            crash = {"node": end.name, "time_ns": end.time_ns, "status": end.status}
            self._crashes.append({**crash, "log": tail(node.log)})

    # -- links -------------------------------------------------------------------------------

    async def cut(self, links: Collection[Link]) -> Effect:
        return await self._working_links().cut(links)

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        return await self._working_links().heal(links)

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        return await self._working_links().shape(links, shape)

    async def reset(self, links: Collection[Link]) -> Effect:
        return await self._working_links().reset(links)

    # -- what there is -----------------------------------------------------------------------

    def state(self, node: str) -> NodeState:
        if not self._nodes and node in self.nodes:
            return NodeState.STOPPED
        return self._node(node).state

    def address(self, node: str, host: str) -> Address:
        try:
            return self._node(node).spec.advertised[host]
        except KeyError:
            raise UsageError(f"there is no client host {host!r}") from None

    def admin(self, node: str) -> Address:
        return self._node(node).spec.bind["admin"]

    def log(self, node: str) -> Path:
        return self._folder(node) / "node.log"

    def data(self, node: str) -> Path:
        return self._folder(node) / "data"

    def crashes(self) -> Sequence[Mapping[str, Any]]:
        return tuple(self._crashes)

    def _folder(self, node: str) -> Path:
        if node not in self.nodes:
            raise UsageError(f"there is no node {node!r}")
        return self.folder / "nodes" / node

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            raise UsageError(f"there is no node {name!r}; there are {', '.join(self.nodes)}")
        if name not in self._nodes:
            raise EnvironmentFailure("the cluster has not been started")
        return self._nodes[name]


class _Overtaken(Exception):
    """The node being waited for was killed or restarted by another fault."""


def ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)
