"""A tape says again what a history says was asked, at the same times and by the same threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.arguments import load_tape
from harness.errors import UsageError
from harness.generator.rehearse import invocations, quick
from harness.history import History
from harness.op import NEMESIS, Kind, Op
from harness.tape import FAULTS, Event, Tape

MS = 1_000_000


def mark(time: int, f: str, value: Any, **extra: Any) -> list[Op]:
    return [Op(0, time, Kind.INFO, NEMESIS, f, value, None, None, extra or None)] * 2


def test_a_tape_holds_the_main_phase_only_and_counts_from_its_begin() -> None:
    history = History.of(
        [
            *mark(5, "phase", "main", at="begin"),
            Op(0, 7, Kind.INVOKE, 3, "send", [["send", 0, 1]]),
            Op(0, 8, Kind.INFO, 3, "send", [["send", 0, 1]]),
            *mark(9, "kill", ["n1"], effect={"outcome": "observed"}),
            *mark(10, "crash", {"node": "n2"}),
            Op(0, 11, Kind.INVOKE, 5, "poll", [["poll"]]),
            *mark(20, "phase", "main", at="end"),
            *mark(22, "start", ["n1"]),
            Op(0, 23, Kind.INVOKE, 1, "poll", [["poll"]]),
        ]
    )
    tape = Tape.of(history, concurrency=2)
    assert tape.end == 15
    assert tape.events == (
        Event(2, 1, "send", [["send", 0, 1]]),
        Event(4, FAULTS, "kill", ["n1"]),
        Event(6, 1, "poll", [["poll"]]),
    )
    assert tape.faults == tape.events[1:2] and len(tape.clients) == 2


EVENTS = st.lists(
    st.builds(Event, st.integers(0, 50).map(lambda ms: ms * MS), st.integers(-1, 2), st.just("f")),
    max_size=20,
).map(lambda events: tuple(sorted(events, key=lambda event: event.time)))


@given(events=EVENTS, rest_ms=st.integers(0, 100))
def test_played_every_event_comes_once_in_its_threads_order_and_never_early(
    events: tuple[Event, ...], rest_ms: int
) -> None:
    tape = Tape(events, rest_ms * MS)
    ops = invocations(quick(tape.generator(), concurrency=3))
    for thread in range(-1, 3):
        wanted = [event for event in events if event.thread == thread]
        came = [op for op in ops if (FAULTS if op.process == NEMESIS else op.process) == thread]
        assert len(came) == len(wanted)
        assert all(op.time >= event.time for op, event in zip(came, wanted, strict=True))


def test_events_of_idle_threads_come_exactly_at_their_times() -> None:
    events = (Event(3 * MS, 0, "a"), Event(5 * MS, 1, "b"), Event(9 * MS, FAULTS, "c"))
    ops = invocations(quick(Tape(events, 9 * MS).generator(), concurrency=2))
    assert [(op.time, op.f) for op in ops] == [(3 * MS, "a"), (5 * MS, "b"), (9 * MS, "c")]


def test_a_tape_is_read_as_it_was_written(tmp_path: Path) -> None:
    tape = Tape((Event(1, 0, "send", [["send", 0, 1]], {"x": 1}), Event(2, FAULTS, "kill")), 7)
    path = tmp_path / "tape.json"
    path.write_bytes(tape.dump())
    assert Tape.load(path) == tape


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"end": 1, "events": [{"f": 1}]}'])
def test_what_is_no_tape_is_wrong_usage(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tape.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="is no tape"):
        Tape.load(path)


def test_a_tape_of_more_processes_than_there_are_is_wrong_usage(tmp_path: Path) -> None:
    path = tmp_path / "tape.json"
    tape = Tape((Event(0, FAULTS, "kill", ["n1"]), Event(1, 4, "poll")), 9)
    path.write_bytes(tape.dump())
    assert load_tape(path, 5) == tape
    with pytest.raises(UsageError, match="--concurrency 5"):
        load_tape(path, 4)
