"""End offsets asked one by one: a partition that does not answer costs the others little."""

from __future__ import annotations

import pytest

from systems.clients.ends import of_each
from workloads.ports import Partition

PARTITIONS = [Partition("log-0", number) for number in range(8)]


class NoAnswerError(Exception):
    pass


class Leaders:
    """Those of `silent` partitions let one wait as long as one will."""

    def __init__(self, *silent: int) -> None:
        self.silent = silent
        self.now = 0.0
        self.waits: list[float] = []

    def ask(self, partition: Partition, timeout_s: float) -> int:
        self.waits.append(timeout_s)
        if partition.number in self.silent:
            self.now += timeout_s
            raise NoAnswerError
        return 10 * partition.number

    def ends(self, timeout_s: float = 2.0) -> dict[Partition, int]:
        return of_each(PARTITIONS, timeout_s, self.ask, NoAnswerError, now=lambda: self.now)


def test_a_partition_without_a_leader_does_not_hide_the_others() -> None:
    ends = Leaders(2).ends()
    assert ends == {p: 10 * p.number for p in PARTITIONS if p.number != 2}


def test_partitions_without_a_leader_cost_twice_the_time_out_together() -> None:
    leaders = Leaders(*range(1, 8))
    assert leaders.ends(timeout_s=2.0) == {PARTITIONS[0]: 0}
    assert leaders.now == 4.0
    assert max(leaders.waits) == 1.0, "one waits for half of it, so that others have their turn"


def test_the_last_that_is_asked_gets_what_is_left() -> None:
    leaders = Leaders(*range(8))
    leaders.now = 0.1
    assert of_each(PARTITIONS, 0.3, leaders.ask, NoAnswerError, lambda: leaders.now) == {}
    assert sum(leaders.waits) == pytest.approx(0.6)


def test_what_is_no_lack_of_an_answer_is_an_error() -> None:
    def broken(partition: Partition, timeout_s: float) -> int:
        raise ValueError("no such setting")

    with pytest.raises(ValueError, match="no such setting"):
        of_each(PARTITIONS, 2.0, broken, NoAnswerError)
