"""Listeners: frames in, answers out, in order per connection.

Requests of a connection are begun in the order in which they came and may then wait side by side
(an acks=all produce for its replicas, a fetch for messages); their answers leave in the order of
the requests. Bytes are read straight into the frame that they belong to; a frame's length is
checked before anything is allocated, and memory grows with what really arrives.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from harness.host.contract import Host
from nodes.broker.wire import LENGTH, Malformed, Request, decode_request

Handler = Callable[[Request, str], Coroutine[Any, Any, bytes | None]]
"""(request, listener) → the frame of the answer; None for no answer (acks=0)."""

READ_AHEAD = 1 << 16
FIRST_ALLOCATION = 1 << 20
IN_FLIGHT_MAX = 64
"""Requests of one connection that are handled at a time; then its reading pauses."""


class Disconnect(Exception):
    """Raised by a handler: no answer could tell the client, so its connection ends."""


class Connection(asyncio.BufferedProtocol):
    """One client."""

    def __init__(self, server: Listener) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._host = ""
        self._ahead = bytearray(READ_AHEAD)
        self._ahead_size = 0
        self._frame: bytearray | None = None  # being filled, when it does not fit into `_ahead`
        self._filled = 0
        self._size = 0
        self._pending: deque[asyncio.Task[bytes | None]] = deque()
        self._client_reads = True  # its answers go out, rather than pile up here
        self._reading = True

    # -- asyncio's side ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._host = f"/{peer[0]}" if peer else ""
        self._server.connections[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.pop(self, None)
        for task in self._pending:
            task.cancel()
        self._pending.clear()

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._frame is not None:
            return memoryview(self._frame)[self._filled :]
        return memoryview(self._ahead)[self._ahead_size :]

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._frame is not None:
                self._fill(nbytes)
            else:
                self._ahead_size += nbytes
                self._take_frames()
        except Malformed as error:
            self._server.refuse(self, error)
            self.close()

    def pause_writing(self) -> None:
        self._client_reads = False  # who does not read its answers gets no more of them
        self._pace()

    def resume_writing(self) -> None:
        self._client_reads = True
        self._pace()

    def eof_received(self) -> bool:
        return False

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def peer(self) -> str:
        assert self._transport is not None
        return str(self._transport.get_extra_info("peername"))

    # -- frames ------------------------------------------------------------------------------

    def _take_frames(self) -> None:
        view = memoryview(self._ahead)
        at = 0
        while self._ahead_size - at >= LENGTH.size:
            (size,) = LENGTH.unpack_from(view, at)
            if not 0 <= size <= self._server.request_bytes_max:
                raise Malformed(f"a frame of {size} bytes")
            start = at + LENGTH.size
            if start + size > self._ahead_size:
                if start + size - at > READ_AHEAD:
                    self._begin_large(size, view[start : self._ahead_size])
                    at = self._ahead_size
                break
            self._received(bytearray(view[start : start + size]))
            at = start + size
        rest = self._ahead_size - at
        if at and rest:
            self._ahead[:rest] = bytes(view[at : self._ahead_size])
        self._ahead_size = rest

    def _begin_large(self, size: int, begun: memoryview) -> None:
        self._size, self._filled = size, len(begun)
        self._frame = bytearray(max(min(size, FIRST_ALLOCATION), len(begun)))
        self._frame[: len(begun)] = begun

    def _fill(self, nbytes: int) -> None:
        assert self._frame is not None
        self._filled += nbytes
        if self._filled < len(self._frame):
            return
        if self._filled == self._size:
            frame, self._frame = self._frame, None
            self._received(frame)
            return
        # Into a new one: the transport still holds a view of the old.
        grown = bytearray(min(self._size, 2 * len(self._frame)))
        grown[: self._filled] = self._frame
        self._frame = grown

    def _received(self, frame: bytearray) -> None:
        request = decode_request(frame)
        request.peer = self._host
        task = asyncio.create_task(self._server.handle(request, self._server.name))
        self._pending.append(task)
        task.add_done_callback(self._answer)
        self._pace()

    def _answer(self, _: asyncio.Task[bytes | None]) -> None:
        """Send the answers that are ready, in order."""
        transport = self._transport
        while self._pending and self._pending[0].done():
            task = self._pending.popleft()
            if task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                self._server.broke(self, error)
                self.close()
                return
            answer = task.result()
            if answer is not None and transport is not None and not transport.is_closing():
                transport.write(answer)
        self._pace()

    def _pace(self) -> None:
        """Read on, or wait, as there is room for more requests and their answers."""
        transport = self._transport
        reading = self._client_reads and len(self._pending) < IN_FLIGHT_MAX
        if transport is None or transport.is_closing() or reading == self._reading:
            return
        self._reading = reading
        if reading:
            transport.resume_reading()
        else:
            transport.pause_reading()


class Listener:
    """One address on which requests are served; `name` tells which clients come to it."""

    def __init__(
        self, host: Host, name: str, address: tuple[str, int], handle: Handler, bytes_max: int
    ) -> None:
        self._host, self.name, self._address = host, name, address
        self.handle, self.request_bytes_max = handle, bytes_max
        self.connections: dict[Connection, None] = {}  # in the order in which they were made
        self._server: Any = None

    async def bind(self) -> None:
        """Take the address; who dials it is refused until `serve`.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), *self._address, start_serving=False
        )

    async def serve(self) -> None:
        assert self._server is not None, "not bound"
        await self._server.start_serving()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()

    def refuse(self, connection: Connection, error: Malformed) -> None:
        self._host.log("connection.malformed", peer=connection.peer, error=str(error)[:500])

    def broke(self, connection: Connection, error: BaseException) -> None:
        """A handler raised. The client sees its connection close."""
        if isinstance(error, Malformed):
            self.refuse(connection, error)
            return
        if isinstance(error, Disconnect):
            self._host.log("connection.closed", peer=connection.peer, why=str(error)[:500])
            return
        text = f"{type(error).__name__}: {error}"
        self._host.log("request.failed", peer=connection.peer, error=text[:1000])
