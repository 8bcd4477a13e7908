"""What a person sees while a test runs: a line that lives on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.nemesis import Band
from harness.op import NEMESIS, Kind, Op

REFRESH_PER_S = 4


class Silent:
    """For `--json` and tests."""

    def phase(self, name: str) -> None:
        pass

    def event(self, op: Op) -> None:
        pass


class Terminal:
    """Time, rate, counts and active faults; on a terminal as one line that is rewritten."""

    def __init__(self, console: Console, bands: Mapping[str, Band] | None = None) -> None:
        self._console = console
        self._bands = tuple((bands or {}).values())
        self._counts: Counter[Kind] = Counter()
        self._active: dict[str, Any] = {}
        self._name, self._since = "", time.monotonic()
        self._done_before = 0
        self._live: Live | None = None

    def __enter__(self) -> Terminal:
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._line,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def phase(self, name: str) -> None:
        self._name, self._since = name, time.monotonic()
        self._done_before = self._done()
        if self._live is None:
            self._console.print(f"  {name}", highlight=False)

    def event(self, op: Op) -> None:
        if op.process == NEMESIS:
            self._fault(op)
        elif op.type is not Kind.INVOKE:
            self._counts[op.type] += 1

    def _fault(self, op: Op) -> None:
        """A fault is on when it has come back and was not skipped."""
        effect = (op.extra or {}).get("effect")
        if effect is None or effect.get("outcome") == "skipped":
            return
        for band in self._bands:
            if op.f in band.start:
                self._active[band.name] = op.value
            elif op.f in band.stop:
                self._active.pop(band.name, None)

    def _done(self) -> int:
        return sum(self._counts.values())

    def _line(self) -> Text:
        elapsed_s = time.monotonic() - self._since
        rate = (self._done() - self._done_before) / max(elapsed_s, 0.1)
        line = Text(f"{self._name:<12}", style="bold")
        line.append(f" {elapsed_s:5.1f} s  {rate:6.0f} op/s  ", style="default")
        for kind, style in ((Kind.OK, "green"), (Kind.FAIL, "yellow"), (Kind.INFO, "magenta")):
            line.append(f"{kind.value} {self._counts[kind]}  ", style=style)
        for name, value in self._active.items():
            line.append(f" {name} {_short(value)}", style="bold red")
        return line


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("behaviour", list(value))
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
