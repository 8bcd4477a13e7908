"""Asks the coordinator whether a partition takes part in a transaction, before it does (KIP-890).

A producer's batch may be late: its transaction may have been ended meanwhile, and then a batch that
comes behind the marker would begin a transaction that nobody ever ends. So the first batch of a
transaction in a partition is let in only when the coordinator says that it is expected, and no
marker came since it was asked.
"""

from __future__ import annotations

import asyncio
from typing import Any

from kafka.protocol.producer import AddPartitionsToTxnRequest, AddPartitionsToTxnResponse

from nodes.broker.controller.controller import Controller
from nodes.broker.coordinator.topics import TRANSACTIONS, place_of
from nodes.broker.coordinator.transaction import Place
from nodes.broker.coordinator.transactions import TransactionCoordinator
from nodes.broker.errors import BrokerError, Code
from nodes.broker.partition import Guard, Partition
from nodes.broker.peers import Peers

VERSION = 4
TIMEOUT_S = 5.0
_Transaction = AddPartitionsToTxnRequest.AddPartitionsToTxnTransaction
_Topic = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic

_LATER = frozenset(
    {
        Code.COORDINATOR_LOAD_IN_PROGRESS,
        Code.COORDINATOR_NOT_AVAILABLE,
        Code.NOT_COORDINATOR,
        Code.CONCURRENT_TRANSACTIONS,
    }
)

_Key = tuple[tuple[int, int], Place, Guard]


class Verifier:
    """`id` is this broker's, whose own coordinator is asked without a connection."""

    def __init__(
        self, id: int, controller: Controller, own: TransactionCoordinator, peers: Peers
    ) -> None:
        self._id, self._controller, self._own, self._peers = id, controller, own, peers
        self._asking: dict[_Key, asyncio.Task[None]] = {}

    async def close(self) -> None:
        for task in list(self._asking.values()):
            task.cancel()
        self._peers.close()

    async def admits(self, id: str, producer: tuple[int, int], partition: Partition) -> bool:
        """Whether the first batch of a producer's transaction may be appended now: the coordinator
        expects it, and no marker came since it was asked. Raises BrokerError, as `verify`."""
        place = partition.state.topic, partition.state.partition
        before = partition.guard(producer[0])
        await self.verify(id, producer, place, before)
        return partition.is_in_transaction(producer[0]) or partition.guard(producer[0]) == before

    async def verify(self, id: str, producer: tuple[int, int], place: Place, guard: Guard) -> None:
        """Return if the partition takes part. Who asks the same meanwhile gets the same answer,
        and in the order of asking: a producer's batches stay in order. Who asks after a marker
        does not ask the same: the answer that is on its way may be of before it.

        Raises:
            BrokerError: it does not; or nobody knows, which is what a producer asks again after.
        """
        key = producer, place, guard
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._verify(id, producer, place), name=f"verifying {id}")
            self._asking[key] = task
            task.add_done_callback(lambda done: self._verified(key, done))
        await asyncio.shield(task)

    def _verified(self, key: _Key, task: asyncio.Task[None]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # whoever waited for it has gone, perhaps

    async def _verify(self, id: str, producer: tuple[int, int], place: Place) -> None:
        code, text = Code.NONE, ""
        try:
            coordinator = place_of(self._controller.image, TRANSACTIONS, id).leader
            if coordinator == self._id:
                await self._own.verify(id, producer, place)
            else:
                code = await self._ask(coordinator, id, producer, place)
        except BrokerError as error:
            code, text = error.code, str(error)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            code, text = Code.COORDINATOR_NOT_AVAILABLE, f"{error!r}"
        if code in _LATER:
            raise BrokerError(Code.NOT_ENOUGH_REPLICAS, f"not verified: {text or code.name}")
        if code is Code.PRODUCER_FENCED:
            raise BrokerError(Code.INVALID_PRODUCER_EPOCH, text)
        if code is not Code.NONE:
            raise BrokerError(code, text)

    async def _ask(
        self, coordinator: int, id: str, producer: tuple[int, int], place: Place
    ) -> Code:
        topic, number = place
        wanted = _Transaction(
            transactional_id=id,
            producer_id=producer[0],
            producer_epoch=producer[1],
            verify_only=True,
            topics=[_Topic(name=topic, partitions=[number])],
        )
        answer: Any = await self._peers.ask(
            coordinator,
            AddPartitionsToTxnRequest(transactions=[wanted]),
            AddPartitionsToTxnRequest,
            AddPartitionsToTxnResponse,
            VERSION,
            TIMEOUT_S,
        )
        try:
            (result,) = answer.results_by_transaction
            (found,) = result.topic_results[0].results_by_partition
            return Code(found.partition_error_code)
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(f"an answer of another question: {error}") from error
