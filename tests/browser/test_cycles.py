"""Cycles as a reader sees them: whole, apart, legible, and a way to the operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from harness.cli import main
from harness.op import Op
from tests.browser.conftest import Open
from tests.checkers.test_cycles import chain
from tests.checkers.test_list_append import a, r, t, write
from tests.golden import golden
from tests.stories import history

pytestmark = pytest.mark.browser

DRAWN = ("append-G0", "append-G1c", "append-G-single", "append-G2-item-realtime", "wr-G-single")

SCRIPT = "</script><img src=x onerror='window.ran = 1'>"

MEASURE = """svg => {
    const box = element => {
        const b = element.getBBox();
        return [b.x, b.y, b.x + b.width, b.y + b.height];
    };
    const texts = g => [box(g.querySelector("rect.box")), all("text", g)];
    const all = (names, of = svg) => [...of.querySelectorAll(names)].map(box);
    return {
        view: [0, 0, svg.viewBox.baseVal.width, svg.viewBox.baseVal.height],
        boxes: all("rect.box"), everything: all("rect, path, text"), labels: all("text.label"),
        texts: [...svg.querySelectorAll("g.txn")].map(texts),
        txns: svg.querySelectorAll("g.txn").length, steps: svg.querySelectorAll("g.step").length,
    };
}"""


def within(inner: list[float], outer: list[float]) -> bool:
    return all(inner[at] >= outer[at] - 1 for at in (0, 1)) and all(
        inner[at] <= outer[at] + 1 for at in (2, 3)
    )


def apart(one: list[float], other: list[float]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def measured(page: Page) -> dict[str, Any]:
    """What is drawn first, after everything is found where it belongs."""
    found: dict[str, Any] = page.locator(".ring svg").first.evaluate(MEASURE)
    assert all(within(each, found["view"]) for each in found["everything"])
    for number, box in enumerate(found["boxes"]):
        assert all(apart(box, other) for other in found["boxes"][:number])
        assert all(apart(box, label) for label in found["labels"])
    for box, texts in found["texts"]:
        assert all(within(text, box) for text in texts)
        assert all(apart(one, other) for at, one in enumerate(texts) for other in texts[:at])
    return found


def report(path: Path, workload: str, out: Path) -> Path:
    main(["check", str(path), "--workload", workload, "--report", str(out)])
    return out


def told(tmp_path: Path, ops: list[Op]) -> Path:
    return report(write(tmp_path / "h.jsonl", ops), "append", tmp_path / "h.html")


@pytest.mark.parametrize("name", DRAWN)
def test_a_cycle_is_drawn_with_a_box_each_and_an_arrow_a_step(
    open_page: Open, tmp_path: Path, name: str
) -> None:
    (one,) = [one for one in golden() if one.file.stem == name]
    page = open_page(report(one.file, one.workload, tmp_path / "r.html")).page
    found = measured(page)
    arrows = page.locator(".because li", has_text="because").count()
    assert found["steps"] == arrows >= 2
    assert found["txns"] == page.locator("#finding-1 table.ops tr.ok").count()


@pytest.mark.parametrize("length", [3, 5, 8, 12, 60])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_long_cycle_is_legible_too(
    open_page: Open, tmp_path: Path, length: int, scheme: str
) -> None:
    page = open_page(told(tmp_path, list(chain(length - 1))), color_scheme=scheme).page
    found = measured(page)
    assert found["txns"] == (length if length <= 24 else 25)
    colours = "e => [getComputedStyle(e).fill, getComputedStyle(document.body).backgroundColor]"
    for kind in (".head", ".about", ".mop.shown", ".label"):
        ink, paper = page.locator(f".ring {kind}").first.evaluate(colours)
        assert contrast(ink, paper) >= 4.5, kind


def contrast(one: str, other: str) -> float:
    """As WCAG has it."""

    def light(colour: str) -> float:
        parts = [int(each) / 255 for each in colour[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_lines_differ_by_more_than_colour(open_page: Open, tmp_path: Path) -> None:
    (one,) = [one for one in golden() if one.file.stem == "append-G2-item-realtime"]
    page = open_page(report(one.file, one.workload, tmp_path / "r.html")).page
    style = "e => getComputedStyle(e).strokeDasharray"
    dashes = {
        kind: page.locator(f".ring .step.{kind} .edge").first.evaluate(style)
        for kind in ("rw", "realtime")
    }
    assert len({*dashes.values(), "none"}) == 3
    legend = page.evaluate("document.querySelectorAll('.ring .legend span').length")
    assert legend == 2, "each kind is told of once"


def test_a_box_leads_to_its_operation_by_keyboard_too(open_page: Open, tmp_path: Path) -> None:
    it = open_page(told(tmp_path, list(chain(3))))
    link = it.page.locator(".ring a").nth(1)
    link.focus()
    it.page.keyboard.press("Enter")
    expect(it.page.locator("#detail h3")).to_contain_text("op 0–1")
    assert it.selected == 0


def test_values_that_are_scripts_or_long_are_text_in_a_box(open_page: Open, tmp_path: Path) -> None:
    wide = "漢字" * 40
    for number, value in enumerate((SCRIPT, "x" * 5000, "a b " * 1000, wide, "\u202e\x1b[31m")):
        ops = history(
            t(0, 9, 0, a(SCRIPT, value), a(value, 1)), t(0, 9, 1, r(SCRIPT, value), r(value))
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        page = open_page(told(folder, list(ops))).page
        measured(page)
        assert page.evaluate("typeof window.ran") == "undefined"
        whole = page.locator(".ring .mop.shown title").first.text_content()
        assert whole is not None and SCRIPT[:20] in whole


def test_a_drawing_prints_and_fits_a_phone(open_page: Open, tmp_path: Path) -> None:
    path = told(tmp_path, list(chain(5)))
    page = open_page(path, viewport={"width": 375, "height": 700}).page
    measured(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.emulate_media(media="print")
    expect(page.locator(".ring svg").first).to_be_visible()
