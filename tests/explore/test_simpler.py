"""What a finding speaks of is found in the tape that its run was played from."""

from __future__ import annotations

from harness.explore.simpler import closer, gaps, spoken_of, until
from harness.history import History
from harness.op import Kind, Op
from harness.tape import FAULTS, Event, Tape

MS = 1_000_000


def tape() -> Tape:
    """Two threads: what each first says is an assignment."""
    events = [
        Event(10 * MS, 0, "assign", [0]),
        Event(20 * MS, 1, "assign", [1]),
        Event(30 * MS, 0, "send", [["send", 0, 0]]),
        Event(40 * MS, 1, "poll", [["poll"]]),
        Event(50 * MS, FAULTS, "kill", ["n1"]),
        Event(60 * MS, 0, "poll", [["poll"]]),
    ]
    return Tape(tuple(events), 100 * MS)


def played(tape: Tape) -> History:
    """Every operation takes a millisecond; the second process of thread 0 reads in the end."""
    ops = []
    for event in tape.clients:
        for later, kind in ((0, Kind.INVOKE), (MS, Kind.OK)):
            ops.append(Op(0, event.time + later, kind, event.thread, event.f, event.value))
    final = [Op(0, 110 * MS, kind, 2, "poll", [["poll"]]) for kind in (Kind.INVOKE, Kind.OK)]
    return History.of([*ops, *final])


def test_first_they_alone_then_with_what_their_threads_began_with_then_all_of_these() -> None:
    history = played(tape())
    send = [op.index for op in history if op.f == "send"]
    assert len(send) == 2
    named, begun, every = (
        [(event.thread, event.f) for event in events]
        for events in spoken_of(tape(), history, 2, send)
    )
    assert named == [(0, "send")]
    assert sorted(begun) == [(0, "assign"), (0, "send")]
    assert every == [(0, "assign"), (0, "send"), (0, "poll")]


def test_final_reads_are_not_of_the_tape() -> None:
    history = played(tape())
    for events in spoken_of(tape(), history, 2, [len(history) - 1]):
        assert events == []


def test_an_earlier_end_leaves_what_comes_before_it() -> None:
    assert [event.time for event in until(tape(), 45 * MS).events] == [
        at * MS for at in (10, 20, 30, 40)
    ]


def test_the_longest_gap_is_the_first_and_what_follows_it_moves() -> None:
    assert gaps(tape())[0] == len(tape().events)  # before the end
    moved = closer(tape(), 3, 2 * MS)  # the poll of thread 1, ten milliseconds after the send
    assert [event.time // MS for event in moved.events] == [10, 20, 30, 32, 42, 52]
    assert moved.end == 92 * MS
