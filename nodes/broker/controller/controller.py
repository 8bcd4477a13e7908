"""The controller as a broker sees it: the image, and ways to ask for changes, on any node.

Every node runs a Raft voter that holds the metadata, and a broker that registers, heartbeats and is
told of every change. A request goes to whoever leads, by a call over the Raft connections, and is
repeated until a deadline, so that it applies once however often it is sent.

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
from crc32c import crc32c

from harness.errors import OpError
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
from nodes.broker.controller.liveness import Liveness
from nodes.broker.controller.machine import Machine
from nodes.broker.controller.requests import CALL_TIMEOUT_S, Requests
from nodes.broker.errors import BrokerError
from nodes.broker.metadata import MetadataImage, PartitionState
from nodes.raft.core import Core
from nodes.raft.node import NotLeader, RaftNode, timing
from nodes.raft.ready import Role
from nodes.raft.storage import Storage

Subscriber = Callable[[MetadataImage, MetadataImage], None]

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

    def __init__(
        self,
        host: Host,
        config: NodeConfig,
        *,
        clean: bool,
        machine: type[Machine] = Machine,
        core: type[Core] = Core,
        storage: type[Storage] = Storage,
    ) -> None:
        self._host, self._config, self._clean = host, config, clean
        self._defaults = cluster_defaults(config.options)
        self._machine = machine()
        self._machine.on_change = self._changed
        self._raft = RaftNode(
            host,
            config.id,
            config.raft_peers,
            config.bind["raft"],
            "raft",
            self._machine,
            config=timing(
                config.ms("controller.quorum.fetch.timeout.ms") / 1000,
                config.ms("controller.quorum.election.timeout.ms") / 1000,
            ),
            core=core,
            storage=storage,
            snapshot_bytes=config.ms("metadata.log.max.record.bytes.between.snapshots"),
        )
        self._requests = Requests(host, self._raft)
        self._session_s = config.ms("broker.session.timeout.ms") / 1000
        self._liveness = Liveness(self._session_s)
        self._leads = asyncio.Event()
        self._subscribers: list[Subscriber] = []
        self._incarnation = ""
        self._tasks: list[asyncio.Task[None]] = []
        self.broker_epoch = 0

    async def start(self) -> None:
        """Take part in the quorum and register, in the background."""
        self._raft.rpc("heartbeat", self._on_heartbeat)
        self._raft.on_role(self._on_role)
        await self._raft.start()
        self._tasks = [
            asyncio.create_task(self._stay_registered(), name="registration"),
            asyncio.create_task(self._fence_the_silent(), name="sessions"),
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

    def account(self) -> dict[str, Any]:
        """See `RaftNode.account`; and `image`, [offset, checksum] of the metadata itself."""
        image = self.image
        return {**self._raft.account(), "image": [image.offset, crc32c(image.dump())]}

    async def wait_failed(self) -> BaseException:
        """Return when this node's share works no more, and why."""
        return await self._raft.wait_failed()

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
        """Have a command applied, once; its result, when it is applied here, too, or time is up.

        Raises:
            BrokerError: it was refused, or (REQUEST_TIMED_OUT) nobody knows whether it will apply.
        """
        return await self._requests.submit(_encode(command), timeout_s)

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
        command = AlterPartition.of(state, self._config.id, self.broker_epoch, isr, epochs)
        return msgspec.convert(await self.submit(command, timeout_s), PartitionState)

    async def allocate_producer_ids(self, count: int) -> range:
        first = await self.submit(AllocateProducerIds(count))
        return range(first, first + count)

    # -- as a broker -------------------------------------------------------------------------

    async def _stay_registered(self) -> None:
        """Register, then heartbeat for ever; register again when the cluster forgot this epoch."""
        pause_s = self._config.ms("broker.heartbeat.interval.ms") / 1000
        # Several beats must fit into a session even if one hangs at a leader that is stopped.
        timeout_s = min(CALL_TIMEOUT_S, self._session_s / 4)
        while True:
            try:
                await self._say_that_it_lives(timeout_s)
            except (OpError, BrokerError):
                pass  # no leader now, or not reachable: the next round tries again
            except Exception as error:  # a bug of ours must not end the registration in silence
                self._host.log("broker.registration.failed", error=f"{error!r}")
            await asyncio.sleep(pause_s * self._host.rng.uniform(0.8, 1.0))

    async def _say_that_it_lives(self, timeout_s: float) -> None:
        if self.broker_epoch == 0:
            await self._register()
        beat = Heartbeat(self._config.id, self.broker_epoch, self.image.offset)
        known = await self._requests.ask_leader("heartbeat", _encode(beat), timeout_s)
        if not known:
            # Another process registered with this id.
            self._host.log("broker.unknown", epoch=self.broker_epoch)
            self.broker_epoch = 0

    async def _register(self) -> None:
        if not self._incarnation:
            # The quorum itself numbers incarnations: chance and clocks may repeat themselves, and
            # a process that were taken for the one before it would keep its place in every ISR.
            self._incarnation = str(await self._requests.session(5.0))
        command = Register(self._config.id, self._incarnation, self._clean, self._defaults)
        self.broker_epoch = await self.submit(command)
        self._clean = False  # of the process before this one, it is said once
        self._host.log("broker.registered", epoch=self.broker_epoch)
        self._changed(self.image, self.image)  # from now on its roles are ours

    def _changed(self, old: MetadataImage, new: MetadataImage) -> None:
        for subscriber in self._subscribers:
            subscriber(old, new)

    # -- as the leader of the quorum ---------------------------------------------------------

    def _on_role(self, role: Role, term: int, leader: int | None) -> None:
        self._liveness.restart()
        if role is Role.LEADER:
            self._leads.set()
        else:
            self._leads.clear()

    async def _on_heartbeat(self, payload: bytes) -> bytes:
        beat = msgspec.msgpack.decode(payload, type=Heartbeat)
        if not self._raft.is_leader:
            raise NotLeader(self._raft.leader_id)
        broker = self.image.brokers.get(beat.broker)
        if broker is None or broker.epoch != beat.epoch:
            # A leader that is new may not have applied the registration yet.
            return _encode(self.image.offset < beat.epoch)
        self._liveness.heard(beat.broker, self._now_s())
        if broker.fenced and beat.offset >= broker.epoch:
            await self._raft.propose(
                _encode(Unfence(beat.broker, beat.epoch)), timeout_s=CALL_TIMEOUT_S
            )
        return _encode(True)

    async def _fence_the_silent(self) -> None:
        while True:
            await self._leads.wait()
            for id in self._liveness.silent(self._active(), self._now_s()):
                epoch = self.image.brokers[id].epoch
                with contextlib.suppress(OpError):
                    await self._raft.propose(_encode(Fence(id, epoch)), timeout_s=CALL_TIMEOUT_S)
                    self._host.log("broker.fenced", broker=id, epoch=epoch)
            await asyncio.sleep(self._liveness.pause_s(self._active()))

    def _active(self) -> list[int]:
        return [id for id in self.image.brokers if self.image.active(id)]

    def _now_s(self) -> float:
        return self._host.clock.monotonic_ns() / 1e9
