"""The guarantees of sessions over registers whose values are versions: a greater one is newer.

See `checkers.sessions`. Only what was acknowledged counts. A null is older than any version.

Cost: a sort; about 0.5 s for 1,000,000 operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.codes import Codes
from checkers.linearizable.calls import are_keyed
from checkers.linearizable.models import Register
from checkers.linearizable.values import Bools, Ints, dense
from checkers.session_registers import sessions
from checkers.session_words import NAMES
from checkers.told import Told
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.columns import NULL, is_integer
from harness.history import History
from harness.op import OK
from harness.verdict import Finding

OLDEST = -(2**62)
SAID = ("had written", "had read", "had written", "had read")
"""What the session had done before, by guarantee."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Acknowledged operations, by session, key and time.

    Attributes:
        group: ascending numbers of session and key.
        version: what was written or read; OLDEST for null.
        odd: how many operations have no version.
    """

    history: History
    begin: Ints
    write: Bools
    group: Ints
    version: Ints
    keyed: bool
    odd: int

    @staticmethod
    def of(history: History) -> Versions:
        keyed = are_keyed(history, Register())
        end = history.select(f=("read", "write", "read-init"))
        end = end[(history.type[end] == OK) & (history.process[end] >= 0)]
        begin = history.pair[end].astype(np.int64)
        write: Bools = history.f[end] == history.code("write")
        codes = Codes(history, keyed)
        key, version, odd = codes.of(end)
        # A write that was told nothing has the version that it was asked for.
        silent = write & (version == NULL)
        if silent.any():
            key[silent], version[silent], odd[silent] = codes.of(begin[silent])
        odd |= ~is_integer(version) & (write | (version != NULL))
        process = history.process[begin].astype(np.int64)
        by = np.lexsort((begin, process))
        by = by[~odd[by]]
        session, key = sessions(process[by], begin[by], history), dense(key[by])[0]
        group = session * (int(key.max(initial=0)) + 1) + key
        order = np.argsort(group, kind="stable")
        by, group = by[order], dense(group[order])[0]
        version = np.where(version == NULL, OLDEST, version)[by]
        return Versions(history, begin[by], write[by], group, version, keyed, int(odd.sum()))

    def doubts(self) -> Iterator[str]:
        if self.odd:
            yield f"{self.odd} operations have no integer for a version, and were left out"
        if not len(self.begin):
            yield "nobody read or wrote a register"

    def greatest(self, chosen: Bools) -> Ints:
        """Of each, which of the chosen ones before it, of its session and key, has the greatest
        version, or -1."""
        size = len(self.begin)
        # Ranks of versions, so that one running maximum serves all groups.
        rank = np.empty(size, np.int64)
        by = np.lexsort((-np.arange(size), self.version))
        rank[by] = np.arange(size)
        told = np.where(chosen, rank + 1, 0) + self.group * (size + 1)
        best = np.append(0, np.maximum.accumulate(told)[:-1]) - self.group * (size + 1)
        return np.where(best > 0, by[np.maximum(best, 1) - 1], -1)


def cases(told: Told) -> dict[str, Cases]:
    """All cases, by anomaly."""
    versions = Versions.of(told.history)
    found = {}
    for at, name in enumerate(NAMES):
        greatest = versions.greatest(versions.write if at % 2 == 0 else ~versions.write)
        later = ~versions.write if at < 2 else versions.write
        less = versions.version < versions.version[greatest]
        wrong = np.flatnonzero(later & (greatest >= 0) & less)
        found[name] = _Cases(told, versions, at, wrong, greatest).all()
    return found


@dataclass(frozen=True, slots=True)
class _Cases:
    told: Told
    versions: Versions
    guarantee: int
    wrong: Ints
    greatest: Ints

    def all(self) -> Cases:
        return Cases(len(self.wrong), self._finding)

    def _finding(self, number: int) -> Finding:
        versions, row = self.versions, int(self.wrong[number])
        before = int(self.greatest[row])
        begins = int(versions.begin[before]), int(versions.begin[row])
        history, told = versions.history, self.told
        does = "wrote" if versions.write[row] else "read"
        older, newer = (self._version(one) for one in (row, before))
        end = int(history.pair[begins[1]])
        key = history.values.get(end)[0] if versions.keyed else None
        return told.finding(
            NAMES[self.guarantee],
            f"c{history.process[end]} {does} {older}, though it {SAID[self.guarantee]} {newer}",
            (
                f"{told.words(begins[0])} came first: version {newer}",
                f"however, {told.words(begins[1])} came after it in the same session, with the "
                f"older version {older}: a contradiction",
            ),
            begins,
            key,
        )

    def _version(self, row: int) -> Any:
        version = int(self.versions.version[row])
        return shown(None if version == OLDEST else version)
