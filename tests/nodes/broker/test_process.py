"""How a broker's process starts and ends, and what its admin port says meanwhile."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from systems.broker import NODE_OPTIONS
from tests.nodes.broker.clients.cluster import wait
from tests.nodes.broker.clients.test_confluent import consume
from tests.nodes.broker.processes import ROOT, Nodes, running

pytestmark = pytest.mark.local

OPTIONS = {**NODE_OPTIONS, "broker.heartbeat.interval.ms": 100}


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "real"))


@pytest.fixture
def nodes(tmp_path: Path, disk: str) -> Iterator[Nodes]:
    """One node, not started yet."""
    nodes = Nodes(tmp_path, 1, OPTIONS, disk)
    yield nodes
    nodes.close()


def start(nodes: Nodes) -> None:
    nodes.start("n1")
    nodes.wait_ready()


def produce(nodes: Nodes, topic: str, values: list[bytes]) -> None:
    failed = []
    producer = Producer({"bootstrap.servers": nodes.bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(
            topic, value, on_delivery=lambda error, _: failed.append(error) if error else None
        )
    assert producer.flush(20) == 0 and not failed


def read(nodes: Nodes, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": nodes.bootstrap, "group.id": "g", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = [value for _, value in consume(consumer, count)]
    consumer.close()
    return found


def create(
    nodes: Nodes, topic: str, configs: Mapping[str, str] | None = None, replicas: int = 1
) -> None:
    admin = AdminClient({"bootstrap.servers": nodes.bootstrap})
    new = NewTopic(topic, 1, replicas, config=dict(configs or {}))
    admin.create_topics([new])[topic].result(20)


def event(nodes: Nodes, name: str) -> dict[str, Any]:
    """The last event of that name."""
    return [each for each in nodes.events("n1") if each["event"] == name][-1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nodes.broker", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
    )


# -- starts that fail ----------------------------------------------------------------------------


def test_a_configuration_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text('{"node": "n1", "id": 1, "data": "d", "bind": {}}')
    done = run(str(path))
    assert done.returncode == 2
    assert done.stderr == f"nodes.broker: {path}: bind lacks peer, raft, admin\n"


def test_a_configuration_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run(str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No such file" in done.stderr


def test_without_a_configuration_the_usage_is_told() -> None:
    done = run()
    assert done.returncode == 2 and "CONFIG" in done.stderr


@pytest.mark.parametrize("port", ["peer", "raft", "admin", "c1"])
def test_a_port_that_is_taken_is_told_in_one_line(nodes: Nodes, port: str) -> None:
    with socket.create_server(tuple(nodes.configs["n1"]["bind"][port])):
        process = nodes.start("n1")
        assert process.wait(20) == 1
    lines = [line for line in nodes.log("n1").splitlines() if not line.startswith("{")]
    (line,) = lines
    assert line.startswith("nodes.broker: n1: ") and "address already in use" in line


# -- ends ----------------------------------------------------------------------------------------


def test_a_node_that_is_told_to_end_ends_cleanly_and_starts_as_it_was(nodes: Nodes) -> None:
    start(nodes)
    assert event(nodes, "node.starting")["clean"] is False, "there was nobody before it"
    create(nodes, "t")
    produce(nodes, "t", [b"a", b"b"])
    assert nodes.end("n1", signal.SIGTERM) == 0
    assert event(nodes, "node.ended")
    start(nodes)
    assert event(nodes, "node.starting")["clean"] is True
    assert read(nodes, "t", 2) == [b"a", b"b"]


def test_a_node_that_is_killed_knows_it_and_keeps_what_it_had(nodes: Nodes) -> None:
    start(nodes)
    create(nodes, "t")
    produce(nodes, "t", [b"a", b"b"])
    first = event(nodes, "broker.registered")["epoch"]
    nodes.end("n1", signal.SIGKILL)
    start(nodes)
    assert event(nodes, "node.starting")["clean"] is False
    assert event(nodes, "broker.registered")["epoch"] > first, "it is another process"
    assert read(nodes, "t", 2) == [b"a", b"b"]
    produce(nodes, "t", [b"c"])
    assert read(nodes, "t", 3) == [b"a", b"b", b"c"]


def test_a_clean_end_counts_once(nodes: Nodes) -> None:
    start(nodes)
    nodes.end("n1", signal.SIGTERM)
    start(nodes)
    nodes.end("n1", signal.SIGKILL)
    start(nodes)
    assert [e["clean"] for e in nodes.events("n1") if e["event"] == "node.starting"] == [
        False,
        True,
        False,
    ]


def test_a_leader_that_is_told_to_end_hands_over_first(tmp_path: Path) -> None:
    slow = {**OPTIONS, "broker.session.timeout.ms": 60_000}  # nobody would notice otherwise
    with running(tmp_path, 3, slow) as nodes:
        create(nodes, "t", replicas=3)
        produce(nodes, "t", [b"a"])

        def leader(of: str) -> int:
            state = json.loads(nodes.page(of, "/state") or b"")
            return int(state["partitions"][0]["leader"])

        first = leader("n1")
        others = [name for name in nodes.configs if name != f"n{first}"]
        assert nodes.end(f"n{first}", signal.SIGTERM) == 0
        wait(lambda: leader(others[0]) not in (first, -1), "another leader", 10)
        produce(nodes, "t", [b"b"])
        assert read(nodes, "t", 2) == [b"a", b"b"]
        nodes.start(f"n{first}")
        nodes.wait_ready()


@pytest.mark.parametrize("disk", ["volatile"], indirect=True)
def test_on_a_volatile_disk_a_kill_loses_what_was_not_flushed_and_nothing_else(
    nodes: Nodes,
) -> None:
    start(nodes)
    create(nodes, "flushed", {"flush.messages": "1"})
    create(nodes, "cached")
    produce(nodes, "flushed", [b"a"])
    produce(nodes, "cached", [b"a"])
    nodes.end("n1", signal.SIGKILL)
    start(nodes)
    assert read(nodes, "flushed", 1) == [b"a"]
    ends = {
        replica["partition"]: replica["end"]
        for replica in json.loads(nodes.page("n1", "/state") or b"")["replicas"]
    }
    assert ends == {"flushed-0": 1, "cached-0": 0}


def test_a_node_that_is_interrupted_while_it_starts_ends(nodes: Nodes) -> None:
    process = nodes.start("n1")
    while "node.starting" not in nodes.log("n1"):
        assert process.poll() is None
    assert nodes.end("n1", signal.SIGINT) == 0


# -- the admin port ------------------------------------------------------------------------------


def test_the_admin_port_tells_how_the_node_is(nodes: Nodes) -> None:
    start(nodes)
    create(nodes, "t")
    produce(nodes, "t", [b"a"] * 10)
    health = json.loads(nodes.page("n1", "/health") or b"")
    assert (health["status"], health["node"]) == ("ok", "n1")
    state = json.loads(nodes.page("n1", "/state") or b"")
    assert (state["controller"], state["id"]) == (1, 1)
    (partition,) = state["partitions"]
    assert (partition["topic"], partition["leader"], partition["isr"]) == ("t", 1, [1])
    (replica,) = state["replicas"]
    assert (replica["partition"], replica["hw"], replica["end"]) == ("t-0", 10, 10)
    assert nodes.page("n1", "/nothing") is None


SAMPLE = re.compile(
    r'assay_broker_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+.e0-9]+(inf)?'
)


def test_metrics_are_prometheus_text(nodes: Nodes) -> None:
    start(nodes)
    create(nodes, "t")
    produce(nodes, "t", [b"a"] * 10)
    read(nodes, "t", 10)
    text = (nodes.page("n1", "/metrics") or b"").decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    values = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in samples)}
    assert values["assay_broker_messages_in_total"] == 10
    assert values["assay_broker_bytes_out_total"] > 0
    assert values["assay_broker_leaders"] == values["assay_broker_controller"] == 1
    assert values['assay_broker_request_seconds_count{api="Produce"}'] >= 1
    assert (
        values['assay_broker_request_seconds_bucket{api="Produce",le="+Inf"}']
        == (values['assay_broker_request_seconds_count{api="Produce"}'])
    )
