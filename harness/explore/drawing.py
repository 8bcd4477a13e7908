"""What a seed decides of a run: its faults, links, sizes, time-outs and the workload's options.

Swarm testing (Groce et al., "Swarm Testing", ISSTA 2012): runs that each leave some faults and some
features out find more than runs that all do everything. Each knob is drawn from a stream of its
own, so that to pin one (`--fixed acks=1`) leaves all others as they were.

Every draw is within the contract, which licences whatever a setting makes legal; what a workload
and a system let vary is told by their `SWARM`: option → values to draw from, as on the command
line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from harness import catalog, seeds
from harness.arguments import parse_test, positive
from harness.errors import UsageError

NEMESES = ("kill", "power", "pause", "partition", "links", "clock", "disk")
MIX_MAX = 4
ATTEMPTS = 50
"""Draws that contradict each other (power failures that nobody could bear, say) are drawn anew."""

Knobs = Mapping[str, Callable[[Random], str]]


def _mix(rng: Random) -> str:
    return ",".join(rng.sample(NEMESES, rng.randint(1, MIX_MAX)))


def _among(*values: object) -> Callable[[Random], str]:
    return lambda rng: str(rng.choice(values))


KNOBS: Knobs = {
    "nemesis": _mix,
    "nemesis-interval": _among(0.5, 1, 2, 3),
    "nodes": _among(1, 2, 3, 3, 3, 3, 3, 5),
    "concurrency": _among("1n", "2n", "2n", "3n"),
    "sim.latency-us": lambda rng: str(round(10 ** rng.uniform(1.5, 4.5))),
    "sim.split": _among(0, 0.02, 0.3),
}
"""What every run has. `sim.latency-us` is the mean one-way delay of a link in good order."""

FLAGS = frozenset({"nemesis", "nemesis-interval", "nodes", "concurrency"})
"""Knobs that are flags of `assay run`; all others are given with -o."""

TYPES: Mapping[str, Callable[[str], Any]] = {
    "nodes": positive(int),
    "nemesis-interval": positive(float),
}


def draw(
    base: argparse.Namespace, seed: int, fixed: Mapping[str, str]
) -> tuple[argparse.Namespace, dict[str, str]]:
    """The arguments of `assay run` for this seed, and all knobs as they were drawn.

    Args:
        base: parsed arguments of `assay run`, of which what is drawn is replaced.

    Raises:
        UsageError: no draw fits together with what is fixed.
    """
    knobs = {**KNOBS, **_of_options(base)}
    unknown = fixed.keys() - knobs.keys()
    attempts = 1 if knobs.keys() <= fixed.keys() else ATTEMPTS
    for attempt in range(attempts):
        chosen = {name: _one(seed, attempt, name, knob, fixed) for name, knob in knobs.items()}
        chosen |= {name: fixed[name] for name in sorted(unknown)}
        arguments = _arguments(base, chosen)
        try:
            parse_test(arguments, seed)
        except UsageError as error:
            why = error
        else:
            return arguments, chosen
    raise UsageError(f"seed {seed}: nothing that can be drawn fits what is fixed: {why}")


def _one(
    seed: int, attempt: int, name: str, knob: Callable[[Random], str], fixed: Mapping[str, str]
) -> str:
    if name in fixed:
        return fixed[name]
    return knob(seeds.stream(seed, "swarm", name, attempt))


def _of_options(base: argparse.Namespace) -> Knobs:
    """What the workload and the system let vary."""
    swarms: Sequence[Mapping[str, Sequence[object]]] = (
        getattr(catalog.find("workloads", base.workload), "SWARM", {}),
        getattr(catalog.find("systems", base.system), "SWARM", {}),
    )
    return {name: _among(*values) for swarm in swarms for name, values in swarm.items()}


def _arguments(base: argparse.Namespace, chosen: Mapping[str, str]) -> argparse.Namespace:
    arguments = argparse.Namespace(**vars(base))
    own = [each.partition("=")[0] for each in base.options]
    options = [f"{k}={v}" for k, v in chosen.items() if k not in FLAGS and k not in own and v]
    arguments.options = [*base.options, *options]
    for name in FLAGS:
        try:
            value = TYPES.get(name, str)(chosen[name])
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UsageError(f"{name}={chosen[name]}: {error}") from None
        setattr(arguments, name.replace("-", "_"), value)
    return arguments
