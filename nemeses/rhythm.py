"""When faults come and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness import generator as gen

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often faults change, and whom they are drawn to.

    Attributes:
        interval_s: mean time that a fault lasts, and mean time from its end to the next one.
        targets: node targets for kill, pause and power, drawn from evenly. See `nemeses.targets`.
        grudges: ways to partition. See `nemeses.grudges`.
        behaviours: ways to worsen links. See `nemeses.links`.
        losses_max: how many nodes may lack acknowledged writes at once; None for all. See
            `nemeses.losses`.
        volatile: whether a killed node loses what it has not synced.
    """

    interval_s: float = 4.0
    targets: Sequence[str] = ("one", "leader", "minority", "majority", "all")
    grudges: Sequence[str] = (
        "one",
        "halves",
        "majority",
        "majorities-ring",
        "bridge",
        "one-way",
        "leader",
        "controller",
        "client-from-leader",
    )
    behaviours: Sequence[str] = ("slow", "flaky", "slicing", "bandwidth")
    losses_max: int | None = 1
    volatile: bool = False

    def draw_s(self, rng: Random) -> float:
        """Seconds until the next change: a tenth to nearly twice the interval.

        Most faults outlast a session (2 s for our broker), so that leaders change; some do not, and
        must do no harm either.
        """
        return rng.uniform(0.1, 1.9) * self.interval_s


Plan = Callable[[Random], Sequence[tuple[float, gen.Call]]]
"""Draws one spell of a fault: calls, each with the seconds to wait before it."""


class Spells(gen.Generator):
    """See `spells`. `left` is what is planned, the first of it for the time `due`."""

    __slots__ = ("due", "left", "plan")

    def __init__(
        self, plan: Plan, left: tuple[tuple[float, gen.Call], ...] = (), due: int = 0
    ) -> None:
        self.plan, self.left, self.due = plan, left, due

    def op(self, context: gen.Context) -> gen.Step:
        if not self.left:
            return self._draw(context)
        (_, planned), rest = self.left[0], self.left[1:]
        call = gen.fill_in(planned, context)
        if not isinstance(call, gen.Call):
            return call
        assert call.time is not None
        at = max(call.time, self.due)
        call = gen.Call(call.f, call.value, call.process, at, call.type, call.extra)
        return call, Spells(self.plan, rest, at + int(rest[0][0] * NS) if rest else at)

    def _draw(self, context: gen.Context) -> gen.Step:
        # An answer that is due later may be thrown away and asked for again. A spell that were
        # drawn anew each time would hardly ever be due: a call that is due now makes it final.
        call = gen.fill_in(gen.Call("sleep", 0, type="sleep"), context)
        if not isinstance(call, gen.Call):
            return call
        left = tuple(self.plan(context.rng))
        assert left, "a spell has at least one call"
        return call, Spells(self.plan, left, context.time + int(left[0][0] * NS))


def spells(plan: Plan) -> gen.Generator:
    """What `plan` draws, and again, for ever. Keeps its process free between the calls."""
    return Spells(plan)


def on_and_off(
    rhythm: Rhythm, start: str, values: Sequence[Any], stop: str, stop_value: Any
) -> gen.Generator:
    """Start with a value drawn from `values`, stop, and again."""

    def plan(rng: Random) -> list[tuple[float, gen.Call]]:
        begin = gen.Call(start, rng.choice(values))
        return [(rhythm.draw_s(rng), begin), (rhythm.draw_s(rng), gen.Call(stop, stop_value))]

    return spells(plan)
