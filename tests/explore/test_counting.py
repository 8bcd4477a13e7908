"""Who follows an exploration's log sees how far it is; a terminal has a bar, and no such lines."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.console import Console

from harness.explore.counting import Counting


def told(*, terminal: bool, every_s: float, runs: int) -> str:
    """What is printed of `runs` that take `every_s` each and all fail."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=100)

    def clock() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += every_s

    with Counting(console, 1000, clock().__next__) as counting:
        for failing in range(1, runs + 1):
            counting.advance(failing)
    return written.getvalue()


def test_a_log_gets_a_line_a_minute() -> None:
    assert told(terminal=False, every_s=20.0, runs=7).splitlines() == [
        "3 of 1000 runs, 3 failing, 60 s",
        "6 of 1000 runs, 6 failing, 120 s",
    ]


def test_a_short_exploration_says_nothing_before_its_end() -> None:
    assert told(terminal=False, every_s=1.0, runs=59) == ""


def test_a_terminal_has_a_bar_instead() -> None:
    assert "runs," not in told(terminal=True, every_s=30.0, runs=5)
