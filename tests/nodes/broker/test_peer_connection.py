"""How one broker asks another: answers that fit, and an error for any that does not."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nodes.broker.wire import APIS, PeerConnection, decode_request, encode_response

FETCH = APIS[1]
VERSIONS = (4, 11, 12, 15)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[PeerConnection]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await PeerConnection.open(server.sockets[0].getsockname(), "replica-2")
    try:
        yield connection
    finally:
        connection.close()
        server.close()


async def read_request(reader: asyncio.StreamReader) -> Any:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return decode_request(bytearray(await reader.readexactly(size)))


async def ask(connection: PeerConnection, version: int = 15, timeout_s: float = 5.0) -> Any:
    body = FETCH.request(version=version, max_wait_ms=7, topics=[])
    return await connection.ask(body, FETCH.request, FETCH.response, version, timeout_s)


def answer(records: bytes) -> Any:
    topic = FETCH.response.FetchableTopicResponse
    part = topic.PartitionData(partition_index=3, records=records)
    return FETCH.response(responses=[topic(topic="t", partitions=[part])])


@pytest.mark.parametrize("version", VERSIONS)
async def test_requests_and_answers_go_one_after_the_other(version: int) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(3):
            request = await read_request(reader)
            asked.append((request.version, request.client, request.body.max_wait_ms))
            writer.write(encode_response(request, answer(bytes([number]) * number)))

    async with connected(serve) as connection:
        for number in range(3):
            found = await ask(connection, version)
            (part,) = found.responses[0].partitions
            assert (part.partition_index, bytes(part.records)) == (3, bytes([number]) * number)
    assert asked == [(version, "replica-2", 7)] * 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda frame: frame[:4] + b"\0\0\0\x63" + frame[8:], id="of another request"),
        pytest.param(lambda frame: frame[:8] + b"\1" + frame[9:], id="with tags in its header"),
        pytest.param(lambda frame: b"\0\0\0\x06" + frame[4:10], id="that is cut short"),
        pytest.param(lambda frame: b"\xff\xff\xff\xff" + frame[4:], id="of a negative size"),
    ],
)
async def test_an_answer_is_refused(change: Callable[[bytes], bytes]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        writer.write(change(bytes(encode_response(request, answer(b"")))))

    async with connected(serve) as connection:
        with pytest.raises(ValueError):
            await ask(connection)


async def test_a_peer_that_goes_is_noticed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.close()

    async with connected(serve) as connection:
        with pytest.raises((EOFError, OSError)):
            await ask(connection)


async def test_a_peer_that_is_silent_is_not_waited_for_for_ever() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected(serve) as connection:
        with pytest.raises(TimeoutError):
            await ask(connection, timeout_s=0.01)


async def test_a_peer_that_is_not_there_is_an_error() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError):
        await PeerConnection.open(address, "replica-2")
