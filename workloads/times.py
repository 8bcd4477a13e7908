"""Asks where the messages since some moment begin: the moment is that of a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import generator as gen
from harness.op import Kind, Op

F = "offsets-for-times"
ASK = gen.Call(F, {})
"""A question yet without keys, which `Asked` gives it."""

KEYS_MAX = 3


class Asked(gen.Generator):
    """Gives each question some keys, and of each a value up to the newest acknowledged one.

    `newest` is that value of each key.
    """

    __slots__ = ("child", "newest")
    listens = True

    def __init__(self, child: gen.Generator, newest: Mapping[int, int]) -> None:
        self.child, self.newest = child, newest

    def op(self, context: gen.Context) -> gen.Step:
        step = self.child.op(context)
        if not isinstance(step, tuple):
            return step
        call, after = step
        if call.f == F:
            known = sorted(self.newest)
            keys = sorted(context.rng.sample(known, min(len(known), KEYS_MAX)))
            moments = {str(key): context.rng.randint(0, self.newest[key]) for key in keys}
            call = gen.Call(F, moments, call.process, call.time, call.type, call.extra)
        return call, Asked(after, self.newest)

    def update(self, context: gen.Context, event: Op) -> gen.Generator:
        child = self.child.update(context, event) if self.child.listens else self.child
        newest = self.newest
        if event.type is Kind.OK and event.f == "send":
            newest = dict(newest)
            for _, key, message in event.value:
                newest[key] = max(_value(message), newest.get(key, 0))
        return Asked(child, newest)


def _value(message: Any) -> int:
    return int(message[1] if isinstance(message, list) else message)
