"""Leader epochs agree with a plain list of which epoch wrote which offset."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodes.broker.log.epochs import UNKNOWN, Epochs


class EpochsMachine(RuleBasedStateMachine):
    """`wrote[n]` is the epoch of offset `start + n`; nobody led without writing."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = Epochs()
        self.wrote: list[int] = []
        self.start = 0

    @property
    def end(self) -> int:
        return self.start + len(self.wrote)

    @rule(more=st.integers(0, 3), count=st.integers(1, 4))
    def append(self, more: int, count: int) -> None:
        epoch = (self.wrote[-1] if self.wrote else 0) + more
        epoch = max(epoch, self.epochs.latest if not self.wrote else 0)
        for _ in range(count):
            self.epochs.assign(epoch, self.end)
            self.wrote.append(epoch)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        end = data.draw(st.integers(self.start, self.end))
        del self.wrote[end - self.start :]
        self.epochs.truncate_to(end)

    @rule(data=st.data())
    def drop_before(self, data: st.DataObject) -> None:
        start = data.draw(st.integers(self.start, self.end))
        del self.wrote[: start - self.start]
        self.start = start
        self.epochs.drop_before(start)

    @rule()
    def store_and_load(self) -> None:
        again = Epochs.load(self.epochs.dump())
        assert (again.epochs, again.starts) == (self.epochs.epochs, self.epochs.starts)
        self.epochs = again

    @invariant()
    def every_offset_is_of_the_epoch_that_wrote_it(self) -> None:
        self.epochs._check()
        for number, epoch in enumerate(self.wrote):
            assert self.epochs.at(self.start + number) == epoch

    @invariant()
    def an_epoch_ends_where_a_later_one_wrote_first(self) -> None:
        if not self.wrote:
            return
        for asked in range(self.wrote[-1] + 2):
            if asked > self.wrote[-1]:
                expected = UNKNOWN, UNKNOWN
            else:
                known = [epoch for epoch in self.wrote if epoch <= asked]
                later = [self.start + n for n, epoch in enumerate(self.wrote) if epoch > asked]
                expected = max(known, default=asked), min(later, default=self.end)
            assert self.epochs.end_of(asked, self.end) == expected


EpochsMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestEpochs = EpochsMachine.TestCase


def test_the_file_is_the_one_that_kafka_writes() -> None:
    epochs = Epochs([0, 2, 5], [0, 17, 40])
    assert epochs.dump() == b"0\n3\n0 0\n2 17\n5 40\n"
    assert Epochs().dump() == b"0\n0\n"


@pytest.mark.parametrize(
    "text",
    ["", "0", "1\n0\n", "0\n2\n1 1\n", "0\n1\nx y\n", "0\n2\n1 5\n1 6\n", "0\n2\n1 5\n2 5\n"],
)
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Epochs.load(text.encode())


def test_a_leader_that_wrote_nothing_leaves_no_trace_once_others_write() -> None:
    epochs = Epochs([3], [0])
    epochs.assign(5, 10)
    assert epochs.end_of(3, 10) == (3, 10)
    epochs.assign(4, 10)  # its followers' leader of epoch 4 wrote what comes at 10
    assert (epochs.epochs, epochs.starts) == ([3, 4], [0, 10])


def test_an_epoch_that_is_newer_than_all_is_unknown_and_an_older_one_ends_at_the_first() -> None:
    epochs = Epochs([3, 7], [10, 20])
    assert epochs.end_of(8, 30) == (UNKNOWN, UNKNOWN)
    assert epochs.end_of(7, 30) == (7, 30)
    assert epochs.end_of(5, 30) == (3, 20)
    assert epochs.end_of(1, 30) == (1, 10)
    assert epochs.at(9) == UNKNOWN
