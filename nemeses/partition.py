"""Cuts links between nodes, or between clients and nodes, so that they cannot hear each other.

    f                 value invoked                       effect
    start-partition   a grudge, by target (see grudges)   the links carry nothing
    stop-partition    null                                all links carry what they held

    cluster   how a link is cut
    local     the link's proxy stops reading and forwarding
    docker    nftables drop in the receiver's network namespace

A new partition replaces the one before it. A grudge that cuts nothing, as every way of partitioning
a single node is, is journaled as skipped.
Source: Jepsen's partitioner (jepsen/nemesis.clj) and grudges.
"""

from __future__ import annotations

from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect, links_of
from harness.nemesis import Band, Package, View
from nemeses.grudges import Lists, check, grudge
from nemeses.rhythm import Rhythm, on_and_off
from nemeses.wires import Wires


class Partition:
    """Operator of `start-partition` and `stop-partition`."""

    fs = frozenset({"start-partition", "stop-partition"})

    def __init__(self) -> None:
        self.wires = Wires()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Lists | None:
        if f == "stop-partition":
            return None
        return value if isinstance(value, dict) else grudge(value, view, rng)

    async def invoke(self, f: str, value: Lists | None, cluster: Cluster) -> Effect:
        return await self.wires.set_cut(links_of(value or {}), cluster)


def package(rhythm: Rhythm) -> Package:
    check(rhythm.grudges)
    return Package(
        name="partition",
        nemesis=Partition(),
        generator=on_and_off(rhythm, "start-partition", rhythm.grudges, "stop-partition", None),
        final_generator=gen.Call("stop-partition"),
        bands=(
            Band(
                "partition",
                frozenset({"start-partition"}),
                frozenset({"stop-partition"}),
                "#2980b9",
            ),
        ),
        needs=frozenset({Ability.CUT}),
        wants_view=True,
    )
