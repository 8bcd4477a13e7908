"""Clients, and the one place where errors become completions.

A workload's client speaks for one process to one node. It returns a value or raises; only
`classify` here says what an error means for the history.
"""

from __future__ import annotations

import asyncio
import traceback
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


FRAMES_MAX = 12
"""Of a traceback, the innermost ones."""

_OF_PYTHON = frozenset({"builtins", "asyncio", "json", "struct"})
_FORESEEN = (OpError, OSError, EOFError, asyncio.CancelledError)


def is_mistake(error: BaseException) -> bool:
    """Whether an error tells of the code that raised it, and not of the system that was asked:
    Python's own, unless it is of the network. A library's own errors are its word for the system's.

    >>> is_mistake(KeyError("offset")), is_mistake(ConnectionResetError())
    (True, False)
    """
    home = type(error).__module__.partition(".")[0]
    return home in _OF_PYTHON and not isinstance(error, _FORESEEN)


def place(error: BaseException) -> tuple[str, str, int]:
    """The error's name, and the file and line where it was raised."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = ("", 0) if last is None else (last.tb_frame.f_code.co_filename, last.tb_lineno)
    return (type(error).__name__, *where)


def told(error: BaseException) -> str:
    """The error's traceback, as it stands in a history."""
    lines = traceback.format_exception(error, limit=-FRAMES_MAX)
    return "".join(lines).encode("utf-8", "replace").decode()


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
