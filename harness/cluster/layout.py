"""Who gets which address: the wires of a cluster and what each node is told of its surroundings.

Peers reach each other by per-peer addresses, clients by the address advertised to their host; each
of these is a proxy's. Nodes bind ports of their own, to which only the proxies (and the harness, on
the admin port) connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import seeds
from harness.cluster.contract import Address, NodeSpec
from harness.cluster.links import Wire


def lay_out(
    nodes: Sequence[str],
    clients: Sequence[str],
    peer_ports: Sequence[str],
    take: Callable[[], Address],
    *,
    folder: Path,
    seed: int,
    disk: str,
    options: Mapping[str, Any],
) -> tuple[list[Wire], dict[str, NodeSpec]]:
    """All wires, and the spec of each node. `take` gives a fresh address at each call."""
    ports = (*peer_ports, "admin", *clients)
    assert len(set(ports)) == len(ports), "a peer port is named like a client host, or admin"
    bind = {node: {port: take() for port in ports} for node in nodes}
    peer = {
        (a, b, port): Wire(f"{a}-{b}-{port}", a, b, take(), bind[b][port])
        for a in nodes
        for b in nodes
        if a != b
        for port in peer_ports
    }
    client = {
        (host, node): Wire(f"{host}-{node}", host, node, take(), bind[node][host])
        for host in clients
        for node in nodes
    }
    advertised = {node: {host: client[host, node].listen for host in clients} for node in nodes}
    specs = {
        a: NodeSpec(
            node=a,
            id=number,
            data=str(folder / a / "data"),
            seed=seeds.draw(seed, "node", a),
            bind=bind[a],
            advertised=advertised[a],
            peers={
                b: {port: peer[a, b, port].listen for port in peer_ports} for b in nodes if b != a
            },
            peer_advertised={b: advertised[b] for b in nodes if b != a},
            disk=disk,
            options=options,
        )
        for number, a in enumerate(nodes, start=1)
    }
    return [*peer.values(), *client.values()], specs
