"""A cluster of containers, each a machine that outlives the server started in it.

Faults come from the host: signals go to the servers' processes, packet rules into the network
namespaces of their containers. So the image needs nothing but Python, and killing a server leaves
what was done to its machine.

    harness ── Docker Engine ──── n1, n2, n3   in one internal network of this run
       ├────── signals, pidfds ───┤
       └────── nft in namespaces ─┘            (client hosts are this host, told apart by ports)

Needs Linux, root and a Docker Engine on this machine.

Blind to: page cache lost with the power, unless the nodes keep it in their process
(`disk="volatile"`); slow, lossy and narrow links, clocks and disks, for now.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from harness.cluster.contract import NodeSpec
from harness.cluster.layout import spread_out
from harness.cluster.machines import FOLDER, Machines
from harness.cluster.node import Node
from harness.cluster.packets import Packets, Point
from harness.cluster.process_cluster import ProcessCluster
from harness.system import System

PYTHON = "python3"


class DockerCluster(ProcessCluster):
    """See `ProcessCluster` for the arguments."""

    kind = "docker"

    def __init__(self, system: System, **common: Any) -> None:
        super().__init__(system, **common)
        folders = {node: self._folder(node) for node in self.nodes}
        self._machines = Machines(folders, self._on_exit)
        self._packets: Packets | None = None

    @property
    def label(self) -> str:
        """What the containers and the network of this run are labelled with."""
        return self._machines.run

    @property
    def _owner(self) -> Machines:
        return self._machines

    async def _surround(self) -> Mapping[str, NodeSpec]:
        machines = self._machines.machines
        addresses = {name: machine.address for name, machine in machines.items()}
        plan = self._plan(lambda node: f"{FOLDER}/data", python=PYTHON)
        specs = spread_out(plan, addresses)
        points = {
            name: Point(
                name,
                machine.pid,
                machine.address,
                {host: specs[name].bind[host].port for host in self.clients},
            )
            for name, machine in machines.items()
        }
        self._packets = Packets(points, self.clients, self._machines.gateway, self.state)
        return specs

    def _release(self) -> None:
        if self._packets is not None:
            self._packets.close()

    def _here(self, node: Node, path: str) -> Path:
        return node.folder / PurePosixPath(path).relative_to(FOLDER)

    def _working_links(self) -> Packets:
        self._require_working()
        assert self._packets is not None
        return self._packets
