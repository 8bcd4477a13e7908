"""A cluster of names and states: enough to see what a nemesis does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from harness.cluster.contract import Effect, Link, NodeState, Shape
from harness.nemesis import View


class FakeCluster:
    """Keeps the promises of `harness.cluster.contract.Cluster` that nemeses rely on.

    Attributes:
        calls: what was asked, in order.
        cuts, shapes: what is wrong with links now. skews: with clocks. ill: nodes with bad disks.
        never_ready: nodes whose start does not return before it is cancelled.
    """

    kind = "fake"

    def __init__(self, count: int = 3) -> None:
        self.nodes = tuple(f"n{i}" for i in range(1, count + 1))
        self.clients = ("c1", "c2")
        self.states = dict.fromkeys(self.nodes, NodeState.RUNNING)
        self.calls: list[tuple[Any, ...]] = []
        self.cuts: set[Link] = set()
        self.shapes: dict[Link, Shape] = {}
        self.never_ready: set[str] = set()
        self.skews: dict[str, tuple[int, int]] = {}
        self.ill: set[str] = set()

    def view(self, **more: Any) -> View:
        return View(self.nodes, self.clients, states=dict(self.states), **more)

    def state(self, node: str) -> NodeState:
        return self.states[node]

    async def kill(self, node: str) -> Effect:
        return self._change("kill", node, (NodeState.RUNNING, NodeState.PAUSED), NodeState.DEAD)

    async def power_off(self, node: str) -> Effect:
        return self._change("off", node, (NodeState.RUNNING, NodeState.PAUSED), NodeState.DEAD)

    async def pause(self, node: str) -> Effect:
        return self._change("pause", node, (NodeState.RUNNING,), NodeState.PAUSED)

    async def resume(self, node: str) -> Effect:
        return self._change("resume", node, (NodeState.PAUSED,), NodeState.RUNNING)

    async def start_node(self, node: str) -> Effect:
        effect = self._change("start", node, (NodeState.DEAD,), NodeState.RUNNING)
        if node in self.never_ready:
            await asyncio.Event().wait()
        return effect

    async def cut(self, links: Collection[Link]) -> Effect:
        self.calls.append(("cut", frozenset(links)))
        self.cuts |= set(links)
        return Effect.observed(links=len(links))

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        assert links, "a nemesis says what it mends"
        self.calls.append(("heal", frozenset(links)))
        self.cuts -= set(links)
        for link in links:
            self.shapes.pop(link, None)
        return Effect.observed(links=len(links))

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect:
        assert not self.cuts & set(links), "a link that is cut shows no shape"
        self.calls.append(("shape", frozenset(links), shape))
        self.shapes |= dict.fromkeys(links, shape)
        return Effect.observed(links=len(links))

    async def reset(self, links: Collection[Link]) -> Effect:
        self.calls.append(("reset", frozenset(links)))
        return Effect.observed(links=len(links))

    async def skew(self, node: str, offset_ns: int, rate_ppm: int = 0) -> Effect:
        self.calls.append(("skew", node, offset_ns, rate_ppm))
        self.skews[node] = (offset_ns, rate_ppm)
        return Effect.observed()

    async def damage(self, node: str, how: str, options: Mapping[str, Any]) -> Effect:
        self.calls.append(("damage", node, how, dict(options)))
        if how == "heal":
            self.ill.discard(node)
        else:
            self.ill.add(node)
        return Effect.observed()

    def _change(
        self, what: str, node: str, before: tuple[NodeState, ...], after: NodeState
    ) -> Effect:
        self.calls.append((what, node))
        if self.states[node] not in before:
            return Effect.skipped(f"{node} is {self.states[node].value}")
        self.states[node] = after
        return Effect.observed()
