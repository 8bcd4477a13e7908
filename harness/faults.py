"""The nemesis' side of a run: what the cluster looks like, and faults applied to it with their
effects. The interpreter asks it to resolve and to invoke; nothing else in it sees a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from harness.cluster.contract import Cluster
from harness.nemesis import Confirming, Nemesis, View
from harness.system import System

VIEW_EVERY_S = 0.5
"""How old a view may be when a target is drawn: the leader of then is mostly still one."""

ACCOUNTS_MAX = 100
"""Accounts of nodes that wait to be journaled; where that takes long, older ones are dropped."""


class Faults:
    """Resolves and applies the operations of one nemesis on one cluster."""

    def __init__(self, nemesis: Nemesis, cluster: Cluster, system: System, rng: Random) -> None:
        self._nemesis, self._cluster, self._system, self._rng = nemesis, cluster, system, rng
        self._view = View(nodes=tuple(cluster.nodes), clients=tuple(cluster.clients))
        self._roles: Mapping[str, list[str]] = {}
        self._looking = asyncio.Lock()
        self._latest: dict[str, Mapping[str, Any]] = {}  # each node's last account
        self._untold: deque[dict[str, Any]] = deque(maxlen=ACCOUNTS_MAX)
        self._watching: asyncio.Task[None] | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the system last told of itself."""
        return self._view.facts

    async def look(self) -> View:
        """Ask the system now."""
        # One after the other: of two answers of a node, the later one is what it said later.
        async with self._looking:
            self._view = view = await self._system.view(self._cluster)
        for node, account in view.quorum.items():
            if account != self._latest.get(node):
                self._latest[node] = account
                self._untold.append({"node": node, **account})
        return view

    def accounts(self) -> dict[str, Any]:
        """What nodes have told of their quorum since this was asked last, for the journal: under
        `quorum`, in order; nothing if there is nothing new."""
        told = list(self._untold)
        self._untold.clear()
        return {"quorum": told} if told else {}

    def watch(self) -> None:
        """Keep the view fresh until `close`."""
        self._watching = asyncio.create_task(self._watch(), name="view of the cluster")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def resolve(self, f: str, value: Any) -> Any:
        states = {node: self._cluster.state(node) for node in self._cluster.nodes}
        view = replace(self._view, states=states)
        # What the targets are at this moment; when the fault has been applied they are it no more.
        self._roles = roles(view)
        return self._nemesis.resolve(f, value, view, self._rng)

    async def invoke(self, f: str, value: Any) -> tuple[Any, dict[str, Any]]:
        """Apply the resolved operation. With its effect comes what the nodes were before it, and
        what they have told of their quorum until now."""
        before = self._roles
        effect = await self._nemesis.invoke(f, value, self._cluster)
        if isinstance(self._nemesis, Confirming) and self._nemesis.confirms(f):
            with contextlib.suppress(Exception):  # then the view stays as it was, as in `_watch`
                self._nemesis.confirm(f, value, await self.look())
        shape = {"outcome": effect.outcome.value, "evidence": dict(effect.evidence)}
        extra = {"effect": shape, **({"roles": before} if before else {})}
        return value, {**extra, **self.accounts()}

    async def _watch(self) -> None:
        while True:
            # A system that fails to answer leaves the view as it was.
            with contextlib.suppress(Exception):
                await self.look()
            await asyncio.sleep(VIEW_EVERY_S)


def roles(view: View) -> dict[str, list[str]]:
    """Node → "leader" or "follower", and "controller"; nothing where nobody knows."""
    if not view.leaders and view.controller is None:
        return {}
    return {
        node: ["leader" if view.leaders.get(node) else "follower"]
        + (["controller"] if node == view.controller else [])
        for node in view.nodes
    }
