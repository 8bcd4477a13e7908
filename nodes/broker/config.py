"""What a broker is told when it starts: one JSON file, and Kafka's names for its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from nodes import bugs
from nodes.broker.configs import (
    BROKER_SYNONYMS,
    CLUSTER_CONFIGS,
    TOPIC_CONFIGS,
    cluster_defaults,
)
from nodes.broker.errors import BrokerError

Address = tuple[str, int]

# name → default, in Kafka's terms and with Kafka's values.
DEFAULTS: Mapping[str, Any] = {
    "auto.create.topics.enable": False,
    "broker.heartbeat.interval.ms": 2000,
    "broker.session.timeout.ms": 9000,
    "controller.quorum.election.timeout.ms": 1000,
    "controller.quorum.fetch.timeout.ms": 2000,
    "default.replication.factor": 1,
    "fetch.max.bytes": 57671680,
    "group.initial.rebalance.delay.ms": 3000,
    "group.max.session.timeout.ms": 1800000,
    "group.max.size": 2147483647,
    "group.min.session.timeout.ms": 6000,
    "log.cleaner.backoff.ms": 15000,
    "log.retention.check.interval.ms": 300000,
    "metadata.log.max.record.bytes.between.snapshots": 20971520,
    "num.partitions": 1,
    "offsets.retention.check.interval.ms": 600000,
    "offsets.retention.minutes": 10080,
    "offsets.topic.num.partitions": 50,
    "offsets.topic.replication.factor": 3,
    "producer.id.expiration.ms": 86400000,
    "replica.fetch.max.bytes": 10485760,
    "replica.fetch.wait.max.ms": 500,
    "replica.fetch.backoff.ms": 200,
    "replica.high.watermark.checkpoint.interval.ms": 5000,
    "replica.lag.time.max.ms": 30000,
    "socket.request.max.bytes": 104857600,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 10000,
    "transaction.max.timeout.ms": 900000,
    "transaction.state.log.min.isr": 2,
    "transaction.state.log.num.partitions": 50,
    "transaction.state.log.replication.factor": 3,
    "transactional.id.expiration.ms": 604800000,
}

OWN_PORTS = ("peer", "raft", "admin")
"""Ports that every node has; all others are listeners for clients."""


class ConfigError(Exception):
    """The configuration cannot be used. The text is one line that says why."""


class NodeConfig(msgspec.Struct, frozen=True):
    """One node's configuration; the harness' `NodeSpec` as JSON.

    Attributes:
        bind: "peer", "raft", "admin" and one name per listener for clients.
        advertised: listener → the address under which its clients reach this node.
        peers: other node → "peer" or "raft" → the address by which this node reaches it.
        peer_advertised: other node → listener → address, for metadata answers.
        data: the folder that is this node's disk. disk: "real" or "volatile".
        bug: the name of a bug to be planted (`nodes.bugs`); none if empty.
    """

    node: str
    id: int
    data: str
    bind: dict[str, Address]
    seed: int = 0
    advertised: dict[str, Address] = {}
    peers: dict[str, dict[str, Address]] = {}
    peer_advertised: dict[str, dict[str, Address]] = {}
    disk: str = "real"
    options: dict[str, Any] = {}
    python: str = ""
    bug: str = ""

    @staticmethod
    def parse(data: bytes) -> NodeConfig:
        """Raises ConfigError."""
        try:
            config = msgspec.json.decode(data, type=NodeConfig)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"the configuration is not understood: {error}") from error
        config.check()
        return config

    def check(self) -> None:
        """Raises ConfigError for what cannot be."""
        if self.disk not in ("real", "volatile"):
            raise ConfigError(f"disk is {self.disk!r}, neither real nor volatile")
        if self.bug and self.bug not in bugs.names():
            raise ConfigError(f"there is no bug {self.bug!r}")
        ids = [self.id, *self.peer_ids.values()]
        if len(set(ids)) != len(ids):
            raise ConfigError(f"two nodes have the id {self.id}")
        self._check_options()
        self._check_addresses()

    def _check_options(self) -> None:
        known = {*DEFAULTS, *BROKER_SYNONYMS, *TOPIC_CONFIGS}
        unknown = sorted(set(self.options) - known)
        if unknown:
            raise ConfigError(f"unknown options: {', '.join(unknown)}")
        for name, default in DEFAULTS.items():
            self.flag(name) if isinstance(default, bool) else self.ms(name)
        for name in CLUSTER_CONFIGS:
            if self.ms(name) < 1:
                raise ConfigError(f"{name}={self.options[name]!r} is not positive")
        try:
            cluster_defaults(self.options)
        except BrokerError as error:
            raise ConfigError(str(error)) from error

    def _check_addresses(self) -> None:
        missing = [name for name in OWN_PORTS if name not in self.bind]
        if missing:
            raise ConfigError(f"bind lacks {', '.join(missing)}")
        for node, ports in self.peers.items():
            missing = [name for name in ("peer", "raft") if name not in ports]
            if missing:
                raise ConfigError(f"the peer {node} lacks {', '.join(missing)}")
            for listener in self.listeners:
                if listener not in self.peer_advertised.get(node, {}):
                    raise ConfigError(f"peer_advertised lacks {listener} of {node}")

    @property
    def listeners(self) -> list[str]:
        """The names of the listeners for clients."""
        return [name for name in self.bind if name not in OWN_PORTS]

    @property
    def peer_ids(self) -> dict[str, int]:
        """Other node → its id: the number that its name ends in."""
        try:
            return {name: int(name.lstrip("abcdefghijklmnopqrstuvwxyz-_")) for name in self.peers}
        except ValueError:
            raise ConfigError("the name of a node ends in its number, as n2 does") from None

    @property
    def raft_peers(self) -> dict[int, Address]:
        return {self.peer_ids[name]: ports["raft"] for name, ports in self.peers.items()}

    def advertised_by(self, listener: str) -> dict[int, Address]:
        """Broker id → its address for clients of this listener."""
        ids = self.peer_ids
        found = {ids[n]: ports[listener] for n, ports in self.peer_advertised.items()}
        own = self.advertised.get(listener) or self.bind[listener]
        return {self.id: own, **found}

    def option(self, name: str) -> Any:
        return self.options.get(name, DEFAULTS[name])

    def flag(self, name: str) -> bool:
        """A yes or no. Raises ConfigError if it is neither."""
        value = self.option(name)
        if str(value).lower() not in ("true", "false"):
            raise ConfigError(f"{name}={value!r} is neither true nor false")
        return str(value).lower() == "true"

    def ms(self, name: str) -> int:
        """An integer option. Raises ConfigError if it is none."""
        try:
            return int(self.option(name))
        except (TypeError, ValueError):
            raise ConfigError(f"{name}={self.option(name)!r} is not a whole number") from None
