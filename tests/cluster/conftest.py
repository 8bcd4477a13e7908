"""Fixtures: an echo upstream, the embedded server, and both servers by turns."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from harness.cluster.contract import Address
from tests.cluster.servers import EMBEDDED, Server, echo_upstream, running


@pytest.fixture
async def upstream() -> AsyncIterator[Address]:
    async with echo_upstream() as where:
        yield where


@pytest.fixture
async def embedded() -> AsyncIterator[Server]:
    async with running(EMBEDDED) as server:
        yield server


@pytest.fixture(params=["embedded", "toxiproxy-server"])
async def either(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Server]:
    """The embedded server and the real one: what holds for both is Toxiproxy's contract."""
    monkeypatch.setenv("LOG_LEVEL", "error")
    command = (
        EMBEDDED if request.param == "embedded" else (request.getfixturevalue("toxiproxy_server"),)
    )
    async with running(command) as server:
        yield server
