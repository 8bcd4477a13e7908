"""Offsets of groups without members: OffsetCommit and OffsetFetch of standalone consumers.

They are part of the metadata, so every node can answer; a fetch first goes through the metadata's
log, so that it tells all that was committed before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kafka.protocol.consumer import OffsetCommitResponse, OffsetFetchResponse

from nodes.broker.api.context import Context
from nodes.broker.controller.commands import CommitOffsets
from nodes.broker.errors import BrokerError, Code
from nodes.broker.wire import Request

METADATA_MAX = 4096
NOTHING = (-1, "")
_GROUPS_SINCE = 8
"""From this version on an OffsetFetch names several groups."""

Committed = OffsetCommitResponse.OffsetCommitResponseTopic
Fetched = OffsetFetchResponse.OffsetFetchResponseTopic
FetchedGroup = OffsetFetchResponse.OffsetFetchResponseGroup


# -- OffsetCommit --------------------------------------------------------------------------------


async def offset_commit(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    refusal = _refusal(body)
    codes: dict[tuple[str, int], int] = {}
    good: list[tuple[str, int, int, str]] = []
    for topic in body.topics or ():
        for data in topic.partitions or ():
            place = topic.name, data.partition_index
            codes[place] = int(refusal or _refuse_one(context, *place, data))
            if not codes[place]:
                good.append((*place, data.committed_offset, data.committed_metadata or ""))
    if good:
        try:
            await context.controller.submit(CommitOffsets(body.group_id, good))
        except BrokerError as error:
            context.host.log("offsets.not-committed", group=body.group_id, error=str(error))
            codes.update({(t, n): int(Code.COORDINATOR_NOT_AVAILABLE) for t, n, *_ in good})
    topics = [
        Committed(
            name=topic.name,
            partitions=[
                Committed.OffsetCommitResponsePartition(
                    partition_index=data.partition_index,
                    error_code=codes[topic.name, data.partition_index],
                )
                for data in topic.partitions or ()
            ],
        )
        for topic in body.topics or ()
    ]
    return OffsetCommitResponse(topics=topics)


def _refusal(body: Any) -> Code:
    """What is wrong with the whole request: only groups without members are served."""
    if not body.group_id:
        return Code.INVALID_GROUP_ID
    if body.member_id:
        return Code.UNKNOWN_MEMBER_ID
    if body.generation_id_or_member_epoch >= 0:
        return Code.ILLEGAL_GENERATION
    return Code.NONE


def _refuse_one(context: Context, topic: str, number: int, data: Any) -> Code:
    if context.image.partition(topic, number) is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    if len(data.committed_metadata or "") > METADATA_MAX:
        return Code.OFFSET_METADATA_TOO_LARGE
    return Code.NONE


# -- OffsetFetch ---------------------------------------------------------------------------------


async def offset_fetch(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    if request.version >= _GROUPS_SINCE:
        groups = [await _group(context, each.group_id, each.topics) for each in body.groups or ()]
        return OffsetFetchResponse(groups=groups)
    only = await _group(context, body.group_id, body.topics)
    topics = [
        Fetched(
            name=topic.name,
            partitions=[
                Fetched.OffsetFetchResponsePartition(
                    partition_index=part.partition_index,
                    committed_offset=part.committed_offset,
                    metadata=part.metadata,
                    # Before version 2 there is no other place to tell it.
                    error_code=only.error_code,
                )
                for part in topic.partitions
            ],
        )
        for topic in only.topics
    ]
    return OffsetFetchResponse(error_code=only.error_code, topics=topics)


async def _group(context: Context, group: str, topics: Iterable[Any] | None) -> Any:
    """One group's offsets; of all its partitions if `topics` is None."""
    code = Code.NONE
    try:
        await context.controller.submit(CommitOffsets(group, []))  # a barrier: commits nothing
    except BrokerError as error:
        context.host.log("offsets.not-fetched", group=group, error=str(error))
        code = Code.COORDINATOR_NOT_AVAILABLE
    wanted = _all(context, group) if topics is None else _named(topics)
    return FetchedGroup(
        group_id=group,
        topics=[_topic(context, group, *each, code) for each in wanted.items()],
        error_code=int(code),
    )


def _named(topics: Iterable[Any]) -> dict[str, list[int]]:
    return {topic.name: list(topic.partition_indexes or ()) for topic in topics}


def _all(context: Context, group: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for key in context.image.group_offsets:
        owner, topic, number = key.split("\0")
        if owner == group:
            found.setdefault(topic, []).append(int(number))
    return found


def _topic(context: Context, group: str, name: str, numbers: list[int], code: Code) -> Any:
    topic = FetchedGroup.OffsetFetchResponseTopics
    parts = []
    for number in numbers:
        known = context.image.group_offsets.get(f"{group}\0{name}\0{number}", NOTHING)
        offset, metadata = NOTHING if code else known
        parts.append(
            topic.OffsetFetchResponsePartitions(
                partition_index=number, committed_offset=offset, metadata=metadata
            )
        )
    return topic(name=name, partitions=parts)
