"""Where nodes run and how they break: one contract for `sim`, `local` and `docker`.

Names: nodes are n1…nk, client hosts c1…cm (2 by default). A *directed link* A→B is a direction of
data. Cut, its bytes are held and connections stay open; healing delivers them, or resets if a side
gave up meanwhile; new connections hang. A *grudge* says the same from the receivers' side, as
Jepsen's do: receiver → senders that it does not hear.

Pinned semantics, asserted by `tests/conformance` on every kind of cluster:
    - `kill` ends a node's process at once and keeps its files; `power_off` also loses what it had
      not fsynced; both may hit a paused node. `pause` holds all its threads.
    - Every fault is idempotent; one that does not apply (pausing a dead node) returns
      `Effect.skipped` and changes nothing.
    - Each fault looks whether it took effect and says so in the `Effect` that it returns.
    - `stop` leaves no process, container, network or port behind, whatever state the nodes are in.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

Grudge = Mapping[str, Collection[str]]


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Link(NamedTuple):
    """The direction of data from `source` to `target`; each a node or a client host."""

    source: str
    target: str


class NodeState(StrEnum):
    """What the harness did to a node's process last. A crash of its own makes it DEAD too."""

    STOPPED = "stopped"  # not started yet, or ended on purpose with the cluster
    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Ability(StrEnum):
    """What a cluster may be able to do; `Cluster.supports` holds the ones that it can."""

    KILL = "kill"
    PAUSE = "pause"
    POWER_OFF = "power-off"
    CUT = "cut"
    SHAPE = "shape"
    RESET = "reset"
    SKEW = "skew"
    DAMAGE = "damage"


class Outcome(StrEnum):
    """Whether a fault took effect."""

    OBSERVED = "observed"  # applied, and a probe saw it
    UNOBSERVED = "unobserved"  # applied, but the probe saw nothing: makes the run unknown
    SKIPPED = "skipped"  # did not apply: the node was dead already, say


@dataclass(frozen=True, slots=True)
class Effect:
    """What came of a fault: the probe's outcome and what it saw, JSON only."""

    outcome: Outcome
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def observed(**evidence: Any) -> Effect:
        return Effect(Outcome.OBSERVED, evidence)

    @staticmethod
    def unobserved(**evidence: Any) -> Effect:
        return Effect(Outcome.UNOBSERVED, evidence)

    @staticmethod
    def skipped(why: str) -> Effect:
        return Effect(Outcome.SKIPPED, {"why": why})

    @staticmethod
    def all(effects: Mapping[str, Effect]) -> Effect:
        """One effect of several by name: unobserved if any was, skipped only if all were."""
        outcomes = {effect.outcome for effect in effects.values()}
        if Outcome.UNOBSERVED in outcomes:
            outcome = Outcome.UNOBSERVED
        elif Outcome.OBSERVED in outcomes or not outcomes:
            outcome = Outcome.OBSERVED if outcomes else Outcome.SKIPPED
        else:
            outcome = Outcome.SKIPPED
        evidence = {
            name: {"outcome": effect.outcome.value, **effect.evidence}
            for name, effect in effects.items()
        }
        return Effect(outcome, evidence)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a link is worse than a wire. Zero means: not so.

    Probabilities are per connection in `local` (toxicity), per message or packet elsewhere.
    """

    latency_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate_bytes_per_s: int = 0
    slice_bytes: int = 0
    reset_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """All that a node is told of its surroundings; written as JSON for real processes.

    Attributes:
        node: its name, n1…nk. `id` is its number from 1.
        data: the folder that is its disk, as the node sees it.
        seed: for `host.rng`.
        bind: where to listen, by port name: the system's `peer_ports`, "admin", and one per client
            host ("c1", …).
        advertised: by client host, the address under which clients there reach this node. A
            connection accepted on listener "c1" must only ever learn addresses advertised to c1.
        peers: other node → port name → address by which *this* node reaches it.
        peer_advertised: other node → client host → address, for metadata answers.
        disk: "real" or "volatile".
        options: the system's options for nodes, as JSON values.
        python: the interpreter on the node's machine, for nodes of this project.
    """

    node: str
    id: int
    data: str
    seed: int
    bind: Mapping[str, Address]
    advertised: Mapping[str, Address]
    peers: Mapping[str, Mapping[str, Address]]
    peer_advertised: Mapping[str, Mapping[str, Address]]
    disk: str = "real"
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable


class Cluster(Protocol):
    """Nodes of one system on one kind of machine."""

    @property
    def kind(self) -> str:
        """ "sim", "local" or "docker"."""
        ...

    @property
    def nodes(self) -> Sequence[str]: ...

    @property
    def clients(self) -> Sequence[str]: ...

    @property
    def supports(self) -> frozenset[Ability]: ...

    async def start(self) -> None:
        """Start every node; return when each answers its readiness probe.

        Raises:
            NodeNotReady: a node died or did not answer in time; the message quotes its log.
        """
        ...

    async def stop(self) -> None:
        """End everything, faults and all. Idempotent; safe at any moment after construction."""
        ...

    def state(self, node: str) -> NodeState: ...

    def address(self, node: str, host: str) -> Address:
        """Where the client host `host` reaches `node` (through their link)."""
        ...

    def admin(self, node: str) -> Address:
        """The node's admin HTTP port, reached beside all links: for the harness's own probes."""
        ...

    def log(self, node: str) -> Path:
        """The file that gets the node's standard output and error."""
        ...

    def data(self, node: str) -> Path:
        """The folder with the node's data, as seen from here."""
        ...

    def crashes(self) -> Sequence[Mapping[str, Any]]:
        """Unplanned ends so far: {"node", "time_ns" (monotonic), "status", "log" (its tail)}."""
        ...

    async def start_node(self, node: str) -> Effect:
        """Start a dead node and wait until it is ready. Skipped if it runs; resumes no one."""
        ...

    async def kill(self, node: str) -> Effect: ...

    async def power_off(self, node: str) -> Effect: ...

    async def pause(self, node: str) -> Effect: ...

    async def resume(self, node: str) -> Effect: ...

    async def cut(self, links: Collection[Link]) -> Effect: ...

    async def heal(self, links: Collection[Link] | None = None) -> Effect:
        """Undo cuts and shapes of these links, or of all."""
        ...

    async def shape(self, links: Collection[Link], shape: Shape) -> Effect: ...

    async def reset(self, links: Collection[Link]) -> Effect:
        """Reset the connections that now use these links (RST), without cutting them."""
        ...

    async def skew(self, node: str, offset_ns: int, rate_ppm: int = 0) -> Effect: ...

    async def damage(self, node: str, how: str, options: Mapping[str, Any]) -> Effect: ...


def links_of(grudge: Grudge) -> frozenset[Link]:
    """The links that a grudge cuts.

    >>> sorted(links_of({"n1": ["n2"]}))
    [Link(source='n2', target='n1')]
    """
    return frozenset(
        Link(sender, receiver) for receiver, senders in grudge.items() for sender in senders
    )
