"""Who: combinators over threads and processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.generator.choice import any_of, soonest
from harness.generator.core import (
    NOTHING,
    PENDING,
    Call,
    Context,
    Generator,
    Step,
    Wrapper,
    concat,
    lift,
)
from harness.op import NEMESIS, Op, Process


def _thread_of_event(context: Context, event: Op) -> int:
    """The thread of an event, also of a process that crashed and has been renamed meanwhile."""
    processes = context.processes
    if isinstance(event.process, int):
        clients = len(processes) - (processes[-1] == NEMESIS)
        return event.process % clients if clients else -1
    return processes.index(event.process) if event.process in processes else -1


class OnThreads(Wrapper):
    """See `on_threads`."""

    __slots__ = ("choose",)

    def __init__(self, choose: Callable[[Context], int], child: Generator) -> None:
        super().__init__(child)
        self.choose = choose

    def around(self, child: Generator) -> Generator:
        return OnThreads(self.choose, child)

    def op(self, context: Context) -> Step:
        step = self.child.op(context.view(self.choose(context)))
        if not isinstance(step, tuple):
            return step
        return step[0], OnThreads(self.choose, step[1])

    def update(self, context: Context, event: Op) -> Generator:
        mask = self.choose(context)
        thread = _thread_of_event(context, event)
        if not self.child.listens or thread < 0 or not mask >> thread & 1:
            return self
        return OnThreads(self.choose, self.child.update(context.view(mask), event))


def on_threads(wanted: Callable[[int], bool], generator: object) -> Generator:
    """Only on the threads whose number `wanted` likes; the nemesis' is the last one."""

    def choose(context: Context) -> int:
        return sum(1 << thread for thread in context.list_threads() if wanted(thread))

    return OnThreads(choose, lift(generator))


def _clients(context: Context) -> int:
    processes = context.processes
    last = len(processes) - 1
    return context.threads & ~(1 << last) if processes[last] == NEMESIS else context.threads


def _nemesis(context: Context) -> int:
    last = len(context.processes) - 1
    return 1 << last if context.processes[last] == NEMESIS else 0


def clients(generator: object, nemesis_generator: object = None) -> Generator:
    """On client threads only; the second generator, if any, on the nemesis' thread beside it."""
    mine = OnThreads(_clients, lift(generator))
    return any_of(mine, nemesis(nemesis_generator)) if nemesis_generator is not None else mine


def nemesis(generator: object, client_generator: object = None) -> Generator:
    """On the nemesis' thread only; the second generator, if any, on the clients' beside it."""
    mine = OnThreads(_nemesis, lift(generator))
    return any_of(mine, clients(client_generator)) if client_generator is not None else mine


class Reserve(Generator):
    """See `reserve`. Works among the threads of its context, so that reserves nest."""

    __slots__ = ("counts", "listens", "parts")

    def __init__(self, counts: tuple[int, ...], parts: tuple[Generator, ...]) -> None:
        assert len(parts) == len(counts) + 1
        self.counts, self.parts = counts, parts
        self.listens = any(part.listens for part in parts)

    def op(self, context: Context) -> Step:
        masks = self._masks(context)
        steps = [(i, part.op(context.view(masks[i]))) for i, part in enumerate(self.parts)]
        found = soonest(steps, context, [max(mask.bit_count(), 1) for mask in masks])
        if found is None:
            return None
        place, step = found
        if not isinstance(step, tuple):
            return step
        call, after = step
        parts = (*self.parts[:place], after, *self.parts[place + 1 :])
        return call, Reserve(self.counts, parts)

    def update(self, context: Context, event: Op) -> Generator:
        thread = _thread_of_event(context, event)
        parts = list(self.parts)
        for place, mask in enumerate(self._masks(context)):
            if parts[place].listens and thread >= 0 and mask >> thread & 1:
                parts[place] = parts[place].update(context.view(mask), event)
        return Reserve(self.counts, tuple(parts))

    def _masks(self, context: Context) -> list[int]:
        threads = context.list_threads()
        masks, first = [], 0
        for count in self.counts:
            masks.append(sum(1 << thread for thread in threads[first : first + count]))
            first += count
        masks.append(sum(1 << thread for thread in threads[first:]))
        return masks


def reserve(*arguments: object) -> Generator:
    """`reserve(2, writes, 3, reads, rest)`: the first 2 threads write, the next 3 read."""
    assert len(arguments) % 2 == 1, "count, generator, count, generator, …, default"
    counts = tuple(int(count) for count in arguments[:-1:2])  # type: ignore[call-overload]
    parts = tuple(map(lift, (*arguments[1::2], arguments[-1])))
    return Reserve(counts, parts)


class Each(Generator):
    """See `each_thread` and `each_process`: a copy of `fresh` by thread."""

    __slots__ = ("by_process", "copies", "fresh", "listens")

    def __init__(
        self,
        fresh: Generator,
        by_process: bool,
        copies: Mapping[int, tuple[Process, Generator]] | None = None,
    ) -> None:
        self.fresh, self.by_process = fresh, by_process
        self.copies = copies or {}
        self.listens = fresh.listens

    def op(self, context: Context) -> Step:
        # Only free threads can give a call; of the busy ones: has any of them more to say?
        steps = [
            (thread, copy.op(context.view(1 << thread)))
            for thread, copy in self._unfinished(context, context.free)
        ]
        found = soonest(steps, context) if steps else None
        if found is None:
            busy = context.threads & ~context.free
            return PENDING if self._unfinished(context, busy) else None
        thread, step = found
        if not isinstance(step, tuple):
            return PENDING
        call, after = step
        copies = {**self.copies, thread: (context.processes[thread], after)}
        return call, Each(self.fresh, self.by_process, copies)

    def update(self, context: Context, event: Op) -> Generator:
        thread = _thread_of_event(context, event)
        if thread < 0 or not context.threads >> thread & 1 or thread not in self.copies:
            return self
        process, copy = self.copies[thread]
        if process != event.process:
            return self
        copy = copy.update(context.view(1 << thread), event)
        return Each(self.fresh, self.by_process, {**self.copies, thread: (process, copy)})

    def _unfinished(self, context: Context, mask: int) -> list[tuple[int, Generator]]:
        """The threads of the mask whose copies may have more to say, with these copies."""
        copies, processes = self.copies, context.processes
        found = []
        while mask:
            low = mask & -mask
            mask ^= low
            thread = low.bit_length() - 1
            process, copy = copies.get(thread, (None, self.fresh))
            if self.by_process and process != processes[thread]:
                copy = self.fresh
            if copy is not NOTHING:
                found.append((thread, copy))
        return found


def each_thread(generator: object) -> Generator:
    """A copy of the generator for each thread."""
    return Each(lift(generator), by_process=False)


def each_process(generator: object) -> Generator:
    """A copy for each process: a crashed thread's new process starts from scratch."""
    return Each(lift(generator), by_process=True)


class Synchronize(Wrapper):
    """See `synchronize`."""

    __slots__ = ()

    def op(self, context: Context) -> Step:
        return self.child.op(context) if context.idle else PENDING


def synchronize(generator: object) -> Generator:
    """Wait until every thread is free, then go on."""
    return Synchronize(lift(generator))


def phases(*generators: object) -> Generator:
    """One after another, each begun when every thread is free."""
    return concat(*map(synchronize, generators))


def then(second: object, first: object) -> Generator:
    """`first`, then `second` once every thread is free."""
    return concat(first, synchronize(second))


class ByProcess(Generator):
    """See `on_processes`: what is left to do, by process."""

    __slots__ = ("left",)

    def __init__(self, left: Mapping[Process, tuple[Call, ...]]) -> None:
        self.left = left

    def op(self, context: Context) -> Step:
        best: tuple[int, Call] | None = None
        for process, calls in self.left.items():
            thread = context.thread_of(process)
            if not calls or thread < 0 or not context.free >> thread & 1:
                continue
            due = max(calls[0].time or 0, context.time)
            if best is None or due < best[0]:
                best = due, calls[0]
        if best is None:
            alive = any(c and context.thread_of(p) >= 0 for p, c in self.left.items())
            return PENDING if alive else None
        due, call = best
        assert call.process is not None
        left = {**self.left, call.process: self.left[call.process][1:]}
        filled = Call(call.f, call.value, call.process, due, call.type, call.extra)
        return filled, ByProcess(left)


def on_processes(calls: Iterable[Call]) -> Generator:
    """A hand-written or recorded list of calls: each on its process, in that process' order, no
    sooner than its time. Processes that no longer exist drop what they had left."""
    left: dict[Process, tuple[Call, ...]] = {}
    for call in calls:
        assert call.process is not None, "every call of a list needs its process"
        left[call.process] = (*left.get(call.process, ()), call)
    return ByProcess(left)


def tape(events: Sequence[Op]) -> Generator:
    """Replays the invocations of recorded operations, concurrently, as `on_processes` does."""
    return on_processes(
        Call(op.f, op.value, op.process, op.time, extra=op.extra)
        for op in events
        if op.type == "invoke"
    )
