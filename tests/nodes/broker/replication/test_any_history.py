"""Nothing acknowledged is lost, doubled or shown otherwise, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.nodes.broker.replication.machines import (
    ChangingMachine,
    FlushingMachine,
    ReplicationMachine,
    SingleMachine,
    UncleanMachine,
)
from tests.nodes.broker.replication.walks import walk

_settings = settings(
    max_examples=50, stateful_step_count=50, deadline=None, report_multiple_bugs=False
)
for _machine in (
    ReplicationMachine,
    FlushingMachine,
    SingleMachine,
    ChangingMachine,
    UncleanMachine,
):
    _machine.TestCase.settings = _settings

TestWithPageCaches = ReplicationMachine.TestCase
TestWithFlushes = FlushingMachine.TestCase
TestWithOneInSync = SingleMachine.TestCase
TestWithChangesOfWhatMustBeInSync = ChangingMachine.TestCase
TestWithUncleanElections = UncleanMachine.TestCase


@pytest.mark.parametrize(
    ("machine", "seed"),
    [
        (ReplicationMachine, 0),
        (FlushingMachine, 1000),
        (SingleMachine, 2000),
        (UncleanMachine, 3000),
        (ChangingMachine, 4000),
    ],
)
def test_long_walks_end_well(machine: type[ReplicationMachine], seed: int) -> None:
    walked = [walk(machine, seed + number) for number in range(50)]
    counters = [each.world.image.counters for each in walked]
    acknowledged = sum(len(each.acknowledged()) for each in walked)
    assert acknowledged > 50, "else nothing was at stake"
    assert sum(each.elections for each in counters) > 25
    assert sum(each.isr_expands for each in counters) > 25
