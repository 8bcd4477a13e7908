"""No transaction comes before itself.

A dependency graph has an edge T1 → T2 where T1 comes before T2 in every order that explains the
history, of a kind that says why:

    ww        T2 wrote the version after the one that T1 wrote
    wr        T2 read what T1 wrote
    rw        T1 read the version before the one that T2 wrote
    process   T2 is the next of T1's process
    realtime  T1 had ended before T2 began

Anomalies, of a cycle:
    G0              of ww alone
    G1c             of ww and wr
    G-single        with one rw
    G-nonadjacent   with more of them, no two in a row
    G2-item         with two in a row

each also `-process` and `-realtime`, if there is no such cycle without edges of that kind. An edge
that closes a cycle is left out of the search for the others: what is found besides contradicts
itself on its own. Of each component the shortest cycle is told, in a large one the shortest of
those that were met. A class is missed in no component, unless a graver one is found in the same.

Real time needs no more than a few edges a transaction: instants, one where an end is followed by a
beginning, each before the next. A node that is no transaction passes on, by `link`, the edge that
led to it.

There is no time-out, hence no `…-cycle-exists` for a cycle that could not be named in time. Where
lost updates, internal reads and the like are seen at once, they are told by their own names only;
which models they rule out is in `harness.consistency`.

Cost: linear while nothing is found; Python for the components of what is.
Source: A. Adya, "Weak Consistency" (1999); Elle (Kingsbury, Alvaro, 2020) for the names.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

Nodes = NDArray[np.int32]
Kinds = NDArray[np.int8]
Bools = NDArray[np.bool_]

WW, WR, RW, PROCESS, REALTIME, LINK = range(6)
WORDS = ("ww", "wr", "rw", "process", "realtime", "link")
CLASSES = ("G0", "G1c", "G-single", "G-nonadjacent", "G2-item")
VARIANTS: tuple[tuple[str, int | None], ...] = (
    ("", None),
    ("-process", PROCESS),
    ("-realtime", REALTIME),
)
ANOMALIES = tuple(name + suffix for suffix, _ in VARIANTS for name in CLASSES)

LONG = 12
"""Transactions of a cycle from which on a shorter one is told besides, if time gives one."""

_BACK = {WW: "G0", WR: "G1c", RW: "G-single"}
"""What an edge that goes back in time is."""

WORK_MAX = 2_000_000
"""Edges that are followed in a component for a shorter cycle, once there is one."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Edges of a graph: parallel columns."""

    source: Nodes
    target: Nodes
    kind: Kinds

    @staticmethod
    def of(source: NDArray[np.integer], target: NDArray[np.integer], kind: int) -> Edges:
        return Edges(
            source.astype(np.int32, copy=False),
            target.astype(np.int32, copy=False),
            np.full(len(source), kind, np.int8),
        )

    @staticmethod
    def joined(parts: Iterable[Edges]) -> Edges:
        every = list(parts)
        return Edges(
            np.concatenate([part.source for part in every]),
            np.concatenate([part.target for part in every]),
            np.concatenate([part.kind for part in every]),
        )

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.integer]) -> Edges:
        return Edges(self.source[chosen], self.target[chosen], self.kind[chosen])

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Transactions, each before the next and the last before the first, and by what kind."""

    anomaly: str
    txns: tuple[int, ...]
    kinds: tuple[int, ...]

    def steps(self) -> Iterator[tuple[int, int, int]]:
        """(transaction, kind, transaction)."""
        yield from zip(self.txns, self.kinds, (*self.txns[1:], self.txns[0]), strict=True)


# -- edges that need no data ---------------------------------------------------------------------


def process_edges(process: NDArray[np.integer], node: NDArray[np.integer]) -> Edges:
    """From each transaction to the next of its process; both columns in order of beginning."""
    order = np.argsort(process, kind="stable")
    same = process[order[1:]] == process[order[:-1]]
    return Edges.of(node[order[:-1][same]], node[order[1:][same]], PROCESS)


def realtime_edges(
    begin: NDArray[np.integer], end: NDArray[np.integer], node: NDArray[np.integer], free: int
) -> tuple[Edges, int]:
    """From each transaction to all that began after its end, by way of instants.

    Args:
        begin, end: positions in a history, the begins ascending; an end of -1 is never.
        free: the first number that is no node yet.

    Returns: the edges, and the first number that is free then.
    """
    if not len(node):
        return Edges.of(node, node, LINK), free
    first, last = int(begin[0]), int(begin[-1])
    ended = (end >= 0) & (end < last)  # nobody began after the others
    what = np.zeros(last - first + 1, np.int8)
    who = np.empty(len(what), np.int32)
    what[begin - first], who[begin - first] = 2, node
    what[end[ended] - first], who[end[ended] - first] = 1, node[ended]
    at = np.flatnonzero(what)
    ends = what[at] == 1
    who = who[at]
    starts = ends.copy()
    starts[1:] &= ~ends[:-1]
    instant = np.cumsum(starts, dtype=np.int32)  # 0: before the first end
    count = int(instant[-1])
    later = ~ends & (instant > 0)
    chain = np.arange(count - 1) + free
    parts = [
        Edges.of(who[ends], instant[ends] + (free - 1), REALTIME),
        Edges.of(instant[later] + (free - 1), who[later], LINK),
        Edges.of(chain, chain + 1, LINK),
    ]
    return Edges.joined(parts), free + count


def others_edges(
    sources: list[tuple[int, int]], targets: list[int], free: int
) -> tuple[Edges, int]:
    """From each source to all targets but itself, by way of two chains of nodes.

    Args:
        sources: (transaction, kind). targets: distinct transactions.

    Returns: the edges, and the first number that is free then.
    """
    count = len(targets)
    if count == 1:
        found = [(source, targets[0], kind) for source, kind in sources if source != targets[0]]
        return _edges(found), free
    up, down = free, free + count  # up[i] → targets[i:], down[i] → targets[:i + 1]
    place = {target: at for at, target in enumerate(targets)}
    found = []
    for at, target in enumerate(targets):
        found += [(up + at, target, LINK), (down + at, target, LINK)]
        if at:
            found += [(up + at - 1, up + at, LINK), (down + at, down + at - 1, LINK)]
    for source, kind in sources:
        own = place.get(source)
        if own is None:
            found.append((source, up, kind))
            continue
        if own + 1 < count:
            found.append((source, up + own + 1, kind))
        if own > 0:
            found.append((source, down + own - 1, kind))
    return _edges(found), free + 2 * count


def _edges(found: list[tuple[int, int, int]]) -> Edges:
    columns = np.array(found, np.int32).reshape(-1, 3)
    return Edges(columns[:, 0], columns[:, 1], columns[:, 2].astype(np.int8))


# -- search --------------------------------------------------------------------------------------


def cycles(
    edges: Edges,
    process: Edges,
    realtime: Edges,
    begin: NDArray[np.integer],
    end: NDArray[np.integer],
    nodes: int,
) -> list[Cycle]:
    """The shortest cycle of each class in each component, the gravest class first.

    Args:
        edges: ww, wr, rw, and links of nodes that are no transactions.
        process, realtime: the latter implies the former.
        begin: when each transaction began: nodes from `len(begin)` on are no transactions.
        end: when it ended; -1 is never.
    """
    every = Edges.joined([edges, realtime])
    inside = components(every, nodes)[1]
    if not inside.any():
        return []
    every = every.take(inside)
    alive = np.unique(every.source)  # a node in a cycle is the source of an edge in it
    known = np.zeros(nodes, np.bool_)
    known[alive] = True
    process = process.take(known[process.source] & known[process.target])
    number = np.cumsum(known, dtype=np.int32) - 1
    every = Edges.joined([every, process])
    small = Edges(number[every.source], number[every.target], every.kind)
    found = _Search(small, alive, begin).run()
    return [*found, *_shortcuts(found, begin, end)]


def _shortcuts(
    found: list[Cycle], begin: NDArray[np.integer], end: NDArray[np.integer]
) -> Iterator[Cycle]:
    """A long way round says little to a reader. Where one of its edges goes back in time, two
    transactions and the order of time say as much against the strictest models."""
    for cycle in found:
        if len(cycle.txns) <= LONG:
            continue
        for source, kind, target in cycle.steps():
            if kind in _BACK and 0 <= end[target] < begin[source]:
                yield Cycle(f"{_BACK[kind]}-realtime", (source, target), (kind, REALTIME))
                break


def components(edges: Edges, nodes: int) -> tuple[Nodes, Bools]:
    """The component of each node, and which edges lie within one."""
    if len(edges) <= FEW and not _has_circle(edges.source.tolist(), edges.target.tolist()):
        return np.arange(nodes, dtype=np.int32), np.zeros(len(edges), np.bool_)
    labels = _labels(edges, nodes)
    return labels, labels[edges.source] == labels[edges.target]


FEW = 64
"""Edges that a loop looks through before SciPy has made its matrices: so many has a witness, whose
operations are each tried without."""


def _has_circle(source: list[int], target: list[int]) -> bool:
    """Whether something is left once nodes that nothing leads to are taken away, over and over."""
    incoming = dict.fromkeys(source, 0)
    after: dict[int, list[int]] = {node: [] for node in incoming}
    for one, other in zip(source, target, strict=True):
        after[one].append(other)
        if other in incoming:
            incoming[other] += 1
    first = [node for node, count in incoming.items() if not count]
    for node in first:
        for other in after[node]:
            if other in incoming:
                incoming[other] -= 1
                if not incoming[other]:
                    first.append(other)
    return len(first) < len(incoming)


def _labels(edges: Edges, nodes: int) -> Nodes:
    ones = np.ones(len(edges), np.int8)
    pairs = (edges.source, edges.target)
    # This joins parallel edges, without which SciPy's search does not end.
    rows = coo_array((ones, pairs), shape=(nodes, nodes)).tocsr()
    # Nobody looks at weights, but they must be of 64 bits: one stands for all.
    weights = np.broadcast_to(1.0, rows.nnz)
    light = csr_array((weights, rows.indices, rows.indptr), shape=rows.shape)
    labels: Nodes = connected_components(light, connection="strong")[1]
    return labels


def joined_nodes(edges: Edges, nodes: int) -> Nodes:
    """What each node hangs together with, whichever way the edges lead."""
    return _labels(Edges.joined([edges, Edges(edges.target, edges.source, edges.kind)]), nodes)


class _Search:
    """Class after class, without the edges that closed the cycles of those before."""

    def __init__(self, edges: Edges, name: NDArray[np.int32], begin: NDArray[np.integer]) -> None:
        self.edges, self.name, self.txns = edges, name, len(begin)
        self.size = len(name)
        real = name < self.txns
        self.when = np.where(real, begin[np.where(real, name, 0)], -1)
        self.left = np.ones(len(edges), np.bool_)
        self.found: list[Cycle] = []

    def run(self) -> list[Cycle]:
        kind = self.edges.kind
        for suffix, extra in VARIANTS:
            base = (kind == WW) | (kind == LINK)
            if extra is not None:
                base |= kind == extra
            if not self._inside(base | (kind == WR) | (kind == RW)).any():
                continue
            self._closed("G0" + suffix, base, WW)
            base |= kind == WR
            self._closed("G1c" + suffix, base, WR)
            self._single("G-single" + suffix, base)
            self._nonadjacent("G-nonadjacent" + suffix, base)
            self._closed("G2-item" + suffix, base | (kind == RW), RW)
        return self.found

    def _inside(self, mask: Bools) -> NDArray[np.int64]:
        """Which of these edges, by number, lie within a component."""
        chosen = np.flatnonzero(mask & self.left)
        inside: NDArray[np.int64] = chosen[components(self.edges.take(chosen), self.size)[1]]
        return inside

    def _components(self, mask: Bools) -> Iterator[NDArray[np.int64]]:
        """The edges within each component, by number."""
        chosen = np.flatnonzero(mask & self.left)
        labels, within = components(self.edges.take(chosen), self.size)
        chosen = chosen[within]
        yield from _groups(labels[self.edges.source[chosen]], chosen)

    def _closed(self, anomaly: str, mask: Bools, kind: int) -> None:
        """Cycles of these edges, each of which has an edge of the kind."""
        for inside in list(self._components(mask)):
            closing = inside[self.edges.kind[inside] == kind]
            paths = _Paths(self.edges, inside)
            best: list[int] | None = None
            for edge in closing.tolist():
                if best is not None and (len(best) <= 2 or paths.work > WORK_MAX):
                    break
                most = None if best is None else self._length(best) - 1
                way = paths.back(edge, most)
                if way is not None and (best is None or self._length(way) < self._length(best)):
                    best = way
            assert best is not None, "an edge within a component closes a cycle"
            self._tell(anomaly, best)
            self._leave(closing)

    def _single(self, anomaly: str, base: Bools) -> None:
        """Cycles of one rw; the base has none."""
        for inside in list(self._components(base | (self.edges.kind == RW))):
            is_rw = self.edges.kind[inside] == RW
            paths = _Paths(self.edges, inside[~is_rw])
            paths.sort(self.when, self.edges, inside)
            best: list[int] | None = None
            closing: list[int] = []
            for edge in inside[is_rw].tolist():
                if best is not None and paths.work > WORK_MAX:
                    break
                way = paths.back(edge)
                if way is None:
                    continue
                closing.append(edge)
                if best is None or self._length(way) < self._length(best):
                    best = way
            if best is not None:
                self._tell(anomaly, best)
                self._leave(np.array(closing))

    def _nonadjacent(self, anomaly: str, base: Bools) -> None:
        """Walks without two rw in a row: each node twice, as it was reached by rw or not."""
        kind, size = self.edges.kind, self.size
        chosen = np.flatnonzero((base | (kind == RW)) & self.left)
        some = self.edges.take(chosen)
        rw, link = some.kind == RW, some.kind == LINK
        plain = ~rw
        # From a node reached by rw, a link goes on being rw, and rw may not follow.
        double = Edges.joined(
            [
                Edges(some.source, some.target + np.where(rw, size, 0).astype(np.int32), some.kind),
                Edges(
                    some.source[plain] + np.int32(size),
                    some.target[plain] + np.where(link[plain], size, 0).astype(np.int32),
                    some.kind[plain],
                ),
            ]
        )
        number = np.concatenate([chosen, chosen[plain]])
        labels, within = components(double, 2 * size)
        inside = np.flatnonzero(within)
        for group in list(_groups(labels[double.source[inside]], inside)):
            closing = group[double.kind[group] == RW]
            if not len(closing):
                continue
            paths = _Paths(double, group)
            best: list[int] | None = None
            for edge in closing.tolist():
                if best is not None and paths.work > WORK_MAX:
                    break
                way = paths.back(edge)
                if way is None or sum(int(double.kind[one]) == RW for one in way) < 2:
                    continue  # one rw: told as G-single already
                if best is None or len(way) < len(best):
                    best = way
            if best is not None:
                self._tell(anomaly, [int(number[one]) for one in best])
            self._leave(number[closing])

    def _leave(self, closing: NDArray[np.int64]) -> None:
        """Go on without these edges, and without those beside them: they say the same."""
        pair = self.edges.source.astype(np.int64) * self.size + self.edges.target
        self.left[np.isin(pair, pair[closing])] = False

    def _length(self, way: list[int]) -> int:
        return sum(int(self.edges.kind[edge]) != LINK for edge in way)

    def _tell(self, anomaly: str, way: list[int]) -> None:
        """A cycle of edges by number, the first of which leaves a transaction."""
        txns, kinds = [], []
        for edge in way:
            source, kind = int(self.name[self.edges.source[edge]]), int(self.edges.kind[edge])
            if kind != LINK:
                assert source < self.txns
                txns.append(source)
                kinds.append(kind)
        self.found.append(Cycle(anomaly, tuple(txns), tuple(kinds)))


def _groups(label: Nodes, edge: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The edges of each label."""
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if len(edge):
        yield from np.split(edge[order], cuts)


class _Paths:
    """Shortest ways in a part of a graph. A link costs nothing.

    Attributes:
        work: edges that were followed so far.
    """

    def __init__(self, edges: Edges, part: NDArray[np.int64]) -> None:
        self.source, self.target, self.kind = edges.source, edges.target, edges.kind
        order = part[np.argsort(edges.source[part], kind="stable")]
        source = edges.source[order]
        first = np.flatnonzero(source[1:] != source[:-1]) + 1
        bounds = [0, *first.tolist(), len(order)] if len(order) else [0]
        self.span = {
            node: (bounds[at], bounds[at + 1])
            for at, node in enumerate(source[bounds[:-1]].tolist())
        }
        self.number: list[int] = order.tolist()
        self.to: list[int] = edges.target[order].tolist()
        self.cost: list[int] = (edges.kind[order] != LINK).astype(np.int8).tolist()
        self.rank: dict[int, int] | None = None
        self.work = 0

    def sort(self, when: NDArray[np.int64], edges: Edges, whole: NDArray[np.int64]) -> None:
        """Rank the nodes in an order that all edges follow, near to the order in time. What is
        ranked behind a way's end cannot lie on it."""
        nodes = np.unique(np.concatenate([edges.source[whole], edges.target[whole]])).tolist()
        waits = dict.fromkeys(nodes, 0)
        for target in self.to:
            waits[target] += 1
        ready = [(int(when[node]), node) for node in nodes if not waits[node]]
        heapq.heapify(ready)
        self.rank = {}
        while ready:
            _, node = heapq.heappop(ready)
            self.rank[node] = len(self.rank)
            begin, end = self.span.get(node, (0, 0))
            for target in self.to[begin:end]:
                waits[target] -= 1
                if not waits[target]:
                    heapq.heappush(ready, (int(when[target]), target))
        assert len(self.rank) == len(nodes), "the base has no cycle"

    def back(self, edge: int, most: int | None = None) -> list[int] | None:
        """The edge and the shortest way from its target to its source, of no more than `most`
        edges in all; None if there is none."""
        goal, start = int(self.source[edge]), int(self.target[edge])
        rank = self.rank
        last = None if rank is None else rank[goal]
        if rank is not None and rank[start] > rank[goal]:
            return None
        came: dict[int, tuple[int, int]] = {start: (-1, -1)}
        far = {start: int(self.kind[edge] != LINK)}
        queue = deque([start])
        done: set[int] = set()
        while queue:
            node = queue.popleft()
            if node == goal:
                return [edge, *self._way(came, goal)]
            if node in done:
                continue
            done.add(node)
            begin, end = self.span.get(node, (0, 0))
            self.work += end - begin
            for at in range(begin, end):
                target, cost = self.to[at], self.cost[at]
                length = far[node] + cost
                if target in done or (most is not None and length > most):
                    continue
                if rank is not None and last is not None and rank[target] > last:
                    continue
                if target not in far or length < far[target]:
                    far[target], came[target] = length, (node, self.number[at])
                    (queue.append if cost else queue.appendleft)(target)
        return None

    def _way(self, came: dict[int, tuple[int, int]], goal: int) -> list[int]:
        way = []
        node, edge = came[goal]
        while edge >= 0:
            way.append(edge)
            node, edge = came[node]
        return way[::-1]
