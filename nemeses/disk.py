"""Makes disks of nodes slow, full or broken, and mends them.

    f            value invoked                          effect
    start-disk   a behaviour, resolved to who gets what the nodes' disks misbehave
    stop-disk    null                                   the disks are well; their nodes start again;
                                                        how often each one's faults had struck

    behaviour   what it does to the disks of some nodes
    slow        fsync takes 20 to 500 ms longer
    full        there is room for less than 1 KB more, which a short run fills
    eio         some reads, writes and fsyncs fail with EIO

A node whose disk fails may end itself rather than go on with half of its state: that is no crash
(`checkers/crash.py`). Once its disk is well a person would start it again, and so does `stop-disk`.
What was acknowledged lives on the other replicas, so no more nodes are hit than may lose their
latest writes (`nemeses/losses.py`), but for slowness, which loses nothing.

    cluster   how
    sim       faults of the simulated disk
    local     not yet
    docker    not yet

Source: TigerBeetle's storage faults; Jepsen's file and lazyfs nemeses.
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
from nemeses.kill import start
from nemeses.losses import Losses
from nemeses.rhythm import Rhythm, on_and_off
from nemeses.targets import choose

HOW: Mapping[str, str] = {"slow": "slow-fsync", "full": "full", "eio": "eio"}
BEHAVIOURS = tuple(HOW)


class Disk:
    """Operator of `start-disk` and `stop-disk`.

    Attributes:
        failing: nodes that may end themselves, and could not start.
    """

    fs = frozenset({"start-disk", "stop-disk"})

    def __init__(self, losses: Losses) -> None:
        self.losses = losses
        self._ill: dict[str, str] = {}
        self.failing: set[str] = set()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        if f != "start-disk":
            return value
        if isinstance(value, dict):
            return self._bearable(value, view, rng)
        check([value])
        nodes: Collection[str] = choose(rng.choice(["one", "leader", "controller"]), view, rng)
        if value != "slow":
            nodes = self._hit(nodes, view, rng)
        return {node: {"how": HOW[value], **_options(value, rng)} for node in nodes}

    def _bearable(
        self, faults: Mapping[str, Mapping[str, Any]], view: View, rng: Random
    ) -> Mapping[str, Any]:
        """What is left of faults that were resolved before, as those of a tape: where others were
        taken out of it, a node that had been back in sync may not be."""
        lossy = [node for node, fault in faults.items() if fault["how"] != HOW["slow"]]
        spared = {*lossy} - {*self._hit(lossy, view, rng)}
        return {node: fault for node, fault in faults.items() if node not in spared}

    def _hit(self, nodes: Collection[str], view: View, rng: Random) -> list[str]:
        """Those of the nodes that may lose writes now, which they do."""
        hit = self.losses.choose(list(nodes), view, rng)
        self.losses.note(hit, view)
        return hit

    def confirms(self, f: str) -> bool:
        return f == "start-disk"

    def confirm(self, f: str, value: Mapping[str, Any], view: View) -> None:
        self.losses.confirm(list(value), view)

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        if f == "start-disk":
            if not value:
                return Effect.skipped("a node that lost its latest writes is not back in sync yet")
            self._ill |= {node: fault["how"] for node, fault in value.items()}
            self.failing |= {node for node, how in self._ill.items() if how != HOW["slow"]}
            return await _each(value, lambda node: _damage(cluster, node, value[node]))
        ill, self._ill = self._ill, {}
        self.failing.clear()
        if not ill:
            return Effect.skipped("all disks are well")
        return await _each(ill, lambda node: _mend(cluster, node, ill[node]))


async def _each(nodes: Iterable[str], do: Any) -> Effect:
    names = list(nodes)
    effects = await asyncio.gather(*map(do, names))
    return Effect.all(dict(zip(names, effects, strict=True)))


async def _damage(cluster: Cluster, node: str, fault: Mapping[str, Any]) -> Effect:
    options = {name: value for name, value in fault.items() if name != "how"}
    return await cluster.damage(node, fault["how"], options)


async def _mend(cluster: Cluster, node: str, how: str) -> Effect:
    """The disk is well again; what the node made of it is forgotten by a start."""
    effect = await cluster.damage(node, "heal", {})
    if how != HOW["slow"]:
        await cluster.kill(node)
        await start(cluster, node)
    return effect


def _options(behaviour: str, rng: Random) -> dict[str, Any]:
    match behaviour:
        case "slow":
            return {"seconds": round(rng.uniform(0.02, 0.5), 3)}
        case "full":
            return {"size": rng.randrange(0, 1024)}
        case _:
            return {"probability": round(10 ** rng.uniform(-3, 0), 4)}


def check(behaviours: Iterable[str]) -> None:
    """Raises UsageError: one is none."""
    for behaviour in behaviours:
        if behaviour not in HOW:
            raise UsageError(
                f"{behaviour!r} is no behaviour of disks; behaviours: {', '.join(HOW)}"
            )


def package(rhythm: Rhythm) -> Package:
    behaviours = BEHAVIOURS if rhythm.behaviours == Rhythm().behaviours else rhythm.behaviours
    check(behaviours)
    return Package(
        name="disk",
        nemesis=Disk(Losses(rhythm.losses_max)),
        generator=on_and_off(rhythm, "start-disk", behaviours, "stop-disk", None),
        final_generator=gen.Call("stop-disk"),
        bands=(Band("disk", frozenset({"start-disk"}), frozenset({"stop-disk"}), "#7f5539"),),
        needs=frozenset({Ability.DAMAGE}),
        wants_view=True,
    )
