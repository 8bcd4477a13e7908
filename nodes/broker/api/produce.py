"""Produce: append batches as leader, and answer as acks says.

All partitions of a request are appended before anything is waited for, so that the order of a
connection's requests is the order of the log; then the waits (flush.messages, replication) of the
partitions run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from struct import Struct
from typing import Any

from kafka.protocol.producer import ProduceResponse

from nodes.broker.api.cluster import current_leader, node_endpoints
from nodes.broker.api.context import Context, code_of
from nodes.broker.coordinator.topics import INTERNAL
from nodes.broker.encoding import maker
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.batch import HEADER_SIZE
from nodes.broker.log.errors import LogError
from nodes.broker.log.log import Appended
from nodes.broker.partition import Partition
from nodes.broker.server import Disconnect
from nodes.broker.wire import Request

ALL = -1
_ATTRIBUTES_LOW = 22  # the low byte of a batch's attributes
_TRANSACTIONAL = 0x10
_PRODUCER, _PRODUCER_AT = Struct(">qh"), 43
"""The producer's id and epoch in a batch's header."""
_COUNT = slice(57, 61)
_LEADERS_IN_ANSWERS = 10
"""From this version on an answer tells who leads now (KIP-951)."""

Topic = ProduceResponse.TopicProduceResponse
Part = Topic.PartitionProduceResponse
_new_answer, _new_topic, _new_part = maker(ProduceResponse), maker(Topic), maker(Part)


async def produce(context: Context, request: Request, listener: str) -> Any:
    """Answer a Produce request; None (no answer at all) with acks=0.

    Raises:
        Disconnect: something of an acks=0 request was refused.
    """
    body = request.body
    topics: list[Any] = []
    waits: list[Coroutine[Any, Any, None]] = []
    for topic in body.topic_data or ():
        parts = []
        for data in topic.partition_data or ():
            part, wait = _one(context, body, topic.name, data)
            parts.append(part)
            if wait is not None:
                waits.append(wait)
        topics.append(_new_topic(name=topic.name, partition_responses=parts))
    if len(waits) == 1:
        await waits[0]
    elif waits:
        await asyncio.gather(*waits)
    failed = [part for topic in topics for part in topic.partition_responses if part.error_code]
    for part in failed:
        context.metrics.failed("Produce", part.error_code)
    if body.acks == 0:
        if failed:
            raise Disconnect(f"acks=0, and {failed[0].error_message or failed[0].error_code}")
        return None
    answer = _new_answer(responses=topics)
    if failed and request.version >= _LEADERS_IN_ANSWERS:
        _tell_leaders(context, listener, answer)
    return answer


def _one(
    context: Context, body: Any, topic: str, data: Any
) -> tuple[Any, Coroutine[Any, Any, None] | None]:
    """Append one partition's batch: (its part of the answer, what is to be waited for)."""
    part = _new_part(index=data.index, base_offset=-1)
    try:
        if body.acks not in (0, 1, ALL):
            raise BrokerError(Code.INVALID_REQUIRED_ACKS, f"acks={body.acks}")
        if topic in INTERNAL:
            text = f"{topic} is written by brokers only"
            raise BrokerError(Code.INVALID_TOPIC_EXCEPTION, text)
        records = data.records or b""
        partition = context.replicas.get(topic, data.index)
        if len(records) >= HEADER_SIZE and records[_ATTRIBUTES_LOW] & _TRANSACTIONAL:
            if body.transactional_id is None:
                raise BrokerError(Code.INVALID_RECORD, "a transactional batch of no transaction")
            producer = _PRODUCER.unpack_from(records, _PRODUCER_AT)
            if not partition.is_in_transaction(producer[0]):
                return part, _verified(context, body, part, partition, producer, records)
        return part, _append(context, body, part, partition, records)
    except (BrokerError, LogError) as error:
        return _refuse(part, error), None


async def _verified(
    context: Context,
    body: Any,
    part: Any,
    partition: Partition,
    producer: tuple[int, int],
    records: bytes,
) -> None:
    """The first batch of a transaction here: once its coordinator expects it, and if no marker came
    meanwhile."""
    try:
        if not await context.verifier.admits(body.transactional_id, producer, partition):
            raise BrokerError(Code.NOT_ENOUGH_REPLICAS, "a transaction was ended meanwhile")
        wait = _append(context, body, part, partition, records)
    except (BrokerError, LogError) as error:
        _refuse(part, error)
        return
    if wait is not None:
        await wait


def _append(
    context: Context, body: Any, part: Any, partition: Partition, records: bytes
) -> Coroutine[Any, Any, None] | None:
    """What is to be waited for before it is acknowledged.

    Raises:
        BrokerError, LogError: refused; nothing was appended.
    """
    # In the log the header is patched in place: these bytes become our own.
    appended = partition.append(bytearray(records), body.acks, partition.min_isr)
    if appended.duplicate:
        context.metrics.duplicates += 1
    else:
        context.metrics.messages_in += int.from_bytes(records[_COUNT], "big")
        context.metrics.bytes_in += len(records)
    part.base_offset = appended.base_offset
    part.log_append_time_ms = appended.timestamp
    part.log_start_offset = partition.log.start_offset
    epoch = partition.state.leader_epoch
    if body.acks != ALL and not partition.flush_is_due:
        return None
    return _settle(part, partition, epoch, appended, body)


async def _settle(
    part: Any, partition: Partition, epoch: int, appended: Appended, body: Any
) -> None:
    """Wait for what must come before the acknowledgement."""
    try:
        if body.acks != ALL:
            await partition.flush_if_due()
            return
        timeout_s = max(body.timeout_ms, 0) / 1000
        code = await partition.settle(appended.last_offset, epoch, timeout_s)
        if code is not Code.NONE:
            raise BrokerError(code)
    except (BrokerError, LogError, OSError) as error:
        _refuse(part, error)


def _refuse(part: Any, error: BrokerError | LogError | OSError) -> Any:
    part.error_code = code_of(error)
    part.error_message = str(error)
    part.base_offset = -1
    part.log_append_time_ms = -1
    return part


def _tell_leaders(context: Context, listener: str, answer: Any) -> None:
    leaders = set()
    for topic in answer.responses:
        for part in topic.partition_responses:
            if part.error_code == Code.NOT_LEADER_OR_FOLLOWER:
                known = current_leader(context.image, topic.name, part.index)
                if known is not None:
                    part.current_leader = Part.LeaderIdAndEpoch(
                        leader_id=known[0], leader_epoch=known[1]
                    )
                    leaders.add(known[0])
    answer.node_endpoints = node_endpoints(context, listener, leaders, ProduceResponse)
