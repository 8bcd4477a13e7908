"""How often a planted bug did its work, as the nodes' logs tell.

A node logs `bug.activated` with a count at 1, 2, 4, 8, …, so that much of it survives a kill; each
process begins again. What is said here is the least that it can have been.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

EVENT = "bug.activated"


def activations(logs: Iterable[Path]) -> int:
    """Of all nodes together."""
    return sum(at_least(_counts(log)) for log in logs)


def at_least(counts: Iterable[int]) -> int:
    """The sum of each process' last count; one begins where the count falls.

    >>> at_least([1, 2, 4, 1, 2])
    6
    """
    total = last = 0
    for count in counts:
        if count <= last:
            total += last
        last = count
    return total + last


def _counts(log: Path) -> Iterator[int]:
    if not log.exists():
        return
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if f'"{EVENT}"' not in line:
                continue
            try:
                told = json.loads(line)
            except ValueError:  # the process was killed while it wrote
                continue
            if told.get("event") == EVENT:
                yield told["count"]
