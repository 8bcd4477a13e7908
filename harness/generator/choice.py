"""Who of several: choosing between generators, and repeating or limiting one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.generator.core import (
    NOTHING,
    PENDING,
    Call,
    Context,
    Forever,
    Generator,
    Once,
    Step,
    Wrapper,
    lift,
)
from harness.op import Kind, Op, Process


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
    return any(part.listens for part in parts)


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


class Limit(Wrapper):
    """See `limit`."""

    __slots__ = ("left",)

    def __init__(self, left: int, child: Generator) -> None:
        super().__init__(child)
        self.left = left

    def around(self, child: Generator) -> Generator:
        return Limit(self.left, child)

    def op(self, context: Context) -> Step:
        if self.left <= 0:
            return None
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        return call, Limit(self.left - 1, after) if self.left > 1 else NOTHING


def limit(count: int, generator: object) -> Generator:
    """At most `count` calls."""
    return Limit(count, lift(generator))


def once(generator: object) -> Generator:
    """One call."""
    return limit(1, generator)


class Repeat(Wrapper):
    """See `repeat`: the child never moves on."""

    __slots__ = ("left",)

    def __init__(self, child: Generator, left: int | None) -> None:
        super().__init__(child)
        self.left = left

    def around(self, child: Generator) -> Generator:
        return Repeat(child, self.left)

    def op(self, context: Context) -> Step:
        if self.left is not None and self.left <= 0:
            return None
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, _ = step
        return call, self if self.left is None else Repeat(self.child, self.left - 1)


def repeat(generator: object, count: int | None = None) -> Generator:
    """What the generator would say first, again and again, for ever or `count` times."""
    if isinstance(generator, Call) and count is None:
        return Forever(generator)
    return Repeat(lift(generator), count)


class Cycle(Generator):
    """See `cycle`."""

    __slots__ = ("left", "listens", "now", "whole")

    def __init__(self, whole: Generator, now: Generator, left: int | None) -> None:
        self.whole, self.now, self.left = whole, now, left
        self.listens = whole.listens or now.listens

    def op(self, context: Context) -> Step:
        now, left = self.now, self.left
        for _ in range(2):  # a child that is empty from scratch would cycle for ever
            step = now.op(context)
            if step is PENDING:
                return PENDING
            if isinstance(step, tuple):
                call, after = step
                return call, Cycle(self.whole, after, left)
            if left is not None:
                left -= 1
                if left <= 0:
                    return None
            now = self.whole
        return None

    def update(self, context: Context, event: Op) -> Generator:
        return Cycle(self.whole, self.now.update(context, event), self.left)


def cycle(generator: object, count: int | None = None) -> Generator:
    """From the start again when it ends, for ever or `count` times in all."""
    whole = lift(generator)
    return Cycle(whole, whole, count)


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


class UntilOk(Wrapper):
    """See `until_ok`. `mine` are the processes whose operation in flight came from here."""

    __slots__ = ("done", "mine")
    own_listens = True

    def __init__(
        self, child: Generator, mine: frozenset[Process] = frozenset(), done: bool = False
    ) -> None:
        super().__init__(child)
        self.mine, self.done = mine, done

    def op(self, context: Context) -> Step:
        if self.done:
            return None
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        assert call.process is not None
        return call, UntilOk(after, self.mine | {call.process})

    def update(self, context: Context, event: Op) -> Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        if event.type is Kind.INVOKE or event.process not in self.mine:
            return self if child is self.child else UntilOk(child, self.mine, self.done)
        done = self.done or event.type is Kind.OK
        return UntilOk(child, self.mine - {event.process}, done)


def until_ok(generator: object) -> Generator:
    """Until one of its operations is ok."""
    return UntilOk(lift(generator))


class Until(Wrapper):
    """See `until`."""

    __slots__ = ("condition",)

    def __init__(self, condition: Callable[[], bool], child: Generator) -> None:
        super().__init__(child)
        self.condition = condition

    def around(self, child: Generator) -> Generator:
        return Until(self.condition, child)

    def op(self, context: Context) -> Step:
        if self.condition():
            return None
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        return call, Until(self.condition, after)


def until(condition: Callable[[], bool], generator: object) -> Generator:
    """Until `condition()` holds; give it a deadline with `time_limit`."""
    return Until(condition, lift(generator))


class ProcessLimit(Wrapper):
    """See `process_limit`."""

    __slots__ = ("count", "seen")

    def __init__(
        self, count: int, child: Generator, seen: frozenset[Process] = frozenset()
    ) -> None:
        super().__init__(child)
        self.count, self.seen = count, seen

    def around(self, child: Generator) -> Generator:
        return ProcessLimit(self.count, child, self.seen)

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        # All processes that could have taken it count, not only the one that did: else a process
        # that was busy for long would be left out by chance.
        seen = self.seen | {context.processes[t] for t in context.list_threads()}
        if len(seen) > self.count:
            return None
        return call, ProcessLimit(self.count, after, seen)


def process_limit(count: int, generator: object) -> Generator:
    """Ends when its calls could have come from more than `count` processes."""
    return ProcessLimit(count, lift(generator))


class ConcurrencyLimit(Wrapper):
    """See `concurrency_limit`."""

    __slots__ = ("count", "flying")
    own_listens = True

    def __init__(
        self, count: int, child: Generator, flying: frozenset[Process] = frozenset()
    ) -> None:
        super().__init__(child)
        self.count, self.flying = count, flying

    def op(self, context: Context) -> Step:
        if len(self.flying) >= self.count:
            return PENDING
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        assert call.process is not None
        return call, ConcurrencyLimit(self.count, after, self.flying | {call.process})

    def update(self, context: Context, event: Op) -> Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        flying = self.flying - {event.process} if event.type is not Kind.INVOKE else self.flying
        return ConcurrencyLimit(self.count, child, flying)


def concurrency_limit(count: int, generator: object) -> Generator:
    """At most `count` of its operations in flight."""
    return ConcurrencyLimit(count, lift(generator))


class Map(Wrapper):
    """See `map_calls`."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Call], Call], child: Generator) -> None:
        super().__init__(child)
        self.function = function

    def around(self, child: Generator) -> Generator:
        return Map(self.function, child)

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        return self.function(call), Map(self.function, after)


def map_calls(function: Callable[[Call], Call], generator: object) -> Generator:
    """Every call as `function` rewrites it."""
    return Map(function, lift(generator))


def f_map(names: Mapping[str, str], generator: object) -> Generator:
    """Every call with its `f` renamed; others stay."""

    def renamed(call: Call) -> Call:
        f = names.get(call.f, call.f)
        return Call(f, call.value, call.process, call.time, call.type, call.extra)

    return map_calls(renamed, generator)


class Filter(Wrapper):
    """See `filter_calls`."""

    __slots__ = ("keep",)

    def __init__(self, keep: Callable[[Call], bool], child: Generator) -> None:
        super().__init__(child)
        self.keep = keep

    def around(self, child: Generator) -> Generator:
        return Filter(self.keep, child)

    def op(self, context: Context) -> Step:
        child = self.child
        while True:
            step = child.op(context)
            if not isinstance(step, tuple):
                return step
            call, after = step
            if self.keep(call):
                return call, Filter(self.keep, after)
            child = after


def filter_calls(keep: Callable[[Call], bool], generator: object) -> Generator:
    """The calls that `keep` likes. Of a generator without an end it must like one at some time."""
    return Filter(keep, lift(generator))


class Deaf(Wrapper):
    """See `ignore_updates`."""

    __slots__ = ()

    def __init__(self, child: Generator) -> None:
        super().__init__(child)
        self.listens = False

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        return step[0], Deaf(step[1])


def ignore_updates(generator: object) -> Generator:
    """The generator, told of nothing."""
    return Deaf(lift(generator))


class OnUpdate(Wrapper):
    """See `on_update`."""

    __slots__ = ("react",)
    own_listens = True

    def __init__(self, react: Callable[[Generator, Context, Op], object], child: Generator) -> None:
        super().__init__(child)
        self.react = react

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        return step[0], OnUpdate(self.react, step[1])

    def update(self, context: Context, event: Op) -> Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        return OnUpdate(self.react, lift(self.react(child, context, event)))


def on_update(react: Callable[[Generator, Context, Op], object], generator: object) -> Generator:
    """After every event, go on with `react(generator, context, event)`: state machines."""
    return OnUpdate(react, lift(generator))


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
