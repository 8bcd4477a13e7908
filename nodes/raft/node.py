"""A Raft node on a host: drives the core with time, disk and network, and applies to a machine.

    propose(command)   → the machine's result, once the entry is committed and applied here
    read_index()       returns when everything committed before the call is applied here
    call(peer, …)      a call to another node, over the same connections

The machine is deterministic: `apply(index, entry)` depends on its state and the entry alone, which
carries the leader's time and a seed for what else it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from harness.errors import Refused, TimedOut
from harness.host.contract import Host
from nodes.raft.core import Config, Core, Ready, Role, SnapshotMeta
from nodes.raft.messages import Entry, Message
from nodes.raft.storage import Storage
from nodes.raft.transport import Address, Handler, Transport

TICK_S = 0.05
SNAPSHOT_ENTRIES = 5000
"""Entries applied since the last snapshot before another is made."""

SESSIONS_MAX = 1000


class NotLeader(Refused):
    """This node does not lead. `leader` is who does, if known."""

    def __init__(self, leader: int | None) -> None:
        super().__init__(f"not the leader; it is {leader}" if leader else "there is no leader now")
        self.leader = leader


class StateMachine(Protocol):
    """What is replicated."""

    def apply(self, index: int, entry: Entry) -> Any:
        """Apply a command; the result must be MessagePack-able. Must not raise."""
        ...

    def snapshot(self) -> bytes: ...

    def restore(self, data: bytes, index: int) -> None: ...


class Sessions:
    """Results of proposals by session, so that one that is repeated applies once.

    Part of the replicated state: bounded, and the same on every node.
    """

    def __init__(self) -> None:
        self._results: OrderedDict[str, tuple[int, Any]] = OrderedDict()

    def known(self, session: tuple[str, int]) -> tuple[bool, Any]:
        client, sequence = session
        if client in self._results and self._results[client][0] >= sequence:
            return True, self._results[client][1]
        return False, None

    def remember(self, session: tuple[str, int], result: Any) -> None:
        client, sequence = session
        self._results[client] = (sequence, result)
        self._results.move_to_end(client)
        while len(self._results) > SESSIONS_MAX:
            self._results.popitem(last=False)

    def dump(self) -> list[Any]:
        return [(client, *kept) for client, kept in self._results.items()]

    @staticmethod
    def load(rows: list[Any]) -> Sessions:
        sessions = Sessions()
        for client, sequence, result in rows:
            sessions._results[client] = (sequence, result)
        return sessions


class RaftNode:
    """See the module. `bind` is where to listen; `peers` how the others are reached, by id."""

    def __init__(
        self,
        host: Host,
        id: int,
        peers: Mapping[int, Address],
        bind: Address,
        folder: str,
        machine: StateMachine,
        *,
        config: Config | None = None,
    ) -> None:
        self._host, self.id, self._machine = host, id, machine
        self._voters = sorted({id, *peers})
        self._config = config or Config()
        self._storage = Storage(host.disk, folder)
        self._transport = Transport(host, id, peers, bind)
        self._core: Core | None = None
        self._sessions = Sessions()
        self._work = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._proposals: dict[int, tuple[int, asyncio.Future[Any]]] = {}  # index → (term, …)
        self._reads: dict[int, asyncio.Future[int]] = {}
        self._read_number = 0
        self._applied_waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._on_role: list[Callable[[Role, int, int | None], None]] = []
        self.applied = 0
        self.failure: BaseException | None = None

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover, listen, and take part.

        Raises:
            CorruptState: the durable state is damaged.
        """
        storage = self._storage
        await storage.open()
        if storage.snapshot.index:
            self._restore(storage.snapshot)
        self._core = Core(
            self.id,
            self._voters,
            self._host.rng,
            config=self._config,
            hard_state=storage.hard_state,
            snapshot=storage.snapshot,
            entries=storage.entries,
        )
        storage.entries = []  # the core has them now
        self._transport.on_message = self._receive
        await self._transport.start()
        self._tasks = [asyncio.create_task(self._pump()), asyncio.create_task(self._tick())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()
        self._storage.close()
        self._fail_all(TimedOut("the node is closing"))

    # -- what it knows -----------------------------------------------------------------------

    @property
    def core(self) -> Core:
        assert self._core is not None, "not started"
        return self._core

    @property
    def leader_id(self) -> int | None:
        return self.core.leader

    @property
    def is_leader(self) -> bool:
        return self.core.role is Role.LEADER

    @property
    def term(self) -> int:
        return self.core.term

    @property
    def role(self) -> Role:
        return self.core.role

    def on_role(self, callback: Callable[[Role, int, int | None], None]) -> None:
        """Call back with (role, term, leader) at each change."""
        self._on_role.append(callback)

    # -- what it does ------------------------------------------------------------------------

    async def propose(
        self, command: bytes, *, session: tuple[str, int] | None = None, timeout_s: float = 5.0
    ) -> Any:
        """Replicate a command and return the machine's result.

        Raises:
            NotLeader: nothing was proposed, or what was is overwritten and will never apply.
            TimedOut: it may still apply. Repeat it with the same session.
        """
        assert command, "an empty command is a leader's no-op"
        self._require_working()
        now_ms = self._host.clock.wall_ns() // 1_000_000
        place = self.core.propose(command, now_ms, self._host.rng.getrandbits(63), session)
        if place is None:
            raise NotLeader(None if self.is_leader else self.leader_id)
        index, term = place
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._proposals[index] = term, future
        self._work.set()
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            raise TimedOut(f"not committed within {timeout_s:g} s") from None
        finally:
            if self._proposals.get(index) == (term, future):
                del self._proposals[index]

    async def read_index(self, timeout_s: float = 5.0) -> None:
        """Return when all that was committed before the call is applied here. Leader only.

        Raises:
            NotLeader: this node does not lead, or ceased to. TimedOut: no majority answered.
        """
        self._require_working()
        self._read_number += 1
        number = self._read_number
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reads[number] = future
        if not self.core.read_index(number):
            del self._reads[number]
            raise NotLeader(self.leader_id)
        self._work.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait_applied(await future)
        except TimeoutError:
            raise TimedOut(f"no majority answered within {timeout_s:g} s") from None
        finally:
            self._reads.pop(number, None)

    async def wait_applied(self, index: int) -> None:
        """Return when entry `index` is applied here."""
        if self.applied >= index:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._applied_waiters.append((index, future))
        await future

    async def transfer(self, to: int) -> bool:
        """Ask for `to` to lead; whether that could be tried."""
        tried = self.core.transfer(to)
        self._work.set()
        return tried

    def rpc(self, method: str, handler: Handler) -> None:
        """Answer calls of `method`."""
        self._transport.handlers[method] = handler

    async def call(self, peer: int, method: str, payload: bytes, timeout_s: float) -> bytes:
        """See `Transport.call`."""
        return await self._transport.call(peer, method, payload, timeout_s)

    # -- the driver --------------------------------------------------------------------------

    def _receive(self, sender: int, message: Message) -> None:
        self.core.receive(sender, message)
        self._work.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.core.tick()
            if self.core._ready:  # idle ticks wake nobody
                self._work.set()

    async def _pump(self) -> None:
        """Do what the core says, one `Ready` after another: the order is the safety."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while (ready := self.core.take()) is not None:
                    await self._storage.save(ready)
                    self.core.persisted(ready)
                    self._announce(ready)
                    for peer, message in ready.messages:
                        self._transport.send(peer, message)
                    self._apply(ready)
                    await self._maybe_snapshot()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # A disk that fails, or a bug: either way this node must say nothing more.
            self.failure = error
            self._host.log("raft.failed", error=f"{type(error).__name__}: {error}")
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()
            await self._transport.close()
            self._fail_all(TimedOut(f"the node failed: {error}"))

    def _announce(self, ready: Ready) -> None:
        if not ready.role_changed:
            return
        core = self.core
        self._host.log("raft.role", role=core.role.value, term=core.term, leader=core.leader)
        for callback in self._on_role:
            callback(core.role, core.term, core.leader)

    def _apply(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            self._restore(ready.snapshot)
        for entry in ready.committed:
            result = self._apply_one(entry)
            self.applied = entry.index
            waiting = self._proposals.pop(entry.index, None)
            if waiting is None:
                continue
            term, future = waiting
            if future.done():
                continue
            if term == entry.term:
                future.set_result(result)
            else:
                future.set_exception(NotLeader(self.leader_id))
        for number, index in ready.reads:
            read = self._reads.get(number)
            if read is not None and not read.done():
                read.set_result(index)
        for number in ready.lost_reads:
            read = self._reads.get(number)
            if read is not None and not read.done():
                read.set_exception(NotLeader(self.leader_id))
        self._wake_appliers()

    def _apply_one(self, entry: Entry) -> Any:
        if not entry.command:
            return None
        if entry.session is not None:
            known, result = self._sessions.known(entry.session)
            if known:
                return result
        result = self._machine.apply(entry.index, entry)
        if entry.session is not None:
            self._sessions.remember(entry.session, result)
        return result

    def _wake_appliers(self) -> None:
        if not self._applied_waiters:
            return
        ready = [f for index, f in self._applied_waiters if index <= self.applied]
        self._applied_waiters = [w for w in self._applied_waiters if w[0] > self.applied]
        for future in ready:
            if not future.done():
                future.set_result(None)

    async def _maybe_snapshot(self) -> None:
        core = self.core
        if self.applied - core.log.snapshot.index < SNAPSHOT_ENTRIES:
            return
        data = msgspec.msgpack.encode((self._machine.snapshot(), self._sessions.dump()))
        snapshot = core.compact(self.applied, data)
        if snapshot is not None:
            # Entries still to be persisted come after it and follow in their own `Ready`.
            stable = [e for e in core.log.entries if e.index <= core.stable]
            await self._storage.install(snapshot, None, stable)
            self._host.log("raft.snapshot", index=snapshot.index, bytes=len(data))

    def _restore(self, snapshot: SnapshotMeta) -> None:
        state, sessions = msgspec.msgpack.decode(snapshot.data)
        self._machine.restore(state, snapshot.index)
        self._sessions = Sessions.load(sessions)
        self.applied = snapshot.index
        # What was proposed and is covered by it: applied, but with a result that nobody has here.
        for index in [i for i in self._proposals if i <= snapshot.index]:
            _, future = self._proposals.pop(index)
            if not future.done():
                future.set_exception(TimedOut("overtaken by a snapshot"))
        self._wake_appliers()

    def _require_working(self) -> None:
        if self.failure is not None:
            raise Refused(f"this node failed: {self.failure}")

    def _fail_all(self, error: TimedOut) -> None:
        futures: list[asyncio.Future[Any]] = [f for _, f in self._proposals.values()]
        futures += [*self._reads.values(), *(f for _, f in self._applied_waiters)]
        for future in futures:
            if not future.done():
                future.set_exception(error)
                with contextlib.suppress(BaseException):
                    future.exception()  # whoever waits sees it; nobody else need be told
