"""Watching a generator: is what it says valid, and what led to an error in it?"""

from __future__ import annotations

from collections.abc import Callable

from harness.generator.core import Call, Context, Generator, Step, Wrapper, lift
from harness.op import Op

TYPES = ("invoke", "info", "sleep", "log")


class InvalidCall(AssertionError):
    """A generator said something that cannot be done: a bug of the generator."""


class GeneratorError(Exception):
    """A generator raised; the message shows the moment, the cause has the traceback."""


class Validate(Wrapper):
    """See `validate`."""

    __slots__ = ()

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        problems = list(_problems(step, context))
        if problems:
            raise InvalidCall(f"{step!r} at {_moment(context)}: {'; '.join(problems)}")
        return step[0], Validate(step[1])


def _problems(step: object, context: Context) -> list[str]:
    if not (isinstance(step, tuple) and len(step) == 2):
        return ["is neither None, PENDING nor (call, generator)"]
    call, after = step
    if not isinstance(call, Call) or not isinstance(after, Generator):
        return ["is not a Call and a Generator"]
    problems = []
    if call.type not in TYPES:
        problems.append(f"type {call.type!r} is none of {', '.join(TYPES)}")
    if call.time is None:
        problems.append("has no time")
    thread = -1 if call.process is None else context.thread_of(call.process)
    if thread < 0:
        problems.append(f"process {call.process!r} does not run")
    elif not context.free >> thread & 1:
        problems.append(f"process {call.process!r} is busy")
    return problems


def validate(generator: object) -> Generator:
    """Raises InvalidCall at the first call that cannot be done."""
    return Validate(lift(generator))


class Friendly(Wrapper):
    """See `friendly`."""

    __slots__ = ()

    def op(self, context: Context) -> Step:
        try:
            step = self.child.op(context)
        except Exception as error:
            raise GeneratorError(
                f"the generator raised {type(error).__name__}: {error}\n  at {_moment(context)}"
                f"\n  generator: {_shown(self.child)}"
            ) from error
        if not isinstance(step, tuple):
            return step
        return step[0], Friendly(step[1])

    def update(self, context: Context, event: Op) -> Generator:
        if not self.child.listens:
            return self
        try:
            return Friendly(self.child.update(context, event))
        except Exception as error:
            raise GeneratorError(
                f"the generator raised {type(error).__name__}: {error}\n  at {_moment(context)}"
                f"\n  told of {event}\n  generator: {_shown(self.child)}"
            ) from error


def friendly(generator: object) -> Generator:
    """Errors of the generator, with the moment and what it was told."""
    return Friendly(lift(generator))


class Trace(Wrapper):
    """See `trace`."""

    __slots__ = ("name", "show")
    own_listens = True

    def __init__(self, name: str, show: Callable[[str], object], child: Generator) -> None:
        super().__init__(child)
        self.name, self.show = name, show

    def op(self, context: Context) -> Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            self.show(f"{self.name} op {_moment(context)} → {step}")
            return step
        self.show(f"{self.name} op {_moment(context)} → {step[0]}")
        return step[0], Trace(self.name, self.show, step[1])

    def update(self, context: Context, event: Op) -> Generator:
        self.show(f"{self.name} update {_moment(context)} {event}")
        child = self.child.update(context, event) if self.child.listens else self.child
        return Trace(self.name, self.show, child)


def trace(name: str, generator: object, show: Callable[[str], object] = print) -> Generator:
    """The generator, with a line for everything it is asked, says and is told."""
    return Trace(name, show, lift(generator))


def _moment(context: Context) -> str:
    return f"{context.time / 1e9:.6f} s, free {context.free:b} of {context.threads:b}"


def _shown(generator: Generator) -> str:
    text = repr(generator)
    slots = [n for c in type(generator).__mro__ for n in getattr(c, "__slots__", ())]
    inside = ", ".join(f"{name}={getattr(generator, name, None)!r}" for name in slots)
    return f"{text} {inside}"[:500]
