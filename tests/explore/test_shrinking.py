"""What is taken away is not needed; what is left is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.arguments import parse_concurrency
from harness.explore.shrinking import Shrinker
from harness.explore.simpler import Candidate, groups
from harness.tape import FAULTS, Event, Tape

MS = 1_000_000


def arguments(**changes: Any) -> argparse.Namespace:
    told = {"nodes": 3, "concurrency": "2n", "seed": 1, "options": [], "nemesis": "kill"}
    return argparse.Namespace(**{**told, "liveness": None, **changes})


class Fake(Shrinker):
    """Decides by the candidate instead of running it."""

    def __init__(self, tape: Tape, needed: Callable[[Candidate], bool], **changes: Any) -> None:
        super().__init__(Candidate(arguments(**changes), tape), "lost-write", 60)
        self._needed = needed

    def fails(self, candidate: Candidate, *, anyhow: bool = False) -> bool:
        self.runs += 1
        smaller = candidate != self.best and self._needed(candidate)
        if smaller:
            self.best = candidate
        return smaller


def shrunk(tape: Tape, needed: Callable[[Candidate], bool], **changes: Any) -> Candidate:
    shrinker = Fake(tape, needed, **changes)
    shrinker.shrink()
    return shrinker.best


def tape_of(sends: int, *faults: str) -> Tape:
    events = [Event(i * MS, i % 6, "send", [["send", 0, i]]) for i in range(sends)]
    events += [Event((i + 1) * MS, FAULTS, f, ["n1"]) for i, f in enumerate(faults)]
    return Tape(tuple(sorted(events, key=lambda e: e.time)), 1000 * MS)


@settings(deadline=None)
@given(needed=st.sets(st.integers(0, 59), min_size=1, max_size=4))
def test_exactly_what_is_needed_is_left(needed: set[int]) -> None:
    tape = tape_of(60, "kill", "start", "pause", "resume")
    events = [Event(e.time, e.thread, e.f, e.value, {"n": e.time // MS}) for e in tape.events]

    def fails(candidate: Candidate) -> bool:
        tape = candidate.tape
        return needed <= {e.extra["n"] for e in tape.clients if e.extra} and any(
            e.f == "pause" for e in tape.faults
        )

    best = shrunk(Tape(tuple(events), tape.end), fails).tape
    assert sorted(e.extra["n"] for e in best.clients if e.extra) == sorted(needed)
    assert [e.f for e in best.faults if e.f != "resume"] == ["pause"]


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
    tape = Tape((Event(100 * MS, 4, "send", [["send", 3, 17]]),), 5000 * MS)
    best = shrunk(tape, lambda candidate: len(candidate.tape.clients) == 1)
    assert best.arguments.nodes == 1 and best.arguments.concurrency == "1"
    assert best.tape.clients[0].value == [["send", 0, 0]] and best.tape.clients[0].thread == 0
    assert best.tape.end <= 100 * MS


def test_nodes_that_a_fault_needs_stay() -> None:
    tape = Tape((Event(1, FAULTS, "kill", ["n3"]), Event(2, 0, "send", [["send", 0, 0]])), 9)
    best = shrunk(tape, lambda candidate: len(candidate.tape.events) == 2, nodes=5)
    assert best.arguments.nodes == 3


def test_a_fault_names_no_more_nodes_and_links_than_it_needs() -> None:
    cut = {"n1": ["n2", "n3"], "n2": ["n1"], "n3": ["n1"]}
    events = (
        Event(1, FAULTS, "start-partition", cut),
        Event(2, FAULTS, "kill", ["n1", "n2", "n3"]),
        Event(3, FAULTS, "start", ["n1", "n2", "n3"]),
        Event(4, FAULTS, "stop-partition"),
    )

    def fails(candidate: Candidate) -> bool:
        found = {event.f: event.value for event in candidate.tape.faults}
        return "n3" in found.get("kill", ()) and "n3" in found.get(
            "start-partition", {"n1": ()}
        ).get("n1", ())

    best = {event.f: event.value for event in shrunk(Tape(events, 9), fails).tape.faults}
    assert best["start-partition"] == {"n1": ["n3"]}
    assert best["kill"] == ["n3"] and best.get("start", ["n3"]) == ["n3"]


def test_options_and_faults_that_nobody_needs_are_left_out() -> None:
    best = shrunk(
        tape_of(1, "kill", "start"),
        lambda candidate: (
            "flush-messages=1" in candidate.arguments.options and bool(candidate.tape.faults)
        ),
        options=["acks=all", "flush-messages=1", "sim.split=0.3"],
        nemesis="partition:leader,kill:all",
        liveness=30.0,
    )
    assert best.arguments.options == ["flush-messages=1"]
    assert best.arguments.nemesis == "kill:all" and best.arguments.liveness is None


def test_what_is_lost_by_chance_only_is_found_under_another_seed() -> None:
    """Nine operations, of which no more go under the seed of the run itself."""

    def fails(candidate: Candidate) -> bool:
        left = len(candidate.tape.clients)
        return left == 9 or (left >= 2 and candidate.arguments.seed == 2)

    best = shrunk(tape_of(9), fails)
    assert len(best.tape.clients) == 2 and best.arguments.seed == 2


def test_no_more_is_tried_when_the_time_is_up() -> None:
    shrinker = Shrinker(Candidate(arguments(), tape_of(5)), "lost-write", 0.0)
    shrinker.shrink()
    assert shrinker.runs == 0 and len(shrinker.best.tape.clients) == 5


def test_fewer_nodes_leave_as_many_processes_as_the_tape_has() -> None:
    """`2n` of one node is two: what four more were to do would never come."""

    def fails(candidate: Candidate) -> bool:
        threads = {event.thread for event in candidate.tape.clients}
        return len(candidate.tape.clients) == 12 and len(threads) == 6

    told = shrunk(tape_of(12), fails).arguments
    assert (told.nodes, parse_concurrency(told.concurrency, told.nodes)) == (1, 6)
