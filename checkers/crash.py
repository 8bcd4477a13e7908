"""No node ends by itself: the harness alone may end one.

Reads the nemesis' `crash` marks, which the run journals for every end of a node's process that it
did not cause. (A client's `crash` is an operation of a workload, and nobody's fault.) A node may
end itself while its disk fails: better no node than one with half of its state.

Anomalies:
    crash       a node's process ended although nobody had ended it

Blind to: a node that hangs, or that leaves the run for the machine's reasons (it looks the same).
Cost: linear in the events named `crash`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.guarantees import Contract
from harness.history import History
from harness.op import Op
from harness.spells import Spell, spells
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

LINES_MAX = 12
"""Lines of the node's log in a finding: the end of a traceback, as a rule."""


def check(history: History, contract: Contract) -> Verdict:
    """A finding for each crash."""
    ends = [
        position
        for position in history.select(f="crash").tolist()
        if history.process[position] < 0 and history.operation(position)[0] == position
    ]
    ill = [spell for spell in spells(history) if spell.kind == "disk"] if ends else []
    marks = [position for position in ends if not _halted(history[position], ill)]
    halts = len(ends) - len(marks)
    return Verdict.of(
        [_finding(history, position) for position in marks[:EXAMPLES_MAX]],
        counts={"crash": len(marks)} if marks else {},
        stats={"crashes": len(marks), **({"halts on a failed disk": halts} if halts else {})},
    )


def _halted(op: Op, ill: Iterable[Spell]) -> bool:
    """Whether the node ended while its own disk failed."""
    crash: dict[str, Any] = op.value if isinstance(op.value, dict) else {}
    at, node = crash.get("time_ns"), crash.get("node")
    time_ns = at if type(at) is int else op.time
    return any(spell.node == node and spell.begin <= time_ns <= spell.end for spell in ill)


def _finding(history: History, position: int) -> Finding:
    """Of the mark at `position`; its value is {"node", "time_ns", "status", "log"}."""
    op = history[position]
    crash: dict[str, Any] = op.value if isinstance(op.value, dict) else {}
    node, status = crash.get("node", "a node"), crash.get("status")
    at = crash.get("time_ns")
    time_ns = at if type(at) is int else op.time
    how = "" if status is None else f" with status {status}"
    log = str(crash.get("log") or "").rstrip().splitlines()[-LINES_MAX:]
    return Finding(
        anomaly="crash",
        claim=f"{node} ended by itself{how}",
        because=(
            f"op {position}: the process of {node} ended{how} at {time_ns / 1e9:.3f} s",
            *(("its log ends with",) if log else ()),
            *(f"    {line}" for line in log),
            "however, nobody had ended it: a contradiction",
        ),
        witness=history.operation(position),
        key=node,
        span=(0, max(time_ns, 0)),
    )
