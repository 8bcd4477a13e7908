"""A cycle as a drawing: a box for each transaction, an arrow for each step, no two in one place."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cycle import Cycle, Step, Transaction
from harness.report.html import boxes, ring
from tests.report.html.test_markup import ANY_TEXT, NASTY, Parsed
from tests.test_cycle import ring as cycle_of

Rect = tuple[float, float, float, float]


def rects(html: str, kind: str = "box") -> list[Rect]:
    found = [a for tag, a in Parsed(html).tags if tag == "rect" and a["class"] == kind]
    corners = [[float(str(each[name])) for name in ("x", "y", "width", "height")] for each in found]
    return [(x, y, x + width, y + height) for x, y, width, height in corners]


def size(html: str) -> tuple[float, float]:
    _, _, width, height = re.findall(r'viewBox="([^"]+)"', html)[0].split()
    return float(width), float(height)


def count(html: str, kind: str) -> int:
    return len(
        [a for tag, a in Parsed(html).tags if tag == "g" and kind in str(a["class"]).split()]
    )


def uneven(length: int, left_out: int = 0, others: int = 0) -> Cycle:
    """Transactions of all heights; some of them only show something."""
    cycle = cycle_of(length, left_out)
    transactions = [
        Transaction(f"T{at + 1}", (at,), at, "ok", {n: f"m{n}" * 9 * at for n in range(at % 5)}, 9)
        for at in range(length + others)
    ]
    return Cycle(tuple(transactions), cycle.steps, left_out)


@pytest.mark.parametrize("others", [0, 1, 4])
@pytest.mark.parametrize(
    ("length", "left_out"), [*((n, 0) for n in range(2, 26)), (5, 1), (25, 300)]
)
def test_boxes_lie_within_the_drawing_and_apart(length: int, left_out: int, others: int) -> None:
    html = ring.render(uneven(length, left_out, others))
    found = rects(html)
    assert len(found) == length + others + bool(left_out)
    assert count(html, "txn") == length + others and count(html, "shows") == others
    assert count(html, "step") == length - bool(left_out)
    assert count(html, "missing") == 2 * bool(left_out)
    width, height = size(html)
    for left, top, right, bottom in found:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height
    for one, other in combinations(found, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)


@pytest.mark.parametrize("length", range(2, 26))
def test_an_arrow_leads_from_the_edge_of_a_box_to_that_of_the_next_and_through_none(
    length: int,
) -> None:
    html = ring.render(uneven(length))
    found = rects(html)
    starts = re.findall(r'class="edge" d="M([\d.]+) ([\d.]+)L', html.partition("<figcaption>")[0])
    tips = re.findall(r'class="tip" d="M([\d.]+) ([\d.]+)L', html.partition("<figcaption>")[0])
    for number, (start, tip) in enumerate(zip(starts, tips, strict=True)):
        x1, y1, x2, y2 = map(float, (*start, *tip))
        assert on_edge(found[number], x1, y1)
        assert on_edge(found[(number + 1) % length], x2, y2)
        for share in range(1, 20):
            x, y = x1 + (x2 - x1) * share / 20, y1 + (y2 - y1) * share / 20
            inside = [a for a in found if a[0] < x < a[2] and a[1] < y < a[3]]
            assert not inside, "an arrow crosses a box"


def on_edge(box: Rect, x: float, y: float) -> bool:
    left, top, right, bottom = box
    near = min(abs(x - left), abs(x - right), abs(y - top), abs(y - bottom)) < 0.2
    return near and left - 0.2 <= x <= right + 0.2 and top - 0.2 <= y <= bottom + 0.2


def test_what_shows_something_is_marked_and_of_the_rest_a_little_is_there() -> None:
    many = {at: f"read key {at}: [1]" for at in range(9)}
    transactions = [Transaction(f"T{at}", (at,), at, "info", many, 40) for at in (1, 2)]
    steps = (
        Step(0, 1, "rw", "so", 8, (1,), ((0, 8), (1, 7))),
        Step(1, 0, "realtime", "it ended"),
    )
    html = ring.render(Cycle(tuple(transactions), steps))
    assert len(rects(html, "mark")) == 2
    text = Parsed(html).text
    assert "read key 8" in text and "read key 5" not in text and "… and 36 more" in text
    assert "outcome unknown" in text


def test_a_legend_says_what_each_kind_that_is_there_means() -> None:
    html = ring.render(cycle_of(3))
    legend = html[html.index("<p class=legend>") :]
    assert ring.KINDS["rw"] in legend and ring.KINDS["ww"] not in legend


def test_a_drawing_is_told_to_who_cannot_see_it() -> None:
    (drawing, *_) = [a for tag, a in Parsed(ring.render(cycle_of(2))).tags if tag == "svg"]
    assert drawing["aria-label"] == "A cycle: T1 -rw(0)-> T2, T2 -rw(1)-> T1"


ENDLESS = {**cycle_of(2).to_json(), "left out": float("inf")}


@pytest.mark.parametrize(
    "shape", [None, {}, [], "cycle", {"transactions": [1]}, {"steps": None}, ENDLESS]
)
def test_what_is_no_cycle_is_not_drawn(shape: Any) -> None:
    assert ring.read(shape) is None


@given(ANY_TEXT | st.sampled_from(NASTY))
def test_nothing_in_a_cycle_becomes_markup(said: str) -> None:
    one = Transaction(said, (1,), said, said, {0: said}, 1)
    steps = tuple(
        Step(at, 1 - at, said, said, said, (said,), ((at, 0), (1 - at, 0))) for at in (0, 1)
    )
    other = Transaction("T2", (2,), 0, "ok", {0: said}, 1)
    parsed = Parsed(ring.render(Cycle((one, other), steps)))
    assert {tag for tag, _ in parsed.tags} <= {
        *("figure", "div", "svg", "g", "rect", "text", "path", "a", "title", "figcaption", "p"),
        *("span", "b"),
    }
    assert not [name for _, a in parsed.tags for name in a if name.startswith("on")]
    assert not parsed.others


@given(st.text() | st.sampled_from(NASTY).map(lambda text: text * 20))
def test_a_line_fits_into_its_box(said: str) -> None:
    lines = boxes._folded(said)
    assert len(lines) <= boxes.LINES_MAX
    assert "".join(said.split()) == "".join("".join(lines).split()) or len(said) > boxes.CELLS_MAX
    assert all(len(line) <= boxes.CELLS_MAX for line in lines)
