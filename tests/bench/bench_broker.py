"""How much a broker takes from real producers, and what it costs when nobody comes.

Run: pytest -m bench -s tests/bench/bench_broker.py

The producer is librdkafka in a process of its own, with 1,000-byte messages of random bytes and no
compression, and not idempotent, since librdkafka itself then takes the better part of the processor
while it waits; the nodes are plain processes without proxies between them. Throughput is bytes of
message values acknowledged in a second of wall time, from the first `produce` to the last delivery
report, the best of three rounds: whatever else runs on the machine counts, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.nodes.broker.processes import Nodes, running

pytestmark = pytest.mark.bench

ROUNDS = 3

PRODUCE = """
import json, os, sys, time
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic, acks, count, replicas, partitions = sys.argv[1:]
count, partitions = int(count), int(partitions)
admin = AdminClient({"bootstrap.servers": bootstrap})
for future in admin.create_topics([NewTopic(topic, partitions, int(replicas))]).values():
    future.result(10)
values = [os.urandom(1000) for _ in range(100)]
producer = Producer({
    "bootstrap.servers": bootstrap, "acks": acks, "linger.ms": 20, "batch.size": 1_000_000,
    "queue.buffering.max.messages": 200_000, "queue.buffering.max.kbytes": 400_000,
    "enable.idempotence": False,
})
acked = [0]
failed = []

def delivered(error, message):
    if error is None:
        acked[0] += 1
    else:
        failed.append(str(error))

producer.produce(topic, b"warm", partition=0, on_delivery=delivered)
producer.flush(10)
acked[0] = 0
began, cpu = time.perf_counter(), time.process_time()
for number in range(count):
    while True:
        try:
            producer.produce(
                topic, values[number % 100], partition=number % partitions, on_delivery=delivered
            )
            break
        except BufferError:
            producer.poll(0.01)
    if number % 1000 == 0:
        producer.poll(0)
left = producer.flush(60)
took = time.perf_counter() - began
for future in admin.delete_topics([topic]).values():
    future.result(10)  # else the next round waits for the disk to take what this one wrote
print(json.dumps({"acked": acked[0], "left": left, "failed": failed[:3], "wall_s": took,
                  "cpu_s": time.process_time() - cpu}))
"""


def produce(nodes: Nodes, acks: str, count: int, replicas: int, partitions: int = 1) -> float:
    """The best rate in MB/s of a few rounds, each on a topic of its own."""
    best = 0.0
    for number in range(ROUNDS):
        before_s = {name: nodes.cpu_s(name) for name in nodes.configs}
        arguments = [nodes.bootstrap, f"t{number}", acks, str(count), str(replicas)]
        output = subprocess.run(
            [sys.executable, "-c", PRODUCE, *arguments, str(partitions)],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        ).stdout
        found = json.loads(output)
        assert (found["acked"], found["left"], found["failed"]) == (count, 0, [])
        rate = count * 1000 / found["wall_s"] / 1e6
        best = max(best, rate)
        spent = {name: nodes.cpu_s(name) - before_s[name] for name in nodes.configs}
        nodes_cpu = ", ".join(f"{name} {cpu_s:.2f} s" for name, cpu_s in spent.items())
        print(
            f"\nacks={acks}: {rate:.0f} MB/s, {found['wall_s']:.2f} s for {count:,} messages; "
            f"CPU: producer {found['cpu_s']:.2f} s, {nodes_cpu}"
        )
    return best


def test_one_node_takes_100_mb_a_second(tmp_path: Path) -> None:
    """Timer: 400,000 messages of 1,000 bytes, acks=1, one partition."""
    with running(tmp_path, 1) as nodes:
        assert produce(nodes, "1", 400_000, 1) >= 100


def test_three_nodes_take_30_mb_a_second_with_acks_all(tmp_path: Path) -> None:
    """Timer: 150,000 messages of 1,000 bytes, in three partitions of three replicas."""
    with running(tmp_path, 3) as nodes:
        assert produce(nodes, "all", 150_000, 3, partitions=3) >= 30


def idle_share(nodes: Nodes) -> float:
    """Percent of a core that all nodes together take over ten seconds."""
    before_s = {name: nodes.cpu_s(name) for name in nodes.configs}
    began = time.monotonic()
    subprocess.run(["sleep", "10"], check=True)  # what is measured is that nothing happens
    took_s = time.monotonic() - began
    shares = {n: (nodes.cpu_s(n) - before_s[n]) / took_s * 100 for n in nodes.configs}
    each = ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())
    print(f"\nidle: {each}; together {sum(shares.values()):.1f} %")
    return sum(shares.values())


def test_an_idle_cluster_without_topics_takes_3_percent_of_a_core_at_most(tmp_path: Path) -> None:
    """Timer: CPU time of three nodes together over ten seconds; what there was is deleted.

    The options are those of a test run, whose short time-outs cost more than Kafka's own.
    """
    from systems.broker import NODE_OPTIONS

    with running(tmp_path, 3, NODE_OPTIONS) as nodes:
        produce(nodes, "all", 10, 3, partitions=3)
        assert idle_share(nodes) <= 3


@pytest.mark.parametrize(("options", "most"), [("Kafka's own", 3), ("of a test run", 4)])
def test_an_idle_cluster_with_a_topic_takes_little(
    tmp_path: Path, options: str, most: float
) -> None:
    """Timer: as above, with a topic of three partitions and three replicas that nobody uses.

    Each node fetches from both others twice a second, with Kafka's time-outs (the aim: 3 %) and
    with the short ones of a test run, whose heartbeats come on top.
    """
    from confluent_kafka.admin import AdminClient, NewTopic

    from systems.broker import NODE_OPTIONS

    with running(tmp_path, 3, NODE_OPTIONS if options == "of a test run" else {}) as nodes:
        admin = AdminClient({"bootstrap.servers": nodes.bootstrap})
        for future in admin.create_topics([NewTopic("idle", 3, 3)]).values():
            future.result(10)
        assert "idle" in admin.list_topics(timeout=10).topics
        del admin, future  # it would keep its connections
        assert idle_share(nodes) <= most
