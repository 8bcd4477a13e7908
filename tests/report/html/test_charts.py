"""Charts draw what the history says."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.report.html import charts, faults
from harness.report.html.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, duration

SECOND = 1_000_000_000
MS = 1_000_000


def figures(ops: list[Op]) -> dict[str, ElementTree.Element]:
    """Title → SVG; parsing it is the proof that it is well-formed."""
    history = History.of(ops)
    html = charts.render(history, faults.read(history, ()))
    found = {}
    for svg in re.findall(r"<svg.*?</svg>", html):
        element = ElementTree.fromstring(re.sub(r"(\w+)=([\w-]+)(?=[ />])", r'\1="\2"', svg))
        found[str(element.get("aria-label"))] = element
    return found


def points(path: ElementTree.Element) -> list[tuple[float, float]]:
    return [
        (float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))
    ]


def paths(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [path for path in svg.iter("path") if path.get("class") == kind]


def operation(start_ns: int, latency_ns: int, kind: Kind = Kind.OK, f: str = "r") -> list[Op]:
    return [
        Op(0, start_ns, Kind.INVOKE, 0, f),
        Op(0, start_ns + latency_ns, kind, 0, f),
    ]


def test_every_operation_is_a_point_at_its_time_and_latency() -> None:
    ops = [*operation(SECOND, 10 * MS), *operation(5 * SECOND, 100 * MS)]
    svg = figures(ops)["r: latency of each operation"]
    (dots,) = paths(svg, "few")
    axes = Axes.latency(5.1, np.array([10.0, 100.0]))
    expected = [(axes.x(1.0), axes.y(10.0)), (axes.x(5.0), axes.y(100.0))]
    assert points(dots) == [
        (pytest.approx(x, abs=0.5), pytest.approx(y, abs=0.5)) for x, y in expected
    ]


def test_outcomes_have_colours_of_their_own() -> None:
    ops = [*operation(0, MS, Kind.FAIL), *operation(2 * MS, MS, Kind.OK)]
    svg = figures(ops)["r: latency of each operation"]
    assert {path.get("stroke") for path in paths(svg, "few")} == {"var(--ok)", "var(--fail)"}


def test_quantiles_are_exact_in_every_bucket() -> None:
    latencies = np.random.default_rng(1729).integers(1, 19, 200) * MS
    ops = [op for n, each in enumerate(latencies) for op in operation((n * 20 + 1) * MS, int(each))]
    svg = figures(ops)["r: latency of ok ones, quantiles of 0.1 s"]
    axes = Axes.latency(ops[-1].time / SECOND, latencies / MS)
    for line, quantile in zip(paths(svg, "line"), charts.QUANTILES, strict=True):
        expected = [np.quantile(latencies[n : n + 5] / MS, quantile) for n in range(0, 200, 5)]
        assert [y for _, y in points(line)] == pytest.approx(axes.y(expected).tolist(), abs=0.06)


def test_a_gap_in_time_is_a_gap_in_the_line() -> None:
    ops = [*operation(0, MS), *operation(30 * SECOND, MS), *operation(31 * SECOND, MS)]
    (title,) = [t for t in figures(ops) if "quantiles" in t]
    line = paths(figures(ops)[title], "line")[0]
    assert line.get("d", "").count("M") == 2


def test_rates_count_every_completion_once() -> None:
    ops = [op for n in range(100) for op in operation(n * 100 * MS, MS)]
    svg = figures(ops)["completions by outcome, over 0.2 s"]
    (line,) = paths(svg, "line")
    axes = Axes.rate(9.901, 10.0)
    heights = [(HEIGHT - BOTTOM - y) / (HEIGHT - BOTTOM - TOP) * axes.high for _, y in points(line)]
    assert sum(heights) * 0.2 == pytest.approx(100, rel=0.02)


def test_many_kinds_of_operations_share_the_last_chart() -> None:
    ops = [op for n in range(21) for op in operation(n * MS * 10, MS, f=f"f{n % 6}")]
    titles = [title for title in figures(ops) if title.endswith("latency of each operation")]
    assert titles == [f"f{n}: latency of each operation" for n in range(3)] + [
        "f3, f4, f5: latency of each operation"
    ]


def test_where_nothing_was_ok_the_chart_says_so() -> None:
    titles = list(figures(operation(0, MS, Kind.FAIL)))
    assert [title for title in titles if title.endswith("(none was ok)")]


def test_without_a_completion_there_is_no_chart() -> None:
    assert figures([Op(0, 0, Kind.INVOKE, 0, "r")]) == {}


def test_faults_are_shaded_where_they_were() -> None:
    ops = [
        *operation(0, MS),
        *[Op(0, 2 * SECOND, Kind.INFO, NEMESIS, "kill", ["n1"])] * 2,
        *[Op(0, 4 * SECOND, Kind.INFO, NEMESIS, "start", ["n1"])] * 2,
        *operation(10 * SECOND, 0),
    ]
    svg = figures(ops)["r: latency of each operation"]
    (band,) = [rect for rect in svg.iter("rect") if rect.get("class") == "band"]
    plot = WIDTH - LEFT - RIGHT
    assert float(band.get("x", 0)) == pytest.approx(LEFT + 0.2 * plot, abs=0.1)
    assert float(band.get("width", 0)) == pytest.approx(0.2 * plot, abs=0.1)
    assert band.findtext("title") == "kill of n1 at 2.0 s"


@given(st.lists(st.floats(0.001, 1e6), min_size=1), st.floats(0.01, 1e4))
def test_all_data_lie_within_the_frame(values: list[float], until_s: float) -> None:
    axes = Axes.latency(until_s, np.array(values))
    for value in values:
        assert TOP - 0.01 <= float(axes.y(value)) <= HEIGHT - BOTTOM + 0.01
    assert axes.x(until_s) == pytest.approx(WIDTH - RIGHT)
    ticks = axes.ticks()
    assert ticks[0] <= min(values) * (1 + 1e-9) and max(values) <= ticks[-1] * (1 + 1e-9)


@given(st.floats(0, 1e9))
def test_a_rate_is_below_the_highest_tick(high: float) -> None:
    axes = Axes.rate(1.0, high)
    assert axes.ticks()[0] == 0 and high <= axes.ticks()[-1] * (1 + 1e-9)
    assert 3 <= len(axes.ticks()) <= 6


@pytest.mark.parametrize(("value_ms", "said"), [(0.001, "1 µs"), (1, "1 ms"), (1000, "1 s")])
def test_a_duration_is_said_in_its_unit(value_ms: float, said: str) -> None:
    assert duration(value_ms) == said
