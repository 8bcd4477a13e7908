"""The report as a reader uses it: opened, searched, zoomed, followed from finding to operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from harness.history import History, Recorder
from harness.op import Kind
from harness.report import write_report
from harness.store import RunFolder
from harness.verdict import Finding, Verdict
from tests.browser.conftest import Open, Opened
from tests.report import runs

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = runs.make(tmp_path_factory.mktemp("results"), operations=2000)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def history(run: RunFolder) -> History:
    return History.load(run.history)


@pytest.fixture
def opened(open_page: Open, run: RunFolder) -> Opened:
    return open_page(run.report)


def test_the_verdict_is_what_a_reader_sees_first(opened: Opened) -> None:
    mark = opened.page.locator("h1 .mark")
    expect(mark).to_have_text("Invalid")
    expect(mark).to_be_in_viewport()
    expect(opened.page.locator(".lead")).to_contain_text("lost-write")


def test_without_scripts_the_verdict_findings_and_charts_are_there(
    open_page: Open, run: RunFolder
) -> None:
    page = open_page(run.report, ready=False, java_script_enabled=False).page
    expect(page.locator("h1 .mark")).to_have_text("Invalid")
    expect(page.locator("#finding-1 .because")).to_be_visible()
    expect(page.locator("#finding-1 table.ops")).to_be_visible()
    expect(page.locator("svg").first).to_be_visible()
    expect(page.locator(".unscripted")).to_contain_text("needs none")
    assert page.locator(".script:visible").count() == 0


def test_the_timeline_shows_the_whole_run_at_first(opened: Opened, history: History) -> None:
    left, right = opened.shown
    assert left <= 0 and right >= int(history.time[-1]) // 1000
    assert opened.page.locator("#canvas").evaluate(
        "c => c.getContext('2d').getImageData(300, 200, 600, 200).data.some(b => b !== 255)"
    )


def test_an_index_finds_the_operation_of_either_event(opened: Opened, history: History) -> None:
    completion = int(history.select(f="send", type=Kind.OK)[10])
    invocation = int(history.pair[completion])
    for index in (completion, invocation):
        opened.search(f"index={index}")
        assert opened.marked == [invocation] and opened.selected == invocation
    left, right = opened.shown
    assert left <= history.time[invocation] / 1000 <= right
    assert right - left < 1e6, "close enough to read it"
    expect(opened.page.locator("#detail h3")).to_contain_text(f"op {invocation}–{completion}")


def test_a_bare_number_goes_to_that_index_first(opened: Opened, history: History) -> None:
    opened.search("1000")
    assert opened.selected == min(1000, int(history.pair[1000]))


def test_a_key_finds_the_operations_on_it_and_no_others(opened: Opened, history: History) -> None:
    opened.search("key=2")
    expected = []
    for op in history:
        if op.type is Kind.INVOKE:
            end = history.completion(op.index)
            mops = [*(op.value or []), *((end.value if end else None) or [])]
            keys = {mop[1] for mop in mops if mop[0] == "send"}
            keys |= {int(k) for mop in mops if mop[0] == "poll" and len(mop) > 1 for k in mop[1]}
            expected += [op.index] if 2 in keys else []
    assert opened.marked == expected
    assert opened.selected == expected[0]


def test_a_value_finds_who_sent_it_and_who_read_it(opened: Opened, history: History) -> None:
    send = history[int(history.select(f="send", type=Kind.OK)[5])]
    (value,) = [mop[2][1] for mop in send.value]
    opened.search(f"value={value}")
    pair = int(history.pair[send.index])
    assert pair in opened.marked
    for index in opened.marked:
        op, end = history[index], history.completion(index)
        numbers = str(op.value) + str(end.value if end else "")
        assert str(value) in numbers


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("type=fail", lambda op, end: end is not None and end.type is Kind.FAIL),
        ("f=poll type=info", lambda op, end: op.f == "poll" and end and end.type is Kind.INFO),
        ("node=n3 !type=ok", lambda op, end: end and end.node == "n3" and end.type is not Kind.OK),
        ("process=4", lambda op, end: op.process == 4),
        ("refuses", lambda op, end: end and end.error and "refuses" in end.error[1]),
        ('"refuses connections"', lambda op, end: end and end.error and "refuses" in end.error[1]),
        ("error=TIMEDOUT", lambda op, end: end and end.error and end.error[0] == "TimedOut"),
    ],
)
def test_terms_of_a_query_must_all_hold(
    opened: Opened, history: History, query: str, holds: Callable[..., bool]
) -> None:
    opened.search(query)
    expected = [
        op.index
        for op in history
        if op.type is Kind.INVOKE and holds(op, history.completion(op.index))
    ]
    assert expected and opened.marked == expected


def test_matches_are_counted_and_stepped_through(opened: Opened) -> None:
    opened.search("type=info")
    count = len(opened.marked)
    page = opened.page
    expect(page.locator("#matches")).to_have_text(f"1 of {count}")
    page.keyboard.press("Enter")
    expect(page.locator("#matches")).to_have_text(f"2 of {count}")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(page.locator("#matches")).to_have_text(f"{count} of {count}")
    page.focus("#canvas")
    page.keyboard.press("n")
    expect(page.locator("#matches")).to_have_text(f"1 of {count}")


def test_what_nobody_said_matches_nothing_and_escape_lets_go(opened: Opened) -> None:
    opened.search("no-such-thing")
    expect(opened.page.locator("#matches")).to_have_text("no match")
    opened.page.keyboard.press("Escape")
    expect(opened.page.locator("#matches")).to_have_text("")
    assert opened.page.evaluate("assay.view.lit === null")


def centre(opened: Opened) -> tuple[float, float]:
    opened.page.locator("#canvas").scroll_into_view_if_needed()
    box = opened.page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2


def span(opened: Opened) -> float:
    left, right = opened.shown
    return right - left


def test_the_wheel_zooms_around_the_pointer(opened: Opened) -> None:
    x, y = centre(opened)
    opened.page.mouse.move(x - 5, y)
    opened.page.mouse.move(x, y)
    at = "px => assay.view.timeAt(px - assay.view.canvas.getBoundingClientRect().left)"
    before, under = span(opened), opened.page.evaluate(at, x)
    opened.page.mouse.wheel(0, -240)
    opened.page.wait_for_function("span => assay.view.to - assay.view.from < span", arg=before)
    assert opened.page.evaluate(at, x) == pytest.approx(under, abs=before / 1000)
    opened.page.mouse.wheel(0, 240)
    opened.page.wait_for_function("s => assay.view.to - assay.view.from > s * .99", arg=before)


def test_a_page_that_is_scrolled_under_the_pointer_goes_on_scrolling(opened: Opened) -> None:
    page = opened.page
    page.evaluate("scrollTo(0, document.getElementById('canvas').offsetParent.offsetTop - 500)")
    page.mouse.move(700, 100)
    before = page.evaluate("scrollY")
    for _ in range(12):
        page.mouse.wheel(0, 120)
    page.wait_for_function("y => scrollY > y + 900", arg=before)
    assert span(opened) >= 60e6


def test_keys_zoom_move_and_show_all(opened: Opened) -> None:
    page = opened.page
    page.focus("#canvas")
    whole = span(opened)
    page.keyboard.press("+")
    page.keyboard.press("+")
    near = span(opened)
    assert near < whole * 0.4
    left = opened.shown[0]
    page.keyboard.press("ArrowRight")
    assert opened.shown[0] > left and span(opened) == pytest.approx(near)
    page.keyboard.press("Home")
    assert opened.shown[0] <= 0
    page.keyboard.press("-")
    assert span(opened) > near
    page.keyboard.press("0")
    assert span(opened) >= 60e6


def test_dragging_moves_the_view(opened: Opened) -> None:
    page = opened.page
    page.focus("#canvas")
    page.keyboard.press("+")
    left = opened.shown[0]
    x, y = centre(opened)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y, steps=4)
    page.mouse.up()
    assert opened.shown[0] > left
    assert opened.selected == -1, "a drag is no click"


def test_the_overview_moves_the_view(opened: Opened) -> None:
    page = opened.page
    page.focus("#canvas")
    for _ in range(4):
        page.keyboard.press("+")
    page.locator("#overview").scroll_into_view_if_needed()
    page.click("#overview", position={"x": 1000, "y": 20})
    left, right = opened.shown
    assert left < page.evaluate("assay.view.overviewTime(1000)") < right


def test_a_click_on_a_bar_says_what_it_is(opened: Opened, history: History) -> None:
    index = int(history.select(f="send", type=Kind.INFO)[0])
    opened.search(f"index={index}")
    page = opened.page
    page.keyboard.press("Escape")
    assert opened.selected == -1
    place = """index => {
      const { view, o } = assay, row = o.rowOf(index);
      return { x: view.x((o.start[row] + o.finish[row]) / 2),
               y: view.lanesTop + (o.lane[row] + .5) * view.laneHeight };
    }"""
    page.click("#canvas", position=page.evaluate(place, index))
    assert opened.selected == int(history.pair[index])
    expect(page.locator("#detail")).to_contain_text("TimedOut: no answer within 3 s")
    page.focus("#canvas")
    page.keyboard.press("]")
    following = opened.selected
    assert following > index
    page.keyboard.press("[")
    assert opened.selected == int(history.pair[index])


def test_a_finding_marks_its_operations_and_the_way_back_leads_to_it(
    opened: Opened, run: RunFolder, history: History
) -> None:
    page = opened.page
    witness = run.load("verdict.json")["anomalies"]["lost-write"]["examples"][0]["witness"]
    page.click("#finding-1 a.show")
    expect(page.locator("#canvas")).to_be_in_viewport()
    expected = sorted({history.invocation(index).index for index in witness})
    assert opened.marked == expected
    left, right = opened.shown
    assert all(left <= history.time[index] / 1000 <= right for index in witness)
    expect(page.locator("#detail")).to_contain_text("lost-write")
    page.locator("#detail a.op").first.click()
    assert opened.selected == expected[0]
    page.locator('#detail a[href="#finding-1"]').click()
    expect(page.locator("#finding-1")).to_be_in_viewport()
    expect(page.locator("#finding-1")).to_have_class("finding here")


def test_an_operation_of_a_sentence_is_shown_in_the_timeline(
    opened: Opened, history: History
) -> None:
    link = opened.page.locator("#finding-1 .because a.op").first
    index = int(link.inner_text().split()[1])
    for _ in range(2):  # the second click changes no address, and works
        link.click()
        assert opened.selected == history.invocation(index).index
        expect(opened.page.locator("#canvas")).to_be_in_viewport()
        opened.page.evaluate("assay.letGo()")
        link.scroll_into_view_if_needed()


def test_an_address_with_an_operation_or_a_finding_opens_there(
    open_page: Open, run: RunFolder, history: History
) -> None:
    it = open_page(run.report, fragment="#op-1001")
    assert it.selected == history.invocation(1001).index
    expect(it.page.locator("#canvas")).to_be_in_viewport()
    it = open_page(run.report, fragment="#finding-2")
    expect(it.page.locator("#finding-2 .because")).to_be_in_viewport()


def test_a_click_on_a_chart_looks_there_in_the_timeline(opened: Opened) -> None:
    chart = opened.page.locator("svg").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    chart.click(position={"x": box["width"] / 2, "y": 60})
    left, right = opened.shown
    assert right - left < 10e6 and 20e6 < (left + right) / 2 < 35e6
    expect(opened.page.locator("#canvas")).to_be_in_viewport()


def test_faults_crashes_and_phases_are_drawn(opened: Opened) -> None:
    found = opened.page.evaluate(
        "({targets: assay.view.targets, bands: assay.o.bands.map(b => b.name), "
        "phases: assay.o.phases.map(p => p.name)})"
    )
    assert found["targets"] == ["n1", "n2", "links"]
    assert found["bands"] == ["kill", "pause", "partition", "crash"]
    assert found["phases"] == ["main", "heal", "final-reads"]
    for name in found["bands"]:
        expect(opened.page.locator("#legend")).to_contain_text(name)


def test_a_fault_under_the_pointer_says_what_it_is(opened: Opened) -> None:
    page = opened.page
    page.locator("#canvas").scroll_into_view_if_needed()
    place = page.evaluate(
        "({x: assay.view.x(12e6), y: assay.view.lanesTop - 8 - 16 * 2 + 8})"  # the lane of n2
    )
    page.hover("#canvas", position=place)
    expect(page.locator("#tip")).to_have_text("kill of n2 at 10.0 s, for 4.23 s")


@pytest.mark.parametrize(("scheme", "paper"), [("light", 255), ("dark", 18)])
def test_the_page_is_light_or_dark_as_the_reader_likes(
    open_page: Open, run: RunFolder, scheme: str, paper: int
) -> None:
    page = open_page(run.report, color_scheme=scheme).page
    assert page.evaluate("getComputedStyle(document.body).backgroundColor").startswith(
        f"rgb({paper},"
    )
    pixel = "c => c.getContext('2d').getImageData(2, 2, 1, 1).data[0]"
    assert page.locator("#canvas").evaluate(pixel) == paper


CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const linear = c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map(c => linear(c / 255));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
  };
  const poor = [];
  for (const e of document.querySelectorAll("header *, nav *, main *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("svg, .track")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) poor.push([e.tagName, e.className, ratio.toFixed(2), e.textContent]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_wcag_asks_for(
    open_page: Open, run: RunFolder, scheme: str
) -> None:
    assert open_page(run.report, color_scheme=scheme).page.evaluate(CONTRAST) == []


def test_on_a_phone_nothing_sticks_out(open_page: Open, run: RunFolder) -> None:
    page = open_page(run.report, viewport={"width": 390, "height": 844}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_keyboard_alone_gets_everywhere(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    for _ in range(6):
        page.keyboard.press("Tab")
    expect(page.locator("#canvas")).to_be_focused()


def test_on_paper_the_page_is_light_and_every_finding_open(open_page: Open, run: RunFolder) -> None:
    page = open_page(run.report, color_scheme="dark").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details:not([open])").count() == 0
    page.wait_for_function("assay.view.context.getImageData(2, 2, 1, 1).data[0] === 255")


SCRIPT = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
TEXTS = (SCRIPT, "</script><script>window.ran = 1</script>", "<!--", "\u2028", "\x1b[31m", "\"'`")


def test_values_that_are_scripts_show_as_text_and_do_not_run(
    open_page: Open, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    recorder = Recorder(run.history)
    for number, text in enumerate(TEXTS):
        recorder.record(number, Kind.INVOKE, number, text, [["send", text, text]], node=text)
        recorder.record(number + 1000, Kind.FAIL, number, text, text, (text, text), text)
    recorder.close()
    findings = [Finding(text, text, (text,), (0, 1), reason=text) for text in TEXTS]
    runs.save_verdict(
        run, Verdict.of(findings, doubts=TEXTS, stats={"system": dict.fromkeys(TEXTS, 1)})
    )
    run.save(
        "test.json", {"name": SCRIPT, "command": SCRIPT, "options": dict.fromkeys(TEXTS, SCRIPT)}
    )
    it = open_page(write_report(run))
    page = it.page
    expect(page.locator("#finding-1 summary").first).to_have_text(SCRIPT)
    for number, text in enumerate(TEXTS):
        it.search(f"index={2 * number}")
        shown = text.replace("\x1b", "␛").replace("\u2028", "\\u2028")
        expect(page.locator("#detail h3")).to_contain_text(shown)
        expect(page.locator("#detail")).to_contain_text(f"{shown}: {shown}")
    page.click("#finding-1 a.show")
    expect(page.locator("#detail")).to_contain_text(SCRIPT)
    page.hover("#canvas", position={"x": 640, "y": 40})
    assert page.evaluate("typeof window.ran") == "undefined"
    assert page.title().endswith(SCRIPT)


def test_a_run_of_nothing_opens(open_page: Open, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.history.touch()
    it = open_page(write_report(run))
    expect(it.page.locator("h1 .mark")).to_have_text("Unjudged")
    it.search("type=ok")
    expect(it.page.locator("#matches")).to_have_text("no match")
