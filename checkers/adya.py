"""Of two inserts that each make sure that the other is not there, one takes place at most (G2).

Reads `insert` of `[key, row]`, as Jepsen's `[key, [a, b]]` with the one or the other null: a
transaction looks for rows of the key, in both tables, and inserts its own only if there is none.

Anomalies:
    G2          two inserts of one key took place: neither transaction saw the other's row

Blind to: an insert in doubt, which nobody can tell to have taken place; rows that were deleted in
    between: a workload that deletes is not this one.
Cost: a sort of the inserts.
Source: A. Adya, "Weak Consistency" (1999), phenomenon G2 with predicates; Jepsen's `adya` tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.transactions import Ints, shown
from checkers.txn_cases import Cases
from harness.columns import PAIR
from harness.cycle import Cycle, Step
from harness.guarantees import Contract
from harness.history import History
from harness.op import OK
from harness.verdict import Finding, Verdict

ANOMALIES = ("G2",)


@knows(("insert", "read"))
def check(history: History, contract: Contract) -> Verdict:
    """Of two inserts that each make sure that the other is not there, one takes place at most."""
    begin, key, _, odd = _inserts(history)
    doubts = []
    if not len(begin) and not odd:
        doubts.append("nobody inserted anything: there is no OK insert of [key, row]")
    if odd:
        doubts.append(f"{odd} inserts are not of [key, row], and were left out")
    stats = {"inserts": len(begin), "keys": len(np.unique(key))}
    return judged(history, _cases, doubts=doubts, stats=stats)


def _cases(told: Told) -> Mapping[str, Cases]:
    begin, key, names, _ = _inserts(told.history)
    order = np.argsort(key, kind="stable")
    begin, key = begin[order], key[order]
    first = np.flatnonzero(np.append(True, key[1:] != key[:-1])[: len(key)])
    count = np.diff(np.append(first, len(key)))
    some = first[count > 1]

    def make(number: int) -> Finding:
        at = int(some[number])
        return _finding(told, names[int(key[at])], int(begin[at]), int(begin[at + 1]))

    return {"G2": Cases(len(some), make)}


def _finding(told: Told, key: Any, one: int, other: int) -> Finding:
    claim = "two inserts took place, each only if nothing was there"
    cycle = Cycle(
        (told.transaction("T1", one), told.transaction("T2", other)),
        tuple(_missed(key, *pair) for pair in ((0, 1), (1, 0))),
    )
    return told.finding("G2", claim, cycle.sentences(), (one, other), key, cycle)


def _missed(key: Any, source: int, target: int) -> Step:
    """That one insert did not see the other, by their places."""
    why = (
        f"T{source + 1} took place: it found no row of key {shown(key)}, and so not the one "
        f"that T{target + 1} inserted"
    )
    return Step(source, target, "rw", why, key, (), ((source, 0), (target, 0)))


def _inserts(history: History) -> tuple[Ints, Ints, dict[int, Any], int]:
    """Begin and key of each insert that took place, the keys by their codes, and how many inserts
    are of another shape."""
    end = history.select(f="insert")
    end = end[(history.type[end] == OK) & (history.process[end] >= 0)]
    values = history.values
    key = np.zeros(len(end), np.int64)
    plain = values.shape[end] == PAIR
    key[plain] = values.pair[values.row[end[plain]], 0]
    names: dict[int, Any] = {int(code): values.decode(int(code)) for code in np.unique(key[plain])}
    codes: dict[str, int] = {json.dumps(name): code for code, name in names.items()}
    free, odd = max(names, default=0) + 1, np.zeros(len(end), np.bool_)
    for at in np.flatnonzero(~plain).tolist():
        value = values.get(int(end[at]))
        if not isinstance(value, list) or len(value) != 2:
            odd[at] = True
            continue
        code = codes.setdefault(json.dumps(value[0]), free + len(codes))
        key[at], names[code] = code, value[0]
    return history.pair[end[~odd]].astype(np.int64), key[~odd], names, int(odd.sum())
