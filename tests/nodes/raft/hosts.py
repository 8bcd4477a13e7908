"""Real hosts on loopback for tests of transports and nodes, with links that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.cluster.ports import Ports
from harness.deadline import wait_until
from harness.host.real import RealHost

Address = tuple[str, int]
_PORTS = Ports()  # held until the tests end


def real_host(root: Path, name: str, seed: int = 1) -> RealHost:
    return RealHost(name, root / name, seed, output=io.StringIO())


def events(host: RealHost, event: str) -> list[dict[str, Any]]:
    """What the host logged under this name."""
    lines = host._output.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def ports(count: int) -> list[Address]:
    return [("127.0.0.1", _PORTS.take()) for _ in range(count)]


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> None:
    async def holds() -> bool:
        return bool(condition())

    await wait_until(holds, timeout_s, what, pause_s=0.01)


class Link:
    """Stands before an address, and can be cut: connections stay, and what is sent is held."""

    def __init__(self, listen: Address, target: Address) -> None:
        self._listen, self._target = listen, target
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, *self._listen)

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        finally:
            self._tasks.discard(task)
        for source, sink in ((reader, back), (there, writer)):
            self._spawn(self._copy(source, sink))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    await self._open.wait()
                    sink.write(data)
        finally:
            sink.close()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
