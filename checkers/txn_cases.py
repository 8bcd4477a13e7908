"""Cases of anomalies of transactions, and words for them.

In a finding transactions are T1, T2, … in the order in which they are first spoken of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from checkers import cycles
from checkers.cycles import CLASSES, PROCESS, REALTIME, Cycle, Edges
from checkers.smallest import Find, smallest, span
from checkers.transactions import Bools, Ints, Transactions, shown
from harness import consistency
from harness.history import History
from harness.op import FAIL, INFO, OK
from harness.verdict import Finding, Verdict
from harness.windows import NEVER, Windows

CLAIMS = dict(
    zip(
        CLASSES,
        (
            "wrote in a circle",
            "depend on each other in a circle",
            "depend on each other in a circle, one of them by not having seen a write",
            "did not see each other's writes, in a circle of which no two in a row did not",
            "did not see each other's writes, in a circle",
        ),
        strict=True,
    )
)


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


class Words:
    """Names of transactions, and the finding that speaks of them."""

    def __init__(self, t: Transactions, index: Ints | None, txns: Iterable[int] = ()) -> None:
        self.t, self.index = t, index
        self.names: dict[int, str] = {}
        for txn in txns:
            self.name(txn)

    def name(self, txn: int) -> str:
        return self.names.setdefault(txn, f"T{len(self.names) + 1}")

    def _who(self, txn: int) -> str:
        at = self.t.events(txn)[-1]
        op = self.t.history[at]
        index = at if self.index is None else int(self.index[at])
        ends = {FAIL: ", which failed", INFO: ", whose outcome is unknown"}
        end = ends.get(int(self.t.status[txn]), "")
        return f"op {index}, process {op.process}{end}: {shown(op.value)}"

    def finding(
        self, anomaly: str, claim: str, because: Sequence[str], *, key: int | None = None
    ) -> Finding:
        told = [f"{name} is {self._who(txn)}" for txn, name in self.names.items()]
        if len(told) > STEPS_MAX:
            told[STEPS_MAX:] = [f"… and {len(told) - STEPS_MAX} more"]
        history = self.t.history
        witness = self.t.witness(self.names)
        name = None if key is None else history.values.decode(int(self.t.keys[key]))
        return Finding(
            anomaly,
            claim,
            (*told, *because),
            witness,
            key=name,
            span=span(history, witness),
        )


W = TypeVar("W", bound=Words)


def cycle_cases(
    t: Transactions,
    committed: Bools,
    edges: Edges,
    free: int,
    words: Callable[[tuple[int, ...]], W],
    why: Callable[[W, int, int, int], str],
) -> dict[str, Cases]:
    """The cycles of these edges with the orders of processes and of time.

    Args:
        free: the first number that is no node.
        why: says why a transaction comes before another, given (words, one, kind, other); it names
            whoever shows that.
    """
    node = np.flatnonzero(committed)
    ended = np.where(t.status == OK, t.end, -1)
    end = ended[node]
    process = cycles.process_edges(t.process[node], node)
    realtime, nodes = cycles.realtime_edges(t.begin[node], end, node, len(t.history), free)
    found: dict[str, list[Cycle]] = {}
    for cycle in cycles.cycles(edges, process, realtime, t.begin, ended, nodes):
        found.setdefault(cycle.anomaly, []).append(cycle)

    def cases(some: list[Cycle]) -> Cases:
        return Cases(len(some), lambda number: _told(words(some[number].txns), some[number], why))

    return {name: cases(some) for name, some in found.items()}


def _told(words: W, cycle: Cycle, why: Callable[[W, int, int, int], str]) -> Finding:
    because = []
    for source, kind, target in cycle.steps():
        one, other = words.name(source), words.name(target)
        if kind == PROCESS:
            said = f"process {words.t.process[source]} did {one}, and then {other}"
        elif kind == REALTIME:
            said = f"{one} had ended before {other} began"
        else:
            said = why(words, source, kind, target)
        because.append(f"{one} < {other}, because {said}")
    because[-1] = f"however, {because[-1]}: a contradiction"
    if len(because) > STEPS_MAX:
        left_out = len(because) - STEPS_MAX
        half = STEPS_MAX // 2
        because[half:-half] = [f"… and so on, {left_out} times more"]
    base = cycle.anomaly.removesuffix("-process").removesuffix("-realtime")
    claim = f"{len(cycle.txns)} transactions {CLAIMS[base]}"
    return words.finding(cycle.anomaly, claim, because)
