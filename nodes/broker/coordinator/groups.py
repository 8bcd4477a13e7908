"""The coordinator of groups: their members, and what they have committed.

Members live in memory (`nodes.broker.coordinator.group`) and are stored when they are settled;
offsets are what the log of the group's partition says. What is read waits for what was written
before it, so that nobody is told an offset that the next coordinator might not know.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from harness.host.contract import Host
from nodes.broker.background import Background
from nodes.broker.config import NodeConfig
from nodes.broker.controller.controller import Controller
from nodes.broker.coordinator.group import Group, Joined, Joining, Member, Phase, Who
from nodes.broker.coordinator.group_records import (
    GroupsState,
    Offset,
    StoredGroup,
    forgotten_group,
    forgotten_offset,
)
from nodes.broker.coordinator.records import Producer, Reader
from nodes.broker.coordinator.shard import Shard
from nodes.broker.coordinator.shards import Shards
from nodes.broker.coordinator.topics import GROUPS, place_of
from nodes.broker.coordinator.transaction import Place
from nodes.broker.coordinator.verifying import Verifier
from nodes.broker.errors import BrokerError, Code
from nodes.broker.log.errors import LogError
from nodes.broker.metadata import MetadataImage

CONSUMER = "consumer"
"""The protocol type of consumers, whose subscriptions name topics."""

_Shard = Shard[GroupsState]


class GroupCoordinator:
    """This broker's share of it.

    Attributes:
        shards: the partitions of `__consumer_offsets` that this broker leads.
    """

    def __init__(
        self, host: Host, config: NodeConfig, controller: Controller, verifier: Verifier
    ) -> None:
        self._host, self._config, self._controller = host, config, controller
        self._verifier = verifier
        self.shards: Shards[GroupsState] = Shards(host, GROUPS, GroupsState)
        self.shards.on_loaded, self.shards.on_dropped = self._loaded, self._dropped
        self._groups: dict[str, Group] = {}
        self._background = Background(host, "groups.failed")
        controller.subscribe(self._on_metadata)

    def start(self) -> None:
        self._background.spawn(self._keep())

    async def close(self) -> None:
        await self._background.close()
        await self.shards.close()

    # -- members -----------------------------------------------------------------------------

    async def join(self, name: str, wanted: Joining) -> Joined:
        """Raises BrokerError."""
        low = self._config.ms("group.min.session.timeout.ms") / 1000
        high = self._config.ms("group.max.session.timeout.ms") / 1000
        shard = self._shard(name)
        if not low <= wanted.session_s <= high:
            raise BrokerError(Code.INVALID_SESSION_TIMEOUT, f"{low:g} to {high:g} s are possible")
        group = self._groups.get(name)
        if group is None and wanted.id:
            raise BrokerError(Code.UNKNOWN_MEMBER_ID)
        if group is None:
            group = self._groups[name] = self._new_group(shard, name)
        is_new = wanted.id not in group.members
        if is_new and len(group.members) >= self._config.ms("group.max.size"):
            raise BrokerError(Code.GROUP_MAX_SIZE_REACHED)
        return await group.join(wanted)

    async def sync(
        self,
        name: str,
        who: Who,
        type: str | None,
        protocol: str | None,
        assignments: Mapping[str, bytes],
    ) -> tuple[bytes, Group]:
        """The member's assignment. Raises BrokerError."""
        group = self._known(name)
        return await group.sync(who, type, protocol, assignments), group

    def heartbeat(self, name: str, who: Who) -> None:
        """Raises BrokerError."""
        self._known(name).heartbeat(who)

    def leave(self, name: str, who: Who) -> None:
        """Raises BrokerError."""
        self._known(name).leave(who)

    def _known(self, name: str) -> Group:
        self._shard(name)
        group = self._groups.get(name)
        if group is None:
            raise BrokerError(Code.UNKNOWN_MEMBER_ID)
        return group

    # -- offsets -----------------------------------------------------------------------------

    async def commit(self, name: str, who: Who, offsets: Mapping[Place, Offset]) -> None:
        """Raises BrokerError: nothing is committed, or nobody knows."""
        shard = self._shard(name)
        self._require_committer(name, who)
        if offsets:
            records = [offset.record(name, place) for place, offset in offsets.items()]
            await shard.settled(shard.write(records))

    async def commit_in_transaction(
        self,
        name: str,
        who: Who,
        transactional_id: str,
        producer: tuple[int, int],
        offsets: Mapping[Place, Offset],
    ) -> None:
        """They count when the transaction is committed. Raises BrokerError, LogError."""
        shard = self._shard(name)
        if not shard.partition.is_in_transaction(producer[0]):
            if not await self._verifier.admits(transactional_id, producer, shard.partition):
                text = "a transaction was ended meanwhile"
                raise BrokerError(Code.COORDINATOR_NOT_AVAILABLE, text)
            shard.require()
        if who.generation >= 0 or who.id or who.instance is not None:
            self._require_committer(name, who)  # now: a generation may have begun meanwhile
        records = [offset.record(name, place) for place, offset in offsets.items()]
        await shard.settled(shard.write(records, Producer(*producer)))

    def _require_committer(self, name: str, who: Who) -> None:
        group = self._groups.get(name)
        if group is not None:
            group.require_committer(who)
        elif who.generation >= 0:
            raise BrokerError(Code.ILLEGAL_GENERATION)
        elif who.id:
            raise BrokerError(Code.UNKNOWN_MEMBER_ID)

    async def offsets(self, name: str) -> tuple[Mapping[Place, Offset], frozenset[Place]]:
        """What is committed, and for which partitions a transaction is about to commit more.

        Raises BrokerError.
        """
        shard = self._shard(name)
        image = self._controller.image
        known = {
            place: offset
            for place, offset in shard.state.offsets.get(name, {}).items()
            if _is_of(image, place, offset)
        }
        unstable = shard.state.unstable(name)
        await shard.settled()
        return known, unstable

    async def delete_offsets(self, name: str, places: Iterable[Place]) -> dict[Place, Code]:
        """Raises BrokerError."""
        shard, group = self._shard(name), self._groups.get(name)
        known = shard.state.offsets.get(name, {})
        if group is None and not known and name not in shard.state.groups:
            raise BrokerError(Code.GROUP_ID_NOT_FOUND)
        busy: set[str] = set()
        if group is not None and group.members:
            if group.type != CONSUMER:
                raise BrokerError(Code.NON_EMPTY_GROUP)
            busy = {topic for member in group.members.values() for topic in subscribed(member)}
        codes = {
            place: Code.GROUP_SUBSCRIBED_TO_TOPIC if place[0] in busy else Code.NONE
            for place in places
        }
        gone = [p for p, code in codes.items() if code is Code.NONE and p in known]
        if gone:
            await shard.settled(shard.write([forgotten_offset(name, place) for place in gone]))
        return codes

    # -- groups ------------------------------------------------------------------------------

    async def delete(self, name: str) -> None:
        """With all that it has committed. Raises BrokerError."""
        shard, group = self._shard(name), self._groups.get(name)
        if group is not None and group.members:
            raise BrokerError(Code.NON_EMPTY_GROUP)
        if group is None and name not in set(shard.state.names()):
            raise BrokerError(Code.GROUP_ID_NOT_FOUND)
        await shard.settled(self._forget(shard, name))

    def _forget(self, shard: _Shard, name: str) -> int:
        places = dict.fromkeys(shard.state.offsets.get(name, {}))
        places |= dict.fromkeys(sorted(shard.state.unstable(name)))
        records = [forgotten_offset(name, place) for place in places]
        last = shard.write([*records, forgotten_group(name)])
        group = self._groups.pop(name, None)
        if group is not None:
            group.close(Code.GROUP_ID_NOT_FOUND)
        return last

    async def describe(self, name: str) -> Group | None:
        """None: there is no such group, or it has never had members. Raises BrokerError."""
        shard = self._shard(name)
        await shard.settled()
        return self._groups.get(name)

    def all(self) -> dict[str, Group | None]:
        """Of which this broker is the coordinator; None for one that has never had members."""
        return {
            name: self._groups.get(name)
            for shard in self.shards
            for name in dict.fromkeys((*shard.state.names(), *self._of(shard)))
        }

    def _of(self, shard: _Shard) -> list[str]:
        image = self._controller.image
        return [n for n in self._groups if place_of(image, GROUPS, n).partition == shard.number]

    # -- as shards come and go ---------------------------------------------------------------

    def _loaded(self, shard: _Shard) -> None:
        for name, stored in shard.state.groups.items():
            self._groups[name] = self._new_group(shard, name)
            self._groups[name].restore(stored)
        self._sweep(shard)

    def _dropped(self, shard: _Shard) -> None:
        if GROUPS.name in self._controller.image.topics:
            for name in self._of(shard):
                self._groups.pop(name).close(Code.NOT_COORDINATOR)

    def _new_group(self, shard: _Shard, name: str) -> Group:
        async def store(stored: StoredGroup) -> None:
            await shard.settled(shard.write([stored.record(name)]))

        return Group(
            name,
            store,
            self._background.spawn,
            self._new_id,
            self._host.log,
            lambda: self._host.clock.wall_ns() // 1_000_000,
            self._config.ms("group.initial.rebalance.delay.ms") / 1000,
        )

    def _new_id(self, client: str) -> str:
        return f"{client}-{uuid.UUID(int=self._host.rng.getrandbits(128), version=4)}"

    # -- upkeep ------------------------------------------------------------------------------

    def _on_metadata(self, old: MetadataImage, new: MetadataImage) -> None:
        if old.topics.keys() - new.topics.keys():
            for shard in self.shards:
                self._sweep(shard)

    def _sweep(self, shard: _Shard) -> None:
        """Forget what was committed of topics that are there no more."""
        image = self._controller.image
        gone = [
            forgotten_offset(name, place)
            for name, offsets in shard.state.offsets.items()
            for place, offset in offsets.items()
            if not _is_of(image, place, offset)
        ]
        self._write(shard, gone)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._config.ms("offsets.retention.check.interval.ms") / 1000)
            before_ms = self._host.clock.wall_ns() // 1_000_000
            before_ms -= self._config.ms("offsets.retention.minutes") * 60_000
            for shard in self.shards:
                self._expire(shard, before_ms)

    def _expire(self, shard: _Shard, before_ms: int) -> None:
        """Offsets of a group live on for a while after its last member; others after a commit."""
        for name in list(shard.state.names()):
            group = self._groups.get(name)
            if group is not None and group.phase is not Phase.EMPTY:
                continue
            since_ms = -1 if group is None else group.changed_ms
            offsets = shard.state.offsets.get(name, {})
            unstable = shard.state.unstable(name)
            old = [
                place
                for place, offset in offsets.items()
                if max(offset.committed_ms, since_ms) < before_ms and place not in unstable
            ]
            if len(old) == len(offsets) and since_ms < before_ms and not unstable:
                try:
                    self._forget(shard, name)
                except (BrokerError, LogError) as error:
                    self._host.log("group.not-expired", group=name, error=str(error))
            else:
                self._write(shard, [forgotten_offset(name, place) for place in old])

    def _write(self, shard: _Shard, records: list[Any]) -> None:
        """What may as well be written later, if not now."""
        if records:
            try:
                shard.write(records)
            except (BrokerError, LogError) as error:
                self._host.log("offsets.not-forgotten", error=str(error))

    # -- what they share ---------------------------------------------------------------------

    def _shard(self, name: str) -> _Shard:
        if not name:
            raise BrokerError(Code.INVALID_GROUP_ID, "a group has a name")
        return self.shards.of(self._controller.image, name)


def _is_of(image: MetadataImage, place: Place, offset: Offset) -> bool:
    """Whether it was committed of the topic that has this name now."""
    topic = image.topics.get(place[0])
    return topic is not None and offset.topic_id in (None, topic.id)


def subscribed(member: Member) -> list[str]:
    """The topics that a consumer subscribes to, by whatever protocol; none where it is not said
    as consumers say it (ConsumerProtocolSubscription)."""
    found: list[str] = []
    for _, data in member.protocols:
        reader = Reader(data)
        try:
            reader.number(2)
            found += [reader.text() for _ in range(reader.count())]
        except LogError:
            continue
    return found
