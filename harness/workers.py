"""Who performs operations: one worker a thread of the context, client threads and the nemesis'.

A worker is one long-lived task that takes an operation, performs it and hands over how it ended. A
time-out cancels the task and starts another, so that a client which ignores its cancellation holds
up nobody; what the old task says later is dropped.

A worker's *hands* know how: a client, opened when it is first needed and let go when its process is
retired; or the nemesis' faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from harness.client import Client, Endpoint, classify, is_mistake, place, told
from harness.errors import AssayError, OpError
from harness.op import Kind, Op

CLOSE_TIMEOUT_S = 2.0

Completion = tuple[Kind, Any, tuple[str, str] | None, dict[str, Any] | None]
"""How an operation ended: its kind, value, error and extra."""


class Faults(Protocol):
    """The nemesis, as the interpreter sees it."""

    def resolve(self, f: str, value: Any) -> Any:
        """The value as it enters the history: targets are drawn here."""
        ...

    async def invoke(self, f: str, value: Any) -> tuple[Any, dict[str, Any]]:
        """Apply the fault; its value and what came of it."""
        ...


class Hands(Protocol):
    """What a worker works with."""

    @property
    def node(self) -> str | None:
        """The node that a client is bound to; None for the nemesis."""
        ...

    async def perform(self, op: Op) -> Completion:
        """Never raises but CancelledError, when somebody cancels the task."""
        ...

    def let_go(self) -> asyncio.Task[None] | None:
        """Part with what is held; the task that sees to it, if there is anything to do."""
        ...


class ClientHands:
    """A client of one endpoint. `problems` collects what the user should know."""

    def __init__(
        self, prototype: Client, endpoint: Endpoint, reads: frozenset[str], problems: list[str]
    ) -> None:
        self.node = endpoint.node
        self._prototype, self._endpoint = prototype, endpoint
        self._reads, self._problems = reads, problems
        self._client: Client | None = None
        self._mistakes: set[tuple[str, str, int]] = set()

    async def perform(self, op: Op) -> Completion:
        client = self._client
        if client is None:
            try:
                client = self._client = await self._prototype.open(self._endpoint)
            except Exception as error:
                why = ("NoClient", self._why_not(error))
                return Kind.FAIL, op.value, why, self._mistake(error)
        try:
            return Kind.OK, await client.invoke(op), None, None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled us: a library cancelled its own future, as when a connection goes.
            kind, why = classify(error, op.f, self._reads)
            return kind, op.value, why, None
        except Exception as error:
            kind, why = classify(error, op.f, self._reads)
            return kind, op.value, why, self._mistake(error)

    def let_go(self) -> asyncio.Task[None] | None:
        client, self._client = self._client, None
        return asyncio.ensure_future(_close(client)) if client is not None else None

    def _mistake(self, error: Exception) -> dict[str, Any] | None:
        """What the history says of an error that nobody foresaw: its name, and once a place the
        traceback, since it may be met thousands of times."""
        if not is_mistake(error):
            return None
        known, at = self._mistakes, place(error)
        again = at in known
        known.add(at)
        name = type(error).__name__
        return {"unhandled": name} if again else {"unhandled": name, "traceback": told(error)}

    def _why_not(self, error: Exception) -> str:
        if not isinstance(error, AssayError):
            return f"{type(error).__name__}: {error}"
        if not isinstance(error, OpError):
            self._problems.append(f"opening a client: {error}")
        return str(error)


class NemesisHands:
    """The faults of a test."""

    node = None

    def __init__(self, faults: Faults, problems: list[str]) -> None:
        self._faults, self._problems = faults, problems

    async def perform(self, op: Op) -> Completion:
        try:
            value, extra = await self._faults.invoke(op.f, op.value)
        except Exception as error:
            self._problems.append(f"{op.f} {op.value}: {type(error).__name__}: {error}")
            effect = {"outcome": "failed", "evidence": {"error": str(error)}}
            return Kind.INFO, op.value, (type(error).__name__, str(error)), {"effect": effect}
        return Kind.INFO, value, None, extra

    def let_go(self) -> asyncio.Task[None] | None:
        return None


class Worker:
    """Performs one operation at a time.

    Attributes:
        busy: the operation in flight. Whoever takes its completion sets it to None.
        serial: of the last dispatch; a completion with another one is late.
    """

    __slots__ = ("_done", "_ending", "_inbox", "_task", "busy", "hands", "serial", "thread")

    def __init__(
        self, thread: int, hands: Hands, done: Callable[[Worker, int, Completion], None]
    ) -> None:
        self.thread, self.hands, self._done = thread, hands, done
        self.busy: Op | None = None
        self.serial = 0
        self._task: asyncio.Task[None] | None = None
        self._inbox: asyncio.Future[Op] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def dispatch(self, op: Op) -> None:
        """Begin. `done` is called with this worker, the new serial and how it ended."""
        assert self.busy is None, "a worker has one operation at a time"
        self.busy = op
        self.serial += 1
        if self._task is None:
            self._inbox = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._work(), name=f"thread {self.thread}")
        assert self._inbox is not None
        self._inbox.set_result(op)

    def abandon(self) -> None:
        """Have nothing to do any more with how the operation ends."""
        assert self._task is not None
        self._task.cancel()
        self._keep(self._task)
        self._task = None

    def let_go(self) -> None:
        """Part with the client: its process is retired."""
        self._keep(self.hands.let_go())

    def close(self) -> set[asyncio.Task[None]]:
        """End everything; the tasks that still have to."""
        if self._task is not None:
            self.abandon()
        self.let_go()
        return set(self._ending)

    def _keep(self, task: asyncio.Task[None] | None) -> None:
        """Hold on to a task that nobody awaits, or it could vanish half done."""
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _work(self) -> None:
        """Serve for ever. Ends by cancellation only."""
        loop = asyncio.get_running_loop()
        perform, done = self.hands.perform, self._done
        while True:
            assert self._inbox is not None
            op = await self._inbox
            self._inbox = loop.create_future()
            serial = self.serial
            done(self, serial, await perform(op))


async def _close(client: Client) -> None:
    """Close a client that is not needed any more; its troubles are nobody's."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await client.close()
    except Exception:
        return
