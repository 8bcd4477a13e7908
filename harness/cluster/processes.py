"""The harness's end of the supervisor: start, signal and kill processes, and hear of their ends.

Promises that a request is answered or raises; that an unplanned end is reported at once; and that
`close` leaves no process, also when it is called twice or while a start is under way.

Raises EnvironmentFailure when the supervisor itself has died; then its children have died with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.errors import EnvironmentFailure

REPLY_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process. `status` is as `subprocess` gives it: negative for a signal."""

    name: str
    pid: int
    status: int
    planned: bool
    time_ns: int


class Owner(Protocol):
    """Whose children the processes are: a supervisor beside the harness, or containers.

    Promises that a request is answered or raises, and that each end is reported once, planned or
    not, to the function that it was given.
    """

    @property
    def env(self) -> Mapping[str, str]:
        """The environment that every process gets."""
        ...

    async def open(self) -> None: ...

    async def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path
    ) -> int:
        """Start a process; its pid, in this machine's terms. Its output is appended to `log`."""
        ...

    async def signal(self, name: str, signal: str) -> int | None:
        """Send a signal ("SIGSTOP") to a process and its group: its pid, or None if it is gone."""
        ...

    async def kill(self, name: str) -> Exit | None:
        """SIGKILL a process, return when it has ended. None if it had ended by itself."""
        ...

    async def close(self) -> None:
        """End everything. Idempotent, and safe at any moment."""
        ...

    def require_alive(self) -> None:
        """Raises EnvironmentFailure if nothing can be asked of the owner any more."""
        ...


class Processes:
    """An `Owner`: processes by name under a supervisor of their own.

    Attributes:
        on_exit: called with each `Exit`, in the order of their ends.
    """

    def __init__(self, on_exit: Callable[[Exit], None]) -> None:
        self.on_exit = on_exit
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._supervisor: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def env(self) -> Mapping[str, str]:
        return own_environment()

    @property
    def alive(self) -> bool:
        return self._supervisor is not None and self._reader is not None and not self._reader.done()

    @property
    def supervisor_pid(self) -> int | None:
        return self._supervisor.pid if self._supervisor else None

    async def open(self) -> None:
        """Start the supervisor, in a session of its own, where Ctrl-C does not reach it."""
        assert self._supervisor is None
        supervisor = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "harness.cluster.supervisor"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=self.env,
        )
        self._supervisor = supervisor
        self._reader = asyncio.create_task(self._read())
        if self._closing:  # `close` came while it was being started, and found nothing
            await self.close()
            self.require_alive()

    async def start(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path, log: Path
    ) -> int:
        """Start a process and return its pid. Its output is appended to `log`."""
        reply = await self._ask(
            "start", name=name, argv=list(argv), env=dict(env), cwd=str(cwd), log=str(log)
        )
        return int(reply["pid"])

    async def signal(self, name: str, signal: str) -> int | None:
        """Send a signal ("SIGSTOP") to a process and its group: its pid, or None if it is gone."""
        reply = await self._ask("signal", name=name, signal=signal)
        return None if "gone" in reply else int(reply["pid"])

    async def kill(self, name: str) -> Exit | None:
        """SIGKILL a process and its group, and wait until it is reaped. None if it is gone."""
        reply = await self._ask("kill", name=name)
        if "gone" in reply:
            return None
        return Exit(name, int(reply["pid"]), int(reply["status"]), planned=True, time_ns=0)

    async def close(self) -> None:
        """Kill everything and end the supervisor. Idempotent; never raises for what has died."""
        self._closing = True
        process = self._supervisor
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # its end means: kill all and exit, as when this process dies
        try:
            async with asyncio.timeout(REPLY_DEADLINE_S):
                await process.wait()
        except TimeoutError:
            # What it started dies with it, by PR_SET_PDEATHSIG.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=REPLY_DEADLINE_S)

    async def _ask(self, do: str, **fields: Any) -> dict[str, Any]:
        self.require_alive()
        assert self._supervisor is not None and self._supervisor.stdin is not None
        number = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            line = json.dumps({"id": number, "do": do, **fields}).encode() + b"\n"
            self._supervisor.stdin.write(line)
            async with asyncio.timeout(REPLY_DEADLINE_S):
                reply: dict[str, Any] = await future
        except TimeoutError:
            raise EnvironmentFailure(
                f"the supervisor of the nodes did not {do} {fields.get('name', '')} "
                f"within {REPLY_DEADLINE_S:g} s"
            ) from None
        finally:
            self._waiting.pop(number, None)
        if "error" in reply:
            raise EnvironmentFailure(f"cannot {do} {fields.get('name', '')}: {reply['error']}")
        return reply

    async def _read(self) -> None:
        assert self._supervisor is not None and self._supervisor.stdout is not None
        while line := await self._supervisor.stdout.readline():
            message = json.loads(line)
            if message.pop("event", None) == "exit":
                self.on_exit(Exit(**message))
            elif (future := self._waiting.get(message.pop("id"))) and not future.done():
                future.set_result(message)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._failure())

    def require_alive(self) -> None:
        """Raises EnvironmentFailure if the supervisor has died or was closed."""
        if not self.alive:
            raise self._failure()

    def _failure(self) -> EnvironmentFailure:
        if self._closing:
            return EnvironmentFailure("the cluster has been stopped")
        return EnvironmentFailure(
            "the supervisor of the nodes died, and the nodes with it; was it killed by hand, or by "
            "the kernel for want of memory? (`dmesg` would say)"
        )


def own_environment() -> dict[str, str]:
    """The harness's environment, from which this project's packages can be imported."""
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}
