"""Who sees an effect sees what had happened before its cause began.

Reads collections that only grow: `write` (or `add`, `append`, `insert`) of an element, and `read`
of all of them; with keys `[key, element]` and `[key, [element, …]]`. See `checkers.growing`.

Anomalies:
    causal-reverse   a read has an element, and lacks one that was there before somebody began to
                     add the first

What was there: an addition that was acknowledged, or one that somebody had read by then. This is
what strict serializability forbids and serializability does not: T1 was over before T2 began, and
somebody sees T2 without T1.

Blind to: a read that is merely too old, or has what nobody added: see `set`; elements that were
    taken out.
Cost: about 1 µs an element of what was read; more for a read that lacks something.
Source: Jepsen's `causal-reverse` tests; D. Abadi, "Correctness Anomalies Under Serializable
    Isolation" (2019). Theirs knows of an element only by its acknowledgement.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

from checkers.growing import ADDS, Addition, Collection, Reading, collections, plain
from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = ("causal-reverse",)

Case = tuple[Collection, Reading, Addition, Addition, Reading | None]
"""The read, the cause that it lacks, the effect that it has, and who had seen the cause, if it was
not acknowledged."""


@knows((*ADDS, "read"))
def check(history: History, contract: Contract) -> Verdict:
    """Who sees an effect sees what had happened before its cause began."""
    found, odd = collections(history)
    doubts = [f"{odd} operations have values that this checker cannot read"] if odd else []
    reads = sum(len(one.readings) for one in found)
    if not any(one.additions for one in found):
        doubts.append("nobody added anything")
    stats = {"additions": sum(len(one.additions) for one in found), "reads": reads}
    return judged(history, _cases, doubts=doubts, stats=stats)


def _cases(told: Told) -> Mapping[str, Cases]:
    found = [case for one in collections(told.history)[0] for case in _One(one).cases()]
    return {"causal-reverse": Cases(len(found), lambda number: _finding(told, *found[number]))}


class _One:
    """One collection.

    Attributes:
        began: by element, the first addition of it that may have happened.
        known: by element, from where on it was certainly there, and who shows that.
    """

    def __init__(self, one: Collection) -> None:
        self.one = one
        self.began: dict[Any, Addition] = {}
        self.known: dict[Any, tuple[int, Addition, Reading | None]] = {}
        for each in one.additions:
            self.began.setdefault(each.element, each)
            if each.end is not None:
                self._know(each.element, each.end, each, None)
        for reading in one.readings:
            for element in reading.elements:
                addition = self.began.get(element)
                if addition is not None:
                    self._know(element, reading.end, addition, reading)
        self.order = sorted(self.known, key=lambda element: self.known[element][0])
        self.times = [self.known[element][0] for element in self.order]

    def _know(self, element: Any, end: int, addition: Addition, by: Reading | None) -> None:
        if element not in self.known or end < self.known[element][0]:
            self.known[element] = end, addition, by

    def cases(self) -> Iterator[Case]:
        for reading in self.one.readings:
            there = set(reading.elements)
            effect = max(
                (self.began[element] for element in there if element in self.began),
                key=lambda addition: addition.begin,
                default=None,
            )
            if effect is None:
                continue
            before = bisect_left(self.times, effect.begin)
            if sum(self._known_by(e, effect.begin) for e in there) == before:
                continue
            cause = next(element for element in self.order[:before] if element not in there)
            _, addition, by = self.known[cause]
            yield self.one, reading, addition, effect, by

    def _known_by(self, element: Any, position: int) -> bool:
        return element in self.known and self.known[element][0] < position


def _finding(
    told: Told,
    one: Collection,
    reading: Reading,
    cause: Addition,
    effect: Addition,
    by: Reading | None,
) -> Finding:
    missing, seen = shown(plain(cause.element)), shown(plain(effect.element))
    end = cause.end if by is None else by.end
    assert end is not None
    there = f"{told.words(cause.begin)} was acknowledged at op {told.at(end)}"
    if by is not None:
        there = f"{told.words(cause.begin)} took place: {told.words(by.begin)}"
    because = (
        f"{there}, so that {missing} was there",
        f"{told.words(effect.begin)} began later, at op {told.at(effect.begin)}, so that {seen} "
        f"came after {missing}",
        f"however, {told.words(reading.begin)}: it has {seen}, and lacks {missing}: "
        "a contradiction",
    )
    begins = [reading.begin, cause.begin, effect.begin, *(() if by is None else (by.begin,))]
    claim = f"c{reading.process} read what came later without what had come before"
    return told.finding("causal-reverse", claim, because, begins, one.key)
