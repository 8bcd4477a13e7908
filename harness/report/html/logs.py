"""The nodes' logs, merged by time, around a moment of the history."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

AROUND_NS = 1_000_000_000
LINES_MAX = 200
BYTES_MAX = 64 << 20
"""Of one node's log; the tail of a longer one is read."""


class Logs:
    """JSON lines of all nodes with their wall time; others are not placed in time and left out."""

    def __init__(self, folder: Path, test: Mapping[str, Any]) -> None:
        self._folder = folder
        self._started_ns = test.get("started wall ns")
        self._lines: list[tuple[int, str]] | None = None

    def between(self, from_ns: int, to_ns: int) -> list[str]:
        """Lines from a second before `from_ns` to a second after `to_ns` of the history's time."""
        if self._started_ns is None:
            return []
        if self._lines is None:
            self._lines = sorted(self._read())
        low = bisect.bisect_left(self._lines, (self._started_ns + from_ns - AROUND_NS, ""))
        high = bisect.bisect_left(self._lines, (self._started_ns + to_ns + AROUND_NS, ""))
        lines = [self._at(*line) for line in self._lines[low:high]]
        if len(lines) <= LINES_MAX:
            return lines
        half = LINES_MAX // 2
        return [*lines[:half], f"… {len(lines) - LINES_MAX} lines left out …", *lines[-half:]]

    def _at(self, wall_ns: int, text: str) -> str:
        assert self._started_ns is not None
        return f"{(wall_ns - self._started_ns) / 1e9:10.4f} s  {text}"

    def _read(self) -> list[tuple[int, str]]:
        found = []
        for path in sorted(self._folder.glob("nodes/*/*.log")):
            size = path.stat().st_size
            with path.open("rb") as file:
                file.seek(max(size - BYTES_MAX, 0))
                for line in file:
                    try:
                        shape = msgspec.json.decode(line)
                        found.append((int(shape.pop("time")), _line(path.parent.name, shape)))
                    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
                        continue
        return found


def _line(node: str, shape: dict[str, Any]) -> str:
    event = shape.pop("event", "")
    shape.pop("node", None)
    rest = " ".join(f"{key}={value}" for key, value in shape.items())
    return f"{node}  {event}  {rest}"
