"""Kills node processes (SIGKILL) and starts them again; files stay.

    f       value invoked          effect
    kill    nodes, by target       the nodes' processes are gone
    start   "all" or nodes         dead nodes run again and are ready

    cluster   how a node is killed
    sim       the host's tasks are dropped; the page cache stays
    local     SIGKILL
    docker    SIGKILL of the server in its container

`power` is the same with `power-off` for `kill`: what was not fsynced is lost too.
Source: Jepsen's kill packages (jepsen/nemesis/combined.clj, `db-package`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect, NodeState
from harness.nemesis import Band, Package, View
from nemeses.rhythm import Rhythm, on_and_off
from nemeses.targets import choose

READY_PATIENCE_S = 3.0
"""How long a restarted node is waited for. It may need peers that are dead, paused or cut off, and
only the operations that follow this one, on the same process, can bring those back."""


class Kill:
    """Operator of `kill` (or `power-off`) and `start`."""

    def __init__(self, fault: str = "kill") -> None:
        self._fault = fault
        self.fs = frozenset({fault, "start"})

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> list[str]:
        if f == "start" and value == "all":
            dead = [n for n in view.nodes if view.states.get(n) is NodeState.DEAD]
            return dead or list(view.nodes)
        return list(value) if isinstance(value, list) else list(choose(value, view, rng))

    async def invoke(self, f: str, value: Sequence[str], cluster: Cluster) -> Effect:
        do: Mapping[str, Callable[[str], Awaitable[Effect]]] = {
            "kill": cluster.kill,
            "power-off": cluster.power_off,
            "start": partial(_start, cluster),
        }
        effects = await asyncio.gather(*(do[f](node) for node in value))
        return Effect.all(dict(zip(value, effects, strict=True)))


async def _start(cluster: Cluster, node: str) -> Effect:
    """Start a node; wait for it to be ready, but not for long."""
    try:
        async with asyncio.timeout(READY_PATIENCE_S):
            return await cluster.start_node(node)
    except TimeoutError:
        if cluster.state(node) is NodeState.DEAD:
            return Effect.unobserved(state="dead")
        return Effect.observed(state=cluster.state(node).value, ready=False)


def package(rhythm: Rhythm) -> Package:
    return _package("kill", "kill", "#c0392b", Ability.KILL, rhythm)


def power_package(rhythm: Rhythm) -> Package:
    return _package("power", "power-off", "#8e44ad", Ability.POWER_OFF, rhythm)


def _package(name: str, fault: str, colour: str, ability: Ability, rhythm: Rhythm) -> Package:
    return Package(
        name=name,
        nemesis=Kill(fault),
        generator=on_and_off(rhythm, fault, rhythm.targets, "start", "all"),
        final_generator=gen.Call("start", "all"),
        bands=(Band(name, frozenset({fault}), frozenset({"start"}), colour),),
        needs=frozenset({ability}),
        wants_view=bool({"leader", "controller"} & set(rhythm.targets)),
    )
