"""When faults come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness import generator as gen


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often faults change, and whom they are drawn to.

    Attributes:
        interval_s: mean time between two operations of one package.
        targets: node targets for kill, pause and power, drawn from evenly. See `nemeses.targets`.
        grudges: ways to partition. See `nemeses.grudges`.
        behaviours: ways to worsen links. See `nemeses.links`.
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


def on_and_off(
    rhythm: Rhythm, start: str, values: Sequence[Any], stop: str, stop_value: Any
) -> Any:
    """Start with a value drawn from `values`, stop, and again, `interval_s` apart on average."""

    def begin(context: gen.Context) -> gen.Call:
        return gen.Call(start, context.rng.choice(values))

    return gen.stagger(
        rhythm.interval_s, gen.flip_flop(begin, gen.repeat(gen.Call(stop, stop_value)))
    )
