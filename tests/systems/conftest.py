"""One cluster of brokers for the conformance suite of the client libraries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from harness.client import Endpoint
from harness.cluster.contract import Address
from systems.broker import LIBRARIES
from tests.nodes.broker.clients.cluster import Brokers
from workloads.ports import BrokerPort, Settings

Open = Callable[..., Awaitable[BrokerPort]]

QUICK = Settings(request_timeout_s=1.0, delivery_timeout_s=2.0)
"""Settings for tests in which brokers are away: as a run's, but with less patience."""


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def connect(library: str) -> AsyncIterator[Callable[..., Awaitable[BrokerPort]]]:
    """Opens ports of the library; all are closed after the test."""
    opened: list[BrokerPort] = []

    async def open_port(endpoint: Endpoint, **settings: Any) -> BrokerPort:
        made = await import_module(LIBRARIES[library]).connect(endpoint, replace(QUICK, **settings))
        opened.append(made)
        port: BrokerPort = made
        return port

    yield open_port
    async with asyncio.timeout(10):
        await asyncio.gather(*(port.close() for port in opened))


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Three nodes; tests that break them mend them again."""
    brokers = Brokers(tmp_path_factory.mktemp("systems"))
    try:
        brokers.run(brokers.cluster.start())
        yield brokers
        assert brokers.cluster.crashes() == ()
    finally:
        brokers.close()


@pytest.fixture
def port(connect: Open, brokers: Brokers) -> Callable[..., Awaitable[BrokerPort]]:
    """Opens a port to the cluster, with settings by name."""

    async def open_port(**settings: Any) -> BrokerPort:
        return await connect(endpoint_of(brokers), **settings)

    return open_port


def endpoint_of(brokers: Brokers) -> Endpoint:
    nodes, cluster = brokers.cluster.nodes, brokers.cluster
    bootstrap = tuple(cluster.address(node, "c1") for node in nodes)
    return Endpoint(nodes[0], "c1", bootstrap[0], bootstrap)


def endpoint_at(address: Address) -> Endpoint:
    return Endpoint("n1", "c1", address, (address,))
