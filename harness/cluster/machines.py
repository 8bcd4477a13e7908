"""Containers as machines: each sleeps, and servers are started in it from outside.

An `Owner` of processes, as `processes.Processes` is one, so that a cluster need not know whether
its servers run beside the harness or in containers. A machine outlives the servers started in it:
killing a server keeps the machine's network rules and files.

Needs a Docker Engine on this very machine and root: signals go to the servers' processes from the
host, their ends are seen through pidfds, and rules are applied in their network namespaces.

Promises that `close` leaves no container and no network, and that neither does a harness that is
killed: a watchdog removes them (`harness.cluster.watchdog`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import select
import signal as signals
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import docker
from docker.errors import DockerException

from harness.cluster import image, leftovers, watchdog
from harness.cluster.networks import GATEWAY, make_network
from harness.cluster.processes import Exit, own_environment
from harness.cluster.unbroken import Unbroken
from harness.errors import EnvironmentFailure

FIRST_HOST = 11
FOLDER = "/node"  # where a machine sees its node's folder
KILL_DEADLINE_S = 10.0
STATUS_DEADLINE_S = 10.0
API_DEADLINE_S = 60.0
TROUBLE = (DockerException, OSError)  # an engine that says no, and one that says nothing any more
REMOVALS = 5  # an engine under load may refuse once: the endpoint of a container lingers

T = TypeVar("T")


def has_ended(pidfd: int, within_ms: int = 0) -> bool:
    """Whether that process is over by then. `select` would know the first 1,024 files only."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(within_ms))


@dataclass(slots=True)
class Server:
    """A process started in a machine. `reported` is set when its end is."""

    exec_id: str
    pid: int
    pidfd: int
    planned: bool = False
    reported: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_ended(self) -> bool:
        return has_ended(self.pidfd)


@dataclass(slots=True)
class Machine:
    """One container, and the server that was started in it last.

    Attributes:
        pid: of the container's first process, in this machine's terms: it names its namespaces.
    """

    name: str
    address: str
    folder: Path
    container: Any = None
    pid: int = 0
    pidfd: int = -1
    server: Server | None = None


class Machines:
    """The containers of one run, in one internal network.

    Attributes:
        machines: by name, once they are there.
        gateway: the address of this host in their network.

    Arguments:
        folders: machine name → the folder that it sees as `/node`.
        on_exit: called with each end of a server, planned or not.
    """

    env: Mapping[str, str] = {}  # nothing of the harness's own; the image has what servers need

    def __init__(self, folders: Mapping[str, Path], on_exit: Callable[[Exit], None]) -> None:
        self.run = secrets.token_hex(6)
        self.machines: dict[str, Machine] = {}
        self.gateway = ""
        self._folders, self._on_exit = folders, on_exit
        self._network = f"assay-{self.run}"
        self._client: Any = None
        self._watchdog: asyncio.subprocess.Process | None = None
        self._steps = Unbroken()
        self._gone: str | None = None
        self._closed = False

    # -- open and close ----------------------------------------------------------------------

    async def open(self) -> None:
        """Make the image if need be, the network and the containers.

        Raises:
            EnvironmentFailure: no Docker Engine, no root, or it refuses; the message says which.
        """
        if os.geteuid() != 0:
            raise EnvironmentFailure(
                "--cluster docker needs root: faults are applied to the containers from outside"
            )
        try:
            await self._on_thread(self._connect)
        except TROUBLE as error:
            raise EnvironmentFailure(
                f"no Docker Engine answers: {error}; install one and start it, or use "
                "--cluster local"
            ) from error
        await self._steps.run(self._start_watchdog())
        tag = await asyncio.to_thread(image.ensure)
        self.require_alive()
        try:
            marks = leftovers.labels(self.run, os.getpid())
            subnet = await self._on_thread(
                partial(make_network, self._client, self._network, labels=marks)
            )
            self.gateway = str(subnet[GATEWAY])
            for number, (name, folder) in enumerate(self._folders.items(), start=FIRST_HOST):
                self.machines[name] = Machine(name, str(subnet[number]), folder)
            made = [self._on_thread(partial(self._make, m, tag)) for m in self.machines.values()]
            await asyncio.gather(*made)
        except TROUBLE as error:
            raise EnvironmentFailure(f"Docker cannot make the machines: {error}") from error
        self.require_alive()
        for machine in self.machines.values():
            self._watch_machine(machine)

    async def close(self) -> None:
        """Remove all containers and the network. Idempotent.

        Raises:
            EnvironmentFailure: the engine does not remove them; the watchdog goes on trying.
        """
        if self._closed:
            return
        self._closed = True
        await self._steps.settle()  # what is still being made could not be removed yet
        self._stop_watching()
        left = await asyncio.to_thread(self._remove_all) if self._client is not None else None
        if self._watchdog is not None and self._watchdog.stdin is not None:
            if left is None:
                self._watchdog.stdin.write(watchdog.DONE)
            self._watchdog.stdin.close()
            if left is None:
                await self._watchdog.wait()
        if left is not None:
            raise EnvironmentFailure(
                f"Docker did not remove this run's containers: {left}; `assay doctor --clean` "
                "removes them when the harness has ended"
            )

    def require_alive(self) -> None:
        """Raises EnvironmentFailure when the machines are gone."""
        if self._closed:
            raise EnvironmentFailure("the cluster has been stopped")
        if self._gone is not None:
            raise EnvironmentFailure(
                f"the container of {self._gone} has ended, and its server with it; was it removed "
                "by hand, or did the engine end?"
            )

    def _connect(self) -> None:
        self._client = docker.from_env(timeout=API_DEADLINE_S)

    async def _start_watchdog(self) -> None:
        self.require_alive()
        self._watchdog = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "harness.cluster.watchdog", self.run, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env=own_environment(),
        )

    async def _on_thread(self, do: Callable[[], T]) -> T:
        return await self._steps.run(asyncio.to_thread(do))

    def _remove_all(self) -> str | None:
        """What keeps us from it, if anything does."""
        trouble: object = None
        try:
            for _ in range(REMOVALS):
                leftovers.remove_run(self._client, self.run)
                if not leftovers.is_left(self._client, self.run):
                    return None
                trouble = "they are still there"
        except TROUBLE as error:
            trouble = error
        finally:
            self._client.close()
        return str(trouble)

    # -- machines ----------------------------------------------------------------------------

    def _make(self, machine: Machine, tag: str) -> None:
        machine.folder.mkdir(parents=True, exist_ok=True)
        endpoint = self._client.api.create_endpoint_config(
            ipv4_address=machine.address, aliases=[machine.name]
        )
        machine.container = self._client.containers.create(
            tag,
            name=f"assay-{self.run}-{machine.name}",
            hostname=machine.name,
            init=True,  # somebody has to reap what servers leave
            network=self._network,
            networking_config={self._network: endpoint},
            volumes={str(machine.folder): {"bind": FOLDER, "mode": "rw"}},
            labels=leftovers.labels(self.run, os.getpid()),
        )
        machine.container.start()
        machine.container.reload()
        pid = int(machine.container.attrs["State"]["Pid"])
        self._require_here(pid, machine.container.id)
        machine.pid, machine.pidfd = pid, os.pidfd_open(pid)

    def _require_here(self, pid: int, container: str) -> None:
        """With an engine elsewhere, its pids would be those of innocent processes here."""
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            groups = ""
        if container not in groups:
            raise EnvironmentFailure(
                "the Docker Engine does not run on this machine (DOCKER_HOST?), or its processes "
                "cannot be seen from here: faults could not be applied"
            )

    def _watch_machine(self, machine: Machine) -> None:
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(machine.pidfd)
            self._gone = machine.name

        loop.add_reader(machine.pidfd, gone)

    def _stop_watching(self) -> None:
        loop = asyncio.get_running_loop()
        for machine in self.machines.values():
            server, machine.server = machine.server, None
            for pidfd in (machine.pidfd, -1 if server is None else server.pidfd):
                if pidfd >= 0:
                    loop.remove_reader(pidfd)
                    os.close(pidfd)
            machine.pidfd = -1
            if server is not None:
                server.reported.set()  # for a kill that waits for it

    # -- servers -----------------------------------------------------------------------------

    async def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path
    ) -> int:
        """Start a server in the machine; its process id here. Output goes to `/node/node.log`.

        `cwd` and `log` are the host's names of what the machine has at fixed places.
        """
        self.require_alive()
        machine = self.machines[name]
        assert machine.server is None, f"{name} has a server already"
        assert log == machine.folder / "node.log" and cwd == machine.folder
        return await self._steps.run(self._start(machine, argv, env))

    async def _start(self, machine: Machine, argv: Sequence[str], env: Mapping[str, str]) -> int:
        script = f'exec "$@" >>{FOLDER}/node.log 2>&1'
        command = ["sh", "-c", script, "sh", *argv]
        try:
            exec_id, pid = await asyncio.to_thread(self._exec, machine, command, dict(env))
        except TROUBLE as error:
            raise EnvironmentFailure(f"cannot start {machine.name}: {error}") from error
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            ended_ns = time.monotonic_ns()
            status = await asyncio.to_thread(self._status, exec_id)
            self._on_exit(Exit(machine.name, pid, status, False, ended_ns))
            return pid
        server = Server(exec_id, pid, pidfd)
        machine.server = server
        asyncio.get_running_loop().add_reader(pidfd, self._ended, machine, server)
        return pid

    async def signal(self, name: str, signal: str) -> int | None:
        """Send a signal ("SIGSTOP") to the server and its group: its pid, or None if it is gone."""
        server = self.machines[name].server
        if server is None or server.has_ended:
            await self._wait_until_reported(server)
            return None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signals.Signals[signal])
        return server.pid

    async def kill(self, name: str) -> Exit | None:
        """SIGKILL the server and its group; return when it is gone. None if it was already."""
        server = self.machines[name].server
        if server is None or server.has_ended:
            await self._wait_until_reported(server)
            return None
        server.planned = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signals.SIGKILL)
        try:
            async with asyncio.timeout(KILL_DEADLINE_S):
                await server.reported.wait()
        except TimeoutError:
            raise EnvironmentFailure(
                f"{name} (process {server.pid}) is still there {KILL_DEADLINE_S:g} s after SIGKILL"
            ) from None
        return Exit(name, server.pid, -signals.SIGKILL, planned=True, time_ns=time.monotonic_ns())

    async def _wait_until_reported(self, server: Server | None) -> None:
        """Its end has been told when we return, so that what the caller sees next is true."""
        if server is not None:
            await server.reported.wait()  # `_status` gives up by itself

    def _exec(
        self, machine: Machine, command: Sequence[str], env: dict[str, str]
    ) -> tuple[str, int]:
        api = self._client.api
        made = api.exec_create(machine.container.id, command, environment=env, workdir=FOLDER)
        api.exec_start(made["Id"], detach=True)
        deadline = time.monotonic() + API_DEADLINE_S
        while True:
            shape = api.exec_inspect(made["Id"])
            if shape["Pid"]:
                return made["Id"], int(shape["Pid"])
            if time.monotonic() > deadline or shape["ExitCode"] is not None:
                raise EnvironmentFailure(f"nothing can be started on {machine.name}: {shape}")
            time.sleep(0.005)

    def _ended(self, machine: Machine, server: Server) -> None:
        """The server's process is gone."""
        ended_ns = time.monotonic_ns()
        asyncio.get_running_loop().remove_reader(server.pidfd)
        if server.planned:
            self._report(machine, server, -signals.SIGKILL, ended_ns)
        else:
            self._steps.begin(self._ask_and_report(machine, server, ended_ns))

    async def _ask_and_report(self, machine: Machine, server: Server, ended_ns: int) -> None:
        status = await asyncio.to_thread(self._status, server.exec_id)
        self._report(machine, server, status, ended_ns)

    def _report(self, machine: Machine, server: Server, status: int, ended_ns: int) -> None:
        os.close(server.pidfd)
        machine.server = None
        self._on_exit(Exit(machine.name, server.pid, status, server.planned, ended_ns))
        server.reported.set()

    def _status(self, exec_id: str) -> int:
        """As `subprocess` has it: Docker says 128 + n for signal n. -1 if it does not say."""
        deadline = time.monotonic() + STATUS_DEADLINE_S
        with contextlib.suppress(*TROUBLE):
            while time.monotonic() < deadline:
                code = self._client.api.exec_inspect(exec_id)["ExitCode"]
                if code is not None:
                    return 128 - int(code) if int(code) > 128 else int(code)
                time.sleep(0.005)
        return -1
