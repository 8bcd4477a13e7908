"""With too few in sync a leader shows nothing new: who left then may come to lead (KIP-966)."""

from __future__ import annotations

from nodes.broker.controller.commands import AlterConfig, Fence, Unfence
from tests.nodes.broker.api.broker import FOLLOWER, ME, OTHER, Broker, batch


async def alone(broker: Broker) -> None:
    """The leader has one message that all have, and then nobody in sync."""
    await broker.create_topic(min_insync_replicas="2")
    await broker.produce(batch(b"a"))
    for id in (FOLLOWER, OTHER):
        await broker.follow(1, id)
    assert broker.partition().hw == 1
    for id in (FOLLOWER, OTHER):
        broker.quorum.apply(Fence(id, broker.quorum.epochs[id]))
    assert broker.partition().state.isr == (ME,)


async def shown(broker: Broker) -> int:
    """How far a consumer can read."""
    part = await broker.fetch(0)
    assert part.high_watermark == broker.partition().hw
    return int(part.high_watermark)


async def test_what_is_appended_with_too_few_in_sync_is_not_shown(broker: Broker) -> None:
    await alone(broker)
    assert (await broker.produce(batch(b"b"), acks=1)).error_code == 0
    assert broker.partition().log.end_offset == 2 and await shown(broker) == 1


async def test_it_is_shown_when_enough_are_in_sync_again(broker: Broker) -> None:
    await alone(broker)
    await broker.produce(batch(b"b"), acks=1)
    broker.quorum.apply(Unfence(OTHER, broker.quorum.epochs[OTHER]))
    await broker.follow(1, OTHER)
    await broker.follow(2, OTHER)
    await broker.settle()
    assert broker.partition().state.isr == (ME, OTHER)
    await broker.follow(2, OTHER)
    assert await shown(broker) == 2


async def test_it_is_shown_when_fewer_are_enough(broker: Broker) -> None:
    await alone(broker)
    await broker.produce(batch(b"b"), acks=1)
    broker.quorum.apply(AlterConfig("t", [("min.insync.replicas", 0, "1")]))
    assert await shown(broker) == 2 and broker.partition().state.elr == ()


async def test_no_more_are_needed_than_there_are_replicas(broker: Broker) -> None:
    await broker.create_topic(assignments=[(ME,)], min_insync_replicas="2")
    await broker.produce(batch(b"a"), acks=1)
    assert await shown(broker) == 1
