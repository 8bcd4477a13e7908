"""Connections: frames however they are cut, answers in order, and no more than fits."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.deadline import wait_until
from harness.host.real import RealHost
from nodes.broker.server import IN_FLIGHT_MAX, READ_AHEAD, Disconnect, Listener
from nodes.broker.wire import APIS, Malformed, Request, encode_response

BYTES_MAX = 8 << 20
PRODUCE, API_VERSIONS = APIS[0], APIS[18]

Handler = Callable[[Request, str], Awaitable[bytes | None]]


def produce(number: int, size: int = 0) -> bytes:
    """A Produce frame with a correlation id and `size` bytes of records."""
    topic = PRODUCE.request.TopicProduceData
    part = topic.PartitionProduceData(index=0, records=bytes([number % 251]) * size)
    body = PRODUCE.request(
        version=9, acks=1, timeout_ms=1, topic_data=[topic(name="t", partition_data=[part])]
    )
    body.with_header(number, "test")
    return bytes(body.encode(header=True, framed=True))


def records_of(request: Request) -> bytes:
    return bytes(request.body.topic_data[0].partition_data[0].records)


def answer(request: Request, size: int = 0) -> bytes:
    """An answer with its request's correlation id, and a name of `size` bytes in it."""
    topic = PRODUCE.response.TopicProduceResponse(name="x" * size)
    return encode_response(request, PRODUCE.response(responses=[topic]))


async def read_answer(reader: asyncio.StreamReader) -> int:
    """The correlation id of the next answer."""
    async with asyncio.timeout(5):
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return int.from_bytes((await reader.readexactly(size))[:4], "big")


class Served:
    """A listener, what it logged, and how to connect to it."""

    def __init__(self, listener: Listener, output: io.StringIO) -> None:
        self.listener, self._output = listener, output

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        (socket,) = self.listener._server.sockets
        return await asyncio.open_connection(*socket.getsockname(), limit=1 << 24)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._output.getvalue().splitlines()]


@asynccontextmanager
async def serving(handler: Handler, folder: Path = Path("/tmp")) -> AsyncIterator[Served]:
    output = io.StringIO()
    host = RealHost("n1", folder, 1, disk=object(), output=output)
    listener = Listener(host, "c1", ("127.0.0.1", 0), handler, BYTES_MAX)
    await listener.bind()
    await listener.serve()
    try:
        yield Served(listener, output)
    finally:
        listener.close()


async def assert_closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(5):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


class Gate:
    """A handler whose requests end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.open: dict[int, asyncio.Future[None]] = {}

    async def __call__(self, request: Request, listener: str) -> bytes | None:
        self.begun.append(request.correlation)
        future = asyncio.get_running_loop().create_future()
        self.open[request.correlation] = future
        try:
            await future
        except asyncio.CancelledError:
            self.cancelled.append(request.correlation)
            raise
        return answer(request)

    def finish(self, number: int) -> None:
        self.open[number].set_result(None)

    async def wait_begun(self, count: int) -> None:
        async def all_begun() -> bool:
            return len(self.begun) >= count

        await wait_until(all_begun, 5, f"{count} requests begin", pause_s=0.001)


async def test_answers_leave_in_the_order_of_their_requests() -> None:
    gate = Gate()
    async with serving(gate) as served:
        reader, writer = await served.connect()
        writer.write(b"".join(map(produce, range(5))))
        await gate.wait_begun(5)
        assert gate.begun == [0, 1, 2, 3, 4], "begun in the order of arrival"
        for number in (3, 1, 4, 0, 2):
            gate.finish(number)
        assert [await read_answer(reader) for _ in range(5)] == [0, 1, 2, 3, 4]
        writer.close()


sizes = st.lists(
    st.integers(0, 300) | st.integers(READ_AHEAD - 200, READ_AHEAD + 200) | st.just(3 << 20),
    min_size=1,
    max_size=6,
)


@given(sizes, st.data())
@settings(max_examples=40, deadline=None)
def test_frames_arrive_whole_however_the_stream_is_cut(
    sizes: list[int], data: st.DataObject
) -> None:
    seen: list[tuple[int, bytes]] = []

    async def handler(request: Request, listener: str) -> bytes:
        seen.append((request.correlation, records_of(request)))
        return answer(request)

    stream = b"".join(produce(number, size) for number, size in enumerate(sizes))
    places = data.draw(st.lists(st.integers(1, len(stream)), max_size=8))
    cuts = sorted({0, len(stream), *places})

    async def send() -> None:
        async with serving(handler) as served:
            reader, writer = await served.connect()
            for start, end in pairwise(cuts):
                writer.write(stream[start:end])
                await writer.drain()
                await asyncio.sleep(0)
            assert [await read_answer(reader) for _ in sizes] == list(range(len(sizes)))
            writer.close()

    asyncio.run(send())
    assert seen == [(n, bytes([n % 251]) * size) for n, size in enumerate(sizes)]


@pytest.mark.parametrize("size", [BYTES_MAX + 1, 2**31 - 1, -1])
async def test_a_frame_of_a_forbidden_size_is_refused_before_it_comes(size: int) -> None:
    async with serving(Gate()) as served:
        reader, writer = await served.connect()
        writer.write(struct.pack(">i", size))
        await assert_closed(reader)
        assert [event["event"] for event in served.events] == ["connection.malformed"]
        assert str(size) in served.events[0]["error"]
        writer.close()


async def test_memory_grows_with_what_arrives_and_not_with_what_is_announced() -> None:
    async with serving(Gate()) as served:
        tracemalloc.start()
        writers = [(await served.connect())[1] for _ in range(10)]
        for each in writers:
            each.write(struct.pack(">i", BYTES_MAX) + b"x" * 100_000)
            await each.drain()

        async def arrived() -> bool:
            return sum(c._filled for c in served.listener.connections) == 10 * 100_000

        await wait_until(arrived, 5, "all that was sent arrives", pause_s=0.001)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10 * BYTES_MAX / 4
        for each in writers:
            each.close()


async def test_a_malformed_frame_closes_its_own_connection_only() -> None:
    async def handler(request: Request, listener: str) -> bytes:
        return answer(request)

    async with serving(handler) as served:
        good_reader, good = await served.connect()
        bad_reader, bad = await served.connect()
        bad.write(struct.pack(">i", 3) + b"abc")
        await assert_closed(bad_reader)
        good.write(produce(7))
        assert await read_answer(good_reader) == 7
        assert [event["event"] for event in served.events] == ["connection.malformed"]
        good.close()
        bad.close()


async def test_only_so_many_requests_of_a_connection_are_handled_at_a_time() -> None:
    gate = Gate()
    async with serving(gate) as served:
        reader, writer = await served.connect()
        # More than what one read takes in, so that the rest has to wait in the socket.
        count = 4 * IN_FLIGHT_MAX
        writer.write(b"".join(produce(number, 4096) for number in range(count)))
        once_read = READ_AHEAD // 4096 + 1
        for number in range(count):
            await gate.wait_begun(min(number + IN_FLIGHT_MAX, count))
            assert len(gate.begun) <= number + IN_FLIGHT_MAX + once_read
            gate.finish(number)
        assert [await read_answer(reader) for _ in range(count)] == list(range(count))
        writer.close()


async def test_who_does_not_read_its_answers_gets_no_more_of_them() -> None:
    handled = 0

    async def handler(request: Request, listener: str) -> bytes:
        nonlocal handled
        handled += 1
        return answer(request, 1 << 20)

    async with serving(handler) as served:
        reader, writer = await served.connect()
        count = 200
        sending = asyncio.create_task(_send(writer, count))
        reader._transport.pause_reading()  # type: ignore[attr-defined]

        async def settled() -> bool:
            before = handled
            await asyncio.sleep(0.1)
            return handled == before > 0

        await wait_until(settled, 5, "the server waits for its client")
        assert handled < count / 2, "answers of a megabyte do not pile up"
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert [await read_answer(reader) for _ in range(count)] == list(range(count))
        await sending
        writer.close()


async def _send(writer: asyncio.StreamWriter, count: int) -> None:
    for number in range(count):
        writer.write(produce(number, 4096))
        await writer.drain()


async def test_requests_of_a_lost_connection_are_given_up() -> None:
    gate = Gate()
    async with serving(gate) as served:
        _, writer = await served.connect()
        writer.write(produce(1) + produce(2))
        await gate.wait_begun(2)
        writer.transport.abort()

        async def given_up() -> bool:
            return sorted(gate.cancelled) == [1, 2] and not served.listener.connections

        await wait_until(given_up, 5, "both are cancelled", pause_s=0.001)


async def test_a_handler_that_fails_closes_the_connection_and_says_so() -> None:
    async def handler(request: Request, listener: str) -> bytes:
        raise KeyError("a bug")

    async with serving(handler) as served:
        reader, writer = await served.connect()
        writer.write(produce(1))
        await assert_closed(reader)
        (event,) = served.events
        assert (event["event"], event["error"]) == ("request.failed", "KeyError: 'a bug'")
        writer.close()


@pytest.mark.parametrize(
    ("error", "event"),
    [(Disconnect("no answer"), "connection.closed"), (Malformed("v99"), "connection.malformed")],
)
async def test_a_handler_can_end_the_connection(error: Exception, event: str) -> None:
    async def handler(request: Request, listener: str) -> bytes:
        raise error

    async with serving(handler) as served:
        reader, writer = await served.connect()
        writer.write(produce(1))
        await assert_closed(reader)
        assert [each["event"] for each in served.events] == [event]
        writer.close()


async def test_a_request_without_an_answer_leaves_no_gap() -> None:
    async def handler(request: Request, listener: str) -> bytes | None:
        return answer(request) if request.correlation % 2 else None

    async with serving(handler) as served:
        reader, writer = await served.connect()
        writer.write(b"".join(map(produce, range(4))))
        assert [await read_answer(reader) for _ in range(2)] == [1, 3]
        writer.close()


async def test_a_handler_is_told_the_listener() -> None:
    names: list[str] = []

    async def handler(request: Request, listener: str) -> bytes:
        names.append(listener)
        return answer(request)

    async with serving(handler) as served:
        reader, writer = await served.connect()
        writer.write(produce(0))
        assert await read_answer(reader) == 0
        assert names == ["c1"]
        writer.close()
