"""The network of a simulated world: names, listeners, links, and how connections are made.

Hosts are reached by their names (`n1`) on the ports that they bind. Who dials is known from the
running loop: a node by its name; the harness, on whose loop the clients run, by the port that it
dials, since each client host has a listener of its own on every node (`route`).

Dialling takes a round trip over both links of the pair. It hangs while either is cut or the target
is without power, and is refused by a host that is up and does not listen. The server accepts when
the third packet arrives: not at all if its answer never got through.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.sim.links import BESIDE, Link, Weather
from harness.sim.transport import OPEN, Socket, Transport, reset_error
from harness.sim.wiretap import Wiretap

if TYPE_CHECKING:
    from harness.sim.loop import SimLoop

Address = tuple[str, int]
Factory = Callable[[], asyncio.BaseProtocol]

FIRST_EPHEMERAL = 32768


class Server(asyncio.AbstractServer):
    """A listener of one incarnation."""

    def __init__(self, network: Network, loop: SimLoop, address: Address, factory: Factory) -> None:
        self._network, self.loop, self.address, self.factory = network, loop, address, factory
        self._serving = False
        self._closed: asyncio.Future[None] = loop.create_future()

    @property
    def sockets(self) -> tuple[Socket, ...]:
        return (Socket(self.address, None),) if self._serving else ()

    def get_loop(self) -> Any:
        return self.loop

    def is_serving(self) -> bool:
        return self._serving

    async def start_serving(self) -> None:
        self.serve()

    def serve(self) -> None:
        self._serving = True
        self._network.listeners[self.address] = self

    async def serve_forever(self) -> None:
        self.serve()
        try:
            await asyncio.shield(self._closed)
        finally:
            self.close()

    def close(self) -> None:
        if self._network.listeners.get(self.address) is self:
            del self._network.listeners[self.address]
        self._serving = False
        if not self._closed.done() and not self.loop.dead:
            self._closed.set_result(None)

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()


class Network:
    """See the module.

    Attributes:
        hosts: the names of all nodes.
        dark: hosts without power.
    """

    def __init__(self, kernel: SimLoop, draws: Callable[..., Random], weather: Weather) -> None:
        self._kernel = kernel  # answers for processes that are gone
        self.hosts: set[str] = set()
        self.dark: set[str] = set()
        self.listeners: dict[Address, Server] = {}
        self.weather = weather
        self.tap: Wiretap | None = None  # for links that are made from now on
        self.links: dict[tuple[str, str], Link] = {}
        self._routes: dict[Address, str] = {}
        self._draws = draws
        self._transports: dict[Transport, None] = {}
        self._asleep: list[Transport] = []
        self._beside: dict[str, tuple[Link, Link]] = {}
        self._port = FIRST_EPHEMERAL
        self._hanging: dict[asyncio.Future[None], None] = {}

    # -- set-up ------------------------------------------------------------------------------

    def route(self, address: Address, host: str) -> None:
        """What the harness dials there goes as from `host`; else beside all links."""
        self._routes[address] = host

    def link(self, source: str, target: str) -> Link:
        """The link between two hosts, made when it is first needed."""
        link = self.links.get((source, target))
        if link is None:
            link = Link(source, target, self.weather, self._draws)
            link.tap = self.tap
            self.links[source, target] = link
        return link

    # -- what loops ask for ------------------------------------------------------------------

    def resolve(self, loop: SimLoop, host: Any) -> str:
        """Raises socket.gaierror: no such host."""
        if isinstance(host, bytes):
            host = host.decode()
        if host in (None, "", "0.0.0.0", "localhost", "127.0.0.1"):
            return loop.name
        if host not in self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, f"there is no host {host!r} in this world")
        return str(host)

    def listen(
        self, loop: SimLoop, factory: Factory, host: Any, port: int, serving: bool
    ) -> Server:
        """Raises OSError: the address is in use, or another host's."""
        name = self.resolve(loop, host)
        if name != loop.name:
            raise OSError(errno.EADDRNOTAVAIL, f"{name} is not the address of {loop.name}")
        address = (name, port or self._ephemeral())
        if address in self.listeners:
            raise OSError(errno.EADDRINUSE, f"the address {address} is already in use")
        server = Server(self, loop, address, factory)
        if serving:
            server.serve()
        return server

    async def connect(
        self, loop: SimLoop, factory: Factory, host: Any, port: int
    ) -> tuple[Transport, asyncio.BaseProtocol]:
        """Raises OSError: refused or reset. Hangs as long as nobody answers."""
        target = self.resolve(loop, host)
        address = (target, port)
        there, back = self._way(loop, address)
        rng = there.chance()
        await self._travel(loop, there, rng, address)
        listener = self.listeners.get(address)
        here = (there.source, self._ephemeral())
        server_end: Transport | None = None
        client_end = Transport(loop, here, address, self._forget)
        if listener is not None:
            server_end = Transport(listener.loop, address, here, self._forget)
            server_end.listener = listener
            client_end.join(server_end, there, back)
            self._transports[server_end] = self._transports[client_end] = None
        try:
            await self._travel(loop, back, rng, None)
        except asyncio.CancelledError:
            if server_end is not None:  # nobody was told of it yet, and nobody will be
                client_end.vanish()
                server_end.vanish()
            raise
        if server_end is None:
            where = f"{target}:{port}"
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"Connect call failed to {where}")
        if client_end.closed:
            raise reset_error()
        client_end.out.send(OPEN)
        protocol = factory()
        client_end.made(protocol)
        return client_end, protocol

    # -- what happens to hosts and links -----------------------------------------------------

    def kill(self, loop: SimLoop, *, power: bool = False) -> None:
        """The incarnation is gone: its listeners close, its connections end or fall silent."""
        for address, server in list(self.listeners.items()):
            if server.loop is loop:
                del self.listeners[address]
        for transport in [t for t in self._transports if t.loop is loop]:
            if power:
                transport.go_silent(self._kernel)
                self._asleep.append(transport)
            else:
                transport.kill(self._kernel)
        if power:
            self.dark.add(loop.name)

    def power_on(self, name: str) -> None:
        self.dark.discard(name)
        for transport in self._asleep:
            if transport.loop.name == name:
                transport.wake()
        self._asleep = [t for t in self._asleep if t.silent]
        self.stir()

    def cut(self, links: Iterable[Link]) -> None:
        for link in links:
            if not link.cut:
                link.cut, link.cut_at = True, self._kernel.scheduler.now

    def heal(self, links: Iterable[Link]) -> None:
        """What was held goes on."""
        for link in links:
            was_cut, link.cut = link.cut, False
            for pipe in list(link.pipes) if was_cut else ():
                pipe.flow()
        self.stir()

    def reset(self, links: Iterable[Link]) -> int:
        """Both ends of every connection over these links are told so; how many there were."""
        ends = {
            end: None
            for link in links
            for pipe in link.pipes
            for end in (pipe.sender, pipe.receiver)
        }
        for end in ends:
            end.reset()
        return len(ends) // 2

    def stir(self) -> None:
        """Who hangs looks again whether it gets through."""
        for future in self._hanging:
            if not future.done():
                future.set_result(None)

    # -- connecting --------------------------------------------------------------------------

    def _way(self, loop: SimLoop, address: Address) -> tuple[Link, Link]:
        target = address[0]
        source = loop.name if loop.name in self.hosts else self._routes.get(address)
        if source is None or source == target:
            return self._beside_links(target)
        return self.link(source, target), self.link(target, source)

    def _beside_links(self, target: str) -> tuple[Link, Link]:
        if target not in self._beside:
            there = Link("harness", target, BESIDE, self._draws)
            self._beside[target] = (there, Link(target, "harness", BESIDE, self._draws))
        return self._beside[target]

    async def _travel(
        self, loop: SimLoop, link: Link, rng: Random, address: Address | None
    ) -> None:
        """One way over a link. A SYN waits while nobody is there to answer it."""
        while True:
            future = loop.create_future()
            timer = loop.call_later(
                link.delay_ns(loop.scheduler.now, 0, rng) / 1e9, _arrived, future
            )
            try:
                await future
            finally:
                timer.cancel()
            if not link.cut and (address is None or address[0] not in self.dark):
                return
            await self._hang(loop)

    async def _hang(self, loop: SimLoop) -> None:
        future = loop.create_future()
        self._hanging[future] = None
        try:
            await future
        finally:
            del self._hanging[future]

    def _ephemeral(self) -> int:
        self._port = self._port + 1 if self._port < 60999 else FIRST_EPHEMERAL
        return self._port

    def _forget(self, transport: Transport) -> None:
        self._transports.pop(transport, None)


def _arrived(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
