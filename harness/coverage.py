"""What a run exercised: a verdict says little about a run in which nothing happened.

Counts, from the history alone: operations by phase; faults by kind, role of their target and
phase; for each fault, the operations in flight when it came and those acknowledged while it was
on; elections, from what the system said of itself at the end.

A run that is *vacuous* in some respect (no acknowledged write overlapped a fault, faults were
asked for and none took effect, …) gets a warning and keeps its verdict: what it says is true, but
little. Only a run in which no operation was acknowledged at all exercised nothing, so that its
verdict is unknown; see `Coverage.nothing`.

Reads the marks `phase` (with the nemesis' name) and `stats` that a run journals; histories of other
tools have neither, and are not warned of their absence. Cost: sorts the operations' times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.history import History
from harness.op import KINDS, Kind
from harness.spells import Spell, operations, spells

READS = frozenset({"poll", "read", "r", "assign", "subscribe", "list-offsets", "offsets-for-times"})
"""Operations that write nothing, in our workloads and Jepsen's."""

TELLING = frozenset({"txn", "dequeue", "drain", "pop", "delete-min", "generate"})
"""Operations that count as writes, and tell what there was as well."""

MOVERS = frozenset({"kill", "power-off", "pause", "partition"})
"""Faults that should move a leader somewhere in a run; bad links need not."""

SPELLS_MAX = 200
"""Faults listed one by one; the table by kind, role and phase counts all."""

OUTSIDE = "outside"
"""The phase of what lies in none."""

_NEVER = 2**63 - 1
_ROLES_OF_LINKS = {True: "links between nodes", False: "links to clients"}


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the run, complete unless it was interrupted or could not do all it should."""

    name: str
    begin: int
    end: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Exposure:
    """A fault, and the clients' operations that it met.

    Attributes:
        in_flight: operations that were going on while it was applied.
        writes, reads: acknowledged operations that overlapped it; failed, unknown: the others.
    """

    spell: Spell
    phase: str
    in_flight: int
    writes: int
    reads: int
    failed: int
    unknown: int

    @property
    def role(self) -> str:
        """What was hit, as far as the run knew."""
        if self.spell.roles:
            return "+".join(self.spell.roles)
        if self.spell.links:
            return _ROLES_OF_LINKS[self.spell.between_nodes]
        return "node" if self.spell.node else "unknown"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a history exercised.

    Attributes:
        operations: phase → f → {"ok", "fail", "info"} → how many; by when they were completed.
        skipped: f of the nemesis → how often it did not apply.
        system: what the system counted during the run (elections, …).
        nothing: whether no operation was acknowledged, so that the run says nothing at all.
    """

    phases: Sequence[Phase]
    operations: Mapping[str, Mapping[str, Mapping[str, int]]]
    faults: Sequence[Exposure]
    skipped: Mapping[str, int]
    system: Mapping[str, Any]
    warnings: Sequence[str]
    nothing: bool

    @property
    def cut_short(self) -> list[Phase]:
        """Phases that did not complete. What final reads missed is the workload's to say."""
        return [p for p in self.phases if not p.complete and p.name != "final-reads"]

    def to_json(self) -> dict[str, Any]:
        """JSON only; times in seconds."""
        return {
            "warnings": list(self.warnings),
            "phases": [
                {
                    "phase": phase.name,
                    "from s": _seconds(phase.begin),
                    "to s": _seconds(phase.end),
                    "complete": phase.complete,
                }
                for phase in self.phases
            ],
            "operations": self.operations,
            "faults": _table(self.faults),
            "skipped": dict(self.skipped),
            "each fault": [_row(exposure) for exposure in self.faults[:SPELLS_MAX]],
            "system": dict(self.system),
        }


def coverage(history: History, reads: frozenset[str] = frozenset()) -> Coverage:
    """What the history exercised; `reads` are further operations that write nothing."""
    reads = READS | reads
    phases = _phases(history)
    times = _Times(history, reads)
    faults = [times.exposure(spell, _phase_at(phases, spell.begin)) for spell in spells(history)]
    skipped = _skipped(history)
    system = _system(history)
    acknowledged = {name: len(of.begins) for name, of in times.by_fate.items()}
    telling = history.select(f=TELLING, type=Kind.OK)
    acknowledged["looked"] = len(telling) or acknowledged["read"]
    nothing = not acknowledged["write"] and not acknowledged["read"]
    warnings = _warnings(faults, skipped, system, acknowledged, _nemesis(history))
    counted = _operations(history, phases)
    return Coverage(phases, counted, faults, skipped, system, warnings, nothing)


# -- operations ----------------------------------------------------------------------------------


class _Intervals:
    """Intervals, counted by where they lie."""

    def __init__(self, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.begins, self.ends = np.sort(begins), np.sort(ends)

    def overlapping(self, begin: int, end: int) -> int:
        """How many have a moment in [begin, end]: they begin before its end and end after its
        beginning, and whoever ends before its beginning also begins before its end."""
        begun = np.searchsorted(self.begins, end, "right")
        return int(begun - np.searchsorted(self.ends, begin, "left"))


class _Times:
    """The clients' operations as intervals, by what became of them."""

    def __init__(self, history: History, reads: frozenset[str]) -> None:
        begun = np.flatnonzero((history.type == 0) & (history.process >= 0))
        pair = history.pair[begun]
        ended = pair >= 0
        begins = history.time[begun]
        ends = np.where(ended, history.time[pair], _NEVER)
        kind = np.where(ended, history.type[pair], KINDS.index(Kind.INFO))
        is_read = np.isin(history.f[begun], [history.code(f) for f in reads])
        ok = kind == KINDS.index(Kind.OK)
        chosen = {
            "write": ok & ~is_read,
            "read": ok & is_read,
            "failed": kind == KINDS.index(Kind.FAIL),
            "unknown": kind == KINDS.index(Kind.INFO),
        }
        self.all = _Intervals(begins, ends)
        self.by_fate = {n: _Intervals(begins[mask], ends[mask]) for n, mask in chosen.items()}

    def exposure(self, spell: Spell, phase: str) -> Exposure:
        met = {n: of.overlapping(spell.begin, spell.end) for n, of in self.by_fate.items()}
        return Exposure(
            spell,
            phase,
            self.all.overlapping(spell.begin, spell.applied),
            met["write"],
            met["read"],
            met["failed"],
            met["unknown"],
        )


def _operations(history: History, phases: Sequence[Phase]) -> dict[str, dict[str, dict[str, int]]]:
    done = np.flatnonzero((history.type != 0) & (history.process >= 0))
    where = np.full(len(done), len(phases))
    for number, phase in enumerate(phases):
        within = (history.time[done] >= phase.begin) & (history.time[done] <= phase.end)
        where[within] = number
    names = [*(phase.name for phase in phases), OUTSIDE]
    # One number for phase, f and kind, since numbers are counted fast and rows are not.
    shape = (len(names), len(history.fs), len(KINDS))
    cell = np.ravel_multi_index((where, history.f[done], history.type[done]), shape)
    counts = np.bincount(cell, minlength=int(np.prod(shape))).reshape(shape)
    found: dict[str, dict[str, dict[str, int]]] = {}
    for number, f, kind in zip(*counts.nonzero(), strict=True):
        by_kind = found.setdefault(names[number], {}).setdefault(history.fs[f], {})
        by_kind[KINDS[kind].value] = by_kind.get(KINDS[kind].value, 0) + int(
            counts[number, f, kind]
        )
    return found


# -- what the run journaled ----------------------------------------------------------------------


def _phases(history: History) -> list[Phase]:
    last = int(history.time.max()) if len(history) else 0
    found: list[Phase] = []
    begun: dict[str, int] = {}
    for op, _ in operations(history):
        if op.f != "phase" or not isinstance(op.value, str):
            continue
        extra = op.extra or {}
        if extra.get("at") == "begin":
            begun[op.value] = op.time
        elif op.value in begun:
            complete = extra.get("complete") is True
            found.append(Phase(op.value, begun.pop(op.value), op.time, complete))
    found += [Phase(name, begin, last, False) for name, begin in begun.items()]
    return sorted(found, key=lambda phase: phase.begin)


def _phase_at(phases: Sequence[Phase], time: int) -> str:
    return next((p.name for p in phases if p.begin <= time <= p.end), OUTSIDE)


def _nemesis(history: History) -> str | None:
    """The nemesis that the run was told to use; None for none, or if nobody says."""
    for op, _ in operations(history):
        if op.f == "phase" and op.value == "main":
            name = (op.extra or {}).get("nemesis")
            return name if isinstance(name, str) and name != "none" else None
    return None


def _system(history: History) -> Mapping[str, Any]:
    marks = [op.value for op, _ in operations(history) if op.f == "stats"]
    return marks[-1] if marks and isinstance(marks[-1], Mapping) else {}


def _skipped(history: History) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for op, ended in operations(history):
        effect = ((ended.extra if ended is not None else None) or {}).get("effect")
        if isinstance(effect, Mapping) and effect.get("outcome") == "skipped":
            counted[op.f] += 1
    return dict(counted)


# -- warnings ------------------------------------------------------------------------------------


def _warnings(
    faults: Sequence[Exposure],
    skipped: Mapping[str, int],
    system: Mapping[str, Any],
    acknowledged: Mapping[str, int],
    nemesis: str | None,
) -> list[str]:
    warnings = []
    if not acknowledged["write"]:
        warnings.append("no write was acknowledged, so nothing could be lost")
    if not acknowledged["looked"]:
        warnings.append("no read was acknowledged, so nobody looked")
    planned = [exposure for exposure in faults if exposure.spell.kind != "crash"]
    if nemesis is not None and not planned:
        asked = sum(skipped.values())
        why = f"all {asked} of its operations were skipped" if asked else "the run was too short"
        warnings.append(f"nemesis {nemesis} was asked for, and no fault was applied: {why}")
    kinds = list(dict.fromkeys(exposure.spell.kind for exposure in planned))
    idle = [kind for kind in kinds if not any(e.writes for e in planned if e.spell.kind == kind)]
    if idle and len(idle) == len(kinds):
        warnings.append("no acknowledged write overlapped a fault")
    elif idle:
        warnings.append(f"no acknowledged write overlapped a fault of kind {', '.join(idle)}")
    if planned and not any(exposure.in_flight for exposure in planned):
        warnings.append("no operation was in flight when a fault came")
    moving = any(e.spell.acts_as in MOVERS and e.spell.between_nodes for e in planned)
    if moving and system.get("elections") == 0:
        warnings.append("no leader was elected during the run, in spite of its faults")
    return warnings


# -- shapes --------------------------------------------------------------------------------------


def _table(faults: Sequence[Exposure]) -> list[dict[str, Any]]:
    """By kind, role and phase."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for each in faults:
        key = (each.spell.kind, each.role, each.phase)
        row = rows.setdefault(
            key,
            {
                **dict(zip(("fault", "role", "phase"), key, strict=True)),
                **dict.fromkeys(("count", "in flight", "writes", "reads", "failed", "unknown"), 0),
            },
        )
        row["count"] += 1
        for name, number in _met(each).items():
            row[name] += number
    return list(rows.values())


def _met(each: Exposure) -> dict[str, int]:
    return {
        "in flight": each.in_flight,
        "writes": each.writes,
        "reads": each.reads,
        "failed": each.failed,
        "unknown": each.unknown,
    }


def _row(each: Exposure) -> dict[str, Any]:
    spell = each.spell
    return {
        "op": spell.position,
        "fault": spell.kind,
        "node": spell.node or "",
        "role": each.role,
        "phase": each.phase,
        "at s": _seconds(spell.begin),
        "lasted s": _seconds(spell.end - spell.begin),
        **_met(each),
    }


def _seconds(time_ns: int) -> float:
    return round(time_ns / 1e9, 3)
