"""A thread of its own for each client of a blocking library.

A call that is cancelled leaves its thread behind: nobody can end a thread that waits for a socket.
Such a thread is *stuck*, counted, and forgotten; it is a daemon, so that it cannot keep the harness
from ending. Past `STUCK_MAX` of them the system under test or its library is so sick that more
would hide it: opening fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from harness.errors import Unavailable

T = TypeVar("T")

STUCK_MAX = 200

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop | None, "asyncio.Future[Any] | None"]


class _Count:
    """How many threads are stuck now, in this process; and how many ever were."""

    now = 0
    ever = 0


def stuck_threads() -> int:
    """How many calls were abandoned so far."""
    return _Count.ever


class WorkerThread:
    """Runs calls one after another on one thread, started at the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stuck = False
        self._closed = False

    @property
    def stuck(self) -> bool:
        """Whether a call was cancelled and may still be running: no later call would be served."""
        return self._stuck

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run `function` on the thread and wait for its result or error.

        Raises:
            Unavailable: too many threads of this process are stuck already.
        """
        assert not self._closed and not self._stuck, "this thread serves no more"
        self._start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.put((lambda: function(*arguments), loop, future))
        try:
            return await future
        except asyncio.CancelledError:
            self._stuck = True
            _Count.now += 1
            _Count.ever += 1
            raise

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """Run `function` on the thread some time; nobody hears of its result."""
        assert not self._closed
        self._start()
        self._jobs.put((lambda: function(*arguments), None, None))

    def close(self) -> None:
        """Let the thread end after what it was given. Never blocks; idempotent."""
        self._closed = True
        self._jobs.put(None)

    def _start(self) -> None:
        if self._thread is not None:
            return
        if _Count.now >= STUCK_MAX:
            raise Unavailable(
                f"{_Count.now} threads wait for calls that never came back; no more are started"
            )
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, future = job
            try:
                result, error = work(), None
            except BaseException as raised:
                result, error = None, raised
            if loop is not None and future is not None:
                _hand_over(loop, future, result, error)
            # A result may hold sockets: it must not live on in this frame while waiting.
            del job, work, loop, future, result, error
        if self._stuck:
            _Count.now -= 1  # it came back after all


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    result: Any,
    error: BaseException | None,
) -> None:
    def finish() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over, nobody waits
        loop.call_soon_threadsafe(finish)
