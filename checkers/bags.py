"""What went into queues and came out of them: by value, whatever the order, in columns.

Cost: a few sorts, about 1 µs an operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from checkers.elements import Elements
from checkers.linearizable.models import Unordered
from checkers.linearizable.values import Bools, Ints, Ops, dense, grouped
from harness.columns import NULL
from harness.history import History


@dataclass(frozen=True, slots=True)
class Moves:
    """Values that went in, or out: one row each, by value and then in the order that counts.

    Attributes:
        begin, end: of the operation. member: which value of which key, by number.
    """

    begin: Ints
    end: Ints
    member: Ints

    @staticmethod
    def of(begin: Ints, end: Ints, member: Ints, by: Ints) -> Moves:
        order = np.lexsort((by, member))
        return Moves(begin[order], end[order], member[order])

    def of_value(self, row: int) -> slice:
        """Its rows."""
        first, after = np.searchsorted(self.member, [row, row + 1]).tolist()
        return slice(first, after)

    def count(self, size: int, chosen: Bools | None = None) -> Ints:
        """How often each value is there."""
        member = self.member if chosen is None else self.member[chosen]
        return np.bincount(member, minlength=size).astype(np.int64)

    def number(self) -> Ints:
        """int64[rows]; the how-manieth of its value each is, from 1."""
        first = np.searchsorted(self.member, self.member)
        return np.arange(len(self.member)) - first + 1


class Bags:
    """The values of all queues of a history, by number.

    Attributes:
        code, key: of each value.
        puts: enqueues that happened or may have, by begin. failed: those that failed.
        outs: what came out, by end.
        begun: of each of `outs`, how often anybody had begun to put its value in by then.
        put, out, acked: how often each was put in, came out, and was acknowledged.
        empty: of each, the last operation on its queue to begin that found or left nothing inside;
            or -1.
        due: how often it should have come out: it had been put in before that began.
        nulls: how often somebody put null in.
        takers: by key, the dequeues in doubt. drains: by key, the drains in doubt. The key is None
            where nobody knows it.
    """

    def __init__(self, history: History, keyed: bool | None = None) -> None:
        """`keyed` of a part of a history is that of the whole."""
        self.history = history
        self.found = Elements(history, Unordered(), "drain", keyed)
        puts, failed = self.found.asked("enqueue")
        got, drained, drains = self.found.told("dequeue"), *_drained(self.found)
        self.nulls = int((puts.value == NULL).sum())
        nothing = got.value == NULL
        outs = _joined(got.where(~nothing), drained)
        empties = _joined(got.where(nothing), drains)
        del got, drained, drains  # which is a quarter of what all this takes
        member = self._numbered(puts, failed, outs)
        mine, theirs, out = np.split(member, [len(puts), len(puts) + len(failed)])
        self.puts = Moves.of(puts.begin, puts.end, mine, puts.begin)
        self.failed = Moves.of(failed.begin, failed.end, theirs, failed.begin)
        self.outs = Moves.of(outs.begin, outs.end, out, outs.end)
        del puts, failed, outs, member, mine, theirs, out
        self.empty = self._emptied(empties)
        self._count()
        self.takers = _by_key(self.found, "dequeue")
        self.drains = _by_key(self.found, "drain")

    def __len__(self) -> int:
        return len(self.code)

    def _numbered(self, *several: Ops) -> Ints:
        """The number of each one's value; fills `code` and `key`."""
        key = np.concatenate([ops.key for ops in several])
        value = np.concatenate([ops.value for ops in several])
        member = grouped(dense(key)[0], dense(value)[0])
        size = int(member.max()) + 1 if len(member) else 0
        self.code, self.key = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self.code[member], self.key[member] = value, key
        return member

    def _emptied(self, nothing: Ops) -> Ints:
        order = np.lexsort((nothing.begin, nothing.key))
        key, begin = nothing.key[order], nothing.begin[order]
        if not len(key):
            return np.full(len(self.key), -1)
        at = np.searchsorted(key, self.key, "right") - 1
        return np.where((at >= 0) & (key[at] == self.key), begin[at], -1)

    def _count(self) -> None:
        size = len(self)
        ended = self.puts.end < len(self.history)
        in_time = self.puts.end < self.empty[self.puts.member]
        self.put, self.out = self.puts.count(size), self.outs.count(size)
        self.acked, self.due = self.puts.count(size, ended), self.puts.count(size, in_time)
        # By value and place, so that one search tells of every value what had begun.
        width = len(self.history) + 1
        begun = np.searchsorted(
            self.puts.member * width + self.puts.begin, self.outs.member * width + self.outs.end
        )
        self.begun = begun - np.searchsorted(self.puts.member, self.outs.member)

    @property
    def missing(self) -> Ints:
        """How often each should have come out and did not."""
        missing: Ints = np.maximum(self.due - self.out, 0)
        return missing

    @property
    def inside(self) -> Ints:
        """How often each was acknowledged and may still be inside."""
        inside: Ints = np.maximum(self.acked - self.out, 0) - self.missing
        return inside

    @property
    def excess(self) -> Ints:
        """int64[outs]; how much more often its value had come out than it had been put in."""
        return self.outs.number() - self.begun

    def first(self, chosen: Bools) -> Ints:
        """Of each value, the first of the chosen rows of `outs`, or -1."""
        found = np.full(len(self), -1)
        rows = np.flatnonzero(chosen)[::-1]
        # Of several that are assigned to one place NumPy keeps the last.
        found[self.outs.member[rows]] = rows
        return found


def _drained(found: Elements) -> tuple[Ops, Ops]:
    """What came out, value by value, and the drains themselves."""
    values, drains = [], []
    for some in found.lists("drain"):
        owner = some.owner()
        values.append(Ops(some.begin[owner], some.end[owner], some.key[owner], some.value))
        drains.append(Ops(some.begin, some.end, some.key, np.full(len(some.begin), NULL)))
    return _joined(*values), _joined(*drains)


def _joined(*several: Ops) -> Ops:
    columns = ("begin", "end", "key", "value")
    nothing = np.zeros(0, np.int64)
    return Ops(*(np.concatenate([nothing, *(getattr(o, c) for o in several)]) for c in columns))


def _by_key(found: Elements, f: str) -> dict[int | None, list[int]]:
    doubtful: dict[int | None, list[int]] = {}
    for begin, key in found.in_doubt(f):
        doubtful.setdefault(key, []).append(begin)
    return doubtful
