"""A Toxiproxy server, embedded or real, with an echo upstream, for the tests of this room."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.cluster.contract import Address
from harness.cluster.ports import Ports

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Reply:
    """An HTTP reply, undigested."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server, and the HTTP of the tests' own: no client library's opinion is between."""

    api: Address
    pid: int
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.api}", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        reader, writer = await asyncio.open_connection(*self.api)
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            found = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            content = await reader.readexactly(int(found.get("content-length", 0)))
        writer.close()
        return Reply(int(head[0].split()[1]), found, content)

    async def proxy(self, name: str, upstream: Address) -> Address:
        """Create a proxy and return where it listens."""
        body = {"name": name, "upstream": str(upstream), "listen": "127.0.0.1:0"}
        reply = await self.ask("POST", "/proxies", body)
        assert reply.status == 201, reply.body
        host, _, port = reply.json["listen"].rpartition(":")
        return Address(host, int(port))

    async def add(self, proxy: str, type_: str, stream: str = "downstream", **fields: Any) -> None:
        toxicity = fields.pop("toxicity", 1.0)
        reply = await self.ask(
            "POST",
            f"/proxies/{proxy}/toxics",
            {"type": type_, "stream": stream, "toxicity": toxicity, "attributes": fields},
        )
        assert reply.status == 200, reply.body

    async def remove(self, proxy: str, name: str) -> None:
        reply = await self.ask("DELETE", f"/proxies/{proxy}/toxics/{name}")
        assert reply.status == 204, reply.body

    async def connect(self, where: Address) -> Streams:
        reader, writer = await asyncio.open_connection(*where)
        self.opened.append(writer)
        return reader, writer


@asynccontextmanager
async def running(command: tuple[str, ...], seed: int = 1) -> AsyncIterator[Server]:
    """Start a server by its command line; kill it in the end."""
    ports = Ports()
    api = Address("127.0.0.1", ports.take())
    process = await asyncio.create_subprocess_exec(
        *command,
        *("-host", api.host, "-port", str(api.port), "-seed", str(seed)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    server = Server(api, process.pid)
    try:
        await _wait_for(api)
        yield server
    finally:
        for writer in server.opened:
            writer.close()
        process.kill()
        await process.wait()
        ports.release()


EMBEDDED = (sys.executable, "-m", "harness.cluster.toxiproxy")


async def _wait_for(api: Address) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(*api)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


@asynccontextmanager
async def echo_upstream() -> AsyncIterator[Address]:
    """A TCP server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Address(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
