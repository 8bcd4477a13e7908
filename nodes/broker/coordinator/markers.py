"""Markers on their way to the leaders of a transaction's partitions.

Each broker has one sender here, with one request under way at a time that takes all markers which
wait for it; those of this broker's own partitions go the same way, without a connection. A marker
is sent until it is in its partition, wherever leadership goes, or until the partition is deleted,
or its coordinator leads no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kafka.protocol.producer import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from harness.host.contract import Host
from nodes.broker.controller.controller import Controller
from nodes.broker.coordinator.transaction import Place, by_topic
from nodes.broker.errors import Code
from nodes.broker.metadata import NO_LEADER
from nodes.broker.peers import Peers

VERSION = 1
TIMEOUT_S = 10.0
RETRY_S = 0.05
REPLACED = (Code.INVALID_PRODUCER_EPOCH, Code.TRANSACTION_COORDINATOR_FENCED)
"""Another coordinator has been there: this one's decision counts no more."""

Codes = dict[Place, int]
AppendMarker = Callable[["Ending", Place], Awaitable[Code]]
"""Writes a marker into a partition that this broker leads, and waits for its replicas."""

_Marker = WriteTxnMarkersRequest.WritableTxnMarker


@dataclass(frozen=True, slots=True)
class Ending:
    """How a transaction ends."""

    producer_id: int
    epoch: int
    committed: bool
    coordinator_epoch: int


@dataclass(frozen=True, slots=True)
class _Order:
    """Markers of one transaction for one broker; `done` gets the codes."""

    ending: Ending
    places: frozenset[Place]
    done: asyncio.Future[Codes]


class Markers:
    """`append` is for the partitions that this broker leads."""

    def __init__(
        self,
        host: Host,
        id: int,
        controller: Controller,
        peers: Peers,
        append: AppendMarker,
    ) -> None:
        self._host, self._id, self._controller = host, id, controller
        self._peers, self._append = peers, append
        self._waiting: dict[int, list[_Order]] = {}
        self._sending: dict[int, asyncio.Task[None]] = {}

    async def close(self) -> None:
        for task in self._sending.values():
            task.cancel()
        await asyncio.gather(*self._sending.values(), return_exceptions=True)
        self._peers.close()

    async def write(
        self, ending: Ending, places: Iterable[Place], still: Callable[[], bool]
    ) -> None:
        """Return when the markers are in all partitions, or `still` says that they need not be."""
        left = set(places)
        while left and still():
            codes = await self._once(ending, left)
            left -= {place for place in left if self._is_over(place, codes.get(place))}
            if left and still():
                await asyncio.sleep(RETRY_S)

    def _is_over(self, place: Place, code: int | None) -> bool:
        if code in REPLACED:
            self._host.log("transaction.replaced", place=list(place), code=code)
        gone = self._controller.image.partition(*place) is None
        return code == Code.NONE or code in REPLACED or gone

    async def _once(self, ending: Ending, places: set[Place]) -> Codes:
        """One attempt: the codes of those that were asked."""
        by_leader: dict[int, set[Place]] = {}
        for place in places:
            state = self._controller.image.partition(*place)
            if state is not None and state.leader != NO_LEADER:
                by_leader.setdefault(state.leader, set()).add(place)
        answers = await asyncio.gather(
            *(self._ask(leader, ending, frozenset(those)) for leader, those in by_leader.items())
        )
        return {place: code for codes in answers for place, code in codes.items()}

    async def _ask(self, leader: int, ending: Ending, places: frozenset[Place]) -> Codes:
        if leader == self._id:
            codes = await asyncio.gather(*(self._append(ending, place) for place in sorted(places)))
            return dict(zip(sorted(places), map(int, codes), strict=True))
        order = _Order(ending, places, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(leader, []).append(order)
        if leader not in self._sending:
            task = asyncio.create_task(self._send(leader), name=f"markers for {leader}")
            self._sending[leader] = task
        return await order.done

    async def _send(self, leader: int) -> None:
        """Send what waits for a broker until nothing does."""
        orders: list[_Order] = []
        try:
            while orders := self._waiting.pop(leader, []):
                found = await self._exchange(leader, orders)
                for order in orders:
                    _settle(order, found.get(order.ending.producer_id, {}))
        finally:
            del self._sending[leader]
            for order in (*orders, *self._waiting.pop(leader, ())):
                _settle(order, {})

    async def _exchange(self, leader: int, orders: list[_Order]) -> dict[int, Codes]:
        """The codes by producer id; none where there is no answer."""
        request = WriteTxnMarkersRequest(markers=[_spelled(order) for order in orders])
        try:
            answer = await self._peers.ask(
                leader, request, WriteTxnMarkersRequest, WriteTxnMarkersResponse, VERSION, TIMEOUT_S
            )
        except (OSError, EOFError, TimeoutError, ValueError):
            return {}
        return {
            marker.producer_id: {
                (topic.name, part.partition_index): part.error_code
                for topic in marker.topics
                for part in topic.partitions
            }
            for marker in answer.markers
        }


def _settle(order: _Order, codes: Codes) -> None:
    if not order.done.done():
        order.done.set_result(codes)


def _spelled(order: _Order) -> Any:
    ending = order.ending
    return _Marker(
        producer_id=ending.producer_id,
        producer_epoch=ending.epoch,
        transaction_result=ending.committed,
        topics=[
            _Marker.WritableTxnMarkerTopic(name=topic, partition_indexes=numbers)
            for topic, numbers in by_topic(order.places).items()
        ],
        coordinator_epoch=ending.coordinator_epoch,
    )
