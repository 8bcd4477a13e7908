"""The coordinator of transactions: what a transactional producer asks, decided and remembered.

Every decision is one record, appended before anything follows from it; see
`nodes.broker.coordinator.shard` on when it is told. A transaction that is prepared is brought to
its end in the background (`_finish`): its decision is replicated, then markers are in all of its
partitions, then it is complete. Whoever becomes the coordinator takes up all that are prepared.

A producer that begins anew, or whose transaction takes too long, has its epoch raised before its
transaction is aborted: the markers carry the new epoch, so that nothing of the old producer, which
may still live, gets into any partition after them.
Source: KIP-98, KIP-360 (a producer that goes on after an error), KIP-890 part 1 (`verify`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from harness.host.contract import Host
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.coordinator.markers import Ending, Markers
from nodes.broker.coordinator.shard import Shard
from nodes.broker.coordinator.shards import Shards
from nodes.broker.coordinator.topics import TRANSACTIONS
from nodes.broker.coordinator.transaction import (
    EPOCH_MAX,
    Place,
    Stage,
    Transaction,
    Transactions,
)
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.producer_ids import ProducerIds

RETRY_S = 0.1
"""Between two attempts to bring a decision to its end."""

PATIENCE_S = 0.5

_copy = msgspec.structs.replace
_Shard = Shard[Transactions]


class TransactionCoordinator:
    """This broker's share of it.

    Attributes:
        shards: the partitions of `__transaction_state` that this broker leads.
    """

    def __init__(
        self,
        host: Host,
        config: NodeConfig,
        controller: Controller,
        ids: ProducerIds,
        markers: Markers,
    ) -> None:
        self._host, self._config, self._controller = host, config, controller
        self._ids, self._markers = ids, markers
        self.shards: Shards[Transactions] = Shards(host, TRANSACTIONS, Transactions)
        self.shards.on_loaded = self._take_up
        self._previous: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}  # before and after
        self._finishing: dict[str, asyncio.Task[None]] = {}
        self._upkeep: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._upkeep = asyncio.create_task(self._keep(), name="transactions' time-outs")

    async def close(self) -> None:
        tasks = [*self._finishing.values()]
        if self._upkeep is not None:
            tasks.append(self._upkeep)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._markers.close()
        await self.shards.close()

    # -- InitProducerId ----------------------------------------------------------------------

    async def init(
        self, id: str, timeout_ms: int, expected: tuple[int, int] | None
    ) -> tuple[int, int]:
        """The producer id and epoch with which the producer of this id goes on.

        `expected` are those that it has had, if it says so (KIP-360). Raises BrokerError; with
        CONCURRENT_TRANSACTIONS it is to ask again, while its last transaction is being ended.
        """
        if not id:
            raise BrokerError(Code.INVALID_REQUEST, "a transactional id has a name")
        if not 0 < timeout_ms <= self._config.ms("transaction.max.timeout.ms"):
            raise BrokerError(Code.INVALID_TRANSACTION_TIMEOUT, f"{timeout_ms} ms")
        shard = self._shard(id)
        known = shard.state.by_id.get(id)
        if known is None or known.epoch >= EPOCH_MAX:
            fresh = await self._ids.take()
            shard = self._shard(id)
            known = shard.state.by_id.get(id)  # somebody may have been quicker
        else:
            fresh = -1
        if known is not None and expected is not None:
            again = self._expect(known, expected)
            if again is not None:
                await shard.settled()
                return again
        if known is not None and known.stage is Stage.ONGOING:
            # The epoch is raised now, for the old producer, and again when this is asked anew.
            self._abort(shard, known)
        if known is not None and not known.stage.is_idle:
            await self._ended(id)
            raise BrokerError(Code.CONCURRENT_TRANSACTIONS, "its last one was being ended")
        known = self._next(known, id, timeout_ms, fresh)
        last = self._write(shard, known)
        # Only who said whom it follows may ask again: another one's answer is not for it.
        self._previous.pop(id, None)
        if expected is not None:
            self._previous[id] = expected, (known.producer_id, known.epoch)
        await shard.settled(last)
        return known.producer_id, known.epoch

    def _expect(self, known: Transaction, expected: tuple[int, int]) -> tuple[int, int] | None:
        """What was answered already, if this asks for it a second time. Raises BrokerError."""
        now = known.producer_id, known.epoch
        if expected == now:
            return None
        if self._previous.get(known.id) == (expected, now) and known.stage is Stage.EMPTY:
            return now
        raise BrokerError(Code.PRODUCER_FENCED, f"{expected} is over; it is {now}")

    def _next(self, known: Transaction | None, id: str, timeout_ms: int, fresh: int) -> Transaction:
        now_ms = self._now_ms()
        if known is None or known.epoch >= EPOCH_MAX:
            return Transaction(id, fresh, 0, timeout_ms, changed_ms=now_ms)
        return Transaction(id, known.producer_id, known.epoch + 1, timeout_ms, changed_ms=now_ms)

    # -- AddPartitionsToTxn, AddOffsetsToTxn -------------------------------------------------

    async def add(self, id: str, producer: tuple[int, int], places: Iterable[Place]) -> None:
        """Have partitions take part in the transaction; the first ones begin it.

        Raises BrokerError.
        """
        shard = self._shard(id)
        known = self._of(shard, id, producer)
        if known.stage.is_prepared:
            await self._ended(id)
            shard.require()
            known = self._of(shard, id, producer)
        if known.stage.is_prepared:
            raise BrokerError(Code.CONCURRENT_TRANSACTIONS, "its last one is being ended")
        now_ms = self._now_ms()
        began = known.stage is not Stage.ONGOING
        more = known.places.union(places) if not began else frozenset(places)
        if not began and more == known.places:
            await shard.settled()
            return
        known = _copy(
            known,
            stage=Stage.ONGOING,
            places=more,
            changed_ms=now_ms,
            began_ms=now_ms if began else known.began_ms,
        )
        self._previous.pop(id, None)
        await shard.settled(self._write(shard, known))

    async def verify(self, id: str, producer: tuple[int, int], place: Place) -> None:
        """Whether a partition takes part in the producer's transaction now (KIP-890).

        Raises:
            BrokerError: it does not, or nobody knows.
        """
        shard = self._shard(id)
        known = self._of(shard, id, producer)
        if known.stage.is_prepared:
            raise BrokerError(Code.CONCURRENT_TRANSACTIONS, "its last one is being ended")
        if known.stage is not Stage.ONGOING or place not in known.places:
            raise BrokerError(Code.INVALID_TXN_STATE, f"{place} is in no transaction of {id!r}")
        await shard.settled()

    # -- EndTxn ------------------------------------------------------------------------------

    async def end(self, id: str, producer: tuple[int, int], committed: bool) -> None:
        """Decide the transaction. Its markers follow in the background. Raises BrokerError."""
        shard = self._shard(id)
        known = self._of(shard, id, producer)
        complete = Stage.COMPLETE_COMMIT if committed else Stage.COMPLETE_ABORT
        prepared = Stage.PREPARE_COMMIT if committed else Stage.PREPARE_ABORT
        if known.stage is complete:
            await shard.settled()
            return
        if known.stage is prepared:
            raise BrokerError(Code.CONCURRENT_TRANSACTIONS, "its markers are being written")
        if known.stage is not Stage.ONGOING:
            raise BrokerError(Code.INVALID_TXN_STATE, f"it is {known.stage.spelled}")
        await shard.settled(self._prepare(shard, known, committed))

    def _abort(self, shard: _Shard, known: Transaction) -> None:
        """End the transaction of a producer that is not to go on: its epoch is raised first."""
        self._previous.pop(known.id, None)
        self._prepare(shard, _copy(known, epoch=known.epoch + 1), committed=False)

    def _prepare(self, shard: _Shard, known: Transaction, committed: bool) -> int:
        stage = Stage.PREPARE_COMMIT if committed else Stage.PREPARE_ABORT
        known = _copy(known, stage=stage, changed_ms=self._now_ms())
        last = self._write(shard, known)
        self._finish_soon(shard, known)
        return last

    # -- what is known -----------------------------------------------------------------------

    async def describe(self, id: str) -> Transaction:
        """Raises BrokerError."""
        shard = self._shard(id)
        known = shard.state.by_id.get(id)
        await shard.settled()
        if known is None:
            raise BrokerError(Code.TRANSACTIONAL_ID_NOT_FOUND)
        return known

    def all(self) -> list[Transaction]:
        """Of which this broker is the coordinator."""
        return [known for shard in self.shards for known in shard.state.by_id.values()]

    # -- to the end --------------------------------------------------------------------------

    def _take_up(self, shard: _Shard) -> None:
        """What was decided before this broker became the coordinator."""
        for known in shard.state.by_id.values():
            if known.stage.is_prepared:
                self._finish_soon(shard, known)

    def _finish_soon(self, shard: _Shard, known: Transaction) -> None:
        before = self._finishing.get(known.id)
        if before is not None:
            before.cancel()  # of another epoch of the shard: one that is prepared is not again
        task = asyncio.create_task(self._finish(shard, known), name=f"ending {known.id}")
        self._finishing[known.id] = task
        task.add_done_callback(lambda done: self._finished(known.id, done))

    def _finished(self, id: str, task: asyncio.Task[None]) -> None:
        if self._finishing.get(id) is task:
            del self._finishing[id]
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a bug of ours: it must not go by in silence
            self._host.log("transaction.failed", id=id, error=f"{error!r}")

    async def _ended(self, id: str) -> None:
        """Wait a little for the markers of its last transaction: producers that are told to ask
        again do so after 100 ms, and most markers are written in a few."""
        task = self._finishing.get(id)
        if task is not None:
            await asyncio.wait([task], timeout=PATIENCE_S)

    async def _finish(self, shard: _Shard, known: Transaction) -> None:
        committed = known.stage is Stage.PREPARE_COMMIT
        if not await self._is_decided(shard):
            return
        ending = Ending(known.producer_id, known.epoch, committed, shard.epoch)
        await self._markers.write(ending, known.places, lambda: shard.leads)
        stage = Stage.COMPLETE_COMMIT if committed else Stage.COMPLETE_ABORT
        while shard.leads and shard.state.by_id.get(known.id) == known:
            done = _copy(known, stage=stage, places=frozenset(), changed_ms=self._now_ms())
            try:
                self._write(shard, done)
                return
            except (BrokerError, LogError):
                await asyncio.sleep(RETRY_S)

    async def _is_decided(self, shard: _Shard) -> bool:
        """Whether the decision cannot be lost any more; waits as long as this broker leads."""
        while shard.leads:
            try:
                await shard.settled()
                return True
            except (BrokerError, LogError):
                await asyncio.sleep(RETRY_S)
        return False

    # -- upkeep ------------------------------------------------------------------------------

    async def _keep(self) -> None:
        pause_ms = self._config.ms("transaction.abort.timed.out.transaction.cleanup.interval.ms")
        while True:
            await asyncio.sleep(pause_ms / 1000)
            for shard in self.shards:
                for known in list(shard.state.by_id.values()):
                    self._time_out(shard, known)

    def _time_out(self, shard: _Shard, known: Transaction) -> None:
        now_ms = self._now_ms()
        expires_ms = self._config.ms("transactional.id.expiration.ms")
        try:
            if known.stage is Stage.ONGOING and now_ms - known.began_ms > known.timeout_ms:
                self._host.log("transaction.timed-out", id=known.id, epoch=known.epoch)
                self._abort(shard, known)
            elif known.stage.is_idle and now_ms - known.changed_ms > expires_ms:
                shard.write([known.forgotten()])
                self._previous.pop(known.id, None)
        except (BrokerError, LogError) as error:
            self._host.log("transaction.not-aborted", id=known.id, error=str(error))

    # -- what they share ---------------------------------------------------------------------

    def _shard(self, id: str) -> _Shard:
        return self.shards.of(self._controller.image, id)

    def _of(self, shard: _Shard, id: str, producer: tuple[int, int]) -> Transaction:
        """What is known of an id, if it is this producer's. Raises BrokerError."""
        known = shard.state.by_id.get(id)
        if known is None or known.producer_id != producer[0]:
            text = f"producer {producer[0]} is not the one of {id!r}"
            raise BrokerError(Code.INVALID_PRODUCER_ID_MAPPING, text)
        if known.epoch != producer[1]:
            raise BrokerError(Code.PRODUCER_FENCED, f"{producer[1]} is over; it is {known.epoch}")
        return known

    def _write(self, shard: _Shard, known: Transaction) -> int:
        return shard.write([known.record()])

    def _now_ms(self) -> int:
        return self._host.clock.wall_ns() // 1_000_000
