"""Latency and rate over time, faults shaded: two charts for each kind of operation, two for all.

Raw latencies are thinned to one point a cell of a grid, so that a million operations draw like a
few thousand; quantiles and rates are exact. An operation that never completed has no latency.

Source: Jepsen's perf checker (latency-raw, latency-quantiles and rate, by f and outcome).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.history import History
from harness.op import KINDS, Kind
from harness.report.html.axes import HEIGHT, LEFT, RIGHT, WIDTH, Axes, round_step
from harness.report.html.faults import Band, Faults
from harness.report.html.markup import swatch, text

QUANTILES = (0.5, 0.95, 0.99, 1.0)
FS_MAX = 4
"""Kinds of operations with charts of their own, the most frequent ones; the others share theirs."""

FEW = 500
"""So few points are drawn larger: a handful of failures must not drown among the rest."""

LATENCY_MS_MIN = 0.001
"""What a latency of nothing is drawn as: a logarithmic axis has no zero."""

_COLOUR = {kind: f"var(--{kind.value})" for kind in (Kind.OK, Kind.FAIL, Kind.INFO)}
Floats = NDArray[np.float64]
Legend = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Completed:
    """Completed operations of clients: seconds of begin and end, milliseconds, code of the kind."""

    start_s: Floats
    end_s: Floats
    latency_ms: Floats
    kind: NDArray[np.int8]
    f: NDArray[np.int16]

    @staticmethod
    def of(history: History) -> Completed:
        begun = np.flatnonzero((history.type == 0) & (history.process >= 0) & (history.pair >= 0))
        ended = history.pair[begun]
        start, end = history.time[begun], history.time[ended]
        latency_ms = np.maximum((end - start) / 1e6, LATENCY_MS_MIN)
        return Completed(start / 1e9, end / 1e9, latency_ms, history.type[ended], history.f[begun])

    def __len__(self) -> int:
        return len(self.kind)

    def where(self, chosen: NDArray[np.bool_]) -> Completed:
        return Completed(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def of_kind(self, kind: Kind) -> Completed:
        return self.where(self.kind == KINDS.index(kind))


def render(history: History, faults: Faults) -> str:
    """All charts as HTML."""
    done = Completed.of(history)
    if not len(done):
        return "<p>No operation completed.</p>"
    until_s = max(faults.end / 1e9, 0.001)
    bucket_s = round_step(until_s / 60)
    figures: list[str] = []
    shades = faults.shades()
    groups = _groups(done, history.fs)
    for name, part in groups.items():
        figures.append(_raw(name, part, until_s, shades))
        figures.append(_quantiles(name, part, until_s, bucket_s, shades))
    figures.append(_outcomes(done, until_s, bucket_s, shades))
    figures.append(_kinds(groups, until_s, bucket_s, shades))
    return f'<div class="charts">{"".join(figures)}</div>{_faults_legend(faults)}'


def _groups(done: Completed, fs: Sequence[str]) -> dict[str, Completed]:
    """Operations by what they asked, most frequent first."""
    codes, counts = np.unique(done.f, return_counts=True)
    order = codes[np.argsort(-counts, kind="stable")].tolist()
    own = order if len(order) <= FS_MAX else order[: FS_MAX - 1]
    groups = {fs[code]: done.where(done.f == code) for code in own}
    if len(own) < len(order):
        rest = order[len(own) :]
        groups[", ".join(fs[code] for code in rest)] = done.where(np.isin(done.f, rest))
    return groups


def _raw(name: str, done: Completed, until_s: float, bands: Sequence[Band]) -> str:
    axes = Axes.latency(until_s, done.latency_ms)
    legend: list[tuple[str, str]] = []
    drawn = list(axes.draw(bands))
    for kind, colour in _COLOUR.items():
        part = done.of_kind(kind)
        if not len(part):
            continue
        # Half a unit is less than a dot is wide: thinner, it would look the same.
        x, y = (
            np.round(2 * v).astype(int) for v in (axes.x(part.start_s), axes.y(part.latency_ms))
        )
        cells = np.unique(x * 2 * HEIGHT + y)
        columns, rows = np.divmod(cells, 2 * HEIGHT)
        pairs = zip((columns / 2).tolist(), (rows / 2).tolist(), strict=True)
        dots = "".join(f"M{x:g} {y:g}h0" for x, y in pairs)
        size = "few" if len(cells) < FEW else "dots"
        drawn.append(f'<path class="{size}" d="{dots}" stroke="{colour}"/>')
        legend.append((f"{kind.value} {len(part):,}", colour))
    return _figure(f"{name}: latency of each operation", legend, drawn, until_s)


def _quantiles(
    name: str, done: Completed, until_s: float, bucket_s: float, bands: Sequence[Band]
) -> str:
    title = f"{name}: latency of ok ones, quantiles of {bucket_s:g} s"
    ok = done.of_kind(Kind.OK)
    if not len(ok):
        empty = Axes.latency(until_s, np.array([1.0]))
        return _figure(f"{title} (none was ok)", [], empty.draw(bands), until_s)
    axes = Axes.latency(until_s, ok.latency_ms)
    bucket = (ok.start_s / bucket_s).astype(np.int64)
    order = np.argsort(bucket, kind="stable")
    numbers, first = np.unique(bucket[order], return_index=True)
    parts = np.split(ok.latency_ms[order], first[1:])
    each = np.array([np.quantile(part, QUANTILES) for part in parts])
    drawn = list(axes.draw(bands))
    legend = []
    for column, quantile in enumerate(QUANTILES):
        colour = f"var(--q{column})"
        drawn.append(_line(axes, numbers, bucket_s, each[:, column], colour))
        legend.append((f"p{quantile * 100:g}" if quantile < 1 else "max", colour))
    return _figure(title, legend, drawn, until_s)


def _outcomes(done: Completed, until_s: float, bucket_s: float, bands: Sequence[Band]) -> str:
    parts = {kind.value: done.of_kind(kind) for kind in _COLOUR}
    colours = {kind.value: colour for kind, colour in _COLOUR.items()}
    title = f"completions by outcome, over {bucket_s:g} s"
    return _rates(title, parts, colours, until_s, bucket_s, bands)


def _kinds(
    groups: dict[str, Completed], until_s: float, bucket_s: float, bands: Sequence[Band]
) -> str:
    parts = {name: part.of_kind(Kind.OK) for name, part in groups.items()}
    colours = {name: f"var(--c{number})" for number, name in enumerate(groups)}
    title = f"ok completions by operation, over {bucket_s:g} s"
    return _rates(title, parts, colours, until_s, bucket_s, bands)


def _rates(
    title: str,
    parts: dict[str, Completed],
    colours: dict[str, str],
    until_s: float,
    bucket_s: float,
    bands: Sequence[Band],
) -> str:
    count = int(until_s / bucket_s) + 1
    rates = {
        name: np.bincount((part.end_s / bucket_s).astype(np.int64), minlength=count) / bucket_s
        for name, part in parts.items()
        if len(part)
    }
    highest = max((float(rate.max()) for rate in rates.values()), default=1.0)
    axes = Axes.rate(until_s, highest)
    drawn = list(axes.draw(bands))
    for name, rate in rates.items():
        drawn.append(_line(axes, np.arange(len(rate)), bucket_s, rate, colours[name]))
    return _figure(title, [(name, colours[name]) for name in rates], drawn, until_s)


def _line(
    axes: Axes, numbers: NDArray[np.int64], bucket_s: float, values: Floats, colour: str
) -> str:
    """A line with gaps where buckets are empty: nothing happened there, not something between."""
    steps, before = [], -2
    at_s = np.minimum((numbers + 0.5) * bucket_s, axes.until_s)
    for x, y, number in zip(axes.x(at_s), axes.y(values), numbers.tolist(), strict=True):
        joined = number == before + 1
        steps.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}{'' if joined else 'h0'}")
        before = number
    return f'<path class="line" d="{"".join(steps)}" stroke="{colour}"/>'


def _figure(title: str, legend: Legend, drawn: Iterator[str] | list[str], until_s: float) -> str:
    marks = "".join(swatch(colour, name) for name, colour in legend)
    return (
        f"<figure><figcaption>{text(title)}<span class=legend>{marks}</span></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}" '
        f'data-until="{until_s * 1e6:.0f}" data-left="{LEFT / WIDTH:.5f}" '
        f'data-right="{1 - RIGHT / WIDTH:.5f}">{"".join(drawn)}</svg></figure>'
    )


def _faults_legend(faults: Faults) -> str:
    if not faults.bands:
        return ""
    marks = "".join(swatch(colour, name, shade=True) for name, colour in faults.kinds().items())
    return f'<p class="legend">Shaded: {marks}</p>'
