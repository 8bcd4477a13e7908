"""Offsets that consumers keep here, also in transactions, and producer ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nodes.broker.controller.commands import DeleteTopic
from nodes.broker.coordinator.group import Who
from nodes.broker.errors import BrokerError, Code
from nodes.broker.producer_ids import BLOCK
from tests.nodes.broker.api.broker import ME, NAMES, OTHER, Broker
from tests.nodes.broker.api.test_transactions import Producer

COMMIT = NAMES["OffsetCommit"].request.OffsetCommitRequestTopic
ALONE = ((ME,),)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path, {})
    await broker.start()
    broker.context.start()
    await broker.create_topic("__consumer_offsets", assignments=ALONE)
    await broker.create_topic("__transaction_state", assignments=ALONE)
    yield broker
    await broker.close()


async def commit(
    broker: Broker, offset: int, *, topic: str = "t", metadata: str = "", **more: Any
) -> int:
    part = COMMIT.OffsetCommitRequestPartition(
        partition_index=0, committed_offset=offset, committed_metadata=metadata
    )
    version = more.pop("version", 8)
    fields = {"group_id": "g", "topics": [COMMIT(name=topic, partitions=[part])], **more}
    answer = await broker.ask("OffsetCommit", version, **fields)
    return int(answer.topics[0].partitions[0].error_code)


async def committed(broker: Broker, group: str = "g", *, version: int = 8) -> tuple[int, str]:
    if version >= 8:
        kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
        topic = kind.OffsetFetchRequestTopics(name="t", partition_indexes=[0])
        groups = [kind(group_id=group, topics=[topic])]
        answer = await broker.ask("OffsetFetch", version, groups=groups)
        assert answer.groups[0].error_code == 0
        part = answer.groups[0].topics[0].partitions[0]
    else:
        topic = NAMES["OffsetFetch"].request.OffsetFetchRequestTopic(
            name="t", partition_indexes=[0]
        )
        answer = await broker.ask("OffsetFetch", version, group_id=group, topics=[topic])
        assert answer.error_code == 0
        part = answer.topics[0].partitions[0]
    assert part.error_code == 0
    return part.committed_offset, part.metadata


@pytest.mark.parametrize("version", range(2, 9))
async def test_every_version_commits(broker: Broker, version: int) -> None:
    await broker.create_topic()
    assert await commit(broker, 5, metadata="note", version=version) == 0
    assert await committed(broker) == (5, "note")


@pytest.mark.parametrize("version", range(1, 9))
async def test_every_version_fetches(broker: Broker, version: int) -> None:
    await broker.create_topic()
    assert await committed(broker, version=version) == (-1, "")
    await commit(broker, 5)
    await commit(broker, 3)
    assert await committed(broker, version=version) == (3, "")
    assert await committed(broker, "another", version=version) == (-1, "")


@pytest.mark.parametrize("version", [2, 7, 8])
async def test_all_offsets_of_a_group_are_told_to_who_names_none(
    broker: Broker, version: int
) -> None:
    await broker.create_topic("a")
    await broker.create_topic("b")
    for topic, offset in (("a", 1), ("b", 2)):
        await commit(broker, offset, topic=topic)
    await commit(broker, 3, topic="a", group_id="another")
    if version >= 8:
        kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
        answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
        topics = answer.groups[0].topics
    else:
        answer = await broker.ask("OffsetFetch", version, group_id="g", topics=None)
        topics = answer.topics
    assert {t.name: t.partitions[0].committed_offset for t in topics} == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"group_id": ""}, Code.INVALID_GROUP_ID),
        ({"member_id": "somebody"}, Code.UNKNOWN_MEMBER_ID),
        ({"generation_id_or_member_epoch": 3}, Code.ILLEGAL_GENERATION),
        ({"topic": "nowhere"}, Code.UNKNOWN_TOPIC_OR_PARTITION),
        ({"metadata": "x" * 5000}, Code.OFFSET_METADATA_TOO_LARGE),
    ],
)
async def test_commits_that_cannot_be_are_refused(
    broker: Broker, more: dict[str, Any], code: Code
) -> None:
    await broker.create_topic()
    assert await commit(broker, 5, **more) == code
    assert await committed(broker) == (-1, "")


async def test_who_is_not_the_coordinator_any_more_says_so(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    partition = broker.partition(0, "__consumer_offsets")
    epoch = partition.state.leader_epoch + 1
    partition.follow(replace(partition.state, leader=OTHER, leader_epoch=epoch))
    assert await commit(broker, 6) == Code.NOT_COORDINATOR
    kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
    answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
    assert answer.groups[0].error_code == Code.NOT_COORDINATOR, "rather than old offsets"


async def test_who_has_not_heard_of_the_topic_of_groups_is_no_coordinator(tmp_path: Path) -> None:
    """Whoever sent a client here has made it. aiokafka gives up on COORDINATOR_NOT_AVAILABLE."""
    broker = Broker(tmp_path, {})
    await broker.start()
    kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
    answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
    assert answer.groups[0].error_code == Code.NOT_COORDINATOR
    await broker.close()


async def test_offsets_that_are_not_replicated_yet_are_asked_for_again(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    (shard,) = broker.context.groups.shards

    async def in_vain(last_offset: int | None = None) -> None:
        raise BrokerError(Code.COORDINATOR_NOT_AVAILABLE)

    shard.settled = in_vain  # type: ignore[method-assign]
    kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
    answer = await broker.ask("OffsetFetch", 8, groups=[kind(group_id="g", topics=None)])
    assert answer.groups[0].error_code == Code.COORDINATOR_LOAD_IN_PROGRESS


async def test_the_next_coordinator_knows_what_was_committed(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5, metadata="note")
    await moved(broker)
    assert await committed(broker) == (5, "note")


async def moved(broker: Broker) -> None:
    """The same node coordinates, in another epoch: it reads everything anew."""
    partition = broker.partition(0, "__consumer_offsets")
    partition.lead(replace(partition.state, leader_epoch=partition.state.leader_epoch + 1))
    broker.context.replicas.on_role(partition)
    await broker.settle()


async def test_a_deleted_topic_takes_its_offsets_with_it(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    broker.quorum.apply(DeleteTopic("t"))
    await broker.create_topic()
    assert await committed(broker) == (-1, ""), "it is another topic of that name"
    (shard,) = broker.context.groups.shards
    assert not shard.state.offsets


async def test_what_was_committed_of_a_topic_that_is_gone_is_forgotten_by_the_next(
    broker: Broker,
) -> None:
    """Whose coordinator died before it could."""
    await broker.create_topic()
    await commit(broker, 5)
    broker.context.groups._sweep = lambda shard: None  # type: ignore[method-assign]
    broker.quorum.apply(DeleteTopic("t"))
    await broker.create_topic()
    del broker.context.groups._sweep  # type: ignore[method-assign]
    await moved(broker)
    assert await committed(broker) == (-1, "")
    (shard,) = broker.context.groups.shards
    assert not shard.state.offsets


async def test_offsets_are_deleted_and_groups_with_them(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    kind = NAMES["OffsetDelete"].request.OffsetDeleteRequestTopic
    topic = kind(name="t", partitions=[kind.OffsetDeleteRequestPartition(partition_index=0)])
    answer = await broker.ask("OffsetDelete", 0, group_id="g", topics=[topic])
    assert answer.topics[0].partitions[0].error_code == 0
    assert await committed(broker) == (-1, "")
    answer = await broker.ask("OffsetDelete", 0, group_id="none", topics=[topic])
    assert answer.error_code == Code.GROUP_ID_NOT_FOUND
    await commit(broker, 6)
    answer = await broker.ask("DeleteGroups", 2, groups_names=["g", "none"])
    assert [each.error_code for each in answer.results] == [0, Code.GROUP_ID_NOT_FOUND]
    await moved(broker)
    assert await committed(broker) == (-1, "")


async def test_offsets_that_nobody_uses_are_forgotten_in_time(broker: Broker) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    groups = broker.context.groups
    (shard,) = groups.shards
    now_ms = broker.context.host.clock.wall_ns() // 1_000_000
    groups._expire(shard, now_ms - 60_000)
    assert await committed(broker) == (5, "")
    groups._expire(shard, now_ms + 60_000)
    assert await committed(broker) == (-1, "")


async def test_a_coordinator_that_fails_to_begin_says_so(broker: Broker) -> None:
    def fails(shard: Any) -> None:
        raise AssertionError("a bug")

    broker.context.groups.shards.on_loaded = fails
    await moved(broker)
    (event,) = (e for e in broker.events if e["event"] == "coordinator.failed")
    assert "a bug" in event["error"]


# -- in a transaction ----------------------------------------------------------------------------


class Transaction:
    """One that commits offsets of group g."""

    def __init__(self, broker: Broker, name: str = "x") -> None:
        self._broker, self.producer = broker, Producer(broker, name)

    async def begin(self) -> None:
        if self.producer.id < 0:
            assert await self.producer.init() == 0
        answer = await self._broker.ask(
            "AddOffsetsToTxn",
            3,
            transactional_id=self.producer.name,
            producer_id=self.producer.id,
            producer_epoch=self.producer.epoch,
            group_id="g",
        )
        assert answer.error_code == 0

    async def commit(self, offset: int, version: int = 3, **more: Any) -> int:
        kind = NAMES["TxnOffsetCommit"].request.TxnOffsetCommitRequestTopic
        part = kind.TxnOffsetCommitRequestPartition(
            partition_index=0, committed_offset=offset, committed_metadata=""
        )
        fields = {"generation_id": -1, "member_id": ""} if version >= 3 else {}
        answer = await self._broker.ask(
            "TxnOffsetCommit",
            version,
            transactional_id=self.producer.name,
            group_id="g",
            producer_id=self.producer.id,
            producer_epoch=self.producer.epoch,
            topics=[kind(name="t", partitions=[part])],
            **{**fields, **more},
        )
        return int(answer.topics[0].partitions[0].error_code)


async def stable(broker: Broker) -> tuple[int, int]:
    """(error code, offset) for who wants no offset that may change yet."""
    kind = NAMES["OffsetFetch"].request.OffsetFetchRequestGroup
    topic = kind.OffsetFetchRequestTopics(name="t", partition_indexes=[0])
    groups = [kind(group_id="g", topics=[topic])]
    answer = await broker.ask("OffsetFetch", 8, groups=groups, require_stable=True)
    part = answer.groups[0].topics[0].partitions[0]
    return part.error_code, part.committed_offset


@pytest.mark.parametrize("version", range(5))
@pytest.mark.parametrize("commit_it", [True, False])
async def test_offsets_count_when_their_transaction_is_committed(
    broker: Broker, version: int, commit_it: bool
) -> None:
    await broker.create_topic()
    await commit(broker, 3)
    transaction = Transaction(broker)
    await transaction.begin()
    assert await transaction.commit(5, version) == 0
    assert await committed(broker) == (3, "")
    assert await stable(broker) == (Code.UNSTABLE_OFFSET_COMMIT, -1)
    await moved(broker)
    assert await stable(broker) == (Code.UNSTABLE_OFFSET_COMMIT, -1), "the next one knows, too"
    assert await transaction.producer.end(commit=commit_it) == 0
    await transaction.producer.is_over()
    expected = 5 if commit_it else 3
    assert await stable(broker) == (0, expected)
    await moved(broker)
    assert await stable(broker) == (0, expected)


async def test_what_was_committed_later_wins_though_the_transaction_ends_after_it(
    broker: Broker,
) -> None:
    await broker.create_topic()
    transaction = Transaction(broker)
    await transaction.begin()
    await transaction.commit(5)
    await commit(broker, 9)
    await transaction.producer.end(commit=True)
    await transaction.producer.is_over()
    assert await committed(broker) == (9, "")


async def test_offsets_need_a_transaction_that_expects_them(broker: Broker) -> None:
    await broker.create_topic()
    transaction = Transaction(broker)
    await transaction.producer.init()
    assert await transaction.commit(5) == Code.INVALID_TXN_STATE
    assert await stable(broker) == (0, -1)


async def test_a_producer_that_was_replaced_commits_no_offsets(broker: Broker) -> None:
    await broker.create_topic()
    zombie, heir = Transaction(broker), Transaction(broker)
    await zombie.begin()
    await zombie.commit(5)
    await heir.begin()
    assert await zombie.commit(6) == Code.INVALID_PRODUCER_EPOCH
    await heir.commit(7)
    await heir.producer.end(commit=True)
    await heir.producer.is_over()
    assert await stable(broker) == (0, 7)


async def test_a_member_of_another_generation_commits_nothing_in_a_transaction(
    broker: Broker,
) -> None:
    await broker.create_topic()
    transaction = Transaction(broker)
    await transaction.begin()
    code = await transaction.commit(5, generation_id=4, member_id="somebody")
    assert code == Code.ILLEGAL_GENERATION
    assert await transaction.commit(5, member_id="somebody") == Code.UNKNOWN_MEMBER_ID


async def test_a_generation_that_ends_while_it_is_verified_commits_nothing(broker: Broker) -> None:
    await broker.create_topic()
    transaction = Transaction(broker)
    await transaction.begin()
    groups, verifier = broker.context.groups, broker.context.verifier
    honest, checked = verifier.verify, groups._require_committer
    generation = 4

    async def slow(*asked: Any) -> None:
        nonlocal generation
        await honest(*asked)
        generation = 5

    def require(name: str, who: Who) -> None:
        if who.generation != generation:
            raise BrokerError(Code.ILLEGAL_GENERATION)

    verifier.verify, groups._require_committer = slow, require  # type: ignore[method-assign]
    code = await transaction.commit(5, generation_id=4, member_id="somebody")
    assert code == Code.ILLEGAL_GENERATION
    groups._require_committer = checked  # type: ignore[method-assign]
    assert await stable(broker) == (0, -1)


async def test_offsets_do_not_expire_while_a_transaction_commits_them(broker: Broker) -> None:
    """Compaction, which sees the tombstone behind them, would have them go."""
    await broker.create_topic()
    await commit(broker, 5)
    transaction = Transaction(broker)
    await transaction.begin()
    await transaction.commit(7)
    groups = broker.context.groups
    (shard,) = groups.shards
    groups._expire(shard, broker.context.host.clock.wall_ns() // 1_000_000 + 60_000)
    assert await committed(broker) == (5, "")
    await transaction.producer.end(commit=True)
    await transaction.producer.is_over()
    assert await committed(broker) == (7, "")


async def test_a_group_that_is_deleted_takes_what_transactions_commit_with_it(
    broker: Broker,
) -> None:
    await broker.create_topic()
    await commit(broker, 5)
    transaction = Transaction(broker)
    await transaction.begin()
    await transaction.commit(7)
    answer = await broker.ask("DeleteGroups", 2, groups_names=["g"])
    assert [each.error_code for each in answer.results] == [0]
    await transaction.producer.end(commit=True)
    await transaction.producer.is_over()
    assert await stable(broker) == (0, -1)
    await moved(broker)
    assert await stable(broker) == (0, -1), "nor does the next coordinator know more"


# -- InitProducerId ------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(5))
async def test_every_producer_gets_an_id_of_its_own(broker: Broker, version: int) -> None:
    answers = [await broker.ask("InitProducerId", version, transactional_id=None) for _ in range(3)]
    assert [(a.error_code, a.producer_epoch) for a in answers] == [(0, 0)] * 3
    assert len({a.producer_id for a in answers}) == 3


async def test_ids_of_a_block_that_is_used_up_come_from_the_next(broker: Broker) -> None:
    ids = [await broker.context.producer_ids.take() for _ in range(BLOCK + 1)]
    assert len(set(ids)) == BLOCK + 1
    assert broker.context.image.next_producer_id == 1000 + 2 * BLOCK


async def test_no_id_without_a_quorum(broker: Broker) -> None:
    broker.quorum.lost = True
    answer = await broker.ask("InitProducerId", 4, transactional_id=None)
    assert answer.error_code == Code.COORDINATOR_NOT_AVAILABLE
