"""JUnit XML of verdicts."""

from __future__ import annotations

from xml.etree import ElementTree

from harness.report import junit
from harness.verdict import Finding, Verdict

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
