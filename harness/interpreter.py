"""The only loop: asks the generator, dispatches to clients and nemesis, records what happens.

Jepsen's rules, and why:
    - Completions are taken before anything new is asked for: to wait with them would record more
      concurrency than there was.
    - An invocation is on disk before it is dispatched: nothing that a client could see may be
      missing from a torn history. One write serves all invocations of a turn.
    - An operation whose outcome is unknown ends in INFO, and its process never appears again: the
      operation may take effect at any later time, so it stays concurrent with everything after.
      The thread goes on under a new process number and with a fresh client.
    - An operation that takes too long is INFO (FAIL if it is a read), whatever its client still
      does; what it returns later is dropped.

Workers perform the operations (`harness.workers`). Knows no wall clock and no threads, so that it
also runs in virtual time.
Source: jepsen.generator.interpreter.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from harness import generator as gen
from harness.client import Client, Endpoint, classify
from harness.errors import OpError, TimedOut
from harness.generator import Call
from harness.history import Recorder
from harness.op import NEMESIS, Kind, Op
from harness.threads import stuck_threads
from harness.workers import (
    CLOSE_TIMEOUT_S,
    ClientHands,
    Completion,
    Faults,
    Hands,
    NemesisHands,
    Worker,
)

POLL_S = 0.001
"""How long to wait before asking a generator again that cannot say when it will have something."""

STOP_GRACE_S = 2.0
"""How long operations in flight may go on after `stop`."""

NS = 1_000_000_000


class Interpreter:
    """Runs generators against clients and records every event.

    `run` may be called several times: processes, clients and numbering go on.

    Attributes:
        stats: completions by f and kind.
        problems: what went wrong with faults; the run went on.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        now: Callable[[], int],
        client: Client,
        endpoints: Sequence[Endpoint],
        reads: frozenset[str] = frozenset(),
        faults: Faults | None = None,
        rng: Random | None = None,
        op_timeout_s: float = 10.0,
        on_event: Callable[[Op], None] | None = None,
    ) -> None:
        self._recorder, self._now = recorder, now
        self._reads, self._faults = reads, faults
        self._timeout_ns = int(op_timeout_s * NS)
        self._on_event = on_event
        self._also: Callable[[Op], None] | None = None  # of the present run
        self._context = gen.Context.of(len(endpoints), rng or Random(0))
        self._concurrency = len(endpoints)
        self.problems: list[str] = []
        every: list[Hands] = [ClientHands(client, e, reads, self.problems) for e in endpoints]
        if faults is not None:
            every.append(NemesisHands(faults, self.problems))
        self._workers = [Worker(thread, hands, self._done) for thread, hands in enumerate(every)]
        self._completed: deque[tuple[Worker, int, Completion]] = deque()
        self._deadlines: deque[tuple[int, Worker, int]] = deque()
        self._sleeping: list[tuple[int, int]] = []  # (until, thread)
        self._wake: asyncio.Future[None] | None = None
        self._stop_at: int | None = None
        self._last_time = 0
        self._stuck_before = stuck_threads()
        self.stopped: str | None = None
        self.stats: Counter[tuple[str, Kind]] = Counter()

    # -- from outside ------------------------------------------------------------------------

    async def run(self, generator: Any, *, on_event: Callable[[Op], None] | None = None) -> None:
        """Ask the generator until it ends and every operation has completed."""
        asked = gen.friendly(generator)
        self._also = on_event
        try:
            while True:
                asked = self._take_completions(asked)
                asked, wait_until, over = self._ask(asked)
                if over and not self._in_flight():
                    return
                await self._rest(wait_until)
        finally:
            self._also = None

    def stop(self, reason: str) -> None:
        """Ask for nothing more; what is in flight after a grace time ends in INFO."""
        self.stopped = self.stopped or reason
        self._stop_at = self._time() + int(STOP_GRACE_S * NS)
        self._sleeping = [(self._last_time, thread) for _, thread in self._sleeping]
        self._rouse()

    def resume(self) -> None:
        """After `stop`: generators are asked again, since healing must go on after an interrupt."""
        self._stop_at = None

    def mark(self, f: str, value: Any, extra: dict[str, Any] | None = None) -> None:
        """Journal something that took no time as an operation of the nemesis."""
        self._record(Kind.INFO, NEMESIS, f, value, extra=extra)
        self._record(Kind.INFO, NEMESIS, f, value, extra=extra)
        self._recorder.flush()

    @property
    def abandoned(self) -> int:
        """Threads of blocking clients that never came back from a call."""
        return stuck_threads() - self._stuck_before

    async def close(self) -> None:
        """End all tasks and close all clients; never hangs on any of them."""
        ending = set().union(*(worker.close() for worker in self._workers))
        if ending:
            await asyncio.wait(ending, timeout=CLOSE_TIMEOUT_S + 0.5)

    # -- one turn ----------------------------------------------------------------------------

    def _ask(self, asked: gen.Generator) -> tuple[gen.Generator, int | None, bool]:
        """Take what the generator has for now and dispatch it.

        Returns the generator, until when to wait (None: until something happens), and whether the
        generator is exhausted.
        """
        if self._stop_at is not None:
            return asked, None, True
        context = self._context
        batch: list[tuple[Worker, Op]] = []
        wait_until: int | None = None
        over = False
        while True:
            context.time = self._time()
            step = asked.op(context)
            if not isinstance(step, tuple):
                over = step is None
                if not over and context.free:
                    wait_until = context.time + int(POLL_S * NS)
                break
            call, after = step
            assert call.time is not None
            if call.time > context.time:
                wait_until = call.time  # ask again then, or when something happens before
                break
            asked = after
            asked = self._begin(call, batch, asked)
        if batch:
            self._recorder.flush()
            for worker, op in batch:
                self._dispatch(worker, op)
        return asked, wait_until, over

    def _begin(
        self, call: Call, batch: list[tuple[Worker, Op]], asked: gen.Generator
    ) -> gen.Generator:
        context = self._context
        process = call.process
        assert process is not None
        thread = context.thread_of(process)
        assert thread >= 0 and context.free >> thread & 1, f"{call}: its process is not free"
        if call.type == "log":
            print(call.value, file=sys.stderr)
            return asked
        if call.type == "sleep":
            context.free &= ~(1 << thread)
            heapq.heappush(self._sleeping, (context.time + round(call.value * NS), thread))
            return asked
        context.free &= ~(1 << thread)
        worker = self._workers[thread]
        value, kind = call.value, Kind.INVOKE
        if process == NEMESIS:
            kind = Kind.INFO
            assert self._faults is not None, f"{call.f}: this test has no nemesis"
            value = self._faults.resolve(call.f, value)
        op = self._record(kind, process, call.f, value, extra=call.extra)
        batch.append((worker, op))
        return asked.update(context, op) if asked.listens else asked

    def _dispatch(self, worker: Worker, op: Op) -> None:
        worker.dispatch(op)
        if worker.hands.node is not None:
            self._deadlines.append((op.time + self._timeout_ns, worker, worker.serial))

    def _done(self, worker: Worker, serial: int, completion: Completion) -> None:
        self._completed.append((worker, serial, completion))
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _take_completions(self, asked: gen.Generator) -> gen.Generator:
        context, completed = self._context, self._completed
        while completed:
            worker, serial, completion = completed.popleft()
            if worker.busy is None or worker.serial != serial:
                continue  # it timed out before
            op, worker.busy = worker.busy, None
            event = self._finish(worker, op, completion)
            context.free |= 1 << worker.thread
            context.time = event.time
            if asked.listens:
                asked = asked.update(context, event)
        self._expire()
        if completed:
            return self._take_completions(asked)
        return asked

    def _finish(self, worker: Worker, op: Op, completion: Completion) -> Op:
        kind, value, error, extra = completion
        node = worker.hands.node
        try:
            event = self._record(kind, op.process, op.f, value, error, node, extra)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as why:
            error = ("NotJSON", f"the client returned what JSON cannot hold: {why}")
            kind, extra = Kind.INFO, None
            event = self._record(kind, op.process, op.f, op.value, error, node)
        if node is None:
            return event
        self.stats[op.f, kind] += 1
        if kind is Kind.INFO:
            process = self._context.processes[worker.thread]
            assert isinstance(process, int)
            self._context.processes[worker.thread] = process + self._concurrency
            worker.let_go()
        return event

    def _expire(self) -> None:
        """End what takes too long, and wake who slept enough."""
        now = self._time()
        while self._sleeping and self._sleeping[0][0] <= now:
            _, thread = heapq.heappop(self._sleeping)
            self._context.free |= 1 << thread
        while self._deadlines:
            deadline, worker, serial = self._deadlines[0]
            if worker.busy is not None and worker.serial == serial and deadline > now:
                break
            self._deadlines.popleft()
            if worker.busy is not None and worker.serial == serial:
                limit_s = self._timeout_ns / NS
                self._abandon(worker, TimedOut(f"no outcome within {limit_s:g} s"))
        if self._stop_at is not None and now >= self._stop_at:
            for worker in self._workers:
                if worker.busy is not None and worker.hands.node is not None:
                    self._abandon(worker, TimedOut("the run was stopped", name="Stopped"))

    def _abandon(self, worker: Worker, error: OpError) -> None:
        """Complete the operation without its client."""
        assert worker.busy is not None
        kind, why = classify(error, worker.busy.f, self._reads)
        worker.abandon()
        self._completed.append((worker, worker.serial, (kind, worker.busy.value, why, None)))

    # -- time and rest -----------------------------------------------------------------------

    def _in_flight(self) -> bool:
        return bool(self._sleeping) or any(worker.busy for worker in self._workers)

    async def _rest(self, until: int | None) -> None:
        """Wait for a completion, a time-out or `until`, whichever comes first."""
        if self._completed:
            return
        self._recorder.flush()  # completions, too, are on disk while everybody waits
        times = [until] if until is not None else []
        if self._deadlines:
            times.append(self._deadlines[0][0])
        if self._sleeping:
            times.append(self._sleeping[0][0])
        if self._stop_at is not None and self._stop_at > self._time():
            times.append(self._stop_at)  # later only the nemesis is waited for
        pause_s = (min(times) - self._time()) / NS if times else None
        if pause_s is not None and pause_s <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = loop.call_later(pause_s, self._rouse) if pause_s is not None else None
        try:
            await self._wake
        finally:
            if timer is not None:
                timer.cancel()
            self._wake = None

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _time(self) -> int:
        """Now, never before what was recorded last."""
        now = self._now()
        if now > self._last_time:
            self._last_time = now
        return self._last_time

    def _record(
        self,
        kind: Kind,
        process: int | str,
        f: str,
        value: Any,
        error: tuple[str, str] | None = None,
        node: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Op:
        op = self._recorder.record(self._time(), kind, process, f, value, error, node, extra)
        if self._on_event is not None:
            self._on_event(op)
        if self._also is not None:
            self._also(op)
        return op
