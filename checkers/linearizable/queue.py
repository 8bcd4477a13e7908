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

from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers import linearizable
from checkers.linearizable import values as columns
from checkers.linearizable.argue import witness, words
from checkers.linearizable.models import Fifo, Unordered
from checkers.linearizable.values import Bools, Ints, Ops
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

ANOMALIES = (
    *("reordered", "skipped", "false-empty", "duplicate", "future-read", "phantom", "G1a"),
    "nonlinearizable",
)

Span = tuple[int, int]
"""Begin and end of an operation."""


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
    ambiguous = told.key[(told.puts > 1) | ((told.puts > 0) & (told.value == NULL))]
    clear = ~np.isin(told.key, ambiguous)
    seen = _Findings(history, told, keyed, not unordered, clear)
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


@dataclass(frozen=True, slots=True)
class Values:
    """The operations of each value of a key, by number.

    Attributes:
        put, got, failed, empty: the enqueues; the dequeues that found something; the enqueues that
            failed; the dequeues that found nothing.
        of_put, of_got, of_failed: the number of each one's value.
        key, value: the codes of each number.
        puts, gets, fails: how many there are.
        in_begin, in_end, out_begin, out_end: of its enqueue and its first dequeue; the history's
            length for what has no end or is not there.
        maker, taker: its enqueue and its first dequeue, or -1.
    """

    put: Ops
    got: Ops
    failed: Ops
    empty: Ops
    of_put: Ints
    of_got: Ints
    of_failed: Ints
    key: Ints
    value: Ints
    puts: Ints
    gets: Ints
    fails: Ints
    in_begin: Ints
    in_end: Ints
    out_begin: Ints
    out_end: Ints
    maker: Ints
    taker: Ints

    @staticmethod
    def read(history: History, put: str, take: str, keyed: bool) -> tuple[Values, Ops] | None:
        """The values, and the dequeues in doubt; None where some values have no codes."""
        asked = columns.asked(history, put, keyed)
        failed = columns.asked(history, put, keyed, failed=True)
        told = columns.told(history, take, keyed)
        doubtful = columns.in_doubt(history, take, keyed)
        if asked is None or told is None or failed is None or doubtful is None:
            return None
        return Values.of(history, asked, told, failed), doubtful

    @staticmethod
    def of(history: History, put: Ops, got: Ops, failed: Ops) -> Values:
        nothing = got.value == NULL
        empty, got = got.where(nothing), got.where(~nothing)
        groups = (put, got, failed)
        keys, _ = columns.dense(np.concatenate([ops.key for ops in groups]))
        values, _ = columns.dense(np.concatenate([ops.value for ops in groups]))
        numbers = columns.grouped(keys, values)
        count = int(numbers.max()) + 1 if len(numbers) else 0
        of = np.split(numbers, np.cumsum([len(ops) for ops in groups])[:-1])
        key, value = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
        for ops, number in zip(groups, of, strict=True):
            key[number], value[number] = ops.key, ops.value
        maker, taker = np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        # The first of each: assigned last.
        maker[of[0][::-1]] = np.arange(len(put))[::-1]
        taker[of[1][::-1]] = np.arange(len(got))[::-1]
        made, taken = maker >= 0, taker >= 0
        ends = [np.full(count, len(history), np.int64) for _ in range(4)]
        ends[0][made], ends[1][made] = put.begin[maker[made]], put.end[maker[made]]
        ends[2][taken], ends[3][taken] = got.begin[taker[taken]], got.end[taker[taken]]
        counts = [np.bincount(number, minlength=count) for number in of]
        return Values(
            *(put, got, failed, empty, of[0], of[1], of[2], key, value),
            *(counts[0], counts[1], counts[2], ends[0], ends[1], ends[2], ends[3], maker, taker),
        )


class _Findings:
    """What contradicts the queue among the chosen values."""

    def __init__(
        self, history: History, told: Values, keyed: bool, ordered: bool, chosen: Bools
    ) -> None:
        self.history, self.told, self.keyed, self.ordered = history, told, keyed, ordered
        self.chosen = chosen
        made = told.puts > 0
        orphan = chosen & (told.gets > 0) & ~made
        self.phantoms = np.flatnonzero(orphan & (told.fails == 0))
        self.aborted = np.flatnonzero(orphan & (told.fails > 0))
        self.twice = np.flatnonzero(chosen & made & (told.gets > 1))
        early = chosen & made & (told.out_end < told.in_begin)
        self.early = np.flatnonzero(early)
        self.fine = np.flatnonzero(chosen & made & (told.gets < 2) & ~early)
        self.stride = len(history) + 2
        codes = np.union1d(told.key, told.empty.key)
        self.shift = np.searchsorted(codes, told.key) * self.stride
        self.shift_empty = np.searchsorted(codes, told.empty.key) * self.stride
        self.overtaken, self.overtaking = self._overtaken() if ordered else (self.early[:0],) * 2
        self.false, self.spans = self._false_empty()

    def less(self, values: Bools) -> _Findings:
        """The findings without these values."""
        if not values.any():
            return self
        return _Findings(self.history, self.told, self.keyed, self.ordered, self.chosen & ~values)

    def wrong_keys(self) -> Ints:
        """Codes of the keys of which something was found."""
        told = self.told
        found = (self.phantoms, self.aborted, self.twice, self.early, self.overtaking)
        keys = [told.key[numbers] for numbers in found]
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
        told, fine = self.told, self.fine
        shift = self.shift[fine]
        order = np.argsort(told.in_end[fine] + shift)
        ends = (told.in_end[fine] + shift)[order]
        outs = (told.out_begin[fine] + shift)[order]
        latest = np.maximum.accumulate(outs)
        which = np.maximum.accumulate(np.where(outs == latest, np.arange(len(outs)), 0))
        taken = told.taker[fine] >= 0
        other = fine[taken]
        before = np.searchsorted(ends, told.in_begin[other] + self.shift[other]) - 1
        wrong = before >= 0
        wrong[wrong] = latest[before[wrong]] > told.out_end[other[wrong]] + self.shift[other[wrong]]
        return fine[order][which[before[wrong]]], other[wrong]

    def _false_empty(self) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
        """The dequeues that found nothing although something was inside; and the spans for which
        values were inside for certain, ascending: value, from, until."""
        told, empty = self.told, self.told.empty
        inside = self.fine[told.in_end[self.fine] < told.out_begin[self.fine]]
        inside = inside[np.argsort(told.in_end[inside] + self.shift[inside])]
        since, until = (at[inside] + self.shift[inside] for at in (told.in_end, told.out_begin))
        spans = inside, since, until
        if not len(inside):
            return inside, spans
        latest = np.maximum.accumulate(until)
        opens = np.flatnonzero(np.append(True, since[1:] > latest[:-1]))
        closes = latest[np.append(opens[1:], len(latest)) - 1]
        at = np.searchsorted(since[opens], empty.begin + self.shift_empty) - 1
        wrong = (at >= 0) & (closes[at] > empty.end + self.shift_empty)
        return np.flatnonzero(wrong), spans

    # -- arguments ---------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        told = self.told
        never = told.taker[self.overtaken] < 0
        pairs = np.stack([self.overtaken, self.overtaking], axis=1)
        found: dict[str, tuple[Any, Any]] = {
            "reordered": (pairs[~never], self._reordered),
            "skipped": (pairs[never], self._skipped),
            "false-empty": (self.false, self._false),
            "duplicate": (self.twice, self._duplicate),
            "future-read": (self.early, self._future),
            "phantom": (self.phantoms, self._phantom),
            "G1a": (self.aborted, self._aborted),
        }
        return Verdict.of(
            [
                argue(*np.atleast_1d(case).tolist())
                for cases, argue in found.values()
                for case in cases[:EXAMPLES_MAX]
            ],
            counts={name: len(cases) for name, (cases, _) in found.items() if len(cases)},
            stats={
                "keys": len(np.union1d(told.key, told.empty.key)),
                "enqueues": len(told.put),
                "dequeues": len(told.got),
                "empty": len(told.empty),
            },
        )

    def _reordered(self, first: int, second: int) -> Finding:
        a, b = self._put(first), self._put(second)
        out_a, out_b = self._got(first), self._got(second)
        return self._finding(
            "reordered",
            first,
            f"{self._value(second)} came out before {self._value(first)}, which was put in before",
            (
                f"{self._words(a)} ended at op {a[1]}, before {self._words(b)} began at op {b[0]}",
                f"however, {self._words(out_b)} ended at op {out_b[1]}, before "
                f"{self._words(out_a)} began at op {out_a[0]}: a contradiction",
            ),
            [a, b, out_a, out_b],
        )

    def _skipped(self, first: int, second: int) -> Finding:
        a, b, out = self._put(first), self._put(second), self._got(second)
        return self._finding(
            "skipped",
            first,
            f"{self._value(first)} never came out, and {self._value(second)}, put in later, did",
            (
                f"{self._words(a)} ended at op {a[1]}, before {self._words(b)} began at op {b[0]}",
                f"however, {self._words(out)} at op {out[1]}, and nobody ever took "
                f"{self._value(first)}: a contradiction",
            ),
            [a, b, out],
        )

    def _false(self, number: int) -> Finding:
        empty = self.told.empty
        op = int(empty.begin[number]), int(empty.end[number])
        chain = self._chain(number)
        ops, because = [op], []
        for value in chain:
            put = self._put(value)
            ops.append(put)
            told = f"{self._words(put)} ended at op {put[1]}"
            if value != chain[-1]:
                out = self._got(value)
                ops.append(out)
                told += f", and {self._words(out)} began at op {out[0]}"
            because.append(told)
        held = ", then ".join(map(self._value, chain[:4])) + ", …" * (len(chain) > 4)
        return self._finding(
            "false-empty",
            None,
            f"a dequeue found nothing, and the queue held {held} all the while",
            (
                *because,
                f"so something was inside from op {self._put(chain[0])[1]} until after op {op[1]}",
                f"however, {self._words(op)} from op {op[0]} to op {op[1]}: a contradiction",
            ),
            ops,
            key=int(empty.key[number]),
        )

    def _chain(self, number: int) -> list[int]:
        """Few values that were inside, each until after the next one was, through the dequeue."""
        inside, since, until = self.spans
        at, end = (
            int(place[number] + self.shift_empty[number])
            for place in (self.told.empty.begin, self.told.empty.end)
        )
        chain = []
        while at < end:
            begun = int(np.searchsorted(since, at))
            best = int(np.argmax(until[:begun]))
            chain.append(int(inside[best]))
            assert until[best] > at, "the spans follow each other"
            at = int(until[best])
        return chain

    def _duplicate(self, value: int) -> Finding:
        put = self._put(value)
        first, second = (self._got(value, nth) for nth in (0, 1))
        return self._finding(
            "duplicate",
            value,
            f"{self._value(value)} came out twice",
            (
                f"{self._words(put)} is the only one of this value",
                f"{self._words(first)} at op {first[1]}",
                f"however, {self._words(second)} at op {second[1]}, too: a contradiction",
            ),
            [put, first, second],
        )

    def _future(self, value: int) -> Finding:
        put, out = self._put(value), self._got(value)
        return self._finding(
            "future-read",
            value,
            f"{self._value(value)} came out before anybody began to put it in",
            (
                f"{self._words(out)} ended at op {out[1]}",
                f"however, the only enqueue of it began later, at op {put[0]}: a contradiction",
            ),
            [put, out],
        )

    def _phantom(self, value: int) -> Finding:
        out = self._got(value)
        return self._finding(
            "phantom",
            value,
            f"{self._value(value)} came out, and nobody tried to put it in",
            (
                f"{self._words(out)} at op {out[1]}",
                f"however, no enqueue of {self._value(value)} is in the history: a contradiction",
            ),
            [out],
        )

    def _aborted(self, value: int) -> Finding:
        out = self._got(value)
        begin = int(self.told.failed.begin[np.flatnonzero(self.told.of_failed == value)[0]])
        return self._finding(
            "G1a",
            value,
            f"{self._value(value)} came out, and its enqueue failed",
            (
                f"op {int(self.history.pair[begin])} told that it was not put in",
                f"however, {self._words(out)} at op {out[1]}: a contradiction",
            ),
            [(begin, begin), out],
        )

    def _finding(
        self,
        anomaly: str,
        value: int | None,
        claim: str,
        because: tuple[str, ...],
        ops: list[Span],
        key: int = NULL,
    ) -> Finding:
        whole = witness(
            self.history, [columns.call(self.history, begin, self.keyed) for begin, _ in ops]
        )
        code = key if value is None else int(self.told.key[value])
        shown = columns.shown(self.history, code) if self.keyed else None
        return Finding(
            anomaly=anomaly,
            claim=claim if shown is None else f"key {shown}: {claim}",
            because=because,
            witness=whole,
            key=shown,
            span=(int(self.history.time[whole[0]]), int(self.history.time[whole[-1]])),
        )

    def _put(self, value: int) -> Span:
        return int(self.told.in_begin[value]), int(self.told.in_end[value])

    def _got(self, value: int, nth: int = 0) -> Span:
        at = np.flatnonzero(self.told.of_got == value)[nth]
        return int(self.told.got.begin[at]), int(self.told.got.end[at])

    def _value(self, value: int) -> str:
        return repr(columns.shown(self.history, int(self.told.value[value])))

    def _words(self, op: Span) -> str:
        call = columns.call(self.history, op[0], self.keyed)
        return f"c{call.process}'s {words(call)}"
