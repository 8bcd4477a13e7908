"""What a person sees while a test runs."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from harness.nemesis import Band
from harness.op import NEMESIS, Kind, Op
from harness.progress import Terminal

BANDS = {
    "kill": Band("kill", frozenset({"kill"}), frozenset({"start"}), "#c0392b"),
    "links": Band("links", frozenset({"start-links"}), frozenset({"stop-links"}), "#16a085"),
}


@pytest.fixture
def seen() -> StringIO:
    return StringIO()


def terminal(seen: StringIO, *, tty: bool) -> Terminal:
    return Terminal(Console(file=seen, force_terminal=tty, width=120, color_system=None), BANDS)


def done(kind: Kind, process: int = 0) -> Op:
    return Op(0, 0, kind, process, "send")


def fault(f: str, value: object, outcome: str | None = "observed") -> Op:
    extra = None if outcome is None else {"effect": {"outcome": outcome, "evidence": {}}}
    return Op(0, 0, Kind.INFO, NEMESIS, f, value, extra=extra)


def test_where_there_is_no_terminal_each_phase_is_a_plain_line(seen: StringIO) -> None:
    with terminal(seen, tty=False) as progress:
        for name in ("start", "main"):
            progress.phase(name)
            progress.event(done(Kind.OK))
    assert seen.getvalue() == "  start\n  main\n"


def test_on_a_terminal_one_line_is_rewritten_and_gone_at_the_end(seen: StringIO) -> None:
    with terminal(seen, tty=True) as progress:
        progress.phase("main")
        progress.event(done(Kind.OK))
    text = seen.getvalue()
    assert "main" in text and "\x1b[2K" in text, "it is erased"
    assert text.count("\n") <= 1


def test_the_line_counts_operations_by_outcome_and_by_rate(seen: StringIO) -> None:
    progress = terminal(seen, tty=False)
    progress.phase("set-up")
    progress.event(done(Kind.OK))
    progress.phase("main")
    for kind in (Kind.INVOKE, Kind.OK, Kind.OK, Kind.FAIL, Kind.INFO):
        progress.event(done(kind))
    progress._since -= 2  # two seconds ago
    line = progress._line().plain
    assert line.startswith("main ")
    assert "2.0 s" in line and " 2 op/s" in line
    assert "ok 3  fail 1  info 1" in line


def test_the_line_shows_the_faults_that_are_on(seen: StringIO) -> None:
    progress = terminal(seen, tty=False)
    shown = lambda: progress._line().plain.partition("info 0")[2].split()  # noqa: E731
    progress.event(fault("kill", ["n1", "n2"], None))
    assert shown() == [], "it was asked for, and has not come back yet"
    progress.event(fault("kill", ["n1", "n2"]))
    progress.event(fault("start-links", {"behaviour": "flaky", "links": []}))
    assert shown() == ["kill", "n1+n2", "links", "flaky"]
    progress.event(fault("kill", ["n3"], "skipped"))
    progress.event(fault("stop-links", None))
    assert shown() == ["kill", "n1+n2"]
    progress.event(fault("start", ["n1"]))
    progress.event(fault("phase", "heal", None))
    assert shown() == []


def test_events_of_the_nemesis_are_no_operations(seen: StringIO) -> None:
    progress = terminal(seen, tty=False)
    progress.event(fault("kill", ["n1"]))
    assert "ok 0  fail 0  info 0" in progress._line().plain
