"""What is stored of a transactional id is Kafka's own structure, and comes back as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.broker.coordinator.records import Producer, Record, Written, batch_of, written
from nodes.broker.coordinator.transaction import Stage, Transaction, Transactions
from nodes.broker.log.errors import CorruptBatch
from nodes.broker.log.transactions import Marker, control_batch

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
transactions = st.builds(
    Transaction,
    names,
    st.integers(0, 2**62),
    st.integers(0, 2**15 - 1),
    st.integers(1, 2**31 - 1),
    st.sampled_from(Stage),
    st.frozensets(st.tuples(names, st.integers(0, 99)), max_size=4),
    st.integers(-1, 2**62),
    st.integers(-1, 2**62),
)


@given(st.lists(transactions, min_size=1, max_size=5))
def test_the_fold_of_a_log_has_the_newest_of_each_id(them: list[Transaction]) -> None:
    state = Transactions()
    for known in them:
        (batch,) = written(bytes(batch_of([known.record()], 5, None)))
        state.apply(batch)
    assert state.by_id == {known.id: known for known in them}
    state.apply(Written(9, [them[-1].forgotten()]))
    assert them[-1].id not in state.by_id


def test_bytes_are_those_of_kafka() -> None:
    """TransactionLogKey and TransactionLogValue, version 0, field by field."""
    known = Transaction("tx", 7, 2, 60000, Stage.ONGOING, frozenset([("t", 1), ("t", 0)]), 11, 10)
    record = known.record()
    assert record.key == b"\0\0" + b"\0\2tx"
    assert record.value == (
        b"\0\0"
        + (7).to_bytes(8, "big")
        + b"\0\2"
        + (60000).to_bytes(4, "big")
        + b"\1"
        + (1).to_bytes(4, "big")
        + b"\0\1t"
        + (2).to_bytes(4, "big")
        + (0).to_bytes(4, "big")
        + (1).to_bytes(4, "big")
        + (11).to_bytes(8, "big")
        + (10).to_bytes(8, "big")
    )
    empty = Transaction("tx", 7, 2, 60000).record().value
    assert empty is not None and empty[17:21] == b"\xff\xff\xff\xff", "null partitions"


@pytest.mark.parametrize(
    "record",
    [
        Record(b"", b""),
        Record(b"\0\1\0\0", b""),
        Record(b"\0\0\0\2tx", b"\0\0\0"),
        Record(b"\0\0\0\2tx", b"\0\0" + bytes(14) + b"\x09" + bytes(20)),
    ],
)
def test_what_is_no_such_record_is_said_to_be_none(record: Record) -> None:
    with pytest.raises(CorruptBatch):
        Transactions().apply(Written(0, [record]))


def test_a_batch_holds_all_records_however_many_they_are() -> None:
    """Those of a commit of many partitions with long notes, say."""
    records = [Record(b"%d" % number, bytes(4000)) for number in range(400)]
    (one,) = written(bytes(batch_of(records, 5, None)))
    assert one.records == records


def test_batches_say_whose_transaction_they_are_of_and_how_it_ended() -> None:
    data = batch_of([Record(b"k", None)], 5, Producer(3, 1))
    (one,) = written(bytes(data))
    assert (one.records, one.producer, one.marker) == ([Record(b"k", None)], Producer(3, 1), None)
    (end,) = written(bytes(control_batch(3, 1, Marker(True, 4), 5)))
    assert (end.records, end.producer, end.marker) == ((), Producer(3, 1), Marker(True, 4))
