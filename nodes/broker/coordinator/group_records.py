"""What is stored of groups: their committed offsets, and their members once they are settled.

    key 1   group, topic, partition      value 4   offset, leader epoch, metadata, time, topic id
    key 2   group                        value 3   protocol type, generation, protocol, leader,
                                                   time, members with what is assigned to them

An offset that was committed in a transaction counts from its commit marker on, unless a later one
was committed meanwhile. It names the topic by its id, too: a topic that is made anew under its name
begins with nothing committed.
Source: Kafka's OffsetCommitKey, OffsetCommitValue, GroupMetadataKey, GroupMetadataValue; KIP-98.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import msgspec

from nodes.broker.coordinator.records import Reader, Record, Writer, Written
from nodes.broker.coordinator.transaction import Place
from nodes.broker.log.errors import CorruptBatch

_OFFSET_KEY, _GROUP_KEY = 1, 2
_OFFSET_KEYS = (0, _OFFSET_KEY)
_OFFSET_VALUE, _GROUP_VALUE = 4, 3
_TOPIC_ID_TAG = 0


class Offset(msgspec.Struct, frozen=True):
    """Committed for one partition. `topic_id` None: whoever wrote it knew none."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    committed_ms: int = -1
    topic_id: uuid.UUID | None = None

    def record(self, group: str, place: Place) -> Record:
        writer = Writer().number(2, _OFFSET_VALUE).number(8, self.offset)
        writer.number(4, self.leader_epoch).compact(self.metadata).number(8, self.committed_ms)
        if self.topic_id is None:
            writer.unsigned(0)
        else:
            writer.unsigned(1).unsigned(_TOPIC_ID_TAG).unsigned(16).raw(self.topic_id.bytes)
        return Record(_offset_key(group, place), writer.done())


class StoredMember(msgspec.Struct, frozen=True):
    """A member of a group that is settled; the times are in milliseconds."""

    id: str
    instance: str | None
    client: str
    host: str
    rebalance_ms: int
    session_ms: int
    subscription: bytes
    assignment: bytes


class StoredGroup(msgspec.Struct, frozen=True):
    """A group as it last was settled. Without members it is empty."""

    protocol_type: str
    generation: int
    protocol: str | None
    leader: str | None
    changed_ms: int
    members: tuple[StoredMember, ...] = ()

    def record(self, group: str) -> Record:
        writer = Writer().number(2, _GROUP_VALUE).string(self.protocol_type)
        writer.number(4, self.generation).string(self.protocol).string(self.leader)
        writer.number(8, self.changed_ms).number(4, len(self.members))
        for member in self.members:
            writer.string(member.id).string(member.instance)
            writer.string(member.client).string(member.host)
            writer.number(4, member.rebalance_ms).number(4, member.session_ms)
            writer.blob(member.subscription).blob(member.assignment)
        return Record(_group_key(group), writer.done())


def forgotten_offset(group: str, place: Place) -> Record:
    return Record(_offset_key(group, place), None)


def forgotten_group(group: str) -> Record:
    return Record(_group_key(group), None)


class GroupsState:
    """All groups of one partition of `__consumer_offsets`.

    Attributes:
        offsets: group → partition → what is committed.
        pending: producer id → what its transaction commits, by group and partition.
        groups: by name.
    """

    def __init__(self) -> None:
        self.offsets: dict[str, dict[Place, Offset]] = {}
        self.pending: dict[int, dict[tuple[str, Place], tuple[Offset, int]]] = {}
        self.groups: dict[str, StoredGroup] = {}
        self._written: dict[tuple[str, Place], int] = {}  # where in the log

    def apply(self, batch: Written) -> None:
        """Raises CorruptBatch: a record that is none of Kafka's."""
        if batch.marker is not None:
            assert batch.producer is not None
            ended = self.pending.pop(batch.producer.id, {})
            for (group, place), (decided, at) in ended.items():
                if batch.marker.committed and at > self._written.get((group, place), -1):
                    self._commit(group, place, decided, at)
            return
        for record in batch.records:
            key = _key(record.key)
            if isinstance(key, str):
                self._put_group(key, record.value)
                continue
            group, place = key
            offset = None if record.value is None else _offset(record.value)
            if batch.producer is not None and offset is not None:
                pending = self.pending.setdefault(batch.producer.id, {})
                pending[group, place] = offset, batch.last_offset
            elif offset is not None:
                self._commit(group, place, offset, batch.last_offset)
            else:
                self._forget(group, place)

    def _commit(self, group: str, place: Place, offset: Offset, at: int) -> None:
        self.offsets.setdefault(group, {})[place] = offset
        self._written[group, place] = at

    def _forget(self, group: str, place: Place) -> None:
        known = self.offsets.get(group, {})
        known.pop(place, None)
        for pending in self.pending.values():  # compaction takes them for older than this, too
            pending.pop((group, place), None)
        self._written.pop((group, place), None)
        if not known:
            self.offsets.pop(group, None)

    def _put_group(self, group: str, value: bytes | None) -> None:
        if value is None:
            self.groups.pop(group, None)
        else:
            self.groups[group] = _group(value)

    def unstable(self, name: str) -> frozenset[Place]:
        """For which a transaction that is not over yet commits an offset."""
        return frozenset(
            place for pending in self.pending.values() for group, place in pending if group == name
        )

    def names(self) -> Iterator[str]:
        """Of all groups that anything is known of."""
        return iter(dict.fromkeys((*self.groups, *self.offsets)))


# -- bytes ---------------------------------------------------------------------------------------


def _offset_key(group: str, place: Place) -> bytes:
    topic, number = place
    return Writer().number(2, _OFFSET_KEY).string(group).string(topic).number(4, number).done()


def _group_key(group: str) -> bytes:
    return Writer().number(2, _GROUP_KEY).string(group).done()


def _key(key: bytes) -> str | tuple[str, Place]:
    """A group's name, or group and partition."""
    reader = Reader(key)
    version = reader.number(2)
    if version == _GROUP_KEY:
        return reader.text()
    if version not in _OFFSET_KEYS:
        raise CorruptBatch(f"a key of version {version}")
    return reader.text(), (reader.text(), reader.number(4))


def _offset(value: bytes) -> Offset:
    reader = Reader(value)
    version = reader.number(2)
    if version != _OFFSET_VALUE:
        raise CorruptBatch(f"an offset of version {version}")
    offset, epoch = reader.number(8), reader.number(4)
    metadata, at_ms, id = reader.compact(), reader.number(8), None
    for _ in range(reader.unsigned()):
        tag, data = reader.unsigned(), reader.raw(reader.unsigned())
        if tag == _TOPIC_ID_TAG and len(data) == 16:
            id = uuid.UUID(bytes=data)
    return Offset(offset, epoch, metadata, at_ms, id)


def _group(value: bytes) -> StoredGroup:
    reader = Reader(value)
    version = reader.number(2)
    if version != _GROUP_VALUE:
        raise CorruptBatch(f"a group of version {version}")
    type, generation = reader.text(), reader.number(4)
    protocol, leader, at_ms = reader.string(), reader.string(), reader.number(8)
    members = [
        StoredMember(
            reader.text(),
            reader.string(),
            reader.text(),
            reader.text(),
            reader.number(4),
            reader.number(4),
            reader.blob() or b"",
            reader.blob() or b"",
        )
        for _ in range(reader.count())
    ]
    return StoredGroup(type, generation, protocol, leader, at_ms, tuple(members))
