"""How like a run of the past its replay on a real cluster was: what was asked, when, and what came.

The tape of a run can be played anywhere, but real processes take their own time. So it is told how
late the operations and faults were, which of them never came, and what came of them other than
before. Called by `assay replay`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.history import History
from harness.op import Kind
from harness.spells import MARKS, operations
from harness.tape import Event, Tape

MS = 1_000_000

Counts = Mapping[str, tuple[int, int]]
"""What there was → how often, then and now."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What two runs have in common.

    Attributes:
        events: how many the tape has. asked: how many of them came.
        late_ms: how much later each operation of the clients came than then, ascending; negative
            for earlier. faults_late_ms: the same of the faults.
        faults: outcomes of faults. outcomes: how the clients' operations ended. anomalies: what was
            found; each as often as then, and now.
    """

    events: int
    asked: int
    late_ms: Sequence[float]
    faults_late_ms: Sequence[float]
    faults: Counts
    outcomes: Counts
    anomalies: Counts

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "asked": self.asked,
            "late ms": _summed(self.late_ms),
            "faults late ms": _summed(self.faults_late_ms),
            "faults": self.faults,
            "outcomes": self.outcomes,
            "anomalies": self.anomalies,
        }

    def lines(self) -> list[str]:
        """For a person: of the counts only what differs."""
        asked = "all" if self.asked == self.events else f"{self.asked} of"
        late, faults = _summed(self.late_ms), _summed(self.faults_late_ms)
        told = [
            f"asked:   {asked} {self.events} operations and faults",
            f"late:    operations {late['median']} ms in the median and {late['max']} ms at most, "
            f"faults {faults['median']} and {faults['max']} ms",
        ]
        for name, counts in (
            ("ended:  ", self.outcomes),
            ("faults: ", self.faults),
            ("found:  ", self.anomalies),
        ):
            same = "as then" if counts else "nothing, as then"
            told.append(f"{name} {_changes(counts) or same}")
        return told


def _summed(late_ms: Sequence[float]) -> dict[str, float]:
    if not late_ms:
        return {"median": 0.0, "max": 0.0}
    return {"median": round(median(late_ms), 1), "max": round(late_ms[-1], 1)}


def _changes(counts: Counts) -> str:
    return ", ".join(f"{what} {a} → {b}" for what, (a, b) in counts.items() if a != b)


def compare(
    tape: Tape,
    before: History,
    after: History,
    concurrency: int,
    found: tuple[Mapping[str, int], Mapping[str, int]],
) -> Likeness:
    """Args: found: anomalies by name, of then and now."""
    played = Tape.of(after, concurrency)
    late, faults_late = _late_ms(tape.clients, played), _late_ms(tape.faults, played)
    return Likeness(
        events=len(tape.events),
        asked=len(late) + len(faults_late),
        late_ms=late,
        faults_late_ms=faults_late,
        faults=_both(_faults(before), _faults(after)),
        outcomes=_both(_outcomes(before, tape), _outcomes(after, played)),
        anomalies=_both(*found),
    )


def _late_ms(events: Sequence[Event], played: Tape) -> list[float]:
    """Of each that came: a thread says what it has to say in the tape's order."""
    own: dict[int, list[Event]] = defaultdict(list)
    for event in played.events:
        own[event.thread].append(event)
    nth: Counter[int] = Counter()
    late = []
    for event in events:
        came = own[event.thread][nth[event.thread] :][:1]
        if came and came[0].f == event.f:
            late.append((came[0].time - event.time) / MS)
            nth[event.thread] += 1
    return sorted(late)


def _outcomes(history: History, tape: Tape) -> Counter[str]:
    """How the operations of the main phase ended, by what they were."""
    left = len(tape.clients)
    counted: Counter[str] = Counter()
    for position in history.select(type=Kind.INVOKE).tolist():
        if int(history.process[position]) < 0 or left == 0:
            continue
        left -= 1
        pair = int(history.pair[position])
        kind = history[pair].type.value if pair >= 0 else "open"
        counted[f"{history[position].f} {kind}"] += 1
    return counted


def _faults(history: History) -> Counter[str]:
    counted: Counter[str] = Counter()
    for begun, ended in operations(history):
        if begun.f not in (*MARKS, "crash"):
            effect = (ended.extra or {}).get("effect") if ended is not None else None
            told = effect.get("outcome") if isinstance(effect, Mapping) else "unknown"
            counted[f"{begun.f} {told}"] += 1
        elif begun.f == "crash":
            counted["crash"] += 1
    return counted


def _both(before: Mapping[str, int], after: Mapping[str, int]) -> Counts:
    return {name: (before.get(name, 0), after.get(name, 0)) for name in sorted({*before, *after})}
