"""The main phase of a run as a list of timed events, and a generator that plays it again.

A tape is made of a history: what clients were asked, thread by thread, and the faults as they were
resolved. Played, each event comes at its time, or as soon as its thread is free. What a system
makes of it is its own affair: in a simulated world the same, elsewhere about the same.

    {"end": 10000000000,
     "events": [{"time": 1200000, "thread": 0, "f": "send", "value": [["send", 0, 17]]},
                {"time": 2500000, "thread": -1, "f": "kill", "value": ["n2"]}]}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from harness import generator as gen
from harness.errors import UsageError
from harness.history import History
from harness.op import NEMESIS, Kind
from harness.spells import MARKS, operations

FAULTS = -1
"""The nemesis' thread."""

NS = 1_000_000_000


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation that was asked for.

    Attributes:
        time: nanoseconds from the begin of the main phase. thread: a client's, or FAULTS.
    """

    time: int
    thread: int
    f: str
    value: Any = None
    extra: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Tape:
    """Events in order of their times. `end` is when the main phase is over."""

    events: tuple[Event, ...]
    end: int

    @staticmethod
    def of(history: History, concurrency: int) -> Tape:
        """The main phase of a history."""
        begin, end = _main(history)
        events = [
            Event(int(op.time) - begin, FAULTS, op.f, op.value)
            for op, _ in operations(history)
            if op.f not in (*MARKS, "crash") and begin <= op.time < end
        ]
        for position in history.select(type=Kind.INVOKE).tolist():
            op = history[position]
            if isinstance(op.process, int) and begin <= op.time < end:
                thread = op.process % concurrency
                events.append(Event(op.time - begin, thread, op.f, op.value, op.extra))
        return Tape(tuple(sorted(events, key=lambda event: event.time)), end - begin)

    @staticmethod
    def load(path: Path) -> Tape:
        """Raises UsageError: there is none, or it is no tape."""
        try:
            shape = msgspec.json.decode(path.read_bytes(), type=_Shape)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(f"{path} is no tape: {error}") from error
        return Tape(tuple(shape.events), shape.end)

    def dump(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(_Shape(self.end, list(self.events))))

    @property
    def clients(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.thread != FAULTS)

    @property
    def faults(self) -> tuple[Event, ...]:
        return tuple(event for event in self.events if event.thread == FAULTS)

    def only(self, events: Iterable[Event]) -> Tape:
        """The same tape with these of its events."""
        chosen = set(map(id, events))
        return replace(self, events=tuple(e for e in self.events if id(e) in chosen))

    def generator(self) -> Any:
        """Plays it, and is silent until its end."""
        by_thread: dict[int, list[Event]] = {}
        for event in self.events:
            by_thread.setdefault(event.thread, []).append(event)
        left = {thread: tuple(events) for thread, events in by_thread.items()}
        return Play(left, self.end)


class _Shape(msgspec.Struct):
    end: int
    events: list[Event]


class Play(gen.Generator):
    """`left` is what each thread still has to say."""

    __slots__ = ("end", "left")

    def __init__(self, left: Mapping[int, Sequence[Event]], end: int) -> None:
        self.left, self.end = left, end

    def op(self, context: gen.Context) -> gen.Step:
        best: tuple[int, int] | None = None
        processes = context.processes
        for thread in context.list_threads():
            own = FAULTS if processes[thread] == NEMESIS else thread
            events = self.left.get(own)
            if events and context.free >> thread & 1:
                at = max(events[0].time, context.time)
                if best is None or at < best[0]:
                    best = at, thread
        if best is None:
            return gen.PENDING if any(self.left.values()) else self._rest(context)
        at, thread = best
        own = FAULTS if processes[thread] == NEMESIS else thread
        event, *after = self.left[own]
        call = gen.Call(event.f, event.value, processes[thread], at, extra=event.extra)
        return call, Play({**self.left, own: after}, self.end)

    def _rest(self, context: gen.Context) -> gen.Step:
        """Until the end nobody has anything to do."""
        seconds = (self.end - context.time) / NS
        return gen.sleep(seconds).op(context) if seconds > 0 else None


def _main(history: History) -> tuple[int, int]:
    """Begin and end of the main phase; all of it where nothing is said of phases."""
    begin, end = 0, int(history.time.max()) + 1 if len(history) else 0
    for op, _ in operations(history):
        if op.f == "phase" and op.value == "main":
            at = (op.extra or {}).get("at")
            if at == "begin":
                begin = int(op.time)
            else:
                end = int(op.time)
    return begin, end
