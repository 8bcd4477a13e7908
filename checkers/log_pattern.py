"""No line of a node's log is one of those that must not be there.

`-o log-pattern=REGEX` (of run and check) says which: a regular expression that is searched for in
each line. Reads the logs of the run's folder, which are given to it as lines; nothing of the
history. Kept with the run's contract, so that `assay check` of the folder looks again.

Anomalies:
    log-pattern     a line of a node's log matches

Blind to: what a node did not log, or lost when it was killed; patterns across lines.
Cost: one search a line.
Source: Jepsen's `checker/log-file-pattern`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

PROMISE = "log-pattern"

TEXT_MAX = 500
"""Of a line in a finding."""


def check(
    history: History, contract: Contract, logs: Mapping[str, Iterable[str]] | None = None
) -> Verdict:
    """A finding for each line that matches; `logs` are lines by the name of their file."""
    pattern = contract.promises.get(PROMISE)
    if pattern is None:
        return Verdict.of(doubts=[f"nobody says what to look for: give -o {PROMISE}=REGEX"])
    if not logs:
        return Verdict.of(doubts=["there is no log of a node, as there is in a run's folder"])
    search = re.compile(pattern).search
    found: list[list[Finding]] = []
    matches: dict[str, int] = {}
    lines = 0
    for name, text in logs.items():
        kept: list[Finding] = []
        for number, line in enumerate(text, 1):
            lines += 1
            if search(line) is None:
                continue
            matches[name] = matches.get(name, 0) + 1
            if len(kept) < EXAMPLES_MAX:
                kept.append(_finding(name, number, line, pattern))
        found.append(kept)
    count = sum(matches.values())
    return Verdict.of(
        _in_turn(found),
        counts={PROMISE: count} if count else {},
        stats={"lines": lines, "matches": matches},
    )


def _in_turn(found: list[list[Finding]]) -> list[Finding]:
    """The first of each file, then the second, …, so that no file hides another."""
    turns = max(map(len, found), default=0)
    every = [of[turn] for turn in range(turns) for of in found if turn < len(of)]
    return every[:EXAMPLES_MAX]


def _finding(name: str, number: int, line: str, pattern: str) -> Finding:
    text = line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…"
    return Finding(
        anomaly=PROMISE,
        claim=f"line {number} of {name} matches {pattern}",
        because=(
            f"line {number} of {name}: {text}",
            f"however, no line of a node's log may match {pattern}: a contradiction",
        ),
        key=name,
    )
