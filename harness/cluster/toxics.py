"""What a toxic does to the bytes of one direction of one connection.

A `Stage` is one toxic at work on one connection; a chain of stages ends in the socket. Stages are
driven by pushes and timers, never by tasks, so that a proxy without toxics costs nothing.

Invariant, tested as `test_no_data_is_dropped`: whatever is added, changed or removed while bytes
pass, every byte arrives once and in order, unless a toxic whose purpose is loss (timeout,
limit_data, reset_peer) took it or the connection ended.

Differences from Toxiproxy, on purpose:
    - chance comes from a stream of its own for each connection and toxic, so that a draw of one
      leaves all others as they were; whether a toxic bites is drawn once per connection and again
      only when that toxic is changed.
    - `reset_peer` also resets connections that are older than the toxic, and removing `timeout`
      closes only the connections it had bitten.
    - a slicer whose sizes make no sense cuts single bytes instead of recursing for ever.

Blind to: packets. These are bytes of TCP streams, so nothing can be duplicated or reordered.
Source: Toxiproxy's documentation of its toxics, and its behaviour as observed.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

UPSTREAM, DOWNSTREAM = "upstream", "downstream"

# How much a stage may hold before the source is read no further. A cut needs no more than keeps a
# request whole; the rest waits in the kernel, as behind a real partition. Latency has to hold all
# that arrives during the delay, or it would limit the bandwidth as well.
HELD_MAX = 256 * 1024
DELAYED_MAX = 16 * 1024 * 1024


class Receiver(Protocol):
    """What bytes can be given to: the next stage, or the flow's end."""

    def push(self, data: bytes, at: float) -> None:
        """Take `data`, which was received at loop time `at`."""

    def push_end(self) -> None:
        """No data follows: the source has closed."""


class Flow(Protocol):
    """What a stage needs of the flow that it is part of."""

    loop: asyncio.AbstractEventLoop

    def count_held(self, change: int) -> None: ...

    def reset(self) -> None: ...


@dataclass(slots=True)
class Toxic:
    """A toxic as the HTTP API shows it. `stream` is spelled as the user did."""

    type: str
    name: str
    stream: str
    toxicity: float
    attributes: dict[str, int]
    revision: int = field(default=0, repr=False)  # counts changes, for a fresh draw each

    @property
    def direction(self) -> str:
        return self.stream.lower()


class Stage:
    """One toxic on one direction of one connection. This one passes everything on: `noop`."""

    fields: tuple[str, ...] = ()
    held_max = HELD_MAX

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        self.flow, self.attributes, self.rng, self.next = flow, attributes, rng, next_

    def push(self, data: bytes, at: float) -> None:
        self.next.push(data, at)

    def push_end(self) -> None:
        self.next.push_end()

    def release(self) -> None:
        """The toxic is being removed: give on what is held."""

    def hand_over(self, successor: Stage) -> None:
        """The toxic was changed: give what is held to the stage that replaces this one."""

    def cancel(self) -> None:
        """The connection is gone: forget everything."""


class Queue(Stage):
    """A stage that holds chunks until their time, in order."""

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.waiting: deque[tuple[float, bytes, float]] = deque()
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None

    def hold(self, due: float, data: bytes, at: float) -> None:
        assert not self.ended, "bytes after the end"
        assert not self.waiting or due >= self.waiting[-1][0], "chunks must keep their order"
        self.waiting.append((due, data, at))
        self.flow.count_held(len(data))
        if self.timer is None:
            self._arm()

    def push_end(self) -> None:
        if self.waiting:
            self.ended = True
        else:
            self.next.push_end()

    def release(self) -> None:
        self._stop_timer()
        self._give_on(math.inf)

    def hand_over(self, successor: Stage) -> None:
        self._stop_timer()
        waiting, self.waiting = self.waiting, deque()
        for _, data, at in waiting:
            self.flow.count_held(-len(data))
            successor.push(data, at)
        if self.ended:
            successor.push_end()

    def cancel(self) -> None:
        self._stop_timer()
        self.flow.count_held(-sum(len(data) for _, data, _ in self.waiting))
        self.waiting.clear()

    def _fire(self) -> None:
        self.timer = None
        self._give_on(self.flow.loop.time())
        if self.waiting:
            self._arm()

    def _give_on(self, now: float) -> None:
        while self.waiting and self.waiting[0][0] <= now:
            due, data, at = self.waiting.popleft()
            self.flow.count_held(-len(data))
            # Later delays count from when this one was over, or from receipt if it was cut short.
            self.next.push(data, due if at < due <= self.flow.loop.time() else at)
        if self.ended and not self.waiting:
            self.next.push_end()

    def _arm(self) -> None:
        due = self.waiting[0][0]
        if due < math.inf:  # else: held until the toxic is removed or changed
            self.timer = self.flow.loop.call_at(due, self._fire)

    def _stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Latency(Queue):
    """Delays each chunk by latency ± jitter milliseconds from its receipt."""

    fields = ("latency", "jitter")
    held_max = DELAYED_MAX

    def push(self, data: bytes, at: float) -> None:
        delay_ms, jitter_ms = self.attributes["latency"], self.attributes["jitter"]
        if jitter_ms > 0:
            delay_ms += self.rng.randrange(2 * jitter_ms) - jitter_ms
        due = at + delay_ms / 1000
        if self.waiting:
            due = max(due, self.waiting[-1][0])  # jitter must not reorder a stream
        self.hold(due, data, at)


class Bandwidth(Queue):
    """Lets `rate` kilobytes (of 1,000) pass in a second; none at all if it is 0."""

    fields = ("rate",)

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.free_at = 0.0

    def push(self, data: bytes, at: float) -> None:
        rate = self.attributes["rate"]
        if rate <= 0:
            self.hold(math.inf, data, at)
            return
        start = max(self.flow.loop.time(), self.free_at)
        piece = rate * 100  # what passes in 100 ms; larger chunks trickle in such pieces
        for offset in range(0, len(data), piece):
            part = data[offset : offset + piece]
            self.hold(start + (offset + len(part)) / (rate * 1000), part, at)
        self.free_at = start + len(data) / (rate * 1000)


class Slicer(Queue):
    """Cuts chunks into pieces of about `average_size` bytes, `delay` microseconds apart."""

    fields = ("average_size", "size_variation", "delay")

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.free_at = 0.0

    def push(self, data: bytes, at: float) -> None:
        delay_s = self.attributes["delay"] / 1_000_000
        now = self.flow.loop.time()
        due = max(now, self.free_at)
        for start, end in self._cuts(0, len(data)):
            if due <= now and not self.waiting:
                self.next.push(data[start:end], at)
            else:
                self.hold(due, data[start:end], at)
            due += delay_s
        self.free_at = due

    def _cuts(self, start: int, end: int) -> list[tuple[int, int]]:
        """Halve, give or take the variation, until the pieces are small enough."""
        variation = self.attributes["size_variation"]
        if end - start <= max(1, self.attributes["average_size"] + variation):
            return [(start, end)]
        middle = start + (end - start) // 2
        if variation > 0:
            middle += self.rng.randrange(2 * variation) - variation
        middle = min(max(middle, start + 1), end - 1)
        return self._cuts(start, middle) + self._cuts(middle, end)


class SlowClose(Stage):
    """Delays the end of the stream by `delay` milliseconds."""

    fields = ("delay",)

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.timer: asyncio.TimerHandle | None = None

    def push_end(self) -> None:
        if self.timer is None:
            delay_s = self.attributes["delay"] / 1000
            self.timer = self.flow.loop.call_later(delay_s, self.next.push_end)

    def release(self) -> None:
        if self.timer is not None and not self.timer.cancelled():
            self.timer.cancel()
            self.next.push_end()

    def hand_over(self, successor: Stage) -> None:
        if self.timer is not None:
            self.timer.cancel()
            successor.push_end()

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class Ending(Stage):
    """A stage that may end the stream by itself, and then swallows what still comes."""

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None

    def push_end(self) -> None:
        self.cancel()
        if not self.ended:
            self.ended = True
            self.next.push_end()

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def hand_over(self, successor: Stage) -> None:
        self.cancel()
        if self.ended and isinstance(successor, Ending):
            successor.cancel()
            successor.ended = True


class Timeout(Ending):
    """Drops everything; ends the stream `timeout` ms after the last chunk, never if that is 0."""

    fields = ("timeout",)

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self._restart()

    def push(self, data: bytes, at: float) -> None:
        if not self.ended:
            self._restart()

    def release(self) -> None:
        self.push_end()  # bytes are missing, so the stream cannot go on

    def _restart(self) -> None:
        self.cancel()
        if self.attributes["timeout"] > 0:
            delay_s = self.attributes["timeout"] / 1000
            self.timer = self.flow.loop.call_later(delay_s, self.push_end)


class LimitData(Ending):
    """Ends the stream after `bytes` bytes, counted from when the toxic was added."""

    fields = ("bytes",)

    def __init__(self, flow: Flow, attributes: dict[str, int], rng: Random, next_: Receiver):
        super().__init__(flow, attributes, rng, next_)
        self.passed = 0

    def push(self, data: bytes, at: float) -> None:
        if self.ended:
            return
        part = data[: max(0, self.attributes["bytes"] - self.passed)]
        self.passed += len(part)
        if part:
            self.next.push(part, at)
        if self.passed >= self.attributes["bytes"]:
            self.push_end()

    def hand_over(self, successor: Stage) -> None:
        super().hand_over(successor)
        if isinstance(successor, LimitData):
            successor.passed = self.passed


class ResetPeer(Ending):
    """At the first bytes, or the end: waits `timeout` ms, then resets both sides."""

    fields = ("timeout",)

    def push(self, data: bytes, at: float) -> None:
        self.push_end()

    def push_end(self) -> None:
        if not self.ended:
            self.ended = True
            delay_s = self.attributes["timeout"] / 1000
            self.timer = self.flow.loop.call_later(delay_s, self.flow.reset)

    def release(self) -> None:
        if self.ended:
            self.cancel()
            self.flow.reset()

    def hand_over(self, successor: Stage) -> None:
        if self.ended:
            self.cancel()
            successor.push_end()


STAGES: dict[str, type[Stage]] = {
    "bandwidth": Bandwidth,
    "latency": Latency,
    "limit_data": LimitData,
    "noop": Stage,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "slow_close": SlowClose,
    "timeout": Timeout,
}


def stage(toxic: Toxic, flow: Flow, rng: Random, next_: Receiver) -> Stage:
    """The toxic at work, or a noop where chance spares this connection."""
    bites = rng.random() < toxic.toxicity
    kind = STAGES[toxic.type] if bites else Stage
    return kind(flow, dict(toxic.attributes), rng, next_)
