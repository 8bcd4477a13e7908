"""A Raft node on a host: drives the core with time, disk and network, and applies to a machine.

    propose(command)   → the machine's result, once the entry is committed and applied here
    read_index()       returns when everything committed before the call is applied here
    call(peer, …)      a call to another node, over the same connections

A node whose disk fails, or whose core finds a contradiction, falls silent: it closes its
connections and refuses everything, and `failure` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from harness.errors import Refused, TimedOut
from harness.host.contract import Host
from nodes.raft.applied import Applied, StateMachine
from nodes.raft.config import Config
from nodes.raft.core import Core
from nodes.raft.messages import Message
from nodes.raft.ready import HardState, Ready, Role
from nodes.raft.sessions import OPEN, Session, SessionExpired
from nodes.raft.storage import Storage
from nodes.raft.transport import Address, Handler, Transport
from nodes.raft.waiters import Appliers, Proposals, Reads

TICK_S = 0.05
"""The core's unit of time. The node does not wake for each: see `RaftNode._plan`."""

EARLY_S = 0.001
"""By how much a timer may be early: the tick for which it was set counts."""

BEATS = 4
"""Heartbeats in the time for which a follower hears no leader: some of them may be late."""
COMMAND_BYTES_MAX = 4 << 20
"""So that an entry always fits into a message with others."""

SNAPSHOT_ENTRIES = 5000
SNAPSHOT_BYTES = 20 << 20
"""Entries, or bytes of commands, applied since the last snapshot before another is made."""

RoleCallback = Callable[[Role, int, int | None], None]


class NotLeader(Refused):
    """This node does not lead. `leader` is who does, if known."""

    def __init__(self, leader: int | None) -> None:
        super().__init__(f"not the leader; it is {leader}" if leader else "there is no leader now")
        self.leader = leader


def timing(patience_s: float, election_s: float) -> Config:
    """In ticks: how long a follower hears no leader, and a candidate not enough votes."""
    patience = max(round(patience_s / TICK_S), 2 * BEATS)
    heartbeat = patience // BEATS
    return Config(heartbeat, patience, max(round(election_s / TICK_S), 1))


class RaftNode:
    """See the module. `bind` is where to listen; `peers` how the others are reached, by id;
    `core` and `storage` what it is made of; `snapshot_bytes` see `SNAPSHOT_BYTES`.

    Attributes:
        failure: why it works no more; None while it does.
    """

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
        core: type[Core] = Core,
        storage: type[Storage] = Storage,
        snapshot_bytes: int = SNAPSHOT_BYTES,
    ) -> None:
        self._host, self.id = host, id
        self._voters = sorted({id, *peers})
        self._config = config or Config()
        self._storage = storage(host.disk, folder)
        self._transport = Transport(host, id, peers, bind)
        self._applied = Applied(machine)
        self._snapshot_bytes, self._bytes = snapshot_bytes, 0  # of commands since the last one
        self._durable = HardState()
        self._since_ns = 0
        self._new_core = core
        self._core: Core | None = None
        self._work = asyncio.Event()
        self._ticked_ns = 0  # up to when the core knows that time has passed
        self._ticks_ahead = 0  # how many from there until this node looks at the clock again
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._proposals, self._reads, self._appliers = Proposals(), Reads(), Appliers()
        self._on_role: list[RoleCallback] = []
        self.failure: BaseException | None = None
        self._failed = asyncio.Event()

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover, listen, and take part.

        Raises:
            CorruptState: the durable state is damaged. OSError: the disk fails, or the address
            cannot be bound.
        """
        storage = self._storage
        await storage.open()
        if storage.snapshot.index:
            self._applied.restore(storage.snapshot)
        self._core = self._new_core(
            self.id,
            self._voters,
            # Nodes that were given one seed must not draw the same time-outs for ever.
            Random(f"{self._host.rng.getrandbits(64)}/{self.id}"),
            config=self._config,
            hard_state=storage.hard_state,
            snapshot=storage.snapshot,
            entries=storage.entries,
        )
        storage.entries = []  # the core has them now
        self._durable = storage.hard_state
        self._ticked_ns = self._since_ns = self._host.clock.monotonic_ns()
        self._transport.on_message = self._receive
        await self._transport.start()
        self._tasks = [asyncio.create_task(self._pump(), name="raft pump")]
        self._plan()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._transport.close()
        self._stop_timer()  # only now does nobody plan any more
        self._storage.close()
        self._release("the node is closing")

    async def wait_failed(self) -> BaseException:
        """Return when this node works no more, and why."""
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    # -- what it knows -----------------------------------------------------------------------

    @property
    def core(self) -> Core:
        assert self._core is not None, "not started"
        return self._core

    @property
    def leader_id(self) -> int | None:
        return self.core.leader if self.failure is None else None

    @property
    def is_leader(self) -> bool:
        return self.leader_id == self.id

    @property
    def term(self) -> int:
        return self.core.term

    @property
    def role(self) -> Role:
        return self.core.role

    @property
    def applied(self) -> int:
        """The last entry that was applied."""
        return self._applied.index

    def account(self) -> dict[str, Any]:
        """What this node answers for, so that somebody who asks all of them can compare.

        since    tells this process from those before it
        term     that it is in. commit: the last entry that it knows to be committed
        voted    [term, for whom], as its disk has it
        led      [term, first entry in it] of what this process led, the latest few
        applied  [index, checksum of all entries up to it] of a few, the last one at the end
        """
        core = self.core
        return {
            "since": self._since_ns,
            "term": core.term,
            "commit": core.commit,
            "voted": [self._durable.term, self._durable.vote],
            "led": list(core.led),
            "applied": self._applied.marks,
        }

    def on_role(self, callback: RoleCallback) -> None:
        """Call back with (role, term, leader) at each change."""
        self._on_role.append(callback)

    # -- what it does ------------------------------------------------------------------------

    async def propose(
        self, command: bytes, *, session: Session | None = None, timeout_s: float = 5.0
    ) -> Any:
        """Replicate a command and return the machine's result.

        Raises:
            NotLeader: nothing was proposed, or what was is overwritten and will never apply.
            Refused: the command is too long, or this node failed.
            SessionExpired: it was not applied by this proposal; see `nodes.raft.sessions`.
            TimedOut: it may still apply. Repeat it with the same session.
        """
        assert command, "an empty command is a leader's no-op"
        return await self._propose(command, session, timeout_s)

    async def open_session(self, timeout_s: float = 5.0) -> int:
        """A new session's id. Raises as `propose`; what then was opened is never used."""
        return int(await self._propose(b"", OPEN, timeout_s))

    async def _propose(self, command: bytes, session: Session | None, timeout_s: float) -> Any:
        self._require_working()
        if len(command) > COMMAND_BYTES_MAX:
            raise Refused(f"a command of {len(command)} bytes; {COMMAND_BYTES_MAX} are allowed")
        now_ms = self._host.clock.wall_ns() // 1_000_000
        place = self.core.propose(command, now_ms, self._host.rng.getrandbits(63), session)
        if place is None:
            raise NotLeader(None if self.is_leader else self.leader_id)
        self._wake()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._proposals.wait(*place)
        except TimeoutError:
            raise TimedOut(f"not committed within {timeout_s:g} s") from None

    async def read_index(self, timeout_s: float = 5.0) -> None:
        """Return when all that was committed before the call is applied here. Leader only.

        Raises:
            NotLeader: this node does not lead, or ceased to. TimedOut: no majority answered.
        """
        self._require_working()
        try:
            async with asyncio.timeout(timeout_s):
                index = await self._reads.wait(self._ask_read)
                if index is None:
                    raise NotLeader(self.leader_id)
                await self.wait_applied(index)
        except TimeoutError:
            raise TimedOut(f"no majority answered within {timeout_s:g} s") from None

    def _ask_read(self, number: int) -> bool:
        asked = self.core.read_index(number)
        self._wake()
        return asked

    async def wait_applied(self, index: int) -> None:
        """Return when entry `index` is applied here."""
        if self.applied < index:
            await self._appliers.wait(index)

    async def transfer(self, to: int) -> bool:
        """Ask for `to` to lead; whether that could be tried."""
        self._require_working()
        tried = self.core.transfer(to)
        self._wake()
        return tried

    def rpc(self, method: str, handler: Handler) -> None:
        """Answer calls of `method`."""
        self._transport.handlers[method] = handler

    async def call(self, peer: int, method: str, payload: bytes, timeout_s: float) -> bytes:
        """See `Transport.call`."""
        self._require_working()
        return await self._transport.call(peer, method, payload, timeout_s)

    # -- the driver --------------------------------------------------------------------------

    def _receive(self, sender: int, message: Message) -> None:
        if self.failure is not None:
            return
        try:
            self._pass_time()
            self.core.receive(sender, message)
        except Exception as error:
            self._fail(error)
        self._wake()

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self._pass_time()
            self._wake()
        except Exception as error:
            self._fail(error)

    def _pass_time(self) -> None:
        """Tell the core how many ticks have passed since it was told last.

        Never many more than this node meant to wait: for the rest it stood still, stopped or
        starved, and what its peers said meanwhile waits in its sockets, to be heard first. Callers'
        wishes may find the core behind by less than a heartbeat; messages must not, since whether a
        vote is given hangs on how long ago the leader was heard.
        """
        now_ns = self._host.clock.monotonic_ns()
        passed = (now_ns - self._ticked_ns + int(EARLY_S * 1e9)) // _tick_ns()
        if passed > self._ticks_ahead + 1:
            passed, self._ticked_ns = self._ticks_ahead + 1, now_ns
        else:
            self._ticked_ns += passed * _tick_ns()
        self._ticks_ahead = max(self._ticks_ahead - passed, 0)
        for _ in range(passed):
            self.core.tick()

    def _plan(self) -> None:
        """Look at the clock when a tick is due that does something, if not planned for sooner.

        At the latest after half of a follower's patience. That much may be counted when this node
        stands still, and a leader that was heard just before must not be given up for it.
        """
        ticks = min(self.core.ticks_to_next(), self._config.patience // 2)
        if self._timer is not None:
            if self._ticks_ahead <= ticks:
                return
            self._timer.cancel()
        self._ticks_ahead = ticks
        due_ns = self._ticked_ns + ticks * _tick_ns()
        left_s = (due_ns - self._host.clock.monotonic_ns()) / 1e9
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(left_s, EARLY_S), self._on_timer)

    def _wake(self) -> None:
        """Something happened to the core: send what may be sent, and have the pump do the rest."""
        if self.failure is not None:
            return
        for peer, message in self.core.take_now():
            self._transport.send(peer, message)
        if self.core.has_ready:
            self._work.set()
        self._plan()

    async def _pump(self) -> None:
        """Do what the core says, one `Ready` after another: the order is the safety."""
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                while (ready := self.core.take()) is not None:
                    await self._storage.save(ready)
                    self._durable = ready.hard_state or self._durable
                    self.core.persisted(ready)
                    for peer, message in ready.messages:
                        self._transport.send(peer, message)
                    self._announce(ready)
                    self._apply(ready)
                    await self._maybe_snapshot()
        except Exception as error:
            self._fail(error)

    def _announce(self, ready: Ready) -> None:
        if not ready.role_changed:
            return
        core = self.core
        self._host.log("raft.role", role=core.role.value, term=core.term, leader=core.leader)
        for callback in self._on_role:
            callback(core.role, core.term, core.leader)

    def _apply(self, ready: Ready) -> None:
        if ready.snapshot is not None:
            self._applied.restore(ready.snapshot)
            self._proposals.overtaken(ready.snapshot.index)
        for entry in ready.committed:
            self._bytes += len(entry.command)
            result, error = None, None
            try:
                result = self._applied.apply(entry)
            except SessionExpired as expired:
                error = expired
            overwritten = NotLeader(self.leader_id)
            self._proposals.applied(entry.index, entry.term, result, error, overwritten)
        self._reads.confirmed(ready.reads)
        self._reads.lost(ready.lost_reads, NotLeader(self.leader_id))
        self._appliers.applied(self.applied)

    async def _maybe_snapshot(self) -> None:
        core = self.core
        entries = self.applied - core.log.snapshot.index
        if entries < SNAPSHOT_ENTRIES and self._bytes < self._snapshot_bytes:
            return
        self._bytes = 0
        snapshot = core.compact(self.applied, self._applied.snapshot())
        if snapshot is not None:
            # Entries still to be persisted come after these, in a `Ready` of their own.
            stable = [entry for entry in core.log.entries if entry.index <= core.stable]
            await self._storage.compact(snapshot, stable)
            self._host.log("raft.snapshot", index=snapshot.index, bytes=len(snapshot.data))

    def _fail(self, error: Exception) -> None:
        """The disk failed, or this is a bug: either way this node must say nothing more."""
        if self.failure is not None:
            return
        self.failure = error
        self._failed.set()
        self._stop_timer()
        self._host.log("raft.failed", error=f"{type(error).__name__}: {error}")
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._tasks.append(asyncio.create_task(self._transport.close()))
        self._release(f"the node failed: {error}")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self, why: str) -> None:
        """Nobody waits any more."""
        for waiters in (self._proposals, self._reads, self._appliers):
            waiters.fail(TimedOut(why))

    def _require_working(self) -> None:
        if self.failure is not None:
            raise Refused(f"this node failed: {self.failure}")


def _tick_ns() -> int:
    return int(TICK_S * 1e9)
