"""Who may lie on a cycle is who does in the whole graph, however the history is cut."""

from __future__ import annotations

import random

import numpy as np
import pytest

from checkers import tangles
from checkers.cycles import LINK, RW, WR, Edges, components, others_edges, realtime_edges
from checkers.transactions import Ints


def whole(edges: Edges, free: int, node: Ints, begin: Ints, end: Ints) -> set[int]:
    """The nodes on cycles, by the components of all at once."""
    time, nodes = realtime_edges(begin[node], end[node], node, free)
    every = Edges.joined([edges, time])
    on = every.source[components(every, nodes)[1]]
    return set(on[on < free].tolist())


def times(rng: random.Random, count: int, width: int) -> tuple[Ints, Ints]:
    """Begins and ends of transactions, of which so many overlap; some never end."""
    places = [(at, at) for at in range(count)]
    places += [(at + rng.randint(1, 2 * width), at) for at in range(count)]
    begin, end = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
    for place, (_, txn) in enumerate(sorted(places)):
        if begin[txn] < 0:
            begin[txn] = place
        elif rng.random() < 0.9:
            end[txn] = place
    return begin, end


def drawn(rng: random.Random) -> tuple[Edges, int, Ints, Ints, Ints]:
    count, width = rng.randint(1, 40), rng.choice((1, 3, 20))
    begin, end = times(rng, count, width)
    node = np.array([txn for txn in range(count) if rng.random() < 0.9], np.int32)
    parts = [Edges.of(node[:0], node[:0], LINK)]
    for _ in range(rng.randint(0, 3 * len(node))):
        one = int(rng.choice(node))
        near = [other for other in node.tolist() if other != one and abs(other - one) <= width]
        if near:
            other = rng.choice(near)
            if rng.random() < 0.8:
                one, other = min(one, other), max(one, other)
            parts.append(Edges.of(np.array([one]), np.array([other]), rng.choice((WR, RW))))
    free = count
    for _ in range(rng.choice((0, 0, 1, 2))):
        some = rng.sample(node.tolist(), min(len(node), 4))
        sources = [(txn, RW) for txn in some[:2]]
        if len(some) > 1:
            more, free = others_edges(sources, some[1:], free)
            parts.append(more)
    return Edges.joined(parts), free, node, begin, end


@pytest.mark.parametrize("stretch", [1, 5, 1000])
def test_what_is_tangled_is_what_lies_on_a_cycle_of_the_whole_graph(
    stretch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tangles, "STRETCH", stretch)
    monkeypatch.setattr(tangles, "PIECE", 7)
    outcomes = set()
    for seed in range(200):
        edges, free, node, begin, end = drawn(random.Random(seed))
        expected = whole(edges, free, node, begin, end)
        found = np.flatnonzero(tangles.tangled(edges, free, node, begin, end))
        assert set(found.tolist()) == expected, seed
        outcomes.add((bool(expected), free > len(begin)))
    assert len(outcomes) == 4, "cycles and none, with and without nodes that are no transactions"
