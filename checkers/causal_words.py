"""Words for reads and writes of registers, and for the ways from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from checkers.causal_order import LINKED, READ, SESSION, Order, Way
from checkers.told import Told
from checkers.transactions import shown
from harness.verdict import Finding


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

    def _begin(self, row: int) -> int:
        return int(self.order.accesses.begin[row])
