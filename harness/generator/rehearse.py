"""Running a generator without a system: what would it do, if every operation went thus?

    quick         operations complete at once, in zero time
    perfect       every operation takes 10 ns and is ok
    perfect_info  every operation takes 10 ns and crashes
    imperfect     ok, info and fail in turn on each thread, 10 ns each

Each returns the invocations and completions in order. Chance comes from a fixed seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

from harness.generator.core import NOTHING, Call, Context, lift
from harness.op import Kind, Op

SEED = 45100
LATENCY_NS = 10
EVENTS_MAX = 100_000

Complete = Callable[[Op, Context], tuple[Kind, int]]
"""How an invocation ends, and after how many nanoseconds."""


def rehearse(
    generator: object, complete: Complete, *, concurrency: int = 2, seed: int = SEED
) -> list[Op]:
    """All events until the generator ends and everything has completed.

    Raises:
        AssertionError: it never ends, or waits for what will never happen.
    """
    context = Context.of(concurrency, Random(seed))
    threads = context.threads
    now_asked = lift(generator)
    events: list[Op] = []
    flying: list[tuple[int, int, int, Op, Kind]] = []
    tie = count()

    def happen(op: Op) -> None:
        nonlocal now_asked
        events.append(op)
        assert len(events) < EVENTS_MAX, "the generator does not end"
        if now_asked.listens:
            now_asked = now_asked.update(context, op)

    def land() -> None:
        time, _, thread, op, kind = heapq.heappop(flying)
        context.time = max(context.time, time)
        context.free |= 1 << thread
        if op.f == "sleep" and kind is Kind.OK and op.extra == {"sleep": True}:
            return
        if kind is Kind.INFO and isinstance(op.process, int):
            context.processes[thread] = op.process + concurrency
        happen(Op(len(events), context.time, kind, op.process, op.f, op.value))

    while True:
        step = now_asked.op(context)
        if isinstance(step, tuple):
            call, after = step
            assert call.time is not None and call.process is not None
            if not flying or flying[0][0] > call.time:
                context.time = max(context.time, call.time)
                now_asked = after
                _dispatch(call, context, events, flying, tie, happen, complete)
                continue
        elif not flying:
            assert step is None, "the generator waits, and nothing will ever happen"
            break
        land()
    assert context.free == threads
    assert now_asked is not None and NOTHING is not None
    return events


def _dispatch(
    call: Call,
    context: Context,
    events: list[Op],
    flying: list[tuple[int, int, int, Op, Kind]],
    tie: count[int],
    happen: Callable[[Op], None],
    complete: Complete,
) -> None:
    assert call.process is not None
    thread = context.thread_of(call.process)
    assert thread >= 0 and context.free >> thread & 1, f"{call} is for a process that is not free"
    if call.type == "log":
        return
    context.free &= ~(1 << thread)
    if call.type == "sleep":
        done = context.time + round(call.value * 1e9)
        op = Op(-1, context.time, Kind.INVOKE, call.process, "sleep", extra={"sleep": True})
        heapq.heappush(flying, (done, next(tie), thread, op, Kind.OK))
        return
    kind = Kind.INVOKE if isinstance(call.process, int) else Kind.INFO
    op = Op(len(events), context.time, kind, call.process, call.f, call.value)
    happen(op)
    end, after_ns = complete(op, context)
    end = end if isinstance(call.process, int) else Kind.INFO
    heapq.heappush(flying, (context.time + after_ns, next(tie), thread, op, end))


def quick(generator: object, **options: int) -> list[Op]:
    return rehearse(generator, lambda op, context: (Kind.OK, 0), **options)


def perfect(generator: object, **options: int) -> list[Op]:
    return rehearse(generator, lambda op, context: (Kind.OK, LATENCY_NS), **options)


def perfect_info(generator: object, **options: int) -> list[Op]:
    return rehearse(generator, lambda op, context: (Kind.INFO, LATENCY_NS), **options)


def imperfect(generator: object, **options: int) -> list[Op]:
    turns: dict[int, int] = {}
    kinds = (Kind.OK, Kind.INFO, Kind.FAIL)

    def complete(op: Op, context: Context) -> tuple[Kind, int]:
        thread = context.thread_of(op.process)
        turn = turns.get(thread, 0)
        turns[thread] = turn + 1
        return kinds[turn % 3], LATENCY_NS

    return rehearse(generator, complete, **options)


def invocations(events: list[Op]) -> list[Op]:
    """Of clients: what was asked. Of the nemesis: the first of each two events."""
    begun: set[object] = set()
    found = []
    for op in events:
        if op.type is Kind.INVOKE:
            found.append(op)
        elif not isinstance(op.process, int):
            if op.process in begun:
                begun.discard(op.process)
            else:
                begun.add(op.process)
                found.append(op)
    return found
