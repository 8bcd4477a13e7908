"""What a generator is: an immutable value that says which operation comes next.

    generator.op(context) → None               exhausted
                          → PENDING            nothing now; ask again when something has happened
                          → (call, generator') this call, and what to ask afterwards

    generator.update(context, event) → generator'    told of every invocation and completion

A generator never changes; whoever asks keeps the answer or throws it away, and then nothing has
happened. A call may lie in the future (`time`): it is due then, unless something happens before.
Generators whose answers do not depend on events say so (`listens = False`) and are told of none.

Plain values are generators, too (`lift`):
    None         exhausted                     Call         that call, once
    function     called without arguments or with the context, again and again; what it returns is
                 used up first                 sequence     one after another
Source: jepsen.generator (pure generators), which explains why they are not mutable.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, ClassVar, Final, Literal, Union

import msgspec

from harness.op import NEMESIS, Op, Process

Type = Literal["invoke", "info", "sleep", "log"]


class Call(msgspec.Struct, frozen=True):
    """An operation to be: what is wanted, and, once a generator has filled it in, of whom and when.

    Attributes:
        process: whose operation; None for any free process.
        time: when it is due, nanoseconds of the run; None for now.
        type: "invoke" for an operation; "sleep" keeps its process busy for `value` seconds and
            "log" prints `value`: neither enters the history.
    """

    f: str
    value: Any = None
    process: Process | None = None
    time: int | None = None
    type: Type = "invoke"
    extra: dict[str, Any] | None = None


class Pending:
    """The type of `PENDING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PENDING"


PENDING: Final = Pending()

Step = Union[tuple[Call, "Generator"], Pending, None]  # noqa: UP007 - a forward reference


class Context:
    """What a generator may know: the time, chance, and which threads are free.

    Threads are numbered; client thread i runs processes i, i + concurrency, … in turn; the last
    thread is the nemesis'. Sets of threads are bit masks, so that views are cheap.

    Attributes:
        time: nanoseconds of the run.
        rng: chance, from the run's seed.
        threads: mask of the threads that this generator may use. free: of those, the idle ones.
        processes: thread → its current process; shared by all views.
    """

    __slots__ = ("free", "processes", "rng", "threads", "time")

    def __init__(
        self, time: int, rng: Random, threads: int, free: int, processes: list[Process]
    ) -> None:
        self.time, self.rng = time, rng
        self.threads, self.free, self.processes = threads, free, processes

    @staticmethod
    def of(concurrency: int, rng: Random, *, nemesis: bool = True) -> Context:
        """All threads free at time 0."""
        processes: list[Process] = list(range(concurrency))
        if nemesis:
            processes.append(NEMESIS)
        everyone = (1 << len(processes)) - 1
        return Context(0, rng, everyone, everyone, processes)

    def view(self, mask: int) -> Context:
        """The same moment, with the threads in `mask` only."""
        return Context(self.time, self.rng, self.threads & mask, self.free & mask, self.processes)

    def some_free(self) -> int:
        """A free thread, at random; -1 if there is none."""
        free = self.free
        if not free:
            return -1
        if not free & (free - 1):
            return free.bit_length() - 1
        shift = int(self.rng.random() * free.bit_length())
        above = free >> shift
        if above:
            return shift + (above & -above).bit_length() - 1
        return (free & -free).bit_length() - 1

    def thread_of(self, process: Process) -> int:
        """The thread that runs `process` now; -1 if none does."""
        processes = self.processes
        if isinstance(process, int):
            count = len(processes) - (1 if processes[-1] == NEMESIS else 0)
            thread = process % count if count else -1
            return thread if count and processes[thread] == process else -1
        return processes.index(process) if process in processes else -1

    def list_threads(self) -> list[int]:
        """The threads of `threads`, ascending."""
        return bits(self.threads)

    @property
    def idle(self) -> bool:
        """Whether every thread is free."""
        return self.free == self.threads


def bits(mask: int) -> list[int]:
    """The set bits, ascending.

    >>> bits(0b10110)
    [1, 2, 4]
    """
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


class Generator:
    """Base of all generators. Subclasses are immutable."""

    __slots__ = ()
    listens: bool = False

    def op(self, context: Context) -> Step:
        raise NotImplementedError

    def update(self, context: Context, event: Op) -> Generator:
        """What to ask from now on, after `event`. Only called when `listens`."""
        return self


class Nothing(Generator):
    """Exhausted."""

    __slots__ = ()

    def op(self, context: Context) -> Step:
        return None


NOTHING: Final = Nothing()


def fill_in(call: Call, context: Context) -> Call | Pending:
    """The call with a process and a time; PENDING when no process is free for it."""
    if call.process is None:
        thread = context.some_free()
        if thread < 0:
            return PENDING
        process = context.processes[thread]
    else:
        process = call.process
        thread = context.thread_of(process)
        if thread < 0 or not context.free >> thread & 1:
            return PENDING
    time = call.time
    if time is None or time < context.time:
        time = context.time
    return Call(call.f, call.value, process, time, call.type, call.extra)


class Once(Generator):
    """One call."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def op(self, context: Context) -> Step:
        filled = fill_in(self.call, context)
        return (filled, NOTHING) if isinstance(filled, Call) else filled


class Forever(Generator):
    """The same call, again and again: what `repeat` of a call is."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call = call

    def op(self, context: Context) -> Step:
        filled = fill_in(self.call, context)
        return (filled, self) if isinstance(filled, Call) else filled


class Function(Generator):
    """A function, called whenever something is wanted and somebody is free."""

    __slots__ = ("call_it", "function")

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        takes = len(inspect.signature(function).parameters)
        self.call_it: Callable[[Context], Any] = function if takes else lambda context: function()

    def op(self, context: Context) -> Step:
        if not context.free:
            return PENDING  # a value that nobody could take would be lost
        result = self.call_it(context)
        if isinstance(result, Call):
            filled = fill_in(result, context)
            return (filled, self) if isinstance(filled, Call) else filled
        if result is None:
            return None
        return concat(result, self).op(context)


class Concat(Generator):
    """One generator after another; events reach the first one only."""

    __slots__ = ("listens", "parts")

    def __init__(self, parts: tuple[Generator, ...]) -> None:
        self.parts = parts
        self.listens = any(part.listens for part in parts)

    def op(self, context: Context) -> Step:
        parts = self.parts
        for place, part in enumerate(parts):
            step = part.op(context)
            if step is None:
                continue
            if not isinstance(step, tuple):
                return PENDING
            call, after = step
            rest = parts[place + 1 :]
            if after is NOTHING:
                return call, (rest[0] if len(rest) == 1 else Concat(rest) if rest else NOTHING)
            return call, Concat((after, *rest)) if rest else after
        return None

    def update(self, context: Context, event: Op) -> Generator:
        first, *rest = self.parts
        if not first.listens:
            return self
        return Concat((first.update(context, event), *rest))


def lift(value: Any) -> Generator:
    """Make a generator of a plain value.

    Raises:
        TypeError: it is none of the kinds listed above.
    """
    if isinstance(value, Generator):
        return value
    if value is None:
        return NOTHING
    if isinstance(value, Call):
        return Once(value)
    if callable(value):
        return Function(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return concat(*value)
    raise TypeError(
        f"{value!r} is no generator: expected None, a Call, a function, a sequence of these, or a "
        "Generator"
    )


def concat(*generators: Any) -> Generator:
    """One after another."""
    parts = tuple(part for part in map(lift, generators) if part is not NOTHING)
    if not parts:
        return NOTHING
    return parts[0] if len(parts) == 1 else Concat(parts)


class Wrapper(Generator):
    """A generator around one other."""

    __slots__ = ("child", "listens")
    own_listens: ClassVar[bool] = False

    def __init__(self, child: Generator) -> None:
        self.child = child
        self.listens = self.own_listens or child.listens

    def around(self, child: Generator) -> Generator:
        """The same wrapper around another child."""
        return type(self)(child)

    def update(self, context: Context, event: Op) -> Generator:
        if not self.child.listens:
            return self
        child = self.child.update(context, event)
        return self if child is self.child else self.around(child)
