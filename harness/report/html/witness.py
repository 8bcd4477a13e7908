"""A sub-history as a table: each operation with a bar on a common axis, faults shaded behind.

The axis keeps the order of all begins and ends and stretches what is short: operations of a
millisecond that lie a minute apart would be dots on a true one, and whether they overlap is what a
reader wants to see. The timeline of the page has the true axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from harness.history import History
from harness.op import Kind, Op
from harness.report.html.faults import Band, Faults
from harness.report.html.markup import json, swatch, text

VALUE_CHARS_MAX = 300
BANDS_MAX = 12
HEAD = (
    "<tr><th>op<th>process<th>operation<th>outcome<th>from<th>took"
    "<th class=bars>in order, gaps not to scale</tr>"
)
GAP_NS = 100_000
"""Gaps far below this look alike, above it every tenfold adds the same width."""


class Scale:
    """Nanoseconds → percent of the width; keeps the order, and the logarithm of gaps."""

    def __init__(self, times: Iterable[int]) -> None:
        self._times = np.unique(np.fromiter(times, np.int64))
        gaps = np.diff(self._times)
        place = np.concatenate(([0.0], np.cumsum(0.3 + np.log10(1 + gaps / GAP_NS))))
        self._place = 3 + 94 * place / place[-1] if len(gaps) else np.full(1, 50.0)

    def percent(self, time: int) -> float:
        """Where a time is drawn; one outside of the sub-history, at the edge."""
        if time < self._times[0]:
            return 0.0
        if time > self._times[-1]:
            return 100.0
        return float(np.interp(time, self._times, self._place))


def operations(history: History, events: Sequence[int]) -> list[tuple[Op, Op | None]]:
    """The operations that the events belong to, each once, by their begin."""
    found = {}
    for index in events:
        if 0 <= index < len(history):
            begun = history.invocation(index)
            found[begun.index] = (begun, history.completion(index))
    return [found[index] for index in sorted(found)]


def table(ops: Sequence[tuple[Op, Op | None]], faults: Faults) -> str:
    """The sub-history as HTML; empty without operations."""
    if not ops:
        return ""
    times = [op.time for pair in ops for op in pair if op is not None]
    scale = Scale(times)
    first, last = min(times), max(times)
    bands = faults.during(first, last)
    shades = "".join(_shade(shade, scale) for shade in faults.shades() if shade.meets(first, last))
    rows = "".join(_row(begun, ended, scale, shades) for begun, ended in ops)
    said = "".join(swatch(band.colour, band.about, shade=True) for band in bands[:BANDS_MAX])
    more = f" and {len(bands) - BANDS_MAX} more" if len(bands) > BANDS_MAX else ""
    return f'<div class="wide"><table class="ops"><thead>{HEAD}</thead>{rows}</table></div>' + (
        f'<p class="legend">Meanwhile: {said}{more}</p>' if said else ""
    )


def _row(begun: Op, ended: Op | None, scale: Scale, shades: str) -> str:
    outcome = ended.type.value if ended is not None else "pending"
    if isinstance(begun.process, str):
        outcome = "fault"
    took = f"{(ended.time - begun.time) / 1e6:,.3f} ms" if ended is not None else ""
    node = (ended.node if ended is not None else None) or begun.node
    where = f" <small>{text(node)}</small>" if node else ""
    last = f"–{ended.index}" if ended is not None else ""
    return (
        f'<tr class="{outcome}"><td><a class=op href="#op-{begun.index}">{begun.index}{last}</a>'
        f"<td>{text(str(begun.process))}{where}<td>{_said(begun, ended)}"
        f"<td class=outcome>{outcome}<td class=number>{begun.time / 1e9:,.4f} s"
        f"<td class=number>{took}<td class=bars><div class=track>{shades}"
        f"{_bar(begun, ended, scale)}</div></tr>"
    )


def _said(begun: Op, ended: Op | None) -> str:
    """`send [["send",0,7]] → [["send",0,[42,7]]]`"""
    words = [f"<b>{text(begun.f)}</b>"]
    if begun.value is not None:
        words.append(f"<code>{_short(begun.value)}</code>")
    if ended is not None and ended.type is Kind.OK and ended.value != begun.value:
        words.append(f"→ <code>{_short(ended.value)}</code>")
    error = (ended.error if ended is not None else None) or begun.error
    if error:
        words.append(f"<em>{text(': '.join(error))}</em>")
    return " ".join(words)


def _short(value: Any) -> str:
    said = json(value)
    cut = len(said) > VALUE_CHARS_MAX
    return text(said[:VALUE_CHARS_MAX]) + ("…" if cut else "")


def _bar(begun: Op, ended: Op | None, scale: Scale) -> str:
    left = scale.percent(begun.time)
    right = scale.percent(ended.time) if ended is not None else 100.0
    return f'<b class=bar style="left:{left:.2f}%;width:{max(right - left, 0.4):.2f}%"></b>'


def _shade(band: Band, scale: Scale) -> str:
    left, right = scale.percent(band.begin), scale.percent(band.end)
    return (
        f'<i class=shade style="left:{left:.2f}%;width:{max(right - left, 0.3):.2f}%;'
        f'background:{text(band.colour)}"></i>'
    )
