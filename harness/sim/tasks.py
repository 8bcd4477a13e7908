"""Tasks and futures whose place in a set does not depend on their address.

Client libraries wait on sets of tasks and look at them in the order of iteration, which follows
the hashes. Python's own are made of addresses, so that one run would differ from the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.sim.loop import SimLoop


class SimFuture(asyncio.Future[Any]):
    """A future that is hashed by when somebody first asked for its hash: few are ever asked."""

    _hash = 0

    def __hash__(self) -> int:
        if not self._hash:
            loop: Any = self.get_loop()
            self._hash = loop.scheduler.sequence()
        return self._hash


class SimTask(asyncio.Task[Any]):
    """A task that is hashed by when it was made."""

    def __init__(
        self, coro: Coroutine[Any, Any, Any], loop: SimLoop, name: str | None, context: Any
    ) -> None:
        self._number = loop.scheduler.sequence()  # before asyncio puts the task into a set
        name = name or f"{loop.name}-{self._number}"
        super().__init__(coro, loop=loop, name=name, context=context)

    def __hash__(self) -> int:
        return self._number
