"""Linearizability by trying every order of every choice of what happened. Slow, and plain.

It shares nothing with the checkers but the models, which are tested by what they are told.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from checkers.linearizable.models import UNKNOWN, Model, State
from checkers.linearizable.search import NEVER, Call
from harness.history import History
from harness.op import Kind, Op


def linearizable(calls: Sequence[Call], model: Model) -> bool:
    """Whether some order of some calls, with all that certainly happened, is legal."""
    return _placed(frozenset(calls), {model.initial}, model)


def _placed(left: frozenset[Call], states: set[State], model: Model) -> bool:
    """Whether those that are left can follow, one by one; those in doubt need not."""
    if not any(call.known for call in left):
        return True
    for call in left:
        rest = left - {call}
        # Whoever certainly happened and ended before this one began must stand before it; whoever
        # did so in doubt cannot stand after it.
        rest = frozenset(other for other in rest if other.known or other.end > call.begin)
        if any(other.end < call.begin for other in rest):
            continue
        after = {s for state in states for s in model.step(state, call.f, call.asked, call.told)}
        if after and _placed(rest, after, model):
            return True
    return False


def respects_time(order: Sequence[Call]) -> bool:
    return all(
        not later.end < earlier.begin
        for at, earlier in enumerate(order)
        for later in order[at + 1 :]
    )


def legal(order: Sequence[Call], model: Model) -> bool:
    states = {model.initial}
    for call in order:
        states = {
            after for state in states for after in model.step(state, call.f, call.asked, call.told)
        }
    return bool(states)


Asks = Callable[[random.Random], tuple[str, object, object]]
"""Draws an operation: f, asked, told."""


def histories(
    asks: Asks,
    count: int,
    operations: int,
    seed: int,
    optional: bool = False,
    doubtful: float = 0.2,
) -> Iterator[list[Call]]:
    """Random calls of up to three threads: many end in doubt, and their outcomes are drawn."""
    rng = random.Random(seed)
    for _ in range(count):
        yield _calls(rng, asks, rng.randint(1, operations), optional, doubtful)


def _calls(
    rng: random.Random, asks: Asks, operations: int, optional: bool, doubtful: float
) -> list[Call]:
    calls: list[Call] = []
    flying: list[int] = []
    begun: dict[int, tuple[int, str, object, object]] = {}
    position, process = 0, 0
    while len(begun) < operations or flying:
        may_begin = len(begun) < operations and len(flying) < 3
        if may_begin and (not flying or rng.random() < 0.5):
            begun[process] = (position, *asks(rng))
            flying.append(process)
            process += 1
        else:
            who = flying.pop(rng.randrange(len(flying)))
            begin, f, asked, told = begun[who]
            lost = rng.random() < doubtful
            end = NEVER if lost else position
            told = UNKNOWN if lost else told
            calls.append(Call(who, f, asked, told, begin, end, optional and rng.random() < 0.3))
        position += 1
    return calls


def history_of(calls: Sequence[Call], key: object = None) -> History:
    """The calls as a history; with a key, of values `[key, value]`. Some in doubt are pending."""
    events: list[tuple[int, Op]] = []
    for number, call in enumerate(calls):
        value = _jsoned(call.asked, key)
        events.append((call.begin, Op(0, 0, Kind.INVOKE, call.process, call.f, value)))
        if call.end < NEVER:
            result = _jsoned(call.told, key)
            events.append((call.end, Op(0, 0, Kind.OK, call.process, call.f, result)))
        elif number % 2:
            # When it is given up says nothing of when it happens.
            events.append((call.begin, Op(0, 0, Kind.INFO, call.process, call.f, value)))
    events.sort(key=lambda event: event[0])
    return History.of(op for _, op in events)


def _jsoned(value: object, key: object) -> object:
    plain = list(value) if isinstance(value, tuple) else value
    return plain if key is None else [key, plain]
