"""What one broker asks the controller for its replicas: other ISRs, and to be relieved of some.

As leader it lets in who has caught up and has those leave who lag, one wish a partition at a time.
What it cannot serve, since its disk failed or what it has is damaged, it withdraws from, so that
another replica leads, and nobody counts on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any
from uuid import UUID

from harness.host.contract import Host
from nodes.broker.config import NodeConfig
from nodes.broker.controller.commands import Withdraw
from nodes.broker.controller.controller import Controller
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import PartitionState
from nodes.broker.partition import Partition

UNTIL_KNOWN_S = 86_400.0
"""A wish keeps its number until it is answered, which it is as soon as there is a quorum. Given up
and repeated under another number it may be refused, and yet be granted later, where it arrives then
for the first time: after the high watermark has ceased to wait for whom it lets in."""

_DEFINITE = frozenset({Code.INELIGIBLE_REPLICA, Code.INVALID_REQUEST})
"""Refusals that say that the change was not made, by this request or an earlier one like it."""

_Key = tuple[UUID, int]
Spawn = Callable[[Coroutine[Any, Any, None]], None]


class Wishes:
    """See the module. `spawn` has work done in the background."""

    def __init__(
        self, host: Host, config: NodeConfig, controller: Controller, spawn: Spawn
    ) -> None:
        self._host, self._config, self._controller = host, config, controller
        self._spawn = spawn
        self._asking: set[_Key] = set()
        self._withdrawing: set[_Key] = set()

    # -- the ISR -----------------------------------------------------------------------------

    def note_fetch(self, partition: Partition, replica: int, epoch: int, offset: int) -> None:
        """A follower fetched; let it into the ISR when it has caught up. Raises BrokerError."""
        partition.fetched(replica, epoch, offset)
        if partition.may_join(replica) and self._controller.image.active(replica):
            self._ask(partition, (*partition.state.isr, replica), joining=(replica,))

    def shrink(self, partitions: Iterable[Partition]) -> None:
        """Have those leave ISRs who lag."""
        lag_ns = self._config.ms("replica.lag.time.max.ms") * 1_000_000
        for partition in partitions:
            gone = partition.laggards(lag_ns)
            if gone:
                self._ask(partition, tuple(r for r in partition.state.isr if r not in gone))

    def _ask(
        self, partition: Partition, isr: tuple[int, ...], joining: tuple[int, ...] = ()
    ) -> None:
        key = _key(partition.state)
        if key in self._asking:
            return
        self._asking.add(key)
        # From here on the high watermark waits for them, too: the controller may count them first.
        partition.joining = joining
        # Of the processes that are meant: those that fetch next may have lost everything.
        epochs = {r: p.broker_epoch for r, p in partition.progress.items() if r in isr}
        self._spawn(self._alter(partition, partition.state, isr, epochs))

    async def _alter(
        self,
        partition: Partition,
        state: PartitionState,
        isr: tuple[int, ...],
        epochs: dict[int, int],
    ) -> None:
        """Ask until the metadata has moved on, or until it is certain that it will not.

        One whose session was forgotten may have been granted before that, one that succeeded is not
        applied here yet: `joining` must stand until the partition's next state is known, which then
        has it or proves that it came too late.
        """
        try:
            while partition.leads_as(state):
                try:
                    after = await self._controller.alter_partition(
                        state, isr, epochs, UNTIL_KNOWN_S
                    )
                except BrokerError as error:
                    if error.code is Code.REQUEST_TIMED_OUT:
                        continue
                    self._host.log(
                        "partition.isr-refused", partition=partition.name, error=str(error)
                    )
                    unchanged = error.code in _DEFINITE
                else:
                    unchanged = after.partition_epoch == state.partition_epoch
                if unchanged:
                    if partition.leads_as(state):
                        partition.joining = ()
                        partition.advance()
                    return
                await partition.wait_changed(state)
        finally:
            self._asking.discard(_key(state))

    # -- what cannot be served ---------------------------------------------------------------

    def withdraw(self, state: PartitionState) -> None:
        """Have others take the place of this broker, if anybody else can."""
        me, key = self._config.id, _key(state)
        counts = me in (*state.isr, *state.elr) and {*state.isr, *state.elr} != {me}
        if counts and key not in self._withdrawing:
            self._withdrawing.add(key)
            self._spawn(self._withdraw(state))

    async def _withdraw(self, state: PartitionState) -> None:
        epoch = self._controller.broker_epoch
        command = Withdraw(self._config.id, epoch, state.topic_id, state.partition)
        try:
            # If it is refused, the metadata has moved on, and who hears of that asks again.
            with contextlib.suppress(BrokerError):
                await self._controller.submit(command, UNTIL_KNOWN_S)
                name = f"{state.topic}-{state.partition}"
                self._host.log("partition.withdrawn", partition=name)
        finally:
            self._withdrawing.discard(_key(state))


def _key(state: PartitionState) -> _Key:
    return state.topic_id, state.partition
