"""What a family of faults gives to the engine.

A package is a nemesis (an operator of `Cluster` faults), the generator that says when, the final
generator that heals, and how its faults are drawn on a chart. Targets are drawn by pure seeded
functions of a `View` of the cluster and stand in the history resolved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, runtime_checkable

from harness.cluster.contract import Ability, Cluster, Effect, NodeState


@dataclass(frozen=True, slots=True)
class View:
    """What the harness last saw of the cluster; polled beside the run, so it may be a little old.

    Attributes:
        nodes, clients: all names.
        states: what each node's process is doing.
        leaders: node → how many partitions (or shards) it leads; empty when nobody knows.
        controller: the node that leads the metadata quorum, if known.
        facts: whatever else the system tells (ISR sizes, epochs, elections).
        quorum: node → its account of the metadata quorum, where there is one: `checkers.quorum`.
    """

    nodes: tuple[str, ...]
    clients: tuple[str, ...]
    states: Mapping[str, NodeState] = field(default_factory=dict)
    leaders: Mapping[str, int] = field(default_factory=dict)
    controller: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    quorum: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Nemesis(Protocol):
    """Breaks and mends a cluster, one operation at a time."""

    @property
    def fs(self) -> frozenset[str]:
        """The operations it performs, e.g. {"start-partition", "stop-partition"}."""
        ...

    def resolve(self, f: str, value: Any, view: View, rng: Random) -> Any:
        """Replace a symbolic target ("leader", "majority") by the nodes or links it means now.

        Pure; called just before the operation enters the history, which shows its result.
        """
        ...

    async def invoke(self, f: str, value: Any, cluster: Cluster) -> Effect:
        """Apply the resolved operation, probe it and say what came of it."""
        ...


@runtime_checkable
class Confirming(Protocol):
    """A nemesis that wants to see what the system told right after some of its operations."""

    def confirms(self, f: str) -> bool: ...

    def confirm(self, f: str, value: Any, view: View) -> None:
        """Told after `f` has been applied, and before it is over."""
        ...


@dataclass(frozen=True, slots=True)
class Band:
    """How a fault is drawn: from an operation in `start` to the next in `stop`."""

    name: str
    start: frozenset[str]
    stop: frozenset[str]
    colour: str


@dataclass(frozen=True, slots=True)
class Package:
    """A family of faults, ready to be mixed with others.

    Attributes:
        generator: operations of the main phase; None for never. See `harness.generator`.
        final_generator: operations that undo everything; run when the main phase is over.
        needs: what the cluster must support; checked before anything starts.
        wants_view: whether `resolve` looks at leaders or the controller.
    """

    name: str
    nemesis: Nemesis
    generator: Any = None
    final_generator: Any = None
    bands: Sequence[Band] = ()
    needs: frozenset[Ability] = frozenset()
    wants_view: bool = False
