"""Changing what a generator says, or what it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.generator.core import (
    Call,
    Context,
    Generator,
    Step,
    Wrapper,
    lift,
)
from harness.op import Op


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

    def update(self, context: Context, event: Op) -> Generator:
        return self


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
