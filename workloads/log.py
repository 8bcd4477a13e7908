"""Sends unique numbers to partitions of a log and polls them back.

A *key* is a partition: key k is partition `k % partitions` of topic `log-(k // partitions)`. Every
value is sent to its key at most once, so a value that is read twice, out of order, or never, is
somebody's fault.

    f              value invoked                value returned
    assign         [k, …]                       the same; positions of other keys are forgotten
    send           [["send", k, v]]             [["send", k, [offset, v]]], no offset with acks=0
    poll           [["poll"]]                   [["poll", {"k": [[offset, v], …]}]]
    crash          null                         never: the client goes away, a fresh one comes
    list-offsets   null                         {"k": end offset}, as the leaders know it now

Each process has a producer and a standalone consumer (no group) of its own. A poll that fails does
not move the process' positions: it polls from them again.

Can catch: lost, duplicated, reordered, changed and invented messages, at the tail too, by final
reads with fresh clients. Cannot catch: anything about groups, transactions or timestamps.
Source: jepsen.tests.kafka, without transactions and groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from checkers import log as log_checker
from harness import generator as gen
from harness.client import Endpoint
from harness.errors import OpError, Unavailable, UsageError
from harness.op import Kind, Op
from harness.workload import Load, Workload
from harness.workload import Options as BaseOptions
from workloads.final_polls import FinalPolls
from workloads.ports import BrokerConnect, BrokerPort, Partition, Settings


class Options(BaseOptions, frozen=True):
    """Options of the workload; each is one of the client's or the topic's, in Kafka's words.

    Attributes:
        acks: "0", "1" or "all".
        idempotence: None for yes with acks=all, which it needs, and no otherwise.
        retries: None for the client library's default.
        min_insync_replicas: None for replication-factor - 1.
        unclean: unclean.leader.election.enable of the topics.
        flush_messages: flush.messages of the topics; None for the broker's default.
        sends_per_op: messages in one send operation, at most.
        assign_p: probability of an assignment instead of a send or poll.
        crash_clients_s: mean time between crashes of clients; None for none.
        final_timeout_s: how long the final reads may take.
    """

    topics: int = 1
    partitions: int = 4
    replication_factor: int = 3
    min_insync_replicas: int | None = None
    acks: str = "all"
    idempotence: bool | None = None
    retries: int | None = None
    unclean: bool = False
    flush_messages: int | None = None
    sends_per_op: int = 1
    assign_p: float = 1 / 64
    crash_clients_s: float | None = None
    poll_timeout_s: float = 0.2
    final_timeout_s: float = 60.0


READS = frozenset({"poll", "assign", "list-offsets"})
CHECKS = {"log": log_checker.check}


def partition_of(key: int, partitions: int) -> Partition:
    return Partition(f"log-{key // partitions}", key % partitions)


@dataclass(slots=True)
class Client:
    """One process: a producer, a consumer, and where the consumer stands."""

    options: Options
    connect: BrokerConnect
    port: BrokerPort | None = None
    assigned: tuple[int, ...] = ()
    positions: dict[int, int | None] = field(default_factory=dict)
    astray: bool = False  # the library's positions may be past ours: a poll did not complete

    async def open(self, endpoint: Endpoint) -> Self:
        port = await self.connect(endpoint, _settings(self.options))
        return type(self)(self.options, self.connect, port)

    async def setup(self) -> None:
        options = self.options
        assert self.port is not None
        configs = {"min.insync.replicas": str(_min_insync(options))}
        if options.unclean:
            configs["unclean.leader.election.enable"] = "true"
        if options.flush_messages is not None:
            configs["flush.messages"] = str(options.flush_messages)
        for topic in range(options.topics):
            await self.port.create_topic(
                f"log-{topic}", options.partitions, options.replication_factor, configs
            )

    async def invoke(self, op: Op) -> Any:
        assert self.port is not None
        match op.f:
            case "send":
                return [await self._send(mop) for mop in op.value]
            case "poll":
                return [["poll", await self._poll()]]
            case "assign":
                return await self._assign(op)
            case "list-offsets":
                return await self._end_offsets()
            case "crash":
                raise OpError("the client crashed, as it was told to", name="Crash")
            case other:
                raise UsageError(f"{other!r} is no operation of the log workload")

    async def teardown(self) -> None:
        pass

    async def close(self) -> None:
        if self.port is not None:
            await self.port.close()

    async def _send(self, mop: Sequence[Any]) -> list[Any]:
        _, key, value = mop
        assert self.port is not None
        offset = await self.port.send(self._partition(key), str(value).encode())
        return ["send", key, value if offset is None else [offset, value]]

    async def _assign(self, op: Op) -> list[int]:
        assert self.port is not None
        from_the_start = (op.extra or {}).get("seek-to-beginning", False)
        keep = {} if from_the_start else self.positions
        self.assigned = tuple(op.value)
        self.positions = {key: keep.get(key) for key in self.assigned}
        self.astray = True
        await self.port.assign([self._partition(key) for key in self.assigned])
        await self._seek()
        return list(self.assigned)

    async def _poll(self) -> dict[str, list[list[Any]]]:
        assert self.port is not None
        if not self.assigned:
            return {}
        if self.astray:
            await self.port.assign([self._partition(key) for key in self.assigned])
            await self._seek()
        self.astray = True
        messages = await self.port.poll(self.options.poll_timeout_s)
        self.astray = False
        polled: dict[str, list[list[Any]]] = {}
        for message in messages:
            key = self._key(message.partition)
            polled.setdefault(str(key), []).append([message.offset, _value(message.value)])
            self.positions[key] = message.offset + 1
        return polled

    async def _seek(self) -> None:
        assert self.port is not None
        await self.port.seek({self._partition(k): at for k, at in self.positions.items()})
        self.astray = False

    async def _end_offsets(self) -> dict[str, int]:
        assert self.port is not None
        keys = range(self.options.topics * self.options.partitions)
        ends = await self.port.end_offsets([self._partition(key) for key in keys])
        if len(ends) < len(keys):
            raise Unavailable(f"{len(keys) - len(ends)} partitions did not tell their end offset")
        return {str(key): ends[self._partition(key)] for key in keys}

    def _partition(self, key: int) -> Partition:
        return partition_of(key, self.options.partitions)

    def _key(self, partition: Partition) -> int:
        topic = int(partition.topic.removeprefix("log-"))
        return topic * self.options.partitions + partition.number


@dataclass(frozen=True, slots=True)
class Sends(gen.Generator):
    """Sends to random keys; `sent[k]` values of key k are used up."""

    sent: tuple[int, ...]
    per_op: int = 1

    listens = False

    def op(self, context: gen.Context) -> gen.Step:
        sent = list(self.sent)
        mops = []
        for _ in range(context.rng.randint(1, self.per_op)):
            key = context.rng.randrange(len(sent))
            mops.append(["send", key, sent[key]])
            sent[key] += 1
        call = gen.fill_in(gen.Call("send", mops), context)
        if not isinstance(call, gen.Call):
            return call
        return call, Sends(tuple(sent), self.per_op)

    def update(self, context: gen.Context, event: Op) -> gen.Generator:
        return self


def generator(options: Options, load: Load) -> Any:
    """Each process is assigned keys once; then all send, poll and now and then assign anew."""
    keys = range(options.topics * options.partitions)

    def assign(context: gen.Context) -> gen.Call:
        some = context.rng.sample(keys, context.rng.randint(1, len(keys)))
        return gen.Call("assign", sorted(some))

    polls = gen.repeat(gen.Call("poll", [["poll"]]))
    work = gen.mix([Sends((0,) * len(keys), options.sends_per_op), polls])
    if options.assign_p > 0:
        work = gen.weighted([(1 - options.assign_p, work), (options.assign_p, assign)])
    parts = [gen.each_process(gen.once(assign)), work]
    if options.crash_clients_s is not None:
        parts.append(gen.stagger(options.crash_clients_s, gen.repeat(gen.Call("crash"))))
    return gen.any_of(*parts)


def workload(options: Options, load: Load, port: BrokerConnect) -> Workload:
    """The log workload.

    Raises:
        UsageError: options that contradict each other.
    """
    if options.acks not in ("0", "1", "all"):
        raise UsageError(f"acks={options.acks} is not one of 0, 1, all")
    if options.replication_factor > load.nodes:
        raise UsageError(
            f"replication-factor={options.replication_factor} needs as many nodes; "
            f"there are {load.nodes}: give --nodes or -o replication-factor"
        )
    if options.idempotence and options.acks != "all":
        raise UsageError("idempotence=true needs acks=all, in every Kafka client")
    return Workload(
        name="log",
        options=options,
        client=Client(options, port),
        generator=generator(options, load),
        checks=CHECKS,
        final_reads=lambda: FinalPolls(
            range(options.topics * options.partitions), options.final_timeout_s
        ),
        reads=READS,
        promises=_promises(options),
    )


def _promises(options: Options) -> Mapping[str, Any]:
    return {
        "acks": options.acks,
        "idempotence": _idempotence(options),
        "retries": options.retries,
        "replication-factor": options.replication_factor,
        "min-insync-replicas": _min_insync(options),
        "unclean": options.unclean,
        "flush-messages": options.flush_messages,
        "isolation": "read_uncommitted",
    }


def _idempotence(options: Options) -> bool:
    return options.acks == "all" if options.idempotence is None else options.idempotence


def _min_insync(options: Options) -> int:
    if options.min_insync_replicas is not None:
        return options.min_insync_replicas
    return max(options.replication_factor - 1, 1)


def _settings(options: Options) -> Settings:
    return Settings(acks=options.acks, idempotence=_idempotence(options), retries=options.retries)


def _value(raw: bytes) -> Any:
    """What a message says: the number we sent, or whatever else came, as text."""
    try:
        return int(raw)
    except ValueError:
        return raw.decode(errors="backslashreplace")


assert Kind.FAIL  # a poll that fails is definite: see READS
