"""A queue is linearizable: what was put in comes out once, and first in, first out.

Reads `enqueue` and `dequeue` (null for an empty queue), with values or `[key, value]`;
`-o model=unordered` lets values come out in any order. A key of which a value was enqueued twice,
or null, is judged by the search; so is one where dequeues in doubt cannot have taken all that was
never seen again, and without that nothing is wrong: the search then tells why.

Anomalies:
    reordered         a value came out before another that had been put in before it
    skipped           a value never came out, and one that was put in after it did
    false-empty       a dequeue found nothing although something was inside all the while
    duplicate         a value came out twice
    future-read       a value came out before anybody began to put it in
    phantom           a value came out that nobody tried to put in
    G1a               a value came out whose enqueue failed
    nonlinearizable   no order of the operations is legal (found by the search)

Blind to: how many values a value overtook: it is one finding, with the one that waited longest.
Cost: sorting; the search: see `search`.
Source: Henzinger, Sezgin & Vafeiadis, "Aspect-Oriented Linearizability Proofs", CONCUR 2013;
    Bouajjani, Emmi, Enea & Hamza, "On Reducing Linearizability to State Reachability", ICALP 2015.

How it works. Where each value is put in once, a queue is linearizable if none of these happens. A
value is inside for certain from the end of its enqueue to the begin of its dequeue; a dequeue that
found nothing contradicts such spans if they follow each other without a gap from before its begin
until after its end. An enqueue in doubt whose value came out did happen, and has no end; else it is
left out. A dequeue in doubt can only have taken a value that never came out: what is found without
all of these is certain, and where nothing is found with them, there is nothing. Values that were
skipped are excused where such dequeues are enough for them and began in time; so is an empty queue
where at some moment as many such dequeues had begun as values had been put in that never came out.
That is exact: at each moment only their number counts, not which of them took what.
"""

from __future__ import annotations

import numpy as np

from checkers import linearizable
from checkers.linearizable import values as columns
from checkers.linearizable.containers import Arguments, Cases, Container
from checkers.linearizable.held import Strays, Values, unlike_spelled
from checkers.linearizable.inside import Inside, Line
from checkers.linearizable.models import Fifo, Unordered
from checkers.linearizable.values import Bools, Ints, Ops
from checkers.strangers import knows
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = (
    *("reordered", "skipped", "false-empty", "duplicate", "future-read", "phantom", "G1a"),
    "nonlinearizable",
)

QUEUE = Container("queue", "enqueue", "dequeue")


@knows(Fifo.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every value that came out wrongly, and every empty queue that was not, key by key."""
    unordered = contract.promises.get("model") == "unordered"
    model = Unordered() if unordered else Fifo()
    budget = linearizable.budget(contract)
    keyed = linearizable.are_keyed(history, model)
    read = Values.read(history, "enqueue", "dequeue", keyed)
    if read is None:
        return linearizable.judge(history, model, budget=budget)
    told, doubtful = read
    twice = (told.puts > 1) | unlike_spelled(history, told)
    ambiguous = told.key[twice | ((told.puts > 0) & (told.value == NULL))]
    clear = ~np.isin(told.key, ambiguous)
    seen = _Findings(Arguments(history, told, keyed, QUEUE), not unordered, clear)
    # Keys where somebody may have taken what was never seen again.
    open_ends = np.isin(told.key, doubtful.key) & clear
    certain = seen.less(open_ends & (told.taker < 0))
    unsure = np.setdiff1d(np.intersect1d(seen.wrong_keys(), doubtful.key), certain.wrong_keys())
    unsure = unsure[[not seen.excused(int(key), doubtful) for key in unsure]]
    verdict = certain.verdict()
    searched = np.union1d(ambiguous, unsure)
    if not len(searched):
        return verdict
    keys = {columns.shown(history, int(code)) if keyed else None for code in searched}
    return linearizable.both(verdict, linearizable.judge(history, model, keys=keys, budget=budget))


class _Findings:
    """What contradicts the queue among the chosen values."""

    def __init__(self, argue: Arguments, ordered: bool, chosen: Bools) -> None:
        told = argue.told
        self.argue, self.told, self.ordered, self.chosen = argue, told, ordered, chosen
        self.strays = Strays.of(told, chosen)
        self.fine = self.strays.fine
        self.line = Line(told, len(argue.history))
        nobody = self.fine[:0]
        self.overtaken, self.overtaking = self._overtaken() if ordered else (nobody, nobody)
        self.inside = Inside(told, self.line, self.fine)
        self.false = self.inside.false_empty()

    def less(self, values: Bools) -> _Findings:
        """The findings without these values."""
        if not values.any():
            return self
        return _Findings(self.argue, self.ordered, self.chosen & ~values)

    def wrong_keys(self) -> Ints:
        """Codes of the keys of which something was found."""
        told = self.told
        keys = [told.key[numbers] for numbers in (self.strays.numbers(), self.overtaking)]
        return np.unique(np.concatenate([*keys, told.empty.key[self.false]]))

    def excused(self, key: int, doubtful: Ops) -> bool:
        """Whether dequeues in doubt can have taken all that was skipped, and nothing else is wrong.

        Each takes one value, and must have begun before a value that was put in later was out.
        They have no end, so that it does not matter which of them takes which.
        """
        told = self.told
        mine = self.fine[told.key[self.fine] == key]
        begun = np.sort(doubtful.begin[doubtful.key == key])
        if not self._may_be_empty(key, mine, begun):
            return False
        out = mine[told.taker[mine] >= 0]
        out = out[np.argsort(told.in_begin[out])]
        limit = np.minimum.accumulate(told.out_end[out][::-1])[::-1]
        left = mine[told.taker[mine] < 0]
        later = np.searchsorted(told.in_begin[out], told.in_end[left])
        limits = np.sort(limit[later[later < len(out)]])
        return len(limits) <= len(begun) and bool((begun[: len(limits)] < limits).all())

    def _may_be_empty(self, key: int, mine: Ints, begun: Ints) -> bool:
        """Whether all that found nothing can have done so at a moment when no value was inside that
        somebody took later, and enough dequeues in doubt had begun for all others."""
        told = self.told
        wrong = self.false[told.empty.key[self.false] == key]
        taken = told.taker[mine] >= 0
        spans = mine[taken & (told.in_end[mine] < told.out_begin[mine])]
        since, until = np.sort(told.in_end[spans]), np.sort(told.out_begin[spans])
        lost = np.sort(told.in_end[mine[~taken]])
        begins, ends = told.empty.begin[wrong], told.empty.end[wrong]
        at = np.unique(np.concatenate([since, until, lost, begun, begins]))
        inside, ended, left, may = (
            np.searchsorted(each, at, "right") for each in (since, until, lost, begun)
        )
        fine = np.append(0, np.cumsum((inside == ended) & (left <= may)))
        first, last = np.searchsorted(at, begins), np.searchsorted(at, ends)
        return bool((fine[last] > fine[first]).all())

    def _overtaken(self) -> tuple[Ints, Ints]:
        """Pairs of values: one was put in before the other, and came out after it or never.

        For each other, the one that waited longest.
        """
        told, fine, line = self.told, self.fine, self.line
        ends = told.in_end[fine] + line.shift(told.key[fine])
        order = np.argsort(ends)
        ends, first = ends[order], fine[order]
        outs = told.out_begin[first] + line.shift(told.key[first])
        latest = np.maximum.accumulate(outs)
        other = fine[told.taker[fine] >= 0]
        shift = line.shift(told.key[other])
        before = np.searchsorted(ends, told.in_begin[other] + shift) - 1
        wrong = np.flatnonzero((before >= 0) & (latest[before] > told.out_end[other] + shift))
        # The one that waited longest is where the maximum was reached.
        return first[np.searchsorted(latest, latest[before[wrong]])], other[wrong]

    # -- arguments ---------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        told = self.told
        never = told.taker[self.overtaken] < 0
        pairs = np.stack([self.overtaken, self.overtaking], axis=1)
        cases: Cases = {
            "reordered": [(pairs[~never], self._reordered)],
            "skipped": [(pairs[never], self._skipped)],
            "false-empty": [(self.false, self._false)],
            **self.argue.strays(self.strays),
        }
        stats = {
            "keys": len(self.line.codes),
            "enqueues": len(told.of_put),
            "dequeues": len(told.of_got),
            "empty": len(told.empty),
        }
        return self.argue.verdict(cases, stats)

    def _reordered(self, pair: tuple[int, int]) -> Finding:
        say, (first, second) = self.argue, pair
        a, b = say.put(first), say.put(second)
        out_a, out_b = say.got(first), say.got(second)
        return say.finding(
            "reordered",
            first,
            f"{say.value(second)} came out before {say.value(first)}, which was put in before",
            (
                f"{say.words(a)} ended at op {a[1]}, before {say.words(b)} began at op {b[0]}",
                f"however, {say.words(out_b)} ended at op {out_b[1]}, before "
                f"{say.words(out_a)} began at op {out_a[0]}: a contradiction",
            ),
            [a, b, out_a, out_b],
        )

    def _skipped(self, pair: tuple[int, int]) -> Finding:
        say, (first, second) = self.argue, pair
        a, b, out = say.put(first), say.put(second), say.got(second)
        return say.finding(
            "skipped",
            first,
            f"{say.value(first)} never came out, and {say.value(second)}, put in later, did",
            (
                f"{say.words(a)} ended at op {a[1]}, before {say.words(b)} began at op {b[0]}",
                f"however, {say.words(out)} at op {out[1]}, and nobody ever took "
                f"{say.value(first)}: a contradiction",
            ),
            [a, b, out],
        )

    def _false(self, number: int) -> Finding:
        return self.argue.false_empty(number, self.inside.through_empty(number))
