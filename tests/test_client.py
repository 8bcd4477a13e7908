"""What an error means for the operation that met it."""

from __future__ import annotations

import asyncio

import pytest

from harness.client import classify
from harness.errors import OpError, Refused, TimedOut, Unavailable
from harness.op import Kind

READS = frozenset({"poll"})


@pytest.mark.parametrize(
    ("error", "kind", "why"),
    [
        (Refused("not the leader"), Kind.FAIL, ("Refused", "not the leader")),
        (Refused("no", name="NotLeader"), Kind.FAIL, ("NotLeader", "no")),
        (Unavailable("no connection"), Kind.FAIL, ("Unavailable", "no connection")),
        (TimedOut("after 6 s"), Kind.INFO, ("TimedOut", "after 6 s")),
        (OpError("who knows"), Kind.INFO, ("OpError", "who knows")),
        (TimeoutError(), Kind.INFO, ("TimedOut", "TimedOut")),
        (ConnectionResetError("by peer"), Kind.INFO, ("ConnectionResetError", "by peer")),
        (KeyError("x"), Kind.INFO, ("KeyError", "'x'")),
        (asyncio.CancelledError(), Kind.INFO, ("CancelledError", "CancelledError")),
    ],
)
def test_only_an_error_that_is_definite_fails_a_write(
    error: BaseException, kind: Kind, why: tuple[str, str]
) -> None:
    """In doubt it is info: what is called a failure may never take effect."""
    assert classify(error, "send", READS) == (kind, why)
    assert classify(error, "poll", READS) == (Kind.FAIL, why), "a read has no effect to doubt"
