"""Words for reads and writes of registers, and for the ways from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from checkers.causal_order import LINKED, OTHER, READ, SESSION, Order, Way
from checkers.told import Told
from checkers.transactions import shown
from harness.cycle import Cycle, Step
from harness.verdict import Finding

KINDS = {SESSION: "process", READ: "wr", LINKED: "link", OTHER: "cf"}
"""What a step of a circle is called. `cf`: who knew the first had the value of the second."""


@dataclass(frozen=True, slots=True)
class Words:
    told: Told
    order: Order

    def of(self, row: int) -> str:
        """The operation."""
        return self.told.words(self._begin(row))

    def who(self, row: int) -> str:
        return f"c{self.order.accesses.process[row]}"

    def value(self, row: int) -> str:
        return shown(self.order.accesses.told(row))

    def steps(self, way: Way) -> Iterator[str]:
        """A sentence for each step of a way."""
        for (one, why), (other, _) in pairwise(way):
            yield self.step(one, why, other)

    def step(self, one: int, why: int, other: int) -> str:
        """Why an operation comes before another."""
        if why == SESSION:
            return f"{self.of(one)} came before {self.of(other)} in the same session"
        if why == READ:
            return f"{self.of(one)} was read in {self.of(other)}"
        assert why == LINKED
        return f"{self.of(one)} is what {self.of(other)} says that it follows"

    def finding(
        self,
        anomaly: str,
        claim: str,
        because: Sequence[str],
        about: int,
        rows: Iterable[int],
        more: Iterable[int] = (),
    ) -> Finding:
        """A finding about the key of an operation.

        Args:
            rows: of the operations that show it. more: begins of others that failed.
        """
        begins = [*map(self._begin, rows), *more]
        key = self.order.accesses.name(about)
        return self.told.finding(anomaly, claim, because, begins, key)

    def circle(
        self, anomaly: str, claim: str, about: int, argument: Argument, more: Iterable[int] = ()
    ) -> Finding:
        """A finding of operations in a circle. `more`: rows of others that show it."""
        cycle = argument.cycle()
        begins = map(self._begin, dict.fromkeys([*argument.rows, *more]))
        key = self.order.accesses.name(about)
        return self.told.finding(anomaly, claim, cycle.sentences(), begins, key, cycle)

    def _begin(self, row: int) -> int:
        return int(self.order.accesses.begin[row])


@dataclass(slots=True)
class Argument:
    """A circle of operations, T1, T2, …, and why each comes before the next.

    Attributes:
        rows: of the operations, in the order of their names.
    """

    words: Words
    rows: list[int]
    _steps: list[Step] = field(default_factory=list)

    def name(self, row: int) -> str:
        if row not in self.rows:
            self.rows.append(row)
        return f"T{self.rows.index(row) + 1}"

    def step(self, one: int, why: int, other: int) -> None:
        """The next step of the circle, of causal order."""
        self._add(
            one, why, other, self.why(one, why, other), () if why == SESSION else (one, other)
        )

    def resolved(self, one: int, other: int, read: int, known: Iterable[str]) -> None:
        """The next step: two writes that a read puts in this order, since it knew the one by then
        (sentences say how) and has the value of the other."""
        first, reader, second = self.name(one), self.name(read), self.name(other)
        why = (
            f"{reader} knew {first} ({'; '.join(dict.fromkeys(known))}) and all the same read "
            f"{self.words.value(read)}, which {second} wrote over it"
        )
        self._add(one, OTHER, other, why, (one, other, read))

    def _add(self, one: int, why: int, other: int, said: str, shown: Iterable[int]) -> None:
        places = self.rows.index(one), self.rows.index(other)
        kind, shows = KINDS[why], tuple((self.rows.index(row), 0) for row in shown)
        accesses = self.words.order.accesses
        key = accesses.name(one) if shows else None
        values = (accesses.told(one),) if why == READ else ()
        self._steps.append(Step(*places, kind, said, key, values, shows))

    def why(self, one: int, why: int, other: int) -> str:
        """Why an operation comes causally before another."""
        words = self.words
        first, second = self.name(one), self.name(other)
        if why == SESSION:
            return (
                f"process {words.order.accesses.process[one]} did {first} first, and then {second}"
            )
        if why == READ:
            return f"{first} wrote {words.value(one)}, and {second} read it"
        assert why == LINKED
        return f"{second} says that it follows {first}"

    def cycle(self) -> Cycle:
        told = self.words.told
        begins = [int(self.words.order.accesses.begin[row]) for row in self.rows]
        transactions = [
            told.transaction(f"T{number}", begin) for number, begin in enumerate(begins, 1)
        ]
        return Cycle(tuple(transactions), tuple(self._steps))
