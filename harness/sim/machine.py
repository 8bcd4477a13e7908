"""A machine of a simulated world: what stays when the process that runs on it is killed.

    Machine    its disk, its clocks, its place in the network
       └── incarnation    a loop and the tasks on it: `start` makes one, `kill` ends it

An incarnation that was killed never runs again. Its tasks are kept, un-collected, until the world
ends: were they closed earlier, their `finally` blocks would run in somebody else's turn.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.host.contract import Host
from harness.sim.clock import SimClock
from harness.sim.disk import SimDisk
from harness.sim.host import SimHost
from harness.sim.loop import SimLoop

if TYPE_CHECKING:
    from harness.sim.world import World

Program = Callable[[Host], Coroutine[Any, Any, Any]]


class Machine:
    """See the module.

    Attributes:
        loop: of the incarnation that runs; None while none does.
        starts: how many incarnations there were.
        on_end: called with the exit status when a process ended by itself.
        lines: what its processes logged, in order.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name, self._world = name, world
        self.clock = SimClock(world.scheduler)
        self.disk = SimDisk(partial(world.draws, "disk", name))
        self.loop: SimLoop | None = None
        self.starts = 0
        self.on_end: Callable[[int], None] = lambda status: None
        self.lines: list[str] = []
        world.network.hosts.add(name)

    def start(self, program: Program) -> None:
        """Run a program in a process of its own."""
        assert self.loop is None, f"{self.name} runs already"
        self.starts += 1
        world = self._world
        rng = world.draws("host", self.name, self.starts)
        loop = SimLoop(world.scheduler, world.network, self.name, self.clock, rng)
        loop.on_exit = partial(self._exit, loop)
        loop.on_error = self._log_error
        host = SimHost(self.name, self.clock, rng, self.disk.mount(), self.lines.append)
        self.loop = loop
        world.network.power_on(self.name)
        loop.call_soon(self._begin, loop, program(host))

    def kill(self) -> dict[str, Any]:
        """SIGKILL. What was written stays in the page cache: nothing is lost."""
        self._end(power=False)
        self.disk.kill()
        return {}

    def power_off(self) -> dict[str, Any]:
        """The machine loses power; what its disk kept, as evidence."""
        self._end(power=True)
        return self.disk.power_off()

    def pause(self) -> None:
        assert self.loop is not None
        self.loop.hold()

    def resume(self) -> int:
        """Go on; how many callbacks had waited."""
        assert self.loop is not None
        waited = len(self.loop.ready)
        self.loop.release()
        return waited

    def _begin(self, loop: SimLoop, main: Coroutine[Any, Any, Any]) -> None:
        task = loop.create_task(main, name=f"{self.name} main")
        task.add_done_callback(lambda done: self._ended(loop, self._how(done)))

    def _how(self, task: asyncio.Task[Any]) -> int:
        """The exit status of a process whose main task is done."""
        if task.cancelled():
            return 1
        error = task.exception()
        if error is None:
            return 0
        self.lines.append("".join(traceback.format_exception(error)).rstrip())
        return 1

    def _exit(self, loop: SimLoop, wish: BaseException) -> None:
        if not isinstance(wish, SystemExit):
            self.lines.append(str(wish))
        self._ended(loop, _status(wish))

    def _ended(self, loop: SimLoop, status: int) -> None:
        if self.loop is loop:
            self.kill()
            self.on_end(status)

    def _end(self, *, power: bool) -> None:
        loop, self.loop = self.loop, None
        if loop is not None:
            self._world.bury(loop)
            self._world.network.kill(loop, power=power)

    def _log_error(self, context: dict[str, Any]) -> None:
        self.lines.append(f"{context.get('message')}: {context.get('exception')!r}")
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.lines.append("".join(traceback.format_exception(error)).rstrip())


def _status(wish: BaseException) -> int:
    """What a process ends with that raised SystemExit, or was ended."""
    code = wish.code if isinstance(wish, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)
