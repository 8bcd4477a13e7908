"""Where partitions end, and other things that their leaders tell, asked of a library whose calls
block."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from harness.errors import UsageError
from workloads.ports import Partition, Settings

T = TypeVar("T")


def of_each(
    partitions: Iterable[Partition],
    timeout_s: float,
    ask: Callable[[Partition, float], T],
    no_answer: type[Exception],
    now: Callable[[], float] = time.monotonic,
) -> dict[Partition, T]:
    """Each is asked for by itself, so that one without a leader does not hide the others; what has
    not answered after twice the time-out is left out.

    Args:
        ask: what is asked of it, within so many seconds; raises `no_answer` if nobody tells.
    """
    told: dict[Partition, T] = {}
    deadline = now() + 2 * timeout_s
    for partition in partitions:
        left_s = min(deadline - now(), timeout_s / 2)
        if left_s <= 0:
            break
        with contextlib.suppress(no_answer):
            told[partition] = ask(partition, left_s)
    return told


def require_one_in_flight(settings: Settings, library: str) -> None:
    """Its adapter waits for one call after the other. Raises UsageError."""
    if settings.in_flight > 1:
        raise UsageError(
            f"the adapter of {library} has one message in flight: "
            "leave out -o in-flight, or use --client aiokafka"
        )
