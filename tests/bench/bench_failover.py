"""How long a cluster does without a leader, and whether it keeps its brokers when starved.

Run by name: `.venv/bin/pytest tests/bench/bench_failover.py -m bench -s`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from systems.broker import NODE_OPTIONS
from tests.nodes.broker.processes import Nodes, running

pytestmark = pytest.mark.bench

SESSION_S = NODE_OPTIONS["broker.session.timeout.ms"] / 1000
BUSY = "while True: pass"


def create_topic(nodes: Nodes) -> None:
    admin = AdminClient({"bootstrap.servers": nodes.bootstrap})
    topic = NewTopic("t", num_partitions=6, replication_factor=3)
    admin.create_topics([topic])["t"].result(20)


def state(nodes: Nodes, name: str) -> dict[str, Any]:
    found = json.loads(nodes.page(name, "/state") or b"{}")
    return found if isinstance(found, dict) else {}


def seconds_until(condition: Callable[[], bool], timeout_s: float = 30) -> float:
    began = time.monotonic()
    deadline = began + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return time.monotonic() - began


def replaced(nodes: Nodes, name: str, asked: str) -> bool:
    """Whether, as `asked` knows, everything that a node led has another leader."""
    id = nodes.configs[name]["id"]
    now = state(nodes, asked)
    leaders = [partition["leader"] for partition in now.get("partitions", ())]
    return now.get("controller") not in (None, id) and bool(leaders) and not {id, -1} & set(leaders)


def in_sync(nodes: Nodes, asked: str) -> bool:
    return all(len(part["isr"]) == 3 for part in state(nodes, asked).get("partitions", ()))


def test_a_killed_node_is_replaced_soon_after_its_session(tmp_path: Path) -> None:
    """Timer: from SIGKILL until another node knows other leaders for all that it led, and another
    controller; three times, each time the controller. Then from its readiness until it is in sync.
    """
    took_s, back_s = [], []
    with running(tmp_path, 3, NODE_OPTIONS) as nodes:
        create_topic(nodes)
        for _ in range(3):
            controller = state(nodes, "n1")["controller"]
            killed = f"n{controller}"
            asked = next(name for name in nodes.configs if name != killed)
            nodes.end(killed, signal.SIGKILL)
            took_s.append(
                seconds_until(lambda killed=killed, asked=asked: replaced(nodes, killed, asked))
            )
            nodes.start(killed)
            nodes.wait_ready(killed)
            back_s.append(seconds_until(lambda asked=asked: in_sync(nodes, asked)))
    print("\nreplaced after " + ", ".join(f"{seconds:.2f} s" for seconds in took_s))
    print("in sync after " + ", ".join(f"{seconds:.2f} s" for seconds in back_s))
    assert max(took_s) < SESSION_S + 5


def test_a_starved_cluster_keeps_its_brokers(tmp_path: Path) -> None:
    """Six busy processes beside three nodes, for 30 s: nobody is fenced without reason."""
    with running(tmp_path, 3, NODE_OPTIONS) as nodes:
        create_topic(nodes)
        before, busy = state(nodes, "n1"), []
        try:
            busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(6)]
            subprocess.run(["sleep", "30"], check=True)
            after = state(nodes, "n1")
        finally:
            for process in busy:
                process.kill()
                process.wait()
    fences = after["counters"]["fences"] - before["counters"]["fences"]
    print(f"\n{fences} brokers fenced, {after['term'] - before['term']} elections of the quorum")
    assert fences == 0
