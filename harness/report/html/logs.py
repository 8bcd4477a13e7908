"""The nodes' logs, merged by time, around moments of the history.

Lines are JSON with their wall time, as `harness.host` writes them; other lines (a traceback, say)
belong to the one before them. Blind to: clocks of nodes that were skewed when they wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

AROUND_NS = 500_000_000
LINES_MAX = 150
BYTES_MAX = 64 << 20
"""Of one node's log; of a longer one the tail is read."""

CHARS_MAX = 400


class Logs:
    """The logs below `nodes/` of a run folder; read when first asked for.

    Args:
        started_ns: wall time at which the history's clock was 0; None if nobody wrote it down.
    """

    def __init__(self, folder: Path, started_ns: int | None) -> None:
        self._folder, self._started_ns = folder, started_ns
        self._times: Any = None
        self._lines: list[str] = []

    def around(self, moments_ns: Sequence[int]) -> list[str]:
        """Lines within AROUND_NS of any of the moments, at most the LINES_MAX nearest, by time.

        What lies between two that are shown is counted: `… 27.40 s, 312 lines …`.
        """
        if self._started_ns is None or not len(moments_ns):
            return []
        self._read()
        moments = np.sort(np.asarray(moments_ns, np.int64))
        place = np.searchsorted(moments, self._times)
        before = moments[np.maximum(place - 1, 0)]
        after = moments[np.minimum(place, len(moments) - 1)]
        distance = np.minimum(np.abs(self._times - before), np.abs(after - self._times))
        near = np.flatnonzero(distance <= AROUND_NS)
        nearest = near[np.argsort(distance[near], kind="stable")[:LINES_MAX]]
        return list(self._shown(np.sort(nearest).tolist()))

    def _shown(self, rows: Sequence[int]) -> Iterator[str]:
        for before, row in zip([None, *rows], rows, strict=False):
            if before is not None and row > before + 1:
                gap_s = (self._times[row] - self._times[before]) / 1e9
                yield f"… {gap_s:.2f} s, {row - before - 1} lines …"
            yield f"{self._times[row] / 1e9:10.4f} s  {self._lines[row]}"

    def _read(self) -> None:
        if self._times is not None:
            return
        assert self._started_ns is not None
        found = [line for path in self._files() for line in _lines(path)]
        found.sort(key=lambda line: line[0])
        self._times = np.array([time for time, _ in found], np.int64) - self._started_ns
        self._lines = [line for _, line in found]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("nodes/*/*.log"))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(wall time, line) of a file; what comes before the first JSON line has no time."""
    node, time = path.parent.name, None
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - BYTES_MAX, 0))
        for raw in file:
            try:
                shape = msgspec.json.decode(raw)
                time = int(shape.pop("time"))
                line = _line(shape)
            except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
                line = raw.decode("utf-8", "replace").rstrip()
            if time is not None and line:
                yield time, f"{node:<4} {line[:CHARS_MAX]}"


def _line(shape: Mapping[str, Any]) -> str:
    rest = " ".join(f"{k}={v}" for k, v in shape.items() if k not in ("event", "node"))
    return f"{shape.get('event', '')}  {rest}".rstrip()
