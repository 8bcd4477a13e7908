"""No id is given out twice.

Reads `generate`, which returns an id: any JSON but null.

Anomalies:
    duplicate     an id was given out more than once

Blind to: an id that nobody was told, since its `generate` is in doubt.
Cost: a sort of the ids, about 0.2 µs each; 5 µs each where they are lists or objects.
Source: jepsen.checker/unique-ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from checkers.codes import Codes
from checkers.linearizable.values import Ints, begins
from checkers.told import Told, judged
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.columns import NULL, is_integer
from harness.guarantees import Contract
from harness.history import History
from harness.op import OK
from harness.verdict import Finding, Verdict

ANOMALIES = ("duplicate",)

F = "generate"


def check(history: History, contract: Contract) -> Verdict:
    """Every id that was given out more than once."""
    given = _Given(history)
    doubts = []
    if given.nulls:
        doubts.append(f"{given.nulls} ids are null, and were left out")
    if not len(given.id):
        doubts.append("nobody was given an id")
    return judged(history, _cases, doubts=doubts, stats=_stats(given))


class _Given:
    """Ids that were given out, and to whom.

    Attributes:
        attempted: how many were asked for.
        begin, end: of each `generate` that returned one, by id and then by end.
        id: codes. nulls: how many ids were null.
        first: the row with which each distinct id begins. often: how often it was given out.
    """

    def __init__(self, history: History) -> None:
        self.codes = Codes(history, keyed=False)
        begin = begins(history, F)
        self.attempted = len(begin)
        pair = history.pair[begin]
        told = (pair >= 0) & (history.type[pair] == OK)
        begin, end = begin[told], pair[told].astype(np.int64)
        _, code, _ = self.codes.of(end)
        some = code != NULL
        self.nulls = int((~some).sum())
        begin, end, code = begin[some], end[some], code[some]
        order = np.lexsort((end, code))
        self.begin, self.end, self.id = begin[order], end[order], code[order]
        new = np.ones(len(code), np.bool_)
        new[1:] = self.id[1:] != self.id[:-1]
        self.first: Ints = np.flatnonzero(new)
        self.often: Ints = np.diff(np.append(self.first, len(code)))


def _cases(told: Told) -> Mapping[str, Cases]:
    given = _Given(told.history)
    twice = given.first[given.often > 1]
    twice = twice[np.argsort(given.end[twice + 1])]
    return {"duplicate": Cases(len(twice), lambda number: _twice(told, given, int(twice[number])))}


def _twice(told: Told, given: _Given, row: int) -> Finding:
    one, other = given.begin[row : row + 2].tolist()
    name = shown(given.codes.decode(int(given.id[row])))
    process = told.history.process
    return told.finding(
        "duplicate",
        f"{name} was given out more than once: to c{process[one]} and to c{process[other]}",
        (
            f"{told.words(one)} gave it out",
            f"{told.words(other)} gave it out, too",
            "however, an id is given out once: a contradiction",
        ),
        (one, other),
    )


def _stats(given: _Given) -> dict[str, Any]:
    stats: dict[str, Any] = {
        "attempted": given.attempted,
        "acknowledged": len(given.id),
        "distinct": len(given.first),
    }
    if given.often.max(initial=0) > 1:
        row = int(np.argmax(given.often))
        stats["most often"] = [
            given.codes.decode(int(given.id[given.first[row]])),
            int(given.often[row]),
        ]
    numbers = given.id[is_integer(given.id)]
    if len(numbers):
        stats["range"] = [int(numbers.min()), int(numbers.max())]
    return stats
