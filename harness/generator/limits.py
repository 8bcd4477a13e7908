"""How many: repeating a generator, and ending it early or holding it back."""

from __future__ import annotations

from collections.abc import Callable

from harness.generator.core import (
    NOTHING,
    PENDING,
    Call,
    Context,
    Forever,
    Generator,
    Step,
    Wrapper,
    lift,
)
from harness.op import Kind, Op, Process


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
