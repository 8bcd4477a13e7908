"""Small programs for machines of a world, and how a test waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from harness.sim.machine import Program

PORT = 7000


def listening(factory: Callable[[], asyncio.BaseProtocol]) -> Program:
    """A server on `PORT` of its machine, for ever."""

    async def program(host: Any) -> None:
        await asyncio.get_running_loop().create_server(factory, host.name, PORT)
        await asyncio.Event().wait()

    return program


class Collector(asyncio.Protocol):
    """Keeps what it hears, and when; answers every piece with "ok"."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.times: list[float] = []
        self.lost: list[Exception | None] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.times.append(asyncio.get_running_loop().time())
        self.transport.write(b"ok")

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)

    @property
    def text(self) -> bytes:
        return b"".join(self.heard)


async def until(holds: Callable[[], Any], what: str, within_s: float = 60.0) -> None:
    """Wait in virtual time. Raises AssertionError naming the condition when time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not holds():
        assert loop.time() < deadline, f"after {within_s:g} s it is still not so: {what}"
        await asyncio.sleep(0.001)
