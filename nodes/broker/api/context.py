"""What the handlers work with, and what they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from harness.host.contract import Host
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.metadata import MetadataImage
from nodes.broker.metrics import Metrics
from nodes.broker.producer_ids import ProducerIds
from nodes.broker.replicas import Replicas
from nodes.broker.wire import Request

PEER = "peer"
"""The listener on which only brokers come."""


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one node."""

    host: Host
    config: NodeConfig
    controller: Controller
    replicas: Replicas
    producer_ids: ProducerIds
    metrics: Metrics

    @property
    def image(self) -> MetadataImage:
        return self.controller.image


Handler = Callable[[Context, Request, str], Awaitable[Any]]
"""(context, request, listener) → the answer's body; None for no answer."""


def code_of(error: BrokerError | LogError | OSError) -> int:
    """Kafka's code for what a partition raised."""
    if isinstance(error, BrokerError | LogError):
        return int(error.code)
    return int(Code.KAFKA_STORAGE_ERROR)
