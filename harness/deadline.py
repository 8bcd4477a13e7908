"""Waiting for a condition, with an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from harness.errors import EnvironmentFailure


async def wait_until(
    condition: Callable[[], Awaitable[bool]],
    timeout_s: float,
    what: str,
    *,
    pause_s: float = 0.05,
) -> None:
    """Ask until the condition holds. A question that hangs counts as a no at the deadline.

    Raises:
        EnvironmentFailure: it did not hold within `timeout_s`; the message names `what`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            left_s = max(deadline - loop.time(), 0.001)
            # Not `wait_for`: before Python 3.12 it swallows a cancellation that meets the answer.
            async with asyncio.timeout(left_s):
                if await condition():
                    return
        except TimeoutError:
            pass
        if loop.time() >= deadline:
            raise EnvironmentFailure(f"waited {timeout_s:g} s for {what}, in vain")
        await asyncio.sleep(pause_s)
