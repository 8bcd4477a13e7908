"""What is put into a queue comes out once, in whatever order, until the queue is empty.

Reads `enqueue`, `dequeue` (null for an empty queue) and `drain` (takes everything, and returns a
list), with values, or `[key, value]` and `[key, [value, …]]`. A value may be put in many times.
Whether values come out in order, and when, is another question: workload `queue`.

Anomalies:
    lost          a value was put in, and the queue was found empty later; it never came out
    duplicate     a value came out more often than it had been put in by then
    phantom       a value came out that nobody tried to put in
    G1a           a value came out of which every enqueue failed
    future-read   a value came out before anybody began to put it in

`-o delivery=at-least-once` allows `duplicate`, `at-most-once` allows `lost`; unless told otherwise
it is exactly-once.

What never came out is lost only if a drain, or a dequeue that found nothing, began after it was put
in: else it may still be inside, and the verdict is unknown. (Jepsen calls all of it lost.) A
dequeue in doubt may have taken any value, a drain in doubt all of them, at any later time: only
what is more than that is lost, and where it is not more, but for drains, nothing is wrong.

Blind to: a value that came out after the queue had been found empty; which of several enqueues of
    one value a loss is about.
Cost: a few sorts, about 1 µs an operation.
Source: jepsen.checker/total-queue. Theirs lets duplicates pass, and fails on a drain in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from checkers.bags import Bags, Moves
from checkers.linearizable.values import Bools, Ints
from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

ANOMALIES = ("lost", "duplicate", "phantom", "G1a", "future-read")

TAKERS_MAX = 100
"""Dequeues in doubt that each loss speaks of; where there are more, only one loss is argued."""

NAMED_MAX = 8
"""Values or operations that a sentence names."""


@knows(("enqueue", "dequeue", "drain"))
def check(history: History, contract: Contract) -> Verdict:
    """Every value that did not come out as often as it was put in."""
    whole = Bags(history)
    keyed = whole.found.keyed
    losses = _Losses(whole)

    def detect(told: Told) -> Mapping[str, Cases]:
        if told.history is history:
            return _Cases(told, whole, losses).all()
        part = Bags(told.history, keyed)
        return _Cases(told, part, _Losses(part)).all()

    may_lose = contract.promises.get("delivery") == "at-most-once"
    return judged(
        history,
        detect,
        doubts=_doubts(whole, losses, may_lose),
        stats=_stats(whole, losses),
        examples=EXAMPLES_MAX if losses.most_takers <= TAKERS_MAX else 1,
    )


class _Losses:
    """What never came out, and who may have taken it.

    Attributes:
        lost: the values of which more is missing than dequeues in doubt may have taken.
        taken: by key, the values that these may have taken, as often as they may.
        excused: how much is missing of queues with a drain in doubt.
    """

    def __init__(self, bags: Bags) -> None:
        self.bags = bags
        self._takers: dict[int, list[int]] = {}
        self.lost: list[int] = []
        self.taken: dict[int, list[int]] = {}
        missing = bags.missing
        rows = np.flatnonzero((missing > 0) & (bags.code != NULL))
        drained = np.isin(bags.key[rows], [key for key in bags.drains if key is not None])
        drained |= None in bags.drains
        self.excused = int(missing[rows[drained]].sum())
        rows = rows[~drained]
        # Those of which least is missing first, so that as few values as possible are lost.
        begin = bags.puts.begin[np.searchsorted(bags.puts.member, rows)]
        rows = rows[np.lexsort((begin, missing[rows]))]
        for row, key in zip(rows.tolist(), bags.key[rows].tolist(), strict=True):
            taken = self.taken.setdefault(key, [])
            some = min(int(missing[row]), len(self.takers(key)) - len(taken))
            taken += [row] * some
            if some < missing[row]:
                self.lost.append(row)

    @property
    def most_takers(self) -> int:
        """Of the queues that lost something, the most dequeues in doubt that one has."""
        keys = np.unique(self.bags.key[self.lost]).tolist() if self.lost else []
        return max((len(self.takers(key)) for key in keys), default=0)

    def takers(self, key: int) -> list[int]:
        """The dequeues in doubt that may have taken a value of that queue."""
        if key not in self._takers:
            self._takers[key] = [*self.bags.takers.get(key, ()), *self.bags.takers.get(None, ())]
        return self._takers[key]


def _doubts(bags: Bags, losses: _Losses, may_lose: bool) -> Iterator[str]:
    yield from bags.found.doubts()
    if not len(bags):
        yield "nobody put anything in, and nothing came out"
    if bags.nulls:
        yield f"null was put in {bags.nulls} times, which is what an empty queue returns"
    if losses.excused and not may_lose:
        yield (
            f"{losses.excused} values never came out of queues with a drain in doubt, which may "
            "have taken them"
        )
    inside = int(bags.inside[bags.code != NULL].sum())
    if inside and not may_lose:
        yield (
            f"{inside} acknowledged values never came out, and nobody found the queue empty after "
            "they were put in: they may still be inside"
        )


def _stats(bags: Bags, losses: _Losses) -> dict[str, Any]:
    taken = np.minimum(bags.out, bags.put)
    more = np.zeros(len(bags), np.int64)
    often = (bags.begun > 0) & (bags.excess > 0)
    np.maximum.at(more, bags.outs.member[often], bags.excess[often])
    stats: dict[str, Any] = {
        "attempted": int(bags.put.sum()) + len(bags.failed.member),
        "acknowledged": int(bags.acked.sum()),
        "dequeued": int(taken.sum()),
        "missing": int(bags.missing[bags.code != NULL].sum()),
        "lost": len(losses.lost),
        "duplicated": int(more.sum()),
        "unexpected": int(bags.out[bags.put == 0].sum()),
        "recovered": int(np.maximum(taken - bags.acked, 0).sum()),
    }
    excused = sum(map(len, losses.taken.values()))
    if excused:
        stats["note"] = (
            f"{excused} acknowledged values never came out, and dequeues in doubt may have taken "
            "them"
        )
    return stats


class _Cases:
    """What is wrong with the queues of a history, or of a part of one."""

    def __init__(self, words: Told, bags: Bags, losses: _Losses) -> None:
        self.words, self.bags, self.losses = words, bags, losses

    def all(self) -> Mapping[str, Cases]:
        """By anomaly, in the order in which they were seen."""
        bags = self.bags
        often = bags.first((bags.excess > 0) & (bags.begun > 0))
        early = bags.first((bags.begun == 0) & (bags.put[bags.outs.member] > 0))
        nowhere = bags.first(bags.put[bags.outs.member] == 0)
        refused = bags.failed.count(len(bags)) > 0
        lost = self.losses.lost
        found = {
            "lost": Cases(len(lost), lambda number: self._lost(lost[number])),
            "duplicate": self._cases(often >= 0, often, self._twice),
            "phantom": self._cases((nowhere >= 0) & ~refused, nowhere, self._phantom),
            "G1a": self._cases((nowhere >= 0) & refused, nowhere, self._refused),
            "future-read": self._cases(early >= 0, early, self._future),
        }
        return {name: some for name, some in found.items() if some.count}

    def _cases(self, chosen: Bools, out: Ints, make: Callable[[int, int], Finding]) -> Cases:
        """Of these values, each with the row of `outs` that shows it."""
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(self.bags.outs.end[out[rows]], kind="stable")]
        return Cases(len(rows), lambda number: make(int(rows[number]), int(out[rows[number]])))

    # -- arguments ---------------------------------------------------------------------------------

    def _lost(self, row: int) -> Finding:
        bags, words = self.bags, self.words
        key = int(bags.key[row])
        takers = self.losses.takers(key)
        rows = sorted({*self.losses.taken[key], row} if takers else {row}, key=self._due)
        begins = [begin for each in rows for begin in self._due(each)]
        begins += [begin for each in rows for begin in self._begins(bags.outs, each)]
        empty = int(bags.empty[row])
        told = [f"{words.words(begin)} had ended" for begin in dict.fromkeys(begins[:NAMED_MAX])]
        if len(begins) > NAMED_MAX:
            told.append(f"… and {len(begins) - NAMED_MAX} more")
        told.append(
            f"{words.words(empty)} began later, at op {words.at(empty)}, and left nothing inside"
        )
        if takers:
            missing = int(bags.missing[rows].sum())
            names = ", ".join(map(self._value, rows[:NAMED_MAX]))
            names += ", …" if len(rows) > NAMED_MAX else ""
            claim = f"{missing} values never came out ({names}); {len(takers)} dequeues in doubt"
            told.append(f"no more than {len(takers)} dequeues in doubt may have taken one each")
            but = f"{missing} values never came out"
        else:
            claim = f"{self._value(row)} was put in and never came out"
            if bags.out[row]:
                claim = f"{self._value(row)} came out {bags.out[row]} of {bags.due[row]} times"
            but = f"{self._value(row)} did not come out so often"
        told.append(f"however, {but}: a contradiction")
        return self._finding("lost", row, claim, told, [*begins, *takers, empty])

    def _twice(self, row: int, out: int) -> Finding:
        bags, words = self.bags, self.words
        rows = bags.outs.of_value(row)
        outs = bags.outs.begin[rows.start : out + 1].tolist()
        count = int(bags.begun[out])
        puts = self._begins(bags.puts, row)[:count]
        end = words.at(int(bags.outs.end[out]))
        return self._finding(
            "duplicate",
            row,
            f"{self._value(row)} came out {len(outs)} times",
            (
                *(f"{words.words(begin)} took it" for begin in list(dict.fromkeys(outs))),
                f"however, by op {end} it had been put in {_times(count)}: a contradiction",
            ),
            [*puts, *outs],
        )

    def _phantom(self, row: int, out: int) -> Finding:
        return self._nowhere("phantom", row, out, "nobody tried to put it in", [])

    def _refused(self, row: int, out: int) -> Finding:
        failed = self._begins(self.bags.failed, row)[:1]
        why = f"{self.words.words(failed[0])} did not take place"
        return self._nowhere("G1a", row, out, why, failed)

    def _nowhere(self, name: str, row: int, out: int, why: str, begins: list[int]) -> Finding:
        taker = int(self.bags.outs.begin[out])
        return self._finding(
            name,
            row,
            f"{self._value(row)} came out, and " + ("its enqueue failed" if begins else why),
            (f"{self.words.words(taker)} took it", f"however, {why}: a contradiction"),
            [*begins, taker],
        )

    def _future(self, row: int, out: int) -> Finding:
        words, taker = self.words, int(self.bags.outs.begin[out])
        put = self._begins(self.bags.puts, row)[0]
        end = words.at(int(self.bags.outs.end[out]))
        return self._finding(
            "future-read",
            row,
            f"{self._value(row)} came out before anybody began to put it in",
            (
                f"{words.words(taker)} took it, and had ended at op {end}",
                f"however, its first enqueue began later, at op {words.at(put)}: a contradiction",
            ),
            [put, taker],
        )

    def _due(self, row: int) -> list[int]:
        """Enqueues of what should have come out."""
        puts = self.bags.puts
        rows = puts.of_value(row)
        begins: list[int] = puts.begin[rows][puts.end[rows] < self.bags.empty[row]].tolist()
        return begins

    def _begins(self, moves: Moves, row: int) -> list[int]:
        begins: list[int] = moves.begin[moves.of_value(row)].tolist()
        return begins

    def _finding(
        self, name: str, row: int, claim: str, because: Sequence[str], begins: Sequence[int]
    ) -> Finding:
        found = self.bags.found
        key = found.shown(int(self.bags.key[row])) if found.keyed else None
        return self.words.finding(name, claim, because, begins, key)

    def _value(self, row: int) -> str:
        return shown(self.bags.found.shown(int(self.bags.code[row])))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
