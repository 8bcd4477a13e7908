"""The controller as a broker sees it: the image, and ways to ask for changes, on any node.

Every node runs a Raft voter that holds the metadata, and a broker that registers, heartbeats and is
told of every change. A request goes to whoever leads, by a call over the Raft connections, and is
repeated with the same session until a deadline, so that it applies once however often it is sent.

A broker that is not heard for a session is fenced by a log entry. The leader keeps sessions in its
memory, on its monotonic clock, and a new leader grants everyone a full session first: no wall clock
and no lease decides who leads a partition.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from harness.errors import OpError, Refused, Unavailable
from harness.host.contract import Host
from nodes.broker.config import NodeConfig
from nodes.broker.configs import cluster_defaults
from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterPartition,
    AnyCommand,
    Fence,
    Register,
    Unfence,
)
from nodes.broker.controller.machine import Machine
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState
from nodes.raft.core import Role
from nodes.raft.node import NotLeader, RaftNode

Subscriber = Callable[[MetadataImage, MetadataImage], None]

CALL_TIMEOUT_S = 1.0
RETRY_PAUSE_S = 0.1
EXPIRY_PAUSE_S = 0.1

_encode = msgspec.msgpack.encode


class Heartbeat(msgspec.Struct, frozen=True, array_like=True):
    """`offset`: how far the broker has applied the metadata."""

    broker: int
    epoch: int
    offset: int


class Controller:
    """One node's share of the controller.

    Attributes:
        broker_epoch: of this process' registration; 0 before it.
    """

    def __init__(self, host: Host, config: NodeConfig, *, clean: bool) -> None:
        self._host, self._config, self._clean = host, config, clean
        self._machine = Machine(cluster_defaults(config.options))
        self._machine.on_change = self._changed
        self._raft = RaftNode(
            host, config.id, config.raft_peers, config.bind["raft"], "raft", self._machine
        )
        self._subscribers: list[Subscriber] = []
        self._incarnation = f"{host.rng.getrandbits(64):016x}"
        self._session_number = 0
        self._heard_ns: dict[int, int] = {}  # as leader: broker → when it was heard
        self._tasks: list[asyncio.Task[None]] = []
        self.broker_epoch = 0

    async def start(self) -> None:
        """Take part in the quorum and register, in the background."""
        self._raft.rpc("propose", self._on_propose)
        self._raft.rpc("heartbeat", self._on_heartbeat)
        self._raft.on_role(self._on_role)
        await self._raft.start()
        self._tasks = [
            asyncio.create_task(self._stay_registered(), name="registration"),
            asyncio.create_task(self._expire_sessions(), name="sessions"),
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._raft.close()

    # -- what is known -----------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        """The metadata as far as this node has applied it."""
        return self._machine.image

    @property
    def leader_id(self) -> int | None:
        return self._raft.leader_id

    @property
    def term(self) -> int:
        return self._raft.term

    @property
    def failure(self) -> BaseException | None:
        return self._raft.failure

    @property
    def fenced(self) -> bool:
        """Whether this broker, by this process' registration, is out of service."""
        state = self.image.brokers.get(self._config.id)
        return state is None or state.epoch != self.broker_epoch or state.fenced

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call back with (old, new) after every change, in order."""
        self._subscribers.append(subscriber)

    # -- what can be asked -------------------------------------------------------------------

    async def submit(self, command: AnyCommand, timeout_s: float = 5.0) -> Any:
        """Have a command applied, once, and return its result when it is applied here, too.

        Raises:
            BrokerError: it was refused, or (REQUEST_TIMED_OUT) nobody knows whether it will apply.
        """
        self._session_number += 1
        session = (f"{self._incarnation}/{self._session_number}", 1)
        payload = _encode((_encode(command), session))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            try:
                status, *rest = await self._ask_leader("propose", payload, deadline - loop.time())
            except OpError as error:
                if loop.time() + RETRY_PAUSE_S >= deadline:
                    raise BrokerError(Code.REQUEST_TIMED_OUT, str(error)) from error
                await asyncio.sleep(RETRY_PAUSE_S * self._host.rng.uniform(0.5, 1.0))
                continue
            if status == "error":
                raise BrokerError(Code(rest[0]), rest[1])
            result, index = rest
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(deadline - loop.time(), 0.01)):
                    await self._raft.wait_applied(index)
            return result

    async def alter_partition(
        self,
        state: PartitionState,
        isr: tuple[int, ...],
        epochs: dict[int, int],
        timeout_s: float = 5.0,
    ) -> PartitionState:
        """As leader of `state`, ask for another ISR; `epochs` as its members last fetched.

        Raises:
            BrokerError: it is not so any more, or (REQUEST_TIMED_OUT) nobody knows.
        """
        command = AlterPartition(
            self._config.id,
            self.broker_epoch,
            state.topic,
            state.partition,
            state.leader_epoch,
            state.partition_epoch,
            isr,
            epochs,
        )
        return msgspec.convert(await self.submit(command, timeout_s), PartitionState)

    async def allocate_producer_ids(self, count: int) -> range:
        first = await self.submit(AllocateProducerIds(count))
        return range(first, first + count)

    async def _ask_leader(self, method: str, payload: bytes, left_s: float) -> Any:
        leader = self._raft.leader_id
        if leader is None:
            raise Unavailable("the controller quorum has no leader now")
        timeout_s = max(min(CALL_TIMEOUT_S, left_s), 0.01)
        answer = await self._raft.call(leader, method, payload, timeout_s)
        return msgspec.msgpack.decode(answer)

    # -- as a broker -------------------------------------------------------------------------

    async def _stay_registered(self) -> None:
        """Register, then heartbeat for ever; register again when the cluster forgot this epoch."""
        pause_s = self._config.ms("broker.heartbeat.interval.ms") / 1000
        while True:
            try:
                if self.broker_epoch == 0:
                    command = Register(self._config.id, self._incarnation, self._clean)
                    self.broker_epoch = await self.submit(command)
                    self._host.log("broker.registered", epoch=self.broker_epoch)
                    self._changed(self.image, self.image)  # from now on its roles are ours
                beat = Heartbeat(self._config.id, self.broker_epoch, self.image.offset)
                known = await self._ask_leader("heartbeat", _encode(beat), CALL_TIMEOUT_S)
                if not known:
                    # Another registration of this id took over, or the quorum lost its state.
                    self._host.log("broker.unknown", epoch=self.broker_epoch)
                    self.broker_epoch = 0
            except (OpError, BrokerError):
                pass  # no leader now, or not reachable: the next beat tries again
            await asyncio.sleep(pause_s * self._host.rng.uniform(0.8, 1.0))

    def _changed(self, old: MetadataImage, new: MetadataImage) -> None:
        for subscriber in self._subscribers:
            subscriber(old, new)

    # -- as the leader of the quorum ---------------------------------------------------------

    def _on_role(self, role: Role, term: int, leader: int | None) -> None:
        self._heard_ns.clear()  # a new leader has heard nobody yet: everyone gets a full session

    async def _on_propose(self, payload: bytes) -> bytes:
        command, session = msgspec.msgpack.decode(payload)
        return _encode(await self._raft.propose(command, session=tuple(session), timeout_s=4.0))

    async def _on_heartbeat(self, payload: bytes) -> bytes:
        beat = msgspec.msgpack.decode(payload, type=Heartbeat)
        if not self._raft.is_leader:
            raise NotLeader(self._raft.leader_id)
        broker = self.image.brokers.get(beat.broker)
        if broker is None or broker.epoch != beat.epoch:
            # A leader that is new may not have applied the registration yet.
            return _encode(self.image.offset < beat.epoch)
        self._heard_ns[beat.broker] = self._host.clock.monotonic_ns()
        if broker.fenced and beat.offset >= broker.epoch:
            await self._raft.propose(_encode(Unfence(beat.broker, beat.epoch)), timeout_s=1.0)
        return _encode(True)

    async def _expire_sessions(self) -> None:
        session_ns = int(self._config.ms("broker.session.timeout.ms") * 1_000_000)
        while True:
            await asyncio.sleep(EXPIRY_PAUSE_S)
            if not self._raft.is_leader:
                continue
            now = self._host.clock.monotonic_ns()
            for broker in list(self.image.brokers.values()):
                heard = self._heard_ns.setdefault(broker.id, now)
                if broker.fenced or now - heard <= session_ns:
                    continue
                with contextlib.suppress(OpError, Refused):
                    await self._raft.propose(_encode(Fence(broker.id, broker.epoch)), timeout_s=1.0)
                    self._host.log("broker.fenced", broker=broker.id, epoch=broker.epoch)
