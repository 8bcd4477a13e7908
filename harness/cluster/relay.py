"""Proxies: they accept, dial and pass bytes on, through toxics where there are some.

    client ── End ─▶ Flow "upstream"   ─▶ stage ─▶ stage ─▶ End ── server
           ── End ◀─ stage ◀─ Flow "downstream"           ◀─ End ──

A flow without stages writes what it reads straight to the other socket. Back pressure: a flow stops
reading while its target's buffer is full or its stages hold too much; then the kernel's buffers
fill, and the sender blocks, as behind a slow wire.

As in Toxiproxy there is no half-open connection: the end of one direction, once it is through its
stages, closes the other socket in full. Departures, on purpose: a refused upstream ends the
downstream flow *through its stages*, so that behind a cut one cannot see that the far side is dead;
and disabling a proxy that has a `reset_peer` toxic resets its live connections (RST) rather than
closing them, so that idle ones can be reset too.

Cost: 93 us on a round trip of 100 bytes where a direct one took 39 us (a Go toxiproxy-server: 106
us), 450 MB/s through both directions at once.
Source: the pipeline is Toxiproxy's; the code is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any, cast

from harness import seeds
from harness.cluster import toxics
from harness.cluster.toxics import DOWNSTREAM, UPSTREAM, Receiver, Stage, Toxic

# All reads of the process land here and are copied out at once: a callback cannot be interrupted.
_landing = memoryview(bytearray(64 * 1024))

_LINGER_RESET = struct.pack("ii", 1, 0)


class ListenFailed(Exception):
    """A proxy could not listen. The text is Toxiproxy's."""


class Flow:
    """The bytes of one direction of one connection, and the last receiver of its chain."""

    def __init__(self, connection: Connection, direction: str) -> None:
        self.connection, self.direction = connection, direction
        self.loop = connection.proxy.loop
        self.stages: list[Stage] = []
        self.names: list[str] = []  # of the toxics, parallel to the stages
        self.source: End | None = None
        self.target: End | None = None
        self.received = self.sent = self.held = 0
        self.held_max = toxics.HELD_MAX
        self.ended = False  # the source has ended
        self.finished = False  # the end came through, or the target is gone
        self.blocked = False  # the target's buffer is full

    # -- bytes -------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        self.received += len(data)
        if self.finished:
            return  # nobody is left to get them; the source is read only to see its end
        if self.stages:
            self.stages[0].push(data, self.loop.time())
        else:
            self.push(data, 0.0)

    def receive_end(self) -> None:
        if not self.ended and not self.finished:
            self.ended = True
            (self.stages[0] if self.stages else self).push_end()

    def push(self, data: bytes, at: float) -> None:
        """Out of the last stage, into the socket."""
        if self.finished or self.target is None:
            return
        self.sent += len(data)
        self.target.transport.write(data)

    def push_end(self) -> None:
        if not self.finished:
            self.finished = True
            if self.target is not None:
                self.target.transport.close()

    def lose_target(self) -> None:
        """The target's socket is gone, and whatever is still under way with it."""
        self.finished = True
        self.blocked = False
        for stage in self.stages:
            stage.cancel()
        self._steer_reading()

    def reset(self) -> None:
        self.connection.abort(reset=True)

    # -- back pressure -----------------------------------------------------------------------

    def count_held(self, change: int) -> None:
        self.held += change
        assert self.held >= 0, "more was released than held"
        self._steer_reading()

    def block(self, blocked: bool) -> None:
        self.blocked = blocked
        self._steer_reading()

    def _steer_reading(self) -> None:
        if self.source is None or not self.connection.dialled:
            return
        if self.blocked or (self.held >= self.held_max and not self.finished):
            self.source.transport.pause_reading()
        else:
            self.source.transport.resume_reading()

    # -- toxics ------------------------------------------------------------------------------

    def add(self, toxic: Toxic) -> None:
        stage = self._make(toxic, self)
        if self.stages:
            self.stages[-1].next = stage
        self.stages.append(stage)
        self.names.append(toxic.name)  # an end that is under way waits in an earlier stage
        self._measure()

    def change(self, toxic: Toxic) -> None:
        at = self.names.index(toxic.name)
        old, new = self.stages[at], self._make(toxic, self._after(at))
        self.stages[at] = new
        if at > 0:
            self.stages[at - 1].next = new
        old.hand_over(new)
        self._measure()

    def remove(self, name: str) -> None:
        at = self.names.index(name)
        self.stages[at].release()
        if at > 0:
            self.stages[at - 1].next = self._after(at)
        del self.stages[at], self.names[at]
        self._measure()

    def _make(self, toxic: Toxic, next_: Receiver) -> Stage:
        proxy = self.connection.proxy
        rng = seeds.stream(
            proxy.seed, "toxic", proxy.name, self.connection.ordinal, toxic.name, toxic.revision
        )
        return toxics.stage(toxic, self, rng, next_)

    def _after(self, at: int) -> Receiver:
        return self.stages[at + 1] if at + 1 < len(self.stages) else self

    def _measure(self) -> None:
        self.held_max = max((stage.held_max for stage in self.stages), default=toxics.HELD_MAX)
        self._steer_reading()

    def _check(self) -> None:
        assert len(self.stages) == len(self.names)
        for at, stage in enumerate(self.stages):
            assert stage.next is self._after(at), "the chain is broken"
        waiting = sum(
            len(data)
            for s in self.stages
            if isinstance(s, toxics.Queue)
            for _, data, _ in s.waiting
        )
        assert self.held == waiting


class End(asyncio.BufferedProtocol):
    """One socket of a connection: the source of `out` and the target of `into`."""

    transport: asyncio.Transport

    def __init__(self, connection: Connection, out: Flow, into: Flow) -> None:
        self.connection, self.out, self.into = connection, out, into
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.open = True
        self.out.source = self.into.target = self
        self.connection.made(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _landing

    def buffer_updated(self, size: int) -> None:
        self.out.receive(bytes(_landing[:size]))

    def eof_received(self) -> bool:
        self.out.receive_end()
        return True  # the other direction may go on until its own end

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self.out.receive_end()
        self.into.lose_target()
        self.connection.lost()

    def pause_writing(self) -> None:
        self.into.block(True)

    def resume_writing(self) -> None:
        self.into.block(False)

    def abort(self, reset: bool) -> None:
        if not self.open:
            return
        if reset:
            raw = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it may have failed by itself just now
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        self.transport.abort()


class Connection:
    """A client, the upstream that was dialled for it, and the two flows between them."""

    def __init__(self, proxy: Proxy, ordinal: int) -> None:
        self.proxy, self.ordinal = proxy, ordinal
        self.dialled = False
        self.aborted = False
        self.flows = {way: Flow(self, way) for way in (UPSTREAM, DOWNSTREAM)}
        up, down = self.flows[UPSTREAM], self.flows[DOWNSTREAM]
        self.client, self.server = End(self, up, down), End(self, down, up)

    def made(self, end: End) -> None:
        if end is not self.client:
            return
        end.transport.pause_reading()  # until there is somewhere to send the bytes
        # Only from here on do changes of the proxy reach this connection; the loop has run since it
        # was accepted.
        self.proxy.connections[self.ordinal] = self
        for way, flow in self.flows.items():
            for toxic in self.proxy.toxics[way]:
                flow.add(toxic)
        self.dialling = self.proxy.loop.create_task(self._dial())
        if not self.proxy.enabled:
            self.abort(reset=False)

    async def _dial(self) -> None:
        try:
            host, port = split_address(self.proxy.upstream)
            await self.proxy.loop.create_connection(lambda: self.server, host, port)
        except (OSError, ListenFailed):
            self.flows[DOWNSTREAM].receive_end()
            self.flows[UPSTREAM].finished = True
            return
        if self.aborted:
            self.server.abort(reset=False)
            return
        self.dialled = True
        if self.flows[UPSTREAM].finished:
            self.server.transport.close()
        for flow in self.flows.values():
            flow._steer_reading()

    def lost(self) -> None:
        if not self.client.open and not self.server.open and self.dialling.done():
            self.proxy.forget(self)

    def abort(self, reset: bool) -> None:
        """End both sides at once, with an RST if asked."""
        self.aborted = True
        for flow in self.flows.values():
            flow.lose_target()
        self.client.abort(reset)
        self.server.abort(reset)
        if not self.dialling.done() and asyncio.current_task() is not self.dialling:
            self.dialling.cancel()
        self.proxy.forget(self)


class Proxy:
    """A listening address, an upstream and the toxics between them."""

    def __init__(self, name: str, listen: str, upstream: str, seed: int) -> None:
        self.name, self.listen, self.upstream, self.seed = name, listen, upstream, seed
        self.loop = asyncio.get_running_loop()
        self.toxics: dict[str, list[Toxic]] = {UPSTREAM: [], DOWNSTREAM: []}
        self.connections: dict[int, Connection] = {}
        self.accepted = 0
        self._past = {way: {"received": 0, "sent": 0} for way in (UPSTREAM, DOWNSTREAM)}
        self._server: asyncio.Server | None = None

    @property
    def enabled(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Listen. Raises ListenFailed."""
        if self._server is None:
            listening = _listening_socket(self.listen)
            self.listen = join_address(listening.getsockname())
            self._server = await self.loop.create_server(self._accept, sock=listening)

    async def stop(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
            reset = any(toxic.type == "reset_peer" for toxic in self.all_toxics())
            for connection in list(self.connections.values()):
                connection.abort(reset)
            await asyncio.sleep(0)  # the sockets are closed in the loop's next turn
            await asyncio.sleep(0)

    def all_toxics(self) -> Iterator[Toxic]:
        """Upstream first, each in the order of its chain."""
        yield from self.toxics[UPSTREAM]
        yield from self.toxics[DOWNSTREAM]

    def toxic(self, name: str) -> Toxic | None:
        return next((toxic for toxic in self.all_toxics() if toxic.name == name), None)

    def add(self, toxic: Toxic) -> None:
        assert self.toxic(toxic.name) is None
        self.toxics[toxic.direction].append(toxic)
        for flow in self._flows(toxic.direction):
            flow.add(toxic)

    def change(self, toxic: Toxic) -> None:
        toxic.revision += 1
        for flow in self._flows(toxic.direction):
            flow.change(toxic)

    def remove(self, toxic: Toxic) -> None:
        self.toxics[toxic.direction].remove(toxic)
        for flow in self._flows(toxic.direction):
            flow.remove(toxic.name)

    def counters(self) -> dict[str, dict[str, int]]:
        """By direction: bytes received, sent and held now, and the live connections."""
        counts: dict[str, dict[str, int]] = {}
        for way, past in self._past.items():
            flows = list(self._flows(way))
            counts[way] = {
                "connections": len(flows),
                "received": past["received"] + sum(flow.received for flow in flows),
                "sent": past["sent"] + sum(flow.sent for flow in flows),
                "held": sum(flow.held for flow in flows),
            }
        return counts

    def forget(self, connection: Connection) -> None:
        if self.connections.pop(connection.ordinal, None) is not None:
            for way, flow in connection.flows.items():
                self._past[way]["received"] += flow.received
                self._past[way]["sent"] += flow.sent

    def _accept(self) -> End:
        self.accepted += 1
        return Connection(self, self.accepted).client

    def _flows(self, direction: str) -> list[Flow]:
        # A list: releasing bytes can end a connection, which then leaves the dictionary.
        return [connection.flows[direction] for connection in self.connections.values()]


def split_address(address: str) -> tuple[str, int]:
    """The host ("" for any) and port of `host:port`, IPv6 in brackets.

    Raises:
        ListenFailed: it is none.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ListenFailed(f"listen tcp: address {address}: missing port in address")
    if not port.isdigit():
        raise ListenFailed(f"listen tcp: lookup tcp/{port}: unknown port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def join_address(name: Any) -> str:
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listening_socket(listen: str) -> socket.socket:
    host, port = split_address(listen) if listen else ("", 0)
    family = socket.AF_INET6 if ":" in host or not host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        reason = (error.strerror or str(error)).lower()
        raise ListenFailed(f"listen tcp {listen}: bind: {reason}") from error
    listening.setblocking(False)
    return listening
