"""The echo system, and how the tests talk to its nodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from harness.cluster.contract import Address, Cluster, NodeSpec
from harness.errors import UsageError
from harness.nemesis import View
from harness.system import Command, Program
from tests.conformance import echo_node

SOURCE = Path(echo_node.__file__)


class EchoSystem:
    """See `harness.system.System`."""

    name = "echo"
    own = True
    virtual_libraries = ()

    def __init__(self, peer_ports: Sequence[str] = ("peer",)) -> None:
        self.peer_ports = peer_ports

    def command(self, spec: NodeSpec) -> Command:
        program, config = f"{spec.data}/echo_node.py", f"{spec.data}/node.json"
        return Command(
            argv=[spec.python, program, config],
            env={"PYTHONUNBUFFERED": "1"},
            files={program: SOURCE.read_bytes(), config: json.dumps(asdict(spec)).encode()},
        )

    def program(self, spec: NodeSpec) -> Program:
        return partial(echo_node.run, config=asdict(spec))

    async def ready(self, cluster: Cluster, node: str) -> bool:
        try:
            return bool(await call(cluster.admin(node), {"do": "count"}, 2.0))
        except (OSError, TimeoutError):
            return False

    async def view(self, cluster: Cluster) -> View:
        return View(tuple(cluster.nodes), tuple(cluster.clients))

    def port(self, workload: str, library: str | None) -> Callable[..., Any]:
        raise UsageError("the echo system serves no workload")

    def stats(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}


class Talk:
    """A connection to a node, kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @staticmethod
    async def open(where: Address) -> Talk:
        return Talk(*await asyncio.open_connection(*where))

    def send(self, request: Mapping[str, Any]) -> None:
        self.writer.write(json.dumps(request).encode() + b"\n")

    async def receive(self, wait_s: float = 10.0) -> dict[str, Any]:
        """The next reply. Raises TimeoutError if none comes, ConnectionResetError at the end."""
        line = await asyncio.wait_for(self.reader.readline(), wait_s)
        if not line:
            raise ConnectionResetError("the connection was closed")
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def ask(self, request: Mapping[str, Any], wait_s: float = 10.0) -> dict[str, Any]:
        self.send(request)
        return await self.receive(wait_s)

    def close(self) -> None:
        self.writer.close()


async def call(where: Address, request: Mapping[str, Any], wait_s: float = 10.0) -> dict[str, Any]:
    """One request on a connection of its own; connecting counts too. Raises as `receive` does."""
    async with asyncio.timeout(wait_s):
        talk = await Talk.open(where)
        try:
            return await talk.ask(request, wait_s)
        finally:
            talk.close()


async def wait_until(
    holds: Callable[[], Any], what: str, deadline_s: float = 10.0, every_s: float = 0.01
) -> None:
    """Wait for a condition, plain or awaitable. Raises AssertionError naming it when time is up."""
    now = asyncio.get_running_loop().time
    deadline = now() + deadline_s
    while True:
        result = holds()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert now() < deadline, f"after {deadline_s:g} s it is still not so: {what}"
        await asyncio.sleep(every_s)


async def wait_quick(
    measure: Callable[[], Awaitable[float]], below_s: float, deadline_s: float = 20.0
) -> None:
    """Measure until once it took less. A busy machine makes some slow, a fault makes all slow."""

    async def is_quick() -> bool:
        return await measure() < below_s

    await wait_until(is_quick, f"it takes less than {below_s:g} s", deadline_s)
