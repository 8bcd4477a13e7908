"""The standard library in a simulated world: clocks and chance are the host's, the rest is refused.

Unmodified clients ask `time`, `random`, `os.urandom`, `uuid` and `secrets`. While a world runs,
these answer by the loop that is running: a simulated one has a clock and chance of its own (and
lives by UTC), everybody else (other threads, the world's own code) gets the real thing. Threads,
processes and sockets would bring real chance in; they raise `NotSimulated` by their names.
`asyncio.as_completed` puts coroutines into a set, which is by address: here they are tasks before.

Blind to: clocks that are read in C (`datetime.now()`; the time stamps that aiokafka's extension
makes, which is why its adapter brings its own), functions that a module imported by name
(`from time import …`) before the world ran, and sets of anything else that hashes by its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from asyncio import events
from collections.abc import Callable, Iterator
from typing import Any

from harness.sim.loop import NotSimulated, SimLoop

_CLOCKS = {
    "time": lambda clock: clock.wall_ns() / 1e9,
    "time_ns": lambda clock: clock.wall_ns(),
    "monotonic": lambda clock: clock.monotonic_ns() / 1e9,
    "monotonic_ns": lambda clock: clock.monotonic_ns(),
    "perf_counter": lambda clock: clock.monotonic_ns() / 1e9,
    "perf_counter_ns": lambda clock: clock.monotonic_ns(),
    "process_time": lambda clock: clock.monotonic_ns() / 1e9,
    "process_time_ns": lambda clock: clock.monotonic_ns(),
    "thread_time": lambda clock: clock.monotonic_ns() / 1e9,
    "thread_time_ns": lambda clock: clock.monotonic_ns(),
}

_CHANCE = tuple(
    name for name in dir(random) if getattr(getattr(random, name), "__self__", None) is random._inst
)
"""Methods of the process-wide generator: all of them."""


@contextlib.contextmanager
def virtual() -> Iterator[None]:
    """For as long as a world runs. Worlds run one after another, never inside each other."""
    undo: list[Callable[[], None]] = []

    def patch(owner: Any, name: str, value: Any) -> None:
        before = getattr(owner, name)
        undo.append(lambda: setattr(owner, name, before))
        setattr(owner, name, value)

    for name, ask in _CLOCKS.items():
        patch(time, name, _clock(getattr(time, name), ask))
    gmtime = time.gmtime
    patch(time, "gmtime", _calendar(gmtime, gmtime))
    patch(time, "localtime", _calendar(time.localtime, gmtime))
    asctime, ctime, strftime = time.asctime, time.ctime, time.strftime
    patch(time, "asctime", lambda t=None: asctime(time.localtime() if t is None else t))
    patch(time, "ctime", lambda s=None: asctime(time.localtime(s)) if _running() else ctime(s))
    patch(
        time,
        "strftime",
        lambda format, t=None: strftime(format, time.localtime() if t is None else t),
    )
    as_completed = _as_completed(asyncio.as_completed)
    patch(asyncio, "as_completed", as_completed)
    patch(asyncio.tasks, "as_completed", as_completed)
    for name in _CHANCE:
        patch(random, name, _chance(getattr(random, name), name))
    urandom = _urandom(os.urandom)
    patch(os, "urandom", urandom)
    patch(random, "_urandom", urandom)  # what `secrets` and SystemRandom draw from
    patch(random.Random, "seed", _seed(random.Random.seed))
    patch(uuid, "uuid1", _uuid1(uuid.uuid1))
    patch(time, "sleep", _refused(time.sleep, "time.sleep(), which would hold up everybody"))
    patch(threading.Thread, "start", _refused(threading.Thread.start, "a thread"))
    patch(subprocess.Popen, "__init__", _refused(subprocess.Popen.__init__, "a process"))
    patch(socket.socket, "connect", _refused(socket.socket.connect, "a real socket"))
    patch(socket.socket, "bind", _refused(socket.socket.bind, "a real socket"))
    patch(socket, "getaddrinfo", _refused(socket.getaddrinfo, "a real name server"))
    patch(socket, "gethostname", _hostname(socket.gethostname))
    state = random.getstate()
    try:
        yield
    finally:
        for each in reversed(undo):
            each()
        random.setstate(state)


def _running() -> SimLoop | None:
    loop = events._get_running_loop()
    return loop if type(loop) is SimLoop else None


def _clock(real: Callable[[], Any], ask: Callable[[Any], Any]) -> Callable[[], Any]:
    def now() -> Any:
        loop = _running()
        return real() if loop is None else ask(loop.clock)

    return now


def _calendar(real: Callable[..., Any], utc: Callable[..., Any]) -> Callable[..., Any]:
    def calendar(seconds: float | None = None) -> Any:
        loop = _running()
        if loop is None:
            return real(seconds)
        return utc(loop.clock.wall_ns() / 1e9 if seconds is None else seconds)

    return calendar


def _as_completed(real: Callable[..., Any]) -> Callable[..., Any]:
    def as_completed(fs: Any, *, timeout: float | None = None) -> Iterator[Any]:
        loop = _running()
        if loop is not None and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
            fs = [asyncio.ensure_future(f) for f in dict.fromkeys(fs)]
        yield from real(fs, timeout=timeout)

    return as_completed


def _chance(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def draw(*args: Any, **options: Any) -> Any:
        loop = _running()
        return (real if loop is None else getattr(loop.rng, name))(*args, **options)

    return draw


def _urandom(real: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def urandom(size: int) -> bytes:
        loop = _running()
        return real(size) if loop is None else loop.rng.randbytes(size)

    return urandom


def _seed(real: Callable[..., None]) -> Callable[..., None]:
    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        loop = _running()
        if a is None and loop is not None and type(self) is random.Random:
            a = loop.rng.getrandbits(64)
        real(self, a, version)

    return seed


def _uuid1(real: Callable[..., uuid.UUID]) -> Callable[..., uuid.UUID]:
    def uuid1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        loop = _running()
        return real(node, clock_seq) if loop is None else uuid.UUID(bytes=loop.rng.randbytes(16))

    return uuid1


def _hostname(real: Callable[[], str]) -> Callable[[], str]:
    def gethostname() -> str:
        loop = _running()
        return real() if loop is None else loop.name

    return gethostname


def _refused(real: Callable[..., Any], what: str) -> Callable[..., Any]:
    def refuse(*args: Any, **options: Any) -> Any:
        loop = _running()
        if loop is None:
            return real(*args, **options)
        # Said aloud as well: an `except Exception` on the way must not make it vanish.
        print(f"assay: {loop.name} asked for {what} in a simulated world", file=sys.stderr)
        raise NotSimulated(f"{what} in a simulated world")

    return refuse
