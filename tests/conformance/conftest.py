"""Fixtures of the conformance suites."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.contract import Cluster
from tests.conformance.clusters import KINDS
from tests.conformance.echo import EchoSystem


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def new_cluster(
    kind: Any, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Cluster]]:
    """Makes clusters of the echo system, not started yet; all are stopped after the test."""
    monkeypatch.setenv("TOXIPROXY_SERVER", "")
    made: list[Cluster] = []
    numbers = itertools.count(1)

    def make(system: Any = None, **options: Any) -> Cluster:
        options = {"nodes": 2, "clients": 2, "seed": 1, **options}
        folder = tmp_path / f"run{next(numbers)}"
        made.append(kind(system or EchoSystem(), folder, request, **options))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.stop()


@pytest.fixture
async def cluster(new_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes and two client hosts, started."""
    started = new_cluster()
    await started.start()
    return started
