"""A counter is linearizable: a read returns the sum of what has been added by then.

Reads `add` (a number of any sign), `increment` and `decrement` (a number, or null for 1) and
`read`, with numbers or `[key, number]`. A key whose additions are not all of one positive number is
judged by the search.

Anomalies:
    stale-read          a read is less than what had been added before it began
    future-read         a read is more than all that anybody had begun to add by its end
    nonmonotonic-read   a read is less than one that had ended before it began
    nonlinearizable     no order of the operations is legal (found by the search)

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*.
Cost: sorting, and about 10 µs an operation; the search: see `search`.
Source: Glover, "Maximum Matching in a Convex Bipartite Graph", 1967; Mendelsohn & Dulmage, "Some
    Generalizations of the Problem of Distinct Representatives", 1958.

How it works. Where all additions are alike, the n-th to take effect does so after every read of
less than n began and before any read of n or more ended: in a span that moves with n. Each addition
may be the n-th for consecutive n only. The reads are right if every n up to the highest read gets
an addition, and every addition that cannot come after all reads gets an n; each of the two by
itself, since then both at once are possible, too.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import numpy as np

from checkers import linearizable
from checkers.linearizable.argue import Argued, words
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Counter
from checkers.linearizable.search import NEVER, Call
from checkers.linearizable.values import Ints
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("stale-read", "future-read", "nonmonotonic-read", "nonlinearizable")


def check(history: History, contract: Contract) -> Verdict:
    """Every read that is too low or too high, key by key."""
    model = Counter()
    found = objects(history, model)
    argued = Argued(history)
    searched = set()
    for key, calls in found.calls.items():
        reads = [call for call in calls if call.f == "read"]
        adds = [call for call in calls if call.f != "read"]
        unit = _unit(adds, reads)
        if unit is None or not (_wrong(argued, key, adds, reads, unit) or _fits(adds, reads, unit)):
            searched.add(key)
    verdict = argued.verdict(list(found.doubts()))
    if not searched:
        return verdict
    budget = linearizable.budget(contract)
    rest = linearizable.judge(history, model, keys=searched, budget=budget)
    return linearizable.both(verdict, rest)


def _unit(adds: Sequence[Call], reads: Sequence[Call]) -> int | None:
    """What every addition adds; None if they differ, or a read is none of its multiples."""
    amounts = {_amount(add) for add in adds} or {1}
    unit = amounts.pop()
    if amounts or not isinstance(unit, int) or unit <= 0:
        return None
    fits = all(isinstance(read.told, int) and read.told % unit == 0 for read in reads)
    return unit if fits and all(read.told >= 0 for read in reads) else None


def _amount(add: Call) -> Any:
    amount = 1 if add.asked is None else add.asked
    return -amount if add.f == "decrement" else amount


# -- what is plainly wrong -------------------------------------------------------------------------


def _wrong(
    argued: Argued, key: Any, adds: Sequence[Call], reads: Sequence[Call], unit: int
) -> bool:
    """Report reads that are out of bounds or go back; whether there are any."""
    ended = sorted((add for add in adds if add.end < NEVER), key=lambda add: add.end)
    ends, begins = [add.end for add in ended], sorted(add.begin for add in adds)
    wrong = False
    for read in reads:
        count = read.told // unit
        if count < bisect_left(ends, read.begin):
            _stale(argued, key, read, ended[: count + 1], unit)
        elif count > bisect_left(begins, read.end):
            _future(argued, key, read, [add for add in adds if add.begin < read.end], unit)
        else:
            continue
        wrong = True
    return _backward(argued, key, reads) or wrong


def _backward(argued: Argued, key: Any, reads: Sequence[Call]) -> bool:
    by_end = sorted(reads, key=lambda read: read.end)
    ends = [read.end for read in by_end]
    highest: list[Call] = []
    for read in by_end:
        highest.append(read if not highest or read.told > highest[-1].told else highest[-1])
    wrong = False
    for read in reads:
        before = bisect_left(ends, read.begin)
        if before and highest[before - 1].told > read.told:
            wrong = True
            _nonmonotonic(argued, key, highest[before - 1], read)
    return wrong


def _stale(argued: Argued, key: Any, read: Call, adds: Sequence[Call], unit: int) -> None:
    argued.add(
        "stale-read",
        key,
        f"c{read.process} read {read.told}, and {len(adds) * unit} had been added before",
        (
            f"{len(adds)} additions had ended by op {adds[-1].end}",
            f"however, c{read.process}'s {words(read)} began later, at op {read.begin}: "
            "a contradiction",
        ),
        [*adds, read],
    )


def _future(argued: Argued, key: Any, read: Call, adds: Sequence[Call], unit: int) -> None:
    argued.add(
        "future-read",
        key,
        f"c{read.process} read {read.told}, and nobody had begun to add that much",
        (
            f"{len(adds)} additions had begun by op {read.end}, of {len(adds) * unit} in all",
            f"however, c{read.process}'s {words(read)} ended then: a contradiction",
        ),
        [read],
    )


def _nonmonotonic(argued: Argued, key: Any, first: Call, second: Call) -> None:
    argued.add(
        "nonmonotonic-read",
        key,
        f"c{second.process} read {second.told} after c{first.process} had read {first.told}",
        (
            f"c{first.process}'s {words(first)} ended at op {first.end}, and nothing is subtracted",
            f"however, c{second.process}'s {words(second)} began later, at op {second.begin}: "
            "a contradiction",
        ),
        [first, second],
    )


# -- whether there is an order ---------------------------------------------------------------------


def _fits(adds: Sequence[Call], reads: Sequence[Call], unit: int) -> bool:
    """Whether every n has an addition and every addition that needs one an n."""
    count = max((read.told // unit for read in reads), default=0)
    after, until, last = _spans(reads, unit, count)
    begin = np.array([add.begin for add in adds], np.int64)
    end = np.array([add.end for add in adds], np.int64)
    lowest = np.searchsorted(until, begin, side="right")
    highest = np.searchsorted(after, end, side="left") - 1
    if _matched(lowest, highest, count) < count:
        return False
    bound = (end < NEVER) & (end < last)
    return _matched(lowest[bound], highest[bound], count) == int(bound.sum())


def _spans(reads: Sequence[Call], unit: int, count: int) -> tuple[Ints, Ints, int]:
    """For each n: it takes effect after `after` and before `until`; and where all reads have
    begun."""
    begun, ended = np.full(count + 1, -1, np.int64), np.full(count + 1, NEVER, np.int64)
    for read in reads:
        value = read.told // unit
        begun[value] = max(begun[value], read.begin)
        ended[value] = min(ended[value], read.end)
    after = np.maximum.accumulate(begun)
    return after[:-1], np.minimum.accumulate(ended[::-1])[::-1][1:], int(after[-1])


def _matched(lowest: Ints, highest: Ints, count: int) -> int:
    """The most of `count` numbers that additions can get, each one of those from its lowest to its
    highest: every number goes to the one that can wait least."""
    order = np.argsort(lowest, kind="stable").tolist()
    waiting: list[int] = []
    matched = at = 0
    for number in range(count):
        while at < len(order) and lowest[order[at]] <= number:
            heapq.heappush(waiting, int(highest[order[at]]))
            at += 1
        while waiting and waiting[0] < number:
            heapq.heappop(waiting)
        if waiting:
            heapq.heappop(waiting)
            matched += 1
    return matched
