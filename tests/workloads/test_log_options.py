"""Options of the log workload: what they become, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from harness.errors import UsageError
from harness.workload import Load, Workload, parse_options
from tests.workloads.fake import HERE, FakeLog
from workloads.log import Options, workload


def made(given: dict[str, Any], nodes: int = 3, log: FakeLog | None = None) -> Workload:
    connect = (log or FakeLog()).connect
    return workload(parse_options(Options, given), Load(nodes=nodes), connect)  # type: ignore[arg-type]


def test_the_promises_of_a_run_without_options_are_the_strongest() -> None:
    assert made({}).promises == {
        "acks": "all",
        "idempotence": True,
        "retries": None,
        "replication-factor": 3,
        "min-insync-replicas": 2,
        "unclean": False,
        "flush-messages": None,
        "isolation": "read_uncommitted",
    }


@pytest.mark.parametrize(
    ("given", "promised"),
    [
        ({"acks": "1"}, {"acks": "1", "idempotence": False}),
        ({"acks": "0"}, {"acks": "0", "idempotence": False}),
        ({"idempotence": "false", "retries": "5"}, {"idempotence": False, "retries": 5}),
        ({"retries": "0"}, {"idempotence": False, "retries": 0}),
        ({"unclean": "true"}, {"unclean": True}),
        ({"replication-factor": "2"}, {"replication-factor": 2, "min-insync-replicas": 1}),
        ({"replication-factor": "1"}, {"replication-factor": 1, "min-insync-replicas": 1}),
        ({"min-insync-replicas": "3"}, {"min-insync-replicas": 3}),
        ({"flush-messages": "1"}, {"flush-messages": 1}),
    ],
)
def test_promises_follow_from_the_options(
    given: dict[str, str], promised: dict[str, object]
) -> None:
    promises = made(given).promises
    assert {name: promises[name] for name in promised} == promised


@pytest.mark.parametrize(("nodes", "replicas"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_there_are_as_many_replicas_as_nodes_but_no_more_than_three(
    nodes: int, replicas: int
) -> None:
    assert made({}, nodes).promises["replication-factor"] == replicas


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ack": "all"}, "unknown field `ack`.*known options: topics=1"),
        ({"acks": "2"}, "acks=2 is not one of 0, 1, all"),
        ({"retries": "many"}, "option not understood"),
        ({"retries": "-1"}, "must not be negative"),
        ({"partitions": "0"}, "partitions must be at least 1"),
        ({"topics": "0"}, "topics must be at least 1"),
        ({"sends-per-op": "0"}, "sends-per-op must be at least 1"),
        ({"replication-factor": "4"}, "needs as many nodes, and there are 3"),
        ({"min-insync-replicas": "4"}, "min-insync-replicas=4 of 3 replicas cannot be"),
        ({"value-bytes": "-1"}, "must not be negative"),
        ({"in-flight": "6"}, r"in-flight=6 is not within 1\.\.5"),
        ({"in-flight": "2", "acks": "1"}, "with idempotence only"),
        ({"idempotence": "true", "acks": "1"}, "needs acks=all and retries"),
        ({"idempotence": "true", "retries": "0"}, "needs acks=all and retries"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(given)


async def test_clients_get_the_settings() -> None:
    log = FakeLog()
    await made({"acks": "1", "retries": "7"}, log=log).client.open(HERE)
    (settings,) = log.settings
    assert (settings.acks, settings.retries, settings.idempotence) == ("1", 7, False)


async def test_a_send_ends_before_the_operation_does() -> None:
    log = FakeLog()
    await made({}, log=log).client.open(HERE)
    (settings,) = log.settings
    assert 2 * settings.request_timeout_s + settings.delivery_timeout_s + 0.5 < 10
