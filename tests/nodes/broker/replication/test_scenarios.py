"""Known counterexamples of replication, and each promise by itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from nodes.broker.controller.commands import CreateTopic, ElectPreferred
from nodes.broker.errors import BrokerError, Code
from tests.nodes.broker.log.faulty import FaultyDisk, failing
from tests.nodes.broker.replication.world import Sent, SimNode, World

ALL = -1
Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes worlds, and ends them."""
    made: list[World] = []

    async def one(ids: tuple[int, ...] = (1, 2, 3), **configs: str) -> World:
        world = World(ids, **{"min_insync_replicas": "2", **configs})
        made.append(world)
        await world.begin()
        return world

    yield one
    for world in made:
        await world.end()


async def all_replicate(world: World, rounds: int = 3) -> None:
    for _ in range(rounds):
        for id in world.nodes:
            await world.replicate(id)


async def expand(world: World) -> None:
    """Whoever caught up is let into the ISR."""
    await all_replicate(world)
    for proposal in list(world.proposals):
        await world.commit_proposal(proposal)
    await world.learn()
    await all_replicate(world)


async def come_back(world: World, node: SimNode) -> None:
    await world.start(node)
    await world.learn()
    await expand(world)


def ends(world: World) -> list[int]:
    return [node.partition.log.end_offset for node in world.nodes.values() if node.partition]


def hws(world: World) -> list[int]:
    return [node.partition.hw for node in world.nodes.values() if node.partition]


# -- acknowledgements ---------------------------------------------------------------------------


async def test_acks_all_is_answered_when_everybody_in_sync_has_it(make: Make) -> None:
    world = await make()
    leader = world.nodes[1]
    sent = await world.produce(leader, [b"a"], ALL)
    await world.replicate(2, 2)
    assert sent.code is None and hws(world) == [0, 0, 0]
    await world.replicate(3, 2)
    assert (sent.code, sent.base_offset) == (0, 0)
    assert hws(world)[0] == 1


async def test_acks_1_is_answered_at_once_and_shown_when_everybody_has_it(make: Make) -> None:
    world = await make()
    sent = await world.produce(world.nodes[1], [b"a"], 1)
    assert sent.code == 0
    assert hws(world) == [0, 0, 0]
    await all_replicate(world)
    assert hws(world) == [1, 1, 1]


async def test_who_waits_learns_that_the_leadership_is_gone(make: Make) -> None:
    world = await make()
    sent = await world.produce(world.nodes[1], [b"a"], ALL)
    await world.fence(world.nodes[1])
    assert sent.code is None, "the old leader has not heard of it"
    await world.learn()
    assert sent.code == Code.NOT_LEADER_OR_FOLLOWER


async def test_an_old_leader_cannot_acknowledge_what_the_new_one_may_lack(make: Make) -> None:
    world = await make()
    old = world.nodes[1]
    await world.fence(old)
    await world.learn(world.nodes[2], world.nodes[3])
    sent = await world.produce(old, [b"a"], ALL)
    await all_replicate(world)
    assert sent.code is None and old.leader is not None and old.leader.hw == 0
    sent_too = await world.produce(world.nodes[2], [b"b"], ALL)
    await all_replicate(world)
    assert sent_too.code == 0
    await world.learn()
    await world.unfence(old)
    await expand(world)
    assert [world.values(node) for node in world.nodes.values()] == [[b"b"]] * 3


async def test_too_few_in_sync_are_refused_before_and_told_after_the_append(make: Make) -> None:
    world = await make()
    one, two, three = world.nodes.values()
    after = await world.produce(one, [b"after"], ALL)
    for node in (two, three):
        await world.kill(node)
        await world.fence(node)
    await world.learn()
    assert after.code == Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND
    before = await world.produce(one, [b"before"], ALL)
    assert before.code == Code.NOT_ENOUGH_REPLICAS
    assert world.values(one) == [b"after"]
    assert (await world.produce(one, [b"one"], 1)).code == 0
    await come_back(world, two)
    assert (await retry(world, before)).code == 0


async def retry(world: World, sent: Sent) -> Sent:
    leader = next(node for node in world.nodes.values() if node.leader is not None)
    await world.send(leader, sent)
    await all_replicate(world)
    return sent


async def test_a_retry_over_a_failover_is_appended_once_and_waits_like_the_first(
    make: Make,
) -> None:
    world = await make()
    one, two, _ = world.nodes.values()
    sent = await world.produce(one, [b"a"], ALL, producer=7, epoch=0, sequence=0)
    await world.replicate(2)
    await world.fence(one)
    await world.learn()
    assert sent.code == Code.NOT_LEADER_OR_FOLLOWER
    await world.send(two, sent)
    assert sent.code is None, "the third does not have it yet"
    await all_replicate(world)
    assert (sent.code, sent.base_offset) == (0, 0)
    following = await world.produce(two, [b"b"], ALL, producer=7, epoch=0, sequence=1)
    await all_replicate(world)
    assert following.code == 0
    assert world.values(two) == [b"a", b"b"]


async def test_a_gap_is_refused_by_a_leader_that_only_followed_so_far(make: Make) -> None:
    world = await make()
    await world.produce(world.nodes[1], [b"a"], 1, producer=7, epoch=0, sequence=0)
    await all_replicate(world)
    await world.fence(world.nodes[1])
    await world.learn()
    sent = await world.produce(world.nodes[2], [b"c"], ALL, producer=7, epoch=0, sequence=2)
    assert sent.code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER


async def test_a_second_batch_does_not_overtake_the_first_at_a_leader_just_elected(
    make: Make,
) -> None:
    """Both were on their way when it did not know yet that it leads."""
    world = await make()
    two = world.nodes[2]
    await world.fence(world.nodes[1])
    producer = {"producer": 7, "epoch": 0}
    first = await world.produce(two, [b"a"], ALL, sequence=0, **producer)
    assert first.code == Code.NOT_LEADER_OR_FOLLOWER
    await world.learn()
    second = await world.produce(two, [b"b"], ALL, sequence=1, **producer)
    assert second.code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    for sent in (first, second):
        assert (await retry(world, sent)).code == 0
    assert world.values(two) == [b"a", b"b"]


# -- divergence ---------------------------------------------------------------------------------


async def test_kip_101_a_follower_that_restarts_does_not_cut_what_is_committed(
    make: Make,
) -> None:
    """It has the message, but not yet the high watermark that covers it; and then it leads."""
    world = await make((1, 2))
    one, two = world.nodes.values()
    sent = await world.produce(one, [b"a"], ALL)
    await world.replicate(2)  # the message comes
    for message in list(world.messages):  # it asks for the next, which commits the first
        await world.deliver(message)
    assert sent.code == 0 and hws(world) == [1, 0]
    await world.stop(two)
    await world.start(two)
    await world.fence(one)
    await world.learn()
    assert two.leader is not None
    assert world.values(two) == [b"a"]


async def test_kip_101_logs_that_parted_after_a_power_failure_are_made_one(make: Make) -> None:
    world = await make((1, 2), min_insync_replicas="1", unclean_leader_election_enable="true")
    one, two = world.nodes.values()
    await world.produce(one, [b"m1"], 1)
    await all_replicate(world)
    assert two.partition is not None
    await two.partition.log.flush()
    await world.produce(one, [b"m2"], 1)
    await all_replicate(world)
    assert ends(world) == [2, 2]
    await world.kill(one)
    await world.power_off(two)  # of m2 it has synced nothing
    await world.fence(one)
    await world.start(two)
    await world.learn()
    assert two.leader is not None and world.values(two) == [b"m1"]
    await world.produce(two, [b"m3"], 1)
    await come_back(world, one)
    assert world.values(one) == world.values(two) == [b"m1", b"m3"]


async def test_kip_279_leaders_that_follow_each_other_fast_leave_no_divergence(make: Make) -> None:
    """Two replicas wrote at the same offset in epochs that the other never heard of; the follower
    does not know the leader's epoch, and must ask again from the one before."""
    world = await make((1, 2, 3), min_insync_replicas="1", unclean_leader_election_enable="true")
    one, two, three = world.nodes.values()
    await world.produce(one, [b"common"], 1)
    await all_replicate(world)

    async def alone(node: SimNode, *values: bytes) -> None:
        """It leads, and writes what nobody fetches."""
        for other in world.nodes.values():
            if other is not node and other.up:
                await world.kill(other)
                await world.fence(other)
        if not node.up:
            await world.start(node)
        await world.unfence(node)
        await world.learn()
        assert node.leader is not None
        for value in values:
            await world.produce(node, [value], 1)

    await alone(one, b"x1", b"x2")
    await alone(two, b"y1")
    await alone(one, b"x3")
    await alone(three, b"z1", b"z2", b"z3", b"z4")
    await alone(two, b"y2")
    for node in (one, three):
        await come_back(world, node)
    assert world.values(one) == world.values(two) == world.values(three)
    assert world.values(two) == [b"common", b"y1", b"y2"]


async def test_a_late_answer_of_another_epoch_changes_nothing(make: Make) -> None:
    world = await make()
    one, two, three = world.nodes.values()
    await all_replicate(world)
    await world.produce(one, [b"old"], 1)
    (late,) = [message for message in world.messages if message.source == 3]
    await world.deliver(late)  # it is served; the answer holds b"old"
    await world.fence(one)
    await world.learn()
    assert late in world.messages
    await world.deliver(late)
    assert world.values(three) == []
    await world.produce(two, [b"new"], 1)
    await world.unfence(one)
    await expand(world)
    assert [world.values(node) for node in world.nodes.values()] == [[b"new"]] * 3


async def test_a_topic_that_only_one_of_the_two_knows_of_yet_is_no_trouble(make: Make) -> None:
    world = await make()
    one, two, _ = world.nodes.values()
    world.commit(CreateTopic("u", 1, 3, {}, assignments=[(1, 2, 3)]))
    await world.learn(two)
    await world.replicate(2, 3)
    await world.produce(one, [b"a"], 1)
    await world.replicate(2, 3)
    assert world.values(two) == [b"a"], "the others are fetched as ever"
    assert one.context is not None and one.context.metrics.errors["Fetch", Code.UNKNOWN_TOPIC_ID]
    assert not [e for e in two.host.events if e["event"].startswith("fetcher.")]


async def test_a_follower_with_another_log_does_not_count_before_it_has_cut_it(make: Make) -> None:
    """The old leader's end is past the new one's: by its offset alone it would have everything."""
    world = await make()
    one, two, _ = world.nodes.values()
    for value in (b"a", b"b", b"c"):
        await world.produce(one, [value], 1)
    await world.fence(one)
    await world.unfence(one)
    await world.learn()
    assert two.leader is not None
    sent = await world.produce(two, [b"x"], ALL)
    await world.replicate(3, 2)
    for message in [m for m in world.messages if (m.source, m.target) == (1, 2)]:
        await world.deliver(message)
    assert two.leader.progress[1].end == -1
    assert sent.code == 0, "the old leader is out of the ISR"
    await expand(world)
    assert world.values(one) == [b"x"]


# -- the ISR ------------------------------------------------------------------------------------


async def test_who_lags_leaves_and_comes_back_when_it_has_caught_up(make: Make) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    await all_replicate(world)
    sent = await world.produce(one, [b"a"], ALL)
    for _ in range(3):
        world.clock.now_ms += 600
        await world.replicate(2)
    assert one.context is not None
    await one.context.replicas.shrink()
    await world.settle()
    assert sent.code is None, "until it has left for certain, it counts"
    (proposal,) = world.proposals
    await world.commit_proposal(proposal)
    assert world.state.isr == (1, 2)
    await world.learn()
    assert sent.code == 0
    await expand(world)
    assert world.state.isr == (1, 2, 3)
    assert world.values(three) == [b"a"]


async def test_who_asks_for_nothing_new_is_in_sync(make: Make) -> None:
    world = await make()
    await world.produce(world.nodes[1], [b"a"], 1)
    await all_replicate(world)
    world.clock.now_ms += 10_000
    context = world.nodes[1].context
    assert context is not None
    await context.replicas.shrink()
    await world.settle()
    assert not world.proposals


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not committed"])
async def test_whom_the_controller_may_have_let_in_counts_until_it_is_known(
    make: Make, committed: bool
) -> None:
    """The request timed out. Committed or not: nothing is acknowledged that the new one lacks."""
    world = await make()
    one, two, three = world.nodes.values()
    await world.fence(three)
    await world.learn()
    await world.unfence(three)
    await world.learn()
    await all_replicate(world)
    (proposal,) = world.proposals  # three is to join
    if committed:
        await world.commit_proposal(proposal, answer=False)
    else:
        world.time_out(proposal)
        await world.settle()
    sent = await world.produce(one, [b"a"], ALL)
    await world.replicate(2, 3)
    assert one.leader is not None and one.leader.hw == 0 and sent.code is None
    if committed:
        await world.fence(one)
        await world.fence(two)
        assert world.state.leader == 3, "which has nothing of it"
    else:
        await world.replicate(3, 3)
        assert sent.code == 0


async def test_a_wish_is_not_granted_after_its_repetition_was_refused(make: Make) -> None:
    """It is somewhere in the network, while the high watermark waits for the new one no more."""
    world = await make()
    one, two, three = world.nodes.values()
    await world.fence(three)
    await world.learn()
    await world.unfence(three)
    await world.learn()
    await all_replicate(world)
    (first,) = world.proposals
    world.time_out(first)
    await world.settle()
    (second,) = [proposal for proposal in world.proposals if proposal is not first]
    await world.fence(three)
    await world.commit_proposal(second)  # INELIGIBLE_REPLICA
    await world.unfence(three)
    sent = await world.produce(one, [b"a"], ALL)
    await world.replicate(2, 3)
    assert sent.code == 0
    for late in list(world.proposals):
        await world.commit_proposal(late)
    await world.kill(one)
    await world.fence(one)
    await world.fence(two)
    await world.learn()
    assert world.state.leader != 3, "which has nothing of it"


async def test_a_refusal_that_is_certain_frees_the_high_watermark(make: Make) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    await world.fence(three)
    await world.learn()
    await world.unfence(three)
    await world.learn()
    await all_replicate(world)
    (proposal,) = world.proposals
    await world.fence(three)
    await world.commit_proposal(proposal)  # INELIGIBLE_REPLICA: it is fenced
    sent = await world.produce(one, [b"a"], ALL)
    await world.replicate(2, 3)
    assert sent.code == 0


async def test_kip_903_a_process_is_not_let_in_for_what_the_one_before_it_had(make: Make) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    await world.produce(one, [b"a"], 1)
    await all_replicate(world)
    await world.fence(three)
    await world.learn()
    await world.unfence(three)
    await world.learn()
    await all_replicate(world)
    (proposal,) = world.proposals
    await world.power_off(three)
    await world.start(three)  # registered and unfenced anew; its log is empty
    assert three.partition is not None and three.partition.log.end_offset == 0
    await world.commit_proposal(proposal)
    assert world.state.isr == (1, 2)
    await expand(world)
    assert world.state.isr == (1, 2, 3)


async def test_kip_903_the_wish_is_of_the_process_that_caught_up_not_of_the_next_one(
    make: Make,
) -> None:
    """Its last fetch came late, just before the first one of a process that has lost everything."""
    world = await make()
    one, _, three = world.nodes.values()
    await world.produce(one, [b"a"], 1)
    await all_replicate(world)
    caught_up = three.controller.broker_epoch
    await world.power_off(three)
    await world.start(three)
    await world.learn()
    assert one.context is not None and one.leader is not None
    wishes = one.context.replicas.wishes
    wishes.note_fetch(one.leader, 3, caught_up, 1)
    wishes.note_fetch(one.leader, 3, three.controller.broker_epoch, 0)
    await world.settle()
    (proposal,) = world.proposals
    await world.commit_proposal(proposal)
    assert world.state.isr == (1, 2), "the process that is there now has nothing"
    await expand(world)
    assert world.state.isr == (1, 2, 3)


async def test_a_fetch_of_an_older_process_is_refused(make: Make) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    await all_replicate(world)
    (late,) = [message for message in world.messages if message.source == 3]
    world.messages.remove(late)  # it stays in the network
    await world.kill(three)
    await come_back(world, three)
    assert one.leader is not None
    epoch = one.leader.progress[3].broker_epoch
    world.messages.append(late)
    await world.deliver(late)
    assert one.leader.progress[3].broker_epoch == epoch
    assert late.answer is not None


async def test_before_its_registration_is_known_a_process_takes_no_part(make: Make) -> None:
    """The metadata still names it as leader, for what it had before the power failed."""
    world = await make(min_insync_replicas="1")
    one = world.nodes[1]
    await world.produce(one, [b"a"], 1)
    await all_replicate(world)
    await world.power_off(one)
    registered = world.commit

    def refuse(command: object) -> object:
        raise BrokerError(Code.REQUEST_TIMED_OUT)

    world.commit = refuse  # type: ignore[assignment, method-assign]
    with pytest.raises(BrokerError):
        await world.start(one)
    assert world.state.leader == 1
    one.controller.tell(world.image)
    await world.settle()
    assert one.partition is None
    world.commit = registered  # type: ignore[method-assign]
    await world.kill(one)
    await come_back(world, one)
    assert world.state.leader == 2
    assert world.values(one) == [b"a"]


# -- high watermarks ----------------------------------------------------------------------------


async def test_a_new_leader_knows_its_high_watermark_when_its_followers_have_fetched(
    make: Make,
) -> None:
    world = await make()
    await world.produce(world.nodes[1], [b"a"], ALL)
    await world.replicate(2)
    await world.replicate(3)
    await world.fence(world.nodes[1])
    await world.learn()
    leader = world.nodes[2].leader
    assert leader is not None and (leader.hw, leader.epoch_start) == (0, 1)
    await world.replicate(3)
    assert leader.hw == 1


async def test_a_followers_high_watermark_does_not_go_back_with_a_new_leader(make: Make) -> None:
    world = await make()
    one, two, three = world.nodes.values()
    await world.produce(one, [b"a"], 1)
    for _ in range(3):
        await world.replicate(3)
        await world.replicate(2)
    await world.replicate(3, 2)
    assert three.partition is not None and two.partition is not None
    two.partition.hw = 0  # as if it had not heard of it
    assert three.partition.hw == 1
    await world.fence(one)
    await world.learn()
    assert two.leader is not None and two.leader.hw == 0
    for message in [m for m in world.messages if m.source == 3]:
        await world.deliver(message)
        await world.deliver(message)
    assert three.partition.hw == 1


async def test_a_high_watermark_outlives_a_clean_end_and_a_kill_after_a_checkpoint(
    make: Make,
) -> None:
    world = await make()
    await world.produce(world.nodes[1], [b"a", b"b"], 1)
    await all_replicate(world)
    for node, end in ((world.nodes[2], world.stop), (world.nodes[3], world.kill)):
        assert node.context is not None
        await node.context.replicas.checkpoint()
        await end(node)
        await world.start(node)
        assert node.partition is not None and node.partition.hw == 2


# -- the start of the log -----------------------------------------------------------------------


@pytest.mark.parametrize("start", [1, 2, 4], ids=["in a batch", "at a batch", "at the end"])
async def test_what_the_leader_deleted_is_deleted_everywhere(make: Make, start: int) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    await world.kill(three)
    await world.fence(three)
    await world.learn()
    await world.produce(one, [b"a", b"b"], 1)
    await world.produce(one, [b"c", b"d"], 1)
    await all_replicate(world)
    assert one.leader is not None
    one.leader.log.delete_before(start)
    await all_replicate(world)
    await come_back(world, three)  # it begins where the leader does
    await world.produce(one, [b"e"], 1)
    await all_replicate(world)
    expected = [b"a", b"b", b"c", b"d", b"e"][start:]
    assert [world.values(node) for node in world.nodes.values()] == [expected] * 3
    await world.kill(three)
    await world.start(three)
    assert three.partition is not None
    three.partition.log._check()
    assert world.values(three) == expected


async def test_a_start_of_which_a_follower_told_outlives_its_process(make: Make) -> None:
    """Else what was deleted would be back where all lose their power."""
    world = await make()
    one, two, _ = world.nodes.values()
    await world.produce(one, [b"a"], 1)
    await world.produce(one, [b"b"], 1)
    await all_replicate(world)
    assert one.leader is not None
    one.leader.log.delete_before(1)
    await all_replicate(world)
    assert one.leader.progress[2].start == 1
    await world.kill(two)
    await world.start(two)
    assert two.partition is not None and two.partition.log.start_offset == 1


async def test_a_start_in_the_midst_of_a_batch_is_taken_by_who_had_another_one_there(
    make: Make,
) -> None:
    """An old leader comes back with the first half of that place in its own words."""
    world = await make()
    one, two, _ = world.nodes.values()
    await world.produce(one, [b"common"], 1)
    await all_replicate(world)
    await world.produce(one, [b"own"], 1)  # nobody fetches it
    await world.kill(one)
    await world.fence(one)
    await world.learn()
    sent = await world.produce(two, [b"b", b"c"], ALL)
    await all_replicate(world)
    assert (sent.code, sent.base_offset) == (0, 1) and two.leader is not None
    two.leader.log.delete_before(2)
    await all_replicate(world)
    await come_back(world, one)
    assert world.state.isr == (1, 2, 3)
    assert [world.values(node) for node in world.nodes.values()] == [[b"c"]] * 3


# -- disks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("acks", [1, ALL])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_leader_that_cannot_write_acknowledges_nothing(
    make: Make, acks: int, number: int
) -> None:
    world = await make((1,), min_insync_replicas="1")
    (leader,) = world.nodes.values()
    await world.stop(leader)
    disk = FaultyDisk(leader.disk.below._root)
    leader.disk = disk  # type: ignore[assignment]
    await come_back(world, leader)
    assert (await world.produce(leader, [b"a"], acks)).code == 0
    disk.fault = failing("write", ".log", number)
    sent = await world.produce(leader, [b"b"], acks)
    assert sent.code == Code.KAFKA_STORAGE_ERROR
    disk.fault = FaultyDisk.fault
    again = await world.produce(leader, [b"c"], acks)
    assert again.code == Code.KAFKA_STORAGE_ERROR, "it serves nobody any more"


async def with_faulty_disk(world: World, node: SimNode) -> FaultyDisk:
    """The node comes back, preferred as leader, on a disk that can fail."""
    await world.stop(node)
    disk = FaultyDisk(node.disk.below._root)
    node.disk = disk  # type: ignore[assignment]
    await come_back(world, node)
    with contextlib.suppress(BrokerError):
        world.commit(ElectPreferred("t", 0))
    await world.learn()
    await all_replicate(world)
    return disk


async def commit_all(world: World) -> None:
    for proposal in list(world.proposals):
        await world.commit_proposal(proposal)
    await world.learn()


async def test_a_leader_whose_disk_fails_gives_way_to_one_that_works(make: Make) -> None:
    world = await make()
    one, two, _ = world.nodes.values()
    disk = await with_faulty_disk(world, one)
    assert one.leader is not None
    disk.fault = failing("write", ".log")
    sent = await world.produce(one, [b"a"], ALL)
    assert sent.code == Code.KAFKA_STORAGE_ERROR
    await commit_all(world)
    assert (world.state.leader, world.state.isr) == (2, (2, 3))
    assert (await retry(world, sent)).code == 0
    assert world.values(two) == [b"a"]


async def test_a_follower_whose_disk_fails_is_waited_for_no_more(make: Make) -> None:
    world = await make()
    one, _, three = world.nodes.values()
    disk = await with_faulty_disk(world, three)
    disk.fault = failing("write", ".log")
    sent = await world.produce(one, [b"a"], ALL)
    await all_replicate(world)
    assert sent.code is None
    await commit_all(world)
    assert world.state.isr == (1, 2) and sent.code == 0


async def test_the_only_replica_does_not_ask_for_what_cannot_be(make: Make) -> None:
    world = await make((1,), min_insync_replicas="1")
    (one,) = world.nodes.values()
    disk = await with_faulty_disk(world, one)
    disk.fault = failing("write", ".log")
    await world.produce(one, [b"a"], ALL)
    assert one.leader is not None and one.leader.offline and not world.proposals


async def damage(node: SimNode) -> None:
    """What was durable is gone."""
    (name,) = [n for n in node.disk.listdir("logs/t-0") if n.endswith(".log")]
    node.disk.remove(f"logs/t-0/{name}")
    await node.disk.fsync_dir("logs/t-0")


async def test_a_damaged_log_is_given_up_and_filled_anew(make: Make) -> None:
    """It ended cleanly, so it is in sync as far as the metadata knows."""
    world = await make()
    one, _, three = world.nodes.values()
    await world.produce(one, [b"a"], ALL)
    await all_replicate(world)
    await world.stop(three)
    await damage(three)
    await world.start(three)
    await world.learn()
    assert three.partition is None and 3 in world.state.isr
    await commit_all(world)
    assert world.state.isr == (1, 2)
    await expand(world)
    assert world.state.isr == (1, 2, 3) and world.values(three) == [b"a"]


async def test_who_is_eligible_with_a_damaged_log_does_not_come_to_lead(make: Make) -> None:
    world = await make()
    one, two, three = world.nodes.values()
    sent = await world.produce(one, [b"a"], ALL)
    await all_replicate(world)
    assert sent.code == 0
    for node in (three, two):
        await world.stop(node)
        await world.fence(node)
    await damage(two)
    await world.learn()
    assert (world.state.isr, world.state.elr) == ((1,), (2,))
    await world.start(two)
    await world.learn()
    await world.fence(one)
    await world.learn()
    assert world.state.leader != 2 or two.partition is None, "it would lead with nothing"
    await commit_all(world)
    await world.unfence(one)
    await world.learn()
    await expand(world)
    assert world.state.leader == 1 and world.values(one) == world.values(two) == [b"a"]


async def test_upkeep_that_fails_once_goes_on_and_is_told_of(make: Make) -> None:
    world = await make((1,), min_insync_replicas="1")
    (one,) = world.nodes.values()
    assert one.context is not None
    runs, enough = [], asyncio.Event()

    async def work() -> None:
        runs.append(len(runs))
        if len(runs) == 1:
            raise ValueError("a bug")
        enough.set()

    upkeep = asyncio.create_task(one.context.replicas._every(0, work))
    async with asyncio.timeout(10):
        await enough.wait()
    upkeep.cancel()
    (told,) = [e for e in one.host.events if e["event"] == "replicas.failed"]
    assert "a bug" in told["error"]
