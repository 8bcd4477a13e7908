"""One replica of one partition: its log, its high watermark, and its share in replication.

As leader it appends, follows how far the others have fetched, moves the high watermark, and asks
the controller to shrink and widen the ISR. As follower it is filled by `nodes.broker.fetcher`.

The high watermark is the smallest log end over the *maximal ISR*: the committed ISR together with
whoever the controller may just be letting in. So nothing is shown or acknowledged that a member the
controller already counts might lack. A replica that is to leave counts until its leaving is
committed. The high watermark never moves on the leader's append alone unless it is the whole ISR,
and never past what `flush.messages` wants durable first.

Source: Kafka's replication protocol as KIP-101, KIP-279, KIP-497 (AlterPartition), KIP-595
(diverging epochs in Fetch), KIP-903 (broker epochs of ISR members) amended it.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import insort
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from harness.host.contract import Host
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.batch import Buffer
from nodes.broker.log.errors import OffsetOutOfRange
from nodes.broker.log.log import Appended, Log
from nodes.broker.log.transactions import Marker
from nodes.broker.metadata import PartitionState

Guard = tuple[int, int, int]


@dataclass(slots=True)
class Progress:
    """A follower as its leader sees it.

    Attributes:
        end: its log end, -1 before it fetched anything in this leader's epoch.
        broker_epoch: of the process that fetched.
        caught_up_ns: the last moment at which it had all that there was.
        asked_ns, leader_end: when it fetched last, and the leader's log end then.
        start: its log start, durable there; -1 before it told.
    """

    end: int = -1
    broker_epoch: int = -1
    caught_up_ns: int = 0
    asked_ns: int = 0
    leader_end: int = -1
    start: int = -1


@dataclass(frozen=True, slots=True)
class Waiting:
    """An acks=all produce that waits for the high watermark to reach `offset`."""

    offset: int
    number: int
    future: asyncio.Future[Code]

    def __lt__(self, other: Waiting) -> bool:
        return (self.offset, self.number) < (other.offset, other.number)


class Partition:
    """See the module. `state` is the newest that this node has applied.

    Attributes:
        leading: whether this node leads it in `state.leader_epoch`.
        offline: why it serves nobody any more: its disk failed.
        closed: whether this node has let go of it.
        on_offline: called with the state in which its disk failed.
        min_isr: how many must be in sync for anything to be acknowledged or shown.
    """

    def __init__(self, host: Host, me: int, state: PartitionState, log: Log, hw: int) -> None:
        self._host, self._me = host, me
        self.state, self.log = state, log
        self.hw = max(min(hw, log.end_offset), log.start_offset)
        self.leading = False
        self.offline: str | None = None
        self.closed = False
        self.on_offline: Callable[[PartitionState], None] = lambda state: None
        self.min_isr = 1
        self.epoch_start = log.end_offset
        self.progress: dict[int, Progress] = {}
        self.joining: tuple[int, ...] = ()  # asked into the ISR, not yet known to be in it
        self._waiting: list[Waiting] = []
        self._number = 0
        self._watchers: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        return f"{self.state.topic}-{self.state.partition}"

    # -- roles -------------------------------------------------------------------------------

    def lead(self, state: PartitionState) -> None:
        """Lead in a new epoch, or go on leading with another ISR."""
        if not self.leading or state.leader_epoch != self.state.leader_epoch:
            now = self._host.clock.monotonic_ns()
            self.progress = {
                replica: Progress(caught_up_ns=now)
                for replica in state.replicas
                if replica != self._me
            }
            self.epoch_start = self.log.end_offset
            self.log.epochs.assign(state.leader_epoch, self.epoch_start)
            self._host.log(
                "partition.leader",
                partition=self.name,
                epoch=state.leader_epoch,
                start=self.epoch_start,
                hw=self.hw,
                isr=list(state.isr),
            )
            self._release(Code.NOT_LEADER_OR_FOLLOWER)
        elif state.isr != self.state.isr:
            before, after = list(self.state.isr), list(state.isr)
            self._host.log("partition.isr", partition=self.name, before=before, after=after)
        changed = self._versions(state) != self._versions(self.state)
        self.leading, self.state = True, state
        if changed:
            # Whatever was asked for with the versions before is refused from now on.
            self.joining = ()
            self._changed.set()
            self._changed = asyncio.Event()
        if len(state.isr) < self.min_isr:
            self._release(Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND)
        self.advance()

    def follow(self, state: PartitionState) -> None:
        """Follow whoever leads now, or nobody."""
        if self.leading or state.leader_epoch != self.state.leader_epoch:
            self._host.log(
                "partition.follower",
                partition=self.name,
                epoch=state.leader_epoch,
                leader=state.leader,
                end=self.log.end_offset,
                hw=self.hw,
            )
        self.leading, self.state = False, state
        self.progress, self.joining = {}, ()
        self._changed.set()
        self._changed = asyncio.Event()
        self._release(Code.NOT_LEADER_OR_FOLLOWER)
        self.wake()

    def leads_as(self, state: PartitionState) -> bool:
        """Whether this node still leads with exactly this epoch and ISR."""
        return self.leading and self._versions(self.state) == self._versions(state)

    def follows_as(self, state: PartitionState) -> bool:
        """Whether this node still follows in this leader's epoch."""
        same = self.state.leader_epoch == state.leader_epoch
        return same and not self.leading and self.offline is None and not self.closed

    async def wait_changed(self, state: PartitionState) -> None:
        """Wait until the metadata of this partition is newer than `state`."""
        while self.leads_as(state) and not self.closed:
            await self._changed.wait()

    @staticmethod
    def _versions(state: PartitionState) -> tuple[int, int]:
        return state.leader_epoch, state.partition_epoch

    def fail(self, error: OSError) -> None:
        """The disk failed: serve nobody from now on, and acknowledge nothing that waits."""
        self.offline = f"{type(error).__name__}: {error}"
        self._host.log("partition.offline", partition=self.name, error=self.offline)
        self._release(Code.KAFKA_STORAGE_ERROR)
        self.wake()
        if not self.closed:
            self.on_offline(self.state)

    def close(self) -> None:
        self.closed, self.leading = True, False
        self._changed.set()
        self._release(Code.NOT_LEADER_OR_FOLLOWER)
        self.wake()

    def require_leader(self, epoch: int = -1) -> None:
        """Raises BrokerError unless this node leads, in exactly `epoch` if the caller knows one."""
        if self.offline is not None:
            raise BrokerError(Code.KAFKA_STORAGE_ERROR, self.offline)
        current = self.state.leader_epoch
        if epoch != -1 and epoch < current:
            raise BrokerError(Code.FENCED_LEADER_EPOCH, f"{epoch} is over; it is {current}")
        if epoch > current:
            raise BrokerError(Code.UNKNOWN_LEADER_EPOCH, f"{epoch} is not known here yet")
        if not self.leading:
            raise BrokerError(Code.NOT_LEADER_OR_FOLLOWER)

    # -- producing ---------------------------------------------------------------------------

    def append(self, data: bytearray | memoryview, acks: int, min_isr: int) -> Appended:
        """Append as leader, now. With acks=all the caller waits with `wait_replicated` after it.

        Raises:
            BrokerError, LogError: refused; nothing was appended. See `Log.append_leader`.
        """
        self.require_leader()
        if acks == -1 and len(self.state.isr) < min_isr:
            raise BrokerError(
                Code.NOT_ENOUGH_REPLICAS, f"{len(self.state.isr)} in sync, {min_isr} are needed"
            )
        now_ms = self._now_ms()
        with self._disk_errors():
            appended = self.log.append_leader(data, self.state.leader_epoch, now_ms)
        if not appended.duplicate:
            self.advance()
            self.wake()
        return appended

    def is_in_transaction(self, producer_id: int) -> bool:
        """Whether this producer has begun one here that no marker has ended."""
        return producer_id in self.log.transactions.open

    def guard(self, producer_id: int) -> Guard:
        """Another one after a marker of this producer, and under another leader (KIP-890)."""
        known = self.log.producers.get(producer_id)
        epoch, markers = (-1, 0) if known is None else (known.epoch, known.markers)
        return self.state.leader_epoch, epoch, markers

    def append_own(self, data: bytearray) -> Appended:
        """Append what a coordinator writes into an internal topic, of which nothing counts before
        it is replicated. Raises BrokerError, LogError: refused; nothing was appended."""
        self.require_leader()
        if len(self.state.isr) < self.min_isr:
            raise BrokerError(Code.NOT_ENOUGH_REPLICAS, f"{self.min_isr} are needed in sync")
        with self._disk_errors():
            appended = self.log.append_own(data, self.state.leader_epoch, self._now_ms())
        self.advance()
        self.wake()
        return appended

    def append_marker(self, producer_id: int, epoch: int, marker: Marker) -> Appended:
        """Append, as leader, what ends a producer's transaction here. The caller waits, as above.

        Raises:
            BrokerError, LogError: refused; nothing was appended.
        """
        self.require_leader()
        with self._disk_errors():
            appended = self.log.append_marker(
                producer_id, epoch, marker, self.state.leader_epoch, self._now_ms()
            )
        self.advance()
        self.wake()
        return appended

    @property
    def flush_is_due(self) -> bool:
        return self.offline is None and self.log.flush_is_due(self._now_ms())

    async def flush_if_due(self) -> None:
        """As flush.messages and flush.ms say; before anything of it is acknowledged.

        Raises:
            BrokerError: the disk failed.
        """
        now_ms = self._now_ms()
        if not self.log.flush_is_due(now_ms):
            return
        with self._disk_errors():
            await self.log.flush(now_ms)
        self.advance()

    @property
    def start_is_due(self) -> bool:
        """Whether a crash would bring back what was deleted."""
        return self.offline is None and self.log.stored_start < self.log.start_offset

    async def store_start(self) -> None:
        """Raises BrokerError: the disk failed."""
        with self._disk_errors():
            await self.log.checkpoint()

    async def settle(self, last_offset: int, epoch: int, timeout_s: float) -> Code:
        """The outcome for acks=all of what was appended in leader epoch `epoch`: whether it is
        flushed as it must be, and every in-sync replica has it.

        Raises:
            BrokerError: the disk failed.
        """
        await self.flush_if_due()
        if self.state.leader_epoch != epoch:
            # Meanwhile others led: what is at these offsets now may be another's.
            return Code.NOT_LEADER_OR_FOLLOWER
        return await self.wait_replicated(last_offset, timeout_s, self.min_isr)

    async def wait_replicated(self, last_offset: int, timeout_s: float, min_isr: int) -> Code:
        """Wait until every in-sync replica has `last_offset`: the outcome for acks=all.

        The caller has seen that this is still the leader epoch in which it was appended.
        """
        if self.offline is not None:
            return Code.KAFKA_STORAGE_ERROR
        if not self.leading:
            return Code.NOT_LEADER_OR_FOLLOWER
        if self.hw <= last_offset:
            self._number += 1
            future: asyncio.Future[Code] = asyncio.get_running_loop().create_future()
            waiting = Waiting(last_offset + 1, self._number, future)
            insort(self._waiting, waiting)
            try:
                async with asyncio.timeout(timeout_s):
                    code = await future
            except TimeoutError:
                # It is in the log and may be replicated yet: nobody knows, so no success.
                return Code.REQUEST_TIMED_OUT
            finally:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
            if code is not Code.NONE:
                return code
        if len(self.state.isr) < min_isr:
            return Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND
        return Code.NONE

    # -- replication, as leader --------------------------------------------------------------

    @property
    def maximal_isr(self) -> set[int]:
        return {*self.state.isr, *self.joining}

    def fetched(self, replica: int, broker_epoch: int, offset: int) -> None:
        """A follower asks for `offset`: it has everything before it."""
        follower = self.progress.get(replica)
        if follower is None:
            raise BrokerError(Code.NOT_LEADER_OR_FOLLOWER, f"broker {replica} is no replica")
        if broker_epoch < follower.broker_epoch:
            raise BrokerError(Code.STALE_BROKER_EPOCH)
        now, end = self._host.clock.monotonic_ns(), self.log.end_offset
        if broker_epoch != follower.broker_epoch:
            # Another process on another disk state: nothing that the last one had counts.
            self.progress[replica] = follower = Progress(broker_epoch=broker_epoch)
        if offset >= end:
            follower.caught_up_ns = now
        elif follower.leader_end >= 0 and offset >= follower.leader_end:
            follower.caught_up_ns = max(follower.caught_up_ns, follower.asked_ns)
        follower.end, follower.asked_ns, follower.leader_end = offset, now, end
        self.advance()

    def began(self, replica: int, start: int) -> None:
        """A follower that fetched tells where its log begins."""
        follower = self.progress[replica]
        if start > follower.start:
            follower.start = start
            self.wake()

    def low_watermark(self, replicas: Collection[int]) -> int:
        """Nothing below it is left on any of these replicas; -1 before all have told."""
        starts = [p.start for replica, p in self.progress.items() if replica in replicas]
        return min(self.log.start_offset, *starts) if starts else self.log.start_offset

    def may_join(self, replica: int) -> bool:
        """Whether a follower has all that the ISR has acknowledged, and this epoch's start."""
        follower = self.progress.get(replica)
        return (
            self.leading
            and follower is not None
            and replica not in self.maximal_isr
            and follower.end >= self.hw
            and follower.end >= self.epoch_start
        )

    def laggards(self, lag_ns: int) -> tuple[int, ...]:
        """Members of the ISR that were not caught up for longer than `lag_ns`."""
        if not self.leading:
            return ()
        now, end = self._host.clock.monotonic_ns(), self.log.end_offset
        return tuple(
            replica
            for replica in self.state.isr
            if replica != self._me
            and self.progress[replica].end != end
            and now - self.progress[replica].caught_up_ns > lag_ns
        )

    def advance(self) -> None:
        """Move the high watermark as far as the maximal ISR allows, and answer who waited."""
        if not self.leading or len(self.state.isr) < self.min_isr:
            return
        ends = [self.log.settled_end]
        ends += [self.progress[r].end for r in self.maximal_isr if r != self._me]
        new = min(ends)
        if new <= self.hw:
            return
        self.hw = new
        self.log.transactions.replicated(new)
        while self._waiting and self._waiting[0].offset <= new:
            waiting = self._waiting.pop(0)
            if not waiting.future.done():
                waiting.future.set_result(Code.NONE)
        self.wake()

    # -- replication, as follower ------------------------------------------------------------

    def append_fetched(self, data: Buffer, leader_hw: int, leader_start: int) -> None:
        """Append what the leader sent, and take over what it knows.

        Raises:
            CorruptBatch, Misplaced: not what was asked for. BrokerError: the disk failed.
        """
        assert not self.leading
        with self._disk_errors():
            if data:
                self.log.append_follower(data, self._now_ms())
            if self.log.start_offset < leader_start <= self.log.end_offset:
                self.log.delete_before(leader_start)
        # A new leader may know less than the last one told us; what was committed stays so.
        self.hw = max(min(leader_hw, self.log.end_offset), self.log.start_offset, self.hw)
        self.log.transactions.replicated(self.hw)

    async def truncate_after_divergence(self, epoch: int, end: int) -> None:
        """The leader says that its largest epoch up to our last batch's is `epoch`, and ends at
        `end` in its log. Raises BrokerError: the disk failed."""
        own_epoch, own_end = self.log.end_of_epoch(epoch)
        if own_epoch == -1:
            cut = self.log.start_offset if end <= self.log.start_offset else end
        else:
            # If we do not know that epoch, cut to the end of the one before, and ask again.
            cut = min(end, own_end) if own_epoch == epoch else own_end
        await self.truncate(cut)

    async def truncate(self, offset: int) -> None:
        """Cut as follower; nothing is cut once another leader epoch has come. Raises
        BrokerError."""
        state, before = self.state, self.log.end_offset
        offset = max(offset, self.log.start_offset)
        with self._disk_errors():
            if not await self.log.truncate(offset, lambda: self.follows_as(state)):
                return
        after = self.log.end_offset
        self._host.log(
            "partition.truncated", partition=self.name, before=before, after=after, hw=self.hw
        )
        self.hw = min(self.hw, after)

    async def restart_at(self, offset: int) -> None:
        """The leader has nothing as old as our end: begin anew where it begins, as follower.

        Raises BrokerError: the disk failed.
        """
        state, before = self.state, self.log.end_offset
        with self._disk_errors():
            if not await self.log.restart_at(offset, lambda: self.follows_as(state)):
                return
        self.hw = offset
        self._host.log("partition.restarted", partition=self.name, before=before, at=offset)

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.fail(error)
            raise BrokerError(Code.KAFKA_STORAGE_ERROR, str(error)) from error

    # -- upkeep ------------------------------------------------------------------------------

    def retain(self, producer_expiration_ms: int) -> None:
        """Forget idle producers; as leader, delete what retention gives up. Followers are told by
        the leader's log start."""
        if self.offline is not None:
            return
        now_ms = self._now_ms()
        self.log.producers.expire(now_ms - producer_expiration_ms)
        if self.leading:
            with contextlib.suppress(BrokerError), self._disk_errors():
                self.log.apply_retention(now_ms, self.hw)

    async def compact(self) -> None:
        """Compact what may be. A disk that fails takes the partition offline."""
        if self.offline is not None or self.closed or not self.log.config.compacts:
            return
        with contextlib.suppress(BrokerError), self._disk_errors():
            found = await self.log.compact(self._now_ms(), self.last_stable_offset)
            if found is not None:
                self._host.log(
                    "partition.compacted",
                    partition=self.name,
                    before=found.before,
                    after=found.after,
                    removed=found.removed,
                )

    # -- reading -----------------------------------------------------------------------------

    @property
    def last_stable_offset(self) -> int:
        """Readers of committed messages get what is below it; never before the log's start, which
        retention may have moved into a transaction that is open."""
        return max(self.log.transactions.stable_end(self.hw), self.log.start_offset)

    def read(self, offset: int, max_bytes: int, upto: int, *, at_least_one: bool) -> bytes:
        """Raises BrokerError OFFSET_OUT_OF_RANGE."""
        try:
            return self.log.read(offset, max_bytes, upto, at_least_one=at_least_one)
        except OffsetOutOfRange as error:
            raise BrokerError(Code.OFFSET_OUT_OF_RANGE, str(error)) from error

    def watch(self, future: asyncio.Future[None]) -> None:
        """Resolve `future` when there may be more to read, or nothing any more."""
        if len(self._watchers) > 64:
            self._watchers = [f for f in self._watchers if not f.done()]
        self._watchers.append(future)

    def wake(self) -> None:
        watchers, self._watchers = self._watchers, []
        for future in watchers:
            if not future.done():
                future.set_result(None)

    def _now_ms(self) -> int:
        return self._host.clock.wall_ns() // 1_000_000

    def _release(self, code: Code) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.future.done():
                each.future.set_result(code)

    def _check(self) -> None:
        """Every invariant."""
        assert self.log.start_offset <= self.hw <= self.log.end_offset
        assert not (self.leading and self.state.leader != self._me)
        assert all(waiting.offset > self.hw for waiting in self._waiting)
        if self.leading:
            for replica in self.state.isr:
                assert replica == self._me or replica in self.progress
