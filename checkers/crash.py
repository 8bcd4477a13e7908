"""No node ends by itself: the harness alone may end one.

Reads the nemesis' `crash` marks, which the run journals for every end of a node's process that it
did not cause. (A client's `crash` is an operation of a workload, and nobody's fault.) A node may
end itself while its disk fails, if the end of its log says so: better no node than one with half of
its state. A disk that is merely slow excuses nothing.

Anomalies:
    crash       a node's process ended although nobody had ended it

Blind to: a node that ends for another reason, and whose log ends with its failed disk's; one that
hangs, or that leaves the run for the machine's reasons (it looks the same).
Cost: linear in the events named `crash`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from harness.guarantees import Contract
from harness.history import History
from harness.op import Op
from harness.spells import Spell, spells
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

DISK_FAILED = re.compile(
    r"\bOSError\b|\bE(IO|NOSPC)\b|Errno (5|28)\b|Input/output error|No space left on device"
)
"""What a node says that ends because of its disk: Python's words, and the kernel's."""

LINES_MAX = 12
"""Lines of the node's log in a finding: the end of a traceback, as a rule."""


def check(history: History, contract: Contract) -> Verdict:
    """A finding for each crash."""
    ends = [
        position
        for position in history.select(f="crash").tolist()
        if history.process[position] < 0 and history.operation(position)[0] == position
    ]
    ill = [spell for spell in spells(history) if _fails(history, spell)] if ends else []
    marks = [position for position in ends if not _halted(history[position], ill)]
    halts = len(ends) - len(marks)
    return Verdict.of(
        [_finding(history, position) for position in marks[:EXAMPLES_MAX]],
        counts={"crash": len(marks)} if marks else {},
        stats={"crashes": len(marks), **({"halts on a failed disk": halts} if halts else {})},
    )


def _fails(history: History, spell: Spell) -> bool:
    """Whether a node may end for it: its disk is more than slow."""
    value = history[spell.position].value
    fault = value.get(spell.node) if spell.kind == "disk" and isinstance(value, dict) else None
    how = fault.get("how") if isinstance(fault, dict) else None
    return spell.kind == "disk" and how != "slow-fsync"


def _halted(op: Op, ill: Iterable[Spell]) -> bool:
    """Whether the node ended while its own disk failed, and for that."""
    crash: dict[str, Any] = op.value if isinstance(op.value, dict) else {}
    at, node = crash.get("time_ns"), crash.get("node")
    time_ns = at if type(at) is int else op.time
    failing = any(spell.node == node and spell.begin <= time_ns <= spell.end for spell in ill)
    return failing and DISK_FAILED.search(str(crash.get("log") or "")) is not None


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
