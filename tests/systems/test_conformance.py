"""One suite for the adapters of all client libraries, over real brokers and their links."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from harness.client import classify
from harness.cluster.contract import Link
from harness.errors import Refused, UsageError
from harness.op import Kind
from tests.nodes.broker.clients.cluster import Brokers
from tests.systems.conftest import QUICK
from workloads.ports import BrokerPort, Message, Partition, Settings

pytestmark = pytest.mark.local

Open = Callable[..., Awaitable[BrokerPort]]

DEADLINE_S = 20.0
BUDGET_S = 2 * QUICK.request_timeout_s + QUICK.delivery_timeout_s + 2.0


@pytest.fixture
async def topic(brokers: Brokers) -> str:
    """A topic of two partitions on all nodes."""
    configs = {"min.insync.replicas": "2"}
    return await asyncio.to_thread(brokers.topic, 2, 3, configs)


@pytest.fixture
async def mended(brokers: Brokers) -> AsyncIterator[Brokers]:
    """The cluster, for a test that breaks it; mended and settled afterwards."""
    yield brokers

    async def mend() -> None:
        cluster = brokers.cluster
        for node in cluster.nodes:
            await cluster.resume(node)
        await cluster.heal()
        for node in cluster.nodes:
            await cluster.start_node(node)

    await on_cluster(brokers, mend())


async def on_cluster(brokers: Brokers, work: Any) -> Any:
    return await asyncio.to_thread(brokers.run, work)


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s for {what}, in vain"
        await asyncio.sleep(0.05)


async def polled(
    port: BrokerPort, count: int, more: Callable[[Sequence[Message]], None] = lambda found: None
) -> list[Message]:
    """Poll until there are `count` messages, or nothing comes any more."""
    found: list[Message] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} messages of {count} came"
        messages = await port.poll(0.2)
        more(messages)
        found += messages
    return found


def shown(messages: Sequence[Message]) -> list[tuple[int, int]]:
    return [(message.offset, int(message.value)) for message in messages]


async def filled(port: BrokerPort, partition: Partition, count: int) -> None:
    sent = [await port.send(partition, str(number).encode()) for number in range(count)]
    assert sent == list(range(count))


# -- plain sailing -------------------------------------------------------------------------------


async def test_a_topic_that_exists_is_fine(port: Open, brokers: Brokers, library: str) -> None:
    one, name = await port(), f"made-{library}"
    for _ in range(2):
        await one.create_topic(name, 3, 3, {"min.insync.replicas": "2"})
    assert await one.end_offsets([Partition(name, n) for n in range(3)]) == {
        Partition(name, n): 0 for n in range(3)
    }
    state = await asyncio.to_thread(brokers.state, "n1")
    assert state is not None
    parts = [p for p in state["partitions"] if p["topic"] == name]
    assert [len(p["replicas"]) for p in parts] == [3, 3, 3]


@pytest.mark.parametrize(
    "settings",
    [
        {"acks": "all", "idempotence": True},
        {"acks": "all", "idempotence": False},
        {"acks": "1", "idempotence": False},
    ],
    ids=lambda settings: f"acks={settings['acks']}{'+' * settings['idempotence']}",
)
async def test_what_is_sent_is_read_at_its_offset(
    port: Open, topic: str, settings: dict[str, Any]
) -> None:
    one, here, there = await port(**settings), Partition(topic, 0), Partition(topic, 1)
    assert [await one.send(here, str(n).encode()) for n in (10, 11, 12)] == [0, 1, 2]
    assert await one.send(there, b"13") == 0
    await one.assign({here: None, there: None})
    found = await polled(one, 4)
    assert shown([m for m in found if m.partition == here]) == [(0, 10), (1, 11), (2, 12)]
    assert shown([m for m in found if m.partition == there]) == [(0, 13)]
    assert await one.end_offsets([here, there]) == {here: 3, there: 1}


async def test_the_first_message_since_a_time_is_found(
    port: Open, topic: str, library: str
) -> None:
    one, here, there = await port(), Partition(topic, 0), Partition(topic, 1)
    began_ms = int(time.time() * 1000) - 60_000
    for ago, number in ((0, 10), (20, 11), (10, 12), (30, 13)):
        await one.send(here, str(number).encode(), began_ms + ago)

    async def found(ago: int) -> Any:
        return (await one.offsets_for_times({here: began_ms + ago, there: began_ms}))[here]

    told = {ago: await found(ago) for ago in (-5, 0, 1, 10, 20, 21, 30, 31)}
    places = {-5: 0, 0: 0, 1: 1, 10: 1, 20: 1, 21: 3, 30: 3}
    assert {ago: at[0] for ago, at in told.items() if at is not None} == places
    stamps = {ago: at[1] - began_ms for ago, at in told.items() if at and at[1] is not None}
    of_each = {0: 0, 1: 20, 3: 30}
    assert stamps == (
        {} if library == "confluent" else {ago: of_each[at] for ago, at in places.items()}
    )
    assert (await one.offsets_for_times({there: 0}))[there] is None


async def test_what_is_deleted_is_not_read_any_more(port: Open, topic: str) -> None:
    one, here = await port(), Partition(topic, 0)
    await filled(one, here, 5)
    assert await one.delete_records({here: 3}) == {here: 3}
    reader = await port()
    await reader.assign({here: None})
    assert shown(await polled(reader, 2)) == [(3, 3), (4, 4)]
    with pytest.raises(Exception, match=r"(?i)out.?of.?range"):
        await one.delete_records({here: 6})
    assert await one.end_offsets([here]) == {here: 5}


async def test_without_acknowledgement_no_offset_is_told(port: Open, topic: str) -> None:
    one, here = await port(acks="0", idempotence=False), Partition(topic, 0)
    await filled(await port(), here, 1)  # a leader that does not know it yet would drop the next
    assert await one.send(here, b"5") is None
    await one.assign({here: None})
    assert shown(await polled(one, 2)) == [(0, 0), (1, 5)]


async def test_a_poll_of_an_empty_partition_waits_and_is_empty(port: Open, topic: str) -> None:
    one = await port()
    await one.assign({Partition(topic, 0): None})
    assert await one.poll(0.1) == []


async def test_a_poll_does_not_wait_for_more_than_a_first_message(port: Open, topic: str) -> None:
    one, here = await port(), Partition(topic, 0)
    await one.assign({here: None})
    await filled(one, here, 1)
    began = time.monotonic()
    await polled_once(one, 10.0)
    assert time.monotonic() - began < 5.0


async def polled_once(port: BrokerPort, timeout_s: float) -> Sequence[Message]:
    messages = await port.poll(timeout_s)
    assert messages
    return messages


async def test_what_is_under_way_together_keeps_its_order(
    port: Open, topic: str, library: str
) -> None:
    here = Partition(topic, 0)
    if library != "aiokafka":
        with pytest.raises(UsageError, match="has one message in flight"):
            await port(in_flight=5)
        return
    one = await port(in_flight=5)
    sent = await asyncio.gather(*(one.send(here, str(n).encode()) for n in range(40)))
    assert sent == list(range(40))
    await one.assign({here: None})
    assert shown(await polled(one, 40)) == [(n, n) for n in range(40)]


# -- positions -----------------------------------------------------------------------------------


async def test_reading_begins_where_it_was_assigned(port: Open, topic: str) -> None:
    one, here = await port(), Partition(topic, 0)
    await filled(one, here, 5)
    await one.assign({here: 3})
    assert shown(await polled(one, 2)) == [(3, 3), (4, 4)]


async def test_a_partition_can_be_read_again_though_more_of_it_was_fetched_already(
    port: Open, topic: str
) -> None:
    """A library fetches ahead; what it holds must not follow a rewind."""
    one, here = await port(poll_records_max=10), Partition(topic, 0)
    await filled(one, here, 60)
    await one.assign({here: None})
    await polled(one, 20)
    await one.assign({here: 5})
    assert shown(await polled(one, 55))[:55] == [(n, n) for n in range(5, 60)]
    await one.assign({here: None})
    assert shown(await polled(one, 60))[:60] == [(n, n) for n in range(60)]


async def test_nothing_is_skipped_or_read_twice_over_many_polls(port: Open, topic: str) -> None:
    one, both = await port(poll_records_max=7), [Partition(topic, 0), Partition(topic, 1)]
    for partition in both:
        await filled(one, partition, 40)
    await one.assign(dict.fromkeys(both))
    found = await polled(one, 80, lambda messages: _at_most(messages, 7))
    for partition in both:
        mine = shown([m for m in found if m.partition == partition])
        assert mine == [(n, n) for n in range(40)]


def _at_most(messages: Sequence[Message], most: int) -> None:
    assert len(messages) <= most


async def test_an_assignment_replaces_the_one_before(port: Open, topic: str) -> None:
    one, here, there = await port(), Partition(topic, 0), Partition(topic, 1)
    await filled(one, here, 3)
    await one.assign({here: None})
    await polled(one, 3)
    await one.assign({there: None})
    await filled(one, there, 2)
    await one.send(here, b"9")
    found = await polled(one, 2)
    assert {m.partition for m in found} == {there}
    await one.assign({here: 3, there: 2})
    assert shown(await polled(one, 1)) == [(3, 9)]


async def test_a_poll_that_was_cancelled_is_put_right_with_an_assignment(
    port: Open, topic: str
) -> None:
    one, here = await port(), Partition(topic, 0)
    await one.assign({here: None})
    polling = asyncio.ensure_future(one.poll(3.0))
    await asyncio.wait([polling], timeout=0.3)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await filled(one, here, 3)
    await one.assign({here: 1})
    assert shown(await polled(one, 2)) == [(1, 1), (2, 2)]


# -- refusals and doubt --------------------------------------------------------------------------


async def test_a_message_that_is_too_large_is_definitely_not_sent(port: Open, topic: str) -> None:
    one, here = await port(), Partition(topic, 0)
    with pytest.raises(Refused) as caught:
        await one.send(here, bytes(2 << 20))
    assert "SIZE" in caught.value.name.upper() or "LARGE" in caught.value.name.upper()
    assert await one.send(here, b"1") == 0


@pytest.mark.parametrize("idempotence", [True, False])
async def test_a_process_goes_on_sending_after_its_broker_refused_a_message(
    port: Open, brokers: Brokers, idempotence: bool
) -> None:
    """What was definitely not sent retires no client: it must be able to go on."""
    name = await asyncio.to_thread(brokers.topic, 1, 3, {"max.message.bytes": "1000"})
    one, here = await port(idempotence=idempotence), Partition(name, 0)
    for at in range(3):
        with pytest.raises(Refused):
            await one.send(here, bytes(5000))
        assert await one.send(here, b"1") == at


@pytest.mark.parametrize("retries", [0, None])
async def test_too_few_replicas_are_definite_only_for_the_only_attempt(
    port: Open, mended: Brokers, library: str, retries: int | None
) -> None:
    if library == "aiokafka" and retries == 0:
        retries = None  # it has no such setting; the other half of the claim holds for it, too
    name = await asyncio.to_thread(mended.topic, 1, 3, {"min.insync.replicas": "3"})
    one, here = await port(retries=retries, idempotence=False), Partition(name, 0)
    # On a busy machine an ISR shrinks by itself, and what is tried again then comes twice.
    assert await one.send(here, b"0") is not None
    leader = await asyncio.to_thread(mended.leader, name)
    victim = next(node for node in mended.cluster.nodes if node != leader)
    await on_cluster(mended, mended.cluster.kill(victim))
    await until(lambda: _isr(mended, leader, name) == 2, "the leader to know of a smaller ISR")
    with pytest.raises(Exception) as caught:
        await one.send(here, b"1")
    kind, _ = classify(caught.value, "send", frozenset())
    assert kind is (Kind.FAIL if retries == 0 else Kind.INFO)


def _isr(brokers: Brokers, node: str, topic: str) -> int:
    """How many replicas are in sync, as `node` knows."""
    state = brokers.state(node) or {}
    return sum(len(p["isr"]) for p in state.get("partitions", ()) if p["topic"] == topic)


async def outcomes(
    port: BrokerPort, partition: Partition, numbers: range
) -> dict[int, tuple[Kind, Any]]:
    """Send each number; what became of it: OK with its offset, or FAIL or INFO with the error."""
    found: dict[int, tuple[Kind, Any]] = {}
    for number in numbers:
        began = time.monotonic()
        try:
            found[number] = Kind.OK, await port.send(partition, str(number).encode())
        except Exception as error:
            found[number] = classify(error, "send", frozenset())
        assert time.monotonic() - began < BUDGET_S, found[number]
        if found[number][0] is Kind.INFO:
            break  # a run closes this client, too
    return found


@pytest.mark.parametrize("fault", ["kill", "pause", "cut"])
async def test_what_was_acknowledged_is_there_and_what_failed_is_not(
    port: Open, mended: Brokers, topic: str, fault: str
) -> None:
    """The leader goes away while clients send; each gives up in time, and says the truth."""
    here, numbers = Partition(topic, 0), iter(range(10_000))
    told: dict[int, tuple[Kind, Any]] = {}

    async def burst(count: int) -> None:
        first = next(numbers)
        told.update(await outcomes(await port(), here, range(first, first + count)))
        for _ in range(count):
            next(numbers)

    await burst(20)
    assert {kind for kind, _ in told.values()} == {Kind.OK}
    leader = await asyncio.to_thread(mended.leader, topic)
    await on_cluster(mended, _break(mended, leader, fault))
    deadline = time.monotonic() + DEADLINE_S
    while True:  # until somebody succeeds again, with another leader
        await burst(3)
        if list(told.values())[-1][0] is Kind.OK:
            break
        assert time.monotonic() < deadline, told
    await on_cluster(mended, _mend(mended, leader, fault))
    await burst(5)

    reader = await port()
    (end,) = (await reader.end_offsets([here])).values()
    await reader.assign({here: None})
    log = dict(shown(await polled(reader, end)))
    for number, (kind, detail) in told.items():
        if kind is Kind.OK:
            assert log[detail] == number
        elif kind is Kind.FAIL:
            assert number not in log.values()
    assert len(set(log.values())) == len(log), "idempotent sends are appended once"


async def _break(brokers: Brokers, node: str, fault: str) -> None:
    cluster = brokers.cluster
    match fault:
        case "kill":
            await cluster.kill(node)
        case "pause":
            await cluster.pause(node)
        case _:
            others = [*(n for n in cluster.nodes if n != node), *cluster.clients]
            pairs = [(other, node) for other in others] + [(node, other) for other in others]
            await cluster.cut([Link(*pair) for pair in pairs])


async def _mend(brokers: Brokers, node: str, fault: str) -> None:
    cluster = brokers.cluster
    match fault:
        case "kill":
            await cluster.start_node(node)
        case "pause":
            await cluster.resume(node)
        case _:
            await cluster.heal()


async def test_a_client_that_is_cut_off_reads_on_once_it_is_not(
    port: Open, mended: Brokers, topic: str
) -> None:
    one, here, cluster = await port(), Partition(topic, 0), mended.cluster
    await filled(one, here, 3)
    await one.assign({here: None})
    await polled(one, 3)
    links = [Link("c1", n) for n in cluster.nodes] + [Link(n, "c1") for n in cluster.nodes]
    await on_cluster(mended, cluster.cut(links))
    began = time.monotonic()
    try:
        assert await one.poll(0.2) == []
    except Exception as error:
        assert not isinstance(error, AssertionError)
    assert time.monotonic() - began < BUDGET_S
    await on_cluster(mended, cluster.heal())
    other = await port()
    await outcomes(other, here, range(3, 6))
    await one.assign({here: 3})
    assert shown(await polled(one, 3)) == [(3, 3), (4, 4), (5, 5)]


async def test_closing_leaves_no_task_and_no_thread_even_with_messages_undelivered(
    port: Open, mended: Brokers, topic: str
) -> None:
    await asyncio.to_thread(int)  # so that the loop's own helper threads are there already
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    one, here, cluster = await port(), Partition(topic, 0), mended.cluster
    await filled(one, here, 1)
    await one.assign({here: None})
    await polled(one, 1)
    for node in cluster.nodes:
        await on_cluster(mended, cluster.pause(node))
    with pytest.raises(Exception) as caught:
        await one.send(here, b"1")
    assert classify(caught.value, "send", frozenset())[0] is Kind.INFO
    began = time.monotonic()
    await one.close()
    assert time.monotonic() - began < 1.5
    assert asyncio.all_tasks() == tasks

    def ended() -> bool:
        left = [thread.name for thread in set(threading.enumerate()) - threads]
        return not [name for name in left if not name.startswith("asyncio")]

    await until(ended, "the threads to end")


def test_the_settings_of_these_tests_are_a_runs_but_for_patience() -> None:
    run = Settings()
    assert (QUICK.acks, QUICK.idempotence, QUICK.isolation) == (
        run.acks,
        run.idempotence,
        run.isolation,
    )
