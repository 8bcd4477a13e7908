"""A cluster of processes on this machine: no root, no containers.

Each node has its own folder and its own ports of 127.0.0.1; a supervisor process owns the nodes and
the proxy server, so that nothing outlives the harness. Every directed link between nodes, and
between client hosts and nodes, passes a proxy; the admin port alone is reached directly.

    harness ── pipe ── supervisor ──┬── n1, n2, n3
       └────── HTTP ── proxy server ┘   (every link is a proxy in there)

Blind to: page cache lost with the power, unless the nodes keep it in their process
(`disk="volatile"`); packets (the links are TCP streams); clocks and disks, for now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import seeds
from harness.cluster.contract import Ability, Address, NodeSpec
from harness.cluster.layout import wire_up
from harness.cluster.links import Links, Wire
from harness.cluster.ports import Ports
from harness.cluster.postmortem import describe, quote
from harness.cluster.process_cluster import ProcessCluster
from harness.cluster.processes import Exit, Processes
from harness.errors import EnvironmentFailure, UsageError
from harness.system import System

HOST = "127.0.0.1"
PROXY_PROCESS = "proxies"
PROXY_DEADLINE_S = 20.0


class LocalCluster(ProcessCluster):
    """See `ProcessCluster` for the other arguments.

    Arguments:
        proxy: "embedded", "server" (a real toxiproxy-server from TOXIPROXY_SERVER or PATH), or
            "auto": the server where there is one.

    Raises:
        UsageError: these arguments do not go together.
    """

    kind = "local"

    def __init__(self, system: System, *, proxy: str = "embedded", **common: Any) -> None:
        super().__init__(system, **common)
        self._server = find_proxy_server(proxy)
        self._ports = Ports()
        self._processes = Processes(self._on_exit)
        self._links: Links | None = None
        self._proxies_died: Exit | None = None

    @property
    def supports(self) -> frozenset[Ability]:
        return super().supports | {Ability.SHAPE, Ability.RESET}

    @property
    def supervisor_pid(self) -> int | None:
        return self._processes.supervisor_pid

    @property
    def _owner(self) -> Processes:
        return self._processes

    async def _surround(self) -> Mapping[str, NodeSpec]:
        wires, specs = wire_up(self._plan(self.data), self._take)
        await self._start_proxies(wires)
        return specs

    def _release(self) -> None:
        self._ports.release()

    def _take(self) -> Address:
        return Address(HOST, self._ports.take())

    async def _start_proxies(self, wires: Sequence[Wire]) -> None:
        api = self._take()
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "proxies.log"
        argv = [
            *(self._server or (sys.executable, "-m", "harness.cluster.toxiproxy")),
            *("-host", api.host, "-port", str(api.port)),
            *("-seed", str(seeds.draw(self.seed, "proxies") >> 1)),  # Go's are signed
        ]
        env = {**os.environ, "LOG_LEVEL": "error"} if self._server else self._processes.env
        await self._processes.start(PROXY_PROCESS, argv, env, self.folder, log)
        await self._wait_for_proxies(api, log)
        self._links = Links(api, wires, self.state, is_ours=not self._server)
        await self._links.create()

    async def _wait_for_proxies(self, api: Address, log: Path) -> None:
        deadline = time.monotonic() + PROXY_DEADLINE_S
        while time.monotonic() < deadline:
            self._require_working()
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(*api)
                writer.close()
                return
            await asyncio.sleep(0.01)
        raise EnvironmentFailure(
            f"the proxy server did not answer within {PROXY_DEADLINE_S:g} s\n{quote(log)}"
        )

    def _on_exit(self, end: Exit) -> None:
        if end.name == PROXY_PROCESS:
            self._proxies_died = end
        else:
            super()._on_exit(end)

    def _working_links(self) -> Links:
        self._require_working()
        assert self._links is not None
        return self._links

    def _require_working(self) -> None:
        super()._require_working()
        if self._proxies_died is not None:
            raise EnvironmentFailure(
                f"the proxy server died: {describe(self._proxies_died.status)}\n"
                f"{quote(self.folder / 'proxies.log')}"
            )


def find_proxy_server(choice: str) -> tuple[str, ...]:
    """The command of a real toxiproxy-server, or nothing for the embedded one.

    Raises:
        UsageError: a real one is wanted and there is none, or the choice is unknown.
    """
    if choice not in ("embedded", "server", "auto"):
        raise UsageError(f"there is no proxy {choice!r}; it is embedded, server or auto")
    if choice == "embedded":
        return ()
    found = os.environ.get("TOXIPROXY_SERVER") or shutil.which("toxiproxy-server")
    if choice == "server" and not found:
        raise UsageError("no toxiproxy-server on PATH, and TOXIPROXY_SERVER names none")
    return (found,) if found else ()
