"""Which thread a process ran on."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.history import History
from harness.op import Kind, Op
from harness.report.html.lanes import of_processes
from harness.timeline import parse


def run(threads: int, operations: int, crash_p: float, seed: int) -> list[Op]:
    """As the interpreter: a thread whose operation ends in INFO goes on as process + threads."""
    rng = random.Random(seed)
    process = list(range(threads))
    order = [*range(threads), *(rng.randrange(threads) for _ in range(operations))]
    ops = []
    for time, thread in enumerate(order):
        crashed = time >= threads and rng.random() < crash_p
        kind = Kind.INFO if crashed else Kind.OK
        ops.append(Op(0, 2 * time, Kind.INVOKE, process[thread], "r"))
        ops.append(Op(0, 2 * time + 1, kind, process[thread], "r"))
        if crashed:
            process[thread] += threads
    return ops


@given(st.integers(1, 9), st.integers(0, 60), st.floats(0, 1), st.integers(0, 1000))
def test_the_lane_of_a_process_is_its_thread(
    threads: int, operations: int, crash_p: float, seed: int
) -> None:
    lanes = of_processes(History.of(run(threads, operations, crash_p, seed)))
    assert lanes == {process: process % threads for process in lanes}


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=60))
def test_no_two_processes_are_drawn_over_each_other(events: list[tuple[int, bool]]) -> None:
    """Whatever the numbers mean: in a lane, one process ends before the next begins."""
    ops, retired = [], set()
    for time, (process, crashes) in enumerate(events):
        if process in retired:
            continue
        ops.append(Op(0, time, Kind.INVOKE, process, "r"))
        ops.append(Op(0, time, Kind.INFO if crashes else Kind.OK, process, "r"))
        retired |= {process} if crashes else set()
    history = History.of(ops)
    lanes = of_processes(history)
    spans: dict[int, list[tuple[int, int]]] = {}
    for process, lane in lanes.items():
        at = (history.process == process).nonzero()[0]
        spans.setdefault(lane, []).append((int(at[0]), int(at[-1])))
    for those in spans.values():
        those.sort()
        assert all(a[1] < b[0] for a, b in pairwise(those))
    assert sorted(set(lanes.values())) == list(range(len(spans)))


def test_processes_that_follow_no_rule_and_are_many_share_lanes() -> None:
    ops = []
    for process in range(0, 3000, 7):
        ops.append(Op(0, process, Kind.INVOKE, process, "r"))
        ops.append(Op(0, process, Kind.OK, process, "r"))
    assert set(of_processes(History.of(ops)).values()) == {0}


@pytest.mark.parametrize("timeline", ["", 'nemesis: |-- kill ["n1"] --?'])
def test_without_clients_there_are_no_lanes(timeline: str) -> None:
    assert of_processes(History.of(parse(timeline))) == {}
