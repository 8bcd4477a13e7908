"""Makes the clocks of nodes wrong, and right again.

    f             value invoked                          effect
    start-clock   a behaviour, resolved to who gets what the nodes' clocks are off, or run wrong
    stop-clock    null                                   all clocks are right again

    behaviour   what it does to the clocks of some nodes
    bump        the wall clock jumps by 4 ms to 4 min, either way; most jumps are small
    drift       both clocks run up to 5 % too fast or too slow
    strobe      the wall clock jumps to and fro, ten times, by up to 4 min

The monotonic clock never jumps: no kernel lets it.

    cluster   how
    sim       the machine's own clocks
    local     not yet
    docker    not yet

Source: Jepsen's clock package (jepsen/nemesis/time.clj, combined.clj).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect
from harness.errors import UsageError
from harness.nemesis import Band, Package, View
from nemeses.rhythm import Plan, Rhythm, spells
from nemeses.targets import choose

BEHAVIOURS = ("bump", "drift", "strobe")
STROBES = 10
DRIFT_PPM_MAX = 50_000
MS = 1_000_000


class Clock:
    """Operator of `start-clock` and `stop-clock`."""

    fs = frozenset({"start-clock", "stop-clock"})

    def __init__(self) -> None:
        self._wrong: set[str] = set()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        if f != "start-clock" or isinstance(value, dict):
            return value
        check([value])
        nodes = choose(rng.choice(["one", "some", "leader", "all"]), view, rng)
        return {node: _wrong(value, rng) for node in nodes}

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        wanted: Mapping[str, Any] = value if f == "start-clock" else {}
        changes = {node: {} for node in sorted(self._wrong - wanted.keys())} | dict(wanted)
        self._wrong = set(wanted)
        if not changes:
            return Effect.skipped("all clocks are right")
        effects = await asyncio.gather(
            *(
                cluster.skew(
                    node, change.get("offset_ms", 0) * MS, rate_ppm=change.get("rate_ppm", 0)
                )
                for node, change in changes.items()
            )
        )
        return Effect.all(dict(zip(changes, effects, strict=True)))


def _wrong(behaviour: str, rng: Random) -> dict[str, int]:
    sign = rng.choice((-1, 1))
    if behaviour == "drift":
        return {"rate_ppm": sign * rng.randrange(1, DRIFT_PPM_MAX)}
    return {"offset_ms": sign * int(2 ** rng.uniform(2, 18))}


def check(behaviours: Iterable[str]) -> None:
    """Raises UsageError: one is none."""
    for behaviour in behaviours:
        if behaviour not in BEHAVIOURS:
            raise UsageError(
                f"{behaviour!r} is no behaviour of clocks; behaviours: {', '.join(BEHAVIOURS)}"
            )


def _plan(rhythm: Rhythm, behaviours: Collection[str]) -> Plan:
    """A behaviour and its end; one that strobes begins anew again and again."""

    def plan(rng: Random, first: bool) -> list[tuple[float, gen.Call]]:
        behaviour = rng.choice(tuple(behaviours))
        jumps = STROBES if behaviour == "strobe" else 1
        step_s = rhythm.fault_s(rng) / jumps
        calls = [(step_s, gen.Call("start-clock", behaviour))] * jumps
        calls[0] = (rhythm.calm_s(rng, first=first), calls[0][1])
        return [*calls, (step_s, gen.Call("stop-clock"))]

    return plan


def package(rhythm: Rhythm) -> Package:
    behaviours = BEHAVIOURS if rhythm.behaviours == Rhythm().behaviours else rhythm.behaviours
    check(behaviours)
    return Package(
        name="clock",
        nemesis=Clock(),
        generator=spells(_plan(rhythm, behaviours)),
        final_generator=gen.Call("stop-clock"),
        bands=(Band("clock", frozenset({"start-clock"}), frozenset({"stop-clock"}), "#16a0c8"),),
        needs=frozenset({Ability.SKEW}),
        wants_view=True,
    )
