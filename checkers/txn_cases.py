"""Cases of anomalies of transactions: counted, and some of them argued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers import cycles
from checkers.cycles import CLASSES, WORDS, Cycle, Edges
from checkers.smallest import Find, smallest
from checkers.tangles import tangled
from checkers.transactions import Bools, Transactions
from checkers.txn_words import Reason, Words
from harness import consistency
from harness.cycle import Cycle as Circle
from harness.cycle import Step
from harness.history import History
from harness.op import OK
from harness.verdict import Finding, Verdict
from harness.windows import NEVER, Windows

CLAIMS = dict(
    zip(
        CLASSES,
        (
            "each wrote on top of the one before it",
            "each saw a write of the one before it, or wrote on top of it",
            "one of them missed a write that must have come before it",
            "some missed a write of the next one, though no two of them in a row",
            "some missed a write of the next one, two of them in a row",
        ),
        strict=True,
    )
)

ORDERS = {
    "": "no order",
    "-process": "no order that keeps each process' own",
    "-realtime": "no order that keeps to real time",
}

STEPS_MAX = 24
"""Steps of a cycle that are argued one by one."""


@dataclass(frozen=True, slots=True)
class Cases:
    """All cases of an anomaly: how many, and the finding of each, with operations enough."""

    count: int
    make: Callable[[int], Finding]

    def some(self, most: int) -> Iterator[Finding]:
        yield from map(self.make, range(min(self.count, most)))

    @staticmethod
    def none() -> Cases:
        return Cases(0, _no_case)


def _no_case(number: int) -> Finding:
    raise AssertionError("there is no case")


def judged(
    history: History,
    cases: Mapping[str, Cases],
    find: Find,
    doubts: Iterable[str],
    examples: int,
    stats: Mapping[str, Any],
) -> Verdict:
    """The verdict of all cases: counts of all, findings of some, and the models they rule out."""
    counts = {name: some.count for name, some in cases.items()}
    found = [smallest(history, one, find) for some in cases.values() for one in some.some(examples)]
    weakest, stronger = consistency.excluded(counts)
    told = {**stats, "not": weakest, "also-not": stronger}
    if weakest:
        also = f"; also not {', '.join(stronger)}" if stronger else ""
        told["note"] = f"not {', '.join(weakest)}{also}"
    windows = {name: Windows.of(np.zeros(count), NEVER) for name, count in counts.items()}
    return Verdict.of(found, counts=counts, doubts=doubts, stats=told, windows=windows)


def unrelated(t: Transactions, edges: Edges) -> list[str]:
    """A doubt where no transaction was seen to come before another: any isolation allows that."""
    if len(edges) or len(t) < 2:
        return []
    return [
        f"none of {len(t)} transactions was seen to depend on another: nobody read what another "
        "wrote, or did not, so that nothing was tested"
    ]


def cycle_cases(
    t: Transactions,
    committed: Bools,
    edges: Edges,
    free: int,
    words: Callable[[tuple[int, ...]], Words],
) -> dict[str, Cases]:
    """The cycles of these edges with the orders of processes and of time.

    Args:
        free: the first number that is no node.
        words: what tells of some transactions, named in this order.
    """
    node = np.flatnonzero(committed).astype(np.int32)
    ended = np.where(t.status == OK, t.end, np.int32(-1))
    known = tangled(edges, free, node, t.begin, ended)
    if not known.any():
        return {}
    # Edges of time are many: only those that can close a circle are made.
    edges, node = edges.take(known[edges.source] & known[edges.target]), node[known[node]]
    process = cycles.process_edges(t.process[node], node)
    realtime, nodes = cycles.realtime_edges(t.begin[node], ended[node], node, free)
    found: dict[str, list[Cycle]] = {}
    for cycle in cycles.cycles(edges, process, realtime, t.begin, ended, nodes):
        found.setdefault(cycle.anomaly, []).append(cycle)

    def cases(some: list[Cycle]) -> Cases:
        return Cases(len(some), lambda number: _told(words(some[number].txns), some[number]))

    return {name: cases(some) for name, some in found.items()}


def _told(words: Words, cycle: Cycle) -> Finding:
    """The argument of a cycle: every step has a reason, and of a long one the ends are told."""
    steps = list(cycle.steps())
    reasons = [words.reason(*step) for step in steps]
    half = STEPS_MAX // 2
    told = list(zip(steps, reasons, strict=True))
    left_out = max(len(told) - STEPS_MAX, 0)
    if left_out:
        told = told[:half] + told[-half:]
    name = cycle.anomaly.removesuffix("-process").removesuffix("-realtime")
    suffix = cycle.anomaly.removeprefix(name)
    claim = f"{len(set(cycle.txns))} transactions fit in {ORDERS[suffix]}: {CLAIMS[name]}"
    return words.circle(cycle.anomaly, claim, _circle(words, told, left_out))


def _circle(
    words: Words, told: Sequence[tuple[tuple[int, int, int], Reason]], left_out: int
) -> Circle:
    t = words.t
    about: dict[int, set[int]] = {}
    for _, reason in told:
        for row in reason.mops:
            about.setdefault(row, set()).update(reason.values)
    ring = [txn for (source, _, target), _ in told for txn in (source, target)]
    showing = [int(t.txn[row]) for _, reason in told for row in reason.mops]
    txns = list(dict.fromkeys([*ring, *showing]))
    place = {txn: at for at, txn in enumerate(txns)}
    first = {txn: t.mops(txn).start for txn in txns}

    def mop(row: int) -> tuple[int, int]:
        txn = int(t.txn[row])
        return place[txn], row - first[txn]

    def step(source: int, kind: int, target: int, reason: Reason) -> Step:
        decode = t.history.values.decode
        return Step(
            place[source],
            place[target],
            WORDS[kind],
            reason.why,
            decode(int(t.keys[reason.key])) if reason.mops else None,
            tuple(map(decode, reason.values)),
            tuple(map(mop, reason.mops)),
        )

    return Circle(
        tuple(words.transaction(txn, about) for txn in txns),
        tuple(step(*edge, reason) for edge, reason in told),
        left_out,
    )
