"""Words for transactions over registers: what each read and wrote, and why one comes first."""

from __future__ import annotations

import numpy as np

from checkers import txn_words
from checkers.cycles import RW, WR, WW
from checkers.rw_register_versions import INITIAL, OWN, SEQUENTIAL, TOLD, WFR, Registers
from checkers.txn_words import Reason
from harness.op import OK

Met = tuple[int, int]
"""A transaction, and a version that it read or wrote."""


class Words(txn_words.Words):
    """Words for registers."""

    def __init__(self, v: Registers, *txns: int) -> None:
        super().__init__(v.t, v.index, txns)
        self.v = v

    def value(self, version: int) -> str:
        return self.t.value(int(self.v.v_value[version]))

    def key(self, version: int) -> str:
        return self.t.name(int(self.v.v_key[version]))

    def took(self, txn: int) -> str:
        """Who shows that the transaction took place, where its outcome is unknown."""
        reader = self.v.proof(txn)
        return "" if reader < 0 else f" (it took place: {self.name(reader)} read it)"

    def writer(self, version: int) -> str:
        """Who wrote the version."""
        writer = int(self.v.writer[version])
        return "" if writer < 0 else f" (by {self.name(writer)}{self.took(writer)})"

    def of_data(self, source: int, kind: int, target: int) -> Reason:
        if kind == WR:
            return self._wr(source, target)
        assert kind in (WW, RW)
        before, rule, after = _ordered(self.v, source, kind, target)
        value, key, later = self.value(before), self.key(before), self.value(after)
        first, second = self.name(source), f"{self.name(target)} wrote"
        if kind == WW:
            one = f"{first} wrote {value} to {key}{self.took(source)}, and {second} {later} over it"
        else:
            one = f"{first} read {value} of {key}{self.writer(before)}, and not yet the {later} "
            one += f"that {second} over it"
        one += self.took(target)
        said, shown = self.rule(before, rule, after)
        met = [(source, before), (target, after), *self._writes(before), *shown]
        met += self._proofs(source) + self._proofs(target)
        return self._reason(f"{one}: {said}", (before, after), met)

    def _wr(self, source: int, target: int) -> Reason:
        version = _seen(self.v, source, target)
        why = (
            f"{self.name(source)} wrote {self.value(version)} to {self.key(version)}, "
            f"and {self.name(target)} read it"
        )
        return self._reason(why, (version,), [(source, version), (target, version)])

    def rule(self, before: int, kind: int, after: int) -> tuple[str, list[Met]]:
        """Why a version comes before another, and who shows it."""
        v = self.v
        one, other = self.value(before), self.value(after)
        if kind == INITIAL:
            return "null is what was there before anybody wrote it", []
        if kind in (OWN, WFR):
            did = "wrote" if kind == OWN else "read"
            writer = int(v.writer[after])
            said = f"{self.name(writer)} {did} {one} and then wrote {other}"
            return said, [(writer, before), (writer, after)]
        if kind == TOLD:
            end, begin = (int(v.writer[version]) for version in (before, after))
            said = (
                f"the database says that {self.name(end)}, who wrote {one}, took place by {v.by} "
                f"{v.numbers[end]}, and {self.name(begin)}, who wrote {other}, by "
                f"{v.numbers[begin]}"
            )
        elif kind == SEQUENTIAL:
            end, begin = _in_a_row(v, before, after)
            said = (
                f"process {v.t.process[end]} met {one} in {self.name(end)} and then {other} in "
                f"{self.name(begin)}, and a process meets versions in their order"
            )
        else:
            end, begin = _apart(v, before, after)
            said = (
                f"{self.name(end)}, who met {one}, had ended before {self.name(begin)} began, "
                f"who met {other}"
            )
        return said, [(end, before), (begin, after)]

    def _writes(self, version: int) -> list[Met]:
        """The write of a version that `writer` speaks of, and what it says of it."""
        writer = int(self.v.writer[version])
        return [] if writer < 0 else [(writer, version), *self._proofs(writer)]

    def _proofs(self, txn: int) -> list[Met]:
        """What `took` speaks of."""
        v = self.v
        reader = v.proof(txn)
        if reader < 0:
            return []
        written = {int(v.w_version[write]) for write in v.writes_of(txn)}
        read = [int(v.r_version[read]) for read in v.reads_of(reader)]
        return [(reader, next(version for version in read if version in written))]

    def _reason(self, why: str, versions: tuple[int, ...], met: list[Met]) -> Reason:
        v = self.v
        values = tuple(int(v.v_value[version]) for version in versions)
        mops = dict.fromkeys(_row(v, txn, version) for txn, version in met)
        return Reason(why, int(v.v_key[versions[0]]), values, tuple(mops))


# -- what an edge is made of ---------------------------------------------------------------------


def _row(v: Registers, txn: int, version: int) -> int:
    """The micro-operation in which a transaction met a version."""
    return next(row for row in v.t.mops(txn) if v.version_of_mop[row] == version)


def _seen(v: Registers, source: int, target: int) -> int:
    """The version that the one wrote and the other read: wr."""
    for read in v.reads_of(target):
        at = int(v.r_version[read])
        if v.outer[read] and v.writer[at] == source:
            return at
    raise AssertionError("a wr edge has a reason")


def _ordered(v: Registers, source: int, kind: int, target: int) -> tuple[int, int, int]:
    """A version that the one wrote or read, a later one that the other wrote, and the rule between
    them: ww or rw."""
    if kind == WW:
        mine = {int(v.w_version[write]) for write in v.writes_of(source)}
    else:
        mine = {int(v.r_version[read]) for read in v.reads_of(source) if v.outer[read]}
    for write in v.writes_of(target):
        after = int(v.w_version[write])
        for edge in np.flatnonzero(v.order.target == after).tolist():
            before = int(v.order.source[edge])
            if before in mine:
                return before, int(v.order.kind[edge]), after
    raise AssertionError("an edge has a reason")


def _in_a_row(v: Registers, before: int, after: int) -> tuple[int, int]:
    """Two transactions of a process, one that met the one version last, and one the other first."""
    _, txn, first, last = v.touches
    begins = txn[np.flatnonzero(first == after)]
    for end in txn[np.flatnonzero(last == before)].tolist():
        later = begins[(v.t.process[begins] == v.t.process[end]) & (begins > end)]
        if len(later):
            return end, int(later[0])
    raise AssertionError("a sequential order has a reason")


def _apart(v: Registers, before: int, after: int) -> tuple[int, int]:
    """Two such transactions of which the first had ended before the other began."""
    _, txn, first, last = v.touches
    ends, begins = txn[np.flatnonzero(last == before)], txn[np.flatnonzero(first == after)]
    done = ends[v.t.status[ends] == OK]
    end, begin = int(done[np.argmin(v.t.end[done])]), int(begins[np.argmax(v.t.begin[begins])])
    return end, begin
