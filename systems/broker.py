"""The project's own broker: `python -m nodes.broker`, a Kafka-compatible server.

Ready when its admin port says that it is registered, unfenced and knows a controller. Its admin
port also tells who leads what, which the nemeses' targets and the statistics of a run are made of.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module
from typing import Any

import msgspec

from harness.cluster.contract import Cluster, NodeSpec
from harness.errors import UsageError
from harness.nemesis import View
from harness.system import Command, Program
from systems import http

LIBRARIES: Mapping[str, str] = {
    "kafka-python": "systems.clients.kafka_python",
    "aiokafka": "systems.clients.aiokafka",
    "confluent": "systems.clients.confluent",
}
WORKLOADS = frozenset({"log"})

# A test of half a minute cannot wait for Kafka's defaults of 2 to 30 seconds: the time-outs are
# shortened, alike for all nodes, so that fail-over happens while the workload is watching.
NODE_OPTIONS: Mapping[str, Any] = {
    "broker.session.timeout.ms": 1500,
    "broker.heartbeat.interval.ms": 300,
    "controller.quorum.election.timeout.ms": 400,
    "controller.quorum.fetch.timeout.ms": 600,
    "replica.lag.time.max.ms": 1500,
    "log.cleaner.backoff.ms": 1000,
    "group.initial.rebalance.delay.ms": 100,
    "group.min.session.timeout.ms": 1000,
    "offsets.topic.num.partitions": 4,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 500,
    "transaction.state.log.num.partitions": 4,
}
# Internal topics are made with so many replicas, or as many as there are nodes.
REPLICAS = 3

FACTS = ("elections", "unclean_elections", "isr_shrinks", "isr_expands", "fences")


SWARM: Mapping[str, Sequence[object]] = {
    "broker.session.timeout.ms": [1000, 1500, 3000],
    "controller.quorum.fetch.timeout.ms": [400, 600, 1500],
    "replica.lag.time.max.ms": [800, 1500, 4000],
    "replica.fetch.wait.max.ms": [50, 200, 500],
    "log.segment.bytes": ["", "", 2000, 20000],
    "metadata.log.max.record.bytes.between.snapshots": ["", "", 500],
}
"""What exploration lets vary; empty for the default."""


class Broker:
    """The system `broker`. `bug` is planted in its nodes."""

    def __init__(self, bug: str = "") -> None:
        self._bug = bug

    SWARM = SWARM

    name = "broker"
    peer_ports: Sequence[str] = ("peer", "raft")
    own = True
    virtual_libraries: Sequence[str] = ("aiokafka",)

    def command(self, spec: NodeSpec) -> Command:
        path = f"{spec.data}/node.json"
        return Command(
            argv=[spec.python, "-m", "nodes.broker", path], files={path: self._configuration(spec)}
        )

    def program(self, spec: NodeSpec) -> Program:
        from nodes.broker.config import NodeConfig
        from nodes.broker.node import run  # the schemas take a while to load

        return partial(run, config=NodeConfig.parse(self._configuration(spec)))

    async def ready(self, cluster: Cluster, node: str) -> bool:
        health = await http.get_json(cluster.admin(node), "/health")
        return health is not None and health.get("status") == "ok"

    async def inspect(self, cluster: Cluster, node: str) -> Any:
        return await http.get_json(cluster.admin(node), "/state", 0.5)

    async def view(self, cluster: Cluster) -> View:
        found = await asyncio.gather(
            *(http.get_json(cluster.admin(node), "/state", 0.5) for node in cluster.nodes)
        )
        answers = {n: state for n, state in zip(cluster.nodes, found, strict=True) if state}
        names = dict(enumerate(cluster.nodes, start=1))
        return View(
            nodes=tuple(cluster.nodes),
            clients=tuple(cluster.clients),
            states={node: cluster.state(node) for node in cluster.nodes},
            leaders=_leaders(answers, names),
            controller=_controller(answers, names),
            facts={**_facts(answers), **_replication(answers, names)},
            quorum=_accounts(answers),
        )

    def port(self, workload: str, library: str | None) -> Callable[..., Any]:
        if workload not in WORKLOADS:
            raise UsageError(
                f"the broker cannot serve the workload {workload!r}; "
                f"it can: {', '.join(sorted(WORKLOADS))}"
            )
        library = library or "kafka-python"
        if library not in LIBRARIES:
            raise UsageError(
                f"{library!r} is no client library of the broker; there are: {', '.join(LIBRARIES)}"
            )
        connect: Callable[..., Any] = import_module(LIBRARIES[library]).connect
        return connect

    def stats(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: after.get(name, 0) - before.get(name, 0) for name in FACTS}

    def _configuration(self, spec: NodeSpec) -> bytes:
        """What the node is told, as JSON."""
        replicas = min(REPLICAS, len(spec.peers) + 1)
        internal = {
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": max(replicas - 1, 1),
        }
        told = {**asdict(spec), "options": {**NODE_OPTIONS, **internal, **spec.options}}
        return msgspec.json.encode({**told, "bug": self._bug} if self._bug else told)


def _leaders(answers: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, int]:
    """How many partitions each node leads, by the newest leader epoch that anybody knows."""
    newest: dict[str, tuple[int, int]] = {}
    for state in answers.values():
        for partition in state.get("partitions", ()):
            key = f"{partition['topic']}-{partition['partition']}"
            known = (partition["leader_epoch"], partition["leader"])
            newest[key] = max(known, newest.get(key, known))
    count = Counter(names[leader] for _, leader in newest.values() if leader in names)
    return dict(count)


def _controller(answers: Mapping[str, Any], names: Mapping[int, str]) -> str | None:
    """The controller of the highest term: a node that was cut off may still believe in an old."""
    claims = [
        (state.get("term", 0), state["controller"])
        for state in answers.values()
        if state.get("controller") in names
    ]
    return names[max(claims)[1]] if claims else None


def _replication(answers: Mapping[str, Any], names: Mapping[int, str]) -> dict[str, Any]:
    """Brokers' epochs, and who is in every ISR it could be in; both at one point of the metadata,
    as the node that is furthest knows them."""
    nothing: Mapping[str, Any] = {}
    state = max(answers.values(), key=lambda a: int(a.get("offset", -1)), default=nothing)
    partitions = state.get("partitions", ())
    late = {i for p in partitions for i in p["replicas"] if i not in p["isr"]}
    brokers = [b for b in state.get("brokers", ()) if b["id"] in names]
    return {
        "epochs": {names[b["id"]]: b["epoch"] for b in brokers},
        "in_sync": [names[b["id"]] for b in brokers if b["id"] not in late and not b["fenced"]],
    }


def _accounts(answers: Mapping[str, Any]) -> dict[str, Any]:
    """What each node answers for in the quorum."""
    return {node: state["quorum"] for node, state in answers.items() if "quorum" in state}


def _facts(answers: Mapping[str, Any]) -> dict[str, int]:
    """Counters of the committed metadata log: the node that is furthest tells the most."""
    return {
        name: max((state.get("counters", {}).get(name, 0) for state in answers.values()), default=0)
        for name in FACTS
    }
