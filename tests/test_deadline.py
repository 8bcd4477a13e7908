"""Waiting for a condition, with an end."""

from __future__ import annotations

import asyncio

import pytest

from harness.deadline import wait_until
from harness.errors import EnvironmentFailure
from tests.virtual import virtually


def test_it_returns_when_the_condition_holds() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()

        async def late() -> bool:
            return loop.time() >= 3

        await wait_until(late, 10, "three o'clock")
        return loop.time()

    assert 3 <= virtually(main()) <= 3.1


def test_it_ends_with_what_was_waited_for() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(EnvironmentFailure, match="waited 10 s for a miracle, in vain"):
        virtually(wait_until(never, 10, "a miracle"))


def test_a_question_that_hangs_is_a_no_at_the_deadline() -> None:
    async def hangs() -> bool:
        await asyncio.get_running_loop().create_future()
        return True

    with pytest.raises(EnvironmentFailure, match="waited 2 s for an answer"):
        virtually(wait_until(hangs, 2, "an answer"))


def test_it_asks_at_least_once_even_without_time() -> None:
    async def already() -> bool:
        return True

    virtually(wait_until(already, 0, "nothing"))
