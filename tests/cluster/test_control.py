"""Calls of the client library under a deadline: cancelled they are, and run to their end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from harness.cluster import control
from harness.cluster.contract import Address
from harness.cluster.control import Control
from harness.errors import EnvironmentFailure

NOWHERE = Address("127.0.0.1", 1)


@pytest.mark.parametrize("turns", range(8))
async def test_a_caller_is_cancelled_however_close_the_answer_is(turns: int) -> None:
    begin, ended = threading.Event(), threading.Event()

    def work() -> str:
        begin.wait(10)
        ended.set()
        return "done"

    calling = asyncio.create_task(Control(NOWHERE).call(work))
    await asyncio.sleep(0)
    begin.set()
    assert ended.wait(10), "the answer is on its way, and this loop has not seen it yet"
    for _ in range(turns):
        await asyncio.sleep(0)
    if calling.done():
        assert calling.result() == "done"
        return
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_what_was_begun_ends_though_its_caller_was_cancelled() -> None:
    begin, ended = threading.Event(), threading.Event()
    calling = asyncio.create_task(Control(NOWHERE).call(lambda: begin.wait(10) and ended.set()))
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait([calling])
    begin.set()
    assert await asyncio.to_thread(ended.wait, 10)


async def test_a_server_that_hangs_is_named_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "CALLS_DEADLINE_S", 0.05)
    release = threading.Event()
    with pytest.raises(EnvironmentFailure, match=r"127\.0\.0\.1:1 did not answer"):
        await Control(NOWHERE).call(release.wait, 10)
    release.set()


async def test_a_server_that_is_not_there_is_named() -> None:
    def ask() -> None:
        control.toxiproxy.api.APIConsumer.get("/version")

    with pytest.raises(EnvironmentFailure, match=r"127\.0\.0\.1:1"):
        await Control(NOWHERE).call(ask)
