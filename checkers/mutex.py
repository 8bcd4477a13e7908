"""A lock is held by one at a time, and a resource takes no orders of a holder of the past.

Reads `acquire` (null -> token), `release` and `write` (of the token it shows), or of `[key, …]` for
a lock of each key. A lock without tokens tells null. A client is certain to hold the lock from when
it is told so until it begins to release it, or, with `-o lease-ms=N`, until N ms after it asked.

Anomalies:
    mutex-overlap       two clients were certain to hold a lock at once
    token-regression    a later grant has no newer token than an earlier one
    fencing-violation   a write with an older token was accepted after one with a newer token

Where holders are told apart by tokens, a client may believe in its lock for too long: with
`-o fenced=true` an overlap is allowed, and what the resource accepts is not.

Blind to: a client that acquires again what it holds; acquisitions and writes in doubt; who holds a
    lock when nobody is certain to (see `lock`); tokens that are no integers.
Cost: sorts; about 5 µs an operation.
Source: M. Kleppmann, "How to do distributed locking" (2016), for fencing tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from checkers.growing import hashable
from checkers.told import Told, judged
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.op import FAIL, OK, Kind
from harness.verdict import Finding, Verdict

ANOMALIES = ("mutex-overlap", "token-regression", "fencing-violation")


@dataclass(frozen=True, slots=True)
class Granted:
    """An acquisition, or a write, that was acknowledged; `until`: where it is certain no more."""

    begin: int
    end: int
    process: int
    token: int | None
    until: int


@dataclass(slots=True)
class Lock:
    key: Any
    grants: list[Granted] = field(default_factory=list)
    writes: list[Granted] = field(default_factory=list)


def check(history: History, contract: Contract) -> Verdict:
    """A lock is held by one at a time, and its resource takes no orders of holders of the past."""
    lease_ms = contract.promises.get("lease-ms")
    lease_ns = None if lease_ms is None else int(lease_ms) * 1_000_000
    locks = _locks(history, lease_ns)
    grants = sum(len(lock.grants) for lock in locks)
    doubts = [] if grants else ["nobody acquired a lock"]
    stats = {"grants": grants, "writes": sum(len(lock.writes) for lock in locks)}
    return judged(history, partial(_cases, lease_ns), doubts=doubts, stats=stats)


def _cases(lease_ns: int | None, told: Told) -> Mapping[str, Cases]:
    found: dict[str, list[Finding]] = {name: [] for name in ANOMALIES}
    for lock in _locks(told.history, lease_ns):
        for one, other in _overlaps(lock.grants):
            found["mutex-overlap"].append(_overlap(told, lock, one, other, lease_ns))
        for one, other in _behind(lock.grants, equal=True):
            found["token-regression"].append(_regression(told, lock, one, other))
        for one, other in _behind(lock.writes, equal=False):
            found["fencing-violation"].append(_violation(told, lock, one, other))
    return {name: Cases(len(some), some.__getitem__) for name, some in found.items()}


def _overlaps(grants: list[Granted]) -> Iterator[tuple[Granted, Granted]]:
    """Each grant that came while somebody else was certain to hold the lock, and whose."""
    longest: dict[int, Granted] = {}  # of two processes at most, those that hold it longest
    for grant in sorted(grants, key=lambda grant: grant.end):
        if grant.until <= grant.end:
            continue
        others = [one for one in longest.values() if one.process != grant.process]
        holder = max(others, key=lambda one: one.until, default=None)
        if holder is not None and holder.until > grant.end:
            yield holder, grant
        mine = longest.get(grant.process)
        if mine is None or mine.until < grant.until:
            longest[grant.process] = grant
        if len(longest) > 2:
            least = min(longest, key=lambda process: longest[process].until)
            del longest[least]


def _behind(some: list[Granted], equal: bool) -> Iterator[tuple[Granted, Granted]]:
    """Each whose token is older (or not newer) than that of one that had ended before it began."""
    known = [one for one in some if one.token is not None]
    ended = sorted(known, key=lambda one: one.end)
    newest: Granted | None = None
    place, of = 0, dict[int | None, Granted]()
    for one in sorted(known, key=lambda one: one.begin):
        while place < len(ended) and ended[place].end < one.begin:
            if newest is None or (ended[place].token or 0) > (newest.token or 0):
                newest = ended[place]
            place += 1
        twin = of.setdefault(one.token, one)
        if newest is not None and (one.token or 0) < (newest.token or 0) + equal:
            yield newest, one
        elif equal and twin is not one:
            yield twin, one


# -- arguments -----------------------------------------------------------------------------------


def _overlap(told: Told, lock: Lock, one: Granted, other: Granted, lease_ns: int | None) -> Finding:
    until = "" if lease_ns is None else f", within {lease_ns / 1e6:g} ms from when it had asked"
    return told.finding(
        "mutex-overlap",
        f"c{one.process} and c{other.process} both held the lock",
        (
            f"{told.words(one.begin)}: from then on c{one.process} holds the lock",
            f"however, {told.words(other.begin)}, before c{one.process} began to release it{until}"
            ": a contradiction",
        ),
        (one.begin, other.begin),
        lock.key,
    )


def _regression(told: Told, lock: Lock, one: Granted, other: Granted) -> Finding:
    return told.finding(
        "token-regression",
        f"c{other.process} was granted token {other.token}, which is not new",
        (
            f"{told.words(one.begin)}, which {told.span(one.begin)}",
            f"however, {told.words(other.begin)}, which {told.span(other.begin)}: each grant has "
            "a newer token than those before it, a contradiction",
        ),
        (one.begin, other.begin),
        lock.key,
    )


def _violation(told: Told, lock: Lock, one: Granted, other: Granted) -> Finding:
    return told.finding(
        "fencing-violation",
        f"a write of c{other.process} with token {other.token} was accepted after a newer one",
        (
            f"{told.words(one.begin)} was accepted: token {one.token} was known from then on",
            f"however, {told.words(other.begin)} began later, at op {told.at(other.begin)}, with "
            f"the older token {other.token}, and was accepted: a contradiction",
        ),
        (one.begin, other.begin),
        lock.key,
    )


# -- reading -------------------------------------------------------------------------------------


def _locks(history: History, lease_ns: int | None) -> list[Lock]:
    locks: dict[Any, Lock] = {}
    holds: dict[Any, dict[int, Granted]] = defaultdict(dict)
    time = np.maximum.accumulate(history.time)
    begins = history.select(f=("acquire", "release", "write"), type=Kind.INVOKE)
    events: list[tuple[int, int, str]] = []
    for begin in begins[history.process[begins] >= 0].tolist():
        f, end = history.fs[history.f[begin]], int(history.pair[begin])
        kind = history.type[end] if end >= 0 else None
        if f == "release" and kind != FAIL:
            events.append((begin, begin, f))
        elif f != "release" and kind == OK:
            events.append((end, begin, f))
    for at, begin, f in sorted(events):
        key, token = _told(history.values.get(begin), history.values.get(at))
        lock = locks.setdefault(hashable(key), Lock(key))
        process = int(history.process[begin])
        mine = holds[hashable(key)]
        if f == "release":
            held = mine.pop(process, None)
            if held is not None:
                lock.grants.append(_until(held, at))
        elif f == "write":
            lock.writes.append(Granted(begin, at, process, token, at))
        else:
            until = len(history)
            if lease_ns is not None:
                until = int(np.searchsorted(time, history.time[begin] + lease_ns))
            if process in mine:
                lock.grants.append(_until(mine[process], at))
            mine[process] = Granted(begin, at, process, token, until)
    for name, mine in holds.items():
        locks[name].grants += mine.values()
    return list(locks.values())


def _until(held: Granted, at: int) -> Granted:
    return Granted(held.begin, held.end, held.process, held.token, min(held.until, at))


def _told(asked: Any, told: Any) -> tuple[Any, int | None]:
    """Key and token of what was asked and told."""
    if isinstance(asked, list) and len(asked) == 2:
        token = told[1] if isinstance(told, list) and len(told) == 2 else None
        return asked[0], token if type(token) is int else None
    return None, told if type(told) is int else None
