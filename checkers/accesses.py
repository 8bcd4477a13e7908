"""Reads and writes of registers, session by session, and who read what from whom.

Reads `write` and `read` (`read-init` is another), with values, or `[key, value]` for a register of
each key. A read of nothing is null; in Jepsen's causal tests, which have `read-init` or links, also
0 where nobody writes 0.
Sessions are processes. What failed did not happen; a write in doubt happened if somebody read it,
at any time after its begin, and else can be left out.

Cost: sorts; about 0.5 s for 1,000,000 operations whose values are scalars, 5 µs for one of others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from checkers.codes import Codes
from checkers.linearizable.calls import are_keyed
from checkers.linearizable.models import Register
from checkers.linearizable.values import Bools, Ints, dense, grouped
from harness.columns import NULL
from harness.history import History
from harness.op import FAIL, OK

READS, WRITES = ("read", "read-init"), ("write",)
INITIAL, NOBODY, UNTOLD = -1, -2, -3
"""Whom a read has its value from, where it is no write: what was there at first; nobody; one of
several that wrote the same."""


@dataclass(frozen=True)
class Accesses:
    """Reads that told something, and writes that happened. Columns by session, in order of begins.

    Attributes:
        begin, end: positions of the events; the end is the history's length where it is in doubt.
        process, write, key, value: `key` and `value` are codes that mean something here only.
        source: of a read, the row of the write that it has its value from, or INITIAL, NOBODY or
            UNTOLD; of a write, UNTOLD.
        before: the row of the session's last operation that was acknowledged before it, or -1.
        keyed: whether values are `[key, value]`.
        odd: how many operations have values of another shape.
        refused: (key, value) → begins of the writes that failed.
        overwritten: the keys, by code, to which null was written.
    """

    history: History
    begin: Ints
    end: Ints
    process: Ints
    write: Bools
    key: Ints
    value: Ints
    source: Ints
    before: Ints
    keyed: bool
    odd: int
    refused: _Refused
    overwritten: Ints

    @staticmethod
    def of(history: History) -> Accesses:
        return _accesses(history)

    def __len__(self) -> int:
        return len(self.begin)

    @cached_property
    def sure(self) -> Bools:
        """Which operations were acknowledged."""
        return self.end < len(self.history)

    @property
    def untold(self) -> Ints:
        """The reads of which nobody knows whose value they have."""
        return np.flatnonzero(~self.write & (self.source == UNTOLD))

    def doubts(self) -> Iterator[str]:
        if self.odd:
            yield f"{self.odd} operations have values that this checker cannot read"
        if not len(self):
            yield "nobody read or wrote a register"
        if len(untold := self.untold):
            at = int(self.end[untold[0]])
            yield (
                f"{len(untold)} reads have a value that was written more than once, or null where "
                f"null was written, the first at op {at}: whose it was cannot be told"
            )

    def name(self, row: int) -> Any:
        """The operation's key, as the history has it; None without keys."""
        return self.history.values.get(self._said_at(row))[0] if self.keyed else None

    def told(self, row: int) -> Any:
        """The value, as the history has it."""
        value = self.history.values.get(self._said_at(row))
        return value[1] if self.keyed else value

    def _said_at(self, row: int) -> int:
        """The event that says what was written or read."""
        return int(self.begin[row] if self.write[row] else self.end[row])


@dataclass(frozen=True, slots=True)
class _Refused:
    """Writes that failed."""

    begin: Ints
    key: Ints
    value: Ints

    def of(self, key: int, value: int) -> list[int]:
        chosen: list[int] = self.begin[(self.key == key) & (self.value == value)].tolist()
        return chosen


def _accesses(history: History) -> Accesses:
    keyed = are_keyed(history, Register())
    codes = Codes(history, keyed)
    begin = history.select(f=(*READS, *WRITES))
    begin = begin[(history.type[begin] == 0) & (history.process[begin] >= 0)]
    write = np.isin(history.f[begin], [history.code(f) for f in WRITES])
    pair = history.pair[begin].astype(np.int64)
    kind = np.where(pair >= 0, history.type[pair], -1)
    end = np.where(kind == OK, pair, len(history))
    key, value, odd = codes.of(np.where(write | (kind != OK), begin, pair))
    failed = write & (kind == FAIL) & ~odd
    refused = _Refused(begin[failed], key[failed], value[failed])
    kept = (kind == OK) | (write & (kind != FAIL))
    strange = int((odd & kept).sum())
    kept &= ~odd
    begin, end, write, key, value = (c[kept] for c in (begin, end, write, key, value))
    jepsens = history.code("read-init") >= 0 or b'"link"' in history.extras.data.tobytes()
    if jepsens and not (write & (value == 0)).any():
        value = np.where(value == 0, NULL, value)
        refused = _Refused(
            refused.begin, refused.key, np.where(refused.value == 0, NULL, refused.value)
        )
    source, overwritten = _sources(write, key, value)
    happened = np.zeros(len(begin), np.bool_)
    happened[source[source >= 0]] = True
    happened |= end < len(history)
    process = history.process[begin].astype(np.int64)
    # By session, without the writes in doubt that nobody read.
    order = np.lexsort((begin, process))
    order = order[happened[order]]
    row = np.full(max(len(begin), 1), NOBODY, np.int64)
    row[order] = np.arange(len(order))
    source = np.where(source >= 0, row[np.maximum(source, 0)], source)[order]
    begin, end, process = begin[order], end[order], process[order]
    before = _before(process, end < len(history))
    return Accesses(
        *(history, begin, end, process, write[order], key[order], value[order]),
        *(source, before, keyed, strange, refused, overwritten),
    )


def _sources(write: Bools, key: Ints, value: Ints) -> tuple[Ints, Ints]:
    """Of each read, whose value it has; and the keys to which null was written."""
    number = grouped(dense(key)[0], dense(value)[0])
    size = int(number.max()) + 1 if len(number) else 0
    writer = np.full(size, NOBODY, np.int64)
    writer[number[write]] = np.flatnonzero(write)
    writer[np.bincount(number[write], minlength=size) > 1] = UNTOLD
    null = value == NULL
    overwritten = np.unique(key[write & null])
    source = np.where(write, UNTOLD, writer[number] if size else number)
    source[~write & null] = np.where(np.isin(key[~write & null], overwritten), UNTOLD, INITIAL)
    return source, overwritten


def _before(process: Ints, sure: Bools) -> Ints:
    if not len(process):
        return process
    last = np.maximum.accumulate(np.where(sure, np.arange(len(process)), -1))
    before = np.append(-1, last[:-1])
    before[process[before] != process] = -1
    return before
