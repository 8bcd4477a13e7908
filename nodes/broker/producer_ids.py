"""Producer ids, handed out from blocks of the controller: no two producers ever get the same."""

from __future__ import annotations

import asyncio

from nodes.broker.controller.controller import Controller

BLOCK = 1000


class ProducerIds:
    """This broker's block of ids; what is left of it when the broker ends is never used."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._left: range = range(0)
        self._turn = asyncio.Lock()

    async def take(self) -> int:
        """A fresh id. Raises BrokerError: the controller gave no block in time."""
        async with self._turn:  # one asks for a block; who comes meanwhile takes of it
            if not self._left:
                self._left = await self._controller.allocate_producer_ids(BLOCK)
            first, self._left = self._left[0], self._left[1:]
            return first
