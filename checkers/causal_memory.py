"""What each session by itself must have known, and in which order: causal memory.

A session reads as if all writes had happened one after another, in an order of its own that agrees
with causal order. So a write that is known when another one of its key is read comes before that
one, for this session; and so do all that come before it.

How it works. What is known at each read of a session is counted by chains, as in
`checkers.causal_order`, and only grows. Where a read has a value that was known before, what the
read knows of its key was known by then, too; this is repeated until nothing more follows. Whatever
comes first into view at one read can be in a circle only with what comes into view there as well.

Cost: a round is linear in the reads times the chains; one or two rounds a session, as a rule.
Source: see `checkers.causal`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from checkers.accesses import INITIAL
from checkers.causal_order import OTHER, Order, Way
from checkers.causal_words import Argument, Words
from checkers.cycles import Edges, components
from checkers.knowns import Knowns
from checkers.linearizable.values import Ints
from checkers.txn_cases import Cases
from harness.verdict import Finding

Edge = tuple[int, int]
"""A write that comes before another one, for a session."""


@dataclass(frozen=True)
class Memory:
    """All sessions of a history, or of a part of one. `stale` are the reads that contradict causal
    order itself; they say nothing of anything else."""

    order: Order
    knowns: Knowns
    words: Words
    stale: Ints

    def cases(self) -> dict[str, Cases]:
        initial: list[tuple[Session, int]] = []
        circles: list[tuple[Session, int]] = []
        for session in self._sessions():
            initial += [(session, read) for read in session.initial.tolist()]
            circles += [(session, write) for write in session.circles.tolist()]
        return {
            "WriteHBInitRead": Cases(len(initial), lambda number: _initial(*initial[number])),
            "CyclicHB": Cases(len(circles), lambda number: _circle(*circles[number])),
        }

    def _sessions(self) -> Iterator[Session]:
        order = self.order
        judged = ~order.accesses.write & (order.source >= INITIAL)
        judged[self.stale] = False
        judged[self.knowns.of_initial[0]] = False
        reads = np.flatnonzero(judged)
        process = order.accesses.process[reads]
        for part in np.split(reads, np.flatnonzero(process[1:] != process[:-1]) + 1):
            if len(part):
                yield Session(self, part)


@dataclass
class Session:
    """The reads of one session, in its order.

    Attributes:
        edges: what must come before what, if it was asked for: the round in which that was seen,
            and the read that shows it.
    """

    memory: Memory
    reads: Ints
    edges: dict[Edge, tuple[int, int]] = field(default_factory=dict)

    @cached_property
    def known(self) -> Any:
        """[reads, chains]: what the session must know at each read."""
        return self._known(None)

    def _known(self, edges: dict[Edge, tuple[int, int]] | None) -> Any:
        order = self.memory.order
        known = order.past[self.reads]
        valued = np.flatnonzero(order.source[self.reads] >= 0)
        number = 0
        while True:
            at, writes = self._before(valued, known)
            if edges is not None:
                self._note(edges, number, at, writes)
            first = _first(known, order, order.source[self.reads[valued]])
            into = np.zeros(len(self.reads), np.int64)
            into[valued] = first
            into = into[at]
            late = known[into, order.chain[writes]] < order.rank[writes]
            if not late.any():
                return known
            np.maximum.at(known, into[late], order.past[writes[late]])
            known = np.maximum.accumulate(known, axis=0)
            number += 1

    def _before(self, valued: Ints, known: Any) -> tuple[Ints, Ints]:
        """(read, write): what each read knows besides the write of its value; the read by its
        place in the session."""
        order = self.memory.order
        reads, writes = self.memory.knowns.known(self.reads[valued], known[valued])
        source = order.source[reads]
        kept = writes != source
        # What comes before it anyway adds nothing.
        kept[kept] = ~order.before(writes[kept], source[kept])
        return np.searchsorted(self.reads, reads[kept]), writes[kept]

    def _note(
        self, edges: dict[Edge, tuple[int, int]], number: int, at: Ints, writes: Ints
    ) -> None:
        source = self.memory.order.source[self.reads[at]]
        for one, other, read in zip(
            writes.tolist(), source.tolist(), self.reads[at].tolist(), strict=True
        ):
            edges.setdefault((one, other), (number, read))

    @cached_property
    def initial(self) -> Ints:
        """Reads of the initial value that must have known a write."""
        places = np.flatnonzero(self.memory.order.source[self.reads] == INITIAL)
        reads = self.memory.knowns.known(self.reads[places], self.known[places])[0]
        found: Ints = np.unique(reads)
        return found

    @cached_property
    def circles(self) -> Ints:
        """Writes that must come before themselves: those that a read has its value from."""
        order = self.memory.order
        valued = np.flatnonzero(order.source[self.reads] >= 0)
        at, one = self._before(valued, self.known)
        other = order.source[self.reads[at]]
        first, second = _first(self.known, order, one), _first(self.known, order, other)
        together = first == second
        one, other, layer = one[together], other[together], first[together]
        if not len(one):
            return np.zeros(0, np.int64)
        found = _circles(order, one, other, layer)
        circles: Ints = np.unique(other[found])
        return circles


def _first(known: Any, order: Order, writes: Ints) -> Ints:
    """At which read of a session each of these writes comes into view."""
    chain, rank = order.chain[writes], order.rank[writes]
    first = np.zeros(len(writes), np.int64)
    by = np.argsort(chain, kind="stable")
    cuts = np.flatnonzero(chain[by][1:] != chain[by][:-1]) + 1
    for group in np.split(by, cuts):
        if len(group):
            first[group] = np.searchsorted(known[:, chain[group[0]]], rank[group])
    return first


def _circles(order: Order, one: Ints, other: Ints, layer: Ints) -> Any:
    """Which of these edges close circles, with causal order. Edges are of a layer each."""
    # From each target to the sources that come causally after it: of each chain, from the last.
    target, first = np.unique(other, return_index=True)
    by = np.lexsort((order.rank[target], order.chain[target], layer[first]))
    target, of = target[by], layer[first][by]
    chain = order.chain[target]
    new = np.append(True, (of[1:] != of[:-1]) | (chain[1:] != chain[:-1]))
    start = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    width = int(order.rank.max(initial=0)) + 1
    places = group * width + order.rank[target]
    source, first = np.unique(one, return_index=True)
    low = np.searchsorted(of[start], layer[first], "left")
    count = np.searchsorted(of[start], layer[first], "right") - low
    rows = np.repeat(np.arange(len(source)), count)
    inner = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    groups = low[rows] + inner
    known = order.past[source[rows], chain[start[groups]]].astype(np.int64)
    at = np.searchsorted(places, groups * width + known, "right")
    there = at > start[groups]
    next_in_chain = np.flatnonzero(~new)
    nodes = np.unique(np.concatenate([target, source]))
    number = np.zeros(int(nodes.max()) + 1, np.int64)
    number[nodes] = np.arange(len(nodes))
    edges = Edges.joined(
        [
            Edges.of(number[one], number[other], 0),
            Edges.of(number[target[at[there] - 1]], number[source[rows[there]]], 1),
            Edges.of(number[target[next_in_chain - 1]], number[target[next_in_chain]], 1),
        ]
    )
    labels = components(edges, len(nodes))[0]
    return labels[number[one]] == labels[number[other]]


# -- arguments -----------------------------------------------------------------------------------


class _Argument:
    """Sentences and operations that show why writes come before others, for one session."""

    def __init__(self, session: Session) -> None:
        self.session, self.words = session, session.memory.words
        if not session.edges:
            session._known(session.edges)
        self.because: list[str] = []
        self.ops: list[int] = []
        self.shown: set[Edge] = set()

    def way(self, one: int, other: int, before: int = 2**62) -> Way | None:
        """By what was seen before a round."""
        more: dict[int, list[int]] = {}
        for (first, second), (number, _) in self.session.edges.items():
            if number < before:
                more.setdefault(second, []).append(first)
        return self.session.memory.order.way(one, other, more)

    def tell(self, way: Way) -> None:
        """The steps of a way, each with what shows it."""
        for (one, why), (other, _) in pairwise(way):
            self.ops += [one, other]
            if why == OTHER:
                self.edge(one, other)
            else:
                sentence = self.words.step(one, why, other)
                if sentence not in self.because:
                    self.because.append(sentence)

    def edge(self, one: int, other: int) -> None:
        """Why a write comes before another one."""
        if (one, other) in self.shown:
            return
        self.shown.add((one, other))
        number, read = self.session.edges[one, other]
        way = self.way(one, read, number)
        assert way is not None, "what was seen in a round follows from those before it"
        self.tell(way)
        self.ops += [one, other, read]
        words = self.words
        self.because.append(
            f"so {words.of(one)} was known in {words.of(read)}: for {words.who(read)} it comes "
            f"before {words.of(other)}"
        )

    def known(self, circle: Argument, one: int, other: int) -> Iterator[str]:
        """Why a write was known when the session read another one, in the words of a circle."""
        number, read = self.session.edges[one, other]
        way = self.way(one, read, number)
        assert way is not None, "what was seen in a round follows from those before it"
        for (first, why), (second, _) in pairwise(way):
            if why != OTHER:
                yield circle.why(first, why, second)
                continue
            yield from self.known(circle, first, second)
            by = circle.name(self.session.edges[first, second][1])
            yield f"so that {by} puts {circle.name(first)} before {circle.name(second)}"


def _initial(session: Session, read: int) -> Finding:
    order, words = session.memory.order, session.memory.words
    argument = _Argument(session)
    place = np.searchsorted(session.reads, [read])
    write = int(session.memory.knowns.known(np.array([read]), session.known[place])[1][0])
    way = argument.way(write, read)
    assert way is not None
    argument.tell(way)
    claim = f"{words.who(read)} read {words.value(read)} after a write that it must have known"
    last = f"however, {words.of(read)}, as if nobody had written yet: a contradiction"
    because = (*argument.because, last)
    assert order.source[read] == INITIAL
    return words.finding("WriteHBInitRead", claim, because, read, [*argument.ops, read])


def _circle(session: Session, write: int) -> Finding:
    words = session.memory.words
    argument = _Argument(session)
    firsts = [one for one, other in session.edges if other == write]
    ways = ((way, one) for one in firsts if (way := argument.way(write, one)) is not None)
    way, last = min(ways, key=lambda found: len(found[0]))
    circle = Argument(words, [node for node, _ in way])
    for (one, why), (other, _) in pairwise([*way[:-1], (last, OTHER), (write, OTHER)]):
        if why == OTHER:
            _, read = session.edges[one, other]
            circle.resolved(one, other, read, argument.known(circle, one, other))
        else:
            circle.step(one, why, other)
    who = words.who(int(session.reads[0]))
    claim = f"no order of writes explains what {who} read, {words.value(write)} among it"
    return words.circle("CyclicHB", claim, write, circle)
