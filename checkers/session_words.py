"""Contradictions of `checkers.session_registers` as findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from checkers.accesses import Accesses
from checkers.linearizable.values import Ints
from checkers.session_registers import (
    AGAIN,
    ALL,
    MR,
    MW,
    NULL_OTHER,
    NULL_OWN,
    OTHER_READ,
    OTHER_WRITE,
    OWN_WRITE,
    RYW,
    WFR,
    Found,
    Registers,
    sessions,
)
from checkers.told import Told
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.verdict import Finding

NAMES = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")
"""By the number of the guarantee's bit."""

CLAIMS: Mapping[int, str] = {
    RYW: "older than what it had written itself",
    MR: "older than what it had read",
    MW: "older than a write that came before one it had read",
    WFR: "older than what had been read before a write that it had read",
}


def cases(told: Told, accesses: Accesses, allowed: int) -> dict[str, Cases]:
    """All cases of a history, by anomaly.

    Args:
        allowed: the guarantees that were promised. What breaks none of them is found, too, under
            the name of one that was not.
    """
    words = _Words(told, accesses)
    mine = words.found(allowed)
    if allowed != ALL:
        more = words.found(ALL)
        mine = Found.joined([mine, more.take(~np.isin(more.read, mine.read))])
    broken = words.broken(mine, allowed)
    return {
        name: words.cases(mine.take(broken == 1 << at), 1 << at) for at, name in enumerate(NAMES)
    }


@dataclass(frozen=True)
class _Words:
    told: Told
    accesses: Accesses

    @cached_property
    def _session(self) -> Ints:
        return sessions(self.accesses.process, self.accesses.begin, self.told.history)

    def found(self, allowed: int) -> Found:
        return Registers(self.accesses, allowed).found()

    # -- which guarantee ---------------------------------------------------------------------------

    def broken(self, found: Found, allowed: int) -> Ints:
        """The guarantee that each breaks: one that was not promised, or else that which it is
        about."""
        own, needed = self._about(found), self._needed(found)
        missing = needed & ~allowed
        return np.where(missing > 0, missing & -missing, own)

    def _about(self, found: Found) -> Ints:
        write, kind = self.accesses.write, found.kind
        direct = found.touch == found.write
        return np.select(
            [
                kind == NULL_OWN,
                kind == NULL_OTHER,
                kind == OWN_WRITE,
                kind == OTHER_WRITE,
                kind == OTHER_READ,
            ],
            [
                np.where(write[found.touch], RYW, MR),
                np.where(write[found.touch], MW, WFR),
                np.full(len(kind), RYW),
                np.where(direct, MR, MW),
                np.full(len(kind), WFR),
            ],
            MR,
        )

    def _needed(self, found: Found) -> Ints:
        """All that each takes."""
        write, kind = self.accesses.write, found.kind
        order = np.where(found.order < 0, 0, np.where(write[found.order], MW, WFR))
        order = np.where(kind == AGAIN, np.where(order == MW, RYW, 0), order)
        linked = np.where(found.write >= 0, MR, 0)
        needed: Ints = self._about(found) | order | linked
        return needed

    # -- arguments ---------------------------------------------------------------------------------

    def cases(self, found: Found, guarantee: int) -> Cases:
        """One of each read, of two the one that takes fewer operations."""
        by = np.lexsort((found.kind, found.read))
        first = by[np.flatnonzero(np.diff(found.read[by], prepend=-1))]
        kept = found.take(first)
        return Cases(len(first), lambda at: self._finding(kept.take(np.array([at])), guarantee))

    def _finding(self, one: Found, guarantee: int) -> Finding:
        kind, read, touch, order, write = (
            int(column[0]) for column in (one.kind, one.read, one.touch, one.order, one.write)
        )
        about = int(self._about(one)[0])
        value = shown(self.accesses.told(read))
        rows = {read, touch, order, write, self._version(read), self._version(touch)}
        because = [*self._older(kind, touch, order), *self._seen(kind, read, touch, write, rows)]
        name = self.accesses.name(read)
        last = f"however, {self._op(read)}: a contradiction"
        begins = [int(self.accesses.begin[row]) for row in rows if row >= 0]
        return self.told.finding(
            NAMES[guarantee.bit_length() - 1],
            f"c{self.accesses.process[read]} read {value}, {CLAIMS[about]}",
            (*because, last),
            begins,
            name,
        )

    def _older(self, kind: int, touch: int, order: int) -> Iterator[str]:
        """Why what was read is older than what was known."""
        if kind == AGAIN:
            yield (
                f"{self._op(order)} came before {self._op(touch)} in the same session, so that the "
                "second overwrites the first for it"
            )
        elif kind not in (NULL_OWN, NULL_OTHER):
            said = "monotonic writes" if self.accesses.write[order] else "writes follow reads"
            yield (
                f"{self._op(order)} came before {self._op(self._version(touch))} in the same "
                f"session, so that the second overwrites the first for all ({said})"
            )

    def _seen(self, kind: int, read: int, touch: int, write: int, rows: set[int]) -> Iterator[str]:
        """Why the session must have seen what is newer."""
        acc = self.accesses
        if write >= 0:
            link = self._link(read, write)
            rows |= {link}
            yield (
                f"{self._op(link)} has {self._op(write)}: its session sees it from then on "
                "(monotonic reads)"
            )
            if write != touch:
                what = "monotonic writes" if acc.write[touch] else "writes follow reads"
                yield (
                    f"{self._op(touch)} came before {self._op(write)} in the same session, so that "
                    f"who sees the second sees the first ({what})"
                )
        elif acc.write[touch]:
            yield (
                f"{self._op(touch)} was acknowledged: its session sees it from then on "
                "(read your writes)"
            )
        else:
            yield (
                f"{self._op(touch)} told what there was: its session sees it from then on "
                "(monotonic reads)"
            )

    def _link(self, read: int, write: int) -> int:
        """The first read of a write by the session of a later read."""
        acc = self.accesses
        mine = (acc.source == write) & ~acc.write & (self._session == self._session[read])
        return int(np.flatnonzero(mine)[0])

    def _version(self, row: int) -> int:
        """The write whose value an operation has, or -1."""
        acc = self.accesses
        if row < 0 or acc.write[row]:
            return row
        return max(int(acc.source[row]), -1)

    def _op(self, row: int) -> str:
        return self.told.words(int(self.accesses.begin[row]))
