"""A priority queue is linearizable: what was inserted comes out once, and the least value first.

Reads `insert` of a number, which is its own priority, and `delete-min` (null for an empty queue),
or of `[key, number]`. A key into which a number was inserted twice is judged by the search; so is
one of which it depends on the deletes in doubt whether it is legal, where no assignment is found.

Anomalies:
    priority-inversion  a value came out while lesser ones were inside all the while
    skipped             a value never came out, and a greater one that was inside with it did
    false-empty         a delete found nothing although something was inside all the while
    duplicate           a value came out twice
    future-read         a value came out before anybody began to insert it
    phantom             a value came out that nobody tried to insert
    G1a                 a value came out whose insert failed
    nonlinearizable     no order of the operations is legal (found by the search)

Blind to: payloads; values are numbers. Others are left out, and the verdict is *unknown* then.
Cost: see `cover`, and sorting; the search: see `search`.
Source: Abdulla, Atig, Jonsson et al., "Efficient Linearizability Monitoring", PLDI 2025; Lee &
    Mathur, "Efficient Decrease-and-Conquer Linearizability Monitoring", 2024; Bouajjani, Enea &
    Wang, "Checking Linearizability of Concurrent Priority Queues", CONCUR 2017.

How it works. A value is inside for certain from the end of its insert to the begin of its delete. A
delete contradicts such spans of lesser values if they follow each other without a gap from when it
had begun, and the insert of its value too, until after its end; one that found nothing, if spans of
any values do. If no delete does, there is an order: delete each value at the first moment that is
free of lesser ones, and insert it at the end of its insert, or just before its delete if that is
sooner. A value then stays longer than its span only while lesser ones are inside for certain, so
that no moment that was free for a greater one is lost. Equal numbers never stand in each other's
way. An insert in doubt whose value came out did happen, and has no end; else it is left out. For
deletes in doubt, see `doubts`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from checkers import linearizable
from checkers.linearizable import values as columns
from checkers.linearizable.containers import Arguments, Cases, Container
from checkers.linearizable.doubts import Doubts, Places, Short, split
from checkers.linearizable.held import Values
from checkers.linearizable.models import PriorityQueue
from checkers.linearizable.priorities import Judged, ranked
from checkers.strangers import knows
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = (
    *("priority-inversion", "skipped", "false-empty"),
    *("duplicate", "future-read", "phantom", "G1a", "nonlinearizable"),
)

PRIORITY_QUEUE = Container("queue", "insert", "delete-min", over="nothing less")


@knows(PriorityQueue.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every value that came out too early, and every empty queue that was not, key by key."""
    model, budget = PriorityQueue(), linearizable.budget(contract)
    keyed = linearizable.are_keyed(history, model)
    read = Values.read(history, "insert", "delete-min", keyed)
    if read is None:
        return linearizable.judge(history, model, budget=budget)
    told, doubtful = read
    rank, odd = ranked(history, told)
    unclear = np.unique(told.key[odd | (told.puts > 1)])
    clear = ~np.isin(told.key, unclear)
    judged, searched, short = Judged(told, rank, len(history), clear), unclear, []
    unsure = np.intersect1d(judged.wrong_keys(), doubtful.key)
    if len(unsure):
        # Without what somebody may have taken who is in doubt: this is certain.
        lost = np.isin(told.key, unsure) & (told.taker < 0)
        judged = Judged(told, rank, len(history), clear & ~lost)
        unsure = np.setdiff1d(unsure, judged.wrong_keys())
        asked = clear & np.isin(told.key, unsure)
        begun = doubtful.where(np.isin(doubtful.key, unsure))
        places = rank.astype(np.int64)
        doubts = Doubts(told, Places(places, places), len(history), asked, begun)
        opened = doubts.open(
            lambda taken: (Judged(taken, rank, len(history), asked).wrong_keys(), {})
        )
        searched, short = np.union1d(unclear, opened), doubts.short
    verdict = _Findings(Arguments(history, told, keyed, PRIORITY_QUEUE), judged, short).verdict()
    if not len(searched):
        return verdict
    keys = {columns.shown(history, int(code)) if keyed else None for code in searched}
    return linearizable.both(verdict, linearizable.judge(history, model, keys=keys, budget=budget))


class _Findings:
    """Why values came out too early, or others must have been taken by more than there were."""

    def __init__(self, argue: Arguments, judged: Judged, short: Sequence[Short]) -> None:
        self.argue, self.judged, self.short = argue, judged, short

    def verdict(self) -> Verdict:
        judged, told = self.judged, self.argue.told
        over = judged.over_lost
        empty, others, pairs = split(self.short)
        cases: Cases = {
            "priority-inversion": [(judged.wrong[~over], self._inverted)],
            "skipped": [
                (judged.wrong[over], self._skipped),
                (pairs, lambda lost: self._left_inside(lost.values[0], lost.out[0])),
                (others, self.argue.short),
            ],
            "false-empty": [(judged.false, self._false), (empty, self.argue.short)],
            **self.argue.strays(judged.strays),
        }
        stats = {
            "keys": len(judged.line.codes),
            "inserts": len(told.of_put),
            "deletes": len(told.of_got),
            "empty": len(told.empty),
        }
        return self.argue.verdict(cases, stats)

    def _inverted(self, value: int) -> Finding:
        say, chain = self.argue, self.judged.through(value)
        out = say.got(value)
        ops, last = [say.put(value), out, *say.spans(chain)], chain[-1]
        if len(chain) == 1:  # else it does not matter whether the last one ever came out
            ops.append(say.got(last))
        return say.finding(
            "priority-inversion",
            value,
            f"{say.value(value)} came out, and the {say.kind.thing} held lesser values all the "
            f"while: {say.listed(chain)}",
            (
                *say.held(chain),
                f"{say.words(out)} came after op {self.judged.begin(value)} and before "
                f"op {out[1]}, and nobody had begun to take {say.value(last)} by then",
                "however, something less was inside all the while: a contradiction",
            ),
            ops,
        )

    def _false(self, number: int) -> Finding:
        return self.argue.false_empty(number, self.judged.through_empty(number))

    def _skipped(self, value: int) -> Finding:
        return self._left_inside(self.judged.lost_below(value), value)

    def _left_inside(self, lost: int, value: int) -> Finding:
        """A value came out, and a lesser one that was inside already never did."""
        say = self.argue
        put, later, out = say.put(lost), say.put(value), say.got(value)
        begun = max(later, out)
        return say.finding(
            "skipped",
            value,
            f"{say.value(lost)} never came out, and {say.value(value)}, which is greater, did while"
            " it was inside",
            (
                f"{say.words(put)} ended at op {put[1]}, before {say.words(begun)} began at "
                f"op {begun[0]}",
                f"however, {say.words(out)} at op {out[1]}, and nobody ever took "
                f"{say.value(lost)}: a contradiction",
            ),
            [put, later, out],
        )
