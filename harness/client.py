"""Clients, and the one place where errors become completions.

A workload's client speaks for one process to one node. It returns a value or raises; only
`classify` here says what an error means for the history.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol, Self

from harness.cluster.contract import Address
from harness.errors import OpError
from harness.op import Kind, Op


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process's client connects.

    Attributes:
        node: the node that this process's worker is bound to.
        host: the client host that it lives on.
        address: where that node is reached from there.
        bootstrap: every node's address from there, this node's first.
    """

    node: str
    host: str
    address: Address
    bootstrap: tuple[Address, ...]


class Client(Protocol):
    """Speaks for one process. All methods run on the interpreter's loop and may be cancelled.

    A client of a blocking library runs its calls on a `harness.threads.WorkerThread`.
    """

    async def open(self, endpoint: Endpoint) -> Self:
        """A new client, connected. Must not change the logical state of the system."""
        ...

    async def setup(self) -> None:
        """Make what the workload needs (topics, tables), before all operations.

        Called by one client, and by another one if it failed: what is there already is fine.
        """
        ...

    async def invoke(self, op: Op) -> Any:
        """Perform the operation; return the value of its OK, or raise.

        An `OpError` says itself whether it is definite; any other exception is indefinite.
        """
        ...

    async def teardown(self) -> None: ...

    async def close(self) -> None:
        """Let go of connections and threads. Must not change the logical state of the system."""
        ...


def classify(error: BaseException, f: str, reads: frozenset[str]) -> tuple[Kind, tuple[str, str]]:
    """What an error means for the operation that met it.

    An indefinite error is INFO, since the effect may yet come; for `reads` it is FAIL, since a read
    without a result has no effect that anybody could see.
    """
    if isinstance(error, OpError):
        definite, name = error.definite, error.name
    elif isinstance(error, asyncio.TimeoutError):
        definite, name = False, "TimedOut"
    else:
        definite, name = False, type(error).__name__
    kind = Kind.FAIL if definite or f in reads else Kind.INFO
    return kind, (name, str(error) or name)
