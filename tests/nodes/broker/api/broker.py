"""Broker 1 of three, asked as clients and followers ask: encoded, decoded, handled, and back."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kafka.record.default_records import DefaultRecordBatchBuilder

from harness.deadline import wait_until
from harness.host.real import RealDisk, RealHost
from nodes.broker.api.context import Context
from nodes.broker.config import NodeConfig
from nodes.broker.controller.commands import CreateTopic
from nodes.broker.partition import Partition
from nodes.broker.parts import HANDLERS
from nodes.broker.replicas import Replicas
from nodes.broker.wire import APIS, Api, decode_request, encode_response
from tests.nodes.broker.api.quorum import Quorum

ME, FOLLOWER, OTHER = 1, 2, 3
NAMES: Mapping[str, Api] = {api.name: api for api in APIS.values()}


class Broker:
    """See the module. `ask` sends to listener c1, `ask_as_peer` to the peers' one."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self.output = io.StringIO()
        host = RealHost("n1", folder, 1, disk=RealDisk(folder), output=self.output)
        peers = {f"n{id}": {"peer": ("127.0.0.1", 1), "raft": ("127.0.0.1", 1)} for id in (2, 3)}
        config = NodeConfig(
            node="n1",
            id=ME,
            data=str(folder),
            bind=dict.fromkeys(("peer", "raft", "admin", "c1", "c2"), ("127.0.0.1", 0)),
            advertised={"c1": ("c1.one", 91), "c2": ("c2.one", 92)},
            peers=peers,
            peer_advertised={
                f"n{id}": {"c1": (f"c1.{id}", 91), "c2": (f"c2.{id}", 92)} for id in (2, 3)
            },
            options=dict(options),
        )
        self.quorum = Quorum(ME)
        quorum: Any = self.quorum
        replicas = Replicas(host, config, quorum)
        self.context = Context.of(host, config, quorum, replicas)

    async def start(self) -> None:
        await self.context.replicas.start()
        self.quorum.register(ME, FOLLOWER, OTHER)

    async def close(self) -> None:
        await self.context.close()
        await self.context.replicas.close(clean=True)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    # -- requests ----------------------------------------------------------------------------

    async def ask(self, api: str, version: int, /, listener: str = "c1", **fields: Any) -> Any:
        """The decoded answer; None where the broker gives none."""
        served = NAMES[api]
        body = served.request(version=version, **fields)
        body.with_header(17, "test")
        request = decode_request(bytearray(body.encode(header=True)))
        answer = await HANDLERS[api](self.context, request, listener)
        if answer is None:
            return None
        frame = bytes(encode_response(request, answer))
        assert struct.unpack(">i", frame[:4])[0] == len(frame) - 4
        return served.response.decode(frame[4:], version=version, header=True)

    async def produce(
        self,
        data: bytes | None,
        *,
        partition: int = 0,
        topic: str = "t",
        acks: int = 1,
        timeout_ms: int = 1000,
        version: int = 11,
    ) -> Any:
        """The partition's part of the answer, None with acks=0."""
        kind = NAMES["Produce"].request.TopicProduceData
        part = kind.PartitionProduceData(index=partition, records=data)
        answer = await self.ask(
            "Produce",
            version,
            acks=acks,
            timeout_ms=timeout_ms,
            topic_data=[kind(name=topic, partition_data=[part])],
        )
        return None if answer is None else answer.responses[0].partition_responses[0]

    async def fetch(self, offset: int, **more: Any) -> Any:
        """As a consumer, one partition: its part of the answer."""
        answer = await self.fetch_all([fetched("t", 0, offset, **more.pop("part", {}))], **more)
        return answer.responses[0].partitions[0]

    async def fetch_all(
        self, topics: Sequence[Any], *, version: int = 11, listener: str = "c1", **more: Any
    ) -> Any:
        fields = {"replica_id": -1, "max_wait_ms": 0, "min_bytes": 1, "max_bytes": 1 << 20, **more}
        if version >= 15:
            del fields["replica_id"]
        return await self.ask(
            "Fetch",
            version,
            listener,
            topics=list(topics),
            session_id=0,
            session_epoch=-1,
            **fields,
        )

    async def follow(
        self, offset: int, replica: int = FOLLOWER, *, epoch: int | None = None, **part: Any
    ) -> Any:
        """As a follower: its part of the answer."""
        state = NAMES["Fetch"].request.ReplicaState(
            replica_id=replica,
            replica_epoch=self.quorum.epochs[replica] if epoch is None else epoch,
        )
        partition = self.partition(0).state
        topic = fetched("t", 0, offset, **{"epoch": partition.leader_epoch, **part})
        topic.topic_id = partition.topic_id
        answer = await self.fetch_all(
            [topic], version=15, listener="peer", replica_state=state, max_wait_ms=0
        )
        return answer.responses[0].partitions[0]

    # -- state -------------------------------------------------------------------------------

    async def create_topic(
        self,
        name: str = "t",
        assignments: Sequence[tuple[int, ...]] = ((ME, FOLLOWER, OTHER),),
        **configs: str,
    ) -> None:
        """A topic whose replicas on this broker are there and in their roles."""
        named = {key.replace("_", "."): value for key, value in configs.items()}
        factor = len(assignments[0])
        self.quorum.apply(
            CreateTopic(name, len(assignments), factor, named, assignments=list(assignments))
        )
        wanted = [n for n, replicas in enumerate(assignments) if ME in replicas]

        async def there() -> bool:
            found = self.context.replicas.partitions
            return all((name, number) in found for number in wanted)

        await wait_until(there, 5, f"the replicas of {name} are there", pause_s=0.001)

    def partition(self, number: int = 0, topic: str = "t") -> Partition:
        return self.context.replicas.get(topic, number)

    async def settle(self) -> None:
        """Let everything that is ready run."""
        for _ in range(10):
            await asyncio.sleep(0)


def fetched(
    topic: str,
    number: int,
    offset: int,
    *,
    epoch: int = -1,
    last_epoch: int = -1,
    start: int = -1,
    bytes_max: int = 1 << 20,
) -> Any:
    """A topic of a Fetch request with one partition."""
    kind = NAMES["Fetch"].request.FetchTopic
    part = kind.FetchPartition(
        partition=number,
        current_leader_epoch=epoch,
        fetch_offset=offset,
        last_fetched_epoch=last_epoch,
        log_start_offset=start,
        partition_max_bytes=bytes_max,
    )
    return kind(topic=topic, partitions=[part])


def batch(
    *values: bytes,
    producer: int = -1,
    epoch: int = -1,
    sequence: int = -1,
    transactional: bool = False,
    timestamp: int = 1000,
) -> bytes:
    """A record batch as kafka-python makes it; timestamps rise by one."""
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer, epoch, sequence, 1 << 20)
    for number, value in enumerate(values):
        builder.append(number, timestamp + number, None, value, [])
    return bytes(builder.build())
