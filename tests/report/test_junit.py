"""JUnit XML of verdicts."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given

from harness.report import junit
from harness.report.visible import visible
from harness.verdict import Finding, Verdict
from tests.report.html.test_markup import ANY_TEXT

LOST = Finding("lost-write", "5 was acknowledged and is gone", ("p0 was told so", "nobody read it"))


def suite(verdict: Verdict) -> ElementTree.Element:
    return ElementTree.fromstring(junit.render(verdict, "log", 1.5))


def test_each_checker_is_a_case_and_counts_once() -> None:
    verdict = Verdict.merge(
        {"log": Verdict.of([LOST]), "crash": Verdict.of(), "faults": Verdict.of(doubts=["why"])}
    )
    found = suite(verdict)
    assert {k: found.get(k) for k in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    assert [case.get("name") for case in found] == ["log", "crash", "faults"]


def test_a_failure_carries_the_argument() -> None:
    failure = suite(Verdict.merge({"log": Verdict.of([LOST])})).find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert failure.get("message") == "lost-write × 1"
    assert failure.text.splitlines() == [LOST.claim, *LOST.because]


def test_control_characters_and_markup_of_a_message_do_not_break_the_file() -> None:
    nasty = Finding("phantom", "read '\x00\x1b]<script>&' that nobody sent")
    failure = suite(Verdict.merge({"log": Verdict.of([nasty])})).find("testcase/failure")
    assert failure is not None and failure.text is not None
    assert "<script>&" in failure.text


def test_a_doubt_of_the_whole_run_is_an_error_though_every_checker_passed() -> None:
    whole = Verdict.merge({"log": Verdict.of()}).doubted("the run was interrupted (SIGINT)")
    found = suite(whole)
    assert (found.get("tests"), found.get("errors")) == ("2", "1")
    error = found.find("testcase[@name='run']/error")
    assert error is not None and error.get("message") == "the run was interrupted (SIGINT)"


def test_a_doubt_of_a_checker_is_told_once() -> None:
    found = suite(Verdict.merge({"log": Verdict.of(doubts=["no poll read anything"])}))
    assert (found.get("tests"), found.get("errors")) == ("1", "1")


def test_a_doubt_of_many_lines_is_named_by_its_first() -> None:
    found = suite(Verdict.merge({"log": Verdict.of(doubts=["it crashed\nTraceback"])}))
    error = found.find("testcase/error")
    assert error is not None
    assert (error.get("message"), error.text) == ("it crashed", "it crashed\nTraceback")


@given(ANY_TEXT)
def test_any_text_is_text_of_the_file(text: str) -> None:
    finding = Finding(text, text, (text,))
    xml = junit.render(Verdict.merge({text: Verdict.of([finding])}), text, 0.1)
    found = ElementTree.fromstring(xml.encode())
    case, failure = found.find("testcase"), found.find("testcase/failure")
    assert case is not None and failure is not None
    assert case.get("name") == found.get("name") == visible(text)
    assert failure.text == visible(f"{text}\n{text}")
