"""All replicas of this broker: kept as the metadata says, and their ISRs kept as they are.

Nothing is led or followed before *this process'* registration is in the metadata: until then the
metadata may name this broker as a leader or in-sync replica for what an earlier process had, and
this one may have lost with the power (KIP-903).

To open a log takes time, and the metadata may change meanwhile. So each partition that is missing
here has a task that opens it, removes what stands in its way, and takes the role that the metadata
gives it *then*; one task at a time for each.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable

from harness.host.contract import Host
from nodes.broker.background import Background
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.errors import BrokerError, Code
from nodes.broker.fetcher import Connect, Fetcher
from nodes.broker.log.config import LogConfig
from nodes.broker.log.errors import Damaged, WrongTopic
from nodes.broker.log.log import Log
from nodes.broker.log.state import remove_folder
from nodes.broker.metadata import NO_LEADER, MetadataImage, PartitionState
from nodes.broker.partition import Partition
from nodes.broker.watermarks import Watermarks
from nodes.broker.wire import PeerConnection
from nodes.broker.wishes import Wishes

LOGS = "logs"
Key = tuple[str, int]


class Replicas:
    """Partitions by (topic, number). `connect` opens a connection to another broker.

    Attributes:
        wishes: what is asked of the controller for them.
        on_role: called with each partition that has taken a role, or was closed.
    """

    def __init__(
        self,
        host: Host,
        config: NodeConfig,
        controller: Controller,
        connect: Connect = PeerConnection.open,
        *,
        partition: type[Partition] = Partition,
        log: type[Log] = Log,
        fetcher: type[Fetcher] = Fetcher,
        wishes: type[Wishes] = Wishes,
    ) -> None:
        self._host, self._config, self._controller = host, config, controller
        self._connect = connect
        self._new_partition, self._new_log, self._new_fetcher = partition, log, fetcher
        self.partitions: dict[Key, Partition] = {}
        self._watermarks = Watermarks(host.disk)
        self._fetchers: dict[int, Fetcher] = {}
        self._settling: set[Key] = set()
        self._leaving: dict[Key, list[Partition]] = {}
        self._unusable: dict[Key, int] = {}  # at which partition epoch it could not be opened
        self._background = Background(host, "replicas.failed")
        self.wishes = wishes(host, config, controller, self._background.spawn)
        self.on_role: Callable[[Partition], None] = lambda partition: None
        self._swept = False

    async def start(self) -> None:
        """Raises OSError."""
        self._host.disk.mkdir(LOGS)
        await self._host.disk.fsync_dir()
        self._watermarks.load()
        self._controller.subscribe(self._on_image)
        ms = self._config.ms
        self._background.spawn(self._every(ms("replica.lag.time.max.ms") / 2, self.shrink))
        pause_ms = ms("replica.high.watermark.checkpoint.interval.ms")
        self._background.spawn(self._every(pause_ms, self.checkpoint))
        self._background.spawn(self._every(ms("log.retention.check.interval.ms"), self.retain))
        self._background.spawn(self._every(ms("log.cleaner.backoff.ms"), self.compact))

    async def close(self, *, clean: bool) -> None:
        """Stop; with `clean`, store everything so that the next start can believe it.

        Raises:
            OSError: not all was stored; then the end was not clean.
        """
        await self._background.close()
        await asyncio.gather(*(f.close() for f in self._fetchers.values()))
        partitions = list(self.partitions.values())
        for partition in partitions:
            partition.close()
        if clean:
            stored = [await self._store(partition) for partition in partitions]
            await self._watermarks.store(partitions)
            if not all(stored):
                raise OSError(errno.EIO, "some logs could not be stored")
        for partition in partitions:
            partition.log.abandon()

    async def _store(self, partition: Partition) -> bool:
        if partition.offline is None:
            try:
                await partition.log.close()
            except OSError as error:
                partition.fail(error)
        return partition.offline is None

    def get(self, topic: str, number: int) -> Partition:
        """Raises BrokerError: this broker has no such replica."""
        partition = self.partitions.get((topic, number))
        if partition is None:
            known = self._controller.image.partition(topic, number)
            if known is None:
                raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
            if (topic, number) in self._unusable:
                raise BrokerError(Code.KAFKA_STORAGE_ERROR, "its log cannot be opened")
            raise BrokerError(Code.NOT_LEADER_OR_FOLLOWER)
        return partition

    def min_isr(self, topic: str) -> int:
        return int(self._controller.image.config(topic, "min.insync.replicas", "1"))

    def _min_isr(self, state: PartitionState) -> int:
        return min(self.min_isr(state.topic), len(state.replicas))

    # -- as the metadata says ----------------------------------------------------------------

    def _on_image(self, old: MetadataImage, new: MetadataImage) -> None:
        if not self._is_registered(new):
            return
        wanted = {
            (topic.name, state.partition): state
            for topic in new.topics.values()
            for state in topic.partitions
            if self._config.id in state.replicas
        }
        if not self._swept:
            self._sweep({_folder(key) for key in wanted})
        for key in [*self.partitions, *(key for key in wanted if key not in self.partitions)]:
            partition, state = self.partitions.get(key), wanted.get(key)
            if partition is None or state is None or state.topic_id != partition.state.topic_id:
                self._settle_soon(key)
            elif partition.state is not state:
                self._take_role(partition, state)
        self._configure(old, new)
        self._assign_fetchers()

    def _is_registered(self, image: MetadataImage) -> bool:
        own = image.brokers.get(self._config.id)
        epoch = self._controller.broker_epoch
        return own is not None and epoch != 0 and own.epoch == epoch

    def _take_role(self, partition: Partition, state: PartitionState) -> None:
        partition.min_isr = self._min_isr(state)
        if state.leader == self._config.id:
            partition.lead(state)
        else:
            partition.follow(state)
        self.on_role(partition)
        if partition.offline is not None:
            self.wishes.withdraw(state)

    def _wanted(self, key: Key) -> PartitionState | None:
        """The partition as it is now, if this broker is to have a replica of it."""
        state = self._controller.image.partition(*key)
        return state if state is not None and self._config.id in state.replicas else None

    def _settle_soon(self, key: Key) -> None:
        """Drop what is not wanted now; what is wanted is opened in time."""
        partition, state = self.partitions.get(key), self._wanted(key)
        if partition is not None:
            del self.partitions[key]
            partition.close()
            self.on_role(partition)
            self._leaving.setdefault(key, []).append(partition)
        elif state is not None and self._unusable.get(key) == state.partition_epoch:
            self.wishes.withdraw(state)
            return  # nothing has changed since it could not be opened
        if key not in self._settling:
            self._settling.add(key)
            self._background.spawn(self._settle(key))

    async def _settle(self, key: Key) -> None:
        try:
            while True:
                for partition in self._leaving.pop(key, ()):
                    await self._remove(partition)
                state = self._wanted(key)
                if state is None:
                    return
                opened = await self._open(key, state)
                if opened is None:
                    continue
                # From here on nothing waits: the role is the one of the newest metadata.
                state, log = opened
                now = self._wanted(key)
                hw = self._watermarks.of(state, log)
                partition = self._new_partition(self._host, self._config.id, state, log, hw)
                partition.on_offline = self.wishes.withdraw
                if now is None or now.topic_id != state.topic_id:
                    self._leaving.setdefault(key, []).append(partition)
                    continue
                self.partitions[key] = partition
                log.config = self._log_config(key[0])
                self._take_role(partition, now)
                self._assign_fetchers()
                return
        except (OSError, Damaged) as error:
            state = self._wanted(key)
            self._unusable[key] = state.partition_epoch if state is not None else -1
            self._host.log("partition.unusable", folder=_folder(key), error=f"{error!r}")
            if state is not None:
                self.wishes.withdraw(state)
        finally:
            self._settling.discard(key)

    async def _open(self, key: Key, state: PartitionState) -> tuple[PartitionState, Log] | None:
        """None if what was there had to go first. Raises Damaged, OSError."""
        folder = f"{LOGS}/{_folder(key)}"
        try:
            log = await self._new_log.open(
                self._host.disk,
                folder,
                self._log_config(key[0]),
                now_ms=self._host.clock.wall_ns() // 1_000_000,
                topic_id=state.topic_id,
            )
        except WrongTopic as error:
            self._host.log("partition.deleted", folder=folder, reason=str(error))
            await remove_folder(self._host.disk, folder)
            return None
        except Damaged as error:
            now = self._wanted(key)
            if now is None or now.leader == NO_LEADER:
                raise  # others may need it
            if self._config.id in (*now.isr, *now.elr):
                raise  # others count on it, until it has withdrawn
            self._host.log("partition.given-up", folder=folder, reason=str(error))
            await remove_folder(self._host.disk, folder)
            return None
        now_ms = self._host.clock.wall_ns() // 1_000_000
        if log.flush_is_due(now_ms):  # the last process ended before it could
            try:
                await log.flush(now_ms)
            except BaseException:
                log.abandon()
                raise
        found = log.recovered
        if found.verified or found.changed:
            self._host.log(
                "partition.recovered",
                folder=folder,
                end=log.end_offset,
                verified=found.verified,
                cut_bytes=found.cut_bytes,
                dropped_segments=found.dropped,
            )
        return state, log

    async def _remove(self, partition: Partition) -> None:
        await partition.log.remove()
        self._host.log("partition.removed", partition=partition.name)

    def _sweep(self, wanted: set[str]) -> None:
        """Delete the logs of topics that were deleted while this broker was away."""
        self._swept = True
        for name in self._host.disk.listdir(LOGS):
            folder = f"{LOGS}/{name}"
            if self._host.disk.is_dir(folder) and name not in wanted:
                self._host.disk.rmtree(folder)

    def _log_config(self, topic: str) -> LogConfig:
        image = self._controller.image
        state = image.topics.get(topic)
        try:
            return LogConfig.of({**image.broker_configs, **(state.configs if state else {})})
        except ValueError as error:
            self._host.log("partition.misconfigured", topic=topic, error=str(error))
            return LogConfig()

    def _configure(self, old: MetadataImage, new: MetadataImage) -> None:
        everyone = old.broker_configs != new.broker_configs
        for (topic, _), partition in self.partitions.items():
            before, after = old.topics.get(topic), new.topics[topic]
            if everyone or before is None or before.configs is not after.configs:
                partition.log.config = self._log_config(topic)
                partition.min_isr = self._min_isr(partition.state)
                partition.advance()

    def _assign_fetchers(self) -> None:
        """One fetcher a leader; each learns which partitions to fetch from it."""
        by_leader: dict[int, list[Partition]] = {}
        for partition in self.partitions.values():
            leader = partition.state.leader
            if leader not in (NO_LEADER, self._config.id) and partition.offline is None:
                by_leader.setdefault(leader, []).append(partition)
        ids = {number: name for name, number in self._config.peer_ids.items()}
        for leader in by_leader:
            if leader not in self._fetchers and leader in ids:
                address = self._config.peers[ids[leader]]["peer"]
                self._fetchers[leader] = self._new_fetcher(
                    self._host, self._config, self._controller, self._connect, leader, address
                )
        for leader, fetcher in self._fetchers.items():
            fetcher.assign(by_leader.get(leader, []))

    # -- upkeep ------------------------------------------------------------------------------

    async def shrink(self) -> None:
        """Have those leave ISRs who lag."""
        self.wishes.shrink(list(self.partitions.values()))

    async def checkpoint(self) -> None:
        """Store what makes the next start quick; flush what flush.ms says."""
        try:
            await self._watermarks.store(self.partitions.values())
        except OSError as error:
            self._host.log("checkpoint.failed", error=str(error))
        for partition in list(self.partitions.values()):
            await self._keep(partition)

    async def _keep(self, partition: Partition) -> None:
        if partition.offline is not None or partition.closed:
            return
        try:
            await partition.flush_if_due()
            await partition.log.checkpoint()
        except BrokerError:
            pass  # the disk; the partition is offline and says so
        except OSError as error:
            partition.fail(error)

    async def retain(self) -> None:
        """Delete what retention gives up."""
        for partition in list(self.partitions.values()):
            partition.retain(self._config.ms("producer.id.expiration.ms"))

    async def compact(self) -> None:
        """Compact the logs of which the newest record of each key is to stay."""
        for partition in list(self.partitions.values()):
            await partition.compact()

    async def _every(self, pause_ms: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(pause_ms / 1000)
            try:
                await work()
            except Exception as error:  # a bug of ours must not end the upkeep of all the others
                self._host.log("replicas.failed", task=work.__name__, error=f"{error!r}")


def _folder(key: Key) -> str:
    return f"{key[0]}-{key[1]}"
