"""Who is there: ApiVersions, Metadata, DescribeCluster, FindCoordinator.

A client learns the addresses of its own listener only.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from kafka.protocol.admin import DescribeClusterResponse
from kafka.protocol.metadata import (
    ApiVersionsResponse,
    FindCoordinatorResponse,
    MetadataResponse,
)

from nodes.broker.api.context import Context
from nodes.broker.controller.commands import CreateTopic
from nodes.broker.coordinator.topics import GROUPS, INTERNAL, TRANSACTIONS, Internal, made, place_of
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import NO_LEADER, MetadataImage, PartitionState, TopicState
from nodes.broker.wire import APIS, Request

PRODUCE_KEY = 0
ENDPOINT_BROKERS = 1
KINDS: Mapping[int, Internal] = {0: GROUPS, 1: TRANSACTIONS}

Broker = MetadataResponse.MetadataResponseBroker
Topic = MetadataResponse.MetadataResponseTopic
Part = Topic.MetadataResponsePartition
Coordinator = FindCoordinatorResponse.Coordinator


# -- ApiVersions ---------------------------------------------------------------------------------


async def api_versions(context: Context, request: Request, listener: str) -> Any:
    """What is served. A version that is not served gets this answer too, in version 0 (KIP-511)."""
    keys = [
        # Old librdkafkas ask for Produce v0 to be listed, and never use it (KAFKA-18659).
        ApiVersionsResponse.ApiVersion(
            api_key=api.key,
            min_version=0 if api.key == PRODUCE_KEY else api.low,
            max_version=api.high,
        )
        for api in APIS.values()
    ]
    code = Code.UNSUPPORTED_VERSION if request.body is None else Code.NONE
    return ApiVersionsResponse(error_code=int(code), api_keys=keys)


# -- Metadata ------------------------------------------------------------------------------------


async def metadata(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    everything = body.topics is None or (request.version == 0 and not body.topics)
    if everything:
        topics = [_topic(context.image, state) for state in context.image.topics.values()]
    else:
        if body.allow_auto_topic_creation and context.config.flag("auto.create.topics.enable"):
            await _create_missing(context, [wanted.name for wanted in body.topics])
        topics = [_wanted(context.image, wanted) for wanted in body.topics]
    return MetadataResponse(
        brokers=[
            Broker(node_id=id, host=host, port=port)
            for id, (host, port) in _brokers(context, listener)
        ],
        cluster_id=context.image.cluster_id,
        controller_id=_controller(context),
        topics=topics,
    )


def _wanted(image: MetadataImage, wanted: Any) -> Any:
    name, id = wanted.name or "", _uuid(wanted.topic_id)
    state = image.topic_by_id(id) if id is not None and not name else image.topics.get(name)
    if state is None:
        code = Code.UNKNOWN_TOPIC_ID if not name else Code.UNKNOWN_TOPIC_OR_PARTITION
        return Topic(error_code=int(code), name=wanted.name, topic_id=id, partitions=[])
    return _topic(image, state)


def _topic(image: MetadataImage, state: TopicState) -> Any:
    return Topic(
        name=state.name,
        topic_id=state.id,
        is_internal=state.name in INTERNAL,
        partitions=[_partition(image, partition) for partition in state.partitions],
    )


def _partition(image: MetadataImage, state: PartitionState) -> Any:
    code = Code.LEADER_NOT_AVAILABLE if state.leader == NO_LEADER else Code.NONE
    return Part(
        error_code=int(code),
        partition_index=state.partition,
        leader_id=state.leader,
        leader_epoch=state.leader_epoch,
        replica_nodes=list(state.replicas),
        isr_nodes=list(state.isr),
        offline_replicas=[replica for replica in state.replicas if not image.active(replica)],
    )


async def _create_missing(context: Context, names: Iterable[str | None]) -> None:
    """auto.create.topics.enable: what cannot be created stays unknown."""
    for name in names:
        if name and name not in context.image.topics:
            try:
                await context.controller.submit(CreateTopic(name, -1, -1, {}))
            except BrokerError as error:
                context.host.log("topic.not-created", topic=name, error=str(error))


# -- DescribeCluster -----------------------------------------------------------------------------


async def describe_cluster(context: Context, request: Request, listener: str) -> Any:
    if request.body.endpoint_type != ENDPOINT_BROKERS:
        return DescribeClusterResponse(
            error_code=int(Code.MISMATCHED_ENDPOINT_TYPE),
            error_message="brokers answer for brokers only",
        )
    return DescribeClusterResponse(
        cluster_id=context.image.cluster_id,
        controller_id=_controller(context),
        brokers=[
            DescribeClusterResponse.DescribeClusterBroker(broker_id=id, host=host, port=port)
            for id, (host, port) in _brokers(context, listener)
        ],
    )


# -- FindCoordinator -----------------------------------------------------------------------------


async def find_coordinator(context: Context, request: Request, listener: str) -> Any:
    """Who leads the partition in which a group or a transactional id is kept."""
    body = request.body
    batched = request.version >= 4
    keys = (body.coordinator_keys or ()) if batched else (body.key,)
    topic = KINDS.get(body.key_type)
    if topic is not None:
        with contextlib.suppress(BrokerError):  # the answer says that there is none
            await made(context.controller, context.config, topic)
    found = [_coordinator(context, key, body.key_type, listener) for key in keys]
    if batched:
        return FindCoordinatorResponse(coordinators=found)
    (only,) = found
    return FindCoordinatorResponse(
        error_code=only.error_code,
        error_message=only.error_message,
        node_id=only.node_id,
        host=only.host,
        port=only.port,
    )


def _coordinator(context: Context, key: str, kind: int, listener: str) -> Any:
    topic = KINDS.get(kind)
    if topic is None:
        return _no_coordinator(key, Code.INVALID_REQUEST, f"coordinators of kind {kind}")
    if not key:
        code = Code.INVALID_GROUP_ID if topic is GROUPS else Code.INVALID_REQUEST
        return _no_coordinator(key, code, "it has a name")
    try:
        leader = place_of(context.image, topic, key).leader
    except BrokerError as error:
        return _no_coordinator(key, error.code, str(error))
    active = dict(_brokers(context, listener))
    if leader not in active:
        text = "its partition has no leader now"
        return _no_coordinator(key, Code.COORDINATOR_NOT_AVAILABLE, text)
    host, port = active[leader]
    return Coordinator(key=key, node_id=leader, host=host, port=port, error_message=None)


def _no_coordinator(key: str, code: Code, text: str) -> Any:
    return Coordinator(
        key=key, node_id=-1, host="", port=-1, error_code=int(code), error_message=text
    )


# -- what they share -----------------------------------------------------------------------------


def _brokers(context: Context, listener: str) -> list[tuple[int, tuple[str, int]]]:
    """(id, address for this listener's clients) of all brokers that are in service."""
    addresses = context.config.advertised_by(listener)
    return [(id, addresses[id]) for id in sorted(addresses) if context.image.active(id)]


def _controller(context: Context) -> int:
    """Whom to send admin requests to; any broker passes them on.

    Always one that the same answer lists, or nobody: a client that is told to ask a broker whose
    address it has not heard gives up (UnknownBrokerIdError of kafka-python).
    """
    preferred = context.controller.leader_id, context.config.id, *sorted(context.image.brokers)
    active = (id for id in preferred if id is not None and context.image.active(id))
    return next(active, NO_LEADER)


def current_leader(image: MetadataImage, topic: str, number: int) -> tuple[int, int] | None:
    """(leader, its epoch) as far as this node knows."""
    state = image.partition(topic, number)
    return None if state is None else (state.leader, state.leader_epoch)


def node_endpoints(
    context: Context, listener: str, leaders: Iterable[int], response: Any
) -> list[Any]:
    """Where these leaders are reached, as `response` spells it (KIP-951)."""
    known = dict(_brokers(context, listener))
    return [
        response.NodeEndpoint(node_id=id, host=known[id][0], port=known[id][1])
        for id in sorted(set(leaders) & set(known))
    ]


def _uuid(value: Any) -> uuid.UUID | None:
    return value if isinstance(value, uuid.UUID) and value.int else None
