"""A stack is linearizable: what was pushed is popped once, last in, first out.

Reads `push` and `pop` (null for an empty stack), with values or `[key, value]`. A key of which a
value was pushed twice, or null, is judged by the search; so is one whose pops name what nobody
pushed, or one value twice, and one that is not legal as long as its pops in doubt took nothing.

Anomalies:
    nonlinearizable   no order of the operations is legal

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*. A pop in doubt may have taken any value.
Cost: see `nesting`, about 10 µs an operation; the search: see `search`.
Source: see `nesting`; Herlihy & Wing, "Linearizability", TOPLAS 1990.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from checkers import linearizable
from checkers.linearizable import nesting
from checkers.linearizable import values as columns
from checkers.linearizable.argue import finding
from checkers.linearizable.held import Values
from checkers.linearizable.models import Stack
from checkers.linearizable.search import Call, search
from checkers.linearizable.values import Ints
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import EXAMPLES_MAX, Finding, Verdict

ANOMALIES = ("nonlinearizable",)


def check(history: History, contract: Contract) -> Verdict:
    """Every stack that has no order."""
    model, budget = Stack(), linearizable.budget(contract)
    keyed = linearizable.are_keyed(history, model)
    read = Values.read(history, "push", "pop", keyed)
    if read is None:
        return linearizable.judge(history, model, budget=budget)
    told, doubtful = read
    odd = (told.puts != 1) & (told.puts + told.gets > 0) | (told.gets > 1)
    odd |= (told.puts > 0) & ((told.value == NULL) | (told.out_end < told.in_begin))
    unclear = np.unique(told.key[odd])
    found = _Stacks(history, told, keyed, unclear)
    searched = np.union1d(unclear, found.full)
    searched = np.union1d(searched, np.intersect1d(list(found.chains), doubtful.key))
    searched = searched.astype(np.int64)
    verdict = found.verdict(set(searched.tolist()))
    if not len(searched):
        return verdict
    keys = {columns.shown(history, int(code)) if keyed else None for code in searched}
    return linearizable.both(verdict, linearizable.judge(history, model, keys=keys, budget=budget))


class _Stacks:
    """Stacks of values that are pushed once. All keys follow each other on one line of positions.

    Attributes:
        chains: by the code of its key, the first values of a stack that have no order.
        full: keys where a pop found nothing although something was inside all the while.
    """

    def __init__(self, history: History, told: Values, keyed: bool, unclear: Ints) -> None:
        self.history, self.told, self.keyed = history, told, keyed
        stride = len(history) + 3
        codes = np.union1d(told.key, told.empty.key)
        values = np.flatnonzero((told.puts == 1) & ~np.isin(told.key, unclear))
        shift = np.searchsorted(codes, told.key[values]) * stride
        # What is never popped stays: it goes after all that is.
        out_end = told.out_end[values] + (told.taker[values] < 0)
        begin, end, out_begin = (
            at[values] + shift for at in (told.in_begin, told.in_end, told.out_begin)
        )
        self.chains: dict[int, list[int]] = {}
        for chain in nesting.stuck(begin, end, out_begin, out_end + shift):
            numbers = values[chain].tolist()
            self.chains.setdefault(int(told.key[numbers[0]]), numbers)
        self.full = self._full(end, out_begin, np.searchsorted(codes, told.empty.key) * stride)

    def _full(self, since: Ints, until: Ints, shift: Ints) -> Ints:
        empty = self.told.empty
        there = since < until
        since, until = since[there], until[there]
        order = np.argsort(since)
        since, latest = since[order], np.maximum.accumulate(until[order])
        if not len(since):
            return empty.key[:0]
        opens = np.flatnonzero(np.append(True, since[1:] > latest[:-1]))
        closes = latest[np.append(opens[1:], len(latest)) - 1]
        at = np.searchsorted(since[opens], empty.begin + shift) - 1
        return np.unique(empty.key[(at >= 0) & (closes[at] > empty.end + shift)])

    def verdict(self, others: set[int]) -> Verdict:
        """Of all keys but some others."""
        wrong = [key for key in self.chains if key not in others]
        return Verdict.of(
            list(self._findings(wrong[:EXAMPLES_MAX])),
            counts={"nonlinearizable": len(wrong)} if wrong else {},
            stats={"pushes": len(self.told.of_put), "pops": len(self.told.of_got)},
        )

    def _findings(self, keys: list[int]) -> Iterator[Finding]:
        for key in keys:
            calls = sorted(self._calls(self.chains[key]), key=lambda call: call.begin)
            stuck = search(calls, Stack()).stuck
            assert stuck is not None, "a chain has no order"
            shown = columns.shown(self.history, key) if self.keyed else None
            yield finding(self.history, shown, calls, stuck, Stack())

    def _calls(self, values: list[int]) -> Iterator[Call]:
        for value in values:
            yield columns.call(self.history, int(self.told.in_begin[value]), self.keyed)
            if self.told.taker[value] >= 0:
                yield columns.call(self.history, int(self.told.out_begin[value]), self.keyed)
