"""Fetch: batches for consumers and followers, with a long poll.

Consumers see what is below the high watermark, followers all that the leader has. An answer is due
when `min_bytes` are there, `max_wait_ms` are over, or something went wrong. Sessions (KIP-227) are
not offered: every answer says session 0, and every request names all of its partitions.

With read_committed a consumer gets what is below the last stable offset, and is told which of the
transactions in it were aborted: it skips their messages itself.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kafka.protocol.consumer import FetchResponse

from nodes.broker.api.cluster import current_leader, node_endpoints
from nodes.broker.api.context import PEER, Context, code_of
from nodes.broker.encoding import maker
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.log.transactions import Aborted
from nodes.broker.partition import Partition
from nodes.broker.wire import Request

NO_REPLICA = -1
READ_COMMITTED = 1
REFUSAL_S = 0.02
"""How long a consumer waits for an answer that says nothing but that it asked the wrong node, or
for the wrong offset. Some clients (aiokafka 0.14 is one) ask again at once until their metadata are
new: thousands of times a second, while an election is what everybody waits for."""
_TOPIC_IDS = 13
"""From this version on topics are named by their ids."""
_ENDPOINTS = 16

Topic = FetchResponse.FetchableTopicResponse
Part = Topic.PartitionData
_new_answer, _new_topic, _new_part = maker(FetchResponse), maker(Topic), maker(Part)


@dataclass(slots=True)
class Asked:
    """One partition of a request. `partition` is None where `refusal` says why."""

    topic: str
    topic_id: uuid.UUID | None
    data: Any
    partition: Partition | None = None
    refusal: BrokerError | LogError | None = None


@dataclass(slots=True)
class Look:
    """What there is of one partition now. Most looks are followed by another one before anything
    is answered, so that they are not made of the schema's objects."""

    code: int = 0
    hw: int = -1
    stable: int = -1
    start: int = -1
    records: bytes = b""
    aborted: list[Aborted] | None = None
    diverging: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, and how much of it."""

    follower: bool
    committed: bool

    def end_of(self, partition: Partition) -> int:
        """What is from here on is not for this reader."""
        if self.follower:
            return partition.log.end_offset
        return partition.last_stable_offset if self.committed else partition.hw


@dataclass(slots=True)
class Round:
    """A look at each partition, the bytes found, and whether something cannot wait."""

    looks: list[tuple[Asked, Look]] = field(default_factory=list)
    size: int = 0
    urgent: bool = False


async def fetch(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    replica, epoch = _follower(request)
    if body.session_id:
        return FetchResponse(error_code=int(Code.FETCH_SESSION_ID_NOT_FOUND))
    if replica >= 0 and listener != PEER:
        text = "only a peer's listener serves replicas"
        return _refuse_all(context, request, BrokerError(Code.CLUSTER_AUTHORIZATION_FAILED, text))
    asked = list(_partitions(context, request))
    if replica >= 0:
        _note_progress(context, asked, replica, epoch)
    reader = Reader(replica >= 0, body.isolation_level == READ_COMMITTED)
    found = await _poll(context, body, asked, reader)
    if replica < 0:
        context.metrics.bytes_out += found.size
        if found.urgent and not found.size:
            await asyncio.sleep(min(REFUSAL_S, max(body.max_wait_ms, 0) / 1000))
    return _answer(context, request, listener, found)


def _follower(request: Request) -> tuple[int, int]:
    """(replica id, its broker epoch); (-1, -1) for a consumer."""
    body = request.body
    if request.version >= 15:
        state = body.replica_state
        return (NO_REPLICA, -1) if state is None else (state.replica_id, state.replica_epoch)
    return body.replica_id, -1


def _partitions(context: Context, request: Request) -> Iterator[Asked]:
    for topic in request.body.topics or ():
        name, id = topic.topic, topic.topic_id
        unknown = None
        if request.version >= _TOPIC_IDS:
            state = context.image.topic_by_id(id) if id is not None else None
            name = "" if state is None else state.name
            unknown = BrokerError(Code.UNKNOWN_TOPIC_ID) if state is None else None
        for data in topic.partitions or ():
            asked = Asked(name, id, data, refusal=unknown)
            try:
                if unknown is None:
                    asked.partition = context.replicas.get(name, data.partition)
            except BrokerError as error:
                asked.refusal = error
            yield asked


def _note_progress(context: Context, asked: list[Asked], replica: int, epoch: int) -> None:
    """A follower that asks for an offset has all before it, unless its log has parted from ours."""
    wishes = context.replicas.wishes
    for each in asked:
        partition, data = each.partition, each.data
        if partition is None:
            continue
        try:
            partition.require_leader(data.current_leader_epoch)
            in_range = partition.log.start_offset <= data.fetch_offset <= partition.log.end_offset
            if in_range and _divergence(partition, data) is None:
                wishes.note_fetch(partition, replica, epoch, data.fetch_offset)
                partition.began(replica, data.log_start_offset)
        except BrokerError as error:
            each.partition, each.refusal = None, error


async def _poll(context: Context, body: Any, asked: list[Asked], reader: Reader) -> Round:
    """Collect until the answer is due."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max(body.max_wait_ms, 0) / 1000
    bytes_max = min(body.max_bytes, context.config.ms("fetch.max.bytes"))
    while True:
        found = _collect(asked, bytes_max, reader)
        left_s = deadline - loop.time()
        if found.urgent or found.size >= body.min_bytes or left_s <= 0 or not asked:
            return found
        more: asyncio.Future[None] = loop.create_future()
        for each in asked:
            if each.partition is not None:
                each.partition.watch(more)
        timer = loop.call_later(left_s, _settle, more)
        try:
            await more
        finally:
            timer.cancel()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _collect(asked: list[Asked], bytes_max: int, reader: Reader) -> Round:
    """One look at all partitions. The first that has anything gives one batch at least."""
    found = Round()
    for each in asked:
        look = Look()
        found.looks.append((each, look))
        try:
            if each.partition is None:
                assert each.refusal is not None
                raise each.refusal
            if each.partition.closed:
                raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, "it was deleted meanwhile")
            left = max(bytes_max - found.size, 0)
            found.urgent |= _read(each.partition, each.data, look, left, not found.size, reader)
        except (BrokerError, LogError, OSError) as error:
            look.code, look.hw = code_of(error), -1
            found.urgent = True
        found.size += len(look.records)
    return found


def _read(
    partition: Partition, data: Any, look: Look, left: int, at_least_one: bool, reader: Reader
) -> bool:
    """Look at one partition; whether the answer cannot wait. Raises as `Partition.read`."""
    partition.require_leader(data.current_leader_epoch)
    log = partition.log
    look.hw, look.stable, look.start = partition.hw, partition.last_stable_offset, log.start_offset
    look.diverging = _divergence(partition, data)
    if look.diverging is not None:
        return True
    upto = reader.end_of(partition)
    limit = min(max(data.partition_max_bytes, 0), left)
    look.records = partition.read(data.fetch_offset, limit, upto, at_least_one=at_least_one)
    if reader.committed and not reader.follower:
        look.aborted = log.transactions.aborted_in(data.fetch_offset, upto) if look.records else []
    return False


def _divergence(partition: Partition, data: Any) -> tuple[int, int] | None:
    """(epoch, its end) if the log that is asked for has parted from ours before its end (KIP-595).

    Raises:
        BrokerError: OFFSET_OUT_OF_RANGE, where nothing is known of that epoch.
    """
    last = data.last_fetched_epoch
    if last < 0:
        return None
    epoch, end = partition.log.end_of_epoch(last)
    if epoch < 0 or end < 0:
        raise BrokerError(Code.OFFSET_OUT_OF_RANGE, f"nothing is known of epoch {last}")
    return (epoch, end) if epoch < last or end < data.fetch_offset else None


def _answer(context: Context, request: Request, listener: str, found: Round) -> Any:
    topics: dict[Any, Any] = {}
    leaders = set()
    for asked, look in found.looks:
        part = _part(asked, look)
        key = asked.topic_id if request.version >= _TOPIC_IDS else asked.topic
        if key not in topics:
            topics[key] = _new_topic(topic=asked.topic, topic_id=asked.topic_id, partitions=[])
        topics[key].partitions.append(part)
        if look.code:
            context.metrics.failed("Fetch", look.code)
        if look.code in (Code.NOT_LEADER_OR_FOLLOWER, Code.FENCED_LEADER_EPOCH):
            known = current_leader(context.image, asked.topic, part.partition_index)
            if known is not None:
                leader, epoch = known
                part.current_leader = Part.LeaderIdAndEpoch(leader_id=leader, leader_epoch=epoch)
                leaders.add(leader)
    answer = _new_answer(responses=list(topics.values()))
    if leaders and request.version >= _ENDPOINTS and listener != PEER:
        answer.node_endpoints = node_endpoints(context, listener, leaders, FetchResponse)
    return answer


def _part(asked: Asked, look: Look) -> Any:
    part = _new_part(
        partition_index=asked.data.partition,
        error_code=look.code,
        high_watermark=look.hw,
        records=look.records,
        aborted_transactions=None if look.aborted is None else _aborted(look.aborted),
    )
    if look.start >= 0:
        part.last_stable_offset, part.log_start_offset = look.stable, look.start
    if look.diverging is not None:
        epoch, end = look.diverging
        part.diverging_epoch = Part.EpochEndOffset(epoch=epoch, end_offset=end)
    return part


def _aborted(aborted: list[Aborted]) -> list[Any]:
    return [
        Part.AbortedTransaction(producer_id=each.producer_id, first_offset=each.first_offset)
        for each in aborted
    ]


def _refuse_all(context: Context, request: Request, error: BrokerError) -> Any:
    found = Round()
    for each in _partitions(context, request):
        found.looks.append((each, Look(int(error.code))))
    answer = _answer(context, request, PEER, found)
    answer.error_code = int(error.code)
    return answer
