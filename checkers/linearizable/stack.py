"""A stack is linearizable: what was pushed is popped once, last in, first out.

Reads `push` and `pop` (null for an empty stack), with values or `[key, value]`. A key of which a
value was pushed twice, or null, is judged by the search; so is one of which it depends on the pops
in doubt whether it is legal, where no assignment is found.

Anomalies:
    reordered         values came out while others lay on them: none can have lain lowest
    skipped           such others never came out
    false-empty       a pop found nothing although something was inside all the while
    duplicate         a value came out twice
    future-read       a value came out before anybody began to push it
    phantom           a value came out that nobody tried to push
    G1a               a value came out whose push failed
    nonlinearizable   no order of the operations is legal (found by the search)

Blind to: nothing within the search's budget (`-o configurations=N`), and beyond it the verdict is
    *unknown*.
Cost: see `nesting`, about 10 µs an operation; the search: see `search`.
Source: see `nesting`; Herlihy & Wing, "Linearizability", TOPLAS 1990.

How it works. What is wrong is wrong of some values alone: spans that follow each other, of which
none can be the lowest one (`nesting`), or an empty stack within such spans. A push in doubt whose
value came out did happen, and has no end; else it is left out. A value that is never popped stays
until after the end. A pop in doubt can only have taken a value that never came out, or nothing:
what is found without all of these is certain, and where nothing is found with them, there is
nothing. What those in doubt took has deadlines (`doubts`): a value was popped before what lay below
it was. Pops in doubt that are left then take what there is, the lowest first; that they can stay
away until after the end, too, makes it no harm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from checkers import linearizable
from checkers.linearizable import nesting
from checkers.linearizable import values as columns
from checkers.linearizable.containers import Arguments, Cases, Container
from checkers.linearizable.doubts import Doubts, Places, Short, split
from checkers.linearizable.held import Strays, Values, unlike_spelled
from checkers.linearizable.inside import Inside, Line
from checkers.linearizable.models import Stack
from checkers.linearizable.values import Bools, Ints
from checkers.strangers import knows
from harness.columns import NULL
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Finding, Verdict

ANOMALIES = (
    *("reordered", "skipped", "false-empty", "duplicate", "future-read", "phantom", "G1a"),
    "nonlinearizable",
)

STACK = Container("stack", "push", "pop", over="nothing that was put on it")

MENDED_MAX = 200
"""Values that are in the way at a time, up to which an order is looked for without the search."""

CHAIN_MAX = 40
"""Values of a chain up to which each is tried without."""


@knows(Stack.fs)
def check(history: History, contract: Contract) -> Verdict:
    """Every value that came out from below others, and every empty stack that was not."""
    model, budget, never = Stack(), linearizable.budget(contract), len(history)
    keyed = linearizable.are_keyed(history, model)
    read = Values.read(history, "push", "pop", keyed)
    if read is None:
        return linearizable.judge(history, model, budget=budget)
    told, doubtful = read
    twice = (told.puts > 1) | unlike_spelled(history, told)
    unclear = np.unique(told.key[twice | ((told.puts > 0) & (told.value == NULL))])
    clear = ~np.isin(told.key, unclear)
    judged, searched, short = _Judged(told, never, clear), unclear, []
    unsure = np.intersect1d(judged.wrong_keys(), doubtful.key)
    if len(unsure):
        # Without what somebody may have taken who is in doubt: this is certain.
        lost = np.isin(told.key, unsure) & (told.taker < 0)
        judged = _Judged(told, never, clear & ~lost)
        unsure = np.setdiff1d(unsure, judged.wrong_keys())
        asked = clear & np.isin(told.key, unsure)
        begun = doubtful.where(np.isin(doubtful.key, unsure))
        shift = Line(told, never).shift(told.key)
        places = Places(-(told.in_end + shift), -(told.in_begin + shift))
        doubts = Doubts(told, places, never, asked, begun)
        opened = doubts.open(lambda taken: _Mended(taken, never, asked).told_of(), spare=True)
        searched, short = np.union1d(unclear, opened), doubts.short
    verdict = _Findings(Arguments(history, told, keyed, STACK), judged, short).verdict()
    if not len(searched):
        return verdict
    keys = {columns.shown(history, int(code)) if keyed else None for code in searched}
    return linearizable.both(verdict, linearizable.judge(history, model, keys=keys, budget=budget))


class _Judged:
    """What contradicts stacks among the chosen values. All keys lie on one line of positions.

    Attributes:
        chains: the values of parts that have no order.
        false: numbers of the pops that found nothing although something was inside.
    """

    def __init__(self, told: Values, never: int, chosen: Bools) -> None:
        self.told = told
        self.strays = Strays.of(told, chosen)
        fine, self.line = self.strays.fine, Line(told, never)
        shift = self.line.shift(told.key[fine])
        # What has no end may be popped as late as what is never popped: that goes after all else.
        out_end = told.out_end[fine]
        out_end = out_end + (out_end == never) + shift
        begin, end = told.in_begin[fine] + shift, told.in_end[fine] + shift
        stuck = nesting.stuck(begin, end, told.out_begin[fine] + shift, out_end, self.blame)
        self.chains = [fine[chain].tolist() for chain in stuck]
        self.inside = Inside(told, self.line, fine)
        self.false = self.inside.false_empty()

    def blame(self, chain: list[int]) -> int:
        """Which of the values of a chain to do without, by its place among the fine ones."""
        return -1

    def wrong_keys(self) -> Ints:
        """Codes of the keys of which something was found."""
        told = self.told
        of_chains = told.key[np.array([chain[0] for chain in self.chains], np.int64)]
        of_empty = told.empty.key[self.false]
        return np.unique(np.concatenate([told.key[self.strays.numbers()], of_chains, of_empty]))


class _Mended(_Judged):
    """Stacks of which some values were taken by pops in doubt, which may have come sooner.

    Attributes:
        earlier: values that are in the way, with deadlines on the line that would mend it.
    """

    def __init__(self, told: Values, never: int, chosen: Bools) -> None:
        self.never, self.earlier = never, dict[int, int]()
        super().__init__(told, never, chosen)

    def blame(self, chain: list[int]) -> int:
        """The one without an end whose pop began last. The others can have an order only if it was
        out before the last of those was that can have lain lowest."""
        told, values = self.told, self.strays.fine[chain]
        endless = told.out_end[values] == self.never
        if not endless.any() or len(self.earlier) == MENDED_MAX:
            return -1
        last = int(np.argmax(np.where(endless, told.out_begin[values], -1)))
        lowest = ~endless & (told.in_begin[values] < told.in_end[values].min())
        shift = int(np.max(self.line.shift(told.key[values[:1]])))
        self.earlier[int(values[last])] = int(told.out_end[values[lowest]].max()) + shift
        return chain[last]

    def told_of(self) -> tuple[Ints, dict[int, int]]:
        """The keys that are wrong, and what may mend them."""
        keys = self.told.key[np.array(list(self.earlier), np.int64)]
        return np.union1d(self.wrong_keys(), keys), self.earlier


class _Findings:
    """Why values came out too early, or others must have been taken by more than there were."""

    def __init__(self, argue: Arguments, judged: _Judged, short: Sequence[Short]) -> None:
        self.argue, self.told, self.judged, self.short = argue, argue.told, judged, short

    def verdict(self) -> Verdict:
        told, judged = self.told, self.judged
        lost = [bool((told.taker[chain] < 0).any()) for chain in judged.chains]
        chains = list(zip(judged.chains, lost, strict=True))
        empty, others, pairs = split(self.short)
        cases: Cases = {
            "reordered": [([chain for chain, never in chains if not never], self._nested)],
            "skipped": [
                ([chain for chain, never in chains if never], self._nested),
                ([[lost.out[0], lost.values[0]] for lost in pairs], self._nested),
                (others, self.argue.short),
            ],
            "false-empty": [(judged.false, self._false), (empty, self.argue.short)],
            **self.argue.strays(judged.strays),
        }
        return self.argue.verdict(
            cases,
            {
                "keys": len(judged.line.codes),
                "pushes": len(told.of_put),
                "pops": len(told.of_got),
                "empty": len(told.empty),
            },
        )

    def _false(self, number: int) -> Finding:
        return self.argue.false_empty(number, self.judged.inside.through_empty(number))

    def _nested(self, chain: Sequence[int]) -> Finding:
        """Values of which none can have lain below the others all the while."""
        say, told = self.argue, self.told
        values = sorted(self._fewest(list(chain)), key=lambda value: told.in_end[value])
        lost = [value for value in values if told.taker[value] < 0]
        names = [*map(say.value, values)]
        if len(values) > 2:
            claim = f"none of {', '.join(names)} can have lain below the others"
        elif lost:
            claim = f"{names[0]} came out while {names[1]} lay on it"
        else:
            claim = f"{names[0]} came out before {names[1]}, which lay on it"
        if lost:
            claim += f"; {', '.join(map(say.value, lost))} never came out"
        outs = [say.got(value) for value in values if value not in lost]
        return say.finding(
            "skipped" if lost else "reordered",
            values[0],
            claim,
            (
                *self._while_inside(values),
                *self._why_not_lowest(values),
                "however, they follow each other without a gap, so that one of them lay lowest: "
                "a contradiction",
            ),
            [*map(say.put, values), *outs],
        )

    def _while_inside(self, values: Sequence[int]) -> Iterator[str]:
        say = self.argue
        for value in values:
            put = say.put(value)
            told = f"{say.words(put)} ended at op {put[1]}"
            if self.told.taker[value] >= 0:
                out = say.got(value)
                told += f", and {say.words(out)} began at op {out[0]}"
            yield told

    def _why_not_lowest(self, values: Sequence[int]) -> Iterator[str]:
        say, told = self.argue, self.told
        first, last = values[0], max(values, key=lambda value: told.out_begin[value])
        for value in values:
            if told.in_begin[value] > told.in_end[first]:
                other, why = first, f"push began later, at op {say.put(value)[0]}"
            else:
                other, why = last, f"pop ended before, at op {say.got(value)[1]}"
            yield f"{say.value(value)} did not lie below {say.value(other)}: its {why}"

    def _fewest(self, chain: list[int]) -> list[int]:
        """The chain without what it can do without."""
        if len(chain) > CHAIN_MAX:
            return chain
        for value in list(chain):
            fewer = [other for other in chain if other != value]
            if self._is_stuck(fewer):
                chain = fewer
        return chain

    def _is_stuck(self, values: Sequence[int]) -> bool:
        told, never = self.told, len(self.argue.history)
        out_end = told.out_end[values]
        out_end = out_end + (out_end == never)
        at = told.in_begin[values], told.in_end[values], told.out_begin[values]
        return bool(nesting.stuck(*at, out_end))
