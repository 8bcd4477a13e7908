"""Once everything is healed, everybody gets something done again.

Reads the phase marks of a run that was asked for it (`--liveness S`): `heal`, `liveness` and
`final-reads`, each with what did not come about.

Anomalies:
    stuck       somebody still waited when the time for it was over

Blind to: what nobody tried; how long recovery took within its limit.
Cost: linear in the marks.
Source: TigerBeetle's VOPR (liveness mode).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.guarantees import Contract
from harness.history import History
from harness.op import Op
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

PHASES = ("heal", "liveness", "final-reads")


def check(history: History, contract: Contract) -> Verdict:
    """A finding for each phase after the faults that did not come to its end."""
    found = [finding for mark in _ends(history) if (finding := _finding(history, mark))]
    counts = {"stuck": len(found)} if found else {}
    return Verdict.of(found[:EXAMPLES_MAX], counts=counts)


def _ends(history: History) -> Iterator[Op]:
    """The mark at the end of each phase."""
    for position in history.select(f="phase").tolist():
        mark = history[position]
        first = history.operation(position)[0] == position
        if first and mark.value in PHASES and (mark.extra or {}).get("at") == "end":
            yield mark


def _finding(history: History, mark: Op) -> Finding | None:
    extra = mark.extra or {}
    stuck = [str(each) for each in extra.get("stuck", ())]
    if extra.get("error"):
        stuck.append(str(extra["error"]))
    if extra.get("complete") or not stuck:
        return None  # it came to its end, or was interrupted
    more = f", and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    return Finding(
        anomaly="stuck",
        claim=stuck[0].partition("\n")[0] + more,
        because=(
            f"op {mark.index}: the phase {mark.value} was over at {mark.time / 1e9:.3f} s, "
            "with every fault healed",
            *stuck,
            *_told(extra.get("view")),
            "however, everybody must get something done once nothing is broken: a contradiction",
        ),
        witness=history.operation(mark.index),
        key=str(mark.value),
        span=(0, mark.time),
    )


def _told(view: Any) -> Iterator[str]:
    """What the system said of itself."""
    if not isinstance(view, Mapping):
        return
    yield f"the system tells that {view.get('controller') or 'nobody'} is its controller"
    states, leads = view.get("states") or {}, view.get("leads") or {}
    for node in sorted(states):
        yield f"    {node} is {states[node]} and leads {leads.get(node, 0)} partitions"
