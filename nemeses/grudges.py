"""Who hears whom: pure functions that make grudges (receiver → senders that it does not hear).

    halves            two random halves that cannot hear each other
    one               a random node against the rest
    majority          a random majority against the rest
    majorities-ring   every node hears a majority, and no two hear the same one (up to 5 nodes)
    bridge            two groups that only one node in the middle can hear and be heard by
    one-way           a random node hears nobody, though all hear it; or nobody hears it
    leader            the busiest leader against the rest
    controller        the leader of the metadata quorum against the rest
    client-from-leader  a client host and the busiest leader cannot hear each other

Where there are too few nodes the grudge is empty: of two nodes a majority is both, so that there is
nobody for it to be cut off from; one node has nobody at all.

Source: Jepsen's grudges (jepsen/nemesis.clj, `complete-grudge` and below); the last three and
`one-way` from Redpanda's chaos faults (isolate_leader, isolate_client_topic_leader).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from harness.errors import UsageError
from harness.nemesis import View
from nemeses.targets import choose, majority

Lists = dict[str, list[str]]
"""A grudge as it stands in the history: JSON, in the cluster's order, without empty entries."""


def isolate(*groups: Sequence[str]) -> Lists:
    """Each node hears its own group and nobody else.

    >>> isolate(["n1"], ["n2", "n3"])
    {'n1': ['n2', 'n3'], 'n2': ['n1'], 'n3': ['n1']}
    """
    everyone = sorted(node for group in groups for node in group)
    assert len(set(everyone)) == len(everyone), "a node is in two groups"
    grudge = {node: [n for n in everyone if n not in g] for g in groups for node in g}
    return {node: grudge[node] for node in everyone if grudge[node]}


def invert(hears: Mapping[str, Sequence[str]], everyone: Sequence[str]) -> Lists:
    """The grudge of nodes that hear exactly the given ones (and themselves)."""
    grudge = {n: [m for m in everyone if m != n and m not in hears[n]] for n in everyone}
    return {node: senders for node, senders in grudge.items() if senders}


def halves(view: View, rng: Random) -> Lists:
    shuffled = rng.sample(view.nodes, len(view.nodes))
    middle = len(shuffled) // 2
    return isolate(shuffled[:middle], shuffled[middle:])


def majorities_ring(view: View, rng: Random) -> Lists:
    """Nodes on a ring, each hearing its nearest neighbours: a majority, a different one for each.

    Hearing must be mutual for a connection to carry anything at all, so windows are widened until
    it is. With three nodes that would leave no cut; there the ring is cut one way around.
    """
    ring = rng.sample(view.nodes, len(view.nodes))
    count, size = len(ring), majority(len(ring))
    before = (size - 1) // 2
    hears = {
        node: [ring[(place + step) % count] for step in range(-before, size - before)]
        for place, node in enumerate(ring)
    }
    mutual = {n: [m for m in ring if m in hears[n] or n in hears[m]] for n in ring}
    complete = all(len(heard) == count for heard in mutual.values())
    return invert(hears if complete else mutual, view.nodes)


def bridge(view: View, rng: Random) -> Lists:
    """Two groups and one node between them. With fewer than three nodes: two groups."""
    shuffled = rng.sample(view.nodes, len(view.nodes))
    if len(shuffled) < 3:
        return halves(view, rng)
    middle, rest = shuffled[0], shuffled[1:]
    half = len(rest) // 2
    grudge = isolate(rest[:half], rest[half:])
    assert middle not in grudge
    return grudge


def one_way(view: View, rng: Random) -> Lists:
    node = rng.choice(view.nodes)
    others = [other for other in view.nodes if other != node]
    if rng.random() < 0.5 and others:
        return {node: others}
    return {other: [node] for other in others}


def client_from_leader(view: View, rng: Random) -> Lists:
    (leader,) = choose("leader", view, rng)
    client = rng.choice(view.clients)
    return {client: [leader], leader: [client]}


def against_the_rest(target: str) -> Callable[[View, Random], Lists]:
    def grudge(view: View, rng: Random) -> Lists:
        group = choose(target, view, rng)
        return isolate(group, [node for node in view.nodes if node not in group])

    return grudge


GRUDGES: Mapping[str, Callable[[View, Random], Lists]] = {
    "halves": halves,
    "one": against_the_rest("one"),
    "majority": against_the_rest("majority"),
    "majorities-ring": majorities_ring,
    "bridge": bridge,
    "one-way": one_way,
    "leader": against_the_rest("leader"),
    "controller": against_the_rest("controller"),
    "client-from-leader": client_from_leader,
}


def grudge(target: str, view: View, rng: Random) -> Lists:
    """The grudge that `target` means now.

    Raises:
        UsageError: no such target.
    """
    check([target])
    return GRUDGES[target](view, rng)


def check(targets: Iterable[str]) -> None:
    """Raises UsageError: there is no such way to partition."""
    for target in targets:
        if target not in GRUDGES:
            raise UsageError(f"{target!r} is no way to partition; ways: {', '.join(GRUDGES)}")
