"""An asyncio event loop in a simulated world: one for each incarnation of a host.

Everything that node programs and asyncio clients use of a loop: callbacks, timers, tasks, streams
and protocols over the world's network, names. Executors run inline, since a thread would bring real
chance in. What is not simulated raises `NotSimulated` by its name, so that nothing real happens
unnoticed.

    pause    callbacks and deliveries wait; timers that come due are late
    kill     callbacks never run again; whoever still holds the loop talks to nobody
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import logging
import math
import signal
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from harness.errors import AssayError
from harness.sim.scheduler import Handle, Scheduler
from harness.sim.tasks import SimFuture, SimTask

if TYPE_CHECKING:
    from random import Random

    from harness.sim.clock import SimClock
    from harness.sim.network import Network
    from harness.sim.world import World


LOGGER = logging.getLogger("asyncio")


class NotSimulated(AssayError):
    """Code in a simulated world asked for something of the real one."""


_Loop: Any = asyncio.AbstractEventLoop  # which lists more than anybody uses of a loop


class SimLoop(_Loop):  # type: ignore[misc]
    """See the module.

    Attributes:
        name, clock, rng: the host's.
        ready: callbacks in order. held: paused or dead; nothing runs.
        queued: it has its turn or will have one, or is held: nobody has to see to that.
        on_exit: called with the exception when code of this loop wants the process to end.
        on_error: called with asyncio's context of an error that nobody handled.
    """

    def __init__(
        self, scheduler: Scheduler, network: Network, name: str, clock: SimClock, rng: Random
    ) -> None:
        self.scheduler, self.network, self.name = scheduler, network, name
        self.clock, self.rng = clock, rng
        self.ready: deque[Handle] = deque()
        self.held = self.dead = self.queued = False
        self.context = contextvars.copy_context()
        self.on_exit: Callable[[BaseException], None] | None = None
        self.on_error: Callable[[dict[str, Any]], None] | None = None
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._signals: dict[int, Any] = {}
        self.world: World | None = None  # on the harness' loop only

    def __repr__(self) -> str:
        return f"<SimLoop of {self.name}>"

    # -- callbacks and timers ----------------------------------------------------------------

    def call_soon(
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        handle = Handle(callback, args, self, context)
        if not self.queued:
            self.queued = True
            self.scheduler.runnable.append(self)
        if not self.dead:
            self.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        handle = Handle(callback, args, self, context, self.time() + delay)
        self._set(handle, delay)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        handle = Handle(callback, args, self, context, when)
        self._set(handle, when - self.time())
        return handle

    def _set(self, handle: Handle, delay: float) -> None:
        """A clock that runs wrong when the timer is set measures it wrongly to its end."""
        if self.clock.rate_ppm:
            delay /= 1 + self.clock.rate_ppm * 1e-6
        scheduler = self.scheduler
        # Rounded up: a timer must not find that its time has not come yet.
        wait_ns = math.ceil(delay * 1e9)
        scheduler.at(scheduler.now + wait_ns if wait_ns > 0 else scheduler.now, handle)

    def time(self) -> float:
        return self.clock.monotonic_ns() * 1e-9

    # -- tasks -------------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        return SimFuture(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        return SimTask(coro, loop=self, name=name or self.name, context=context)

    def get_task_factory(self) -> None:
        return None

    def set_task_factory(self, factory: Any) -> None:
        if factory is not None:
            raise NotSimulated("a task factory of one's own")

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Inline, at once; the result comes a turn later, as from a thread."""
        future = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            outcome: Any = error
            self.call_soon(_unless_done, future, future.set_exception, outcome)
        else:
            self.call_soon(_unless_done, future, future.set_result, result)
        return future

    def set_default_executor(self, executor: concurrent.futures.ThreadPoolExecutor) -> None:
        return

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        return

    async def shutdown_asyncgens(self) -> None:
        return

    # -- life of the incarnation -------------------------------------------------------------

    def hold(self) -> None:
        """Pause: nothing of this loop runs until `release`."""
        self.held = self.queued = True

    def release(self) -> None:
        """Resume."""
        assert not self.dead, "the dead do not come back; start another incarnation"
        self.held = False
        runnable = self.scheduler.runnable
        if self in runnable:
            return  # paused and resumed before its turn came
        self.queued = bool(self.ready)
        if self.ready:
            runnable.append(self)

    def kill(self) -> None:
        """Nothing of this loop ever runs again."""
        self.held = self.dead = self.queued = True
        self.ready.clear()

    def exiting(self, wish: BaseException) -> None:
        """Code of this loop called for the end of its process, or will never wait for anything."""
        if self.on_exit is None:
            raise wish
        self.on_exit(wish)

    def failed(self, handle: Handle, error: BaseException) -> None:
        """A callback raised."""
        self.call_exception_handler(
            {"message": "a callback failed", "exception": error, "handle": handle}
        )

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def stop(self) -> None:
        raise NotSimulated("loop.stop(): the world runs until its main coroutine ends")

    def run_forever(self) -> None:
        raise NotSimulated("loop.run_forever(): the world runs its loops")

    # What `asyncio.Runner` needs, and with it pytest-asyncio: of the harness' own loop alone.

    def run_until_complete(self, future: Any) -> Any:
        """Run the world until the future is done. See `World.run`."""
        if self.world is None:
            raise NotSimulated("loop.run_until_complete(): the world runs its loops")
        return self.world.run(future if asyncio.iscoroutine(future) else _outcome(future))

    def close(self) -> None:
        """The end of the world, which may come twice."""
        if self.world is None:
            raise NotSimulated("loop.close(): kill the host")
        if not self.dead:
            self.world.__exit__(None, None, None)

    # -- errors and debugging ----------------------------------------------------------------

    def get_exception_handler(self) -> Any:
        return self._handler

    def set_exception_handler(self, handler: Any) -> None:
        self._handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        if self.dead:
            return
        if self.on_error is not None:
            self.on_error(context)
            return
        error = context.get("exception")
        LOGGER.error("%s: %s", self.name, context.get("message"), exc_info=error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._handler is not None and not self.dead:
            self._handler(self, context)
        else:
            self.default_exception_handler(context)

    get_debug = bool  # which returns False: in C, as every future, task and handle asks

    def set_debug(self, enabled: bool) -> None:
        return

    # -- network -----------------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        name = self.network.resolve(self, host)
        kind = type or socket.SOCK_STREAM
        return [(socket.AF_INET, kind, socket.IPPROTO_TCP, "", (name, int(port or 0)))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        return str(sockaddr[0]), str(sockaddr[1])

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        **details: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """A stream to a listener of the world, over the link between the two hosts.

        Raises:
            OSError: refused, reset or unreachable, as from a kernel. NotSimulated: TLS or a socket.
        """
        _require_plain(ssl, sock)
        return await self.network.connect(self, protocol_factory, host, int(port))

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        sock: Any = None,
        start_serving: bool = True,
        **details: Any,
    ) -> asyncio.AbstractServer:
        """Listen on an address of this host. Raises OSError: the address is in use, or not ours."""
        _require_plain(ssl, sock)
        if isinstance(host, list | tuple):
            (host,) = host
        return self.network.listen(self, protocol_factory, host, int(port or 0), start_serving)

    async def sock_connect(self, sock: Any, address: Any) -> Any:
        raise NotSimulated("loop.sock_connect(): use streams or protocols")

    # -- signals, of the harness' own loop ---------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """A signal to this real process, on the loop whose `on_exit` is nobody's: the harness'."""
        if self.on_exit is not None:
            raise NotSimulated("signals to a simulated host; cancel its task")
        self._signals.setdefault(sig, signal.getsignal(sig))
        signal.signal(sig, lambda number, frame: self.call_soon(callback, *args) and None)

    def remove_signal_handler(self, sig: int) -> bool:
        before = self._signals.pop(sig, None)
        if before is not None:
            signal.signal(sig, before)
        return before is not None


async def _outcome(future: Any) -> Any:
    return await future


def _require_plain(ssl: Any, sock: Any) -> None:
    """Raises NotSimulated."""
    if ssl:
        raise NotSimulated("TLS between simulated hosts; use a plain listener")
    if sock is not None:
        raise NotSimulated("a real socket beneath a simulated connection or server")


def _unless_done(future: asyncio.Future[Any], settle: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        settle(value)


def _missing(name: str) -> Any:
    def refuse(self: SimLoop, *args: Any, **options: Any) -> Any:
        raise NotSimulated(f"loop.{name}() is not simulated")

    return refuse


for _name in (
    *("connect_accepted_socket", "create_datagram_endpoint", "create_unix_connection"),
    *("create_unix_server", "sendfile", "start_tls", "subprocess_exec", "subprocess_shell"),
    *("connect_read_pipe", "connect_write_pipe", "add_reader", "remove_reader", "add_writer"),
    *("remove_writer", "sock_recv", "sock_recv_into", "sock_sendall", "sock_accept"),
    *("sock_recvfrom", "sock_recvfrom_into", "sock_sendto", "sock_sendfile"),
):
    setattr(SimLoop, _name, _missing(_name))
