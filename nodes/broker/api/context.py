"""What the handlers work with, and what they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from harness.host.contract import Host
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.coordinator.appending import Appending
from nodes.broker.coordinator.groups import GroupCoordinator
from nodes.broker.coordinator.markers import AppendMarker, Markers
from nodes.broker.coordinator.transactions import TransactionCoordinator
from nodes.broker.coordinator.verifying import Verifier
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.metadata import MetadataImage
from nodes.broker.metrics import Metrics
from nodes.broker.partition import Partition
from nodes.broker.peers import Peers
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
    transactions: TransactionCoordinator
    groups: GroupCoordinator
    verifier: Verifier
    append_marker: AppendMarker

    @staticmethod
    def of(host: Host, config: NodeConfig, controller: Controller, replicas: Replicas) -> Context:
        """With coordinators that know of their partitions."""
        ids, append = ProducerIds(controller), Appending(replicas)
        peers = Peers(config, "markers"), Peers(config, "verify")
        markers = Markers(host, config.id, controller, peers[0], append)
        transactions = TransactionCoordinator(host, config, controller, ids, markers)
        verifier = Verifier(config.id, controller, transactions, peers[1])
        groups = GroupCoordinator(host, config, controller, verifier)
        append.groups = groups.shards

        def took_role(partition: Partition) -> None:
            transactions.shards.took_role(partition)
            groups.shards.took_role(partition)

        replicas.on_role = took_role
        metrics = Metrics()
        return Context(
            host, config, controller, replicas, ids, metrics, transactions, groups, verifier, append
        )

    def start(self) -> None:
        """What goes on in the background."""
        self.transactions.start()
        self.groups.start()

    async def close(self) -> None:
        await self.groups.close()
        await self.transactions.close()
        await self.verifier.close()

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
