"""Requests to whoever leads the quorum: sent again until a deadline, applied once.

A process opens one session with the quorum (`nodes.raft.sessions`) and numbers its commands in it.
An attempt whose answer is lost is repeated, perhaps with another leader, under the same number.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from harness.errors import OpError, TimedOut, Unavailable
from harness.host.contract import Host
from nodes.broker.errors import BrokerError, Code
from nodes.raft.node import RaftNode
from nodes.raft.ready import Role
from nodes.raft.sessions import SessionExpired

CALL_TIMEOUT_S = 1.0
RETRY_PAUSE_S = 0.1
EXPIRED = "expired"

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class Requests:
    """One process' requests, and its share in answering those of others."""

    def __init__(self, host: Host, raft: RaftNode) -> None:
        self._host, self._raft = host, raft
        self._session = 0  # 0: none is open
        self._opening = asyncio.Lock()
        self._sequence = 0
        self._pending: set[int] = set()
        self._asked: dict[asyncio.Timeout, int] = {}  # how long yet, and whom, in order
        raft.on_role(self._on_role)
        raft.rpc("propose", self._on_propose)
        raft.rpc("open-session", self._on_open_session)

    async def session(self, timeout_s: float) -> int:
        """The id of this process' session: no other process has or had it.

        Raises:
            BrokerError: REQUEST_TIMED_OUT, no leader could be asked in time.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            # Who opens it may have more time than who waits for that.
            async with asyncio.timeout_at(max(deadline, 0.0)), self._opening:
                while self._session == 0:
                    try:
                        self._session = await self._ask("open-session", b"", deadline)
                    except OpError as error:
                        await self._pause(deadline, error)
                return self._session
        except TimeoutError:
            raise BrokerError(Code.REQUEST_TIMED_OUT, "no session was opened in time") from None

    async def submit(self, command: bytes, timeout_s: float) -> Any:
        """Have a command applied, once; its result, when it is applied here, too, or time is up.

        Raises:
            BrokerError: it was refused, or (REQUEST_TIMED_OUT) nobody knows whether it will apply.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        self._sequence += 1
        number = self._sequence
        self._pending.add(number)
        try:
            status, *rest = await self._attempts(command, number, deadline)
        finally:
            self._pending.discard(number)
        if status == "error":
            raise BrokerError(Code(rest[0]), rest[1])
        result, index = rest
        with contextlib.suppress(TimeoutError, OpError):  # it is known all the same
            async with asyncio.timeout_at(max(deadline, 0.0)):
                await self._raft.wait_applied(index)
        return result

    async def _attempts(self, command: bytes, number: int, deadline: float) -> Any:
        """The machine's answer to the first attempt that reached it."""
        asked = False
        while True:
            session = await self.session(deadline - asyncio.get_running_loop().time())
            payload = _encode((command, (session, number, min(self._pending))))
            try:
                answer = await self._ask("propose", payload, deadline)
            except OpError as error:
                asked = asked or not isinstance(error, Unavailable)
                await self._pause(deadline, error)
                continue
            if answer[0] != EXPIRED:
                return answer
            if self._session == session:
                self._session = 0
            if asked:
                text = "the quorum forgot this process' session: it may have been applied"
                raise BrokerError(Code.REQUEST_TIMED_OUT, text)

    async def ask_leader(self, method: str, payload: bytes, timeout_s: float) -> Any:
        """One call to whoever leads now, given up when another one does. Raises OpError."""
        leader = self._raft.leader_id
        if leader is None:
            raise Unavailable("the controller quorum has no leader now")
        try:
            async with asyncio.timeout(None) as patience:
                self._asked[patience] = leader
                try:
                    return _decode(await self._raft.call(leader, method, payload, timeout_s))
                finally:
                    del self._asked[patience]
        except TimeoutError:
            raise TimedOut(f"node {leader} did not answer before another one led") from None

    def _on_role(self, role: Role, term: int, leader: int | None) -> None:
        """Whoever led before may be stopped, and its answer is not worth waiting for."""
        now = asyncio.get_running_loop().time()
        for patience, asked in self._asked.items():
            if leader not in (None, asked) and not patience.expired():
                patience.reschedule(now)

    async def _ask(self, method: str, payload: bytes, deadline: float) -> Any:
        left_s = deadline - asyncio.get_running_loop().time()
        return await self.ask_leader(method, payload, max(min(CALL_TIMEOUT_S, left_s), 0.01))

    async def _pause(self, deadline: float, error: OpError) -> None:
        """Before the next attempt. Raises BrokerError when there is no time for one."""
        if asyncio.get_running_loop().time() + RETRY_PAUSE_S >= deadline:
            raise BrokerError(Code.REQUEST_TIMED_OUT, str(error)) from error
        await asyncio.sleep(RETRY_PAUSE_S * self._host.rng.uniform(0.5, 1.0))

    # -- as the leader -----------------------------------------------------------------------

    async def _on_propose(self, payload: bytes) -> bytes:
        command, session = _decode(payload)
        try:
            answer = await self._raft.propose(
                command, session=tuple(session), timeout_s=CALL_TIMEOUT_S
            )
        except SessionExpired:
            answer = [EXPIRED]
        return _encode(answer)

    async def _on_open_session(self, payload: bytes) -> bytes:
        return _encode(await self._raft.open_session(timeout_s=CALL_TIMEOUT_S))
