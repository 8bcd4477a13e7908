"""Frames between nodes: Raft messages, which may be lost, and calls, which are answered or fail.

    frame    length (u32), then MessagePack of [kind, …]
    kind     "hello" [id]      first on a connection: who speaks
             "m" [message]     a Raft message
             "c" [number, method, payload]         a call
             "r" [number, payload] or "f" [number, text]   its answer: a result, or a failure

Each node dials each other; what it sends goes out on the connection that it dialled, answers to
calls come back on it. A peer that cannot be reached costs nobody a wait: messages are dropped while
there is no connection or its buffer is full, and calls fail at their deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from struct import Struct
from typing import Any

import msgspec

from harness.errors import Refused, TimedOut, Unavailable
from harness.host.contract import Host
from nodes.raft.messages import Message

FRAME_BYTES_MAX = 8 << 20
BUFFER_BYTES_MAX = 4 << 20
DIAL_TIMEOUT_S = 1.0
BACKOFF_S = (0.05, 1.0)

_LENGTH = Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Handler = Callable[[bytes], Awaitable[bytes]]
Address = tuple[str, int]


class Malformed(Exception):
    """Bytes that are no frame of ours."""


async def read_frame(reader: asyncio.StreamReader) -> list[Any] | None:
    """The next frame; None at the end of the stream.

    Raises:
        Malformed: too long (nothing of it was read), or no MessagePack list.
    """
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if size > FRAME_BYTES_MAX:
            raise Malformed(f"a frame of {size} bytes")
        data = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError):
        return None
    try:
        frame = _decode(data)
    except msgspec.MsgspecError as error:
        raise Malformed(str(error)) from error
    if not isinstance(frame, list) or not frame:
        raise Malformed("not a list")
    return frame


def framed(*parts: Any) -> bytes:
    payload = _encode(parts)
    return _LENGTH.pack(len(payload)) + payload


class Transport:
    """The connections of one node.

    Attributes:
        on_message: called with (sender, message).
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
        self._server = await asyncio.start_server(self._serve, *self._bind)
        for peer in self._peers:
            self._spawn(self._dial_for_ever(peer))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in self._writers.values():
            writer.close()

    def send(self, peer: int, message: Message) -> None:
        """Send if there is a connection with room; else the message is lost."""
        writer = self._writers.get(peer)
        if writer is None or writer.transport.get_write_buffer_size() > BUFFER_BYTES_MAX:
            return
        writer.write(framed("m", message))

    async def call(self, peer: int, method: str, payload: bytes, timeout_s: float) -> bytes:
        """Call a method of a peer.

        Raises:
            Unavailable: there is no connection; nothing was sent.
            Refused: the peer answered with a failure.
            TimedOut: no answer came; it may have been done.
        """
        if peer == self._id:
            return await self._handle(method, payload)
        writer = self._writers.get(peer)
        if writer is None:
            raise Unavailable(f"no connection to node {peer}")
        self._number += 1
        number = self._number
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        self._calls_of[peer].add(number)
        try:
            writer.write(framed("c", number, method, payload))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise TimedOut(f"node {peer} did not answer {method} in {timeout_s:g} s") from None
        finally:
            self._calls.pop(number, None)
            self._calls_of[peer].discard(number)

    # -- out ---------------------------------------------------------------------------------

    async def _dial_for_ever(self, peer: int) -> None:
        low, high = BACKOFF_S
        backoff = low
        while True:
            try:
                async with asyncio.timeout(DIAL_TIMEOUT_S):
                    reader, writer = await asyncio.open_connection(*self._peers[peer])
            except (OSError, TimeoutError):
                await asyncio.sleep(backoff * self._host.rng.uniform(0.5, 1.0))
                backoff = min(backoff * 2, high)
                continue
            writer.write(framed("hello", self._id))
            self._writers[peer] = writer
            heard = False
            try:
                heard = await self._read_answers(reader)
            except Malformed as error:
                self._host.log("raft.malformed", peer=peer, error=str(error))
            finally:
                del self._writers[peer]
                writer.close()
                self._fail_calls(peer)
            # A proxy takes connections for a dead peer and closes them: that is no success.
            backoff = low if heard else min(backoff * 2, high)
            await asyncio.sleep(backoff * self._host.rng.uniform(0.5, 1.0))

    async def _read_answers(self, reader: asyncio.StreamReader) -> bool:
        heard = False
        while (frame := await read_frame(reader)) is not None:
            heard = True
            match frame:
                case ["hello", int()]:
                    pass
                case ["r", int(number), bytes(payload)]:
                    self._answer(number, payload, None)
                case ["f", int(number), str(text)]:
                    self._answer(number, b"", text)
                case _:
                    raise Malformed(f"an answer of kind {frame[0]!r}")
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
        for number in list(self._calls_of[peer]):
            future = self._calls.get(number)
            if future is not None and not future.done():
                future.set_exception(TimedOut(f"the connection to node {peer} was lost"))

    # -- in ----------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._read_requests(reader, writer)
        except Malformed as error:
            peer = writer.get_extra_info("peername")
            self._host.log("raft.malformed", peer=str(peer), error=str(error))
        finally:
            writer.close()

    async def _read_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        hello = await read_frame(reader)
        match hello:
            case None:
                return
            case ["hello", int(sender)] if sender in self._peers:
                writer.write(framed("hello", self._id))
            case _:
                raise Malformed(f"a connection that begins with {hello!r:.100}")
        while (frame := await read_frame(reader)) is not None:
            match frame:
                case ["m", message]:
                    try:
                        self.on_message(sender, msgspec.convert(message, Message))
                    except msgspec.ValidationError as error:
                        raise Malformed(str(error)) from error
                case ["c", int(number), str(method), bytes(payload)]:
                    self._spawn(self._reply(writer, number, method, payload))
                case _:
                    raise Malformed(f"a frame of kind {frame[0]!r}")

    async def _reply(
        self, writer: asyncio.StreamWriter, number: int, method: str, payload: bytes
    ) -> None:
        try:
            answer = framed("r", number, await self._handle(method, payload))
        except Exception as error:
            answer = framed("f", number, f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            writer.write(answer)

    async def _handle(self, method: str, payload: bytes) -> bytes:
        handler = self.handlers.get(method)
        if handler is None:
            raise Refused(f"no method {method!r}")
        return await handler(payload)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
