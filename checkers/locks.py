"""Who is certain to hold a lock, from when until when, and what its resource was shown.

Reads `acquire`, `release` and `write`, as `checkers.mutex` has them. A client is certain to hold a
lock from when it is told so until it begins to release it, or until its lease may be over.

A client that acquires again what it holds goes on holding it, and may be told the same token. One
that does so after a release in doubt, which may still happen, is certain of no moment: the lock was
the client's at one of the moments while it was asking, and then perhaps not any more.

Cost: about 10 µs an operation.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import numpy as np

from checkers.growing import hashable
from harness.history import History
from harness.op import FAIL, OK, Kind


@dataclass(slots=True)
class Granted:
    """An acquisition, or a write, that was acknowledged.

    Attributes:
        until: of an acquisition, where its lease may be over if nothing is released before.
        again: whether its client may have held the lock already, with the same token.
        released: the begin of the last release before it by which its client gave the lock up.
    """

    begin: int
    end: int
    process: int
    token: int | None
    until: int
    again: bool = False
    released: int | None = None

    @property
    def held_by(self) -> int:
        """Where the client held the lock at the latest; perhaps it did before, too."""
        return min(self.end, self.until)


@dataclass(slots=True)
class Hold:
    """Time for which a client is certain to hold the lock, by one grant after another."""

    grants: list[Granted]
    until: int

    @property
    def since(self) -> int:
        return self.grants[0].end

    @property
    def process(self) -> int:
        return self.grants[0].process

    def shown(self, begin: int, end: int) -> list[Granted]:
        """The grants by which the client held the lock all the time between these places."""
        first, last = (bisect_left(self.grants, at, key=attrgetter("end")) for at in (begin, end))
        return self.grants[first - 1 : last]


@dataclass(slots=True)
class Lock:
    """What is known of one lock.

    Attributes:
        grants, writes: those that were acknowledged, in the order of their ends.
        holds: in any order.
    """

    key: Any
    grants: list[Granted] = field(default_factory=list)
    writes: list[Granted] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    _held: dict[int, Hold] = field(default_factory=dict)
    _token: dict[int, int] = field(default_factory=dict)  # unless it was given up for certain
    _released: dict[int, int] = field(default_factory=dict)
    _asked: Counter[int] = field(default_factory=Counter)  # releases that may still happen

    def grant(self, one: Granted) -> None:
        if one.token is not None:
            one.again = self._token.get(one.process) == one.token
            self._token[one.process] = one.token
        one.released = self._released.get(one.process)
        if self._asked[one.process]:
            one.until = one.begin
        self.grants.append(one)
        hold = self._held.get(one.process)
        if hold is None or hold.until <= one.end:
            self._held[one.process] = hold = Hold([], one.until)
            self.holds.append(hold)
        hold.grants.append(one)
        hold.until = max(hold.until, one.until)

    def ask_release(self, process: int, at: int) -> None:
        self._asked[process] += 1
        hold = self._held.pop(process, None)
        if hold is not None:
            hold.until = min(hold.until, at)

    def release(self, process: int, begin: int) -> None:
        self._asked[process] -= 1
        self._token.pop(process, None)
        self._released[process] = begin


def locks(history: History, lease_ns: int | None) -> list[Lock]:
    """All locks of a history, of leases of that length."""
    found: dict[Any, Lock] = {}
    time = np.maximum.accumulate(history.time)
    for at, begin, f in _events(history):
        key, token = _told(history.values.get(begin), history.values.get(at), f)
        lock = found.setdefault(hashable(key), Lock(key))
        process = int(history.process[begin])
        if f == "release" and at == begin:
            lock.ask_release(process, at)
        elif f == "release":
            lock.release(process, begin)
        elif f == "write":
            lock.writes.append(Granted(begin, at, process, token, at))
        else:
            until = len(history)
            if lease_ns is not None:
                until = int(np.searchsorted(time, history.time[begin] + lease_ns))
            lock.grant(Granted(begin, at, process, token, until))
    return list(found.values())


def _events(history: History) -> list[tuple[int, int, str]]:
    """What decides who holds a lock, in order: where it happens, where it began, and what it is. A
    release happens at its begin, and again at its end if it is sure to have taken place."""
    begins = history.select(f=("acquire", "release", "write"), type=Kind.INVOKE)
    events: list[tuple[int, int, str]] = []
    for begin in begins[history.process[begins] >= 0].tolist():
        f, end = history.fs[history.f[begin]], int(history.pair[begin])
        kind = history.type[end] if end >= 0 else None
        if f == "release" and kind != FAIL:
            events.append((begin, begin, f))
        if kind == OK:
            events.append((end, begin, f))
    return sorted(events)


def _told(asked: Any, told: Any, f: str) -> tuple[Any, int | None]:
    """Key and token of what was asked and told."""
    key = None
    if isinstance(asked, list) and len(asked) == 2:
        key, asked = asked
        told = told[1] if isinstance(told, list) and len(told) == 2 else None
    if told is None and f == "write":
        told = asked  # a completion may leave out what was asked
    return key, told if type(told) is int else None
