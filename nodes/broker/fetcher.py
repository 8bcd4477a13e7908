"""Fetches from one leader for all partitions that it leads and this broker follows.

Each request carries, per partition, the epoch of the last batch that this replica has (KIP-595):
the leader answers with the point of divergence where the logs part, and the follower cuts its log
there, never at its own high watermark (KIP-101). An answer counts only if the partition still
follows the same leader in the same epoch as when it was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
)

from harness.host.contract import Host
from nodes.broker.config import Address, NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.encoding import maker
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import CorruptBatch, Misplaced
from nodes.broker.partition import Partition
from nodes.broker.wire import PeerConnection

FETCH_VERSION = 15
LIST_OFFSETS_VERSION = 7
EARLIEST, LATEST = -2, -1
PARTITION_BYTES = 1 << 20
_new_request, _new_topic = maker(FetchRequest), maker(FetchRequest.FetchTopic)
_new_partition = maker(FetchRequest.FetchTopic.FetchPartition)
_new_state = maker(FetchRequest.ReplicaState)

BACKOFF_CODES = frozenset(
    {
        Code.NOT_LEADER_OR_FOLLOWER,
        Code.UNKNOWN_LEADER_EPOCH,
        Code.FENCED_LEADER_EPOCH,
        Code.UNKNOWN_TOPIC_ID,
        Code.UNKNOWN_TOPIC_OR_PARTITION,
    }
)
"""One of the two has not heard of the newest metadata yet."""

Connect = Callable[[Address, str], Awaitable[PeerConnection]]
"""(address, client id) → a connection. Raises OSError or TimeoutError."""


class Fetcher:
    """See the module."""

    def __init__(
        self,
        host: Host,
        config: NodeConfig,
        controller: Controller,
        connect: Connect,
        leader: int,
        address: Address,
    ) -> None:
        self._host, self._config, self._controller = host, config, controller
        self._connect, self._leader, self._address = connect, leader, address
        self._partitions: list[Partition] = []
        self._assigned = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._backoff_s = config.ms("replica.fetch.backoff.ms") / 1000

    def assign(self, partitions: list[Partition]) -> None:
        """Fetch exactly these from now on."""
        self._partitions = partitions
        if partitions:
            self._assigned.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name=f"fetch from {self._leader}")
        else:
            self._assigned.clear()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._assigned.wait()
            try:
                connection = await self._connect(self._address, f"replica-{self._config.id}")
            except (OSError, TimeoutError):
                await self._pause()
                continue
            try:
                while self._partitions:
                    if not await self._fetch(connection):
                        await self._pause()
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                self._host.log("fetcher.lost", leader=self._leader, error=f"{error!r}")
            except Exception as error:  # a bug of ours must not end replication in silence
                self._host.log("fetcher.failed", leader=self._leader, error=f"{error!r}")
            finally:
                connection.close()
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(self._backoff_s * self._host.rng.uniform(0.5, 1.0))

    async def _fetch(self, connection: PeerConnection) -> bool:
        """One round; whether the next may follow at once."""
        await self._flush()
        asked = {
            (partition.state.topic_id, partition.state.partition): (partition, partition.state)
            for partition in self._partitions
            if not partition.leading and partition.offline is None
        }
        if not asked:
            return False
        # To ask for an offset is to say that everything before it is here to stay, so from the
        # flush to here nothing waits.
        wait_ms = self._config.ms("replica.fetch.wait.max.ms")
        request = self._request([partition for partition, _ in asked.values()], wait_ms)
        answer = await connection.ask(
            request, FetchRequest, FetchResponse, FETCH_VERSION, wait_ms / 1000 + 5.0
        )
        if answer.error_code:
            return False
        smooth = True
        for topic in answer.responses:
            for data in topic.partitions:
                key = (_uuid(topic.topic_id), data.partition_index)
                if key not in asked:
                    continue
                partition, state = asked[key]
                if not partition.follows_as(state):
                    continue  # what was asked in another epoch says nothing in this one
                smooth &= await self._take(connection, partition, data)
        return smooth

    async def _flush(self) -> None:
        """As flush.messages and flush.ms say, side by side, and where the log begins now, before
        the leader hears of it; who fails goes offline and says so."""
        due = [p.flush_if_due() for p in self._partitions if p.flush_is_due]
        due += [p.store_start() for p in self._partitions if p.start_is_due]
        if due:
            await asyncio.gather(*due, return_exceptions=True)

    def _request(self, partitions: Sequence[Partition], wait_ms: int) -> Any:
        by_topic: dict[uuid.UUID, list[Any]] = {}
        for partition in partitions:
            by_topic.setdefault(partition.state.topic_id, []).append(
                _new_partition(
                    partition=partition.state.partition,
                    current_leader_epoch=partition.state.leader_epoch,
                    fetch_offset=partition.log.end_offset,
                    last_fetched_epoch=partition.log.epochs.at(partition.log.end_offset - 1),
                    log_start_offset=partition.log.stored_start,
                    partition_max_bytes=PARTITION_BYTES,
                )
            )
        return _new_request(
            replica_state=_new_state(
                replica_id=self._config.id,
                replica_epoch=self._controller.broker_epoch,
            ),
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=self._config.ms("replica.fetch.max.bytes"),
            isolation_level=0,
            session_id=0,
            session_epoch=-1,
            topics=[_new_topic(topic_id=id, partitions=found) for id, found in by_topic.items()],
            forgotten_topics_data=[],
            rack_id="",
        )

    async def _take(self, connection: PeerConnection, partition: Partition, data: Any) -> bool:
        """Take in one partition's answer; whether all went well."""
        code = data.error_code
        if code == Code.OFFSET_OUT_OF_RANGE:
            with contextlib.suppress(BrokerError):  # the disk; the partition says so
                await self._reset(connection, partition)
            return True
        if code:
            if code not in BACKOFF_CODES:
                self._host.log("fetcher.error", partition=partition.name, code=code)
            return False
        diverging = data.diverging_epoch
        try:
            if diverging is not None and diverging.end_offset >= 0:
                await partition.truncate_after_divergence(diverging.epoch, diverging.end_offset)
            else:
                await self._append(partition, data)
        except (CorruptBatch, Misplaced) as error:
            self._host.log("fetcher.corrupt", partition=partition.name, error=str(error))
            return False
        except BrokerError:
            return False  # the disk; the partition is offline and says so
        return True

    async def _append(self, partition: Partition, data: Any) -> None:
        """Raises as `Partition.append_fetched`."""
        start = data.log_start_offset
        try:
            partition.append_fetched(data.records or b"", data.high_watermark, start)
        except Misplaced:
            if not partition.log.start_offset < partition.log.end_offset <= start:
                raise
            # The leader's log begins in the midst of a batch, and ours ends there with another one:
            # of what parted before its start the leader knows no epochs. Nothing of ours is needed.
            await partition.restart_at(start)

    async def _reset(self, connection: PeerConnection, partition: Partition) -> None:
        """The leader does not have the offset that was asked for."""
        state = partition.state
        end = await self._offset(connection, partition, LATEST)
        start = await self._offset(connection, partition, EARLIEST)
        if start is None or end is None or not partition.follows_as(state):
            return
        if end < partition.log.start_offset:
            await partition.restart_at(start)
        elif end < partition.log.end_offset:
            # Only after an unclean election: what the leader lacks is lost by permission.
            await partition.truncate(end)
        elif partition.log.end_offset < start:
            await partition.restart_at(start)

    async def _offset(
        self, connection: PeerConnection, partition: Partition, timestamp: int
    ) -> int | None:
        state = partition.state
        version = LIST_OFFSETS_VERSION
        wanted = ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
            version=version,
            partition_index=state.partition,
            current_leader_epoch=state.leader_epoch,
            timestamp=timestamp,
        )
        topic = ListOffsetsRequest.ListOffsetsTopic(
            version=version, name=state.topic, partitions=[wanted]
        )
        request = ListOffsetsRequest(
            version=version, replica_id=self._config.id, isolation_level=0, topics=[topic]
        )
        answer = await connection.ask(
            request, ListOffsetsRequest, ListOffsetsResponse, version, 5.0
        )
        with contextlib.suppress(IndexError):
            found = answer.topics[0].partitions[0]
            return None if found.error_code else int(found.offset)
        return None


def _uuid(value: Any) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
