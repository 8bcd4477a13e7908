"""Requests to whoever leads, against a quorum that a test answers for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import TimedOut
from nodes.broker.controller.requests import Requests
from nodes.broker.errors import BrokerError, Code
from nodes.raft.ready import Role
from tests.nodes.raft.hosts import real_host

SESSION = 17
Answer = Callable[[int, str, Any], Awaitable[Any]]
"""(peer, method, what was asked) → the answer. Raises OpError."""


class Quorum:
    """Stands in for a `RaftNode`."""

    def __init__(self, answer: Answer) -> None:
        self.leader_id: int | None = 1
        self.asked: list[tuple[int, str, Any]] = []
        self._answer = answer
        self._on_role: list[Any] = []

    def rpc(self, method: str, handler: Any) -> None:
        pass

    def on_role(self, callback: Any) -> None:
        self._on_role.append(callback)

    def lead(self, leader: int | None) -> None:
        """Another one leads now."""
        self.leader_id = leader
        for callback in self._on_role:
            callback(Role.FOLLOWER, 2, leader)

    async def call(self, peer: int, method: str, payload: bytes, timeout_s: float) -> bytes:
        asked = msgspec.msgpack.decode(payload) if payload else None
        self.asked.append((peer, method, asked))
        return msgspec.msgpack.encode(await self._answer(peer, method, asked))

    async def wait_applied(self, index: int) -> None:
        pass


def asking(answer: Answer, root: Path) -> tuple[Requests, Quorum]:
    quorum: Any = Quorum(answer)
    return Requests(real_host(root, "n1"), quorum), quorum


async def never() -> Any:
    await asyncio.get_running_loop().create_future()


async def done(peer: int, method: str, asked: Any) -> Any:
    return SESSION if method == "open-session" else ["ok", "done", 1]


async def test_a_leader_that_is_stopped_is_not_waited_for_once_another_leads(
    tmp_path: Path,
) -> None:
    async def answer(peer: int, method: str, asked: Any) -> Any:
        if peer == 1 and method == "propose":
            quorum.lead(None)
            asyncio.get_running_loop().call_soon(quorum.lead, 2)
            await never()
        return await done(peer, method, asked)

    requests, quorum = asking(answer, tmp_path)
    async with asyncio.timeout(10):
        assert await requests.submit(b"command", 60.0) == "done"
    proposed = [(peer, asked) for peer, method, asked in quorum.asked if method == "propose"]
    assert [peer for peer, _ in proposed] == [1, 2]
    assert proposed[0][1] == proposed[1][1], "under one number, so that it applies once"


async def test_a_leader_that_is_elected_again_is_waited_for(tmp_path: Path) -> None:
    async def answer(peer: int, method: str, asked: Any) -> Any:
        if method == "propose":
            quorum.lead(None)
            quorum.lead(1)
            await asyncio.sleep(0)
        return await done(peer, method, asked)

    requests, quorum = asking(answer, tmp_path)
    assert await requests.submit(b"command", 60.0) == "done"
    assert len([method for _, method, _ in quorum.asked if method == "propose"]) == 1


async def test_who_has_little_time_does_not_wait_for_one_who_has_much(tmp_path: Path) -> None:
    """Both need a session, which one of them opens."""

    async def answer(peer: int, method: str, asked: Any) -> Any:
        await never()

    requests, _ = asking(answer, tmp_path)
    patient = asyncio.create_task(requests.submit(b"first", 3600.0))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        with pytest.raises(BrokerError) as caught:
            await requests.submit(b"second", 0.05)
    assert caught.value.code is Code.REQUEST_TIMED_OUT
    assert not patient.done()
    patient.cancel()


async def test_a_number_is_kept_for_as_long_as_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever must know what came of a command keeps asking, for an hour if need be."""
    loop, passed_s = asyncio.get_running_loop(), [0.0]
    time = loop.time
    monkeypatch.setattr(loop, "time", lambda: time() + passed_s[0])

    async def answer(peer: int, method: str, asked: Any) -> Any:
        if method == "propose" and len(quorum.asked) < 5:
            passed_s[0] += 1000
            raise TimedOut("no answer")
        return await done(peer, method, asked)

    requests, quorum = asking(answer, tmp_path)
    assert await requests.submit(b"command", 86_400.0) == "done"
    proposed = [asked for _, method, asked in quorum.asked if method == "propose"]
    assert len(proposed) == 4 and all(asked == proposed[0] for asked in proposed)
