"""How far an exploration is: a bar that lives on a terminal, a plain line each minute elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 60.0
"""A log that somebody follows gets a line this often."""


class Counting:
    """Of `total` runs. `now` is in seconds."""

    def __init__(
        self, console: Console, total: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._total, self._now = console, total, now
        self._done = 0
        self._began = self._told = now()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("exploring", total=total)

    def __enter__(self) -> Counting:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, failing: int) -> None:
        """One more run is over; of all up to now, so many failed."""
        self._done += 1
        self._bar.update(self._task, advance=1, description=f"{failing} failing")
        now = self._now()
        if not self._console.is_terminal and now - self._told >= EVERY_S:
            self._told = now
            took = f"{now - self._began:.0f} s"
            self._console.print(
                f"{self._done} of {self._total} runs, {failing} failing, {took}",
                highlight=False,
                soft_wrap=True,
            )
