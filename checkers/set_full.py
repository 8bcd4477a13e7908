"""What was added to a set stays in it: every read that comes late enough has it, once.

Reads `add` and `read` (of the whole set), with values, or `[key, value]` and `[key, [value, …]]`.
An element is *known* once an add of it, or a read that has it, has ended. A set that is read once,
at the end, is judged as well. Whether a set is *linearizable* is another question, which
`linearizable/sets.py` answers (workload `set`); it says nothing of duplicates and latencies.

Anomalies:
    lost          an element was known; a read that began later lacks it, and none read it again
    stale-read    the same, but a read that ended later has it: legal unless `-o linearizable=true`
    duplicate     a read has an element twice
    phantom       a read has an element that nobody tried to add
    G1a           a read has an element of which every add failed
    future-read   a read had ended with an element before anybody began to add it

Blind to: the removal of elements; two reads at once of which each lacks what the other one has. An
    element that was added and that nobody tried to read later is *never-read*: counted, and no
    anomaly. Where a read that lacks an element and one that has it overlap, the latter may have
    come last, so nothing is lost (Jepsen goes by their begins). One that is lost may still be found
    by a read that comes later, and was only stale then.
Cost: sorting what was read, about 0.2 µs an element, and 1 µs where they are no integers.
Source: jepsen.checker/set-full and jepsen.checker/set.

Numbers: `stable-latencies-ms` and `lost-latencies-ms`, as quantiles: how long after it was known an
element was last missing, or, if it is lost, last there. 0 is at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from checkers.linearizable.values import Bools, Ints
from checkers.presence import NEVER, Presence
from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.transactions import shown
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = ("lost", "stale-read", "duplicate", "phantom", "G1a", "future-read")

QUANTILES = (0, 0.5, 0.95, 0.99, 1)
WORST_MAX = 8
"""Elements that were missing longest, of which the numbers speak one by one."""


@knows(("add", "read"))
def check(history: History, contract: Contract) -> Verdict:
    """Every element that is not where it should be."""
    whole = Presence(history)
    keyed = whole.found.keyed

    def detect(told: Told) -> Mapping[str, Cases]:
        part = whole if told.history is history else Presence(told.history, keyed)
        return _Cases(told, part).all()

    return judged(
        history,
        detect,
        doubts=_doubts(whole),
        stats=_stats(whole),
    )


def _doubts(told: Presence) -> list[str]:
    doubts = list(told.found.doubts())
    if not told.reads:
        doubts.append("nobody read the set")
    elif not told.tried.any():
        doubts.append("nobody added anything")
    elif not (told.tried & told.seen).any():
        doubts.append("no read has any element that was added: this says nothing of what was kept")
    return doubts


class _Cases:
    """What is wrong with the sets of a history, or of a part of one."""

    def __init__(self, words: Told, told: Presence) -> None:
        self.words, self.told = words, told

    def all(self) -> Mapping[str, Cases]:
        """By anomaly, in the order in which they were seen."""
        told = self.told
        nowhere, lost, missed = told.seen & ~told.tried, told.lost, told.missed
        refused = told.refused < NEVER
        found = {
            "lost": self._cases(lost, told.absent, self._lost),
            "stale-read": self._cases(missed & ~lost, told.absent, self._stale),
            "duplicate": self._cases(told.repeated < NEVER, told.repeated, self._twice),
            "phantom": self._cases(nowhere & ~refused, told.first_end, self._phantom),
            "G1a": self._cases(nowhere & refused, told.first_end, self._refused),
            "future-read": self._cases(told.early, told.first_end, self._future),
        }
        return {name: some for name, some in found.items() if some.count}

    def _cases(self, chosen: Bools, by: Ints, make: Callable[[int], Finding]) -> Cases:
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(by[rows], kind="stable")]
        return Cases(len(rows), lambda number: make(int(rows[number])))

    # -- arguments ---------------------------------------------------------------------------------

    def _lost(self, row: int) -> Finding:
        begins, because, who, value = self._missed(row)
        return self._finding(
            "lost",
            row,
            f"{value} was there, and {who} lacks it; nobody read it again",
            (*because, "however, no read that ended later has it: a contradiction"),
            begins,
        )

    def _stale(self, row: int) -> Finding:
        begins, because, who, value = self._missed(row)
        last = self.told.begin(int(self.told.last_end[row]))
        return self._finding(
            "stale-read",
            row,
            f"{value} was there, and {who} lacks it",
            (
                *because,
                f"{self.words.words(last)} ended later, and has {value}: so it is not lost",
                f"however, it was there before {who} began: a contradiction",
            ),
            (*begins, last),
        )

    def _missed(self, row: int) -> tuple[list[int], list[str], str, str]:
        """Operations and sentences that show that a read lacks what was known; the read's and the
        element's name."""
        told, words, value = self.told, self.words, self._value(row)
        absent = int(told.absent[row])
        who = f"a read of c{words.history.process[absent]}"
        end = int(told.add_end[row])
        if end < absent:
            add = told.begin(end)
            begins = [add, absent]
            because = [f"{words.words(add)} had ended at op {words.at(end)}"]
        else:
            end, add = int(told.first_end[row]), int(told.add_begin[row])
            begins = [add, told.begin(end), absent]
            because = [
                f"{words.words(add)} began at op {words.at(add)}",
                f"{words.words(told.begin(end))} has {value}, and had ended at op {words.at(end)}",
            ]
        at = words.at(absent)
        because.append(f"{words.words(absent)} began later, at op {at}: it lacks {value}")
        return begins, because, who, value

    def _twice(self, row: int) -> Finding:
        read, value = int(self.told.repeated[row]), self._value(row)
        return self._finding(
            "duplicate",
            row,
            f"a read of c{self.words.history.process[read]} has {value} more than once",
            (
                f"{self.words.words(read)} has {value} more than once",
                "however, a set has an element once: a contradiction",
            ),
            [read],
        )

    def _phantom(self, row: int) -> Finding:
        return self._nowhere("phantom", row, "nobody tried to add it", "no add of it is there", [])

    def _refused(self, row: int) -> Finding:
        add = int(self.told.refused[row])
        failed = f"{self.words.words(add)} did not take place"
        return self._nowhere("G1a", row, "its add failed", failed, [add])

    def _future(self, row: int) -> Finding:
        add = int(self.told.add_begin[row])
        later = f"its first add began later, at op {self.words.at(add)}"
        return self._nowhere("future-read", row, "nobody had begun to add it", later, [add])

    def _nowhere(self, name: str, row: int, why: str, but: str, adds: list[int]) -> Finding:
        end, value = int(self.told.first_end[row]), self._value(row)
        read = self.told.begin(end)
        return self._finding(
            name,
            row,
            f"{value} was read, and {why}",
            (
                f"{self.words.words(read)} has {value}, and ended at op {self.words.at(end)}",
                f"however, {but}: a contradiction",
            ),
            [*adds, read],
        )

    def _finding(
        self, name: str, row: int, claim: str, because: Sequence[str], begins: Sequence[int]
    ) -> Finding:
        found = self.told.found
        key = found.shown(int(self.told.key[row])) if found.keyed else None
        return self.words.finding(name, claim, because, begins, key)

    def _value(self, row: int) -> str:
        return shown(self.told.found.shown(int(self.told.code[row])))


# -- numbers ---------------------------------------------------------------------------------------


def _stats(told: Presence) -> dict[str, Any]:
    lost, stable, missed = told.lost, told.stable, told.missed
    latencies = told.latencies()
    acknowledged = told.add_end < NEVER
    unread = acknowledged & ~stable & ~lost
    stats: dict[str, Any] = {
        "reads": told.reads,
        "attempted": int((told.tried | (told.refused < NEVER)).sum()),
        "acknowledged": int(acknowledged.sum()),
        "stable": int(stable.sum()),
        "stale": int((stable & missed).sum()),
        "lost": int(lost.sum()),
        "recovered": int((stable & ~acknowledged).sum()),
        "never-read": int(unread.sum()),
        "stable-latencies-ms": _quantiles(latencies[stable]),
        "lost-latencies-ms": _quantiles(latencies[lost]),
        "worst-stale": _worst(told, np.flatnonzero(stable & missed), latencies),
    }
    if unread.any():
        first = shown(told.found.shown(int(told.code[np.flatnonzero(unread)[0]])))
        stats["note"] = (
            f"{int(unread.sum())} acknowledged elements are never-read, such as {first}: no read "
            "began after they were added"
        )
    return stats


def _worst(told: Presence, stale: Ints, latencies: Ints) -> list[dict[str, Any]]:
    worst = stale[np.argsort(-latencies[stale], kind="stable")][:WORST_MAX].tolist()
    return [
        {"element": told.found.shown(int(told.code[row])), "ms": float(latencies[row]) / 1e6}
        for row in worst
    ]


def _quantiles(latencies: Ints) -> dict[str, float]:
    if not len(latencies):
        return {}
    found = np.quantile(latencies, QUANTILES, method="inverted_cdf") / 1e6
    return {str(which): float(ms) for which, ms in zip(QUANTILES, found, strict=True)}
