"""Fixtures of the tests of the simulated world."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.grounds import real, simulated


@pytest.fixture(params=[real, simulated])
def play(request: pytest.FixtureRequest) -> Any:
    """Plays a program on one of the two grounds. See `tests.sim.grounds`."""
    return request.param
