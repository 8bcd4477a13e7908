"""Where logs begin, end and part: ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

import asyncio
from typing import Any

from kafka.protocol.admin import DeleteRecordsResponse
from kafka.protocol.consumer import ListOffsetsResponse, OffsetForLeaderEpochResponse

from nodes.broker.api.context import PEER, Context, code_of
from nodes.broker.api.fetch import READ_COMMITTED, Reader
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.partition import Partition
from nodes.broker.wire import Request

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3
NOWHERE = (-1, -1, -1)
HIGH_WATERMARK = -1
"""As the offset of DeleteRecords: all that is committed."""
_MAX_TIMESTAMP_SINCE = 7
_OFFSET_NOT_AVAILABLE_SINCE = 5

Listed = ListOffsetsResponse.ListOffsetsTopicResponse
ListedPart = Listed.ListOffsetsPartitionResponse
Ended = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
EndedPart = Ended.EpochEndOffset
Deleted = DeleteRecordsResponse.DeleteRecordsTopicResult
DeletedPart = Deleted.DeleteRecordsPartitionResult


# -- ListOffsets ---------------------------------------------------------------------------------


async def list_offsets(context: Context, request: Request, listener: str) -> Any:
    reader = Reader(
        follower=request.body.replica_id >= 0 and listener == PEER,
        committed=request.version >= 2 and request.body.isolation_level == READ_COMMITTED,
    )
    topics = []
    for topic in request.body.topics or ():
        parts = [
            _list_one(context, topic.name, data, request.version, reader)
            for data in topic.partitions or ()
        ]
        topics.append(Listed(name=topic.name, partitions=parts))
    return ListOffsetsResponse(topics=topics)


def _list_one(context: Context, topic: str, data: Any, version: int, reader: Reader) -> Any:
    part = ListedPart(partition_index=data.partition_index)
    try:
        partition = context.replicas.get(topic, data.partition_index)
        partition.require_leader(data.current_leader_epoch)
        found = _offset(partition, data.timestamp, version, reader)
        part.timestamp, part.offset, part.leader_epoch = found
    except (BrokerError, LogError, OSError) as error:
        part.error_code = code_of(error)
        context.metrics.failed("ListOffsets", part.error_code)
    return part


def _offset(
    partition: Partition, timestamp: int, version: int, reader: Reader
) -> tuple[int, int, int]:
    """(timestamp, offset, leader epoch), -1 for what is not there, or not for this reader."""
    log, upto = partition.log, reader.end_of(partition)
    if timestamp == EARLIEST:
        return -1, log.start_offset, log.epochs.at(log.start_offset)
    if not reader.follower and partition.hw < partition.epoch_start:
        # A new leader does not know yet how much of what it has is committed. Consumers might have
        # seen more than its high watermark, which must not go back for them.
        available = version >= _OFFSET_NOT_AVAILABLE_SINCE
        raise BrokerError(Code.OFFSET_NOT_AVAILABLE if available else Code.LEADER_NOT_AVAILABLE)
    if timestamp == LATEST:
        return -1, upto, partition.state.leader_epoch
    if timestamp == MAX_TIMESTAMP and version >= _MAX_TIMESTAMP_SINCE:
        found = log.max_timestamp()
    elif timestamp >= 0:
        found = log.offset_for_time(timestamp)
    else:
        raise BrokerError(Code.UNSUPPORTED_FOR_MESSAGE_FORMAT, f"timestamp {timestamp}")
    return found if found is not None and found[1] < upto else NOWHERE


# -- OffsetForLeaderEpoch ------------------------------------------------------------------------


async def offset_for_leader_epoch(context: Context, request: Request, listener: str) -> Any:
    topics = [
        Ended(
            topic=topic.topic,
            partitions=[_end_one(context, topic.topic, data) for data in topic.partitions or ()],
        )
        for topic in request.body.topics or ()
    ]
    return OffsetForLeaderEpochResponse(topics=topics)


def _end_one(context: Context, topic: str, data: Any) -> Any:
    part = EndedPart(partition=data.partition)
    try:
        partition = context.replicas.get(topic, data.partition)
        partition.require_leader(data.current_leader_epoch)
        part.leader_epoch, part.end_offset = partition.log.end_of_epoch(data.leader_epoch)
    except BrokerError as error:
        part.error_code = code_of(error)
    return part


# -- DeleteRecords -------------------------------------------------------------------------------


async def delete_records(context: Context, request: Request, listener: str) -> Any:
    timeout_s = max(request.body.timeout_ms, 0) / 1000
    topics = [
        Deleted(
            name=topic.name,
            partitions=await asyncio.gather(
                *(
                    _delete_one(context, topic.name, data, timeout_s)
                    for data in topic.partitions or ()
                )
            ),
        )
        for topic in request.body.topics or ()
    ]
    return DeleteRecordsResponse(topics=topics)


async def _delete_one(context: Context, topic: str, data: Any, timeout_s: float) -> Any:
    part = DeletedPart(partition_index=data.partition_index, low_watermark=-1)
    try:
        partition = context.replicas.get(topic, data.partition_index)
        partition.require_leader()
        offset = partition.hw if data.offset == HIGH_WATERMARK else data.offset
        if not 0 <= offset <= partition.hw:
            raise BrokerError(Code.OFFSET_OUT_OF_RANGE, f"{offset} of {partition.hw} committed")
        partition.log.delete_before(offset)
        await partition.log.checkpoint()
        async with asyncio.timeout(timeout_s):
            part.low_watermark = await _low_watermark(context, partition, offset)
    except TimeoutError:
        part.error_code = int(Code.REQUEST_TIMED_OUT)
    except (BrokerError, LogError, OSError) as error:
        part.error_code = code_of(error)
    return part


async def _low_watermark(context: Context, partition: Partition, offset: int) -> int:
    """The low watermark, once it has reached `offset`: else what was deleted would be back as soon
    as a replica leads that has not heard of it. Replicas that are not in service count as long as
    they are eligible: they may lead before they fetch. Raises BrokerError."""
    while True:
        partition.require_leader()
        state = partition.state
        eligible = {*state.isr, *state.elr}
        heard = [r for r in state.replicas if context.image.active(r) or r in eligible]
        low = partition.low_watermark(heard)
        if low >= offset:
            return low
        changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        partition.watch(changed)
        await changed
