"""One order for everything that happens in a simulated world, and its time.

    loops with something to do ──▶ one of them, drawn ──▶ one turn of it: what was ready, in order
             ▲                                                     │ nobody has anything to do
             └────────── what is due then ◀── the next timer ◀─────┘ time jumps there

Each incarnation of a host has a loop of its own (`harness.sim.loop`). Within a loop callbacks run
in the order in which they were made, as asyncio promises; which of several loops comes next at one
instant is drawn. Whoever runs is found by the running loop: identity is no context variable, since
those travel with the data from one host to another.

Time is an integer of nanoseconds that only goes on when nobody has anything to do.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events, format_helpers
from collections.abc import Callable
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from harness.errors import EnvironmentFailure

if TYPE_CHECKING:
    from harness.sim.loop import SimLoop

CANCELLED_MAX = 1000
"""Timers cancelled and still queued before the queue is made anew, if they are half of it."""


TURNS_MAX = 1_000_000
"""At one instant. An honest cluster needs some hundreds; so many last seconds, and then it is
certain that a loop goes round without ever waiting for anything."""


class Spinning(EnvironmentFailure):
    """A loop goes round and round while no time passes, and has no end."""


class Stuck(AssertionError):
    """Everybody waits, and nothing will ever happen."""


class Handle(asyncio.TimerHandle):
    """A callback of one loop, now or later. `asyncio`'s, without what debugging costs."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: SimLoop,
        context: contextvars.Context | None,
        when: float = 0.0,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]
        if self._scheduled:
            self._loop.scheduler.cancelled()


class Scheduler:
    """See the module.

    Attributes:
        now: nanoseconds since the world began.
        turns, callbacks: how many so far.
    """

    def __init__(self, rng: Random) -> None:
        self.now = 0
        self.turns = self.callbacks = 0
        self.runnable: list[SimLoop] = []
        self.sequence = count(1).__next__
        self._draw = rng.random
        self._timers: list[tuple[int, int, Handle]] = []
        self._cancelled = 0
        self._main: SimLoop | None = None
        self._turns_max = TURNS_MAX

    def at(self, when_ns: int, handle: Handle) -> None:
        """Have the handle's loop run it at a time, not before now."""
        handle._scheduled = True
        heapq.heappush(self._timers, (when_ns, self.sequence(), handle))

    def cancelled(self) -> None:
        """A timer was cancelled: it stays queued until it would be due, or too many do."""
        self._cancelled += 1
        timers = self._timers
        if self._cancelled > CANCELLED_MAX and self._cancelled * 2 > len(timers):
            timers[:] = [timer for timer in timers if not timer[2]._cancelled]
            heapq.heapify(timers)
            self._cancelled = 0

    def run(self, over: Callable[[], bool], main: SimLoop | None = None) -> None:
        """Until `over` says so, asked after each turn, of which those of the `main` loop are short.

        Raises:
            Stuck: nobody has anything to do, and no timer is set.
            Spinning: the harness' own loop has no end; another one's ends its process.
            KeyboardInterrupt: wherever it came.
        """
        before = events._get_running_loop()
        self._main = main
        runnable, turn, advance, draw = self.runnable, self._turn, self._advance, self._draw
        try:
            while not over():
                if not runnable:
                    advance()
                    continue
                if len(runnable) == 1:
                    turn(runnable.pop())
                    continue
                chosen = int(draw() * len(runnable))
                loop = runnable[chosen]
                runnable[chosen] = runnable[-1]
                runnable.pop()
                turn(loop)
        finally:
            events._set_running_loop(before)

    def _turn(self, loop: SimLoop) -> None:
        """All that was ready in a loop. What they make ready waits for the next turn, unless nobody
        else has anything to do at this instant."""
        if loop.held:
            return  # paused, or dead: `SimLoop.release` comes back to it
        ready, runnable = loop.ready, self.runnable
        popleft = ready.popleft
        events._set_running_loop(loop)
        while ready:
            self.turns += 1
            if self.turns > self._turns_max:
                self._spins(loop)
                if loop.held:
                    return
            left = len(ready)
            self.callbacks += left
            while left:
                left -= 1
                handle = popleft()
                if handle._cancelled:
                    continue
                try:
                    handle._context.run(handle._callback, *handle._args)
                except SystemExit as wish:
                    loop.exiting(wish)
                except KeyboardInterrupt:  # of whoever runs this world, not of this host
                    runnable.append(loop)
                    raise
                except BaseException as error:
                    loop.failed(handle, error)
                if loop.held:
                    return
            if runnable or loop is self._main:
                break
        if ready:
            runnable.append(loop)
        else:
            loop.queued = False

    def _spins(self, loop: SimLoop) -> None:
        self._turns_max = self.turns + TURNS_MAX
        loop.exiting(
            Spinning(
                f"{loop.name} did something {TURNS_MAX:,} times while no time passed: it spins, "
                f"and would for ever; next is {_told(loop.ready[0])}"
            )
        )

    def _advance(self) -> None:
        """Go on to the next timer, and make everything ready that is due then."""
        timers, runnable = self._timers, self.runnable
        pop = heapq.heappop
        while timers and timers[0][2]._cancelled:
            pop(timers)
            self._cancelled -= 1
        if not timers:
            raise Stuck("everybody waits, and nothing will ever happen")
        now = timers[0][0]
        if now > self.now:
            self.now = now
            self._turns_max = self.turns + TURNS_MAX
        else:
            now = self.now
        while timers and timers[0][0] <= now:
            handle = pop(timers)[2]
            if handle._cancelled:
                self._cancelled -= 1
                continue
            handle._scheduled = False
            loop = handle._loop
            if not loop.queued:
                loop.queued = True
                runnable.append(loop)
            if not loop.dead:
                loop.ready.append(handle)


def _told(handle: Handle) -> str:
    """What a callback is about: the task that goes on, if it is one's."""
    task = getattr(handle._callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return format_helpers._format_callback_source(handle._callback, handle._args)
    stack = task.get_stack(limit=1)
    where = f", at {stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else ""
    return f"the task {task.get_name()!r}{where}"
