"""The nodes of a quorum agree: one leader a term, one log, one state, and nothing goes back.

Reads the accounts that nodes gave of themselves, in the order in which they were asked for:
`quorum` of the nemesis' events, a list of

    node, since    who speaks, and what tells its process from the ones before it
    term, commit   that it was in then; the last entry that it knew to be committed
    voted          [term, for whom], as its disk had it
    led            [term, first entry in it], each, of what this process had led
    applied        [entry, checksum of all up to it], ascending; the last is how far it was
    image          [entry, checksum of the state after it]

Anomalies:
    election-safety      two processes led one term (Raft, §5.2)
    metadata-divergence  one place in the log, and two checksums (state machine safety, §5.4.3)
    metadata-regression  a leader began its term without what was committed before it (leader
                         completeness, §5.4); or a process forgot what it knew to be committed
    vote-regression      a node's disk forgot a term or a vote, so that it could vote twice

Blind to: what no account was asked about, such as a leader of a moment; and histories without
accounts. It believes the nodes, which are this project's own: an account may be wrong, but nobody
is malicious.
Cost: n log n in the accounts.
Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm", figure 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict


class Account(msgspec.Struct, frozen=True):
    """See the module."""

    node: str
    since: int
    term: int
    commit: int
    voted: tuple[int, int]
    led: tuple[tuple[int, int], ...] = ()
    applied: tuple[tuple[int, int], ...] = ()
    image: tuple[int, int] | None = None

    @property
    def process(self) -> tuple[str, int]:
        return self.node, self.since

    @property
    def reached(self) -> int:
        """How far it had applied the log."""
        return self.applied[-1][0] if self.applied else 0


@dataclass(frozen=True, slots=True)
class Told:
    """An account, the event that holds it, and its time."""

    position: int
    time: int
    account: Account

    def __str__(self) -> str:
        return f"op {self.position}: {self.account.node}"


def check(history: History, contract: Contract) -> Verdict:
    """A finding for each term, place or node that the accounts contradict each other about."""
    told, odd = _accounts(history)
    findings = [
        _finding(history, *found)
        for look in (_elections, _divergence, _incomplete_leaders, _forgetful, _votes)
        for found in look(told)
    ]
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.anomaly] = counts.get(finding.anomaly, 0) + 1
    shown = [f for name in counts for f in _first(findings, name)]
    doubts = (f"{odd} accounts of nodes are not understood",) if odd else ()
    stats = {"accounts": len(told)} if told else {}
    return Verdict.of(shown, counts=counts, doubts=doubts, stats=stats)


def _first(findings: Iterable[Finding], name: str) -> list[Finding]:
    return [finding for finding in findings if finding.anomaly == name][:EXAMPLES_MAX]


def _accounts(history: History) -> tuple[list[Told], int]:
    """All accounts, in order; and how many were none."""
    told: list[Told] = []
    odd = 0
    seen: set[int] = set()
    for position in np.flatnonzero((history.process < 0) & (history.extra >= 0)).tolist():
        first = history.operation(position)[0]
        op = history[position]
        accounts = (op.extra or {}).get("quorum")
        if accounts is None or first in seen:
            continue  # a mark has the same in both of its events
        seen.add(first)
        for each in accounts if isinstance(accounts, list) else [accounts]:
            try:
                told.append(Told(position, op.time, msgspec.convert(each, Account)))
            except msgspec.ValidationError:
                odd += 1
    return told, odd


Found = tuple[str, Any, str, tuple[str, ...], tuple[Told, ...]]
"""Anomaly, key, claim, sentences, and the accounts that these are about."""


def _elections(told: list[Told]) -> Iterator[Found]:
    """A term belongs to the one process that led it."""
    leaders: dict[int, dict[tuple[str, int], Told]] = {}
    for each in told:
        for term, _ in each.account.led:
            leaders.setdefault(term, {}).setdefault(each.account.process, each)
    for term, by_process in leaders.items():
        if len(by_process) < 2:
            continue
        first, second = list(by_process.values())[:2]
        one, other = first.account.node, second.account.node
        whom = f"{one} led it twice" if one == other else f"{one} and {other} both led it"
        yield (
            "election-safety",
            term,
            f"term {term} had two leaders: {whom}",
            (
                f"{first} says that it led term {term}",
                f"{second}{', a later process,' if one == other else ''} says that it led it, too",
                "however, a node votes once in a term, and two majorities share a node: "
                "a contradiction",
            ),
            (first, second),
        )


def _divergence(told: list[Told]) -> Iterator[Found]:
    """Whoever applied as many entries applied the same ones, and has the same state. What follows
    a first difference differs, too, so that only the first is argued."""
    logs = ((each, at, sum) for each in told for at, sum in each.account.applied)
    images = ((each, *each.account.image) for each in told if each.account.image is not None)
    for name, sums in (("entries", logs), ("image", images)):
        found = _first_difference(sums)
        if found is None:
            continue
        at, (one, a), (other, b) = found
        what = "applied other entries" if name == "entries" else "made another state of the entries"
        yield (
            "metadata-divergence",
            name,
            f"up to entry {at}, {other.account.node} {what} than {one.account.node}",
            (
                f"{one} was at entry {at} with the checksum {a:08x}",
                f"{other} was at entry {at} with the checksum {b:08x}",
                "however, all nodes apply the same entries in the same order: a contradiction",
            ),
            (one, other),
        )


def _first_difference(
    sums: Iterable[tuple[Told, int, int]],
) -> tuple[int, tuple[Told, int], tuple[Told, int]] | None:
    """The lowest entry with two checksums, and who was the first to tell each."""
    known: dict[int, tuple[Told, int]] = {}
    differing: dict[int, tuple[Told, int]] = {}
    for each, at, sum in sums:
        if known.setdefault(at, (each, sum))[1] != sum:
            differing.setdefault(at, (each, sum))
    if not differing:
        return None
    at = min(differing)
    return at, known[at], differing[at]


def _incomplete_leaders(told: list[Told]) -> Iterator[Found]:
    """A leader's own first entry comes after everything that was committed in terms before."""
    led: dict[tuple[int, int, str], Told] = {}
    for each in told:
        for term, first in each.account.led:
            led.setdefault((term, first, each.account.node), each)
    # By term, with the furthest commit of all terms before at hand.
    commits = sorted(enumerate(told), key=lambda pair: (pair[1].account.term, pair[0]))
    furthest: Told | None = None
    place, argued = 0, set()
    for (term, first, node), leader in sorted(led.items(), key=lambda pair: pair[0]):
        while place < len(commits) and commits[place][1].account.term < term:
            each = commits[place][1]
            if furthest is None or each.account.commit > furthest.account.commit:
                furthest = each
            place += 1
        if furthest is None or furthest.account.commit < first or term in argued:
            continue
        argued.add(term)
        known = furthest.account
        yield (
            "metadata-regression",
            term,
            f"{node} began to lead term {term} at entry {first}, where {known.commit} were "
            "committed before",
            (
                f"{furthest}, in term {known.term}, knew entry {known.commit} to be committed",
                f"{leader} says that its first entry as leader of term {term} was {first}",
                "however, a leader has everything that was committed in terms before its own: "
                "a contradiction",
            ),
            (furthest, leader),
        )


def _forgetful(told: list[Told]) -> Iterator[Found]:
    """While a process lives, what it knows to be committed and what it applied only grow."""
    furthest: dict[tuple[tuple[str, int], str], tuple[int, Told]] = {}
    argued = set()
    for each in told:
        account = each.account
        for what, now in (("committed", account.commit), ("applied", account.reached)):
            key = account.process, what
            before, earlier = furthest.get(key, (0, each))
            if now >= before:
                furthest[key] = now, each
            elif key not in argued:
                argued.add(key)
                yield (
                    "metadata-regression",
                    account.node,
                    f"{account.node} went back from {before} entries {what} to fewer",
                    (
                        f"{earlier} had {before} entries {what}",
                        f"{each}, the same process, has {now}",
                        "however, what is committed stays, and is applied once: a contradiction",
                    ),
                    (earlier, each),
                )


def _votes(told: list[Told]) -> Iterator[Found]:
    """What a node's disk says of terms and votes never goes back, whatever happens to the node."""
    latest: dict[str, Told] = {}
    argued = set()
    for each in told:
        node, (term, vote) = each.account.node, each.account.voted
        earlier = latest.setdefault(node, each)
        before, given = earlier.account.voted
        changed = term == before and given not in (0, vote)
        if (term < before or changed) and node not in argued:
            argued.add(node)
            yield (
                "vote-regression",
                node,
                f"{node} forgot on its disk that it was in term {before}"
                + (f" and had voted for {given} in it" if changed else ""),
                (
                    f"{earlier}'s disk held term {before} and a vote for {given or 'nobody'}",
                    f"{each}'s disk holds term {term} and a vote for {vote or 'nobody'}",
                    "however, a node that forgets may vote twice in a term, and so has both on its "
                    "disk before it says anything: a contradiction",
                ),
                (earlier, each),
            )
        latest[node] = each


def _finding(
    history: History,
    anomaly: str,
    key: Any,
    claim: str,
    because: tuple[str, ...],
    accounts: tuple[Told, ...],
) -> Finding:
    events = {event for each in accounts for event in history.operation(each.position)}
    return Finding(
        anomaly=anomaly,
        claim=claim,
        because=because,
        witness=tuple(sorted(events)),
        key=key,
        span=(0, max(each.time for each in accounts)),
    )
