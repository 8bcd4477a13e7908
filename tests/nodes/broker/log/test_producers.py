"""What is remembered of producers agrees with the whole history of each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nodes.broker.log.batch import Batch
from nodes.broker.log.errors import InvalidProducerEpoch, LogError, OutOfOrderSequence
from nodes.broker.log.producers import Producers
from nodes.broker.log.transactions import Marker

WRAP = 2**31


def batch_of(
    producer: int, epoch: int, sequence: int, count: int, base: int = 0, attributes: int = 0
) -> Batch:
    return Batch(base, 100, 0, attributes, count - 1, 0, 5, producer, epoch, sequence % WRAP, count)


def refused(work: Any) -> type[LogError] | None:
    try:
        work()
    except LogError as error:
        return type(error)
    return None


class ProducersMachine(RuleBasedStateMachine):
    """Two producers send batches: the next one, a repeated one, a gap, another epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.producers = Producers()
        self.history: dict[int, list[Batch]] = {}
        self.end = 0

    @initialize(complete=st.booleans())
    def begin(self, complete: bool) -> None:
        self.producers = Producers(complete=complete)

    @rule(
        producer=st.integers(1, 2),
        epoch=st.integers(0, 2),
        back=st.integers(-9, 3),
        count=st.integers(1, 3),
        start=st.sampled_from([0, 5, WRAP - 3]),
    )
    def send(self, producer: int, epoch: int, back: int, count: int, start: int) -> None:
        past = self.history.get(producer, [])
        of_epoch = [each for each in past if each.producer_epoch == epoch]
        sequence = of_epoch[-1].last_sequence + 1 + back if of_epoch else start
        batch = batch_of(producer, epoch, sequence, count, self.end)
        expected = self.expected(past, batch)
        if isinstance(expected, type):
            assert refused(lambda: self.producers.check(batch)) is expected
            return
        found = self.producers.check(batch)
        if expected is None:
            assert found is None
            self.producers.append(batch, now_ms=self.end)
            self.history.setdefault(producer, []).append(batch)
            self.end = batch.next_offset
        else:
            assert found is not None
            assert (found.base_offset, found.last_offset) == (
                expected.base_offset,
                expected.last_offset,
            )

    def expected(self, past: list[Batch], batch: Batch) -> type[LogError] | Batch | None:
        """An error, the batch that it repeats, or None: it is new."""
        if not past:
            gap = self.producers.complete and batch.base_sequence
            return OutOfOrderSequence if gap else None
        newest = past[-1].producer_epoch
        if batch.producer_epoch < newest:
            return InvalidProducerEpoch
        if batch.producer_epoch > newest:
            return None if batch.base_sequence == 0 else OutOfOrderSequence
        for each in [b for b in past if b.producer_epoch == newest][-5:]:
            if (each.base_sequence, each.count) == (batch.base_sequence, batch.count):
                return each
        follows = (past[-1].base_sequence + past[-1].count) % WRAP
        return None if batch.base_sequence == follows else OutOfOrderSequence

    @rule()
    def store_and_load(self) -> None:
        epoch, again = Producers.load(self.producers.dump(3))
        assert epoch == 3
        assert again._by_id == self.producers._by_id
        assert again.complete == self.producers.complete
        self.producers = again

    @invariant()
    def it_is_consistent(self) -> None:
        self.producers._check()
        assert len(self.producers) == len(self.history)


ProducersMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestProducers = ProducersMachine.TestCase


def test_five_batches_back_is_a_duplicate_and_six_back_is_out_of_order() -> None:
    producers = Producers()
    sent = [batch_of(1, 0, n, 1, base=n) for n in range(6)]
    for each in sent:
        assert producers.check(each) is None
        producers.append(each, 0)
    for each in sent[1:]:
        found = producers.check(each)
        assert found is not None and found.base_offset == each.base_offset
    with pytest.raises(OutOfOrderSequence):
        producers.check(sent[0])


def test_a_producer_without_an_id_is_not_remembered() -> None:
    producers = Producers()
    producers.append(batch_of(-1, -1, -1, 1), 0)
    assert len(producers) == 0
    assert producers.check(batch_of(-1, -1, -1, 1)) is None


def test_a_marker_tells_the_epoch_and_has_no_sequence() -> None:
    producers = Producers()
    producers.append(batch_of(1, 0, 0, 2), 0)
    producers.append(batch_of(1, 1, -1, 1, base=2, attributes=0x30), 0, Marker(True, 7))
    known = producers.get(1)
    assert known is not None and (known.epoch, known.batches) == (1, [])
    assert known.coordinator_epoch == 7
    with pytest.raises(InvalidProducerEpoch):
        producers.check(batch_of(1, 0, 2, 1))


def test_who_was_not_heard_for_long_is_forgotten() -> None:
    producers = Producers()
    producers.append(batch_of(1, 0, 0, 1), now_ms=100)
    producers.append(batch_of(2, 0, 0, 1), now_ms=200)
    producers.expire(before_ms=150)
    assert 1 not in producers and 2 in producers
    _, again = Producers.load(producers.dump(0))
    assert again.check(batch_of(1, 0, 1, 1)) is None, "it goes on where it was"


def test_a_producer_begins_with_sequence_0_unless_it_may_have_been_forgotten() -> None:
    second = batch_of(1, 0, 1, 1)
    with pytest.raises(OutOfOrderSequence):
        Producers().check(second)
    assert Producers().check(batch_of(1, 0, 0, 1)) is None
    assert Producers(complete=False).check(second) is None


def snapshot() -> bytes:
    producers = Producers()
    for n in range(7):
        producers.append(batch_of(n % 2, 0, n, 1, base=n), n)
    return producers.dump(4)


def test_a_torn_snapshot_is_refused_at_every_byte() -> None:
    data = snapshot()
    for size in range(len(data)):
        with pytest.raises(ValueError):
            Producers.load(data[:size])
    with pytest.raises(ValueError):
        Producers.load(data + b"\0")


@given(st.integers(0, 8 * len(snapshot()) - 1))
def test_a_flipped_bit_in_a_snapshot_is_caught(bit: int) -> None:
    data = bytearray(snapshot())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError):
        Producers.load(bytes(data))
