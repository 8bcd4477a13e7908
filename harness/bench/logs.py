"""Histories of a log that behaves, or whose messages come to harm.

Half sends of one message, half polls; 8 keys, 20 threads of which each holds two keys and reads all
of them, so that each message is read by five; now and then an assignment, a send with an unknown
outcome (whose process gets a new number), and final reads. In a broken one some messages are lost,
duplicated or invented.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.op import NEMESIS, Kind, Op

THREADS = 20
KEYS = 8
HELD = 2
POLL_MAX = 500

Event = tuple[Kind, int | str, str, object, dict[str, Any] | None]


def logs(operations: int, *, lies: float = 0.0) -> Iterator[Op]:
    """A history of so many operations; `lies` is the share of messages that come to harm."""
    for number, (kind, process, f, value, extra) in enumerate(Cluster(lies).events(operations)):
        node = None if process == NEMESIS else "n1"
        yield Op(number, number * 12_500, kind, process, f, value, None, node, extra)


@dataclass
class Cluster:
    """A log, and threads that use it."""

    lies: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(1729))
    logs: list[list[tuple[int, int]]] = field(default_factory=lambda: [[] for _ in range(KEYS)])
    ends: list[int] = field(default_factory=lambda: [0] * KEYS)
    processes: list[int] = field(default_factory=lambda: list(range(THREADS)))
    held: list[dict[int, int]] = field(default_factory=lambda: [{} for _ in range(THREADS)])

    def events(self, operations: int) -> Iterator[Event]:
        free = list(range(THREADS))
        flying: list[tuple[int, list[Event]]] = []
        for number in range(operations):
            thread = free.pop(self.rng.randrange(len(free)))
            asked, done = self.operation(thread, number)
            yield asked
            flying.append((thread, [done]))
            if len(flying) > 10:
                thread, ends = flying.pop(self.rng.randrange(10))
                yield from ends
                free.append(thread)
        for _, ends in flying:
            yield from ends
        yield from self.final_reads()

    def operation(self, thread: int, number: int) -> tuple[Event, Event]:
        """What a thread asks, and how it ends. It takes effect when it is asked."""
        process, dice = self.processes[thread], self.rng.random()
        if not self.held[thread] or dice < 1 / 256:
            keys = sorted(self.rng.sample(range(KEYS), HELD))
            kept = self.held[thread]
            self.held[thread] = {key: kept.get(key, len(self.logs[key])) for key in keys}
            assigned = (process, "assign", keys, None)
            return (Kind.INVOKE, *assigned), (Kind.OK, *assigned)
        if dice < 0.5:
            key = self.rng.randrange(KEYS)
            asked = [["send", key, number]]
            offset = self.append(key, number)
            if dice < 0.252:  # one send in a hundred or so times out
                kind, told = (Kind.INFO, asked) if dice > 0.25 else (Kind.OK, None)
            else:
                kind, told = Kind.OK, None
            if kind is Kind.INFO:
                self.processes[thread], self.held[thread] = process + THREADS, {}
            value = told or [["send", key, [offset, number]]]
            return (Kind.INVOKE, process, "send", asked, None), (kind, process, "send", value, None)
        polled = {str(key): found for key in self.held[thread] if (found := self.read(thread, key))}
        return (
            (Kind.INVOKE, process, "poll", [["poll"]], None),
            (Kind.OK, process, "poll", [["poll", polled]], None),
        )

    def append(self, key: int, value: int) -> int:
        offset = self.ends[key]
        self.ends[key] += 1
        harm = self.rng.random() / self.lies if self.lies else 1.0
        if harm < 0.5:
            return offset  # lost
        self.logs[key].append((offset, value))
        if harm < 0.75:
            self.logs[key].append((self.ends[key], value))
            self.ends[key] += 1
        elif harm < 1.0:
            self.logs[key].append((self.ends[key], -value))
            self.ends[key] += 1
        return offset

    def read(self, thread: int, key: int) -> list[tuple[int, int]]:
        begin = self.held[thread][key]
        found = self.logs[key][begin : begin + POLL_MAX]
        self.held[thread][key] = begin + len(found)
        return found

    def final_reads(self) -> Iterator[Event]:
        for _ in range(2):
            yield Kind.INFO, NEMESIS, "phase", "final-reads", {"at": "begin"}
        reader = 10**6
        for key in range(KEYS):
            for begin in range(0, len(self.logs[key]), POLL_MAX):
                yield Kind.INVOKE, reader, "poll", [["poll"]], None
                found = {str(key): self.logs[key][begin : begin + POLL_MAX]}
                yield Kind.OK, reader, "poll", [["poll", found]], None
        for _ in range(2):
            yield Kind.INFO, NEMESIS, "phase", "final-reads", {"at": "end", "complete": True}
