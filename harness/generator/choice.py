"""Which of several: choosing between generators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.generator.core import (
    NOTHING,
    PENDING,
    Call,
    Context,
    Generator,
    Once,
    Step,
    lift,
)
from harness.op import Op


def soonest(
    steps: Iterable[tuple[int, Step]], context: Context, weights: Sequence[int] | None = None
) -> tuple[int, Step] | None:
    """The step whose call is due first, ties at random by weight; PENDING if nobody has a call.

    None when all are exhausted.
    """
    best: list[tuple[int, Step]] = []
    best_time = 0
    pending: tuple[int, Step] | None = None
    for place, step in steps:
        if step is None:
            continue
        if not isinstance(step, tuple):
            pending = pending or (place, step)
            continue
        time = step[0].time
        assert time is not None
        if not best or time < best_time:
            best, best_time = [(place, step)], time
        elif time == best_time:
            best.append((place, step))
    if not best:
        return pending
    if len(best) == 1:
        return best[0]
    if weights is None:
        return best[int(context.rng.random() * len(best))]
    return context.rng.choices(best, [weights[place] for place, _ in best])[0]


class AnyOf(Generator):
    """See `any_of`. With `shortest`, ends when the first part does."""

    __slots__ = ("listens", "parts", "shortest")

    def __init__(self, parts: tuple[Generator, ...], shortest: bool = False) -> None:
        self.parts, self.shortest = parts, shortest
        self.listens = _any_listens(parts)

    def op(self, context: Context) -> Step:
        steps = [(place, part.op(context)) for place, part in enumerate(self.parts)]
        if self.shortest and any(step is None for _, step in steps):
            return None
        found = soonest(steps, context)
        if found is None:
            return None
        place, step = found
        if not isinstance(step, tuple):
            return step
        call, after = step
        parts = (*self.parts[:place], after, *self.parts[place + 1 :])
        return call, AnyOf(parts, self.shortest)

    def update(self, context: Context, event: Op) -> Generator:
        parts = tuple(p.update(context, event) if p.listens else p for p in self.parts)
        return AnyOf(parts, self.shortest)


def _any_listens(parts: Iterable[Generator]) -> bool:
    for part in parts:  # noqa: SIM110 - asked for every answer, and `any` costs three times that
        if part.listens:
            return True
    return False


def any_of(*generators: object) -> Generator:
    """Whichever is due first; ends when all end."""
    parts = tuple(part for part in map(lift, generators) if part is not NOTHING)
    if len(parts) < 2:
        return parts[0] if parts else NOTHING
    return AnyOf(parts)


def shortest_any(*generators: object) -> Generator:
    """Whichever is due first; ends when any of them ends."""
    return AnyOf(tuple(map(lift, generators)), shortest=True)


class Mix(Generator):
    """See `mix`. `weights` are cumulative."""

    __slots__ = ("listens", "parts", "weights")

    def __init__(self, parts: tuple[Generator, ...], weights: tuple[float, ...]) -> None:
        self.parts, self.weights = parts, weights
        self.listens = _any_listens(parts)

    def op(self, context: Context) -> Step:
        parts, weights = self.parts, self.weights
        pending = False
        while parts:
            place = self._draw(context, weights)
            step = parts[place].op(context)
            if isinstance(step, tuple):
                call, after = step
                if after is parts[place] and parts is self.parts:
                    return call, self
                return call, Mix((*parts[:place], after, *parts[place + 1 :]), weights)
            if step is PENDING:
                # It may speak again, so it stays in the mix; but somebody else may speak now.
                pending = True
                others = Mix(_without(parts, place), _without(weights, place))
                step = others.op(context) if others.parts else None
                if not isinstance(step, tuple):
                    return PENDING
                # Rare: rebuild the mix with the one that waits and what became of the others.
                call, after = step
                assert isinstance(after, Mix)
                return call, Mix((*after.parts, parts[place]), (*after.weights, weights[place]))
            parts, weights = _without(parts, place), _without(weights, place)
        return PENDING if pending else None

    def _draw(self, context: Context, weights: tuple[float, ...]) -> int:
        if len(weights) == 1:
            return 0
        left = context.rng.random() * sum(weights)
        for place, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return place
        return len(weights) - 1

    def update(self, context: Context, event: Op) -> Generator:
        parts = tuple(p.update(context, event) if p.listens else p for p in self.parts)
        return Mix(parts, self.weights)


def _without(items: tuple[object, ...], place: int) -> tuple:  # type: ignore[type-arg]
    return (*items[:place], *items[place + 1 :])


def mix(generators: Sequence[object]) -> Generator:
    """One of them at random for each call; those that end drop out, those that wait do not."""
    return Mix(tuple(map(lift, generators)), (1.0,) * len(generators))


def weighted(generators: Sequence[tuple[float, object]]) -> Generator:
    """A mix of `(weight, generator)` pairs."""
    return Mix(tuple(lift(g) for _, g in generators), tuple(weight for weight, _ in generators))


class FlipFlop(Generator):
    """See `flip_flop`."""

    __slots__ = ("listens", "parts", "turn")

    def __init__(self, parts: tuple[Generator, ...], turn: int = 0) -> None:
        self.parts, self.turn = parts, turn
        self.listens = _any_listens(parts)

    def op(self, context: Context) -> Step:
        step = self.parts[self.turn].op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        parts = (*self.parts[: self.turn], after, *self.parts[self.turn + 1 :])
        return call, FlipFlop(parts, (self.turn + 1) % len(parts))

    def update(self, context: Context, event: Op) -> Generator:
        parts = tuple(p.update(context, event) if p.listens else p for p in self.parts)
        return FlipFlop(parts, self.turn)


def flip_flop(*generators: object) -> Generator:
    """A call of each in turn; ends when one ends."""
    return FlipFlop(tuple(map(lift, generators)))


def with_values(f: str, values: Iterable[object]) -> Generator:
    """A call of `f` with each of the values, in order. `values` must be a sequence or a range."""
    return Counting(f, tuple(values), 0)


class Counting(Generator):
    """See `with_values`."""

    __slots__ = ("at", "f", "values")

    def __init__(self, f: str, values: tuple[object, ...], at: int) -> None:
        self.f, self.values, self.at = f, values, at

    def op(self, context: Context) -> Step:
        if self.at >= len(self.values):
            return None
        step = Once(Call(self.f, self.values[self.at])).op(context)
        if not isinstance(step, tuple):
            return step
        return step[0], Counting(self.f, self.values, self.at + 1)
