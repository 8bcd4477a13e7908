"""Links between machines with network namespaces of their own: cuts by packet rules, and probes.

A *point* is a node's place in the network. Clients live in the host's namespace and reach a node by
a port for each client host, which is how their packets are told apart.

| link  | its packets are dropped                                     |
|-------|-------------------------------------------------------------|
| n1→n2 | where they arrive at n2, by their source                    |
| c1→n1 | where they arrive at n1, by the port that is meant for c1   |
| n1→c1 | where they leave n1, by the same port                       |

Cut, a direction loses acknowledgements too: TCP keeps what was not acknowledged and sends it again
after the cut, or gives up.

Probes, beside all servers:
    - a segment without a valid checksum is sent over each cut link; the rule that drops it must
      have counted it;
    - the rules in every namespace touched are read back, and must be exactly those that were meant;
    - over each healed link whose other direction is open, a connection is answered, be it by a
      refusal. Not asked of a paused client-side target, whose queue may be full.

Cost: an `nft` for each machine touched, side by side, about 10 ms, and one more to read back.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.cluster.contract import Effect, Link, NodeState, Shape
from harness.cluster.namespaces import socket_in
from harness.cluster.netfilter import (
    Drops,
    apply,
    counted,
    from_source,
    into_port,
    out_of_port,
)
from harness.cluster.process_cluster import ms_since
from harness.cluster.segments import NOBODYS_PORT, Sender
from harness.cluster.unbroken import Unbroken
from harness.errors import FaultNotPossible, UsageError

COUNT_DEADLINE_S = 5.0
ANSWER_DEADLINE_S = 5.0


@dataclass(slots=True)
class Point:
    """A node in the network.

    Attributes:
        pid: a process in its namespace.
        address: its address, of all its ports.
        ports: client host → the node's port for it.
        applied: what its namespace is known to drop.
    """

    name: str
    pid: int
    address: str
    ports: Mapping[str, int]
    applied: Drops = field(default_factory=Drops)
    sender: Sender = field(init=False)

    def __post_init__(self) -> None:
        self.sender = Sender(self.pid)


class Packets:
    """The links of one cluster.

    Arguments:
        points: the nodes by name.
        clients: the client hosts, which all live in this process's namespace.
        gateway: the address by which nodes reach the client hosts.
        state: what a node's process is doing.
    """

    def __init__(
        self,
        points: Mapping[str, Point],
        clients: Collection[str],
        gateway: str,
        state: Callable[[str], NodeState],
    ) -> None:
        self._points, self._clients, self._gateway = points, frozenset(clients), gateway
        self._state = state
        self._cuts: frozenset[Link] = frozenset()
        self._turn = asyncio.Lock()  # a probe must not meet the next fault
        self._sender = Sender()
        self._steps = Unbroken()  # so that what we keep of the cuts stays true

    def close(self) -> None:
        """Give the probes' sockets back."""
        self._sender.close()
        for point in self._points.values():
            point.sender.close()

    async def cut(self, links: Collection[Link]) -> Effect:
        self._check(links)
        return await self._steps.run(self._cut(frozenset(links)))

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        self._check(links or ())
        return await self._steps.run(self._heal(None if links is None else frozenset(links)))

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        raise FaultNotPossible("the docker cluster cannot shape links yet: use --cluster local")

    async def reset(self, links: Collection[Link]) -> Effect:
        raise FaultNotPossible("the docker cluster cannot reset links yet: use --cluster local")

    async def _cut(self, links: frozenset[Link]) -> Effect:
        async with self._turn:
            began = time.monotonic()
            self._cuts |= links
            touched = await self._apply(links)
            applied_ms = ms_since(began)
            dropped, wrong = await self._knock(links, touched)
        evidence = {**_about(links), "applied_ms": applied_ms, "dropped": dropped}
        silent = sorted(link for link, packets in dropped.items() if not packets)
        if silent or wrong:
            return Effect.unobserved(**evidence, not_dropped=silent, wrong_rules=wrong)
        return Effect.observed(**evidence)

    async def _heal(self, links: frozenset[Link] | None) -> Effect:
        async with self._turn:
            broken = self._cuts if links is None else self._cuts & links
            if not broken:
                return Effect.skipped("nothing is cut there")
            began = time.monotonic()
            self._cuts -= broken
            touched = await self._apply(broken)
            applied_ms = ms_since(began)
            wrong = self._wrong(touched, await self._read(touched))
            silent = await self._ask(broken)
        evidence = {**_about(broken), "applied_ms": applied_ms}
        if wrong or silent:
            return Effect.unobserved(**evidence, silent=silent, wrong_rules=wrong)
        return Effect.observed(**evidence)

    # -- rules -------------------------------------------------------------------------------

    def _check(self, links: Collection[Link]) -> None:
        for link in links:
            for host in link:
                if host not in self._points and host not in self._clients:
                    raise UsageError(f"there is no node or client host {host!r} to cut a link of")
            if self._clients.issuperset(link) or link.source == link.target:
                raise UsageError(f"nothing connects {_arrow(link)}")

    def _keeper(self, link: Link) -> Point:
        """Where the link's packets are dropped."""
        return self._points[link.source if link.target in self._clients else link.target]

    def _rule(self, link: Link) -> str:
        """The name of the rule that drops the link's packets."""
        if link.source in self._clients:
            return into_port(self._keeper(link).ports[link.source])
        if link.target in self._clients:
            return out_of_port(self._keeper(link).ports[link.target])
        return from_source(self._points[link.source].address)

    def _drops(self, point: Point) -> Drops:
        kept = [link for link in self._cuts if self._keeper(link) is point]
        nodes = self._points
        return Drops(
            sources=frozenset(
                nodes[s].address for s, t in kept if s in nodes and t not in self._clients
            ),
            ports_in=frozenset(point.ports[s] for s, _ in kept if s in self._clients),
            ports_out=frozenset(point.ports[t] for _, t in kept if t in self._clients),
        )

    async def _apply(self, links: Iterable[Link]) -> list[Point]:
        """Bring the rules of the links' machines to what is cut now; the machines."""
        touched = list(
            {link_point.name: link_point for link_point in map(self._keeper, links)}.values()
        )
        changed = [(point, self._drops(point)) for point in touched]
        await _side_by_side(
            asyncio.to_thread(apply, point.pid, drops)
            for point, drops in changed
            if drops != point.applied
        )
        for point, drops in changed:
            point.applied = drops
        return touched

    # -- probes ------------------------------------------------------------------------------

    async def _read(self, points: Iterable[Point]) -> dict[str, dict[str, int]]:
        """By machine: its rules, with how many packets each has dropped."""
        points = list(points)
        found = await _side_by_side(asyncio.to_thread(counted, point.pid) for point in points)
        return {point.name: rules for point, rules in zip(points, found, strict=True)}

    def _wrong(self, points: Iterable[Point], rules: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Rules that are there and should not be, or the other way about."""
        return sorted(
            f"{point.name}: {name}"
            for point in points
            for name in self._drops(point).names ^ rules[point.name].keys()
        )

    async def _knock(
        self, links: Collection[Link], touched: Collection[Point]
    ) -> tuple[dict[str, int], list[str]]:
        """Send something over each cut link: what each has dropped, and which rules are wrong."""
        for link in links:
            self._send(link)
        deadline = time.monotonic() + COUNT_DEADLINE_S
        while True:
            rules = await self._read(touched)
            dropped = {
                _arrow(link): rules[self._keeper(link).name].get(self._rule(link), 0)
                for link in links
            }
            if all(dropped.values()) or time.monotonic() > deadline:
                return dropped, self._wrong(touched, rules)

    def _send(self, link: Link) -> None:
        keeper = self._keeper(link)
        if link.source in self._clients:
            port = keeper.ports[link.source]
            self._sender.send(NOBODYS_PORT, keeper.address, port)
        elif link.target in self._clients:
            port = keeper.ports[link.target]
            keeper.sender.send(port, self._gateway, NOBODYS_PORT)
        else:
            sender = self._points[link.source].sender
            sender.send(NOBODYS_PORT, keeper.address, NOBODYS_PORT)

    async def _ask(self, links: Iterable[Link]) -> list[str]:
        """Connect over each healed link that is open both ways; those that gave no answer."""
        asked = [link for link in links if Link(link.target, link.source) not in self._cuts]
        answers = await _side_by_side(self._answers(link) for link in asked)
        return sorted(_arrow(link) for link, ok in zip(asked, answers, strict=True) if not ok)

    async def _answers(self, link: Link) -> bool:
        keeper = self._keeper(link)
        host = next((host for host in link if host in self._clients), None)
        if host is None:
            source = self._points[link.source]
            connection = socket_in(source.pid, socket.AF_INET, socket.SOCK_STREAM)
            where = (keeper.address, NOBODYS_PORT)
        else:
            if self._state(keeper.name) is NodeState.PAUSED:
                return True
            connection = socket.socket()
            where = (keeper.address, keeper.ports[host])
        connection.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_DEADLINE_S):
                await asyncio.get_running_loop().sock_connect(connection, where)
        except ConnectionRefusedError:
            return True
        except OSError:  # TimeoutError is one
            return host is not None and self._state(keeper.name) is NodeState.PAUSED
        finally:
            connection.close()
        return True


async def _side_by_side(steps: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
    """All results in order; if one fails, the others end first, then its error is raised."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _about(links: Iterable[Link]) -> dict[str, Any]:
    return {"links": sorted(map(_arrow, links))}


def _arrow(link: Link) -> str:
    return f"{link.source}->{link.target}"
