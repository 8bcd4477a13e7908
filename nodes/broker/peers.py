"""Connections to the other brokers, for requests that wait for each other's answers."""

from __future__ import annotations

import asyncio
from typing import Any

from nodes.broker.config import NodeConfig
from nodes.broker.fetcher import Connect
from nodes.broker.wire import PeerConnection


class Peers:
    """One connection a broker, made when it is needed. `purpose` is the client's name on it."""

    def __init__(
        self, config: NodeConfig, purpose: str, connect: Connect = PeerConnection.open
    ) -> None:
        ids = config.peer_ids
        self._addresses = {ids[name]: ports["peer"] for name, ports in config.peers.items()}
        self._client, self._connect = f"{purpose}-{config.id}", connect
        self._connections: dict[int, PeerConnection] = {}
        self._turns: dict[int, asyncio.Lock] = {}

    async def ask(
        self, broker: int, body: Any, request: Any, response: Any, version: int, timeout_s: float
    ) -> Any:
        """Its decoded answer; one request after the other goes to each broker.

        Raises:
            OSError, EOFError, TimeoutError, ValueError: there is none; see `PeerConnection.ask`.
        """
        if broker not in self._addresses:
            raise OSError(f"broker {broker} is no peer of this one")
        async with self._turns.setdefault(broker, asyncio.Lock()):
            connection = self._connections.pop(broker, None)
            if connection is None:
                connection = await self._connect(self._addresses[broker], self._client)
            try:
                answer = await connection.ask(body, request, response, version, timeout_s)
            except BaseException:
                connection.close()  # its answer may come yet, and be taken for another's
                raise
            self._connections[broker] = connection
            return answer

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
