"""What the harness makes of the nodes' own words: who leads, who is in sync, what happened."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cluster.contract import Address
from harness.errors import UsageError
from harness.nemesis import View
from systems import http
from systems.broker import LIBRARIES, Broker
from tests.nemeses.fake import FakeCluster


class Told(FakeCluster):
    """Three nodes with admin ports 1, 2 and 3."""

    def admin(self, node: str) -> Address:
        return Address("127.0.0.1", int(node.removeprefix("n")))


def state(**more: Any) -> dict[str, Any]:
    return {"offset": 1, "term": 1, "controller": 1, "partitions": [], "brokers": [], **more}


def partition(
    number: int, leader: int, epoch: int, isr: tuple[int, ...] = (1, 2, 3)
) -> dict[str, Any]:
    return {
        "topic": "log-0",
        "partition": number,
        "replicas": [1, 2, 3],
        "isr": list(isr),
        "leader": leader,
        "leader_epoch": epoch,
    }


def broker(number: int, epoch: int, fenced: bool = False) -> dict[str, Any]:
    return {"id": number, "epoch": epoch, "incarnation": "x", "fenced": fenced}


async def view(monkeypatch: pytest.MonkeyPatch, answers: dict[int, dict[str, Any]]) -> View:
    async def get_json(address: Address, path: str, timeout_s: float = 1.0) -> Any:
        assert path == "/state"
        return answers.get(address.port)

    monkeypatch.setattr(http, "get_json", get_json)
    return await Broker().view(Told())  # type: ignore[arg-type]


async def test_the_newest_leader_of_each_partition_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was cut off still tells of itself as the leader."""
    seen = await view(
        monkeypatch,
        {
            1: state(partitions=[partition(0, 1, 4), partition(1, 1, 2)]),
            2: state(partitions=[partition(0, 2, 5), partition(1, 1, 2)]),
        },
    )
    assert seen.leaders == {"n1": 1, "n2": 1}


async def test_a_partition_without_a_leader_is_led_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = await view(monkeypatch, {1: state(partitions=[partition(0, -1, 4)])})
    assert seen.leaders == {}


async def test_nodes_answer_for_their_quorum_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await view(monkeypatch, {1: state(quorum={"commit": 7}), 3: state()})
    assert seen.quorum == {"n1": {"commit": 7}}


async def test_the_controller_of_the_highest_term_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        1: state(term=3, controller=1),
        2: state(term=4, controller=3),
        3: state(term=5, controller=None),
    }
    assert (await view(monkeypatch, answers)).controller == "n3"


async def test_epochs_and_who_is_in_sync_come_from_the_node_that_is_furthest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = state(offset=5, brokers=[broker(1, 2), broker(2, 3), broker(3, 4)])
    new = state(
        offset=9,
        brokers=[broker(1, 2), broker(2, 8), broker(3, 4, fenced=True)],
        partitions=[partition(0, 1, 1, (1, 3)), partition(1, 1, 1, (1, 2, 3))],
    )
    facts = (await view(monkeypatch, {1: old, 2: new})).facts
    assert facts["epochs"] == {"n1": 2, "n2": 8, "n3": 4}
    assert facts["in_sync"] == ["n1"], "n2 lacks a partition, n3 is fenced"


async def test_when_no_node_answers_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = await view(monkeypatch, {})
    assert (seen.leaders, seen.controller) == ({}, None)
    assert (seen.facts["epochs"], seen.facts["in_sync"]) == ({}, [])
    assert seen.nodes == ("n1", "n2", "n3")


async def test_statistics_are_what_happened_between_two_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = await view(monkeypatch, {1: state(counters={"elections": 2, "isr_shrinks": 1})})
    after = await view(
        monkeypatch,
        {1: state(counters={"elections": 3}), 2: state(counters={"elections": 7, "fences": 1})},
    )
    stats = Broker().stats(before.facts, after.facts)
    assert stats["elections"] == 5
    assert stats["fences"] == 1
    assert stats["unclean_elections"] == 0


def test_each_library_has_an_adapter_and_another_one_is_refused() -> None:
    for library in LIBRARIES:
        assert callable(Broker().port("log", library))
    assert Broker().port("log", None) is Broker().port("log", "kafka-python")
    with pytest.raises(UsageError, match="there are: kafka-python, aiokafka, confluent"):
        Broker().port("log", "sarama")
    with pytest.raises(UsageError, match="cannot serve the workload 'bank'"):
        Broker().port("bank", None)
