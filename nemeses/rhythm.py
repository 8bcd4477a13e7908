"""When faults come and go.

A verdict is worth as much as what was acknowledged while faults came and went, so most faults leave
enough nodes to go on with, last longer than a session (2 s for our broker), so that leaders change,
and are followed by some calm. Where no majority is left there is nothing to see but the beginning
and the end: such an *outage* is short. Several packages beside each other leave each other more
calm, so that faults overlap often, but not always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from harness import generator as gen
from harness.op import NEMESIS

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often faults change, and whom they are drawn to.

    Attributes:
        interval_s: about how long a fault lasts, and the calm after it.
        targets: node targets for kill, pause and power, drawn from evenly. See `nemeses.targets`.
        grudges: ways to partition. See `nemeses.grudges`.
        behaviours: ways to worsen links. See `nemeses.links`.
        losses_max: how many nodes may lack acknowledged writes at once; None for all. See
            `nemeses.losses`.
        volatile: whether a killed node loses what it has not synced.
        packages: how many packages break the cluster side by side.
    """

    interval_s: float = 4.0
    targets: Sequence[str] = ("one", "leader", "controller", "minority", "majority", "all")
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
    packages: int = 1

    def fault_s(self, rng: Random, target: str = "") -> float:
        """How long a fault of this target, grudge or behaviour lasts."""
        low, high = (0.1, 0.6) if target in OUTAGES else (0.4, 1.6)
        return rng.uniform(low, high) * self.interval_s

    def calm_s(self, rng: Random, *, first: bool = False) -> float:
        """How long it takes from the end of a fault, or from the beginning, to the next one."""
        crowd = 1.0 if first else (self.packages + 1) / 2
        return rng.uniform(0.1, 1.9) * self.interval_s * crowd


OUTAGES = frozenset({"majority", "all", "majorities-ring"})
"""Targets and grudges that leave no majority, of three nodes at least."""

Plan = Callable[[Random, bool], Sequence[tuple[float, gen.Call]]]
"""Draws a spell of a fault, the first one or a later one: calls, each with the seconds to wait
before it."""


class Spells(gen.Generator):
    """See `spells`. `left` is what is planned, the first of it for the time `due`.

    `answer` is what was said of it, as long as that lies in the future: it is asked for whenever
    anything happens.
    """

    __slots__ = ("answer", "due", "first", "left", "plan")

    def __init__(
        self,
        plan: Plan,
        left: tuple[tuple[float, gen.Call], ...] = (),
        due: int = 0,
        first: bool = True,
    ) -> None:
        self.plan, self.left, self.due, self.first = plan, left, due, first
        self.answer: tuple[gen.Call, gen.Generator] | None = None

    def op(self, context: gen.Context) -> gen.Step:
        if not self.left:
            return self._draw(context)
        answer = self.answer
        if answer is not None and context.free == context.threads and context.time <= self.due:
            return answer
        (_, planned), rest = self.left[0], self.left[1:]
        due = self.due if planned.time is None else max(planned.time, self.due)
        call = gen.fill_in(
            gen.Call(planned.f, planned.value, planned.process, due, planned.type, planned.extra),
            context,
        )
        if not isinstance(call, gen.Call):
            return call
        assert call.time is not None
        due = call.time + int(rest[0][0] * NS) if rest else call.time
        step = call, Spells(self.plan, rest, due, first=False)
        if call.process == NEMESIS and context.threads.bit_count() == 1:
            self.answer = step  # of the only one who could be asked
        return step

    def _draw(self, context: gen.Context) -> gen.Step:
        # An answer that is due later may be thrown away and asked for again. A spell that were
        # drawn anew each time would hardly ever be due: a call that is due now makes it final.
        call = gen.fill_in(gen.Call("sleep", 0, type="sleep"), context)
        if not isinstance(call, gen.Call):
            return call
        left = tuple(self.plan(context.rng, self.first))
        assert left, "a spell has at least one call"
        due = context.time + int(left[0][0] * NS)
        return call, Spells(self.plan, left, due, first=False)


def spells(plan: Plan) -> gen.Generator:
    """What `plan` draws, and again, for ever. Keeps its process free between the calls."""
    return Spells(plan)


def on_and_off(
    rhythm: Rhythm, start: str, values: Sequence[str], stop: str, stop_value: Any
) -> gen.Generator:
    """Start with a value drawn from `values`, stop, and again."""

    def plan(rng: Random, first: bool) -> list[tuple[float, gen.Call]]:
        value = rng.choice(values)
        return [
            (rhythm.calm_s(rng, first=first), gen.Call(start, value)),
            (rhythm.fault_s(rng, value), gen.Call(stop, stop_value)),
        ]

    return spells(plan)
