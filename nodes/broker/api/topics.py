"""CreateTopics, DeleteTopics, CreatePartitions: each topic is one command for the controller."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteTopicsResponse,
)

from nodes.broker.api.configs import topic_configs
from nodes.broker.api.context import Context
from nodes.broker.controller import machine
from nodes.broker.controller.commands import CreatePartitions, CreateTopic, DeleteTopic
from nodes.broker.errors import BrokerError, Code
from nodes.broker.wire import Request

TIMEOUT_S_MAX = 30.0
DEFAULT = -1
"""As a number of partitions or replicas: what the cluster's configuration says."""

Created = CreateTopicsResponse.CreatableTopicResult
Deleted = DeleteTopicsResponse.DeletableTopicResult
Grown = CreatePartitionsResponse.CreatePartitionsTopicResult


def _timeout_s(body: Any) -> float:
    return float(min(max(body.timeout_ms / 1000, 0.1), TIMEOUT_S_MAX))


# -- CreateTopics --------------------------------------------------------------------------------


async def create_topics(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    topics = body.topics or ()
    often = Counter(topic.name for topic in topics)
    results = await asyncio.gather(
        *(_create(context, body, topic, often[topic.name] > 1) for topic in topics)
    )
    return CreateTopicsResponse(topics=results)


async def _create(context: Context, body: Any, topic: Any, repeated: bool) -> Any:
    try:
        if repeated:
            raise BrokerError(Code.INVALID_REQUEST, f"{topic.name!r} is there twice")
        command = CreateTopic(
            topic.name,
            topic.num_partitions,
            topic.replication_factor,
            _configs(topic),
            _assignments(topic),
            body.validate_only,
        )
        id, partitions, factor = await context.controller.submit(command, _timeout_s(body))
    except BrokerError as error:
        return Created(name=topic.name, error_code=int(error.code), error_message=str(error))
    return Created(
        name=topic.name,
        topic_id=None if body.validate_only else id,
        error_message=None,
        num_partitions=partitions,
        replication_factor=factor,
        configs=[
            Created.CreatableTopicConfigs(
                name=entry.name, value=entry.value, config_source=entry.source
            )
            for entry in topic_configs(context, dict(command.configs))
        ],
    )


def _configs(topic: Any) -> dict[str, str]:
    for config in topic.configs or ():
        if config.value is None:
            raise BrokerError(Code.INVALID_CONFIG, f"{config.name} has no value")
    return {config.name: config.value for config in topic.configs or ()}


def _assignments(topic: Any) -> list[tuple[int, ...]]:
    """Replicas by partition, if the client chose them. Raises BrokerError."""
    given = topic.assignments or ()
    if not given:
        return []
    if (topic.num_partitions, topic.replication_factor) != (DEFAULT, DEFAULT):
        raise BrokerError(Code.INVALID_REQUEST, "assignments say how many partitions there are")
    chosen = {each.partition_index: tuple(each.broker_ids or ()) for each in given}
    if sorted(chosen) != list(range(len(given))):
        raise BrokerError(Code.INVALID_REPLICA_ASSIGNMENT, "partitions are numbered from 0")
    return [chosen[number] for number in range(len(given))]


# -- DeleteTopics --------------------------------------------------------------------------------


async def delete_topics(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    if request.version >= 6:
        wanted = [(topic.name, topic.topic_id) for topic in body.topics or ()]
    else:
        wanted = [(name, None) for name in body.topic_names or ()]
    results = [await _delete(context, body, name, id) for name, id in wanted]
    return DeleteTopicsResponse(responses=results)


async def _delete(context: Context, body: Any, name: str | None, id: Any) -> Any:
    try:
        if (name is None) == (id is None):
            raise BrokerError(Code.INVALID_REQUEST, "a topic is named, or its id is")
        command = DeleteTopic(name or "", id)
        deleted, its_id = await context.controller.submit(command, _timeout_s(body))
    except BrokerError as error:
        code, text = int(error.code), str(error)
        return Deleted(name=name, topic_id=id, error_code=code, error_message=text)
    return Deleted(name=deleted, topic_id=uuid.UUID(its_id))


# -- CreatePartitions ----------------------------------------------------------------------------


async def create_partitions(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    results = [await _grow(context, body, topic) for topic in body.topics or ()]
    return CreatePartitionsResponse(results=results)


async def _grow(context: Context, body: Any, topic: Any) -> Any:
    assignments = [tuple(each.broker_ids or ()) for each in topic.assignments or ()]
    command = CreatePartitions(topic.name, topic.count, assignments)
    try:
        if body.validate_only:
            machine.apply(context.image, command, context.image.offset, 0)
        else:
            await context.controller.submit(command, _timeout_s(body))
    except BrokerError as error:
        return Grown(name=topic.name, error_code=int(error.code), error_message=str(error))
    return Grown(name=topic.name)
