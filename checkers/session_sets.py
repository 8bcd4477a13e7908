"""The guarantees of sessions over collections that only grow.

See `checkers.sessions` and `checkers.growing`. A read is held against its own session (what it had
added and read) and, for each element that it has and one session alone has added, against that
session before: what it had added (monotonic writes) and read (writes follow reads).

Cost: about 2 µs an element of what is read; for a read that is older than real time allows, 0.1 µs
    more for each session whose elements it has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from checkers.growing import Addition, Collection, Reading, plain
from checkers.session_words import NAMES
from checkers.told import Told
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.history import History
from harness.op import FAIL, OK
from harness.verdict import Finding

RYW, MR, MW, WFR = NAMES
Session = tuple[int, int]
"""A process, and how many operations of it had been in doubt before."""


@dataclass(frozen=True, slots=True)
class Case:
    """A read that cannot be.

    Attributes:
        cause: the element that it lacks, or has in the wrong place.
        known: who had added it, or read it.
        effect: the addition that came after that, whose element it has; None for its own session's.
        placed: whether it has both, in the wrong order.
    """

    name: str
    one: Collection
    reading: Reading
    cause: Any
    known: Addition | Reading
    effect: Addition | None = None
    placed: bool = False


@dataclass(slots=True)
class _Session:
    """What a session has done to a collection.

    Attributes:
        own: elements whose additions were acknowledged, in order, with them.
        seen: elements that were read, in order, with the first read of each.
        adds: additions; before: how many of `own` and `seen` there were at each.
    """

    own: dict[Any, Addition] = field(default_factory=dict)
    seen: dict[Any, Reading] = field(default_factory=dict)
    adds: list[Addition] = field(default_factory=list)
    before: list[tuple[int, int]] = field(default_factory=list)

    def knew(self) -> tuple[tuple[str, Mapping[Any, Addition | Reading]], ...]:
        """What whoever has its elements must have before, by the guarantee."""
        return (MW, self.own), (WFR, self.seen)


def cases(told: Told, found: Iterable[Collection]) -> dict[str, Cases]:
    """All cases of the collections of a history, by anomaly."""
    by_name = defaultdict[str, list[Case]](list)
    doubts = _doubts(told.history)
    for one in found:
        for case in _One(one, doubts).cases():
            by_name[case.name].append(case)

    def make(some: list[Case], number: int) -> Finding:
        return _finding(told, some[number])

    return {name: Cases(len(by_name[name]), partial(make, by_name[name])) for name in NAMES}


def _doubts(history: History) -> Mapping[int, list[int]]:
    """Of each process, where its operations in doubt began; ascending."""
    asked = np.flatnonzero((history.type == 0) & (history.process >= 0))
    pair = history.pair[asked]
    told = np.isin(history.type[pair], (OK, FAIL)) & (pair >= 0)
    found: dict[int, list[int]] = {}
    for begin in asked[~told].tolist():
        found.setdefault(int(history.process[begin]), []).append(begin)
    return found


class _One:
    """One collection.

    Attributes:
        adder: of each element that was added once, by whom, and the number of the addition there;
            None of one that was added more often.
        known: of each element, when somebody first knew that it was there.
        began: of each element that was added once, when that began.
        fine: the elements of the longest list of which the order is right.
    """

    def __init__(self, one: Collection, doubts: Mapping[int, list[int]]) -> None:
        self.one, self.doubts = one, doubts
        self.sessions = defaultdict[Session, _Session](_Session)
        self.adder: dict[Any, tuple[_Session, int] | None] = {}
        self.known: dict[Any, int] = {}
        self.began: dict[Any, int] = {}
        self.fine: list[Any] = []

    def cases(self) -> Iterator[Case]:
        yield from self._of_own_sessions()
        times = sorted(self.known.values())
        for element, added in self.adder.items():
            if added is not None:
                session, number = added
                self.began[element] = session.adds[number].begin
        for reading in self.one.readings:
            yield from self._of_others(reading, times)

    def _of_others(self, reading: Reading, times: list[int]) -> Iterator[Case]:
        """Cases of what other sessions knew. As a rule time tells that there is none: nobody had
        known what a read lacks when the newest was added that it has."""
        there, began, known = set(reading.elements), self.began, self.known
        newest = max((began[element] for element in there if element in began), default=0)
        all_of_it = sum(known.get(element, newest) < newest for element in there)
        lacks = all_of_it < bisect_left(times, newest)
        reordered = (
            self.one.ordered and len(there) == len(reading.elements) and self._by_time(reading)
        )
        latest = self._latest(there) if lacks or reordered else {}
        if lacks:
            yield from self._lacking(reading, there, latest)
        if reordered:
            misplaced = list(self._misplaced(reading, latest))
            yield from misplaced
            if not misplaced and len(reading.elements) > len(self.fine):
                self.fine = reading.elements

    def _by_time(self, reading: Reading) -> bool:
        """Whether a list has something after what was added when that was known."""
        if reading.elements == self.fine[: len(reading.elements)]:
            return False
        newest, never = 0, 2**62
        for element in reading.elements:
            if self.known.get(element, never) < newest:
                return True
            newest = max(newest, self.began.get(element, 0))
        return False

    def _session(self, of: Addition | Reading) -> Session:
        return of.process, bisect_left(self.doubts.get(of.process, ()), of.begin)

    # -- its own session ---------------------------------------------------------------------------

    def _of_own_sessions(self) -> Iterator[Case]:
        """What a read lacks of what its session had added and read; and note what each has done."""
        every: list[Addition | Reading] = [*self.one.additions, *self.one.readings]
        for each in sorted(every, key=lambda one: one.begin):
            mine = self.sessions[self._session(each)]
            if isinstance(each, Addition):
                self._added(mine, each)
                continue
            there = set(each.elements)
            own: tuple[str, Mapping[Any, Addition | Reading]] = (RYW, mine.own)
            for name, known in (own, (MR, mine.seen)):
                if not known.keys() <= there:
                    # Of as many as it has and one more, it lacks one.
                    lacks = next(element for element in known if element not in there)
                    yield Case(name, self.one, each, lacks, known[lacks])
            if news := there - mine.seen.keys():
                for element in each.elements:
                    if element in news:
                        mine.seen.setdefault(element, each)
                        self._knew(element, each.end)

    def _added(self, mine: _Session, addition: Addition) -> None:
        element = addition.element
        self.adder[element] = None if element in self.adder else (mine, len(mine.adds))
        mine.before.append((len(mine.own), len(mine.seen)))
        mine.adds.append(addition)
        if addition.end is not None:
            mine.own.setdefault(element, addition)
            self._knew(element, addition.end)

    def _knew(self, element: Any, end: int) -> None:
        self.known[element] = min(end, self.known.get(element, end))

    # -- others' sessions --------------------------------------------------------------------------

    def _latest(self, there: set[Any]) -> Mapping[int, tuple[_Session, int]]:
        """Of each session, its last addition whose element is there."""
        latest: dict[int, tuple[_Session, int]] = {}
        for element in there:
            added = self.adder.get(element)
            if added is not None:
                session, number = added
                if latest.get(id(session), (session, -1))[1] < number:
                    latest[id(session)] = added
        return latest

    def _lacking(
        self, reading: Reading, there: set[Any], latest: Mapping[int, tuple[_Session, int]]
    ) -> Iterator[Case]:
        """What a read lacks of what came before what it has; one case of each guarantee."""
        named = set[str]()
        for session, number in latest.values():
            for (name, known), size in zip(session.knew(), session.before[number], strict=True):
                if name in named or all(map(there.__contains__, islice(known, size))):
                    continue
                lacks = next(element for element in known if element not in there)
                named.add(name)
                yield Case(name, self.one, reading, lacks, known[lacks], session.adds[number])

    def _misplaced(
        self, reading: Reading, latest: Mapping[int, tuple[_Session, int]]
    ) -> Iterator[Case]:
        """What a list has after what it came before; one case of each guarantee."""
        place = {element: at for at, element in enumerate(reading.elements)}
        named = set[str]()
        for session, number in latest.values():
            for at, (name, known) in enumerate(session.knew()):
                if name not in named and (case := self._late(reading, place, session, number, at)):
                    named.add(name)
                    cause, effect = case
                    yield Case(name, self.one, reading, cause, known[cause], effect, placed=True)

    def _late(
        self, reading: Reading, place: Mapping[Any, int], session: _Session, number: int, at: int
    ) -> tuple[Any, Addition] | None:
        """An element that a session knew, and what it added then, which stands before it."""
        known = iter(session.seen if at else session.own)
        last: tuple[int, Any] = (-1, None)
        size = 0
        for addition, before in islice(zip(session.adds, session.before, strict=True), number + 1):
            for element in islice(known, before[at] - size):
                if element in place and self.adder.get(element) is not None:
                    last = max(last, (place[element], element), key=lambda one: one[0])
            size = before[at]
            here = place.get(addition.element, len(place))
            if here < last[0] and self.adder.get(addition.element) is not None:
                return last[1], addition
        return None


# -- arguments -------------------------------------------------------------------------------------


def _finding(told: Told, case: Case) -> Finding:
    reading, known, effect = case.reading, case.known, case.effect
    cause = shown(plain(case.cause))
    read = told.words(reading.begin)
    begins = [reading.begin, known.begin]
    had = f"{told.words(known.begin)} {'added' if isinstance(known, Addition) else 'has'} {cause}"
    begins += [add.begin for add in case.one.additions if add.element == case.cause][:1]
    if effect is None:
        verb = "added" if isinstance(known, Addition) else "read"
        claim = f"c{reading.process} lacks {cause}, which it had {verb}"
        because: tuple[str, ...] = (f"{had}, and its session sees that from then on",)
        last = f"however, {read} lacks it: a contradiction"
    else:
        seen = shown(plain(effect.element))
        begins.append(effect.begin)
        does = f"has {cause} after" if case.placed else f"lacks {cause}, and has"
        claim = f"c{reading.process} {does} {seen}, which came later"
        because = (
            f"{had}, before {told.words(effect.begin)} in the same session",
            f"so that who sees {seen} sees {cause}" + (" before it" if case.placed else ""),
        )
        last = f"however, {read} {does} {seen}: a contradiction"
    return told.finding(case.name, claim, (*because, last), begins, case.one.key)
