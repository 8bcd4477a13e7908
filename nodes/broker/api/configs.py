"""DescribeConfigs and IncrementalAlterConfigs, of topics and of the brokers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kafka.protocol.admin import DescribeConfigsResponse, IncrementalAlterConfigsResponse

from nodes.broker.api.context import Context
from nodes.broker.config import DEFAULTS
from nodes.broker.configs import BROKER_SYNONYMS, TOPIC_CONFIGS
from nodes.broker.controller import machine
from nodes.broker.controller.commands import AlterConfig
from nodes.broker.errors import BrokerError, Code
from nodes.broker.wire import Request

TOPIC, BROKER = 2, 4
SOURCE_TOPIC, SOURCE_CLUSTER, SOURCE_STATIC, SOURCE_DEFAULT = 1, 3, 4, 5
BOOLEAN, STRING, LONG, LIST = 1, 2, 5, 7
"""Types of values, as the protocol numbers them."""

Described = DescribeConfigsResponse.DescribeConfigsResult
DescribedEntry = Described.DescribeConfigsResourceResult
Altered = IncrementalAlterConfigsResponse.AlterConfigsResourceResponse

BROKER_NAMES: Mapping[str, str] = {
    **{topic: topic for topic in TOPIC_CONFIGS if topic not in BROKER_SYNONYMS.values()},
    **BROKER_SYNONYMS,
}
"""A broker's name for the default of a topic's config → the topic's name for it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A config and where its value comes from."""

    name: str
    value: str
    source: int
    synonyms: tuple[tuple[str, str, int], ...] = ()
    read_only: bool = False


def topic_configs(context: Context, own: Mapping[str, str]) -> list[Entry]:
    """All configs of a topic that sets `own` itself."""
    cluster = context.image.broker_configs
    brokers = {topic: broker for broker, topic in BROKER_NAMES.items()}
    found = []
    for name, (default, _) in TOPIC_CONFIGS.items():
        levels = [(name, own[name], SOURCE_TOPIC)] if name in own else []
        if name in cluster:
            levels.append((brokers[name], cluster[name], SOURCE_CLUSTER))
        levels.append((brokers[name], default, SOURCE_DEFAULT))
        found.append(Entry(name, levels[0][1], levels[0][2], tuple(levels)))
    return found


def broker_configs(context: Context) -> list[Entry]:
    """The cluster's defaults for topics, and what this broker was started with."""
    cluster, options = context.image.broker_configs, context.config.options
    found = []
    for name, topic in BROKER_NAMES.items():
        levels = [(name, cluster[topic], SOURCE_CLUSTER)] if topic in cluster else []
        levels.append((name, TOPIC_CONFIGS[topic][0], SOURCE_DEFAULT))
        found.append(Entry(name, levels[0][1], levels[0][2], tuple(levels)))
    for name, default in DEFAULTS.items():
        levels = [(name, _text(options[name]), SOURCE_STATIC)] if name in options else []
        levels.append((name, _text(default), SOURCE_DEFAULT))
        found.append(Entry(name, levels[0][1], levels[0][2], tuple(levels), read_only=True))
    return found


# -- DescribeConfigs -----------------------------------------------------------------------------


async def describe_configs(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    return DescribeConfigsResponse(
        results=[_describe(context, body, resource) for resource in body.resources or ()]
    )


def _describe(context: Context, body: Any, resource: Any) -> Any:
    result = Described(
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        error_message=None,
        configs=[],
    )
    try:
        entries = _entries(context, resource)
    except BrokerError as error:
        result.error_code, result.error_message = int(error.code), str(error)
        return result
    wanted = resource.configuration_keys
    result.configs = [
        _described(entry, body.include_synonyms)
        for entry in entries
        if wanted is None or entry.name in wanted
    ]
    return result


def _entries(context: Context, resource: Any) -> Iterable[Entry]:
    name = resource.resource_name
    if resource.resource_type == TOPIC:
        topic = context.image.topics.get(name)
        if topic is None:
            raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name!r}")
        return topic_configs(context, topic.configs)
    if resource.resource_type == BROKER:
        if name not in ("", str(context.config.id)):
            text = f"this is broker {context.config.id}: ask broker {name!r} itself"
            raise BrokerError(Code.INVALID_REQUEST, text)
        entries = broker_configs(context)
        # The cluster's defaults alone are what has the name "".
        return entries if name else [e for e in entries if e.source == SOURCE_CLUSTER]
    raise BrokerError(Code.INVALID_REQUEST, f"resources of type {resource.resource_type}")


def _described(entry: Entry, synonyms: bool) -> Any:
    return DescribedEntry(
        name=entry.name,
        value=entry.value,
        read_only=entry.read_only,
        config_source=entry.source,
        synonyms=[
            DescribedEntry.DescribeConfigsSynonym(name=name, value=value, source=source)
            for name, value, source in (entry.synonyms if synonyms else ())
        ],
        config_type=_type(entry.value),
        documentation=None,
    )


def _type(value: str) -> int:
    if value in ("true", "false"):
        return BOOLEAN
    if value.lstrip("-").isdigit():
        return LONG
    return LIST if value == "delete" else STRING


# -- IncrementalAlterConfigs ---------------------------------------------------------------------


async def incremental_alter_configs(context: Context, request: Request, listener: str) -> Any:
    body = request.body
    return IncrementalAlterConfigsResponse(
        responses=[await _alter(context, body, resource) for resource in body.resources or ()]
    )


async def _alter(context: Context, body: Any, resource: Any) -> Any:
    code, text = 0, None
    try:
        command = _command(context, resource)
        if body.validate_only:
            machine.apply(context.image, command, context.image.offset, 0)
        else:
            await context.controller.submit(command)
    except BrokerError as error:
        code, text = int(error.code), str(error)
    return Altered(
        error_code=code,
        error_message=text,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )


def _command(context: Context, resource: Any) -> AlterConfig:
    kind, name = resource.resource_type, resource.resource_name
    configs = resource.configs or ()
    names = [config.name for config in configs]
    if len(set(names)) != len(names):
        raise BrokerError(Code.INVALID_REQUEST, "a config is there twice")
    if kind == TOPIC and name:
        return AlterConfig(name, [(c.name, c.config_operation, c.value or "") for c in configs])
    if kind == BROKER and name == "":
        changes = [
            (BROKER_NAMES.get(c.name, c.name), c.config_operation, c.value or "") for c in configs
        ]
        return AlterConfig("", changes)
    if kind == BROKER:
        text = "brokers are configured together: leave the broker's name empty"
        raise BrokerError(Code.INVALID_REQUEST, text)
    raise BrokerError(Code.INVALID_REQUEST, f"resources of type {kind}, named {name!r}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
