"""Latency and rate over time as inline SVG, faults shaded. Pure text: nothing here can fail a run.

Raw latencies are thinned to one point a cell of a grid, so that a million operations draw like a
few thousand; quantiles and rates are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.history import History

WIDTH, HEIGHT = 900, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 26
QUANTILES = (0.5, 0.95, 0.99, 1.0)
_COLOUR = {1: "var(--ok)", 2: "var(--fail)", 3: "var(--info)"}
_NAME = {1: "ok", 2: "fail", 3: "info"}
Floats = NDArray[np.float64]


def render(history: History, bands: Sequence[Mapping[str, Any]]) -> str:
    """Three charts: latency (raw), latency (quantiles), rate."""
    started = np.flatnonzero((history.type == 0) & (history.process >= 0) & (history.pair >= 0))
    if not len(started):
        return "<p>No operation completed.</p>"
    ended = history.pair[started]
    start_s = history.time[started] / 1e9
    end_s = history.time[ended] / 1e9
    kind = history.type[ended]
    latency_ms = np.maximum((end_s - start_s) * 1e3, 0.01)
    until_s = max(float(history.time[-1]) / 1e9, 0.1)
    bucket_s = max(until_s / 60, 0.25)
    return "\n".join(
        (
            _figure("Latency of every operation", _raw(start_s, latency_ms, kind, until_s, bands)),
            _figure(
                f"Latency of ok operations, quantiles over {bucket_s:.2g} s",
                _quantiles(start_s, latency_ms, kind, until_s, bucket_s, bands),
            ),
            _figure(
                f"Completions per second, over {bucket_s:.2g} s",
                _rate(end_s, kind, until_s, bucket_s, bands),
            ),
        )
    )


class _Axes:
    """Maps data to the drawing; logarithmic in y if asked."""

    def __init__(self, until_s: float, low: float, high: float, log: bool) -> None:
        self.until_s, self.log = until_s, log
        self.low, self.high = (np.log10(low), np.log10(high)) if log else (low, high)
        if self.high <= self.low:
            self.high = self.low + 1

    def x(self, time_s: Any) -> Any:
        return LEFT + time_s / self.until_s * (WIDTH - LEFT - RIGHT)

    def y(self, value: Any) -> Any:
        value = np.log10(value) if self.log else value
        return (
            HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
        )

    def draw(self, bands: Sequence[Mapping[str, Any]], unit: str) -> list[str]:
        return [*self._bands(bands), *self._grid(unit)]

    def _bands(self, bands: Sequence[Mapping[str, Any]]) -> list[str]:
        return [
            f'<rect x="{self.x(b["start"] / 1e9):.1f}" y="{TOP}" '
            f'width="{max(self.x(b["end"] / 1e9) - self.x(b["start"] / 1e9), 1):.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" fill="{escape(str(b["colour"]), True)}" '
            f'opacity=".16"><title>{escape(str(b["name"]))} {escape(str(b["value"]))}</title>'
            "</rect>"
            for b in bands
        ]

    def _grid(self, unit: str) -> list[str]:
        lines = []
        for value in self._ticks():
            y = self.y(value)
            lines.append(f'<path class=grid d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            lines.append(
                f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}{unit}</text>'
            )
        step = _round_step(self.until_s / 8)
        for tick in np.arange(0, self.until_s + step / 2, step):
            lines.append(
                f'<text x="{self.x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
                f"{tick:g}s</text>"
            )
        return lines

    def _ticks(self) -> list[float]:
        if self.log:
            first, last = int(np.floor(self.low)), int(np.ceil(self.high))
            return [10.0**power for power in range(first, last + 1) if 10.0**power <= 10**self.high]
        step = _round_step((self.high - self.low) / 4)
        return [float(v) for v in np.arange(self.low, self.high + step / 2, step)]


def _raw(
    start_s: Floats,
    latency_ms: Floats,
    kind: NDArray[np.int8],
    until_s: float,
    bands: Sequence[Mapping[str, Any]],
) -> list[str]:
    axes = _Axes(until_s, _floor10(latency_ms.min()), _ceil10(latency_ms.max()), log=True)
    drawn = axes.draw(bands, "ms")
    x = np.round(axes.x(start_s)).astype(np.int64)
    y = np.round(axes.y(latency_ms)).astype(np.int64)
    for code in (1, 2, 3):
        cells = np.unique(np.column_stack((x, y))[kind == code], axis=0)
        dots = "".join(f"M{cx} {cy}h0" for cx, cy in cells.tolist())
        if dots:
            drawn.append(f'<path class=dots d="{dots}" stroke="{_COLOUR[code]}"/>')
    return [*drawn, _legend([(_NAME[c], _COLOUR[c]) for c in (1, 2, 3) if (kind == c).any()])]


def _quantiles(
    start_s: Floats,
    latency_ms: Floats,
    kind: NDArray[np.int8],
    until_s: float,
    bucket_s: float,
    bands: Sequence[Mapping[str, Any]],
) -> list[str]:
    ok = kind == 1
    if not ok.any():
        return [f'<text x="{LEFT}" y="{HEIGHT // 2}">no operation was ok</text>']
    axes = _Axes(until_s, _floor10(latency_ms[ok].min()), _ceil10(latency_ms[ok].max()), log=True)
    drawn = axes.draw(bands, "ms")
    bucket = (start_s[ok] / bucket_s).astype(np.int64)
    order = np.argsort(bucket, kind="stable")
    values = latency_ms[ok][order]
    numbers, first = np.unique(bucket[order], return_index=True)
    per_bucket = np.array([np.quantile(part, QUANTILES) for part in np.split(values, first[1:])])
    at_s = (numbers + 0.5) * bucket_s
    legend = []
    for column, quantile in enumerate(QUANTILES):
        colour = f"var(--q{column})"
        drawn.append(_line(axes, at_s, per_bucket[:, column], numbers, colour))
        legend.append((f"p{quantile * 100:g}", colour))
    return [*drawn, _legend(legend)]


def _rate(
    end_s: Floats,
    kind: NDArray[np.int8],
    until_s: float,
    bucket_s: float,
    bands: Sequence[Mapping[str, Any]],
) -> list[str]:
    edges = np.arange(0, until_s + bucket_s, bucket_s)
    rates = {c: np.histogram(end_s[kind == c], edges)[0] / bucket_s for c in (1, 2, 3)}
    axes = _Axes(until_s, 0, max(float(r.max()) for r in rates.values()) or 1, log=False)
    drawn = axes.draw(bands, "/s")
    numbers = np.arange(len(edges) - 1)
    shown = [code for code, rate in rates.items() if rate.any()]
    for code in shown:
        drawn.append(_line(axes, edges[:-1] + bucket_s / 2, rates[code], numbers, _COLOUR[code]))
    return [*drawn, _legend([(_NAME[code], _COLOUR[code]) for code in shown])]


def _line(
    axes: _Axes, at_s: Floats, values: Floats, numbers: NDArray[np.int64], colour: str
) -> str:
    """A line with gaps where buckets are empty: nothing happened there, not something between."""
    steps = []
    before = None
    for x, y, number in zip(axes.x(at_s), axes.y(values), numbers.tolist(), strict=True):
        joined = before is not None and number == before + 1
        steps.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}{'' if joined else 'h0'}")
        before = number
    return f'<path class=line d="{"".join(steps)}" stroke="{colour}"/>'


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    marks = "".join(
        f'<tspan dx="10" fill="{colour}">■</tspan><tspan dx="3">{name}</tspan>'
        for name, colour in entries
    )
    return f'<text x="{WIDTH - RIGHT}" y="{TOP + 10}" text-anchor="end">{marks}</text>'


def _figure(title: str, drawn: Sequence[str]) -> str:
    inside = "\n".join(drawn)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, True)}">'
        f"{inside}</svg></figure>"
    )


def _floor10(value: float) -> float:
    return float(10.0 ** np.floor(np.log10(value)))


def _ceil10(value: float) -> float:
    return float(10.0 ** np.ceil(np.log10(value) + 1e-9))


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten.

    >>> [_round_step(s) for s in (0.3, 1.1, 4.0)]
    [0.5, 2.0, 5.0]
    """
    power = 10.0 ** np.floor(np.log10(max(step, 1e-9)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9)))
