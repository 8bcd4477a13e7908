"""The frame of a chart as inline SVG: scales, grid, ticks, and the faults shaded behind.

Pure text, so that nothing here can fail a run for want of a drawing library. Called by `charts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.report.html.faults import Band
from harness.report.html.markup import text

WIDTH, HEIGHT = 600, 210
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 8, 22


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps seconds and values to the drawing.

    Attributes:
        until_s: the right end; the left one is 0.
        low, high: ends of the vertical axis; `high > low`, and both positive if `log`.
        label: how a tick's value is said.
    """

    until_s: float
    low: float
    high: float
    log: bool
    label: Callable[[float], str]

    @staticmethod
    def latency(until_s: float, values_ms: Any) -> Axes:
        """A logarithmic axis whose ends are powers of ten; the values are positive."""
        low = 10.0 ** np.floor(np.log10(float(values_ms.min())))
        high = 10.0 ** np.ceil(np.log10(float(values_ms.max())) + 1e-9)
        return Axes(until_s, float(low), float(high), True, duration)

    @staticmethod
    def rate(until_s: float, high: float) -> Axes:
        """A linear axis from 0 to the first tick that is not below `high`."""
        high = max(high, 0.01)
        step = round_step(high / 4)
        high = float(step * np.ceil(high / step))
        return Axes(until_s, 0.0, high, False, lambda value: f"{value:,.10g} /s")

    def x(self, time_s: Any) -> Any:
        return LEFT + time_s / self.until_s * (WIDTH - LEFT - RIGHT)

    def y(self, value: Any) -> Any:
        if self.log:
            share = np.log10(np.asarray(value) / self.low) / np.log10(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def draw(self, bands: Sequence[Band]) -> Iterator[str]:
        """Bands and grid: what lies behind the data."""
        yield from map(self._band, bands)
        for value in self.ticks():
            y = float(self.y(value))
            yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            label = text(self.label(value))
            yield f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>'
        step = round_step(self.until_s / 8)
        for tick in np.arange(0, self.until_s + step / 1e6, step).tolist():
            x = float(self.x(tick))
            place = "start" if tick == 0 else "end" if x > WIDTH - 24 else "middle"
            yield f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{place}">{tick:g} s</text>'

    def ticks(self) -> list[float]:
        """Values that get a line: powers of ten, or steps of 1, 2 or 5 times one.

        >>> Axes(60, 0, 40, False, str).ticks(), Axes(60, 0.1, 10, True, str).ticks()
        ([0.0, 10.0, 20.0, 30.0, 40.0], [0.1, 1.0, 10.0])
        """
        if self.log:
            first, last = round(np.log10(self.low)), round(np.log10(self.high))
            return [float(f"1e{power}") for power in range(first, last + 1)]
        step = round_step((self.high - self.low) / 4)
        count = round((self.high - self.low) / step)
        return [self.low + number * step for number in range(count + 1)]

    def _band(self, band: Band) -> str:
        left = self.x(band.begin / 1e9)
        width = max(self.x(band.end / 1e9) - left, 1)
        return (
            f'<rect class="band" x="{left:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" fill="{text(band.colour)}">'
            f"<title>{text(band.about)}</title></rect>"
        )


def duration(value_ms: float) -> str:
    """Milliseconds in the unit that says them shortest.

    >>> duration(0.01), duration(10.0), duration(10_000)
    ('10 µs', '10 ms', '10 s')
    """
    unit, factor = ("µs", 1e3) if value_ms < 1 else ("ms", 1) if value_ms < 1e3 else ("s", 1e-3)
    return f"{value_ms * factor:g} {unit}"


def round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten.

    >>> [round_step(s) for s in (0.3, 1.1, 4.0)]
    [0.5, 2.0, 5.0]
    """
    power = 10.0 ** np.floor(np.log10(max(step, 1e-9)))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9)))
