"""Registers are causally consistent: nobody sees an effect and then not its cause.

Reads `write` and `read` (or `read-init`), with values, or `[key, value]` for a register of each
key; each value is written once. Sessions are processes; see `checkers.accesses`. Of Jepsen's causal
tests `link` and `position` are read, too; see `checkers.causal_order`, which says what the causal
order is.

Anomalies:
    ThinAirRead        a value was read that nobody wrote, or whose write failed
    CyclicCO           a read comes causally before the write of what it read
    WriteCOInitRead    a read returns the initial value, causally after a write of the key
    WriteCORead        a read returns a value that it causally knows to be overwritten
    CyclicCF           there is no one order in which all can have resolved concurrent writes
    WriteHBInitRead    a read returns the initial value after a write that its session must have
                       known by then, for what it read before or after
    CyclicHB           there is no order of writes in which the session can have read what it read
    broken-link        an operation follows another position than the one its session was told last

The first four break causal consistency itself (`-o causality=cc`); CyclicCF breaks causal
convergence (`ccv`), in which all sessions agree on the outcome of concurrent writes;
WriteHBInitRead and CyclicHB break causal memory (`cm`), in which each session has an order of its
own. Neither of the two implies the other. `-o causality=all`, the default, promises both.

Blind to: real time (see `register`): a read may be older than the write whose value it has; reads
    of values that were written twice, which are a doubt.
Cost: operations times sessions that write; 1,000,000 operations of 20 sessions take about 20 s.
Source: A. Bouajjani, C. Enea, R. Guerraoui, J. Hamza, "On Verifying Causal Consistency", POPL 2017,
    whose names of bad patterns these are; M. Ahamad et al., "Causal Memory" (1995).

How it works. A read of v is right if of each other write of its key that comes before it, there is
an order in which that comes before the write of v. What must come before it, in all sessions alike,
is an edge (CF); where causal order and these edges have no circle, one order explains everything.
Of each chain of writes the last that the read knows is enough. `checkers.causal_memory` has what
holds for each session by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from checkers import causal_memory
from checkers.accesses import NOBODY, READS, WRITES, Accesses
from checkers.causal_order import OTHER, READ, SESSION, Order, told_of
from checkers.causal_words import Argument, Words
from checkers.cycles import Edges, components
from checkers.knowns import Knowns
from checkers.linearizable.values import Ints
from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

ANOMALIES = (
    *("ThinAirRead", "CyclicCO", "WriteCOInitRead", "WriteCORead", "CyclicCF"),
    *("WriteHBInitRead", "CyclicHB", "broken-link"),
)
MODELS: Mapping[str, tuple[str, ...]] = {
    "cc": ANOMALIES[:4],
    "ccv": (*ANOMALIES[:4], "CyclicCF"),
    "cm": (*ANOMALIES[:4], "WriteHBInitRead", "CyclicHB"),
}
"""What each of the models forbids: causal consistency, causal convergence, causal memory."""


@knows((*READS, *WRITES))
def check(history: History, contract: Contract, examples: int = EXAMPLES_MAX) -> Verdict:
    """Registers are causally consistent: nobody sees an effect and then not its cause."""
    accesses = Accesses.of(history)
    doubts = list(accesses.doubts())
    order = Order.of(accesses)
    stats = {"reads": int((~accesses.write).sum()), "writes": int(accesses.write.sum())}
    if order.too_large:
        doubts.append(
            f"{len(accesses)} operations of {order.chains} sessions that write are more than this "
            "checker can hold: nothing was judged"
        )
        return Verdict.of(doubts=doubts, stats=stats)
    verdict = judged(history, detected, doubts=doubts, stats=stats, examples=examples)
    ruled_out = [model for model, names in MODELS.items() if set(names) & set(verdict.counts)]
    if not ruled_out:
        return verdict
    return verdict.with_stats({"not": ruled_out, "note": f"not {', '.join(ruled_out)}"})


def detected(told: Told) -> Mapping[str, Cases]:
    """All cases of a history, by anomaly."""
    return _Causality(told).cases()


@dataclass(frozen=True)
class _Causality:
    """A history, or a part of one."""

    told: Told

    @cached_property
    def accesses(self) -> Accesses:
        return Accesses.of(self.told.history)

    @cached_property
    def order(self) -> Order:
        return Order.of(self.accesses)

    @cached_property
    def words(self) -> Words:
        return Words(self.told, self.order)

    @cached_property
    def knowns(self) -> Knowns:
        return Knowns(self.order)

    def cases(self) -> dict[str, Cases]:
        memory = causal_memory.Memory(self.order, self.knowns, self.words, self._stale)
        return {
            "ThinAirRead": self._each(self._thin_air, self._from_thin_air),
            "CyclicCO": self._each(np.flatnonzero(self.order.circular), self._circle),
            "WriteCOInitRead": self._each(np.unique(self.knowns.of_initial[0]), self._initial),
            "WriteCORead": self._each(self._stale, self._overwritten),
            "CyclicCF": self._each(self._conflicting, self._conflict),
            **memory.cases(),
            "broken-link": self._each(np.array(list(self._broken()), np.int64), self._unlinked),
        }

    def _each(self, rows: Ints, make: Callable[[int], Finding]) -> Cases:
        return Cases(len(rows), lambda number: make(int(rows[number])))

    # -- causal consistency ------------------------------------------------------------------------

    @cached_property
    def _thin_air(self) -> Ints:
        return np.flatnonzero(~self.accesses.write & (self.accesses.source == NOBODY))

    def _from_thin_air(self, read: int) -> Finding:
        words, accesses = self.words, self.accesses
        value = words.value(read)
        failed = accesses.refused.of(int(accesses.key[read]), int(accesses.value[read]))[:1]
        why = [f"{self.told.words(begin)}: it did not take place" for begin in failed]
        claim = f"{words.who(read)} read {value}, " + (
            "whose write failed" if failed else "which nobody wrote"
        )
        last = f"however, {words.of(read)}, and nobody {'else ' if failed else ''}wrote {value}"
        because = (*why, f"{last}: a contradiction")
        return words.finding("ThinAirRead", claim, because, read, [read], failed)

    def _circle(self, read: int) -> Finding:
        words, write = self.words, int(self.accesses.source[read])
        way = self.order.circle(read)
        claim = f"{words.who(read)} read {words.value(read)} causally before it was written"
        argument = Argument(words, [node for node, _ in way])
        for (one, why), (other, _) in pairwise([*way[:-1], (write, READ), (read, SESSION)]):
            argument.step(one, why, other)
        return words.circle("CyclicCO", claim, read, argument)

    def _initial(self, read: int) -> Finding:
        words = self.words
        reads, writes = self.knowns.of_initial
        write = int(writes[np.flatnonzero(reads == read)[0]])
        way = self.order.way(write, read)
        assert way is not None
        claim = f"{words.who(read)} read {words.value(read)} causally after a write"
        because = (
            *words.steps(way),
            f"however, {words.of(read)}, as if nobody had written yet: a contradiction",
        )
        return words.finding("WriteCOInitRead", claim, because, read, [node for node, _ in way])

    @cached_property
    def _stale(self) -> Ints:
        """Reads of what they know to be overwritten."""
        reads, writes = self.knowns.of_others
        return np.unique(reads[self.order.before(self.order.source[reads], writes)])

    def _overwritten(self, read: int) -> Finding:
        words, order = self.words, self.order
        reads, writes = self.knowns.of_others
        source = int(order.source[read])
        mine = writes[reads == read]
        write = int(mine[order.before(source, mine)][0])
        first, second = order.way(source, write), order.way(write, read)
        assert first is not None and second is not None
        claim = f"{words.who(read)} read {words.value(read)}, which it knew to be overwritten"
        because = (
            *words.steps(first),
            f"so that {words.value(read)} had been overwritten in {words.of(write)}",
            *words.steps(second),
            f"however, {words.of(read)} after all of that: a contradiction",
        )
        ops = [node for node, _ in (*first, *second)]
        return words.finding("WriteCORead", claim, because, read, ops)

    # -- causal convergence ------------------------------------------------------------------------

    @cached_property
    def _edges(self) -> tuple[Ints, Ints, Ints]:
        """(write, write, read): the first must come before the second for all, since the read knew
        the one and has the value of the other. Those that causal order has are left out."""
        order, (reads, writes) = self.order, self.knowns.of_others
        kept = ~np.isin(reads, self._stale)
        reads, writes = reads[kept], writes[kept]
        source = order.source[reads]
        concurrent = ~order.before(writes, source)
        return writes[concurrent], source[concurrent], reads[concurrent]

    @cached_property
    def _conflicting(self) -> Ints:
        """Writes that must come after one that must come after them."""
        one, other, _ = self._edges
        if not len(one):
            return one
        preds, size = self.order.preds, len(self.accesses)
        target, why = np.nonzero(preds >= 0)
        fits = (why != 1) | ~self.order.circular[target]
        target, why = target[fits], why[fits]
        edges = Edges.joined([Edges.of(preds[target, why], target, 0), Edges.of(one, other, 1)])
        labels = components(edges, size)[0]
        return np.unique(other[labels[one] == labels[other]])

    def _conflict(self, write: int) -> Finding:
        words, order = self.words, self.order
        one, other, reads = self._edges
        more: dict[int, list[int]] = {}
        reader: dict[tuple[int, int], int] = {}
        for first, second, read in zip(one.tolist(), other.tolist(), reads.tolist(), strict=True):
            if (first, second) not in reader:
                more.setdefault(second, []).append(first)
                reader[first, second] = read
        ways = ((way, first) for first in more[write] if (way := order.way(write, first, more)))
        way, last = min(ways, key=lambda found: len(found[0]))
        circle = [*way[:-1], (last, OTHER)]
        argument = Argument(words, [node for node, _ in circle])
        for (node, why), (after, _) in pairwise([*circle, circle[0]]):
            if why == OTHER:
                read = reader[node, after]
                known = order.way(node, read)
                assert known is not None
                steps = [argument.why(*step, second) for step, (second, _) in pairwise(known)]
                argument.resolved(node, after, read, steps)
            else:
                argument.step(node, why, after)
        claim = f"concurrent writes were resolved in no one order, {words.value(write)} among them"
        return words.circle("CyclicCF", claim, write, argument)

    # -- links -------------------------------------------------------------------------------------

    def _broken(self) -> Iterator[int]:
        """Operations whose link is not the position that their session was told last."""
        accesses, last = self.accesses, dict[tuple[int, int], object]()
        if b'"link"' not in self.told.history.extras.data.tobytes():
            return
        for row in range(len(accesses)):
            told = told_of(accesses, row)
            session = int(accesses.process[row]), int(accesses.key[row])
            link, before = told.get("link"), last.get(session)
            if link not in (None, "init") and before is not None and link != before:
                yield row
            if accesses.sure[row] and told.get("position") is not None:
                last[session] = told["position"]

    def _unlinked(self, row: int) -> Finding:
        words, accesses = self.words, self.accesses
        mine = (accesses.process == accesses.process[row]) & (accesses.key == accesses.key[row])
        before = [
            one
            for one in np.flatnonzero(mine).tolist()
            if one < row and accesses.sure[one] and "position" in told_of(accesses, one)
        ][-1]
        link, position = told_of(accesses, row)["link"], told_of(accesses, before)["position"]
        claim = f"{words.who(row)} went on from {link!r}, where it had not been last"
        because = (
            f"{words.of(before)} was told position {position!r}",
            f"however, {words.of(row)} is the next of the session, and follows {link!r}: "
            "a contradiction",
        )
        return words.finding("broken-link", claim, because, row, [before, row])
