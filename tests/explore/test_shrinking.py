"""What is taken away is not needed; what is left is."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.arguments import parse_concurrency
from harness.explore.shrinking import Candidate, Shrinker, groups
from harness.tape import FAULTS, Event, Tape

MS = 1_000_000


class Fake(Shrinker):
    """Decides by the events instead of running them."""

    def __init__(self, tape: Tape, needed: Callable[[Tape], bool], nodes: int = 3) -> None:
        arguments = argparse.Namespace(nodes=nodes, concurrency="2n", seed=1, options=[])
        super().__init__(Candidate(arguments, tape), "lost-write", 60)
        self._needed = needed

    def fails(self, candidate: Candidate) -> bool:
        self.runs += 1
        if self._needed(candidate.tape):
            self.best = candidate
            return True
        return False


def tape_of(sends: int, *faults: str) -> Tape:
    events = [Event(i * MS, i % 6, "send", [["send", 0, i]]) for i in range(sends)]
    events += [Event((i + 1) * MS, FAULTS, f, ["n1"]) for i, f in enumerate(faults)]
    return Tape(tuple(sorted(events, key=lambda e: e.time)), 1000 * MS)


@settings(deadline=None)
@given(needed=st.sets(st.integers(0, 59), min_size=1, max_size=4))
def test_exactly_what_is_needed_is_left(needed: set[int]) -> None:
    tape = tape_of(60, "kill", "start", "pause", "resume")
    times = {i * MS for i in needed}

    def fails(candidate: Tape) -> bool:
        return times <= {e.time for e in candidate.clients} and any(
            e.f == "pause" for e in candidate.faults
        )

    shrinker = Fake(tape, fails)
    shrinker.shrink()
    assert {e.time for e in shrinker.best.tape.clients} == times
    assert [e.f for e in shrinker.best.tape.faults] == ["pause", "resume"]


def test_a_fault_goes_with_what_ends_it() -> None:
    faults = tape_of(0, "kill", "start-links", "reset-links", "start", "stop-links", "stop-disk")
    found = [[event.f for event in group] for group in groups(faults.faults)]
    assert found == [["kill", "start"], ["start-links", "reset-links", "stop-links"], ["stop-disk"]]


def test_power_failures_and_kills_end_with_the_same_start() -> None:
    found = [[e.f for e in g] for g in groups(tape_of(0, "power-off", "kill", "start").faults)]
    assert found == [["power-off"], ["kill", "start"]] or found == [
        ["power-off", "start"],
        ["kill"],
    ]


def test_time_threads_values_and_nodes_shrink_too() -> None:
    tape = Tape((Event(100 * MS, 4, "send", [["send", 0, 17]]),), 5000 * MS)
    shrinker = Fake(tape, lambda candidate: len(candidate.clients) == 1)
    shrinker.shrink()
    best = shrinker.best
    assert best.arguments.nodes == 1 and best.arguments.concurrency == "1"
    assert best.tape.clients[0].value == [["send", 0, 0]] and best.tape.clients[0].thread == 0
    assert best.tape.end < 200 * MS


def test_nodes_that_a_fault_names_stay() -> None:
    tape = Tape((Event(1, FAULTS, "kill", ["n3"]), Event(2, 0, "send", [["send", 0, 0]])), 9)
    shrinker = Fake(tape, lambda candidate: len(candidate.events) == 2, nodes=5)
    shrinker.shrink()
    assert shrinker.best.arguments.nodes == 3


def test_no_more_is_tried_when_the_time_is_up() -> None:
    arguments = argparse.Namespace(nodes=3, concurrency="2n", seed=1, options=[])
    shrinker = Shrinker(Candidate(arguments, tape_of(5)), "lost-write", 0.0)
    shrinker.shrink()
    assert shrinker.runs == 0 and len(shrinker.best.tape.clients) == 5


def test_fewer_nodes_leave_as_many_processes_as_the_tape_has() -> None:
    """`2n` of one node is two: what four more were to do would never come."""
    shrinker = Fake(tape_of(12), lambda tape: len(tape.clients) == 12)
    shrinker.shrink()
    arguments = shrinker.best.arguments
    assert (arguments.nodes, parse_concurrency(arguments.concurrency, arguments.nodes)) == (1, 6)
