"""When: combinators over time. All times in seconds at the interface, nanoseconds inside."""

from __future__ import annotations

from typing import Any

from harness.generator.core import (
    PENDING,
    Call,
    Context,
    Generator,
    Once,
    Step,
    Wrapper,
    lift,
)
from harness.op import Op

NS = 1_000_000_000


class TimeLimit(Wrapper):
    """See `time_limit`. `end` is None until the first call."""

    __slots__ = ("end", "limit")

    def __init__(self, limit: int, child: Generator, end: int | None = None) -> None:
        super().__init__(child)
        self.limit, self.end = limit, end

    def around(self, child: Generator) -> Generator:
        return TimeLimit(self.limit, child, self.end)

    def op(self, context: Context) -> Step:
        end = self.end
        if end is not None and context.time >= end:
            return None
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        assert call.time is not None
        if end is None:
            end = call.time + self.limit
        return (call, TimeLimit(self.limit, after, end)) if call.time < end else None


def time_limit(seconds: float, generator: Any) -> Generator:
    """Ends `seconds` after its first call."""
    return TimeLimit(round(seconds * NS), lift(generator))


class Stagger(Wrapper):
    """See `stagger`. `due` is when the next call may be, None before the first."""

    __slots__ = ("due", "spread")

    def __init__(self, spread: int, child: Generator, due: int | None = None) -> None:
        super().__init__(child)
        self.spread, self.due = spread, due

    def around(self, child: Generator) -> Generator:
        return Stagger(self.spread, child, self.due)

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        now = call.time
        assert now is not None
        # The first is due at once. Were its time drawn, it would be drawn anew at each asking, as
        # an answer that lies in the future is thrown away, and it would hardly ever be now.
        due = now if self.due is None else self.due
        if due > now:
            call = Call(call.f, call.value, call.process, due, call.type, call.extra)
        # Counted from when it was due, not from when it came: a system that stalls is not spared
        # the load meanwhile. But no more than a second's worth is caught up with.
        behind = max(due, now - NS)
        return call, Stagger(self.spread, after, behind + int(context.rng.random() * self.spread))


def stagger(seconds: float, generator: Any) -> Generator:
    """Calls at random intervals, `seconds` on average, 0 to twice that; in total, not by thread.

    The first is due at once.
    """
    return Stagger(round(2 * seconds * NS), lift(generator))


class Delay(Wrapper):
    """See `delay`."""

    __slots__ = ("due", "pause")

    def __init__(self, pause: int, child: Generator, due: int | None = None) -> None:
        super().__init__(child)
        self.pause, self.due = pause, due

    def around(self, child: Generator) -> Generator:
        return Delay(self.pause, child, self.due)

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        assert call.time is not None
        due = call.time if self.due is None else self.due
        if due > call.time:
            call = Call(call.f, call.value, call.process, due, call.type, call.extra)
        return call, Delay(self.pause, after, due + self.pause)


def delay(seconds: float, generator: Any) -> Generator:
    """Calls `seconds` apart; when it falls behind, it catches up as fast as it can."""
    return Delay(round(seconds * NS), lift(generator))


def sleep(seconds: float) -> Generator:
    """Keeps one process busy for `seconds`; not in the history."""
    return Once(Call("sleep", seconds, type="sleep"))


def log(text: str) -> Generator:
    """Prints a line; not in the history."""
    return Once(Call("log", text, type="log"))


class Cache(Wrapper):
    """See `cache`. `memo` holds when, with whose chance and what the child last answered; it only
    makes an answer less fresh, so that the generator is still as good as immutable."""

    __slots__ = ("keep", "memo")

    def __init__(self, keep: int, child: Generator) -> None:
        super().__init__(child)
        self.keep = keep
        self.memo: list[tuple[int, object, Step]] = []

    def around(self, child: Generator) -> Generator:
        return Cache(self.keep, child)

    def op(self, context: Context) -> Step:
        for asked, rng, step in self.memo:
            if rng is context.rng and 0 <= context.time - asked < self.keep:
                if step is None:
                    return None
                if isinstance(step, tuple) and (call := _due(step[0], context)) is not None:
                    return call, step[1]
        step = self.child.op(context)
        if isinstance(step, tuple):
            step = step[0], Cache(self.keep, step[1])
        self.memo[:] = [(context.time, context.rng, step)]
        return step


def _due(call: Call, context: Context) -> Call | None:
    """The call at this moment; None if its process is not free now."""
    assert call.process is not None and call.time is not None
    thread = context.thread_of(call.process)
    if thread < 0 or not context.free >> thread & 1:
        return None
    time = max(call.time, context.time)
    return Call(call.f, call.value, call.process, time, call.type, call.extra)


def cache(seconds: float, generator: Any) -> Generator:
    """The generator, asked for a call at most every `seconds` while it has not been taken: for one
    that is expensive to ask, and due now and then. An event that it hears of is news."""
    return Cache(round(seconds * NS), lift(generator))


class Windows(Generator):
    """See `cycle_times`. `start` is when the first window began, None before the first call."""

    __slots__ = ("children", "lengths", "listens", "start")

    def __init__(
        self, lengths: tuple[int, ...], children: tuple[Generator, ...], start: int | None = None
    ) -> None:
        self.lengths, self.children, self.start = lengths, children, start
        self.listens = any(child.listens for child in children)

    def op(self, context: Context) -> Step:
        start = context.time if self.start is None else self.start
        at = context.time
        for _ in range(len(self.lengths) + 1):
            place, end = self._window(start, at)
            child = self.children[place]
            moved = context
            if at > context.time:
                moved = context.view(context.threads)
                moved.time = at
            step = child.op(moved)
            if step is None:
                return None
            if not isinstance(step, tuple):
                return PENDING
            call, after = step
            assert call.time is not None
            if call.time < end:
                children = (*self.children[:place], after, *self.children[place + 1 :])
                return call, Windows(self.lengths, children, start)
            at = end  # its next call falls into somebody else's window: ask that one
        return PENDING

    def _window(self, start: int, at: int) -> tuple[int, int]:
        """Which window `at` is in, and when it ends."""
        period = sum(self.lengths)
        end = start + (at - start) // period * period
        for place, length in enumerate(self.lengths):
            end += length
            if at < end:
                return place, end
        raise AssertionError("a moment lies in one of the windows of its period")

    def update(self, context: Context, event: Op) -> Generator:
        updated = tuple(c.update(context, event) if c.listens else c for c in self.children)
        return Windows(self.lengths, updated, self.start)


def cycle_times(*windows: tuple[float, Any]) -> Generator:
    """`(seconds, generator)` pairs take turns by the clock; each keeps its state in between."""
    assert windows and all(seconds > 0 for seconds, _ in windows)
    return Windows(
        tuple(round(seconds * NS) for seconds, _ in windows),
        tuple(lift(generator) for _, generator in windows),
    )
