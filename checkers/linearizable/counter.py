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
Cost: sorting, and about 1 µs an operation; 5 µs for a key that is not right; the search: see
    `search`.
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
from checkers.linearizable import values as columns
from checkers.linearizable.argue import Argued, words
from checkers.linearizable.calls import objects
from checkers.linearizable.models import Counter
from checkers.linearizable.search import NEVER, Call
from checkers.linearizable.values import Bools, Ints, Ops
from checkers.strangers import knows
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = ("stale-read", "future-read", "nonmonotonic-read", "nonlinearizable")


@knows(Counter.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every read that is too low or too high, key by key."""
    model = Counter()
    keys = _in_question(history, linearizable.are_keyed(history, model))
    argued = Argued(history)
    if keys is not None and not keys:
        return argued.verdict([])
    found = objects(history, model, keys)
    searched = set()
    for key, calls in found.calls.items():
        reads = [call for call in calls if call.f == "read"]
        adds = [call for call in calls if call.f != "read"]
        unit = _unit(adds, reads)
        if unit is None or not (_wrong(argued, key, adds, reads, unit) or _fit(adds, reads, unit)):
            searched.add(key)
    verdict = argued.verdict(list(found.doubts()))
    if not searched:
        return verdict
    budget = linearizable.budget(contract)
    rest = linearizable.judge(history, model, keys=searched, budget=budget)
    return linearizable.both(verdict, rest)


# -- by columns: which keys are right --------------------------------------------------------------


def _in_question(history: History, keyed: bool) -> set[Any] | None:
    """The keys that are not plainly right; None if the columns cannot tell."""
    reads = columns.told(history, "read", keyed)
    plus = [columns.asked(history, f, keyed) for f in ("add", "increment")]
    minus = columns.asked(history, "decrement", keyed)
    if reads is None or minus is None or any(ops is None for ops in plus):
        return None
    added, incremented = (ops for ops in plus if ops is not None)
    # Null is one, but for an `add`, which the model does not take without a number.
    one = np.where(incremented.value == NULL, 1, incremented.value)
    begin, end, key, amount = (
        np.concatenate(each)
        for each in (
            (added.begin, incremented.begin),
            (added.end, incremented.end),
            (added.key, incremented.key),
            (added.value, one),
        )
    )
    adds = Ops(begin, end, key, amount)
    wrong = set(minus.key.tolist())
    mine, theirs = _by_key(adds), _by_key(reads)
    nothing = adds.where(np.zeros(0, np.int64))
    for code in (mine.keys() | theirs.keys()) - wrong:
        if not _is_right(mine.get(code, nothing), theirs.get(code, nothing), len(history)):
            wrong.add(code)
    return {history.values.decode(code) if keyed else None for code in wrong}


def _by_key(ops: Ops) -> dict[int, Ops]:
    if not len(ops):
        return {}
    order = np.argsort(ops.key, kind="stable")
    key = ops.key[order]
    cuts = np.flatnonzero(key[1:] != key[:-1]) + 1
    return {int(ops.key[part[0]]): ops.where(part) for part in np.split(order, cuts)}


def _is_right(adds: Ops, reads: Ops, never: int) -> bool:
    """Whether the additions are alike, and have an order with the reads."""
    unit = int(adds.value[0]) if len(adds) else 1
    if unit <= 0 or (adds.value != unit).any() or (reads.value < 0).any():
        return False
    if (reads.value % unit).any():
        return False
    count = reads.value // unit
    if (count < np.searchsorted(np.sort(adds.end), reads.begin)).any():
        return False
    if (count > np.searchsorted(np.sort(adds.begin), reads.end)).any():
        return False
    return not _goes_back(reads, count) and _fits(
        *(adds.begin, adds.end, reads.begin, reads.end, count, never)
    )


def _goes_back(reads: Ops, count: Ints) -> bool:
    order = np.argsort(reads.end)
    highest = np.concatenate([[-1], np.maximum.accumulate(count[order])])
    return bool((highest[np.searchsorted(reads.end[order], reads.begin)] > count).any())


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


def _fit(adds: Sequence[Call], reads: Sequence[Call], unit: int) -> bool:
    begin, end, begun, ended, count = (
        np.array(numbers, np.int64)
        for numbers in (
            [add.begin for add in adds],
            [add.end for add in adds],
            [read.begin for read in reads],
            [read.end for read in reads],
            [read.told // unit for read in reads],
        )
    )
    return _fits(begin, end, begun, ended, count, NEVER)


def _fits(begin: Ints, end: Ints, begun: Ints, ended: Ints, counts: Ints, never: int) -> bool:
    """Whether every n has an addition and every addition that needs one an n.

    Args are of the additions, then of the reads; `never` is the end of those in doubt.
    """
    count = int(counts.max(initial=0))
    after, until, last = _spans(begun, ended, counts, count)
    lowest = np.searchsorted(until, begin, side="right")
    highest = np.searchsorted(after, end, side="left") - 1
    bound = (end < never) & (end < last)
    numbered = _numbered(lowest, highest, count)
    if int(numbered.sum()) < count:
        return False
    if numbered[bound].all():
        return True
    return bool(_numbered(lowest[bound], highest[bound], count).all())


def _spans(begun: Ints, ended: Ints, counts: Ints, count: int) -> tuple[Ints, Ints, int]:
    """For each n: it takes effect after `after` and before `until`; and where all reads have
    begun."""
    after, until = np.full(count + 1, -1, np.int64), np.full(count + 1, NEVER, np.int64)
    np.maximum.at(after, counts, begun)
    np.minimum.at(until, counts, ended)
    after = np.maximum.accumulate(after)
    return after[:-1], np.minimum.accumulate(until[::-1])[::-1][1:], int(after[-1])


def _numbered(lowest: Ints, highest: Ints, count: int) -> Bools:
    """Which additions get one of `count` numbers, each one of those from its lowest to its highest;
    the most that can: every number goes to the one that can wait least."""
    order = np.argsort(lowest, kind="stable")
    # An addition by the last number that it can get, and by its place in the order.
    size = len(order) + 1
    latest = highest[order] * size + np.arange(len(order))
    until = np.searchsorted(lowest[order], np.arange(count), side="right")
    numbered = np.zeros(len(order), np.bool_)
    waiting: list[int] = []
    at = 0
    for first in range(0, count, _AT_ONCE):
        numbers = until[first : first + _AT_ONCE]
        placed = _placed(waiting, latest[at : int(numbers[-1])].tolist(), numbers - at, first, size)
        numbered[order[np.array(placed, np.int64) % size]] = True
        at = int(numbers[-1])
    return numbered


_AT_ONCE = 1 << 14
"""Numbers whose additions are Python's at a time: they take five times as much memory there."""


def _placed(waiting: list[int], latest: list[int], until: Ints, first: int, size: int) -> list[int]:
    """The additions that get the numbers from `first`; those that come are `latest[:until]`."""
    push, pop = heapq.heappush, heapq.heappop
    placed = []
    at = 0
    for number, end in enumerate(until.tolist(), first):
        for addition in latest[at:end]:
            push(waiting, addition)
        at = end
        least = number * size
        while waiting and waiting[0] < least:
            pop(waiting)
        if waiting:
            placed.append(pop(waiting))
    return placed
