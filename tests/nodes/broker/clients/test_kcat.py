"""kcat, the command line that people reach for first."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.nodes.broker.clients.cluster import Brokers

pytestmark = pytest.mark.local


def kcat(require: Callable[[str], str], *arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [require("kcat"), *arguments], input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cluster_is_listed(brokers: Brokers, require: Callable[[str], str]) -> None:
    topic = brokers.topic(partitions=2)
    listed: dict[str, Any] = json.loads(
        kcat(require, "-b", brokers.bootstrap(), "-L", "-J", "-t", topic)
    )
    assert {broker["id"] for broker in listed["brokers"]} == {1, 2, 3}
    (found,) = listed["topics"]
    assert [len(partition["isrs"]) for partition in found["partitions"]] == [3, 3]


def test_lines_go_in_and_come_out(brokers: Brokers, require: Callable[[str], str]) -> None:
    topic = brokers.topic()
    lines = "".join(f"line {number}\n" for number in range(50))
    kcat(require, "-b", brokers.bootstrap(), "-P", "-t", topic, "-p", "0", given=lines)
    arguments = ("-b", brokers.bootstrap("c2"), "-C", "-t", topic, "-p", "0", "-e", "-q")
    assert kcat(require, *arguments) == lines
    last = kcat(require, *arguments, "-o", "-1", "-f", "%o %s")
    assert last == "49 line 49"
