"""A loop whose time goes by only when everybody waits: tests of time-outs that take no time.

    virtually(main())        runs a coroutine; `loop.time()` begins at 0 and jumps to the next timer

Not for threads, processes or sockets, which go by real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(AssertionError):
    """Everybody waits, and nothing will ever happen."""


class _Selector(selectors.DefaultSelector):
    """Never waits: what a wait would have lasted is added to the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise Stuck("everybody waits, and nothing will ever happen")
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        # Timers compare floats; else one could be due a rounding error later, for ever.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now_ns() -> int:
    """The running loop's time, as an interpreter asks for it."""
    return round(asyncio.get_running_loop().time() * 1e9)
