"""Connections between nodes, and calls over them.

Each node dials each other; what it sends goes out on the connection that it dialled, answers to
calls come back on it. A peer that cannot be reached costs nobody a wait: messages are dropped while
there is no connection or its buffer is full, and calls fail at their deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from harness.errors import OpError, Refused, TimedOut, Unavailable
from harness.host.contract import Host
from nodes.raft.messages import Message
from nodes.raft.wire import (
    FRAME_BYTES_MAX,
    HELLO_BYTES_MAX,
    Call,
    Failure,
    Hello,
    Malformed,
    Note,
    Result,
    framed,
    read_frame,
)

BUFFER_BYTES_MAX = 4 << 20
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - 1024
"""Of a call or its answer; the rest is for the frame around it."""

DIAL_TIMEOUT_S = 1.0
HELLO_TIMEOUT_S = 10.0
BACKOFF_S = (0.05, 0.5)
SILENCE_S = 3
"""The kernel gives a connection up when what was sent is not confirmed for so long: a network that
works again shall not wait for a retransmission that backed off while it did not."""

Handler = Callable[[bytes], Awaitable[bytes]]
Address = tuple[str, int]


class Transport:
    """The connections of one node.

    Attributes:
        on_message: called with (sender, message); must not raise.
        handlers: method → answers calls.
    """

    def __init__(self, host: Host, id: int, peers: Mapping[int, Address], bind: Address) -> None:
        self._host, self._id, self._peers, self._bind = host, id, dict(peers), bind
        self.on_message: Callable[[int, Message], None] = lambda sender, message: None
        self.handlers: dict[str, Handler] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._calls_of: dict[int, set[int]] = {peer: set() for peer in peers}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen and dial. Raises OSError: the address cannot be bound."""
        self._server = await asyncio.start_server(self._serve, *self._bind)
        for peer in self._peers:
            self._spawn(self._dial_for_ever(peer))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers.values():
            writer.close()

    def send(self, peer: int, message: Message) -> None:
        """Send if there is a connection with room; else the message is lost."""
        writer = self._writer(peer)
        if writer is not None:
            writer.write(framed(Note(message)))

    async def call(self, peer: int, method: str, payload: bytes, timeout_s: float) -> bytes:
        """Call a method of a peer, or of this node.

        Raises:
            Unavailable: there is no connection; nothing was sent.
            Refused: the peer answered with a failure, whose text it is.
            TimedOut: no answer came; it may have been done.
        """
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Refused(f"{len(payload)} bytes are more than a call can carry")
        try:
            async with asyncio.timeout(timeout_s):
                if peer == self._id:
                    return await self._call_self(method, payload)
                return await self._call_peer(peer, method, payload)
        except TimeoutError:
            raise TimedOut(f"node {peer} did not answer {method} in {timeout_s:g} s") from None

    async def _call_self(self, method: str, payload: bytes) -> bytes:
        try:
            return await self._handle(method, payload)
        except OpError as error:
            raise Refused(_described(error)) from error

    async def _call_peer(self, peer: int, method: str, payload: bytes) -> bytes:
        writer = self._writer(peer)
        if writer is None:
            raise Unavailable(f"no connection to node {peer}")
        self._number += 1
        number = self._number
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._calls_of[peer].add(number)
        try:
            writer.write(framed(Call(number, method, payload)))
            return await future
        finally:
            del self._calls[number]
            self._calls_of[peer].discard(number)

    def _writer(self, peer: int) -> asyncio.StreamWriter | None:
        """The connection to a peer, if there is one with room."""
        writer = self._writers.get(peer)
        if writer is None or writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            return None
        return writer

    # -- out ---------------------------------------------------------------------------------

    async def _dial_for_ever(self, peer: int) -> None:
        low, high = BACKOFF_S
        backoff = low
        while True:
            # A proxy takes connections for a dead peer and closes them: that is no success.
            heard = await self._dial(peer)
            backoff = low if heard else min(backoff * 2, high)
            await asyncio.sleep(backoff * self._host.rng.uniform(0.5, 1.0))

    async def _dial(self, peer: int) -> bool:
        """One connection from start to end; whether anything came from the peer."""
        try:
            async with asyncio.timeout(DIAL_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*self._peers[peer])
        except (OSError, TimeoutError):
            return False
        _watch(writer)
        heard = False
        try:
            # Used before the peer answers: where only the way back is cut, the way there works.
            writer.write(framed(Hello(self._id)))
            self._writers[peer] = writer
            while (frame := await read_frame(reader)) is not None:
                heard = True
                match frame:
                    case Hello():
                        pass
                    case Result(number, payload):
                        self._answer(number, payload, None)
                    case Failure(number, text):
                        self._answer(number, b"", text)
                    case _:
                        raise Malformed(f"an answer of kind {type(frame).__name__}")
        except Malformed as error:
            self._host.log("raft.malformed", peer=peer, error=str(error))
        finally:
            self._writers.pop(peer, None)
            writer.close()
            self._fail_calls(peer)
        return heard

    def _answer(self, number: int, payload: bytes, failure: str | None) -> None:
        future = self._calls.get(number)
        if future is None or future.done():
            return  # it was given up
        if failure is None:
            future.set_result(payload)
        else:
            future.set_exception(Refused(failure))

    def _fail_calls(self, peer: int) -> None:
        for number in self._calls_of[peer]:
            if not self._calls[number].done():
                error = TimedOut(f"the connection to node {peer} was lost")
                self._calls[number].set_exception(error)

    # -- in ----------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        _watch(writer)
        try:
            await self._read_requests(reader, writer)
        except (Malformed, TimeoutError) as error:
            peer = writer.get_extra_info("peername")
            self._host.log("raft.malformed", peer=str(peer), error=str(error))
        except asyncio.CancelledError:
            pass  # the end of this task; asyncio's streams would log it as an error
        finally:
            writer.close()

    async def _read_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = await read_frame(reader, HELLO_BYTES_MAX)
        if hello is None:
            return
        if not isinstance(hello, Hello) or hello.id not in self._peers:
            raise Malformed(f"a connection that begins with {hello!r:.100}")
        writer.write(framed(Hello(self._id)))
        while (frame := await read_frame(reader)) is not None:
            match frame:
                case Note(message):
                    self.on_message(hello.id, message)
                case Call(number, method, payload):
                    self._spawn(self._reply(writer, number, method, payload))
                case _:
                    raise Malformed(f"a request of kind {type(frame).__name__}")

    async def _reply(
        self, writer: asyncio.StreamWriter, number: int, method: str, payload: bytes
    ) -> None:
        try:
            result = await self._handle(method, payload)
            if len(result) > PAYLOAD_BYTES_MAX:
                raise Refused(f"the answer is {len(result)} bytes long")
            answer = framed(Result(number, result))
        except Exception as error:
            answer = framed(Failure(number, _described(error)))
        with contextlib.suppress(OSError):
            writer.write(answer)

    async def _handle(self, method: str, payload: bytes) -> bytes:
        handler = self.handlers.get(method)
        if handler is None:
            raise Refused(f"no method {method!r}")
        return await handler(payload)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _watch(writer: asyncio.StreamWriter) -> None:
    """Have the kernel end a connection whose peer is gone without a word, where it can."""
    plain = writer.get_extra_info("socket")
    if plain is None:
        return
    options = {"TCP_USER_TIMEOUT": SILENCE_S * 1000, "TCP_KEEPIDLE": SILENCE_S}
    options |= {"TCP_KEEPINTVL": 1, "TCP_KEEPCNT": SILENCE_S}
    with contextlib.suppress(OSError, AttributeError):
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in options.items():
            plain.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
