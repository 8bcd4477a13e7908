"""Tasks and futures whose place in a set does not depend on their address.

Client libraries wait on sets of tasks and look at them in the order of iteration, which follows
the hashes. Python's own are made of addresses, so that one run would differ from the next.
"""

from __future__ import annotations

import asyncio
from typing import Any


class SimFuture(asyncio.Future[Any]):
    """A future that is hashed by when somebody first asked for its hash: few are ever asked."""

    _hash = 0

    def __hash__(self) -> int:
        if not self._hash:
            loop: Any = self.get_loop()
            self._hash = loop.scheduler.sequence()
        return self._hash


class SimTask(asyncio.Task[Any]):
    """A task that is hashed by when it was made: asyncio puts it into a set at once."""

    _hash = 0

    def __hash__(self) -> int:
        if not self._hash:
            loop: Any = self.get_loop()
            self._hash = loop.scheduler.sequence()
        return self._hash
