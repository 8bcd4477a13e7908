"""What the engine needs to know of a system under test."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.cluster.contract import Cluster, NodeSpec
from harness.host.contract import Host
from harness.nemesis import View

Program = Callable[[Host], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a node: arguments (without a shell), environment on top of the harness's own,
    and files to write first, by absolute path."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


class System(Protocol):
    """How one system is started, when it is ready, who leads, and which libraries speak to it."""

    @property
    def name(self) -> str: ...

    @property
    def peer_ports(self) -> Sequence[str]:
        """Names of the ports on which nodes talk to each other; each passes its own proxies."""
        ...

    @property
    def own(self) -> bool:
        """Whether the nodes are this project's, so that sim and `--disk volatile` are possible."""
        ...

    @property
    def virtual_libraries(self) -> Sequence[str]:
        """Client libraries that never block, and so run in a simulated world; the default first.
        A system that is not `own` need not have it."""
        ...

    def command(self, spec: NodeSpec) -> Command: ...

    def program(self, spec: NodeSpec) -> Program:
        """A node of one's own as a coroutine, for simulated machines: `async run(host)`."""
        ...

    async def ready(self, cluster: Cluster, node: str) -> bool:
        """Whether the node serves. Called again and again until a deadline; must not hang."""
        ...

    async def inspect(self, cluster: Cluster, node: str) -> Any:
        """What one node tells of itself, as JSON; None if it does not answer. May be left out."""
        ...

    async def view(self, cluster: Cluster) -> View:
        """Who leads what, as far as the nodes that answer now can tell."""
        ...

    def port(self, workload: str, library: str | None) -> Callable[..., Any]:
        """The adapter of a client library to the workload's port.

        Raises:
            UsageError: this system has no such library or cannot serve that workload.
        """
        ...

    def stats(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> Mapping[str, Any]:
        """Numbers of the run for the verdict (elections, ISR shrinks), from two `facts`."""
        ...
