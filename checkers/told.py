"""Findings about operations, told in words, for a whole history or for a part of one.

A checker that uses this has one function that finds, `(history, index) -> Told → cases`: it judges
the whole history, and then each finding's own operations, until none of them can be done without.

Cost: what is told, a few milliseconds a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.smallest import smallest, span
from checkers.transactions import Ints, shown
from checkers.txn_cases import Cases
from harness.cycle import Cycle, Transaction
from harness.history import History
from harness.op import FAIL, OK
from harness.verdict import EXAMPLES_MAX, Finding, Verdict
from harness.windows import NEVER, Windows

Detect = Callable[["Told"], Mapping[str, Cases]]
"""All cases of a history, by anomaly."""


@dataclass(frozen=True, slots=True)
class Told:
    """A history whose operations are spoken of by their indices in the one that it is a part of."""

    history: History
    index: Ints | None = None

    def at(self, position: int) -> int:
        """The event's index in the whole history."""
        return position if self.index is None else int(self.index[position])

    def end(self, begin: int) -> int | None:
        """The position of the operation's completion, if it is OK."""
        end = int(self.history.pair[begin])
        return end if end >= 0 and self.history.type[end] == OK else None

    def words(self, begin: int) -> str:
        """The operation in short, and by which event it is known: `c1's read -> 4 (op 7)`."""
        history = self.history
        end = int(history.pair[begin])
        said = f"c{history.process[begin]}'s {self.did(begin)}"
        known = self.end(begin)
        if end >= 0 and history.type[end] == FAIL:
            return f"{said} (op {self.at(end)}, failed)"
        doubt = "" if known is not None else ", in doubt"
        return f"{said} (op {self.at(begin if known is None else known)}{doubt})"

    def did(self, begin: int) -> str:
        """What was asked for, and what was told: `read -> 4`."""
        op, known = self.history[begin], self.end(begin)
        said = op.f if op.value is None else f"{op.f} {shown(op.value)}"
        if known is not None and (told := self.history[known].value) != op.value:
            said += f" -> {shown(told)}"
        return said

    def transaction(self, name: str, begin: int) -> Transaction:
        """The operation as one of a cycle."""
        history, events = self.history, self.history.operation(begin)
        outcome = {OK: "ok", FAIL: "fail"}.get(int(history.type[events[-1]]), "info")
        whole = tuple(map(self.at, events))
        return Transaction(
            name, whole, int(history.process[begin]), outcome, {0: self.did(begin)}, 1
        )

    def span(self, begin: int) -> str:
        """When the operation was under way."""
        end = self.end(begin)
        first = f"began at op {self.at(begin)}"
        return first if end is None else f"{first} and ended at op {self.at(end)}"

    def finding(
        self,
        anomaly: str,
        claim: str,
        because: Sequence[str],
        begins: Iterable[int],
        key: Any = None,
        cycle: Cycle | None = None,
    ) -> Finding:
        """The finding that these operations show; of a cycle, `because` is what it says."""
        events = {at for begin in begins for at in self.history.operation(begin)}
        witness = tuple(sorted(events))
        claim = claim if key is None else f"key {shown(key)}: {claim}"
        when = span(self.history, witness)
        return Finding(anomaly, claim, tuple(because), witness, key, when, cycle=cycle)


def judged(
    history: History,
    detect: Detect,
    *,
    doubts: Iterable[str] = (),
    stats: Mapping[str, Any] | None = None,
    examples: int = EXAMPLES_MAX,
) -> Verdict:
    """The verdict of all cases: all counted, some argued with as few operations as will do."""

    def find(part: History, index: Ints) -> Iterator[Finding]:
        for some in detect(Told(part, index)).values():
            yield from some.some(some.count)

    cases = {name: some for name, some in detect(Told(history)).items() if some.count}
    counts = {name: some.count for name, some in cases.items()}
    found = [smallest(history, one, find) for some in cases.values() for one in some.some(examples)]
    windows = {name: Windows.of(np.zeros(count), NEVER) for name, count in counts.items()}
    return Verdict.of(found, counts=counts, doubts=doubts, stats=stats, windows=windows)
