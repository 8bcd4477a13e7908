"""Which transactions may lie on a cycle, found stretch by stretch of the history.

Whoever goes around in a circle goes back in time somewhere. So where no edge leads from a
transaction that began later to one that began earlier across a point in time, no cycle crosses that
point, and what lies before it can be judged without what lies behind it. Only those that overlapped
have such edges, so that a stretch is as long as the concurrency makes it, and only one stretch's
edges of real time are in memory at once.

Cost: linear, in time; memory of a stretch, or of `STRETCH` transactions if that is more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from checkers.cycles import Bools, Edges, Nodes, components, joined_nodes, realtime_edges

STRETCH = 1 << 16
"""Transactions of as many stretches as are judged together."""

PIECE = 1 << 18
"""Edges that are looked at together."""


def tangled(
    edges: Edges,
    free: int,
    node: NDArray[np.integer],
    begin: NDArray[np.integer],
    end: NDArray[np.integer],
) -> Bools:
    """bool[free]; which nodes lie on a cycle, of those who took place.

    Args:
        edges, free: ww, wr, rw, and links; and the first number that is no node.
        node: the transactions that took place, ascending: time orders these.
        begin, end: of every transaction, in order of begins; an end of -1 is never.
    """
    txns = len(begin)
    first, last = _reaches(edges, txns, free)
    bounds = _bounds(edges, first, last, txns)
    alone = np.append(np.diff(bounds) == 1, False)
    stretch = np.zeros(txns, np.int32)
    stretch[bounds[1:-1]] = 1
    np.cumsum(stretch, out=stretch)
    edges = edges.take(_within(edges, first, stretch))
    node = node[~alone[stretch[node]]]
    found = np.zeros(free, np.bool_)
    cuts = _cuts(bounds)
    part = np.searchsorted(cuts, first[edges.source], side="right") - 1
    order = np.argsort(part.astype(np.int32), kind="stable")
    edges, part = edges.take(order), part[order]
    for number in np.unique(part).tolist():
        low, high = cuts[number : number + 2].tolist()
        some = slice(*np.searchsorted(part, (number, number + 1)).tolist())
        own = slice(*np.searchsorted(node, (low, high)).tolist())
        here = Edges(edges.source[some], edges.target[some], edges.kind[some])
        found[_on_cycles(here, txns, low, high, node[own], begin, end)] = True
    return found


def _reaches(edges: Edges, txns: int, free: int) -> tuple[Nodes, Nodes]:
    """The first and the last transaction that each node may stand for: of one that is none, of all
    that it and the others beside it lead from or to."""
    first = np.arange(free, dtype=np.int32)
    last = first.copy()
    if free == txns:
        return first, last
    source, target = edges.source, edges.target
    into, out = target >= txns, source >= txns
    both = into & out
    label = joined_nodes(Edges.of(source[both] - txns, target[both] - txns, 0), free - txns)
    low = np.full(free - txns, txns - 1, np.int32)
    high = np.zeros(free - txns, np.int32)
    for one, other in ((into & ~out, (target, source)), (out & ~into, (source, target))):
        where, who = label[other[0][one] - txns], other[1][one]
        np.minimum.at(low, where, who)
        np.maximum.at(high, where, who)
    first[txns:], last[txns:] = low[label], high[label]
    return first, last


def _bounds(edges: Edges, first: Nodes, last: Nodes, txns: int) -> NDArray[np.int64]:
    """Where stretches begin, and the end of the last one."""
    steps = np.zeros(txns + 2, np.int32)  # how many more edges lead back across each point
    for piece in _pieces(edges):
        low, high = first[piece.target], last[piece.source]
        back = low < high
        np.add.at(steps, low[back] + 1, 1)
        np.add.at(steps, high[back] + 1, -1)
    if len(first) > txns:
        np.add.at(steps, first[txns:] + 1, 1)
        np.add.at(steps, np.maximum(first, last)[txns:] + 1, -1)
    crossed = np.cumsum(steps, out=steps)[:txns] > 0
    return np.append(np.flatnonzero(~crossed), txns)


def _within(edges: Edges, first: Nodes, stretch: Nodes) -> Bools:
    """Which edges have both ends in a stretch."""
    parts = [stretch[first[p.source]] == stretch[first[p.target]] for p in _pieces(edges)]
    return np.concatenate(parts) if parts else np.zeros(0, np.bool_)


def _pieces(edges: Edges) -> Iterator[Edges]:
    """Some at a time, to save memory."""
    for at in range(0, len(edges), PIECE):
        some = slice(at, at + PIECE)
        yield Edges(edges.source[some], edges.target[some], edges.kind[some])


def _cuts(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the bounds so many that `STRETCH` transactions or more lie between two."""
    cuts = [0]
    while cuts[-1] < bounds[-1]:
        at = int(np.searchsorted(bounds, cuts[-1] + STRETCH))
        cuts.append(int(bounds[min(at, len(bounds) - 1)]))
    return np.array(cuts, np.int64)


def _on_cycles(
    edges: Edges,
    txns: int,
    low: int,
    high: int,
    node: NDArray[np.integer],
    begin: NDArray[np.integer],
    end: NDArray[np.integer],
) -> NDArray[np.int64]:
    """The nodes on cycles of these edges, of transactions low … high - 1, and of their time."""
    ends = np.concatenate([edges.source, edges.target])
    links = np.unique(ends[ends >= txns])  # they get numbers behind the transactions
    count = high - low
    names = np.concatenate([np.arange(low, high), links])

    def numbered(nodes: Nodes) -> NDArray[np.int64]:
        return np.where(nodes < txns, nodes - low, np.searchsorted(links, nodes) + count)

    own = Edges(
        numbered(edges.source).astype(np.int32),
        numbered(edges.target).astype(np.int32),
        edges.kind,
    )
    time, nodes = realtime_edges(begin[node], end[node], node - low, len(names))
    every = Edges.joined([own, time])
    on = every.source[components(every, nodes)[1]]
    found: NDArray[np.int64] = names[np.unique(on[on < len(names)])]
    return found
