"""Steps that run to their end, also when whoever waits for them is cancelled.

A fault is half of the harness's knowledge: a run that ends while a node is being started must still
know that it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Unbroken:
    """The steps that are under way."""

    def __init__(self) -> None:
        self._steps: set[asyncio.Task[Any]] = set()

    def begin(self, step: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a step that nobody need wait for."""
        task = asyncio.create_task(step)
        self._steps.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(self, step: Coroutine[Any, Any, T]) -> T:
        """The step's result, or its error. Cancelled, the caller leaves and the step goes on."""
        return await asyncio.shield(self.begin(step))

    async def settle(self) -> None:
        """Wait until no step is under way; their errors are their callers' to see."""
        while self._steps:
            await asyncio.wait(self._steps)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._steps.discard(task)
        if not task.cancelled():
            task.exception()  # seen, though the caller may have left
