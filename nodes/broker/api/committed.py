"""Offsets that groups commit, also in transactions: OffsetCommit, OffsetFetch and the like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kafka.protocol.consumer import (
    OffsetCommitResponse,
    OffsetDeleteResponse,
    OffsetFetchResponse,
)
from kafka.protocol.producer import TxnOffsetCommitResponse

from nodes.broker.api.context import Context, code_of
from nodes.broker.api.groups import REFUSALS, who_of
from nodes.broker.coordinator.group import Who
from nodes.broker.coordinator.group_records import Offset
from nodes.broker.coordinator.transaction import Place
from nodes.broker.errors import Code
from nodes.broker.wire import Request

METADATA_MAX = 4096
NOTHING = Offset(-1)
_GROUPS_SINCE = 8
"""From this version on an OffsetFetch names several groups."""
_STABLE_SINCE = 7
_WHO_SINCE = 3

Committed = OffsetCommitResponse.OffsetCommitResponseTopic
InTransaction = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
Fetched = OffsetFetchResponse.OffsetFetchResponseTopic
FetchedGroup = OffsetFetchResponse.OffsetFetchResponseGroup
Deleted = OffsetDeleteResponse.OffsetDeleteResponseTopic
Codes = dict[Place, int]


# -- OffsetCommit, TxnOffsetCommit ---------------------------------------------------------------


async def offset_commit(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    who = Who(
        body.member_id or "",
        body.group_instance_id if request.version >= 7 else None,
        body.generation_id_or_member_epoch,
    )
    codes, offsets = _sorted_out(context, request)
    try:
        await context.groups.commit(body.group_id, who, offsets)
    except REFUSALS as error:
        codes.update(dict.fromkeys(offsets, code_of(error)))
    part = Committed.OffsetCommitResponsePartition
    return OffsetCommitResponse(topics=_answered(body.topics, codes, Committed, part))


async def txn_offset_commit(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    who = who_of(body) if request.version >= _WHO_SINCE else Who("")
    codes, offsets = _sorted_out(context, request)
    producer = body.producer_id, body.producer_epoch
    try:
        if offsets:
            await context.groups.commit_in_transaction(
                body.group_id, who, body.transactional_id, producer, offsets
            )
    except REFUSALS as error:
        code = code_of(error)
        if code == Code.NOT_ENOUGH_REPLICAS:  # it was not verified
            code = int(Code.COORDINATOR_LOAD_IN_PROGRESS)
        codes.update(dict.fromkeys(offsets, code))
    part = InTransaction.TxnOffsetCommitResponsePartition
    return TxnOffsetCommitResponse(topics=_answered(body.topics, codes, InTransaction, part))


def _sorted_out(context: Context, request: Request) -> tuple[Codes, dict[Place, Offset]]:
    """A code for each partition, and the offsets of those that have none."""
    codes: Codes = {}
    offsets: dict[Place, Offset] = {}
    now_ms = context.host.clock.wall_ns() // 1_000_000
    for topic in request.body.topics or ():
        state = context.image.topics.get(topic.name)
        for data in topic.partitions or ():
            place = topic.name, data.partition_index
            metadata = data.committed_metadata or ""
            code = Code.NONE
            if state is None or context.image.partition(*place) is None:
                code = Code.UNKNOWN_TOPIC_OR_PARTITION
            elif len(metadata) > METADATA_MAX:
                code = Code.OFFSET_METADATA_TOO_LARGE
            else:
                epoch = data.committed_leader_epoch
                offsets[place] = Offset(data.committed_offset, epoch, metadata, now_ms, state.id)
            codes[place] = int(code)
    return codes, offsets


def _answered(asked: Iterable[Any] | None, codes: Codes, topic_of: Any, part_of: Any) -> list[Any]:
    return [
        topic_of(
            name=topic.name,
            partitions=[
                part_of(
                    partition_index=data.partition_index,
                    error_code=codes[topic.name, data.partition_index],
                )
                for data in topic.partitions or ()
            ],
        )
        for topic in asked or ()
    ]


# -- OffsetFetch ---------------------------------------------------------------------------------


async def offset_fetch(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    stable = request.version >= _STABLE_SINCE and body.require_stable
    if request.version >= _GROUPS_SINCE:
        groups = [
            await _group(context, each.group_id, each.topics, stable) for each in body.groups or ()
        ]
        return OffsetFetchResponse(groups=groups)
    only = await _group(context, body.group_id, body.topics, stable)
    topics = [
        Fetched(
            name=topic.name,
            partitions=[
                Fetched.OffsetFetchResponsePartition(
                    partition_index=part.partition_index,
                    committed_offset=part.committed_offset,
                    committed_leader_epoch=part.committed_leader_epoch,
                    metadata=part.metadata,
                    # Before version 2 there is no other place to tell it.
                    error_code=part.error_code or only.error_code,
                )
                for part in topic.partitions
            ],
        )
        for topic in only.topics
    ]
    return OffsetFetchResponse(error_code=only.error_code, topics=topics)


async def _group(context: Context, group: str, topics: Iterable[Any] | None, stable: bool) -> Any:
    """One group's offsets; of all its partitions if `topics` is None."""
    known: Mapping[Place, Offset] = {}
    code = 0
    unstable: frozenset[Place] = frozenset()
    try:
        known, unstable = await context.groups.offsets(group)
    except REFUSALS as error:
        code = code_of(error)
        if code == Code.COORDINATOR_NOT_AVAILABLE:
            # Kafka's never says so to this, and aiokafka gives up on it; this it asks again after.
            code = int(Code.COORDINATOR_LOAD_IN_PROGRESS)
    by_topic: dict[str, list[int]] = {}
    if topics is None:
        for topic, number in sorted(known):
            by_topic.setdefault(topic, []).append(number)
    else:
        by_topic = {topic.name: list(topic.partition_indexes or ()) for topic in topics}
    kind = FetchedGroup.OffsetFetchResponseTopics

    def part(place: Place) -> Any:
        waits = stable and place in unstable
        offset = NOTHING if waits else known.get(place, NOTHING)
        return kind.OffsetFetchResponsePartitions(
            partition_index=place[1],
            committed_offset=offset.offset,
            committed_leader_epoch=offset.leader_epoch,
            metadata=offset.metadata,
            error_code=int(Code.UNSTABLE_OFFSET_COMMIT) if waits else 0,
        )

    return FetchedGroup(
        group_id=group,
        topics=[
            kind(name=topic, partitions=[part((topic, number)) for number in numbers])
            for topic, numbers in by_topic.items()
        ],
        error_code=code,
    )


# -- OffsetDelete --------------------------------------------------------------------------------


async def offset_delete(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    places = [
        (topic.name, data.partition_index)
        for topic in body.topics or ()
        for data in topic.partitions or ()
    ]
    try:
        codes = await context.groups.delete_offsets(body.group_id, places)
    except REFUSALS as error:
        return OffsetDeleteResponse(error_code=code_of(error), topics=[])
    part = Deleted.OffsetDeleteResponsePartition
    plain = {place: int(code) for place, code in codes.items()}
    return OffsetDeleteResponse(topics=_answered(body.topics, plain, Deleted, part))
