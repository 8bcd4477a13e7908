"""What is known of each element of a set that is read again and again, in columns.

An element is *known* once an add of it has ended, or a read that has it (if none had it before
anybody began to add it). Reads that begin later must have it.

How it works. Reads come in the order of their begins, a batch at a time, and each element remembers
the last read that has it: where that is not the read before the next one that has it, the read
before lacks it. All sets and elements of a batch are looked at at once.

Cost: sorting what was read, some thousand elements at a time; about 0.2 µs an element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.elements import Elements, Lists
from checkers.linearizable.models import Set
from checkers.linearizable.values import Bools, Ints, Ops, dense
from harness.history import History

NOBODY = -1
NEVER = 2**31 - 1
"""Behind every history: one has fewer events than that."""


class Presence:
    """What is known of each element, by number; operations are known by where they begin.

    Attributes:
        code, key: of each element.
        add_begin, add_end: where the first of its adds begins, and the first of them ends; NEVER
            if none does.
        refused: an add of it that failed; or NEVER.
        first_end, last_end: where the first read that has it ends, NEVER if there is none, and the
            last; or NOBODY.
        latest: the read that has it, the last to begin; or NOBODY.
        absent: the read that lacks it, the last to begin; or NOBODY.
        repeated: the first read that has it twice; or NEVER.
        reads: how many there are.
    """

    def __init__(self, history: History, keyed: bool | None = None) -> None:
        """`keyed` of a part of a history is that of the whole."""
        self.history = history
        self.found = Elements(history, Set(), "read", keyed)
        adds, failed = self.found.asked("add")
        self._members = _Members.of(
            np.concatenate([adds.key, failed.key]), np.concatenate([adds.value, failed.value])
        )
        size = len(self._members)
        self.add_begin, self.add_end, self.refused = (np.full(size, NEVER) for _ in range(3))
        self._added(adds, failed)
        self.first_end, self.repeated = np.full(size, NEVER), np.full(size, NEVER)
        self.last_end, self.latest, self.absent = (np.full(size, NOBODY) for _ in range(3))
        # Of each set; and the last of all sets to which nobody added anything.
        self._last_read = np.full(len(self._members.keys) + 1, NOBODY)
        self.reads = 0
        self._strangers: dict[tuple[int, int], _Stranger] = {}
        for lists in self.found.lists("read"):
            self.reads += len(lists.begin)
            self._read(lists)
        self._look_back()
        self.code, self.key = self._members.code, self._members.key
        self._append_strangers()

    def __len__(self) -> int:
        return len(self.code)

    def end(self, begin: int) -> int:
        """Where a read ends."""
        return int(self.history.pair[begin])

    def begin(self, end: int) -> int:
        """Where the operation begins that ends there."""
        return int(self.history.pair[end])

    # -- what is said of each element --------------------------------------------------------------

    @property
    def tried(self) -> Bools:
        """Whether somebody added it, or may have."""
        return self.add_begin < NEVER

    @property
    def seen(self) -> Bools:
        """Whether a read has it."""
        return self.first_end < NEVER

    @property
    def early(self) -> Bools:
        """Whether a read has it that ended before anybody began to add it."""
        return self.tried & (self.first_end < self.add_begin)

    @property
    def known(self) -> Ints:
        """Where each is known; NEVER if it is not."""
        by_read = np.where(self.early, NEVER, self.first_end)
        return np.where(self.tried, np.minimum(self.add_end, by_read), NEVER)

    @property
    def missed(self) -> Bools:
        """Whether a read lacks it that began when it was known."""
        missed: Bools = self.absent > self.known
        return missed

    @property
    def lost(self) -> Bools:
        """Whether no read that ended later has it."""
        return self.missed & (self.last_end < self.absent)

    @property
    def stable(self) -> Bools:
        """Whether it was read, and is not lost."""
        return self.tried & self.seen & ~self.lost

    def latencies(self) -> Ints:
        """Nanoseconds after it was known in which each element was last seen missing, or, if it is
        lost, was last seen."""
        if not len(self.history):
            return self.absent
        until = np.where(self.lost, self.latest, np.where(self.missed, self.absent, NOBODY))
        since = np.minimum(self.known, len(self.history) - 1)
        waited = self.history.time[until] - self.history.time[since]
        return np.where(until == NOBODY, 0, np.maximum(waited, 0))

    # -- how that is found out ---------------------------------------------------------------------

    def _added(self, adds: Ops, failed: Ops) -> None:
        mine = self._members.find(adds.key, adds.value)
        np.minimum.at(self.add_begin, mine, adds.begin)
        ended = adds.end < len(self.history)
        np.minimum.at(self.add_end, mine[ended], adds.end[ended])
        np.minimum.at(self.refused, self._members.find(failed.key, failed.value), failed.begin)

    def _read(self, lists: Lists) -> None:
        """Some more reads."""
        owner = lists.owner()
        member = self._members.find(lists.key[owner], lists.value)
        strange = member < 0
        if strange.any():
            self._met(lists, owner[strange], lists.value[strange])
            member, owner = member[~strange], owner[~strange]
        before = self._before(lists)
        size = max(len(lists.begin), 1)
        pairs = np.sort(member * size + owner)
        again = np.zeros(len(pairs), np.bool_)
        again[1:] = pairs[1:] == pairs[:-1]
        twice = pairs[again]
        np.minimum.at(self.repeated, twice // size, lists.begin[twice % size])
        pairs = pairs[~again]
        who, read = pairs // size, pairs % size
        begin, end = lists.begin[read], lists.end[read]
        last = np.roll(begin, 1)
        head = np.flatnonzero(np.diff(who, prepend=-1))
        last[head] = self.latest[who[head]]
        lacked = np.flatnonzero(last != before[read])
        # Of several that are assigned to one place NumPy keeps the last, here and below.
        self.absent[who[lacked]] = before[read[lacked]]
        self.latest[who] = begin
        np.minimum.at(self.first_end, who, end)
        np.maximum.at(self.last_end, who, end)

    def _before(self, lists: Lists) -> Ints:
        """Of each read, the one of the same set that began last before it; or NOBODY."""
        number = self._members.keys.find(lists.key)
        order = np.argsort(number, kind="stable")
        key, begin = number[order], lists.begin[order]
        before = np.roll(begin, 1)
        head = np.flatnonzero(np.diff(key, prepend=-2))
        before[head] = self._last_read[key[head]]
        self._last_read[key] = begin
        found = np.empty_like(before)
        found[order] = before
        return found

    def _look_back(self) -> None:
        """The last read of each set may lack elements, too."""
        number = self._members.keys.find(self._members.key)
        if len(number):
            last = self._last_read[number]
            lacked = (self.latest != last) & (last != NOBODY)
            self.absent = np.where(lacked, last, self.absent)

    # -- elements that nobody added ----------------------------------------------------------------

    def _met(self, lists: Lists, owner: Ints, value: Ints) -> None:
        """Some reads have elements that nobody added."""
        for read, code in zip(owner.tolist(), value.tolist(), strict=True):
            begin, end = int(lists.begin[read]), int(lists.end[read])
            pair = int(lists.key[read]), code
            one = self._strangers.setdefault(pair, _Stranger(end, NOBODY, NEVER))
            one.first_end = min(one.first_end, end)
            if one.latest == begin:
                one.repeated = min(one.repeated, begin)
            one.latest = begin

    def _append_strangers(self) -> None:
        if not self._strangers:
            return
        pairs = np.array(list(self._strangers), np.int64)
        self.key, self.code = np.append(self.key, pairs[:, 0]), np.append(self.code, pairs[:, 1])
        every = self._strangers.values()
        ends = np.array([one.first_end for one in every], np.int64)
        repeated = np.array([one.repeated for one in every], np.int64)
        never, nobody = np.full(len(ends), NEVER), np.full(len(ends), NOBODY)
        for name in ("add_begin", "add_end", "refused"):
            setattr(self, name, np.append(getattr(self, name), never))
        for name in ("latest", "absent"):
            setattr(self, name, np.append(getattr(self, name), nobody))
        self.first_end = np.append(self.first_end, ends)
        self.last_end = np.append(self.last_end, ends)
        self.repeated = np.append(self.repeated, repeated)


@dataclass(slots=True)
class _Stranger:
    """An element that nobody added: where the first read that has it ends, the last one begins, and
    the first one that has it twice."""

    first_end: int
    latest: int
    repeated: int


@dataclass(slots=True)
class _Sorted:
    """Distinct numbers, ascending, and where each stands."""

    distinct: Ints

    def __len__(self) -> int:
        return len(self.distinct)

    def find(self, numbers: Ints) -> Ints:
        """-1 for those that are not there."""
        if not len(self.distinct):
            return np.full(len(numbers), -1)
        at = np.minimum(np.searchsorted(self.distinct, numbers), len(self.distinct) - 1)
        return np.where(self.distinct[at] == numbers, at, -1)


@dataclass(slots=True)
class _Members:
    """Numbers for the pairs of a key and a value that somebody added, or tried to."""

    keys: _Sorted
    values: _Sorted
    pairs: _Sorted
    key: Ints
    code: Ints

    @staticmethod
    def of(key: Ints, value: Ints) -> _Members:
        numbers, keys = dense(key)
        own, values = dense(value)
        _, pairs = dense(numbers * max(len(values), 1) + own)
        size = max(len(values), 1)
        return _Members(
            *(_Sorted(keys), _Sorted(values), _Sorted(pairs)),
            *(keys[pairs // size], values[pairs % size]),
        )

    def __len__(self) -> int:
        return len(self.key)

    def find(self, key: Ints, value: Ints) -> Ints:
        """-1 for those that nobody added."""
        numbers, own = self.keys.find(key), self.values.find(value)
        pair = numbers * max(len(self.values), 1) + own
        return self.pairs.find(np.where((numbers < 0) | (own < 0), -1, pair))
