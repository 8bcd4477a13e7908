"""Who gets which address, and what each node is told of its surroundings.

`wire_up`, for nodes on one machine: peers reach each other by per-peer addresses, clients by the
address advertised to their host; each of these is a proxy's. Nodes bind ports of their own, to
which only the proxies (and the harness, on the admin port) connect.

`spread_out`, for nodes with an address each: everybody connects to what the nodes bind, since the
links are broken beneath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import seeds
from harness.cluster.contract import Address, NodeSpec
from harness.cluster.links import Wire
from harness.errors import UsageError

FIRST_PORT = 9001  # of a node with an address of its own; below those that the kernel gives away

PeerAddress = Callable[[str, str, str], Address]  # of (from, to, port)
ClientAddress = Callable[[str, str], Address]  # of (from, to)


def names(nodes: int, clients: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of nodes, n1…, and of client hosts, c1….

    Raises:
        UsageError: there must be at least one of each.
    """
    if nodes < 1 or clients < 1:
        raise UsageError("a cluster needs at least one node and one client host")
    numbered = [
        tuple(f"{k}{i}" for i in range(1, n + 1)) for k, n in (("n", nodes), ("c", clients))
    ]
    return numbered[0], numbered[1]


def check_disk(disk: str) -> None:
    """Raises UsageError: there is no such disk."""
    if disk not in ("real", "volatile"):
        raise UsageError(f"there is no disk {disk!r}; it is real or volatile")


@dataclass(frozen=True, slots=True)
class Plan:
    """What all layouts need to know.

    Attributes:
        peer_ports: names of the ports on which nodes talk to each other.
        data: node → the folder that is its disk, as the node sees it.
        more: what else every spec holds: disk, options, python.
    """

    nodes: Sequence[str]
    clients: Sequence[str]
    peer_ports: Sequence[str]
    data: Callable[[str], str | Path]
    seed: int
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ports(self) -> tuple[str, ...]:
        """The names of all ports of a node."""
        ports = (*self.peer_ports, "admin", *self.clients)
        assert len(set(ports)) == len(ports), "a peer port is named like a client host, or admin"
        return ports


def wire_up(plan: Plan, take: Callable[[], Address]) -> tuple[list[Wire], dict[str, NodeSpec]]:
    """All wires, and the spec of each node. `take` gives a fresh address at each call."""
    bind = {node: {port: take() for port in plan.ports} for node in plan.nodes}
    peer = {
        (a, b, port): Wire(f"{a}-{b}-{port}", a, b, take(), bind[b][port])
        for a in plan.nodes
        for b in plan.nodes
        if a != b
        for port in plan.peer_ports
    }
    client = {
        (host, node): Wire(f"{host}-{node}", host, node, take(), bind[node][host])
        for host in plan.clients
        for node in plan.nodes
    }
    specs = _specs(
        plan, bind, lambda a, b, port: peer[a, b, port].listen, lambda c, n: client[c, n].listen
    )
    return [*peer.values(), *client.values()], specs


def spread_out(plan: Plan, addresses: Mapping[str, str]) -> dict[str, NodeSpec]:
    """The spec of each node; all nodes have the same ports."""
    numbers = {port: FIRST_PORT + number for number, port in enumerate(plan.ports)}
    bind = {
        node: {port: Address(addresses[node], number) for port, number in numbers.items()}
        for node in plan.nodes
    }
    return _specs(plan, bind, lambda a, b, port: bind[b][port], lambda c, n: bind[n][c])


def _specs(
    plan: Plan,
    bind: Mapping[str, Mapping[str, Address]],
    peer: PeerAddress,
    client: ClientAddress,
) -> dict[str, NodeSpec]:
    advertised = {node: {host: client(host, node) for host in plan.clients} for node in plan.nodes}
    return {
        a: NodeSpec(
            node=a,
            id=number,
            data=str(plan.data(a)),
            seed=seeds.draw(plan.seed, "node", a),
            bind=bind[a],
            advertised=advertised[a],
            peers={
                b: {port: peer(a, b, port) for port in plan.peer_ports}
                for b in plan.nodes
                if b != a
            },
            peer_advertised={b: advertised[b] for b in plan.nodes if b != a},
            **plan.more,
        )
        for number, a in enumerate(plan.nodes, start=1)
    }
