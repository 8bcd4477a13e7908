"""Brokers that replicate one partition, with everything between them in the hands of a test.

Real are the replicas, fetchers, partitions and logs, the handlers that serve them, the codec, and
the metadata's state machine. The network is a list of messages, Raft a list of proposals, time a
number: each is delivered, lost or moved when the test says so, and so does metadata reach brokers.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from harness.host.volatile import VolatileDisk
from nodes.broker.api.context import Context
from nodes.broker.config import NodeConfig
from nodes.broker.controller.commands import (
    AlterPartition,
    AnyCommand,
    CreateTopic,
    Fence,
    Register,
    Unfence,
)
from nodes.broker.controller.machine import Machine
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState
from nodes.broker.partition import Partition
from nodes.broker.parts import HANDLERS
from nodes.broker.replicas import Replicas
from nodes.broker.wire import APIS, Api, decode_request, encode_response
from nodes.raft.messages import Entry
from tests.host.disks import QuickDisk
from tests.nodes.broker.log.making import batch, decoded

NAMES: dict[str, Api] = {api.name: api for api in APIS.values()}
TOPIC = "t"
PATIENCE_S = 3600.0
"""No history takes as long: who has that much time waits for an answer, or its session's end."""

TURNS = 40
"""Turns of the loop after a step: more than what a step sets off takes."""


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def wall_ns(self) -> int:
        return self.now_ms * 1_000_000

    def monotonic_ns(self) -> int:
        return self.now_ms * 1_000_000


class SimHost:
    def __init__(self, name: str, clock: Clock, disk: Any) -> None:
        self.name, self.clock, self.disk = name, clock, disk
        self.rng = Random(name)
        self.events: list[dict[str, Any]] = []

    def log(self, event: str, /, **fields: Any) -> None:
        self.events.append({"event": event, **fields})


@dataclass(eq=False)
class Message:
    """A request on its way, or, with an `answer`, its answer on the way back."""

    source: int
    target: int
    frame: bytearray
    future: asyncio.Future[bytes]
    answer: bytes | None = None


@dataclass(eq=False)
class Proposal:
    """Proposed to the quorum, for as long as `timeout_s`. `waiting` is whether somebody still wants
    to know."""

    command: AnyCommand
    timeout_s: float
    future: asyncio.Future[Any]
    waiting: bool = True


class SimController:
    """One broker's view of the metadata."""

    def __init__(self, world: World, id: int, applied: int) -> None:
        self._world, self._id, self.applied = world, id, applied
        self._subscribers: list[Any] = []
        self.broker_epoch = 0

    @property
    def image(self) -> MetadataImage:
        return self._world.images[self.applied]

    def subscribe(self, subscriber: Any) -> None:
        self._subscribers.append(subscriber)

    def apply_next(self) -> bool:
        """Learn of one more entry."""
        if self.applied + 1 >= len(self._world.images):
            return False
        old = self.image
        self.applied += 1
        self.tell(old)
        return True

    def tell(self, old: MetadataImage) -> None:
        for subscriber in self._subscribers:
            subscriber(old, self.image)

    async def alter_partition(
        self,
        state: PartitionState,
        isr: tuple[int, ...],
        epochs: dict[int, int],
        timeout_s: float = 5.0,
    ) -> PartitionState:
        command = AlterPartition.of(state, self._id, self.broker_epoch, isr, epochs)
        return msgspec.convert(await self.submit(command, timeout_s), PartitionState)

    async def submit(self, command: AnyCommand, timeout_s: float = 5.0) -> Any:
        return await self._world.propose(command, timeout_s)


class SimConnection:
    """One request at a time, as `nodes.broker.wire.PeerConnection`."""

    def __init__(self, world: World, source: int, target: int, client: str) -> None:
        self._world, self._ids, self._client = world, (source, target), client

    async def ask(
        self, body: Any, request: Any, response: Any, version: int, timeout_s: float
    ) -> Any:
        body.API_VERSION = version
        body.with_header(1, self._client)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        message = Message(*self._ids, bytearray(body.encode(header=True)), future)
        self._world.messages.append(message)
        try:
            return response.decode(await future, version=version, header=True)
        finally:
            if message in self._world.messages:
                self._world.messages.remove(message)

    def close(self) -> None:
        pass


@dataclass(eq=False)
class Sent:
    """One batch that a client sent, and what it was told: None while it waits."""

    values: list[bytes]
    acks: int
    data: bytearray
    code: int | None = None
    base_offset: int = -1
    epoch: int = -1


@dataclass(eq=False)
class SimNode:
    """A machine, and the broker process on it, if one runs."""

    id: int
    disk: VolatileDisk
    clean: bool = False  # how the last process ended
    host: SimHost = field(init=False)
    controller: SimController = field(init=False)
    context: Context | None = None
    fault: Any = None

    @property
    def up(self) -> bool:
        return self.context is not None

    @property
    def partition(self) -> Partition | None:
        return self.context.replicas.partitions.get((TOPIC, 0)) if self.context else None

    @property
    def leader(self) -> Partition | None:
        """The partition, if this broker believes that it leads it."""
        partition = self.partition
        return partition if partition is not None and partition.leading else None


class World:
    """See the module."""

    def __init__(self, ids: Sequence[int] = (1, 2, 3), **configs: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self._machine = Machine()
        self.images = [self._machine.image]
        self.proposals: list[Proposal] = []
        self.messages: list[Message] = []
        self.sent: list[Sent] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._incarnations = itertools.count()
        self._contents: dict[int, tuple[Any, dict[int, tuple[int, bytes]]]] = {}
        self.configs = {key.replace("_", "."): value for key, value in configs.items()}
        self.nodes = {
            id: SimNode(id, VolatileDisk(QuickDisk(Path(self._folder.name) / f"n{id}")))
            for id in ids
        }

    async def begin(self) -> None:
        """Everybody is there, in sync, and follows the first."""
        for node in self.nodes.values():
            await self.start(node)
        ids = tuple(self.nodes)
        self.commit(CreateTopic(TOPIC, 1, len(ids), self.configs, assignments=[ids]))
        await self.learn()

    async def end(self) -> None:
        for node in self.nodes.values():
            if node.up:
                await self.kill(node)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._folder.cleanup()

    async def settle(self, turns: int = TURNS) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    # -- processes ---------------------------------------------------------------------------

    async def start(self, node: SimNode) -> None:
        """A process starts, registers, and knows of it."""
        assert not node.up
        node.host = SimHost(f"n{node.id}", self.clock, node.disk)
        register = Register(node.id, f"process {next(self._incarnations)}", node.clean)
        node.clean = False
        node.controller = SimController(self, node.id, len(self.images) - 1)
        controller: Any = node.controller
        peers = {f"n{id}": {"peer": (f"n{id}", id), "raft": ("", 1)} for id in self.nodes}
        config = NodeConfig(
            node=f"n{node.id}",
            id=node.id,
            data="",
            bind=dict.fromkeys(("peer", "raft", "admin", "c1"), ("", 0)),
            peers={name: ports for name, ports in peers.items() if name != f"n{node.id}"},
            options={
                "replica.fetch.backoff.ms": 0,
                "replica.fetch.wait.max.ms": 0,
                "replica.lag.time.max.ms": 1000,
                "replica.high.watermark.checkpoint.interval.ms": 1_000_000_000,
                "log.retention.check.interval.ms": 1_000_000_000,
            },
        )

        async def connect(address: tuple[str, int], client: str) -> Any:
            return SimConnection(self, node.id, address[1], client)

        host: Any = node.host
        replicas = Replicas(host, config, controller, connect)
        node.context = Context.of(host, config, controller, replicas)
        await replicas.start()
        epoch = self.commit(register)
        node.controller.apply_next()
        node.controller.broker_epoch = epoch
        node.controller.tell(node.controller.image)
        self.commit(Unfence(node.id, epoch))
        await self.settle()

    async def kill(self, node: SimNode) -> None:
        """SIGKILL: the page cache stays."""
        assert node.context is not None
        context, node.context = node.context, None
        for message in [m for m in self.messages if node.id in (m.source, m.target)]:
            self.lose(message)
        await context.replicas.close(clean=False)
        await self.settle()

    async def power_off(self, node: SimNode) -> None:
        """What was not synced is gone."""
        await self.kill(node)
        node.disk = VolatileDisk(node.disk.below)

    async def stop(self, node: SimNode) -> None:
        """The process ends cleanly, and left its marker."""
        assert node.context is not None
        await node.context.replicas.close(clean=True)
        node.clean = True
        await self.kill(node)

    async def fail_disk(self, partition: Partition) -> None:
        partition.fail(OSError(errno.EIO, "it failed"))
        await self.settle()

    # -- metadata ----------------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        """The newest that is committed."""
        return self.images[-1]

    @property
    def state(self) -> PartitionState:
        state = self.image.partition(TOPIC, 0)
        assert state is not None
        return state

    def commit(self, command: AnyCommand) -> Any:
        """Raises BrokerError."""
        index = len(self.images)
        entry = Entry(index, 1, msgspec.msgpack.encode(command), seed=index)
        status, *rest = self._machine.apply(index, entry)
        self._machine.image._check()
        self.images.append(self._machine.image)
        if status == "error":
            raise BrokerError(Code(rest[0]), rest[1])
        return rest[0]

    async def propose(self, command: AnyCommand, timeout_s: float) -> Any:
        """Wait until the test has it committed, or lost."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        proposal = Proposal(command, timeout_s, future)
        self.proposals.append(proposal)
        try:
            return await future
        finally:
            proposal.waiting = False

    async def commit_proposal(self, proposal: Proposal, *, answer: bool = True) -> None:
        self.proposals.remove(proposal)
        try:
            result = self.commit(proposal.command)
        except BrokerError as error:
            if proposal.waiting and answer:
                proposal.future.set_exception(error)
        else:
            if proposal.waiting and answer:
                proposal.future.set_result(result)
        if proposal.waiting and not answer:
            self.time_out(proposal)
        await self.settle()

    def time_out(self, proposal: Proposal) -> None:
        """Who proposed it is told that nobody knows. If that was for want of time, it may be
        committed yet. Those with enough of it hear so only when the quorum forgot their session,
        and then it takes nothing of theirs any more."""
        if proposal.waiting:
            proposal.future.set_exception(BrokerError(Code.REQUEST_TIMED_OUT))
            proposal.waiting = False
            if proposal.timeout_s >= PATIENCE_S and proposal in self.proposals:
                self.proposals.remove(proposal)

    async def learn(self, *nodes: SimNode) -> None:
        """These (or all) learn everything that is committed."""
        for node in nodes or self.nodes.values():
            while node.up and node.controller.apply_next():
                pass
        await self.settle()

    async def learn_one(self, node: SimNode) -> None:
        """It learns of one more entry."""
        node.controller.apply_next()
        await self.settle()

    async def fence(self, node: SimNode) -> None:
        broker = self.image.brokers[node.id]
        self.commit(Fence(node.id, broker.epoch))
        await self.settle()

    async def unfence(self, node: SimNode) -> None:
        """A heartbeat is heard from a process that knows of its registration."""
        if node.up and node.controller.broker_epoch == self.image.brokers[node.id].epoch:
            self.commit(Unfence(node.id, node.controller.broker_epoch))
        await self.settle()

    # -- messages ----------------------------------------------------------------------------

    async def deliver(self, message: Message) -> None:
        """A request is served, or an answer comes back."""
        if message.answer is not None:
            if not message.future.done():
                message.future.set_result(message.answer)
        elif (context := self.nodes[message.target].context) is None:
            self.lose(message)
        else:
            request = decode_request(message.frame)
            answer = await HANDLERS[request.api.name](context, request, "peer")
            message.answer = bytes(encode_response(request, answer))[4:]
        await self.settle()

    def lose(self, message: Message) -> None:
        if message in self.messages:
            self.messages.remove(message)
        if not message.future.done():
            message.future.set_exception(ConnectionResetError("lost"))

    async def replicate(self, source: int, rounds: int = 1) -> None:
        """A follower's requests are served and their answers come back."""
        for _ in range(rounds):
            for message in [m for m in self.messages if m.source == source]:
                while message in self.messages:
                    await self.deliver(message)

    # -- clients -----------------------------------------------------------------------------

    async def produce(
        self, node: SimNode, values: Sequence[bytes], acks: int, **producer: int
    ) -> Sent:
        """Send a batch; the answer may come at any later time."""
        data = batch([(1000, value) for value in values], **producer)
        sent = Sent(list(values), acks, data)
        await self.send(node, sent)
        return sent

    async def send(self, node: SimNode, sent: Sent) -> None:
        context = node.context
        assert context is not None
        sent.code = None
        served = NAMES["Produce"]
        kind = served.request.TopicProduceData
        part = kind.PartitionProduceData(index=0, records=bytes(sent.data))
        body = served.request(
            version=11,
            acks=sent.acks,
            timeout_ms=100_000,
            topic_data=[kind(name=TOPIC, partition_data=[part])],
        )
        body.with_header(1, "client")
        request = decode_request(bytearray(body.encode(header=True)))
        sent.epoch = node.leader.state.leader_epoch if node.leader is not None else -1
        self.sent.append(sent)

        async def wait() -> None:
            answer = await HANDLERS["Produce"](context, request, "c1")
            found = answer.responses[0].partition_responses[0]
            sent.code, sent.base_offset = int(found.error_code), found.base_offset

        await self._run(wait())

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await self.settle()

    # -- what there is -----------------------------------------------------------------------

    def contents(self, node: SimNode) -> dict[int, tuple[int, bytes]]:
        """offset → (leader epoch, value) of a replica's log."""
        partition = node.partition
        assert partition is not None
        log = partition.log
        key = log.start_offset, log.end_offset, log.last_epoch, log.folder
        known = self._contents.get(node.id)
        if known is not None and known[0] == key:
            return known[1]
        found: dict[int, tuple[int, bytes]] = {}
        offset = log.start_offset
        while data := log.read(offset, 1 << 20, log.end_offset):
            for at, _, value in decoded(data):
                if at >= log.start_offset:
                    found[at] = log.epochs.at(at), value
                offset = at + 1
        self._contents[node.id] = key, found
        return found

    def values(self, node: SimNode) -> list[bytes]:
        return [value for _, (_, value) in sorted(self.contents(node).items())]
