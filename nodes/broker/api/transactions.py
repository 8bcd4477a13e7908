"""Transactions: what producers ask their coordinator, and what coordinators ask leaders.

InitProducerId is in `nodes.broker.api.producers`. Older versions of these APIs know no
PRODUCER_FENCED: they are told INVALID_PRODUCER_EPOCH, which ends their producer as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from kafka.protocol.admin import (
    DescribeProducersResponse,
    DescribeTransactionsResponse,
    ListTransactionsResponse,
)
from kafka.protocol.producer import (
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    EndTxnResponse,
    WriteTxnMarkersResponse,
)

from nodes.broker.api.context import Context, code_of
from nodes.broker.coordinator.markers import Ending
from nodes.broker.coordinator.topics import GROUPS, made, place_of
from nodes.broker.coordinator.transaction import Place, Stage, Transaction, by_topic
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.wire import Request

_FENCED_SINCE = 2
_BATCHED_SINCE = 4
OPERATION_NOT_ATTEMPTED = 55

_Added = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
_AddedTo = AddPartitionsToTxnResponse.AddPartitionsToTxnResult
_Written = WriteTxnMarkersResponse.WritableTxnMarkerResult
_Described = DescribeTransactionsResponse.TransactionState
_Producers = DescribeProducersResponse.TopicResponse
Codes = dict[Place, int]


# -- AddPartitionsToTxn, AddOffsetsToTxn ---------------------------------------------------------


async def add_partitions_to_txn(context: Context, request: Request, listener: str) -> Any:
    """Version 4 and later come from brokers, who mostly want to verify (KIP-890)."""
    body = request.body
    if request.version < _BATCHED_SINCE:
        id, topics = body.v3_and_below_transactional_id, body.v3_and_below_topics or ()
        producer = body.v3_and_below_producer_id, body.v3_and_below_producer_epoch
        codes = await _add(context, id, producer, _places(topics))
        spelled = {p: _spelled(code, request.version) for p, code in codes.items()}
        return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=_added(spelled))
    results = []
    for each in body.transactions or ():
        producer, places = (each.producer_id, each.producer_epoch), _places(each.topics or ())
        work = _verify if each.verify_only else _add
        codes = await work(context, each.transactional_id, producer, places)
        results.append(
            _AddedTo(transactional_id=each.transactional_id, topic_results=_added(codes))
        )
    return AddPartitionsToTxnResponse(results_by_transaction=results)


def _places(topics: Iterable[Any]) -> list[Place]:
    return [(topic.name, number) for topic in topics for number in topic.partitions or ()]


async def _add(context: Context, id: str, producer: tuple[int, int], places: list[Place]) -> Codes:
    """All of them, or none: where one is not known, the others are not even tried."""
    unknown = [place for place in places if context.image.partition(*place) is None]
    if unknown:
        codes = dict.fromkeys(places, OPERATION_NOT_ATTEMPTED)
        return {**codes, **dict.fromkeys(unknown, int(Code.UNKNOWN_TOPIC_OR_PARTITION))}
    try:
        await context.transactions.add(id, producer, places)
    except (BrokerError, LogError, OSError) as error:
        return dict.fromkeys(places, code_of(error))
    return dict.fromkeys(places, 0)


async def _verify(
    context: Context, id: str, producer: tuple[int, int], places: list[Place]
) -> Codes:
    codes = {}
    for place in places:
        try:
            await context.transactions.verify(id, producer, place)
            codes[place] = 0
        except (BrokerError, LogError, OSError) as error:
            codes[place] = code_of(error)
    return codes


def _added(codes: Codes) -> list[Any]:
    return [
        _Added(
            name=topic,
            results_by_partition=[
                _Added.AddPartitionsToTxnPartitionResult(
                    partition_index=number, partition_error_code=codes[topic, number]
                )
                for number in numbers
            ],
        )
        for topic, numbers in by_topic(frozenset(codes)).items()
    ]


async def add_offsets_to_txn(context: Context, request: Request, listener: str) -> Any:
    """The partition in which a group's offsets are kept takes part."""
    body = request.body
    producer = body.producer_id, body.producer_epoch
    code = 0
    try:
        await made(context.controller, context.config, GROUPS)
        state = place_of(context.image, GROUPS, body.group_id)
        place = state.topic, state.partition
        await context.transactions.add(body.transactional_id, producer, [place])
    except (BrokerError, LogError, OSError) as error:
        code = _spelled(code_of(error), request.version)
    return AddOffsetsToTxnResponse(error_code=code)


# -- EndTxn --------------------------------------------------------------------------------------


async def end_txn(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    producer = body.producer_id, body.producer_epoch
    code = 0
    try:
        await context.transactions.end(body.transactional_id, producer, body.committed)
    except (BrokerError, LogError, OSError) as error:
        code = _spelled(code_of(error), request.version)
    return EndTxnResponse(error_code=code)


def _spelled(code: int, version: int) -> int:
    if code == Code.PRODUCER_FENCED and version < _FENCED_SINCE:
        return int(Code.INVALID_PRODUCER_EPOCH)
    return code


# -- WriteTxnMarkers -----------------------------------------------------------------------------


async def write_txn_markers(context: Context, request: Request, listener: str) -> Any:
    """From a coordinator: end transactions in partitions that this broker leads."""
    markers = request.body.markers or ()
    return WriteTxnMarkersResponse(
        markers=await asyncio.gather(*(_write(context, marker) for marker in markers))
    )


async def _write(context: Context, marker: Any) -> Any:
    ending = Ending(
        marker.producer_id,
        marker.producer_epoch,
        marker.transaction_result,
        marker.coordinator_epoch,
    )
    places = [
        (topic.name, number)
        for topic in marker.topics or ()
        for number in topic.partition_indexes or ()
    ]
    found = await asyncio.gather(*(context.append_marker(ending, place) for place in places))
    codes = dict(zip(places, found, strict=True))
    topic_of = _Written.WritableTxnMarkerTopicResult
    return _Written(
        producer_id=ending.producer_id,
        topics=[
            topic_of(
                name=topic,
                partitions=[
                    topic_of.WritableTxnMarkerPartitionResult(
                        partition_index=number, error_code=int(codes[topic, number])
                    )
                    for number in numbers
                ],
            )
            for topic, numbers in by_topic(frozenset(places)).items()
        ],
    )


# -- admin ---------------------------------------------------------------------------------------


async def describe_transactions(context: Context, request: Request, listener: str) -> Any:
    ids = request.body.transactional_ids or ()
    return DescribeTransactionsResponse(
        transaction_states=[await _describe(context, id) for id in ids]
    )


async def _describe(context: Context, id: str) -> Any:
    try:
        known = await context.transactions.describe(id)
    except (BrokerError, LogError, OSError) as error:
        return _Described(error_code=code_of(error), transactional_id=id, transaction_state="")
    return _Described(
        transactional_id=id,
        transaction_state=known.stage.spelled,
        transaction_timeout_ms=known.timeout_ms,
        transaction_start_time_ms=known.began_ms,
        producer_id=known.producer_id,
        producer_epoch=known.epoch,
        topics=[
            _Described.TopicData(topic=topic, partitions=numbers)
            for topic, numbers in by_topic(known.places).items()
        ],
    )


async def list_transactions(context: Context, request: Request, listener: str) -> Any:
    """Those that this broker coordinates."""
    body = request.body
    stages, producers = set(body.state_filters or ()), set(body.producer_id_filters or ())
    longer_ms = body.duration_filter if request.version >= 1 else -1
    now_ms = context.host.clock.wall_ns() // 1_000_000

    def is_wanted(known: Transaction) -> bool:
        runs_ms = -1 if known.stage.is_idle else now_ms - known.began_ms
        return (
            (not stages or known.stage.spelled in stages)
            and (not producers or known.producer_id in producers)
            and (longer_ms < 0 or runs_ms > longer_ms)
        )

    spelled = {stage.spelled for stage in Stage}
    return ListTransactionsResponse(
        unknown_state_filters=sorted(stages - spelled),
        transaction_states=[
            ListTransactionsResponse.TransactionState(
                transactional_id=known.id,
                producer_id=known.producer_id,
                transaction_state=known.stage.spelled,
            )
            for known in context.transactions.all()
            if is_wanted(known)
        ],
    )


async def describe_producers(context: Context, request: Request, listener: str) -> Any:
    """Who writes into partitions that this broker leads, and which transactions are open there."""
    return DescribeProducersResponse(
        topics=[
            _Producers(
                name=topic.name,
                partitions=[
                    _producers(context, topic.name, number)
                    for number in topic.partition_indexes or ()
                ],
            )
            for topic in request.body.topics or ()
        ]
    )


def _producers(context: Context, topic: str, number: int) -> Any:
    part = _Producers.PartitionResponse
    try:
        partition = context.replicas.get(topic, number)
        partition.require_leader()
    except BrokerError as error:
        return part(
            partition_index=number,
            error_code=code_of(error),
            error_message=str(error),
            active_producers=[],
        )
    opened = partition.log.transactions.open
    return part(
        partition_index=number,
        active_producers=[
            part.ProducerState(
                producer_id=known.producer_id,
                producer_epoch=known.epoch,
                last_sequence=known.last_sequence,
                last_timestamp=known.seen_ms,
                coordinator_epoch=known.coordinator_epoch,
                current_txn_start_offset=opened.get(known.producer_id, -1),
            )
            for known in partition.log.producers
        ],
    )
