"""Work that goes on in the background, and whose failure does not go by in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from harness.host.contract import Host


class Background:
    """The tasks of one part of a node. `event` is what the node's log calls one that failed."""

    def __init__(self, host: Host, event: str) -> None:
        self._host, self._event = host, event
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a bug of ours
            self._host.log(self._event, task=task.get_name(), error=f"{error!r}")

    async def close(self) -> None:
        """Cancel all of it, and wait for its end."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
