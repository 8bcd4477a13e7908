"""Topics and their configs as commands change them: pure functions of the image."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

from nodes.broker.configs import TOPIC_CONFIGS, check_topic_config
from nodes.broker.controller.commands import (
    AlterConfig,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
)
from nodes.broker.controller.partitions import each_partition, review
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import MetadataImage, PartitionState, TopicState

NAME_MAX = 249
PARTITIONS_MAX = 10_000
LISTS = frozenset({"cleanup.policy"})
"""Configs to which a value can be appended."""

replace = msgspec.structs.replace
SET, DELETE, APPEND, SUBTRACT = range(4)


# -- topics --------------------------------------------------------------------------------------


def create_topic(
    image: MetadataImage, command: CreateTopic, rng: Random
) -> tuple[MetadataImage, Any]:
    """The result is [id, number of partitions, replication factor]."""
    _check_name(image, command.name)
    for key, value in command.configs.items():
        check_topic_config(key, value)
    placed: Sequence[tuple[int, ...]] = command.assignments
    if not placed:
        count = _or_default(image, command.partitions, "num.partitions")
        factor = _or_default(image, command.replication_factor, "default.replication.factor")
        if not 0 < count <= PARTITIONS_MAX:
            raise BrokerError(Code.INVALID_PARTITIONS, f"{count} partitions")
        placed = _place(image, count, factor, rng)
    id = uuid.UUID(int=rng.getrandbits(128), version=4)
    states = _fresh(image, command.name, id, 0, placed)
    topic = TopicState(command.name, id, states, dict(command.configs))
    if not command.validate_only:
        image = replace(image, topics={**image.topics, topic.name: topic})
    return image, [str(id), len(placed), len(placed[0])]


def delete_topic(image: MetadataImage, command: DeleteTopic) -> tuple[MetadataImage, Any]:
    """The result is [name, id]."""
    if command.id is not None:
        topic = image.topic_by_id(command.id)
        if topic is None:
            raise BrokerError(Code.UNKNOWN_TOPIC_ID, f"there is no topic of id {command.id}")
    else:
        topic = image.topics.get(command.name)
        if topic is None:
            text = f"there is no topic {command.name!r}"
            raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, text)
    name = topic.name
    topics = {other: topic for other, topic in image.topics.items() if other != name}
    return replace(image, topics=topics), [name, str(topic.id)]


def create_partitions(
    image: MetadataImage, command: CreatePartitions, rng: Random
) -> MetadataImage:
    topic = image.topics.get(command.name)
    if topic is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {command.name!r}")
    have = len(topic.partitions)
    if not have < command.count <= PARTITIONS_MAX:
        raise BrokerError(
            Code.INVALID_PARTITIONS, f"{have} partitions cannot become {command.count}"
        )
    factor = len(topic.partitions[0].replicas)
    more = command.assignments or _place(image, command.count - have, factor, rng)
    if len(more) != command.count - have:
        text = f"{len(more)} assignments for {command.count - have} new partitions"
        raise BrokerError(Code.INVALID_REPLICA_ASSIGNMENT, text)
    states = (*topic.partitions, *_fresh(image, topic.name, topic.id, have, more))
    return replace(image, topics={**image.topics, topic.name: replace(topic, partitions=states)})


def _check_name(image: MetadataImage, name: str) -> None:
    legal = all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    if not legal or not 0 < len(name) <= NAME_MAX or name in (".", ".."):
        raise BrokerError(
            Code.INVALID_TOPIC_EXCEPTION,
            f"{name!r} is no topic name: 1 to {NAME_MAX} letters, digits, dots, underscores and "
            "hyphens",
        )
    if name in image.topics:
        raise BrokerError(Code.TOPIC_ALREADY_EXISTS, f"topic {name!r} already exists")
    # Kafka's metrics write both as an underscore.
    alike = [other for other in image.topics if other.replace(".", "_") == name.replace(".", "_")]
    if alike:
        text = f"{name!r} collides with {alike[0]!r}: dots and underscores count as the same"
        raise BrokerError(Code.INVALID_TOPIC_EXCEPTION, text)


def _or_default(image: MetadataImage, wanted: int, config: str) -> int:
    """The number that was asked for; with -1 the cluster's."""
    if wanted != -1:
        return wanted
    text = image.broker_configs.get(config, "1")
    try:
        return int(text)
    except ValueError:
        raise BrokerError(Code.INVALID_CONFIG, f"{config}={text!r} is not a number") from None


def _place(image: MetadataImage, count: int, factor: int, rng: Random) -> list[tuple[int, ...]]:
    """Replicas for each partition: leaders and followers spread over the active brokers."""
    alive = sorted(id for id in image.brokers if image.active(id))
    if not 0 < factor <= len(alive):
        raise BrokerError(
            Code.INVALID_REPLICATION_FACTOR,
            f"replication factor {factor} with {len(alive)} brokers available",
        )
    start, shift = rng.randrange(len(alive)), rng.randrange(len(alive))
    placed = []
    for number in range(count):
        first = (start + number) % len(alive)
        # Followers go round with another step each time, so that they do not pair up for ever.
        step = (shift + number // len(alive)) % max(len(alive) - 1, 1)
        others = [(first + 1 + (step + i) % (len(alive) - 1)) for i in range(factor - 1)]
        placed.append(tuple(alive[place % len(alive)] for place in (first, *others)))
    return placed


def _fresh(
    image: MetadataImage,
    name: str,
    id: uuid.UUID,
    first: int,
    placed: Sequence[tuple[int, ...]],
) -> tuple[PartitionState, ...]:
    """New partitions, numbered from `first`. Raises BrokerError: not with these replicas.

    Unlike in Kafka they may differ in how many replicas they have.
    """
    states = []
    for number, replicas in enumerate(placed, start=first):
        unknown = [replica for replica in replicas if replica not in image.brokers]
        if unknown or not 0 < len(replicas) == len(set(replicas)):
            text = f"replicas {list(replicas)} of partition {number} are no different known brokers"
            raise BrokerError(Code.INVALID_REPLICA_ASSIGNMENT, text)
        isr = tuple(replica for replica in replicas if image.active(replica))
        if not isr:
            text = f"none of the replicas {list(replicas)} is available"
            raise BrokerError(Code.INVALID_REPLICA_ASSIGNMENT, text)
        states.append(PartitionState(name, id, number, tuple(replicas), isr, isr[0], 0, 0))
    return tuple(states)


# -- configs -------------------------------------------------------------------------------------


def alter_config(image: MetadataImage, command: AlterConfig) -> MetadataImage:
    topic = image.topics.get(command.topic)
    if command.topic and topic is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"no topic {command.topic!r}")
    configs = dict(topic.configs if topic is not None else image.broker_configs)
    for key, operation, value in command.changes:
        if topic is None and key not in TOPIC_CONFIGS:
            raise BrokerError(Code.INVALID_CONFIG, f"{key!r} cannot be changed at run time")
        base = {} if topic is not None else image.defaults
        _change_config(configs, base.get(key), key, operation, value)
    if topic is None:
        image = replace(image, broker_configs=configs)
    else:
        topic = replace(topic, configs=configs)
        image = replace(image, topics={**image.topics, topic.name: topic})
    # Who may lead and who is eligible depends on configs.
    return each_partition(image, review)


def with_defaults(image: MetadataImage, defaults: dict[str, str]) -> MetadataImage:
    """The static configs of brokers, as the newest to register has them."""
    if defaults == image.defaults:
        return image
    own = {
        key: value
        for key, value in image.broker_configs.items()
        if value != image.defaults.get(key)
    }
    image = replace(image, defaults=dict(defaults), broker_configs={**defaults, **own})
    return each_partition(image, review)


def _change_config(
    configs: dict[str, str], base: str | None, key: str, operation: int, value: str
) -> None:
    """Change one config in place; deleted, it is what it is by itself, `base`."""
    if operation == DELETE:
        configs.pop(key, None)
        if base is not None:
            configs[key] = base
        return
    if operation not in (SET, APPEND, SUBTRACT):
        raise BrokerError(Code.INVALID_REQUEST, f"operation {operation}")
    if operation != SET:
        if key not in LISTS:
            raise BrokerError(Code.INVALID_CONFIG, f"{key} is no list")
        have = configs.get(key, TOPIC_CONFIGS[key][0]).split(",")
        value = ",".join(
            dict.fromkeys([*have, *value.split(",")])
            if operation == APPEND
            else (part for part in have if part not in value.split(","))
        )
    check_topic_config(key, value)
    configs[key] = value
