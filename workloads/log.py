"""Sends unique numbers to partitions of a log and polls them back.

A *key* is a partition: key k is partition `k % partitions` of topic `log-(k // partitions)`. Every
value is sent to its key at most once, so a value that is read twice, out of order, or never, is
somebody's fault.

    f              value invoked                value returned
    assign         [k, …]                       the same; positions of other keys are forgotten,
                                                those of new keys are the beginning
    send           [["send", k, v]]             [["send", k, [offset, v]]], no offset with acks=0
    poll           [["poll"]]                   [["poll", {"k": [[offset, v], …]}]]
    crash          null                         never: the client goes away, a fresh one comes
    list-offsets   null                         {"k": end offset}, as the leaders know it now
    offsets-for-times  {"k": v}                 {"k": [offset, v']}: the first message that is not
                                                older than that of v, and of which v' it is as old;
                                                null for none; keys whose leader is silent lack
    delete-records  {"k": offset}           {"k": low watermark}: what is before the offset is
                                            deleted, and this is what no replica has any more

A message's timestamp follows from its value, a later one for a larger value, so that times are told
as values.

Each process has a producer and a standalone consumer (no group) of its own. A poll that fails does
not move the process' positions: it polls from them again.

Can catch: lost, duplicated, reordered, changed and invented messages, at the tail too, by final
reads with fresh clients; wrong answers to what is looked up by time. Cannot catch: anything about
groups or transactions.
Source: jepsen.tests.kafka, without transactions and groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from checkers import log as log_checker
from checkers.log import times as log_times
from harness import generator as gen
from harness.client import Endpoint
from harness.errors import OpError, Unavailable, UsageError
from harness.op import Op
from harness.workload import Load, Workload
from harness.workload import Options as BaseOptions
from workloads import deletions, times
from workloads.final_polls import Ends, FinalPolls
from workloads.payloads import Stamps, payload, value_of
from workloads.ports import BrokerConnect, BrokerPort, Partition, Settings
from workloads.progress import Everywhere
from workloads.sends import First, PollUnseen, Sends


class Options(BaseOptions, frozen=True):
    """Options of the workload; each is one of the client's or the topic's, in Kafka's words.

    Attributes:
        acks: "0", "1" or "all".
        idempotence: None for yes where it can be: with acks=all and retries.
        retries: of the producer, after the first attempt; None for the client library's default.
        replication_factor: None for 3, or as many as there are nodes.
        min_insync_replicas: None for replication-factor - 1.
        unclean: unclean.leader.election.enable of the topics.
        flush_messages: flush.messages of the topics; None for the broker's default.
        sends_per_op: messages in one send operation, at most.
        in_flight: how many messages of a key one operation has under way at once; those of an
            operation are sent together then.
        value_bytes: messages are padded to so many bytes.
        assign_p: probability of an assignment instead of a send or poll.
        times_p: probability of a question where the messages since some moment begin.
        delete_p: probability of a deletion of a key's older messages.
        crash_clients_s: mean time between crashes of clients; 0 for none.
        poll_timeout_s: how long a poll waits for a first message.
        final_timeout_s: how long the final reads may take.
    """

    topics: int = 1
    partitions: int = 4
    replication_factor: int | None = None
    min_insync_replicas: int | None = None
    acks: str = "all"
    idempotence: bool | None = None
    retries: int | None = None
    unclean: bool = False
    flush_messages: int | None = None
    sends_per_op: int = 1
    in_flight: int = 1
    value_bytes: int = 0
    assign_p: float = 1 / 64
    times_p: float = 0.0
    delete_p: float = 0.0
    crash_clients_s: float = 15.0
    poll_timeout_s: float = 0.2
    final_timeout_s: float = 60.0


READS = frozenset({"poll", "assign", "list-offsets", times.F})
SWARM = {
    "acks": ["all"] * 8 + ["1", "0"],
    "idempotence": ["", "", "", "false"],
    "partitions": [1, 2, 4, 8],
    "replication-factor": ["", "", "", "", "", "", 2, 1],
    "min-insync-replicas": ["", "", "", 1],
    "unclean": ["false"] * 9 + ["true"],
    "flush-messages": ["", "", "", 1, 3],
    "sends-per-op": [1, 1, 4],
    "crash-clients-s": [0, 2, 5, 15],
    "value-bytes": ["", "", "", "", "", 700],
    "times-p": ["", "", "", 0.05],
    "delete-p": ["", "", "", "", "", 0.02],
}
"""What exploration lets vary; empty for the default."""
IN_FLIGHT_MAX = 5
"""So many batches of a producer a broker remembers."""

CHECKS = {"log": log_checker.check, "times": log_times.check}


def partition_of(key: int, partitions: int) -> Partition:
    return Partition(f"log-{key // partitions}", key % partitions)


@dataclass(slots=True)
class Client:
    """One process: a producer, a consumer, and where the consumer stands.

    The library's positions may be past ours, since a poll may fail after it moved them. A poll that
    does not complete moves no position of ours, and the next one begins by putting the library's
    right.
    """

    options: Options
    connect: BrokerConnect
    replicas: int
    ends: Ends = field(default_factory=Ends)
    stamps: Stamps = field(default_factory=Stamps)
    port: BrokerPort | None = None
    positions: dict[int, int | None] = field(default_factory=dict)  # of the assigned keys
    astray: bool = False

    async def open(self, endpoint: Endpoint) -> Self:
        port = await self.connect(endpoint, _settings(self.options))
        return type(self)(self.options, self.connect, self.replicas, self.ends, self.stamps, port)

    async def setup(self) -> None:
        options = self.options
        configs = {"min.insync.replicas": str(_min_insync(options, self.replicas))}
        if options.unclean:
            configs["unclean.leader.election.enable"] = "true"
        if options.flush_messages is not None:
            configs["flush.messages"] = str(options.flush_messages)
        if options.times_p > 0:
            configs["message.timestamp.type"] = "CreateTime"  # whatever the brokers' default is
        for topic in range(options.topics):
            await self._port.create_topic(
                f"log-{topic}", options.partitions, self.replicas, configs
            )

    async def invoke(self, op: Op) -> Any:
        match op.f:
            case "send":
                return await self._send_all(op.value)
            case "poll":
                return [["poll", await self._poll()]]
            case "assign":
                return await self._assign(op)
            case "list-offsets":
                return await self._end_offsets()
            case times.F:
                return await self._offsets_for_times(op.value)
            case deletions.F:
                return await self._delete(op.value)
            case "crash":
                raise OpError("the client crashed, as it was told to", name="Crash")
            case other:
                raise UsageError(f"{other!r} is no operation of the log workload")

    async def teardown(self) -> None:
        pass

    async def close(self) -> None:
        if self.port is not None:
            await self.port.close()

    async def _send_all(self, mops: Sequence[Sequence[Any]]) -> list[list[Any]]:
        if self.options.in_flight > 1:
            return await self._send_together(mops)
        sent: list[list[Any]] = []
        for mop in mops:
            try:
                sent.append(await self._send(mop))
            except OpError as error:
                if error.definite and sent:
                    # The operation as a whole did have an effect.
                    raise OpError(f"after {len(sent)} sends: {error}", name=error.name) from error
                raise
        return sent

    async def _send_together(self, mops: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """All at once, in their order; as definite as the least definite of their errors."""
        found = await asyncio.gather(*map(self._send, mops), return_exceptions=True)
        errors = [each for each in found if isinstance(each, BaseException)]
        if not errors:
            return [each for each in found if not isinstance(each, BaseException)]
        definite = [e for e in errors if isinstance(e, OpError) and e.definite]
        if len(definite) == len(found):
            raise definite[0]
        told = next((e for e in errors if e not in definite), errors[0])
        raise OpError(f"{len(errors)} of {len(found)} sends: {told!r}", name=type(told).__name__)

    async def _send(self, mop: Sequence[Any]) -> list[Any]:
        _, key, value = mop
        size = self.options.value_bytes
        offset = await self._port.send(
            self._partition(key), payload(value, size), self.stamps.of(value)
        )
        if offset is None:
            return ["send", key, value]
        self.ends.note(key, offset + 1)
        return ["send", key, [offset, value]]

    async def _assign(self, op: Op) -> list[int]:
        from_the_start = (op.extra or {}).get("seek-to-beginning", False)
        keep = {} if from_the_start else self.positions
        positions = {key: keep.get(key) for key in op.value}
        self.astray = True
        await self._take(positions)
        self.positions = positions
        return list(op.value)

    async def _poll(self) -> dict[str, list[list[Any]]]:
        if not self.positions:
            return {}
        if self.astray:
            await self._take(self.positions)
        self.astray = True
        messages = await self._port.poll(self.options.poll_timeout_s)
        self.astray = False
        polled: dict[str, list[list[Any]]] = {}
        for message in messages:
            key = self._key(message.partition)
            value = value_of(message.value, self.options.value_bytes)
            polled.setdefault(str(key), []).append([message.offset, value])
            self.positions[key] = message.offset + 1
            self.ends.note(key, message.offset + 1)
        return polled

    async def _take(self, positions: Mapping[int, int | None]) -> None:
        await self._port.assign({self._partition(key): at for key, at in positions.items()})
        self.astray = False

    async def _end_offsets(self) -> dict[str, int]:
        keys = range(self.options.topics * self.options.partitions)
        ends = await self._port.end_offsets([self._partition(key) for key in keys])
        if not ends:
            raise Unavailable("no partition's leader told its end offset")
        return {str(self._key(partition)): end for partition, end in sorted(ends.items())}

    async def _offsets_for_times(self, moments: Mapping[str, int]) -> dict[str, list[Any] | None]:
        asked = {self._partition(int(key)): self.stamps.of(v) for key, v in moments.items()}
        found = await self._port.offsets_for_times(asked)
        if asked and not found:
            raise Unavailable("no partition's leader told its offsets by time")
        return {str(self._key(p)): self._moment(at) for p, at in sorted(found.items())}

    def _moment(self, found: tuple[int, int | None] | None) -> list[Any] | None:
        if found is None:
            return None
        offset, timestamp_ms = found
        return [offset, None if timestamp_ms is None else self.stamps.value(timestamp_ms)]

    async def _delete(self, offsets: Mapping[str, int]) -> dict[str, int]:
        if not offsets:
            return {}
        wanted = {self._partition(int(key)): offset for key, offset in offsets.items()}
        found = await self._port.delete_records(wanted)
        return {str(self._key(partition)): low for partition, low in sorted(found.items())}

    @property
    def _port(self) -> BrokerPort:
        assert self.port is not None, "only a client that was opened speaks"
        return self.port

    def _partition(self, key: int) -> Partition:
        return partition_of(key, self.options.partitions)

    def _key(self, partition: Partition) -> int:
        topic = int(partition.topic.removeprefix("log-"))
        return topic * self.options.partitions + partition.number


def generator(options: Options) -> Any:
    """Each process begins with an assignment; all send, poll and now and then assign anew."""
    keys = range(options.topics * options.partitions)

    def assign(context: gen.Context) -> gen.Call:
        some = context.rng.sample(keys, context.rng.randint(1, len(keys)))
        return gen.Call("assign", sorted(some))

    polls = gen.repeat(gen.Call("poll", [["poll"]]))
    work = gen.mix([Sends((0,) * len(keys), options.sends_per_op), polls])
    if options.assign_p > 0:
        work = gen.weighted([(1 - options.assign_p, work), (options.assign_p, assign)])
    for probability, call in ((options.times_p, times.ASK), (options.delete_p, deletions.DELETE)):
        if probability > 0:
            work = gen.weighted([(1 - probability, work), (probability, gen.repeat(call))])
    if options.crash_clients_s > 0:
        crashes = gen.stagger(options.crash_clients_s, gen.repeat(gen.Call("crash")))
        work = gen.any_of(work, crashes)
    all: Any = PollUnseen(First(gen.each_process(gen.once(assign)), work), {}, {})
    all = times.asked(all) if options.times_p > 0 else all
    return deletions.chosen(all) if options.delete_p > 0 else all


def workload(options: Options, load: Load, port: BrokerConnect) -> Workload:
    """The log workload.

    Raises:
        UsageError: options that contradict each other.
    """
    replicas = min(3, load.nodes)
    if options.replication_factor is not None:
        replicas = options.replication_factor
    _validate(options, replicas, load.nodes)
    ends = Ends()
    keys = range(options.topics * options.partitions)
    return Workload(
        name="log",
        options=options,
        client=Client(options, port, replicas, ends),
        generator=generator(options),
        checks=CHECKS,
        final_reads=lambda: FinalPolls(keys, options.final_timeout_s, ends),
        progress=lambda limit_s: Everywhere(
            len(keys), load.concurrency, limit_s, polls=options.acks == "all"
        ),
        reads=READS,
        promises=_promises(options, replicas),
    )


def _validate(options: Options, replicas: int, nodes: int) -> None:
    if options.acks not in ("0", "1", "all"):
        raise UsageError(f"acks={options.acks} is not one of 0, 1, all")
    for name in ("topics", "partitions", "sends_per_op"):
        if getattr(options, name) < 1:
            raise UsageError(f"{name.replace('_', '-')} must be at least 1")
    if options.value_bytes < 0:
        raise UsageError(f"value-bytes={options.value_bytes} must not be negative")
    if not 1 <= replicas <= nodes:
        raise UsageError(
            f"replication-factor={replicas} needs as many nodes, and there are {nodes}: "
            "give --nodes or -o replication-factor"
        )
    if not 1 <= _min_insync(options, replicas) <= replicas:
        raise UsageError(
            f"min-insync-replicas={options.min_insync_replicas} of {replicas} replicas cannot be"
        )
    if options.idempotence and (options.acks != "all" or options.retries == 0):
        raise UsageError("idempotence=true needs acks=all and retries, in every Kafka client")
    if not 1 <= options.in_flight <= IN_FLIGHT_MAX:
        raise UsageError(f"in-flight={options.in_flight} is not within 1..{IN_FLIGHT_MAX}")
    if options.in_flight > 1 and not _idempotence(options):
        raise UsageError("in-flight over 1 keeps its order with idempotence only")
    if options.retries is not None and options.retries < 0:
        raise UsageError(f"retries={options.retries} must not be negative")


def _promises(options: Options, replicas: int) -> Mapping[str, Any]:
    """What the contract is derived from; see `harness.guarantees`."""
    return {
        "acks": options.acks,
        "idempotence": _idempotence(options),
        "retries": options.retries,
        "replication-factor": replicas,
        "min-insync-replicas": _min_insync(options, replicas),
        "unclean": options.unclean,
        "flush-messages": options.flush_messages,
        "isolation": "read_uncommitted",
    }


def _idempotence(options: Options) -> bool:
    if options.idempotence is not None:
        return options.idempotence
    return options.acks == "all" and options.retries != 0


def _min_insync(options: Options, replicas: int) -> int:
    if options.min_insync_replicas is not None:
        return options.min_insync_replicas
    return max(replicas - 1, 1)


def _settings(options: Options) -> Settings:
    return Settings(
        acks=options.acks,
        idempotence=_idempotence(options),
        in_flight=options.in_flight,
        retries=options.retries,
    )
