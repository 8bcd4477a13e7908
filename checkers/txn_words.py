"""Words for transactions: their names in a finding, what they did, and why one comes first.

In a finding transactions are T1, T2, … in the order in which they are first spoken of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from checkers.cycles import PROCESS, REALTIME
from checkers.smallest import span
from checkers.transactions import Ints, Transactions, shown
from harness.columns import LIST, MISSING, NULL, VALUE
from harness.cycle import Cycle, Transaction
from harness.op import FAIL, INFO, OK
from harness.verdict import Finding

VALUE_CHARS_MAX = 48
"""Of a value in words, and of a list beyond one element: with them, a box of a drawing is full."""

MOPS_MAX = 12
"""Micro-operations of a transaction that are told, beside those that show something."""

EARLIER_MAX = 5
"""Micro-operations before another one that are told."""

_OUTCOMES = {OK: "ok", FAIL: "fail", INFO: "info"}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a transaction comes before another.

    Attributes:
        why: in words, from what follows.
        key: row of `Transactions.keys`; of data only.
        values: codes of versions, the earlier one first.
        mops: rows of the micro-operations of `Transactions` that show it.
    """

    why: str
    key: int = -1
    values: tuple[int, ...] = ()
    mops: tuple[int, ...] = ()


class Words:
    """Names of transactions, and the finding that speaks of them.

    Args:
        index: the events' indices in the whole history, if `t` is of a part of one.
    """

    def __init__(self, t: Transactions, index: Ints | None, txns: Iterable[int] = ()) -> None:
        self.t, self.index = t, index
        self.names: dict[int, str] = {}
        for txn in txns:
            self.name(txn)

    def name(self, txn: int) -> str:
        return self.names.setdefault(txn, f"T{len(self.names) + 1}")

    def reason(self, source: int, kind: int, target: int) -> Reason:
        """Why a transaction comes before another; names whoever shows it."""
        one, other = self.name(source), self.name(target)
        if kind == PROCESS:
            return Reason(f"process {self.t.process[source]} did {one} first, and then {other}")
        if kind == REALTIME:
            end, begin = self.at(int(self.t.end[source])), self.at(int(self.t.begin[target]))
            return Reason(f"{one} had ended, at op {end}, before {other} began, at op {begin}")
        return self.of_data(source, kind, target)

    def of_data(self, source: int, kind: int, target: int) -> Reason:
        """The same, of ww, wr and rw: what both did with a key."""
        raise NotImplementedError

    def at(self, position: int) -> int:
        """The event's index in the whole history."""
        return position if self.index is None else int(self.index[position])

    def mop(self, row: int, about: Collection[int] = ()) -> str:
        """A micro-operation in short.

        Args:
            about: codes of the values that matter, of a list that is too long to be shown whole.
        """
        t, micro = self.t, self.t.history.values.micro
        f, form = micro.fs[t.f[row]], micro.mop_form[t.mop[row]]
        if int(t.keys[t.key[row]]) == MISSING:
            return shown(f)
        key = t.name(int(t.key[row]))
        if f == "r" and t.status[t.txn[row]] != OK:
            return f"read {key}"
        said = self.list(row, about) if form == LIST else self._single(row)
        forms = {"r": f"read {key}: {said}", "w": f"write {said} to {key}"}
        return {**forms, "append": f"append {said} to {key}"}.get(f, f"{f} {key}: {said}")

    def earlier(self, row: int) -> str:
        """What its transaction had done with the key before, the last of it."""
        said: list[str] = []
        before = int(self.t.before[row])
        while before >= 0 and len(said) < EARLIER_MAX:
            said.append(self.mop(before))
            before = int(self.t.before[before])
        return "; ".join(["…"] * (before >= 0) + said[::-1])

    def list(self, row: int, about: Collection[int] = ()) -> str:
        """What a micro-operation read, as a list; of a long one, the part with these values, or
        the end, which tells what was there last."""
        t, micro = self.t, self.t.history.values.micro
        mop = int(t.mop[row])
        codes = micro.entry_value[micro.entry_start[mop] : micro.entry_start[mop + 1]]
        if micro.mop_form[mop] == VALUE and codes[0] == NULL:
            return "null"
        found = np.flatnonzero(np.isin(codes, list(about)))
        end = int(found[-1]) + 1 if len(found) else len(codes)
        first = end
        words: list[str] = []
        chars = 0
        while first and (not words or chars < VALUE_CHARS_MAX):
            first -= 1
            words.append(shown(t.history.values.decode(int(codes[first])), VALUE_CHARS_MAX))
            chars += len(words[-1]) + 2
        before, after = ["…"] * (first > 0), ["…"] * (end < len(codes))
        return f"[{', '.join([*before, *words[::-1], *after])}]"

    def _single(self, row: int) -> str:
        micro = self.t.history.values.micro
        code = int(micro.entry_value[micro.entry_start[self.t.mop[row]]])
        return shown(self.t.history.values.decode(code), VALUE_CHARS_MAX)

    def transaction(self, txn: int, about: dict[int, set[int]] | None = None) -> Transaction:
        """What a transaction is and did.

        Args:
            about: by row, micro-operations that show something, and the values that matter there.
        """
        about = about or {}
        t = self.t
        rows = t.mops(txn)
        told = [row for row in rows if row in about]
        told += [row for row in rows if row not in about][: max(MOPS_MAX - len(told), 0)]
        mops = {row - rows.start: self.mop(row, about.get(row, ())) for row in sorted(told)}
        return Transaction(
            self.name(txn),
            tuple(map(self.at, t.events(txn))),
            int(t.process[txn]),
            _OUTCOMES[int(t.status[txn])],
            mops,
            len(rows),
        )

    def finding(
        self, anomaly: str, claim: str, because: Sequence[str], *, key: int | None = None
    ) -> Finding:
        """A finding about the transactions that have a name by now."""
        told = [self.transaction(txn).said() for txn in self.names]
        name = None if key is None else self.t.history.values.decode(int(self.t.keys[key]))
        return self._found(Finding(anomaly, claim, (*told, *because), key=name))

    def circle(self, anomaly: str, claim: str, cycle: Cycle) -> Finding:
        """The finding of a cycle, all of whose transactions have a name by now."""
        return self._found(Finding(anomaly, claim, cycle.sentences(), cycle=cycle))

    def _found(self, finding: Finding) -> Finding:
        witness = self.t.witness(self.names)
        return replace(finding, witness=witness, span=span(self.t.history, witness))
