"""Who is hit: pure, seeded functions of what the harness last saw of the cluster.

    one              one node, at random
    some             a random nonempty subset
    minority         the largest number of nodes that is no majority, at random
    majority         the smallest majority, at random
    half             half of the nodes, rounded down
    all              every node
    leader           the node that leads the most partitions; ties at random
    controller       the node that leads the metadata quorum
    n1 or n1+n3      exactly those

Where nobody knows who leads, `leader` and `controller` mean `one`, so that the fault still happens.
Source: Jepsen's node specs (jepsen/nemesis/combined.clj, `db-nodes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from random import Random

from harness.errors import UsageError
from harness.nemesis import View

SYMBOLS = ("one", "some", "minority", "majority", "half", "all", "leader", "controller")


def majority(count: int) -> int:
    """How many of `count` nodes are a majority.

    >>> [majority(n) for n in (1, 2, 3, 4, 5)]
    [1, 2, 2, 3, 3]
    """
    return count // 2 + 1


def choose(target: str, view: View, rng: Random) -> tuple[str, ...]:
    """The nodes that `target` means now, in the cluster's order.

    Raises:
        UsageError: no such target.
    """
    nodes = view.nodes
    match target:
        case "one":
            picked: Sequence[str] = [rng.choice(nodes)]
        case "some":
            picked = rng.sample(nodes, rng.randint(1, len(nodes)))
        case "minority":
            picked = rng.sample(nodes, max(majority(len(nodes)) - 1, 1))
        case "majority":
            picked = rng.sample(nodes, majority(len(nodes)))
        case "half":
            picked = rng.sample(nodes, max(len(nodes) // 2, 1))
        case "all":
            picked = nodes
        case "leader":
            picked = [_busiest_leader(view, rng)]
        case "controller":
            picked = [view.controller or rng.choice(nodes)]
        case _:
            picked = target.split("+")
            unknown = [name for name in picked if name not in nodes]
            if unknown:
                raise _unknown(unknown[0], f"nodes of {', '.join(nodes)}")
    return tuple(node for node in nodes if node in picked)


def check(targets: Iterable[str]) -> None:
    """Whether these could be targets, before there is a cluster.

    Raises:
        UsageError: one is no symbol and names no nodes.
    """
    for target in targets:
        if target not in SYMBOLS and not re.fullmatch(r"n\d+(\+n\d+)*", target):
            raise _unknown(target, "node names")


def _unknown(name: str, nodes: str) -> UsageError:
    return UsageError(
        f"{name!r} is neither a target nor a node; targets: {', '.join(SYMBOLS)}, or {nodes} "
        "joined by +"
    )


def _busiest_leader(view: View, rng: Random) -> str:
    most = max(view.leaders.values(), default=0)
    busiest = [node for node in view.nodes if most and view.leaders.get(node) == most]
    return rng.choice(busiest or view.nodes)
