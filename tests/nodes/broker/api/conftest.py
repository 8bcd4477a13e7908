"""A broker for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.broker.api.broker import Broker


@pytest.fixture
def options(request: pytest.FixtureRequest) -> Mapping[str, Any]:
    """The broker's options: `@pytest.mark.parametrize("options", [{…}])` changes them."""
    return getattr(request, "param", {})


@pytest.fixture
async def broker(tmp_path: Path, options: Mapping[str, Any]) -> AsyncIterator[Broker]:
    broker = Broker(tmp_path, options)
    await broker.start()
    yield broker
    await broker.close()
