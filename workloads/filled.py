"""Fills in calls that depend on what has been acknowledged so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from harness import generator as gen
from harness.op import Kind, Op

NOWHERE = -1


class Newest(NamedTuple):
    """The largest value of a key that was acknowledged, and the largest offset that was told."""

    value: int
    offset: int


Known = Mapping[int, Newest]
"""By key; without those of which nothing was acknowledged."""

Fill = Callable[[Known, Random], Any]
"""The value of a call."""


class Filled(gen.Generator):
    """Gives the calls of `child` whose operation is `f` a value."""

    __slots__ = ("child", "f", "fill", "known")
    listens = True

    def __init__(self, child: gen.Generator, f: str, fill: Fill, known: Known) -> None:
        self.child, self.f, self.fill, self.known = child, f, fill, known

    def op(self, context: gen.Context) -> gen.Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        if call.f == self.f:
            value = self.fill(self.known, context.rng)
            call = gen.Call(call.f, value, call.process, call.time, call.type, call.extra)
        return call, Filled(after, self.f, self.fill, self.known)

    def update(self, context: gen.Context, event: Op) -> gen.Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        known = self.known
        if event.type is Kind.OK and event.f == "send":
            known = dict(known)
            for _, key, message in event.value:
                offset, value = message if isinstance(message, list) else (NOWHERE, message)
                before = known.get(key, Newest(value, offset))
                known[key] = Newest(max(value, before.value), max(offset, before.offset))
        return Filled(child, self.f, self.fill, known)
