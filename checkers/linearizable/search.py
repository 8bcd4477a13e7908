"""The search for an order: is there a sequence of the calls that the model allows?

A call takes effect at one moment between its begin and its end. The search goes through the events
in their order and decides as late as it can (Lowe's just-in-time linearization): only where a call
returns that has not taken effect yet, some of those under way take effect, it last. It goes into
the depth (Wing & Gong), and remembers every configuration that it has seen (Lowe): the event, the
set of calls that took effect and have not returned yet, as the bits of an integer, and the state.
States and kinds of calls are small integers; what a kind does in a state is asked of the model
once.

What makes it short, and why nothing is missed:

    a call that only looks        takes effect as soon as its outcome fits: any order in which it
                                  comes later is still one when it is moved to here
    calls that are the same       take effect in the order of their ends: they can change places
    a call that need not happen   does not happen where it changes nothing

A call without an end (`info`) may take effect at any later time or never. An *optional* one may
take effect between its begin and its end or never: what an argument leaves out (`argue`).

Cost: linear where few choices matter; exponential in the calls under way at worst, so that a budget
of configurations ends it. The budget counts work and not time: a verdict is the same everywhere.
Source: Wing & Gong, "Testing and Verifying Concurrent Objects", JPDC 1993; Lowe, "Testing for
Linearizability", 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from checkers.linearizable.models import Model

NEVER: Final = 2**62
"""The end of a call that has none."""

CONFIGURATIONS: Final = 400_000
"""How many configurations are tried or wait to be, beyond a few for each event behind: 10 to 30 s
and some hundred MB, whatever the object."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation. `begin` and `end` are positions in the history; NEVER if nobody knows."""

    process: int
    f: str
    asked: Any
    told: Any
    begin: int
    end: int
    optional: bool = False

    @property
    def known(self) -> bool:
        """Whether it took effect for certain."""
        return self.end < NEVER and not self.optional


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes:
        linearizable: None if the budget was used up first.
        order: the calls, by number, in an order that the model allows: all that must happen, or
            else as many as could be placed.
        stuck: the call, by number, before whose return every order ended; None if there is one.
        configurations: how many were tried.
    """

    linearizable: bool | None
    order: tuple[int, ...]
    stuck: int | None
    configurations: int


Chain = tuple[int, "Chain"] | None
"""Calls that took effect, the last one first; configurations share their beginnings."""


def search(calls: Sequence[Call], model: Model, budget: int = CONFIGURATIONS) -> Answer:
    """Look for an order of the calls. Their positions are all different."""
    return _Search(calls, model).run(budget)


class _Search:
    def __init__(self, calls: Sequence[Call], model: Model) -> None:
        self.calls = calls
        self.table = Table(model)
        self.kinds = [self.table.kind(call) for call in calls]
        # Events are call numbers: n for its begin, ~n for its end.
        ends = ((call.end, ~number) for number, call in enumerate(calls) if call.end < NEVER)
        begins = ((call.begin, number) for number, call in enumerate(calls))
        self.events = [number for _, number in sorted([*begins, *ends])]
        self.bit = self._bits()
        self.known = [call.known for call in calls]
        self.looks = [c.known and model.only_looks(c.f, c.asked, c.told) for c in calls]
        # The calls under way before event `at`, by number.
        self.at = 0
        self.under_way: dict[int, None] = {}

    def _bits(self) -> list[int]:
        """A bit for each call; one that has returned leaves its bit to others."""
        free: list[int] = []
        used = 0
        bits = [0] * len(self.calls)
        for number in self.events:
            if number < 0:
                free.append(bits[~number])
                continue
            if not free:
                free.append(1 << used)
                used += 1
            bits[number] = free.pop()
        return bits

    def run(self, budget: int) -> Answer:
        stack: list[tuple[int, int, int, Chain]] = [(0, 0, self.table.initial, None)]
        seen: set[tuple[int, int, int]] = set()
        furthest, best = -1, None
        tried = 0
        while stack:
            at, done, state, chain = stack.pop()
            at, done, chain = self._advance(at, done, state, chain)
            if at > furthest:
                furthest, best = at, chain
            if at == len(self.events):
                return Answer(True, _listed(chain), None, tried)
            if (at, done, state) in seen:
                continue
            seen.add((at, done, state))
            tried += 1
            # What advances earns its way: a long history needs a few configurations for each call.
            if tried + len(stack) + self.table.weight > budget + 4 * furthest:
                return Answer(None, _listed(best), None, tried)
            self._go_to(at)
            stack.extend(self._choices(at, done, state, chain))
        return Answer(False, _listed(best), ~self.events[furthest], tried)

    def _advance(self, at: int, done: int, state: int, chain: Chain) -> tuple[int, int, Chain]:
        """Up to the first return of a call that has not taken effect."""
        events, bit, kinds, looks = self.events, self.bit, self.kinds, self.looks
        after = self.table.after
        while at < len(events):
            number = events[at]
            if number >= 0:
                if looks[number] and after(state, kinds[number]):
                    done |= bit[number]
                    chain = (number, chain)
            elif done & bit[~number]:
                done &= ~bit[~number]
            else:
                break
            at += 1
        return at, done, chain

    def _choices(
        self, at: int, done: int, state: int, chain: Chain
    ) -> Iterator[tuple[int, int, int, Chain]]:
        """What may happen before the call of this event returns; the likeliest last."""
        returning = ~self.events[at]
        if self.calls[returning].optional:
            yield at + 1, done, state, chain
        for number in self._candidates(done, returning):
            for after in self.table.after(state, self.kinds[number]):
                if after == state and not self.known[number]:
                    continue  # it changes nothing and need not happen
                yield self._absorbed(at, done | self.bit[number], after, (number, chain))

    def _candidates(self, done: int, returning: int) -> list[int]:
        """Those under way that have not taken effect: one of each kind, the first to return last.

        Of the same kind and equally known, the one that returns first stands for all.
        """
        first: dict[tuple[int, bool], int] = {}
        for number in self.under_way:
            if done & self.bit[number]:
                continue
            kind = self.kinds[number], self.known[number]
            if kind not in first or self.calls[number].end < self.calls[first[kind]].end:
                first[kind] = number
        waiting = sorted(first.values(), key=lambda number: -self.calls[number].end)
        assert waiting[-1] == returning, "nothing under way returns before the next return"
        return waiting

    def _absorbed(
        self, at: int, done: int, state: int, chain: Chain
    ) -> tuple[int, int, int, Chain]:
        """The configuration after every call under way that sees this state."""
        for number in self.under_way:
            if not self.looks[number] or done & self.bit[number]:
                continue
            if self.table.after(state, self.kinds[number]):
                done |= self.bit[number]
                chain = (number, chain)
        return at, done, state, chain

    def _go_to(self, at: int) -> None:
        """Make `under_way` that of event `at`."""
        while self.at < at:
            number = self.events[self.at]
            if number >= 0:
                self.under_way[number] = None
            else:
                del self.under_way[~number]
            self.at += 1
        while self.at > at:
            self.at -= 1
            number = self.events[self.at]
            if number >= 0:
                del self.under_way[number]
            else:
                self.under_way[~number] = None


class Table:
    """The model's transitions between numbered states by numbered kinds of calls."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.states: dict[Any, int] = {}
        self.state_of: list[Any] = []
        self.kinds: dict[Any, int] = {}
        self.kind_of: list[tuple[str, Any, Any]] = []
        self.steps: dict[tuple[int, int], tuple[int, ...]] = {}
        self.weight = 0
        self.initial = self._state(model.initial)

    def kind(self, call: Call) -> int:
        """The number of what the call does; equal ones have one."""
        what = call.f, call.asked, call.told
        return self._number(self.kinds, self.kind_of, what, what)

    def after(self, state: int, kind: int) -> tuple[int, ...]:
        """The states that the kind leads to."""
        known = self.steps.get((state, kind))
        if known is None:
            known = self._ask(state, kind)
        return known

    def _ask(self, state: int, kind: int) -> tuple[int, ...]:
        reached = self.model.step(self.state_of[state], *self.kind_of[kind])
        known = tuple(dict.fromkeys(map(self._state, reached)))
        self.steps[state, kind] = known
        return known

    def _state(self, state: Any) -> int:
        # A container's state is copied at each step: a long one costs more than a configuration.
        if isinstance(state, tuple | frozenset) and state not in self.states:
            self.weight += len(state) // 8
        return self._number(self.states, self.state_of, state, state)

    @staticmethod
    def _number(numbers: dict[Any, int], things: list[Any], key: Any, thing: Any) -> int:
        number = numbers.setdefault(key, len(things))
        if number == len(things):
            things.append(thing)
        return number


def _listed(chain: Chain) -> tuple[int, ...]:
    order = []
    while chain is not None:
        number, chain = chain
        order.append(number)
    return tuple(reversed(order))
