"""A set is linearizable: a read returns what has been added by then, and nothing else.

Reads `add` and `read`, with values, or `[key, value]` and `[key, [value, …]]`. A key to which a
value was added twice is judged by the search.

Anomalies:
    stale-read          a read lacks what had been added, or read, before it began
    incomparable-reads  each of two reads lacks what the other one has
    future-read         a value was read before anybody began to add it
    phantom             a value was read that nobody tried to add
    G1a                 a value was read whose add failed
    nonlinearizable     no order of the operations is legal (found by the search)

Blind to: an element that a read names twice. An operation that came too late is one finding, with
    one that shows it.
Cost: linear in what was read, about 0.2 µs an element, and sorting.
Source: the idea of zones of Gibbons & Korach, "Testing Shared Memories", SIAM J. Computing 1997.

How it works. What is in the set only grows, so the reads must form a chain, each with all of the
ones before it. The chain says how everything stands together: what the first read has was added
before it, what the second has more was added between the two, and so on; what nobody read comes
last. All is well if nothing that must stand later had ended before something that must stand
earlier began. An add in doubt that was read did happen, and has no end; else it is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from checkers import linearizable
from checkers.linearizable.argue import Argued, words
from checkers.linearizable.calls import Objects, failed, parts
from checkers.linearizable.models import Set
from checkers.linearizable.search import NEVER, Call
from checkers.strangers import knows
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

ANOMALIES = (
    *("stale-read", "incomparable-reads", "future-read", "phantom", "G1a"),
    "nonlinearizable",
)


@knows(Set.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every read and add that came too late, key by key."""
    model = Set()
    refused = failed(history, model)
    findings, illegible = Argued(history), Objects()
    searched = set()
    for found in parts(history, model):
        illegible.illegible += found.illegible
        for key, calls in found.calls.items():
            adds = [call for call in calls if call.f == "add"]
            if len({call.asked for call in adds}) < len(adds):
                searched.add(key)
            else:
                _One(findings, key, calls, refused.get(key, ())).judge()
    verdict = findings.verdict(list(illegible.doubts()))
    if not searched:
        return verdict
    rest = linearizable.judge(history, model, keys=searched, budget=linearizable.budget(contract))
    return linearizable.both(verdict, rest)


@dataclass(slots=True)
class _Block:
    """What stands together: adds that a read was the first to have, then all reads that have just
    these. The last one has the adds that nobody read."""

    adds: list[Call]
    reads: list[Call]


class _One:
    """One set."""

    def __init__(
        self, found: Argued, key: Any, calls: Sequence[Call], refused: Sequence[Call]
    ) -> None:
        self.found, self.key = found, key
        self.adds = {call.asked: call for call in calls if call.f == "add"}
        self.refused = {call.asked: call for call in refused if call.f == "add"}
        self.reads: dict[frozenset[Any], list[Call]] = defaultdict(list)
        for call in calls:
            if call.f == "read":
                self.reads[frozenset(call.told)].append(call)

    def judge(self) -> None:
        self._from_nowhere()
        late: dict[int, tuple[Call, Call, Call | None]] = {}
        for before, after, shown in self._out_of_place(self._chain()):
            late.setdefault(before.begin, (before, after, shown))
        for case in late.values():
            self._argue(*case)

    def _from_nowhere(self) -> None:
        """Report values that nobody added, or not before they were read; and forget them."""
        first: dict[Any, Call] = {}
        for values, reads in self.reads.items():
            read = min(reads, key=lambda call: call.end)
            for value in values:
                if value not in first or read.end < first[value].end:
                    first[value] = read
        for value in sorted(first, key=lambda value: first[value].end):
            add = self.adds.get(value)
            if add is None:
                self._nowhere(value, first[value])
            elif first[value].end < add.begin:
                self._future(value, first[value], add)
            else:
                continue
            self._forget(value)

    def _forget(self, value: Any) -> None:
        self.adds.pop(value, None)
        reads = self.reads
        self.reads = defaultdict(list)
        for values, calls in reads.items():
            self.reads[values - {value}] += calls

    def _chain(self) -> list[_Block]:
        """The reads, each with all of the one before it, and the adds between them. Reports those
        that do not fit, and leaves them out."""
        blocks: list[_Block] = []
        left = dict(self.adds)
        last: frozenset[Any] = frozenset()
        for values in sorted(self.reads, key=lambda values: (len(values), self._first(values))):
            if not last <= values:
                self._incomparable(last, values)
                continue
            adds = [left.pop(value) for value in values - last]
            blocks.append(_Block(adds, self.reads[values]))
            last = values
        return [*blocks, _Block(list(left.values()), [])]

    def _first(self, values: frozenset[Any]) -> int:
        return min(read.begin for read in self.reads[values])

    def _out_of_place(self, blocks: Sequence[_Block]) -> Iterator[tuple[Call, Call, Call | None]]:
        """Who must stand before somebody who had ended before it began; and, where both are adds,
        the read that has the first of them only."""
        over: Call | None = None  # of those that stand later, the first to end
        for block in reversed(blocks):
            for read in block.reads:
                if over is not None and over.end < read.begin:
                    yield read, over, None
            over = _sooner(over, block.reads)
            for add in block.adds:
                # A read that began after the end, too, is out of place by itself.
                shown = min(block.reads, key=lambda read: -read.begin, default=None)
                if over is None or shown is None:
                    continue
                if shown.begin < over.end < add.begin:
                    yield add, over, shown
            over = _sooner(over, block.adds)

    # -- arguments ---------------------------------------------------------------------------------

    def _argue(self, before: Call, after: Call, shown: Call | None) -> None:
        """`after` ended before `before` began, and must stand behind it."""
        if before.f == "add":
            # A read that has `before` cannot have ended before it began: see `_from_nowhere`.
            assert shown is not None and after.f == "add"
            because = [
                f"{_who(before)} began later, at op {before.begin}",
                f"{_who(shown)} has {before.asked!r}, so it came later still",
            ]
            self._stale(after.asked, shown, after, because, [before, after, shown])
            return
        value = after.asked
        calls = [after, before]
        if after.f == "read":
            lacking = set(after.told) & self.adds.keys() - set(before.told)
            value = min(lacking, key=lambda value: (self.adds[value].end, repr(value)))
            add = self.adds[value]
            calls = [add, before]
            if add.end < before.begin:
                after = add
            else:
                calls.append(after)
        self._stale(
            value, before, after, [f"{_who(before)} began later, at op {before.begin}"], calls
        )

    def _stale(
        self, value: Any, read: Call, after: Call, because: Sequence[str], calls: list[Call]
    ) -> None:
        self.found.add(
            "stale-read",
            self.key,
            f"a read of c{read.process} lacks {value!r}, which was there before",
            (
                f"{_who(after)} ended at op {after.end}",
                *because,
                f"however, what was read then lacks {value!r}: a contradiction",
            ),
            calls,
        )

    def _incomparable(self, one: frozenset[Any], other: frozenset[Any]) -> None:
        if self._first(one) > self._first(other):
            one, other = other, one
        first, second = (min(self.reads[values], key=lambda c: c.begin) for values in (one, other))
        mine, theirs = (min(values, key=repr) for values in (one - other, other - one))
        self.found.add(
            "incomparable-reads",
            self.key,
            f"one read has {mine!r} without {theirs!r}, another has {theirs!r} without {mine!r}",
            (
                f"{_who(first)}: {mine!r} was added before {theirs!r}",
                f"however, {_who(second)}: {theirs!r} was added before {mine!r}: a contradiction",
            ),
            [self.adds[mine], self.adds[theirs], first, second],
        )

    def _nowhere(self, value: Any, read: Call) -> None:
        add = self.refused.get(value)
        if add is None:
            name, why, because = "phantom", "nobody tried to add it", "no add of it is there"
        else:
            name, why, because = "G1a", "its add failed", f"op {add.begin} failed for sure"
        self.found.add(
            name,
            self.key,
            f"{value!r} was read, and {why}",
            (f"{_who(read)} has {value!r}", f"however, {because}: a contradiction"),
            [read] if add is None else [add, read],
        )

    def _future(self, value: Any, read: Call, add: Call) -> None:
        self.found.add(
            "future-read",
            self.key,
            f"{value!r} was read before anybody began to add it",
            (
                f"{_who(read)} ended at op {read.end}",
                f"however, its only add began later, at op {add.begin}: a contradiction",
            ),
            [add, read],
        )


def _sooner(over: Call | None, calls: Sequence[Call]) -> Call | None:
    """The first to end."""
    ended = [call for call in calls if call.end < NEVER]
    if over is not None:
        ended.append(over)
    return min(ended, key=lambda call: call.end, default=None)


def _who(call: Call) -> str:
    return f"c{call.process}'s {_short(call)}"


def _short(call: Call) -> str:
    """The call in words, with as much of a long read as a line holds."""
    text = words(call)
    return text if len(text) <= 60 else f"{text[:56]} …]"
