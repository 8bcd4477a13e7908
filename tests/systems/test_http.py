"""One small request: an answer in time, or None."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from harness.cluster.contract import Address
from systems import http

Start = Callable[..., Awaitable[tuple[Address, list[bytes]]]]


@pytest.fixture
async def answering() -> AsyncIterator[Start]:
    """Starts servers that give every request the same answer, piece by piece, and then close."""
    servers: list[asyncio.Server] = []
    requests: list[bytes] = []

    async def start(*pieces: bytes, close: bool = True) -> tuple[Address, list[bytes]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if not close:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return Address(*server.sockets[0].getsockname()), requests

    yield start
    for server in servers:
        server.close()


async def test_the_object_of_a_200_answer_comes_back(answering: Start) -> None:
    address, requests = await answering(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", b'{"a":', b" 1}")
    assert await http.get_json(address, "/state") == {"a": 1}
    assert requests[0].startswith(b"GET /state HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Busy\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n[1]",
        b"HTTP/1.1 200 OK\r\n\r\n{torn",
        b"HTTP/1.1 200 OK\r\n",
        b"",
    ],
)
async def test_anything_else_is_none(answering: Start, answer: bytes) -> None:
    address, _ = await answering(answer)
    assert await http.get_json(address, "/") is None


async def test_silence_ends_in_none_in_time(answering: Start) -> None:
    address, _ = await answering(b"HTTP/1.1 200 OK\r\n\r\n{}", close=False)
    began = time.monotonic()
    assert await http.get_json(address, "/", 0.1) is None
    assert time.monotonic() - began < 1.0


async def test_nobody_there_is_none(answering: Start) -> None:
    assert await http.get_json(Address("127.0.0.1", 1), "/") is None
