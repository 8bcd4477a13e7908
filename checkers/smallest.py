"""The fewest operations that show a finding.

A finding is found twice: in the whole history, with operations that are enough to show it or more;
and in these alone, from which is left out whatever it can do without. Its sentences are those of
the second time, so that none can speak of anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from checkers.transactions import Ints
from harness.history import History
from harness.verdict import Finding

Find = Callable[[History, Ints], Iterable[Finding]]
"""All findings of a history whose events have these indices in another one."""

WITNESS_MAX = 40
"""Operations of a witness up to which each is tried without."""


def smallest(history: History, finding: Finding, find: Find) -> Finding:
    """The finding, shown by as few operations as possible: without any of them it is gone."""
    groups = list(dict.fromkeys(map(history.operation, finding.witness)))

    def shown(some: list[tuple[int, ...]]) -> Finding | None:
        at = sorted(position for group in some for position in group)
        part = History.of([history[position] for position in at])
        wanted = (finding.anomaly, finding.key, finding.claim)
        for one in find(part, np.array(at, np.int64)):
            if (one.anomaly, one.key, one.claim) == wanted:
                return one
        return None

    best = shown(groups)
    if best is None:
        return finding
    before = len(groups) + 1 if len(groups) <= WITNESS_MAX else 0
    while len(groups) < before:  # what was needed may be idle once others are gone
        before, tried = len(groups), 0
        while tried < len(groups):
            rest = groups[:tried] + groups[tried + 1 :]
            less = shown(rest) if rest else None
            if less is None:
                tried += 1
            else:
                groups, best = rest, less
    whole = tuple(sorted(position for group in groups for position in group))
    return replace(best, witness=whole, span=span(history, whole))


def span(history: History, witness: Iterable[int]) -> tuple[int, int]:
    """From the first to the last of these events."""
    times = history.time[list(witness)]
    return int(times.min()), int(times.max())
