"""A lock is held by one at a time, and a resource takes no orders of a holder of the past.

Reads `acquire` (null -> token), `release` and `write` (of the token it shows), or of `[key, …]` for
a lock of each key. A lock without tokens tells null. A client is certain to hold the lock from when
it is told so until it begins to release it, or, with `-o lease-ms=N`, until N ms after it asked. A
lease that may have been over when its holder was told of it was the holder's at some moment before.

Anomalies:
    mutex-overlap       two clients held a lock at once
    token-regression    a later grant has no newer token than an earlier one
    fencing-violation   a write with an older token was accepted after one with a newer token

Where holders are told apart by tokens, a client may believe in its lock for too long: with
`-o fenced=true` an overlap is allowed, and what the resource accepts is not.

A client that acquires again what it holds goes on holding it, and may be told the same token.

Blind to: acquisitions and writes in doubt, which need not have happened; tokens that are no
    integers.
Cost: sorts; about 10 µs an operation.
Source: M. Kleppmann, "How to do distributed locking" (2016), for fencing tokens.

How it works. Of holds that are known, each can be taken to begin when its holder is told of it, and
to end when that one begins to give it up: later than that, and earlier, it would only meet more of
the others. So two that meet even then are a contradiction, and where no two do, all is well.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from checkers.locks import Granted, Hold, Lock, locks
from checkers.strangers import knows
from checkers.told import Told, judged
from checkers.txn_cases import Cases
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = ("mutex-overlap", "token-regression", "fencing-violation")


Pair = tuple[Sequence[Granted], Granted]
"""One that contradicts what others show together."""


@knows(("acquire", "release", "write", "read"))
def check(history: History, contract: Contract) -> Verdict:
    """A lock is held by one at a time, and its resource takes no orders of holders of the past."""
    lease_ms = contract.promises.get("lease-ms")
    lease_ns = None if lease_ms is None else int(lease_ms) * 1_000_000
    found = locks(history, lease_ns)
    grants = sum(len(lock.grants) for lock in found)
    doubts = [] if grants else ["nobody acquired a lock"]
    stats = {"grants": grants, "writes": sum(len(lock.writes) for lock in found)}

    def detect(told: Told) -> Mapping[str, Cases]:
        whole = told.history is history
        return _cases(told, found if whole else locks(told.history, lease_ns), lease_ns)

    return judged(history, detect, doubts=doubts, stats=stats)


def _cases(told: Told, some: Sequence[Lock], lease_ns: int | None) -> Mapping[str, Cases]:
    found: dict[str, list[tuple[Lock, Pair]]] = {name: [] for name in ANOMALIES}
    for lock in some:
        found["mutex-overlap"] += ((lock, pair) for pair in _overlaps(lock))
        found["token-regression"] += ((lock, pair) for pair in _behind(lock.grants, equal=True))
        found["fencing-violation"] += ((lock, pair) for pair in _behind(lock.writes, equal=False))

    def cases(name: str, some: list[tuple[Lock, Pair]]) -> Cases:
        return Cases(len(some), lambda n: _finding(told, name, some[n][0], *some[n][1], lease_ns))

    return {name: cases(name, some) for name, some in found.items()}


def _overlaps(lock: Lock) -> Iterator[Pair]:
    """Each grant by which the lock was held while somebody else was certain to hold it."""
    holds = sorted(lock.holds, key=lambda hold: hold.since)
    since = [hold.since for hold in holds]
    longest: list[tuple[Hold, ...]] = [()]
    for hold in holds:
        longest.append(_longest(*longest[-1], hold))
    for grant in lock.grants:
        for hold in longest[bisect_left(since, grant.held_by)]:
            if hold.process != grant.process and hold.until > grant.end:
                yield hold.shown(grant.held_by, grant.end), grant
                break


def _longest(*holds: Hold) -> tuple[Hold, ...]:
    """Of each process what it holds longest, and of two processes at most."""
    of: dict[int, Hold] = {}
    for hold in holds:
        if hold.process not in of or of[hold.process].until < hold.until:
            of[hold.process] = hold
    return tuple(sorted(of.values(), key=lambda hold: -hold.until)[:2])


def _behind(some: list[Granted], equal: bool) -> Iterator[Pair]:
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
        alike = equal and not one.again
        if newest is not None and (one.token or 0) < (newest.token or 0) + alike:
            yield [newest], one
        elif alike and twin is not one:
            yield [twin], one


# -- arguments -----------------------------------------------------------------------------------


def _finding(
    told: Told,
    anomaly: str,
    lock: Lock,
    shown: Sequence[Granted],
    other: Granted,
    lease_ns: int | None,
) -> Finding:
    say: dict[str, Callable[[Told, Granted, Granted], Said]] = {
        "mutex-overlap": partial(_overlap, lease_ns),
        "token-regression": _regression,
        "fencing-violation": _violation,
    }
    claim, first, second = say[anomaly](told, shown[0], other)
    more = [f"{told.words(one.begin)}, before that was over" for one in shown[1:]]
    begins = [one.begin for one in (*shown, other)]
    if anomaly == "token-regression" and shown[0].process == other.process:
        same = shown[0].token == other.token  # which it may be while its client holds the lock
        if same and other.released is not None:
            more.append(f"{told.words(other.released)}: it gave the lock up")
            begins.append(other.released)
    because = (first, *more, f"however, {second}: a contradiction")
    return told.finding(anomaly, claim, because, begins, lock.key)


Said = tuple[str, str, str]
"""The claim, what the first shows, and what the other one shows that contradicts it."""


def _overlap(lease_ns: int | None, told: Told, one: Granted, other: Granted) -> Said:
    until = "" if lease_ns is None else f", within {lease_ns / 1e6:g} ms from when it had asked"
    when = ","
    if other.until <= other.end:
        when = (
            f", which {told.span(other.begin)}: whenever it was granted, c{other.process} held the "
            "lock after that, and"
        )
    return (
        f"c{one.process} and c{other.process} both held the lock",
        f"{told.words(one.begin)}: from then on c{one.process} holds the lock",
        f"{told.words(other.begin)}{when} before c{one.process} began to release it{until}",
    )


def _regression(told: Told, one: Granted, other: Granted) -> Said:
    return (
        f"c{other.process} was granted token {other.token}, which is not new",
        f"{told.words(one.begin)}, which {told.span(one.begin)}",
        f"{told.words(other.begin)}, which {told.span(other.begin)}: each grant has a newer token "
        "than those before it",
    )


def _violation(told: Told, one: Granted, other: Granted) -> Said:
    return (
        f"a write of c{other.process} with token {other.token} was accepted after a newer one",
        f"{told.words(one.begin)} was accepted: token {one.token} was known from then on",
        f"{told.words(other.begin)} began later, at op {told.at(other.begin)}, with the older "
        f"token {other.token}, and was accepted",
    )
