"""A world in one process: machines, the network between them, time, and chance from one seed.

    with World(seed) as world:
        world.run(main())    on the harness' own loop, until it ends; as often as wanted

While it runs, the standard library is the simulated one (`harness.sim.stdlib`), and garbage is
collected at the end only: a finaliser that runs when memory happens to be short would make one run
differ from the next. One seed and one commit give one history, byte for byte, provided that strings
hash alike (PYTHONHASHSEED=0; the command line sees to that).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from asyncio import events
from collections.abc import AsyncGenerator, Coroutine, Iterator
from random import Random
from typing import Any, TypeVar

from harness import seeds
from harness.sim.clock import SimClock
from harness.sim.links import Weather
from harness.sim.loop import SimLoop
from harness.sim.machine import Machine
from harness.sim.network import Network
from harness.sim.process import require_assertions
from harness.sim.scheduler import Scheduler, Stuck
from harness.sim.stdlib import virtual

T = TypeVar("T")

END_TURNS_MAX = 100_000
"""For what the harness' loop still has to end; more is a task that will not."""


class World:
    """See the module.

    Attributes:
        machines: by name, in the order of their making.
    """

    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        require_assertions()
        self.seed = seed
        self.scheduler = Scheduler(self.draws("schedule"))
        clock = SimClock(self.scheduler)
        self._graves: list[tuple[SimLoop, list[asyncio.Task[Any]]]] = []
        network: Any = None
        kernel = SimLoop(self.scheduler, network, "kernel", clock, self.draws("kernel"))
        self.network = Network(kernel, self.draws, weather or Weather())
        self.harness = SimLoop(
            self.scheduler, self.network, "harness", clock, self.draws("harness")
        )
        self.harness.world = self
        self.machines: dict[str, Machine] = {}
        self._clusters = 0

    def draws(self, *names: object) -> Random:
        """Chance of its own for the consumer named so: one more elsewhere changes nothing here."""
        return seeds.stream(self.seed, "sim", *names)

    def machine(self, name: str) -> Machine:
        """The machine of that name, new if there is none yet."""
        if name not in self.machines:
            self.machines[name] = Machine(self, name)
        return self.machines[name]

    def claim(self) -> str:
        """A prefix for the hosts of one more cluster: none for the first."""
        self._clusters += 1
        return "" if self._clusters == 1 else f"w{self._clusters}-"

    def now_ns(self) -> int:
        return self.scheduler.now

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` ends on the harness' loop; the world stands still then.

        Raises:
            Stuck: everybody waits, and no timer is set. What `main` raises.
        """
        with _sealed():
            task: asyncio.Task[T] = self.harness.create_task(main, name="main")
            self.scheduler.run(task.done, self.harness)
            return task.result()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        with _sealed():
            self._end()

    # -- the end -----------------------------------------------------------------------------

    def bury(self, loop: SimLoop) -> None:
        """The incarnation is dead. Its tasks stay where they stopped, until the world ends."""
        self._graves.append((loop, _tasks_of(loop)))
        loop.kill()

    def _end(self) -> None:
        for machine in self.machines.values():
            if machine.loop is not None:
                machine.kill()
        self._settle()
        self.bury(self.harness)
        for loop, tasks in self._graves:
            events._set_running_loop(loop)  # which takes nothing any more
            try:
                for task in tasks:
                    _close(task)
            finally:
                events._set_running_loop(None)
        self._graves.clear()

    def _settle(self) -> None:
        """Cancel what the harness' loop has left, as `asyncio.run` does, and let it end."""
        tasks = _tasks_of(self.harness)
        for task in tasks:
            task.cancel()
        turns = self.scheduler.turns + END_TURNS_MAX
        over = lambda: self.scheduler.turns > turns or all(task.done() for task in tasks)  # noqa: E731
        with contextlib.suppress(Stuck):
            self.scheduler.run(over, self.harness)


@contextlib.contextmanager
def _sealed() -> Iterator[None]:
    """Nothing real comes in: neither time nor chance, nor finalisers that run at any moment."""
    collected, hooks = gc.isenabled(), sys.get_asyncgen_hooks()
    gc.disable()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_abandoned)
    try:
        with virtual():
            yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        if collected:
            gc.enable()


def _abandoned(generator: AsyncGenerator[Any, Any]) -> None:
    """Nobody will read it to its end: whoever dropped it closes it, as asyncio has it, or is dead
    and does nothing."""
    loop = events._get_running_loop()
    if loop is not None and not loop.is_closed():
        loop.call_soon(loop.create_task, generator.aclose())


def _tasks_of(loop: SimLoop) -> list[asyncio.Task[Any]]:
    """Those that are not done, in the order of their making."""
    return sorted((t for t in asyncio.all_tasks(loop)), key=hash)


def _close(task: asyncio.Task[Any]) -> None:
    """Have the coroutine end where it stands. Whatever it does then concerns nobody."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine: Any = task.get_coro()
    with contextlib.suppress(BaseException):
        coroutine.close()
