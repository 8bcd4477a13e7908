"""Makes links worse without cutting them.

    f             value invoked                          effect
    start-links   a behaviour, resolved to what it does  the links are slow, narrow, chopped, …
    reset-links   null, resolved to the links in trouble their live connections are reset
    stop-links    null                                   the links are wires again

    behaviour   what it does to the links around some nodes
    slow        150 ± 100 ms each way
    flaky       60 ± 40 ms each way, and every live connection reset again and again: requests
                arrive whose answers never do
    slicing     TCP segments of about 8 bytes
    bandwidth   20 KB/s

    cluster   how
    local     toxics of the links' proxies; resets through them
    docker    not yet

Source: Jepsen's packet package (jepsen/nemesis/combined.clj) and Toxiproxy's toxics.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect, Link, Shape
from harness.errors import UsageError
from harness.nemesis import Band, Package, View
from nemeses.rhythm import Plan, Rhythm, spells
from nemeses.targets import choose
from nemeses.wires import Wires

BEHAVIOURS: Mapping[str, Shape] = {
    "slow": Shape(latency_ms=150, jitter_ms=100),
    "flaky": Shape(latency_ms=60, jitter_ms=40),
    "slicing": Shape(slice_bytes=8),
    "bandwidth": Shape(rate_bytes_per_s=20_000),
}

RESETS = 6
"""How often a flaky spell resets the connections: each reset loses the answers on their way."""


class Links:
    """Operator of `start-links`, `reset-links` and `stop-links`."""

    fs = frozenset({"start-links", "reset-links", "stop-links"})

    def __init__(self) -> None:
        self.wires = Wires()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        if f == "reset-links":
            return [list(link) for link in sorted(self.wires.shaped)] if value is None else value
        if f != "start-links" or isinstance(value, dict):
            return value
        _check([value])
        around = choose(rng.choice(["one", "leader", "all"]), view, rng)
        everyone = (*view.nodes, *view.clients)
        links = [
            [source, target]
            for source in everyone
            for target in everyone
            if source != target
            and {source, target} & set(around)
            and not (source in view.clients and target in view.clients)
        ]
        default = asdict(Shape())
        shape = {k: v for k, v in asdict(BEHAVIOURS[value]).items() if v != default[k]}
        return {"behaviour": value, "shape": shape, "links": links}

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        match f:
            case "start-links":
                links = [Link(*pair) for pair in value["links"]]
                return await self.wires.set_shape(links, Shape(**value["shape"]), cluster)
            case "reset-links":
                if not value:
                    return Effect.skipped("no links are worse now")
                return await cluster.reset([Link(*pair) for pair in value])
            case _:
                return await self.wires.set_shape((), Shape(), cluster)


def _check(behaviours: Iterable[str]) -> None:
    for behaviour in behaviours:
        if behaviour not in BEHAVIOURS:
            raise UsageError(
                f"{behaviour!r} is no behaviour of links; behaviours: {', '.join(BEHAVIOURS)}"
            )


def _plan(rhythm: Rhythm) -> Plan:
    """A behaviour, resets spread over it if it is flaky, and its end."""

    def plan(rng: Random, first: bool) -> list[tuple[float, gen.Call]]:
        behaviour = rng.choice(rhythm.behaviours)
        resets = RESETS if behaviour == "flaky" else 0
        step_s = rhythm.fault_s(rng, behaviour) / (resets + 1)
        return [
            (rhythm.calm_s(rng, first=first), gen.Call("start-links", behaviour)),
            *[(step_s, gen.Call("reset-links"))] * resets,
            (step_s, gen.Call("stop-links")),
        ]

    return plan


def package(rhythm: Rhythm) -> Package:
    _check(rhythm.behaviours)
    return Package(
        name="links",
        nemesis=Links(),
        generator=spells(_plan(rhythm)),
        final_generator=gen.Call("stop-links"),
        bands=(Band("links", frozenset({"start-links"}), frozenset({"stop-links"}), "#16a085"),),
        needs=frozenset({Ability.SHAPE, Ability.RESET}),
        wants_view=True,
    )
