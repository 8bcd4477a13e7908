"""What a cluster of processes keeps of a node, and what it asks of whoever breaks its links."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.cluster.contract import Effect, Link, NodeSpec, NodeState, Shape
from harness.cluster.processes import Exit


@dataclass(slots=True)
class Node:
    """A node as the harness knows it."""

    name: str
    folder: Path
    spec: NodeSpec
    state: NodeState = NodeState.STOPPED
    pid: int | None = None
    starts: int = 0
    last_exit: Exit | None = None
    # One change of a process at a time, so that a fault meets a state that holds still.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def log(self) -> Path:
        return self.folder / "node.log"

    @property
    def data(self) -> Path:
        return self.folder / "data"


class LinkFaults(Protocol):
    """How the links of a cluster are broken; see `contract.Cluster`."""

    async def cut(self, links: Collection[Link]) -> Effect: ...

    async def heal(self, links: Collection[Link] | None = None) -> Effect: ...

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect: ...

    async def reset(self, links: Collection[Link]) -> Effect: ...
