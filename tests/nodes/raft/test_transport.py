"""Frames and connections: limits before allocation, hostile bytes, calls, and coming back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from struct import pack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Refused, TimedOut, Unavailable
from nodes.raft import transport as transport_module
from nodes.raft.messages import ENTRIES_MAX, Append, Entry, Message, TimeoutNow, Vote
from nodes.raft.transport import PAYLOAD_BYTES_MAX, Transport
from nodes.raft.wire import (
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    Call,
    Frame,
    Hello,
    Malformed,
    Note,
    Result,
    framed,
    read_frame,
)
from tests.nodes.raft.hosts import Address, Link, events, ports, real_host, until

# -- frames --------------------------------------------------------------------------------------


async def parsed(data: bytes, bytes_max: int = FRAME_BYTES_MAX) -> Frame | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_frame(reader, bytes_max)


ENTRY = Entry(7, 3, b"command", 99, 5, (1, 2, 1))


@pytest.mark.parametrize(
    "frame",
    [
        Hello(2),
        Note(Vote(3, 7, 2, pre=True)),
        Note(Append(3, 6, 2, [ENTRY], 5, 9)),
        Call(1, "method", b"payload"),
        Result(1, b"answer"),
    ],
)
async def test_frames_come_out_as_they_went_in(frame: Frame) -> None:
    assert await parsed(framed(frame)) == frame


async def test_a_length_over_the_limit_is_refused_before_it_is_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(pack(">I", FRAME_BYTES_MAX + 1))
    with pytest.raises(Malformed, match="are allowed"):
        await asyncio.wait_for(read_frame(reader), 1)


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\xc0"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # a list of 4 billion
        b"\xdb\xff\xff\xff\xff",  # a text of 4 GiB
        b"\x92\xa1m\xdd\xff\xff\xff\xff",
        nested(100_000),
        msgspec.msgpack.encode(["hello", "2"]),
        msgspec.msgpack.encode(["hello", 2**70 % 2**64, 1, 2]) + b"rest",
        msgspec.msgpack.encode(["m", ["a", 1, 0, 0, [[1, 1]] * (ENTRIES_MAX + 1), 0, 0]]),
        msgspec.msgpack.encode(["m", ["unknown", 1]]),
        msgspec.msgpack.encode({"hello": 1}),
        b"\x92\xa5\xffello\x01",  # no UTF-8
    ],
)
async def test_hostile_frames_are_malformed_and_nothing_worse(payload: bytes) -> None:
    with pytest.raises(Malformed):
        await parsed(pack(">I", len(payload)) + payload)


@given(st.binary(max_size=300))
def test_random_bytes_are_a_frame_or_malformed(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        asyncio.run(parsed(pack(">I", len(data)) + data))


async def test_a_stream_that_ends_within_a_frame_is_at_its_end() -> None:
    whole = framed(Hello(1))
    for size in range(len(whole)):
        assert await parsed(whole[:size]) is None


# -- connections ---------------------------------------------------------------------------------


class Pair:
    """Two transports, each reaching the other through a link."""

    def __init__(self, root: Path) -> None:
        one, two, to_one, to_two = ports(4)
        self.addresses: dict[int, Address] = {1: one, 2: two}
        self.links = {1: Link(to_one, one), 2: Link(to_two, two)}
        self.hosts = {id: real_host(root, f"n{id}", id) for id in (1, 2)}
        self._peers = {1: {2: to_two}, 2: {1: to_one}}
        self.got: dict[int, list[Message]] = {1: [], 2: []}
        self.transports: dict[int, Transport] = {}

    async def start(self, id: int) -> Transport:
        transport = Transport(self.hosts[id], id, self._peers[id], self.addresses[id])
        transport.on_message = lambda sender, message: self.got[id].append(message)
        await transport.start()
        self.transports[id] = transport
        return transport

    async def close(self) -> None:
        for part in (*self.transports.values(), *self.links.values()):
            await part.close()

    async def sent(self, sender: int, message: Message) -> None:
        """Send again and again, for messages may be lost, until it has come."""
        receiver = 3 - sender

        def come() -> bool:
            self.transports[sender].send(receiver, message)
            return message in self.got[receiver]

        await until(come, f"a message from {sender}")


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path)
    for link in pair.links.values():
        await link.start()
    for id in (1, 2):
        await pair.start(id)
    yield pair
    await pair.close()


async def echo(payload: bytes) -> bytes:
    return payload[::-1]


async def test_messages_and_calls_go_both_ways(pair: Pair) -> None:
    for id in (1, 2):
        pair.transports[id].handlers["echo"] = echo
    for id in (1, 2):
        await pair.sent(id, TimeoutNow(id))
        assert await pair.transports[id].call(3 - id, "echo", b"abc", 5) == b"cba"
        assert await pair.transports[id].call(id, "echo", b"abc", 5) == b"cba"


async def test_a_peer_that_restarts_is_reached_again(pair: Pair) -> None:
    await pair.sent(1, TimeoutNow(1))
    await pair.transports[2].close()
    await until(lambda: 2 not in pair.transports[1]._writers, "the end of the connection")
    with pytest.raises(Unavailable):
        await pair.transports[1].call(2, "echo", b"", 1)
    await pair.start(2)
    await pair.sent(1, TimeoutNow(7))


async def test_a_peer_that_is_not_there_yet_is_dialled_until_it_is(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    try:
        await pair.start(1)  # no link, no peer: nothing listens
        await pair.links[2].start()
        await pair.start(2)
        await pair.sent(1, TimeoutNow(1))
    finally:
        await pair.close()


async def test_what_a_cut_link_holds_comes_when_it_heals(pair: Pair) -> None:
    await pair.sent(1, TimeoutNow(1))
    pair.links[2].cut()
    for number in range(2, 12):
        pair.transports[1].send(2, TimeoutNow(number))
    await pair.sent(2, TimeoutNow(99))
    assert TimeoutNow(2) not in pair.got[2]
    pair.links[2].heal()
    await until(lambda: TimeoutNow(11) in pair.got[2], "what was held")


async def test_a_cut_link_holds_no_more_than_a_buffer(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "BUFFER_BYTES_MAX", 100_000)
    await pair.sent(1, TimeoutNow(1))
    pair.links[2].cut()
    large = Append(1, 0, 0, [Entry(1, 1, bytes(1 << 20))], 0, 0)
    for _ in range(50):
        pair.transports[1].send(2, large)
    writer = pair.transports[1]._writers[2]
    assert writer.transport.get_write_buffer_size() < 3 << 20
    await until(
        lambda: writer.transport.get_write_buffer_size() > 100_000, "the kernel to take its share"
    )
    with pytest.raises(Unavailable):
        await pair.transports[1].call(2, "echo", b"", 1)


async def test_a_call_that_is_not_answered_times_out(pair: Pair) -> None:
    await pair.sent(1, TimeoutNow(1))
    pair.links[2].cut()
    with pytest.raises(TimedOut):
        await pair.transports[1].call(2, "echo", b"", 0.05)


async def test_a_call_whose_connection_is_lost_may_have_been_done(pair: Pair) -> None:
    begun = asyncio.Event()

    async def hang(payload: bytes) -> bytes:
        begun.set()
        await asyncio.Event().wait()
        return b""

    pair.transports[2].handlers["hang"] = hang
    await pair.sent(1, TimeoutNow(1))
    call = asyncio.create_task(pair.transports[1].call(2, "hang", b"", 30))
    await begun.wait()
    await pair.transports[2].close()
    with pytest.raises(TimedOut, match="was lost"):
        await call


async def fail(payload: bytes) -> bytes:
    raise ValueError("no such thing")


async def too_much(payload: bytes) -> bytes:
    return bytes(PAYLOAD_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("method", "payload", "says"),
    [
        ("unknown", b"", "no method"),
        ("fail", b"", "ValueError: no such thing"),
        ("too_much", b"", "bytes long"),
        ("fail", bytes(PAYLOAD_BYTES_MAX + 1), "more than a call can carry"),
    ],
)
async def test_what_a_peer_cannot_do_it_says(
    pair: Pair, method: str, payload: bytes, says: str
) -> None:
    pair.transports[2].handlers |= {"fail": fail, "too_much": too_much}
    await pair.sent(1, TimeoutNow(1))
    with pytest.raises(Refused, match=says):
        await pair.transports[1].call(2, method, payload, 5)


# -- strangers -----------------------------------------------------------------------------------


def oversized() -> bytes:
    return framed(Call(1, "x" * HELLO_BYTES_MAX, b""))


@pytest.mark.parametrize(
    "first",
    [
        lambda: b"GET / HTTP/1.1\r\n\r\n",
        lambda: framed(Hello(9)),
        lambda: framed(Hello(1)),
        lambda: framed(Call(1, "echo", b"")),
        oversized,
        lambda: framed(Hello(2)) + b"\xff" * 100,
        lambda: framed(Hello(2)) + framed(Hello(2)),
        lambda: framed(Hello(2)) + framed(Result(1, b"")),
    ],
)
async def test_a_connection_that_speaks_otherwise_is_closed_and_logged(
    pair: Pair, first: Callable[[], bytes]
) -> None:
    reader, writer = await asyncio.open_connection(*pair.addresses[1])
    writer.write(first())
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await until(lambda: events(pair.hosts[1], "raft.malformed"), "a log line")
    await pair.sent(2, TimeoutNow(2))


async def test_who_does_not_say_who_it_is_is_not_waited_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "HELLO_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_connection(*pair.addresses[1])
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_a_peer_that_answers_nonsense_is_dialled_again(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    dialled = 0

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal dialled
        dialled += 1
        writer.write(framed(Note(TimeoutNow(1))))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nonsense, *pair.links[2]._listen)
    try:
        await pair.start(1)
        await until(lambda: dialled > 1, "another attempt")
        assert not pair.got[1]
    finally:
        await pair.close()
        server.close()


async def test_close_leaves_no_task(tmp_path: Path) -> None:
    before: set[Any] = asyncio.all_tasks()
    pair = Pair(tmp_path)
    for link in pair.links.values():
        await link.start()
    for id in (1, 2):
        await pair.start(id)
    await pair.sent(1, TimeoutNow(1))
    await pair.close()
    await until(
        lambda: asyncio.all_tasks() - {asyncio.current_task()} <= before, "all tasks to end"
    )
