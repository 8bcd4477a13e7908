"""Every fault of a run took effect, so that its verdict says something about faults.

Reads the effects that the nemesis' operations bring back: `extra.effect`, with its outcome
`observed` (applied, and a probe saw it), `unobserved` (applied, but the probe saw nothing),
`skipped` (it did not apply, such as pausing a dead node) or `failed` (applying it broke).

Anomalies: none; a fault is no property of the system. A fault that was applied and not observed,
or that could not be applied, makes a valid verdict unknown.

Blind to: histories of other tools, whose nemeses say nothing of effects.
Cost: linear in the events of the nemesis.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from harness.guarantees import Contract
from harness.history import History
from harness.op import Op
from harness.verdict import EXAMPLES_MAX, Verdict

TEXT_MAX = 200


def check(history: History, contract: Contract) -> Verdict:
    """UNKNOWN with a doubt for each fault that was not seen to take effect; else VALID."""
    outcomes: dict[str, Counter[str]] = {}
    doubts = []
    for position in np.flatnonzero((history.process < 0) & (history.extra >= 0)).tolist():
        op = history[position]
        effect = (op.extra or {}).get("effect")
        if not isinstance(effect, dict):
            continue
        outcome = str(effect.get("outcome"))
        outcomes.setdefault(op.f, Counter())[outcome] += 1
        if outcome not in ("observed", "skipped"):
            doubts.append(_doubt(op, outcome, effect.get("evidence")))
    if len(doubts) > EXAMPLES_MAX:
        doubts[EXAMPLES_MAX:] = [f"{len(doubts) - EXAMPLES_MAX} more faults took no effect"]
    return Verdict.of(doubts=doubts, stats=_stats(outcomes))


def _doubt(op: Op, outcome: str, evidence: Any) -> str:
    why = {
        "unobserved": "it was applied, but its probe saw nothing of it",
        "failed": "it could not be applied",
    }.get(outcome, f"its outcome is {outcome}")
    return f"op {op.index}: {op.f} {_short(op.value)}: {why}; evidence {_short(evidence)}"


def _stats(outcomes: dict[str, Counter[str]]) -> dict[str, Any]:
    stats: dict[str, Any] = {f: dict(counts) for f, counts in outcomes.items()}
    asked = sum(counts.total() for counts in outcomes.values())
    if asked and not any(counts["observed"] for counts in outcomes.values()):
        stats["note"] = f"{asked} faults were asked for and none took effect"
    return stats


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"
