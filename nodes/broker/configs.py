"""Topic and broker configs that this broker knows, with Kafka's names, defaults and limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nodes.broker.errors import BrokerError, Code


def _int(low: int, high: int = 2**63 - 1) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        # As `LogConfig` reads it: what `int` alone takes, as 1_000 or +5, would be legal here and
        # of no effect there.
        return str(int(text)) == text and low <= int(text) <= high

    return check


def _ratio(text: str) -> bool:
    return re.fullmatch(r"0(\.\d+)?|1(\.0+)?", text) is not None


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda text: all(part in values for part in text.split(","))


# name → (default, whether a value is legal). What is not done yet is refused rather than ignored:
# batches stay as their producers compressed them.
TOPIC_CONFIGS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "cleanup.policy": ("delete", _one_of("delete", "compact")),
    "compression.type": ("producer", _one_of("producer")),
    "delete.retention.ms": ("86400000", _int(0)),
    "flush.messages": (str(2**63 - 1), _int(1)),
    "flush.ms": (str(2**63 - 1), _int(0)),
    "index.interval.bytes": ("4096", _int(0, 2**31 - 1)),
    "max.message.bytes": ("1048588", _int(0, 2**31 - 1)),
    "message.timestamp.type": ("CreateTime", _one_of("CreateTime", "LogAppendTime")),
    "min.cleanable.dirty.ratio": ("0.5", _ratio),
    "min.compaction.lag.ms": ("0", _int(0)),
    "min.insync.replicas": ("1", _int(1, 1000)),
    "retention.bytes": ("-1", _int(-1)),
    "retention.ms": ("604800000", _int(-1)),
    "segment.bytes": ("1073741824", _int(1024, 2**31 - 1)),
    "segment.ms": ("604800000", _int(1)),
    "unclean.leader.election.enable": ("false", _one_of("true", "false")),
}

# Names under which a broker's configuration gives the default of a topic's config.
BROKER_SYNONYMS: Mapping[str, str] = {
    "log.cleanup.policy": "cleanup.policy",
    "log.flush.interval.messages": "flush.messages",
    "log.index.interval.bytes": "index.interval.bytes",
    "log.retention.bytes": "retention.bytes",
    "log.retention.ms": "retention.ms",
    "log.roll.ms": "segment.ms",
    "log.segment.bytes": "segment.bytes",
    "message.max.bytes": "max.message.bytes",
}

CLUSTER_CONFIGS = ("num.partitions", "default.replication.factor")


def check_topic_config(key: str, value: str) -> None:
    """Raises BrokerError INVALID_CONFIG for an unknown name or an illegal value."""
    if key not in TOPIC_CONFIGS:
        raise BrokerError(Code.INVALID_CONFIG, f"unknown topic config {key!r}")
    try:
        legal = TOPIC_CONFIGS[key][1](value)
    except ValueError:
        legal = False
    if not legal:
        raise BrokerError(Code.INVALID_CONFIG, f"{key}={value!r} is not legal")


def cluster_defaults(options: Mapping[str, Any]) -> dict[str, str]:
    """What of a node's options becomes the cluster's defaults for topics."""
    found = {}
    for name, value in options.items():
        topic_name = BROKER_SYNONYMS.get(name, name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if topic_name in TOPIC_CONFIGS:
            check_topic_config(topic_name, text)
            found[topic_name] = text
        elif name in CLUSTER_CONFIGS:
            found[name] = text
    return found
