"""Kills node processes (SIGKILL) and starts them again; files stay.

    f       value invoked          effect
    kill    nodes, by target       the nodes' processes are gone; "weak": who lacked writes already
    start   "all" or nodes         dead nodes run again, and are ready if they can be soon

    cluster   how a node is killed
    local     SIGKILL
    docker    SIGKILL of the server in its container

A kill keeps the page cache, so all nodes may be killed at once. `power` is the same with
`power-off` for `kill`: what was not fsynced is lost too. There, and where the nodes' disks are
volatile so that a kill does the same, no more nodes are hit than the contract bears
(`nemeses/losses.py`); the history shows those that are left of the target.


Source: Jepsen's kill packages (jepsen/nemesis/combined.clj, `db-package`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, TypeGuard

from harness import generator as gen
from harness.cluster.contract import Ability, Cluster, Effect, NodeState
from harness.nemesis import Band, Package, View
from nemeses.losses import Losses
from nemeses.rhythm import Rhythm, on_and_off
from nemeses.targets import check, choose

READY_PATIENCE_S = 1.0
"""How long a restarted node is waited for. It may need peers that are dead, paused or cut off, and
only the operations that follow this one, on the same process, can bring those back."""
BEGIN_PATIENCE_S, BEGIN_PAUSE_S = 10.0, 0.05


class Kill:
    """Operator of `kill` (or `power-off`) and `start`."""

    def __init__(self, fault: str = "kill", losses: Losses | None = None) -> None:
        self.fault = fault
        self.losses = losses
        self.failing: Collection[str] = ()  # nodes whose disk fails: they could not start
        self.fs = frozenset({fault, "start"})
        self._weak: Sequence[str] = ()

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> list[str]:
        if f == "start" and value == "all":
            dead = [n for n in view.nodes if view.states.get(n) is NodeState.DEAD]
            return dead or list(view.nodes)
        nodes = list(value) if isinstance(value, list) else list(choose(value, view, rng))
        if f == "start" or self.losses is None:
            return nodes
        hit = self.losses.choose(nodes, view, rng)
        self._weak = sorted(self.losses.weak(view))
        self.losses.note(hit, view)
        return hit

    async def invoke(self, f: str, value: Sequence[str], cluster: Cluster) -> Effect:
        if not value:
            return Effect.skipped("a node that lost its latest writes is not back in sync yet")
        do: Mapping[str, Callable[[str], Awaitable[Effect]]] = {
            "kill": cluster.kill,
            "power-off": cluster.power_off,
            "start": partial(self._start, cluster),
        }
        # One that fails must not leave the others running on their own.
        effects = await asyncio.gather(*(do[f](node) for node in value), return_exceptions=True)
        for effect in effects:
            if isinstance(effect, BaseException):
                raise effect
        effect = Effect.all({n: e for n, e in zip(value, effects, strict=True) if _is_effect(e)})
        if f == "start" or self.losses is None:
            return effect
        # What the contract excuses must not depend on guesses of how long a node takes to be back.
        return replace(effect, evidence={**effect.evidence, "weak": list(self._weak)})

    def confirms(self, f: str) -> bool:
        return f != "start" and self.losses is not None

    def confirm(self, f: str, value: Sequence[str], view: View) -> None:
        if self.losses is not None:
            self.losses.confirm(value, view)

    async def _start(self, cluster: Cluster, node: str) -> Effect:
        if node in self.failing:
            return Effect.skipped("its disk fails; `stop-disk` starts it")
        return await start(cluster, node)


def _is_effect(result: Effect | BaseException) -> TypeGuard[Effect]:
    return isinstance(result, Effect)


async def start(cluster: Cluster, node: str) -> Effect:
    """Start a node; wait for it to be ready, but not for long."""
    try:
        async with asyncio.timeout(READY_PATIENCE_S):
            return await cluster.start_node(node)
    except TimeoutError:
        await _begun(cluster, node)
        if cluster.state(node) is NodeState.DEAD:
            return Effect.unobserved(state="dead")
        return Effect.observed(state=cluster.state(node).value, ready=False)


async def _begun(cluster: Cluster, node: str) -> None:
    """Wait until there is a process, if there is none yet: a machine that has much to do may take
    a while even for that, and nothing else of this nemesis has to come before it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + BEGIN_PATIENCE_S
    while cluster.state(node) is NodeState.DEAD and loop.time() < deadline:
        await asyncio.sleep(BEGIN_PAUSE_S)


def package(rhythm: Rhythm) -> Package:
    losses = Losses(rhythm.losses_max) if rhythm.volatile else None
    return _package("kill", Kill("kill", losses), "#c0392b", Ability.KILL, rhythm)


def power_package(rhythm: Rhythm) -> Package:
    """Takes nodes' power: they die and lose what they had not fsynced, and start again."""
    operator = Kill("power-off", Losses(rhythm.losses_max))
    return _package("power", operator, "#8e44ad", Ability.POWER_OFF, rhythm)


def _package(name: str, operator: Kill, colour: str, ability: Ability, rhythm: Rhythm) -> Package:
    check(rhythm.targets)
    fault = operator.fault
    return Package(
        name=name,
        nemesis=operator,
        generator=on_and_off(rhythm, fault, rhythm.targets, "start", "all"),
        final_generator=gen.Call("start", "all"),
        bands=(Band(name, frozenset({fault}), frozenset({"start"}), colour),),
        needs=frozenset({ability}),
        wants_view=bool({"leader", "controller"} & set(rhythm.targets)),
    )
