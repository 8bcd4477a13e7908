"""The whole page of a run folder, whatever is missing from it and whatever stands in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import cli
from harness.cycle import Cycle, Step, Transaction
from harness.history import Recorder
from harness.op import NEMESIS, Kind
from harness.report import write_report
from harness.report.html import render
from harness.report.visible import visible
from harness.store import RunFolder
from harness.verdict import Finding, Outcome, Verdict
from tests.report import runs
from tests.report.html.test_markup import ANY_TEXT, NASTY, Parsed

OURS = {
    *("html", "head", "meta", "title", "link", "style", "body", "header", "nav", "main", "section"),
    *("h1", "h2", "h3", "p", "a", "span", "small", "i", "b", "em", "dl", "dt", "dd", "div", "br"),
    *("ol", "ul", "li", "table", "thead", "tr", "th", "td", "code", "pre", "kbd", "details"),
    *("summary", "figure", "figcaption", "svg", "path", "rect", "text", "form", "input", "button"),
    *("output", "canvas", "script", "g"),
}
"""Every element that the page is made of. `title` is one of SVG, too."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return runs.make(tmp_path_factory.mktemp("results"), operations=2000)


@pytest.fixture(scope="module")
def page(run: RunFolder) -> str:
    return render(run)


def empty(path: Path) -> RunFolder:
    path.mkdir(exist_ok=True)
    return RunFolder(path)


def test_the_verdict_comes_first(page: str) -> None:
    body = Parsed(page[page.index("<body") : page.index("<nav")]).text
    words = body.split()
    assert "Invalid" in words and words.index("Invalid") < words.index("forbids")
    assert "lost-write" in body and "× 2" in body.replace("\xa0", " ")


def test_everything_that_the_run_said_of_itself_is_there(page: str) -> None:
    text = Parsed(page).text
    assert runs.COMMAND in text
    for said in ("1729", "idempotence", "nemesis_interval", "kafka-python", "elections"):
        assert said in text, said
    assert "in flight" in text, "the coverage"
    assert "nobody can invent a message" in text, "the contract"
    assert "segment 3 has no index" in text, "the log of the node that crashed"


def test_the_page_needs_nothing_from_anywhere(page: str) -> None:
    tags = Parsed(page).tags
    sources = [a.get("src") for _, a in tags] + [a.get("href") for _, a in tags]
    assert {s for s in sources if s and not s.startswith("#")} == {"data:,"}
    assert "http:" not in page and "https:" not in page
    policy = next(a["content"] for t, a in tags if a.get("http-equiv") and t == "meta")
    assert policy and policy.startswith("default-src 'none'")


def test_links_within_the_page_lead_to_what_it_has(page: str) -> None:
    tags = Parsed(page).tags
    ids = [attributes["id"] for _, attributes in tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {str(a["href"])[1:] for t, a in tags if t == "a" and a.get("href") != "#"}
    assert {link for link in links if not link.startswith("op-")} <= set(ids)


def test_only_elements_of_ours_are_in_the_page(page: str) -> None:
    tags = Parsed(page).tags
    assert {tag for tag, _ in tags} <= OURS
    assert [tag for tag, _ in tags].count("script") == 2
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


def circle(said: str) -> Cycle:
    """Of two transactions that say whatever they are told to."""
    two = tuple(Transaction(name, (0,), 0, said, {0: said}, 1) for name in ("T1", "T2"))
    pairs = ((0, 1), (1, 0))
    return Cycle(two, tuple(Step(a, b, said, said, said, (said,), ((a, 0),)) for a, b in pairs))


HOSTILE = ANY_TEXT | st.sampled_from(NASTY)
JSON_TEXT = st.text() | st.sampled_from([text for text in NASTY if "\ud800" not in text])


@settings(max_examples=40, deadline=None)
@given(name=HOSTILE, said=HOSTILE, value=JSON_TEXT, key=JSON_TEXT)
def test_nothing_that_a_run_says_becomes_markup(
    tmp_path_factory: pytest.TempPathFactory, name: str, said: str, value: str, key: str
) -> None:
    folder = empty(tmp_path_factory.mktemp("run"))
    recorder = Recorder(folder.history)
    error = (key or "E", value)
    recorder.record(0, Kind.INVOKE, 0, value or "f", [[value, key]])
    recorder.record(5, Kind.FAIL, 0, value or "f", {key: value}, error, value or "n")
    recorder.record(6, Kind.INFO, NEMESIS, value or "f", [value], None, None, {"effect": {key: 1}})
    recorder.close()
    because = (said, "    " + said)
    finding = Finding(said, said, because, (0, 1, 2), key=said, reason=said, cycle=circle(said))
    verdict = Verdict(
        Outcome.INVALID, (finding,), (finding,), doubts=(said,), stats={"system": {said: said}}
    )
    test = {"name": name, "seed": said, "command": said, "options": {said: name, "system": said}}
    contract = {"mode": said, "anomalies": {said: {"here": said, "because": said}}}
    _dump(folder, "test.json", {**test, "contract": contract, "bands": [{"colour": said}]})
    _dump(folder, "verdict.json", verdict.to_json())
    html = render(folder)
    html.encode()
    parsed = Parsed(html)
    assert {tag for tag, _ in parsed.tags} <= OURS
    assert [tag for tag, _ in parsed.tags].count("script") == 2
    assert set(parsed.others) <= {"doctype html"}
    assert not [n for _, attributes in parsed.tags for n in attributes if n.startswith("on")]
    assert visible(said) in parsed.text


def _dump(folder: RunFolder, name: str, value: dict[str, Any]) -> None:
    """As `save`, but in ASCII: a file of another tool may spell halves of surrogate pairs."""
    (folder.path / name).write_text(json.dumps(value))


def test_a_run_that_was_killed_has_a_page_without_a_verdict(tmp_path: Path) -> None:
    run = empty(tmp_path / "run")
    runs.record(run, 100, 5)
    with run.history.open("ab") as file:
        file.write(b'{"index":999,"ti')
    text = Parsed(render(run)).text
    assert "Unjudged" in text and "The run stored no verdict" in text
    assert "the last line is torn" in text
    assert f"assay check {run.path}" in text


def test_a_run_without_operations_has_a_page(tmp_path: Path) -> None:
    run = empty(tmp_path / "run")
    run.history.touch()
    assert "No operation completed." in render(run)


def test_a_vacuous_run_warns_beside_its_verdict(tmp_path: Path) -> None:
    run = empty(tmp_path / "run")
    run.history.touch()
    verdict = Verdict(Outcome.VALID, stats={"coverage": {"warnings": ["no fault was applied"]}})
    runs.save_verdict(run, verdict)
    head = render(run).partition("<nav")[0]
    assert "no fault was applied" in head and "Valid" in head


def test_doubts_of_many_lines_show_the_first(tmp_path: Path) -> None:
    run = empty(tmp_path / "run")
    run.history.touch()
    runs.save_verdict(run, Verdict.of(doubts=["log crashed\nTraceback\n  line"]))
    html = render(run)
    assert "<summary>log crashed</summary><pre>Traceback\n  line</pre>" in html
    assert re.search(r"class=mark>Unknown<", html)


def test_the_command_writes_the_page_and_says_where(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    run.report.unlink(missing_ok=True)
    assert cli.main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.report)
    assert run.report.read_text().startswith("<!doctype html>")


def test_the_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    assert cli.main(["report", str(tmp_path)]) == 2


def test_writing_it_twice_gives_the_same_page(run: RunFolder) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
