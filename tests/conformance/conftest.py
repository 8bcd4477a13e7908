"""Fixtures of the conformance suites, and the loop that each test and its fixtures run on.

A test of the kind `sim` runs in a world of its own, in virtual time; all others on a real loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.contract import Cluster
from harness.sim.world import World
from tests.conformance.clusters import KINDS, sim
from tests.conformance.echo import EchoSystem

LOOP_IS_SIMULATED = pytest.StashKey[bool]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What `new_loop` is asked for next: pytest-asyncio does not tell it the test."""
    callspec = getattr(item, "callspec", None)
    is_simulated = callspec is not None and callspec.params.get("kind") is sim
    item.config.stash[LOOP_IS_SIMULATED] = is_simulated


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    def new_loop() -> asyncio.AbstractEventLoop:
        if config.stash[LOOP_IS_SIMULATED]:
            return World(seed=1).harness
        return asyncio.new_event_loop()

    return {"of the kind": new_loop}


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
