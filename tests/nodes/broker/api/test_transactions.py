"""What a transactional producer asks, and what readers of committed messages see of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kafka.record.default_records import DefaultRecordBatch
from msgspec.structs import replace

from harness.deadline import wait_until
from nodes.broker.controller.commands import DeleteTopic
from nodes.broker.coordinator.markers import Ending
from nodes.broker.coordinator.transaction import EPOCH_MAX, Stage, Transaction
from nodes.broker.errors import Code
from nodes.broker.log.transactions import Marker
from nodes.broker.partition import Guard
from tests.nodes.broker.api.broker import ME, NAMES, OTHER, Broker, batch, fetched

ALONE = ((ME,),)
OPTIONS = {
    "transaction.state.log.num.partitions": 1,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 5,
}


class Producer:
    """A transactional producer, as a client library speaks."""

    def __init__(self, broker: Broker, name: str = "x") -> None:
        self._broker, self.name = broker, name
        self.id, self.epoch, self.sequence = -1, -1, 0

    async def init(self, *, timeout_ms: int = 60_000, again: bool = False, version: int = 4) -> int:
        """The error code; it asks again while its last transaction is being ended."""
        before = {"producer_id": self.id, "producer_epoch": self.epoch} if again else {}
        for _ in range(50):
            answer = await self._broker.ask(
                "InitProducerId",
                version,
                transactional_id=self.name,
                transaction_timeout_ms=timeout_ms,
                **before,
            )
            if answer.error_code != Code.CONCURRENT_TRANSACTIONS:
                break
        if not answer.error_code:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return int(answer.error_code)

    async def add(self, *partitions: int, topic: str = "t", version: int = 3) -> dict[int, int]:
        """Error codes by partition."""
        kind = NAMES["AddPartitionsToTxn"].request.AddPartitionsToTxnTopic
        answer = await self._broker.ask(
            "AddPartitionsToTxn",
            version,
            v3_and_below_transactional_id=self.name,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[kind(name=topic, partitions=list(partitions))],
        )
        (result,) = answer.results_by_topic_v3_and_below
        return {p.partition_index: p.partition_error_code for p in result.results_by_partition}

    async def send(self, *values: bytes, partition: int = 0, topic: str = "t") -> int:
        """The error code."""
        kind = NAMES["Produce"].request.TopicProduceData
        data = batch(
            *values,
            producer=self.id,
            epoch=self.epoch,
            sequence=self.sequence,
            transactional=True,
            # Of the time of markers: a log that seems to be of all ages has a segment for each.
            timestamp=self._broker.context.host.clock.wall_ns() // 1_000_000,
        )
        part = kind.PartitionProduceData(index=partition, records=data)
        answer = await self._broker.ask(
            "Produce",
            11,
            transactional_id=self.name,
            acks=-1,
            timeout_ms=1000,
            topic_data=[kind(name=topic, partition_data=[part])],
        )
        code = int(answer.responses[0].partition_responses[0].error_code)
        self.sequence += len(values) if not code else 0
        return code

    async def end(self, *, commit: bool, version: int = 3) -> int:
        answer = await self._broker.ask(
            "EndTxn",
            version,
            transactional_id=self.name,
            producer_id=self.id,
            producer_epoch=self.epoch,
            committed=commit,
        )
        return int(answer.error_code)

    async def is_over(self) -> None:
        async def idle() -> bool:
            return self.known().stage.is_idle

        await wait_until(idle, 5, "its transaction is complete", pause_s=0.001)

    def known(self) -> Transaction:
        (found,) = (t for t in self._broker.context.transactions.all() if t.id == self.name)
        return found


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path, OPTIONS)
    await broker.start()
    broker.context.start()
    await broker.create_topic("__transaction_state", assignments=ALONE)
    await broker.create_topic(assignments=ALONE * 2)
    yield broker
    await broker.close()


@pytest.fixture
async def producer(broker: Broker) -> Producer:
    producer = Producer(broker)
    assert await producer.init() == 0
    return producer


async def read(broker: Broker, *, committed: bool = True, partition: int = 0) -> list[bytes]:
    """What a reader that skips aborted transactions gets."""
    asked = fetched("t", partition, 0)
    answer = await broker.fetch_all([asked], isolation_level=int(committed))
    part = answer.responses[0].partitions[0]
    aborted = [(a.first_offset, a.producer_id) for a in part.aborted_transactions or ()]
    found, skipped, view = [], set(), memoryview(part.records or b"")
    while view:
        one = DefaultRecordBatch(bytes(view[: int.from_bytes(view[8:12], "big") + 12]))
        view = view[one.size_in_bytes :]
        while aborted and aborted[0][0] <= one.base_offset:
            skipped.add(aborted.pop(0)[1])
        if one.is_control_batch:
            skipped.discard(one.producer_id)
        elif not (one.is_transactional and one.producer_id in skipped):
            found += [bytes(record.value) for record in one]
    return found


async def stable(broker: Broker) -> tuple[int, int]:
    """(last stable offset, high watermark)"""
    part = await broker.fetch(0, isolation_level=1)
    return part.last_stable_offset, part.high_watermark


# -- from beginning to end -----------------------------------------------------------------------


async def test_nothing_is_seen_before_the_commit_and_all_of_it_after(
    broker: Broker, producer: Producer
) -> None:
    assert await producer.add(0, 1) == {0: 0, 1: 0}
    assert await producer.send(b"a", b"b") == 0
    producer.sequence = 0
    assert await producer.send(b"c", partition=1) == 0
    assert await read(broker) == [] and await read(broker, committed=False) == [b"a", b"b"]
    assert await stable(broker) == (0, 2)
    assert await producer.end(commit=True) == 0
    await producer.is_over()
    assert (await read(broker), await read(broker, partition=1)) == ([b"a", b"b"], [b"c"])
    assert await stable(broker) == (3, 3)
    assert producer.known().stage is Stage.COMPLETE_COMMIT


async def test_an_aborted_transaction_is_skipped_by_who_reads_committed(
    broker: Broker, producer: Producer
) -> None:
    for number, commit in enumerate([True, False, True, False]):
        assert await producer.add(0) == {0: 0}
        assert await producer.send(b"%d" % number) == 0
        assert await producer.end(commit=commit) == 0
    await producer.is_over()
    assert await read(broker) == [b"0", b"2"]
    assert await read(broker, committed=False) == [b"0", b"1", b"2", b"3"]


async def test_who_lists_offsets_of_what_is_committed_gets_the_last_stable_one(
    broker: Broker, producer: Producer
) -> None:
    await producer.add(0)
    await producer.send(b"a")
    kind = NAMES["ListOffsets"].request.ListOffsetsTopic
    for isolation, offset in ((0, 1), (1, 0)):
        wanted = kind.ListOffsetsPartition(partition_index=0, current_leader_epoch=-1, timestamp=-1)
        answer = await broker.ask(
            "ListOffsets",
            7,
            replica_id=-1,
            isolation_level=isolation,
            topics=[kind(name="t", partitions=[wanted])],
        )
        assert answer.topics[0].partitions[0].offset == offset


async def test_to_end_it_twice_is_to_end_it_once(broker: Broker, producer: Producer) -> None:
    await producer.add(0)
    await producer.send(b"a")
    assert await producer.end(commit=True) == 0
    await producer.is_over()
    assert await producer.end(commit=True) == 0
    assert await producer.end(commit=False) == Code.INVALID_TXN_STATE
    assert await read(broker) == [b"a"]


async def test_there_must_be_a_transaction_to_end(producer: Producer) -> None:
    assert await producer.end(commit=True) == Code.INVALID_TXN_STATE


async def test_a_topic_that_is_deleted_does_not_keep_a_transaction_from_its_end(
    broker: Broker, producer: Producer
) -> None:
    await broker.create_topic("u", assignments=ALONE)
    await producer.add(0)
    await producer.add(0, topic="u")
    await producer.send(b"a")
    broker.quorum.apply(DeleteTopic("u"))
    assert await producer.end(commit=True) == 0
    await producer.is_over()
    assert await read(broker) == [b"a"]


# -- fencing -------------------------------------------------------------------------------------


async def test_who_begins_anew_fences_who_was_there_and_aborts_what_it_had_begun(
    broker: Broker, producer: Producer
) -> None:
    await producer.add(0)
    await producer.send(b"zombie's")
    heir = Producer(broker)
    assert await heir.init() == 0
    assert heir.id == producer.id and heir.epoch > producer.epoch
    assert await producer.add(0) == {0: Code.PRODUCER_FENCED}
    assert await producer.add(0, version=1) == {0: Code.INVALID_PRODUCER_EPOCH}
    assert await producer.end(commit=True) == Code.PRODUCER_FENCED
    assert await producer.end(commit=True, version=1) == Code.INVALID_PRODUCER_EPOCH
    assert await producer.send(b"late") == Code.INVALID_PRODUCER_EPOCH
    await heir.add(0)
    await heir.send(b"heir's")
    await heir.end(commit=True)
    await heir.is_over()
    assert await read(broker) == [b"heir's"]


async def test_a_producer_may_go_on_after_an_error_and_ask_for_that_twice(
    broker: Broker, producer: Producer
) -> None:
    before = producer.id, producer.epoch
    assert await producer.init(again=True) == 0
    after = producer.id, producer.epoch
    assert after == (before[0], before[1] + 1)
    producer.id, producer.epoch = before  # the answer was lost
    assert await producer.init(again=True) == 0
    assert (producer.id, producer.epoch) == after


async def test_a_producer_that_was_replaced_may_not_go_on(
    broker: Broker, producer: Producer
) -> None:
    heir = Producer(broker)
    await heir.init()
    await heir.add(0)
    assert await producer.init(again=True) == Code.PRODUCER_FENCED
    assert await producer.init(again=True, version=3) == Code.INVALID_PRODUCER_EPOCH
    assert heir.known().stage is Stage.ONGOING, "and harms nobody"


async def test_who_was_replaced_is_not_told_its_heirs_epoch(
    broker: Broker, producer: Producer
) -> None:
    """It would be for the answer that it had asked for, if it had: two would be one producer."""
    heir = Producer(broker)
    await heir.init()
    assert await producer.init(again=True) == Code.PRODUCER_FENCED
    assert await heir.init(again=True) == 0
    assert (heir.id, heir.epoch) == (producer.id, producer.epoch + 2)


async def test_what_another_coordinator_answered_is_not_answered_again(
    broker: Broker, producer: Producer
) -> None:
    before = producer.id, producer.epoch
    assert await producer.init(again=True) == 0
    (shard,) = broker.context.transactions.shards
    shard.write([replace(producer.known(), epoch=producer.epoch + 1).record()])
    producer.id, producer.epoch = before
    assert await producer.init(again=True) == Code.PRODUCER_FENCED, "others lead it since"


async def test_a_producer_id_whose_epochs_are_used_up_is_replaced(
    broker: Broker, producer: Producer
) -> None:
    (shard,) = broker.context.transactions.shards
    known = producer.known()
    shard.write([Transaction("x", known.producer_id, EPOCH_MAX, 60_000).record()])
    before = producer.id
    assert await producer.init() == 0
    assert producer.id != before and producer.epoch == 0


async def test_what_takes_too_long_is_aborted_and_its_producer_fenced(
    broker: Broker, producer: Producer
) -> None:
    await producer.init(timeout_ms=1)
    await producer.add(0)
    await producer.send(b"late")

    async def aborted() -> bool:
        return producer.known().stage is Stage.COMPLETE_ABORT

    await wait_until(aborted, 5, "it is aborted", pause_s=0.001)
    assert await read(broker) == []
    assert await producer.end(commit=True) == Code.PRODUCER_FENCED
    assert await producer.send(b"later") == Code.INVALID_PRODUCER_EPOCH
    assert await stable(broker) == (2, 2)


# -- what must be in a transaction, and what must not --------------------------------------------


async def test_a_batch_of_a_partition_that_takes_no_part_is_refused(
    broker: Broker, producer: Producer
) -> None:
    assert await producer.send(b"a") == Code.INVALID_TXN_STATE
    await producer.add(1)
    assert await producer.send(b"a") == Code.INVALID_TXN_STATE
    assert await read(broker, committed=False) == []


async def test_a_batch_that_comes_after_the_end_begins_nothing(
    broker: Broker, producer: Producer
) -> None:
    """Nobody would ever end it, and readers would wait for ever."""
    await producer.add(0)
    await producer.send(b"a")
    await producer.end(commit=False)
    await producer.is_over()
    assert await producer.send(b"late") == Code.INVALID_TXN_STATE
    assert await stable(broker) == (2, 2)


async def test_a_marker_that_comes_while_it_is_verified_keeps_a_batch_out(
    broker: Broker, producer: Producer
) -> None:
    await producer.add(0)
    verifier = broker.context.verifier
    honest = verifier.verify

    async def slow(id: str, sender: tuple[int, int], place: tuple[str, int], guard: Guard) -> None:
        await honest(id, sender, place, guard)
        await producer.end(commit=False)
        await producer.is_over()

    verifier.verify = slow  # type: ignore[method-assign]
    assert await producer.send(b"late") == Code.NOT_ENOUGH_REPLICAS
    assert await stable(broker) == (1, 1), "the marker, and nothing that is open"


async def test_an_answer_of_before_the_marker_lets_in_nobody_who_asks_after_it(
    broker: Broker, producer: Producer
) -> None:
    """Though the question is the same, and still under way."""
    await producer.add(0)
    coordinator, answers = broker.context.transactions, asyncio.Event()
    honest = coordinator.verify

    async def slow(id: str, sender: tuple[int, int], place: tuple[str, int]) -> None:
        await honest(id, sender, place)
        await answers.wait()

    coordinator.verify = slow  # type: ignore[method-assign]
    first = asyncio.ensure_future(producer.send(b"0"))
    await broker.settle()
    await producer.end(commit=False)
    await producer.is_over()
    second = asyncio.ensure_future(producer.send(b"0"))
    await broker.settle()
    answers.set()
    assert await first == Code.NOT_ENOUGH_REPLICAS
    assert await second == Code.INVALID_TXN_STATE
    assert await stable(broker) == (1, 1), "the marker, and nothing that is open"


async def test_a_marker_of_an_epoch_that_is_over_is_not_taken_for_written(
    broker: Broker, producer: Producer
) -> None:
    """Others led while it was flushed, and cut it off: at its offset there is something else."""
    partition = broker.partition()

    async def slow() -> None:
        partition.lead(replace(partition.state, leader_epoch=partition.state.leader_epoch + 1))

    partition.flush_if_due = slow  # type: ignore[method-assign]
    ending = Ending(producer.id, producer.epoch, True, 0)
    assert await broker.context.append_marker(ending, ("t", 0)) is Code.NOT_LEADER_OR_FOLLOWER
    del partition.flush_if_due
    assert await broker.context.append_marker(ending, ("t", 0)) is Code.NONE


async def test_what_is_stable_ends_in_the_log_though_it_begins_in_a_transaction(
    broker: Broker, producer: Producer
) -> None:
    """Else who begins at the end of what is stable is out of range, for ever."""
    await producer.add(0)
    for number in range(3):
        await producer.send(b"%d" % number)
    partition = broker.partition()
    partition.log.delete_before(2)
    assert partition.last_stable_offset == 2
    partition.append_marker(producer.id, producer.epoch, Marker(True, 0))
    assert partition.last_stable_offset == 4


async def test_batches_that_are_verified_together_stay_in_order(
    broker: Broker, producer: Producer
) -> None:
    await producer.add(0)
    coordinator, answers = broker.context.transactions, asyncio.Event()
    honest = coordinator.verify

    async def slow(id: str, sender: tuple[int, int], place: tuple[str, int]) -> None:
        await answers.wait()
        await honest(id, sender, place)

    coordinator.verify = slow  # type: ignore[method-assign]
    sends = []
    for number in range(5):
        producer.sequence = number
        sends.append(asyncio.ensure_future(producer.send(b"%d" % number)))
        await broker.settle()
    assert await read(broker, committed=False) == []
    answers.set()
    assert await asyncio.gather(*sends) == [0] * 5
    await producer.end(commit=True)
    await producer.is_over()
    assert await read(broker) == [b"%d" % number for number in range(5)]


async def test_partitions_are_added_all_or_none(broker: Broker, producer: Producer) -> None:
    assert await producer.add(0, 7) == {0: 55, 7: Code.UNKNOWN_TOPIC_OR_PARTITION}
    assert producer.known().stage is Stage.EMPTY


async def test_a_transactional_batch_needs_a_transactional_id(broker: Broker) -> None:
    part = await broker.produce(batch(b"a", producer=1, epoch=0, sequence=0, transactional=True))
    assert part.error_code == Code.INVALID_RECORD


async def test_nobody_but_brokers_writes_into_internal_topics(broker: Broker) -> None:
    part = await broker.produce(batch(b"a"), topic="__transaction_state")
    assert part.error_code == Code.INVALID_TOPIC_EXCEPTION


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
async def test_a_time_out_must_be_possible(broker: Broker, timeout_ms: int) -> None:
    code = await Producer(broker).init(timeout_ms=timeout_ms)
    assert code == Code.INVALID_TRANSACTION_TIMEOUT


async def test_a_transactional_id_has_a_name(broker: Broker) -> None:
    assert await Producer(broker, "").init() == Code.INVALID_REQUEST


async def test_another_producers_id_is_not_its_own(broker: Broker, producer: Producer) -> None:
    producer.id += 1
    assert await producer.add(0) == {0: Code.INVALID_PRODUCER_ID_MAPPING}
    assert await producer.end(commit=True) == Code.INVALID_PRODUCER_ID_MAPPING


# -- coordinators come and go --------------------------------------------------------------------


async def test_who_is_not_the_coordinator_says_so(broker: Broker, producer: Producer) -> None:
    await broker.create_topic("u", assignments=ALONE)
    state = broker.partition(0, "__transaction_state").state
    broker.partition(0, "__transaction_state").follow(
        replace(state, leader=OTHER, leader_epoch=state.leader_epoch + 1)
    )
    assert await producer.init() == Code.NOT_COORDINATOR
    assert await producer.add(0) == {0: Code.NOT_COORDINATOR}
    assert await producer.end(commit=True) == Code.NOT_COORDINATOR


async def test_a_new_coordinator_brings_what_was_decided_to_its_end(
    broker: Broker, producer: Producer
) -> None:
    await producer.add(0)
    await producer.send(b"a")
    partition = broker.partition(0, "__transaction_state")
    (shard,) = broker.context.transactions.shards
    decided = Transaction(
        "x",
        producer.id,
        producer.epoch,
        60_000,
        Stage.PREPARE_COMMIT,
        frozenset([("t", 0)]),
    )
    shard.write([decided.record()])  # and its coordinator dies here
    next_epoch = replace(partition.state, leader_epoch=partition.state.leader_epoch + 1)
    partition.lead(next_epoch)
    broker.context.replicas.on_role(partition)
    await producer_is_complete(producer)
    assert await read(broker) == [b"a"]


async def producer_is_complete(producer: Producer) -> None:
    async def complete() -> bool:
        known = [t for t in producer._broker.context.transactions.all() if t.id == producer.name]
        return bool(known) and known[0].stage is Stage.COMPLETE_COMMIT

    await wait_until(complete, 5, "it is complete", pause_s=0.001)


# -- admin ---------------------------------------------------------------------------------------


async def test_transactions_and_producers_are_described(broker: Broker, producer: Producer) -> None:
    await producer.add(0)
    await producer.send(b"a")
    answer = await broker.ask("DescribeTransactions", 0, transactional_ids=["x", "nobody"])
    one, none = answer.transaction_states
    assert (one.transaction_state, one.producer_id) == ("Ongoing", producer.id)
    assert [(t.topic, list(t.partitions)) for t in one.topics] == [("t", [0])]
    assert none.error_code == Code.TRANSACTIONAL_ID_NOT_FOUND
    listed = await broker.ask(
        "ListTransactions", 0, state_filters=["Ongoing", "Odd"], producer_id_filters=[]
    )
    assert [t.transactional_id for t in listed.transaction_states] == ["x"]
    assert list(listed.unknown_state_filters) == ["Odd"]
    listed = await broker.ask(
        "ListTransactions", 0, state_filters=[], producer_id_filters=[producer.id + 1]
    )
    assert not listed.transaction_states
    kind = NAMES["DescribeProducers"].request.TopicRequest
    described = await broker.ask(
        "DescribeProducers", 0, topics=[kind(name="t", partition_indexes=[0, 9])]
    )
    here, missing = described.topics[0].partitions
    (active,) = here.active_producers
    assert (active.producer_id, active.current_txn_start_offset) == (producer.id, 0)
    assert missing.error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


async def test_an_id_that_nobody_uses_is_forgotten(broker: Broker, producer: Producer) -> None:
    options = {**broker.context.config.options, "transactional.id.expiration.ms": -1}
    coordinator = broker.context.transactions
    coordinator._config = replace(broker.context.config, options=options)

    async def gone() -> bool:
        return not coordinator.all()

    await wait_until(gone, 5, "it is forgotten", pause_s=0.001)
