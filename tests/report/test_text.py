"""A verdict on a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given

from harness.report.text import render
from harness.verdict import Finding, Outcome, Verdict
from tests.report.html.test_markup import ANY_TEXT

LOST = Finding(
    "lost-write",
    "5 was acknowledged and is gone",
    ("p0 was told at op 7 that 5 is at offset 3", "however, op 31 read past it: a contradiction"),
    witness=(6, 7, 31),
)


def test_the_first_line_says_how_it_went() -> None:
    assert render(Verdict.of([LOST]), "log / kill").splitlines()[0] == "INVALID  log / kill"
    assert render(Verdict(Outcome.VALID), "log").splitlines()[0] == "VALID  log"


def test_a_finding_is_an_argument_with_the_next_commands() -> None:
    text = render(
        Verdict.of([LOST]), "log", repeat="assay run log --seed 7", report=Path("report.html")
    )
    lines = text.splitlines()
    assert "    5 was acknowledged and is gone" in lines
    assert lines.index("      " + LOST.because[1]) > lines.index("      " + LOST.because[0])
    assert lines[-2:] == ["  repeat:  assay run log --seed 7", "  look:    report.html#op-6"]


def test_many_findings_of_a_kind_are_counted_and_a_few_shown() -> None:
    verdict = Verdict.of([LOST] * 50, counts={"lost-write": 1000})
    text = render(verdict, "log")
    assert "lost-write: 1000" in text
    assert text.count(LOST.claim) == 3
    assert "… and 997 more" in text


def test_what_is_allowed_is_listed_with_its_reason_and_is_no_failure() -> None:
    allowed = replace(LOST, reason="acks=1 and n1 was killed meanwhile")
    text = render(Verdict(Outcome.VALID, allowed=(allowed, allowed)), "log")
    assert "allowed: lost-write × 2: acks=1 and n1 was killed meanwhile" in text


def test_a_doubt_says_why_it_is_unknown() -> None:
    assert "doubt: no poll read anything" in render(
        Verdict.of(doubts=["no poll read anything"]), "log"
    )


def test_what_is_allowed_is_counted_exactly_though_few_are_kept() -> None:
    verdict = Verdict(Outcome.VALID, allowed=(LOST,), allowed_counts={"lost-write": 1000})
    assert "allowed: lost-write × 1000: legal under this contract" in render(verdict, "log")


def test_a_vacuous_run_is_warned_of() -> None:
    verdict = Verdict(Outcome.VALID, stats={"coverage": {"warnings": ["nobody read"]}})
    assert "  warning: nobody read" in render(verdict, "log").splitlines()


def test_what_a_checker_notes_of_what_it_saw_is_said_without_a_doubt() -> None:
    noted = Verdict.of(stats={"note": "3 were not judged"})
    verdict = Verdict.merge({"log": noted, "faults": Verdict.of(stats={"kill": {"observed": 1}})})
    assert verdict.outcome is Outcome.VALID
    assert "  note:    log: 3 were not judged" in render(verdict, "log").splitlines()


@given(ANY_TEXT)
def test_no_text_of_a_system_commands_the_terminal_or_passes_for_a_line_of_ours(text: str) -> None:
    finding = Finding("lost-write", text, (text,))
    said = render(Verdict.of([finding], doubts=[text], stats={"system": {text: 1}}), "log")
    said.encode()
    assert "\x1b" not in said and "\r" not in said and "\x9b" not in said
    first, *rest = said.split("\n")
    assert first == "INVALID  log"
    ours = {"  lost-write: 1", "    ", "      ", "  doubt: ", "  system:  "}
    assert all(line.startswith(tuple(ours)) for line in rest)
