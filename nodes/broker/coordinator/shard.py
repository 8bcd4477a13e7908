"""One partition of an internal topic as its coordinator has it: a state that is the fold of a log.

The leader reads the log up to its end, and holds the state in memory from then on. What it changes
it appends first, and the state follows at once, in the order of the log; but *nobody is told of
anything before it is replicated*: an answer waits with `settled` for all that it rests on. So what
was told survives whatever the log survives, and the next leader, which folds the same log, knows
it. A coordinator that leads no more (`require`) answers nothing.
Source: Kafka's coordinators; KIP-848 on their being state machines over a log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from harness.host.contract import Host
from nodes.broker.coordinator.records import Producer, Record, Written, batch_of, written
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.transactions import Marker
from nodes.broker.partition import Partition

TIMEOUT_S = 5.0
"""How long a change waits for its replicas (Kafka's offsets.commit.timeout.ms)."""

_LOAD_BYTES = 1 << 20


class State(Protocol):
    """What a coordinator remembers: a function of the log, for it changes by `apply` alone."""

    def apply(self, batch: Written) -> None: ...


S = TypeVar("S", bound=State)


class Shard(Generic[S]):
    """`partition` as this node leads it in its present epoch, and the state in it.

    Attributes:
        epoch: the leader epoch. loaded: whether `state` is all that the log says.
    """

    def __init__(self, host: Host, partition: Partition, state: S) -> None:
        self._host, self.partition, self.state = host, partition, state
        self.epoch = partition.state.leader_epoch
        self.number = partition.state.partition
        self.loaded = False
        self._applied = partition.log.start_offset

    async def load(self) -> None:
        """Fold the log. Raises BrokerError, LogError, OSError."""
        while self._applied < self.partition.log.end_offset:
            self._require_leader()
            self._apply_more()
            await asyncio.sleep(0)
        self._require_leader()
        self.loaded = True

    def _apply_more(self) -> None:
        log = self.partition.log
        data = log.read(max(self._applied, log.start_offset), _LOAD_BYTES, log.end_offset)
        for batch in written(data):
            self.state.apply(batch)
            self._applied = batch.last_offset + 1

    @property
    def leads(self) -> bool:
        """Whether this node still leads the partition in this epoch."""
        partition = self.partition
        return (
            partition.leading
            and partition.state.leader_epoch == self.epoch
            and partition.offline is None
            and not partition.closed
        )

    def _require_leader(self) -> None:
        if not self.leads:
            raise BrokerError(Code.NOT_COORDINATOR)

    def require(self) -> None:
        """Raises BrokerError unless this is the coordinator, and knows all."""
        self._require_leader()
        if not self.loaded:
            raise BrokerError(Code.COORDINATOR_LOAD_IN_PROGRESS)

    def write(self, records: Sequence[Record], producer: Producer | None = None) -> int:
        """Append records, and have the state follow. Returns the last offset.

        Raises:
            BrokerError: refused; nothing has changed.
        """
        self.require()
        data = batch_of(records, self._host.clock.wall_ns() // 1_000_000, producer)
        with _as_coordinator():
            last = self.partition.append_own(data).last_offset
        self._follow(Written(last, records, producer))
        return last

    def end(self, producer: Producer, marker: Marker) -> int:
        """Append a marker, and have the state follow. Raises BrokerError, LogError."""
        self.require()
        last = self.partition.append_marker(producer.id, producer.epoch, marker).last_offset
        self._follow(Written(last, producer=producer, marker=marker))
        return last

    def _follow(self, batch: Written) -> None:
        self.state.apply(batch)
        self._applied = batch.last_offset + 1

    async def settled(self, last_offset: int | None = None) -> None:
        """Wait until what was appended up to `last_offset`, or up to now, cannot be lost any more.

        Raises:
            BrokerError: it may be lost; nobody knows.
        """
        self.require()
        last = self._applied - 1 if last_offset is None else last_offset
        with _as_coordinator():
            code = await self.partition.settle(last, self.epoch, TIMEOUT_S)
            if code is not Code.NONE:
                raise BrokerError(code)
        self._require_leader()


class _as_coordinator:
    """What a partition refuses, in the words of a coordinator."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, failure: BaseException | None, trace: object) -> None:
        if isinstance(failure, BrokerError):
            code = _CODES.get(failure.code, failure.code)
            raise BrokerError(code, str(failure)) from failure


_CODES = {
    Code.NOT_LEADER_OR_FOLLOWER: Code.NOT_COORDINATOR,
    Code.KAFKA_STORAGE_ERROR: Code.NOT_COORDINATOR,
    Code.UNKNOWN_TOPIC_OR_PARTITION: Code.COORDINATOR_NOT_AVAILABLE,
    Code.NOT_ENOUGH_REPLICAS: Code.COORDINATOR_NOT_AVAILABLE,
    Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND: Code.COORDINATOR_NOT_AVAILABLE,
    Code.REQUEST_TIMED_OUT: Code.COORDINATOR_NOT_AVAILABLE,
}
