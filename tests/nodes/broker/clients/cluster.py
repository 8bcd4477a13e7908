"""A local cluster of brokers, on a thread of its own: for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from harness.cluster.local import LocalCluster
from systems import http
from systems.broker import Broker

T = TypeVar("T")

DEADLINE_S = 60.0


class Brokers:
    """Three nodes and their links."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.cluster = LocalCluster(
            Broker(), **{"nodes": 3, "clients": 2, "folder": folder, "seed": 7, **more}
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the cluster's loop and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def close(self) -> None:
        self.run(self.cluster.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def bootstrap(self, client: str = "c1") -> str:
        return ",".join(str(self.cluster.address(node, client)) for node in self.cluster.nodes)

    def state(self, node: str) -> dict[str, Any] | None:
        """What a node tells of the cluster; None if it does not answer."""
        return self.run(http.get_json(self.cluster.admin(node), "/state"))

    def topic(
        self, partitions: int = 1, replicas: int = 3, configs: Mapping[str, str] | None = None
    ) -> str:
        """A new topic that every node knows, and whose leaders are ready to serve it."""
        name = f"topic-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap()})
        new = NewTopic(name, partitions, replicas, config=dict(configs or {}))

        def created() -> bool:
            try:
                admin.create_topics([new])[name].result(20)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.INVALID_REPLICATION_FACTOR:
                    raise
                return False  # on a busy machine a node may be out of service for a moment
            return True

        def served() -> bool:
            states = [state for node in self.cluster.nodes if (state := self.state(node))]
            known = [[p for p in s["partitions"] if p["topic"] == name] for s in states]
            led = {r["partition"] for s in states for r in s["replicas"] if r["leading"]}
            return all(len(found) == partitions for found in known) and led >= {
                f"{name}-{number}" for number in range(partitions)
            }

        wait(created, f"enough nodes for {name}")
        wait(served, f"leaders of {name}")
        return name

    def leader(self, topic: str, partition: int = 0) -> str:
        """The node that leads a partition, as most nodes know it."""
        found = [
            (each["leader_epoch"], each["leader"])
            for node in self.cluster.nodes
            for each in (self.state(node) or {}).get("partitions", ())
            if (each["topic"], each["partition"]) == (topic, partition) and each["leader"] > 0
        ]
        return f"n{max(found)[1]}"

    def in_sync(self, topic: str) -> list[int]:
        """How many replicas are in sync, by partition."""
        states = [state for node in self.cluster.nodes if (state := self.state(node))]
        newest = max(states, key=lambda state: state["offset"])
        return [len(p["isr"]) for p in newest["partitions"] if p["topic"] == topic]


def wait(condition: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {deadline_s:g} s for {what}, in vain"
        time.sleep(0.05)
