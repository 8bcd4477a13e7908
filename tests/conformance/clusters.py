"""The kinds of cluster that the conformance suite runs over.

To add one: a function that makes a cluster of it, and an entry in `KINDS`. It is called with the
system, the run's folder, pytest's request (for fixtures such as `require`) and the options of a
test: nodes, clients, seed, options, disk, ready_timeout_s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.contract import Cluster
from harness.cluster.docker import DockerCluster
from harness.cluster.local import LocalCluster
from harness.cluster.sim import SimCluster
from harness.system import System

Maker = Callable[..., Cluster]


def sim(system: System, folder: Path, request: pytest.FixtureRequest, **more: Any) -> Cluster:
    return SimCluster(system, folder=folder, **more)


def local(system: System, folder: Path, request: pytest.FixtureRequest, **more: Any) -> Cluster:
    return LocalCluster(system, folder=folder, proxy="embedded", **more)


def local_with_server(
    system: System, folder: Path, request: pytest.FixtureRequest, **more: Any
) -> Cluster:
    os.environ["TOXIPROXY_SERVER"] = request.getfixturevalue("toxiproxy_server")
    return LocalCluster(system, folder=folder, proxy="server", **more)


def docker(system: System, folder: Path, request: pytest.FixtureRequest, **more: Any) -> Cluster:
    request.getfixturevalue("docker_engine")
    return DockerCluster(system, folder=folder, **more)


SHAPING: list[Any] = [
    pytest.param(sim, id="sim"),
    pytest.param(local, id="local", marks=pytest.mark.local),
    pytest.param(local_with_server, id="local-toxiproxy-server", marks=pytest.mark.local),
]
"""Those that can shape and reset links."""

KINDS: list[Any] = [*SHAPING, pytest.param(docker, id="docker", marks=pytest.mark.docker)]
