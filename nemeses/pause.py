"""Holds node processes still, sockets open, and lets them go on.

    f        value invoked          effect
    pause    nodes, by target       no thread of the nodes runs
    resume   "all" or nodes         they go on, late

    cluster   how a node is paused
    local     SIGSTOP
    docker    SIGSTOP of the server in its container

Source: Jepsen's `hammer-time` and pause packages (jepsen/nemesis.clj, nemesis/combined.clj).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect, NodeState
from harness.nemesis import Band, Package, View
from nemeses.rhythm import Rhythm, on_and_off
from nemeses.targets import check, choose


class Pause:
    """Operator of `pause` and `resume`."""

    fs = frozenset({"pause", "resume"})

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> list[str]:
        if f == "resume" and value == "all":
            paused = [n for n in view.nodes if view.states.get(n) is NodeState.PAUSED]
            return paused or list(view.nodes)
        return list(value) if isinstance(value, list) else list(choose(value, view, rng))

    async def invoke(self, f: str, value: Sequence[str], cluster: Cluster) -> Effect:
        do = cluster.pause if f == "pause" else cluster.resume
        effects = await asyncio.gather(*(do(node) for node in value))
        return Effect.all(dict(zip(value, effects, strict=True)))


def package(rhythm: Rhythm) -> Package:
    check(rhythm.targets)
    return Package(
        name="pause",
        nemesis=Pause(),
        generator=on_and_off(rhythm, "pause", rhythm.targets, "resume", "all"),
        final_generator=gen.Call("resume", "all"),
        bands=(Band("pause", frozenset({"pause"}), frozenset({"resume"}), "#e67e22"),),
        needs=frozenset({Ability.PAUSE}),
        wants_view=bool({"leader", "controller"} & set(rhythm.targets)),
    )
