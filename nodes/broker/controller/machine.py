"""The metadata's state machine: (image, command, the entry's time and seed) → (image, result).

Pure and deterministic: every node applies the same entries and has the same image. A result is
["ok", …] or ["error", code, text]; a command that fails changes nothing.

Why two leaders of one partition never both ack `acks=all`: a new leader is chosen by a committed
entry that raises the leader epoch, and the old leader may not have heard of it. To ack, the old one
needs every member of the ISR *that it believes in* to have fetched the batch from it. One of these
is the new leader: leaders come from the committed ISR, and what the old leader believes is that ISR
or one committed before it, widened by whoever it has asked to let in. A replica that has heard of
the new epoch takes nothing more from the old leader, so the batch can only have been acked if the
new leader had it before it began to lead. To get the new leader out of the ISR, the old one would
need a committed AlterPartition, which is refused: its leader epoch is stale.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import msgspec

from nodes.broker.configs import TOPIC_CONFIGS, check_topic_config
from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterConfig,
    AlterPartition,
    AnyCommand,
    CommitOffsets,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    ElectPreferred,
    Fence,
    Register,
    Unfence,
)
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import (
    NO_LEADER,
    BrokerState,
    MetadataImage,
    PartitionState,
    TopicState,
)
from nodes.raft.messages import Entry

NAME_MAX = 249
PARTITIONS_MAX = 10_000
replace = msgspec.structs.replace


class Machine:
    """Holds the image; told of every committed entry. Implements `nodes.raft.node.StateMachine`.

    Attributes:
        on_change: called with (old, new) after each entry that changed the image.
    """

    def __init__(self, defaults: dict[str, str]) -> None:
        self.image = MetadataImage(broker_configs=dict(defaults))
        self.on_change: Callable[[MetadataImage, MetadataImage], None] = lambda old, new: None
        self._defaults = defaults

    def apply(self, index: int, entry: Entry) -> Any:
        old = self.image
        try:
            command = msgspec.msgpack.decode(entry.command, type=AnyCommand)
            new, result = apply(old, command, index, entry.seed)
            answer: list[Any] = ["ok", msgspec.to_builtins(result), index]
        except BrokerError as error:
            new, answer = old, ["error", int(error.code), str(error)]
        except msgspec.MsgspecError as error:
            new, answer = old, ["error", int(Code.INVALID_REQUEST), str(error)]
        self.image = replace(new, offset=index)
        if new is not old:
            self.on_change(old, self.image)
        return answer

    def snapshot(self) -> bytes:
        return self.image.dump()

    def restore(self, data: bytes, index: int) -> None:
        old, self.image = self.image, MetadataImage.load(data)
        self.on_change(old, self.image)


def apply(
    image: MetadataImage, command: AnyCommand, index: int, seed: int
) -> tuple[MetadataImage, Any]:
    """The image after the command, and its result.

    Raises:
        BrokerError: it cannot be done; the image stays.
    """
    match command:
        case Register():
            return _register(image, command, index)
        case Unfence():
            return _unfence(image, command), None
        case Fence():
            return _fence(image, command), None
        case CreateTopic():
            return _create_topic(image, command, seed)
        case DeleteTopic():
            return _delete_topic(image, command.name), None
        case CreatePartitions():
            return _create_partitions(image, command, seed), None
        case AlterConfig():
            return _alter_config(image, command), None
        case AlterPartition():
            return _alter_partition(image, command)
        case AllocateProducerIds():
            first = image.next_producer_id
            return replace(image, next_producer_id=first + command.count), first
        case CommitOffsets():
            return _commit_offsets(image, command), None
        case ElectPreferred():
            return _elect_preferred(image, command), None


# -- brokers -------------------------------------------------------------------------------------


def _register(image: MetadataImage, command: Register, index: int) -> tuple[MetadataImage, int]:
    """A new epoch. An incarnation that did not end cleanly may have lost what it never synced: it
    leaves every ISR where somebody else stays, before it may lead again (KIP-903, KIP-966)."""
    known = image.brokers.get(command.broker)
    if known is not None and known.incarnation == command.incarnation:
        return image, known.epoch  # the same process asks again
    broker = BrokerState(command.broker, index, command.incarnation, fenced=True)
    image = replace(image, brokers={**image.brokers, command.broker: broker})
    return _step_aside(image, command.broker, leave_isr=not command.clean), index


def _unfence(image: MetadataImage, command: Unfence) -> MetadataImage:
    broker = _current(image, command.broker, command.epoch)
    if not broker.fenced:
        return image
    brokers = {**image.brokers, broker.id: replace(broker, fenced=False)}
    image = replace(image, brokers=brokers)
    return _each_partition(image, lambda image, state: _fill_vacancy(image, state))


def _fence(image: MetadataImage, command: Fence) -> MetadataImage:
    broker = _current(image, command.broker, command.epoch)
    if broker.fenced:
        return image
    counters = replace(image.counters, fences=image.counters.fences + 1)
    brokers = {**image.brokers, broker.id: replace(broker, fenced=True)}
    image = replace(image, brokers=brokers, counters=counters)
    return _step_aside(image, broker.id, leave_isr=True)


def _current(image: MetadataImage, id: int, epoch: int) -> BrokerState:
    broker = image.brokers.get(id)
    if broker is None or broker.epoch != epoch:
        raise BrokerError(Code.STALE_BROKER_EPOCH, f"broker {id} has no epoch {epoch} now")
    return broker


# -- leaders and ISRs ----------------------------------------------------------------------------


def _step_aside(image: MetadataImage, broker: int, *, leave_isr: bool) -> MetadataImage:
    """The broker, fenced now, leads nothing; it leaves every ISR where others stay."""

    def change(image: MetadataImage, state: PartitionState) -> PartitionState:
        if broker not in state.replicas:
            return state
        isr = state.isr
        if leave_isr and len(isr) > 1:
            isr = tuple(member for member in isr if member != broker)
        leader = NO_LEADER if state.leader == broker else state.leader
        if leader == state.leader and isr == state.isr:
            return state
        return _fill_vacancy(image, replace(state, isr=isr, leader=leader), state)

    return _each_partition(image, change)


def _fill_vacancy(
    image: MetadataImage, state: PartitionState, before: PartitionState | None = None
) -> PartitionState:
    """Elect a leader if there is none and one can be had; epochs rise as they must.

    Only an active member of the ISR may lead. `unclean.leader.election.enable` lets any active
    replica lead when none of the ISR is active: it may lose what was acknowledged.
    """
    before = before or state
    if state.leader == NO_LEADER:
        leader = next((r for r in state.replicas if r in state.isr and image.active(r)), NO_LEADER)
        unclean = image.config(state.topic, "unclean.leader.election.enable", "false") == "true"
        if leader == NO_LEADER and unclean:
            leader = next((r for r in state.replicas if image.active(r)), NO_LEADER)
            if leader != NO_LEADER:
                state = replace(state, isr=(leader,))
        state = replace(state, leader=leader)
    if state == before:
        return state
    epoch = before.leader_epoch + (state.leader != before.leader)
    return replace(state, leader_epoch=epoch, partition_epoch=before.partition_epoch + 1)


def _each_partition(
    image: MetadataImage, change: Callable[[MetadataImage, PartitionState], PartitionState]
) -> MetadataImage:
    topics = dict(image.topics)
    for name, topic in image.topics.items():
        after = tuple(change(image, state) for state in topic.partitions)
        if after != topic.partitions:
            image = _counted(image, topic.partitions, after)
            topics[name] = replace(topic, partitions=after)
    return replace(image, topics=topics)


def _counted(
    image: MetadataImage, before: Iterable[PartitionState], after: Iterable[PartitionState]
) -> MetadataImage:
    c = image.counters
    for old, new in zip(before, after, strict=True):
        elected = new.leader not in (old.leader, NO_LEADER)
        unclean = elected and new.leader not in old.isr
        c = replace(
            c,
            elections=c.elections + elected,
            unclean_elections=c.unclean_elections + unclean,
            isr_shrinks=c.isr_shrinks + bool(set(old.isr) - set(new.isr)),
            isr_expands=c.isr_expands + bool(set(new.isr) - set(old.isr) and not unclean),
        )
    return replace(image, counters=c)


def _alter_partition(
    image: MetadataImage, command: AlterPartition
) -> tuple[MetadataImage, PartitionState]:
    """A leader shrinks or expands its ISR. Everything it believes must still be so."""
    leader = _current(image, command.broker, command.broker_epoch)
    state = image.partition(command.topic, command.partition)
    if state is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    if state.leader != leader.id or state.leader_epoch != command.leader_epoch:
        raise BrokerError(Code.FENCED_LEADER_EPOCH, f"{state.leader} leads {state.leader_epoch}")
    if state.partition_epoch != command.partition_epoch:
        raise BrokerError(Code.INVALID_UPDATE_VERSION, f"it is at {state.partition_epoch}")
    isr = tuple(replica for replica in state.replicas if replica in command.isr)
    if leader.id not in isr or len(isr) != len(set(command.isr)):
        raise BrokerError(Code.INVALID_REQUEST, f"{command.isr} is no ISR of {state.replicas}")
    for member in isr:
        if member in state.isr:
            continue
        # It may have started anew since it fetched, without what it had then (KIP-903).
        fetched_in = command.epochs.get(member)
        if not image.active(member) or image.brokers[member].epoch != fetched_in:
            raise BrokerError(Code.INELIGIBLE_REPLICA, f"broker {member} is not as it fetched")
    if isr == state.isr:
        return image, state
    after = replace(state, isr=isr, partition_epoch=state.partition_epoch + 1)
    return _with_partition(image, state, after), after


def _elect_preferred(image: MetadataImage, command: ElectPreferred) -> MetadataImage:
    state = image.partition(command.topic, command.partition)
    if state is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    preferred = state.replicas[0]
    if state.leader == preferred:
        return image
    if preferred not in state.isr or not image.active(preferred):
        raise BrokerError(Code.ELIGIBLE_LEADERS_NOT_AVAILABLE, f"{preferred} is not in sync")
    after = replace(
        state,
        leader=preferred,
        leader_epoch=state.leader_epoch + 1,
        partition_epoch=state.partition_epoch + 1,
    )
    return _with_partition(image, state, after)


def _with_partition(
    image: MetadataImage, before: PartitionState, after: PartitionState
) -> MetadataImage:
    image = _counted(image, (before,), (after,))
    topic = image.topics[after.topic]
    states = list(topic.partitions)
    states[after.partition] = after
    topics = {**image.topics, topic.name: replace(topic, partitions=tuple(states))}
    return replace(image, topics=topics)


# -- topics --------------------------------------------------------------------------------------


def _create_topic(
    image: MetadataImage, command: CreateTopic, seed: int
) -> tuple[MetadataImage, Any]:
    _check_name(command.name)
    if command.name in image.topics:
        raise BrokerError(Code.TOPIC_ALREADY_EXISTS, f"topic {command.name!r} already exists")
    for key, value in command.configs.items():
        check_topic_config(key, value)
    default = image.broker_configs.get
    count = command.partitions if command.partitions != -1 else int(default("num.partitions", "1"))
    factor = command.replication_factor
    if factor == -1:
        factor = int(default("default.replication.factor", "1"))
    if command.assignments:
        count = len(command.assignments)
    if not 0 < count <= PARTITIONS_MAX:
        raise BrokerError(Code.INVALID_PARTITIONS, f"{count} partitions")
    id = uuid.UUID(int=Random(f"{seed}/{command.name}").getrandbits(128), version=4)
    placed = command.assignments or _place(image, count, factor, seed)
    topic = TopicState(
        command.name, id, _fresh(image, command.name, id, 0, placed), dict(command.configs)
    )
    if not command.validate_only:
        image = replace(image, topics={**image.topics, topic.name: topic})
    return image, [str(id), count, factor]


def _check_name(name: str) -> None:
    legal = all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    if not legal or not 0 < len(name) <= NAME_MAX or name in (".", ".."):
        raise BrokerError(
            Code.INVALID_TOPIC_EXCEPTION,
            f"{name!r} is no topic name: 1 to {NAME_MAX} letters, digits, dots, underscores and "
            "hyphens",
        )


def _place(image: MetadataImage, count: int, factor: int, seed: int) -> list[tuple[int, ...]]:
    """Replicas for each partition: leaders and followers spread over the active brokers."""
    alive = sorted(id for id in image.brokers if image.active(id))
    if not 0 < factor <= len(alive):
        raise BrokerError(
            Code.INVALID_REPLICATION_FACTOR,
            f"replication factor {factor} with {len(alive)} brokers available",
        )
    rng = Random(seed)
    start, shift = rng.randrange(len(alive)), rng.randrange(len(alive))
    placed = []
    for number in range(count):
        first = (start + number) % len(alive)
        # Followers go round with another step each time, so that they do not pair up for ever.
        step = (shift + number // len(alive)) % max(len(alive) - 1, 1)
        others = [(first + 1 + (step + i) % (len(alive) - 1)) for i in range(factor - 1)]
        placed.append(tuple(alive[place % len(alive)] for place in (first, *others)))
    return placed


def _fresh(
    image: MetadataImage,
    name: str,
    id: uuid.UUID,
    first: int,
    placed: Sequence[tuple[int, ...]],
) -> tuple[PartitionState, ...]:
    states = []
    for number, replicas in enumerate(placed, start=first):
        unknown = [r for r in replicas if r not in image.brokers]
        if unknown or not replicas or len(set(replicas)) != len(replicas):
            raise BrokerError(Code.INVALID_REPLICATION_FACTOR, f"replicas {replicas}")
        isr = tuple(replica for replica in replicas if image.active(replica))
        if not isr:
            raise BrokerError(Code.INVALID_REPLICATION_FACTOR, f"none of {replicas} is available")
        states.append(PartitionState(name, id, number, tuple(replicas), isr, isr[0], 0, 0))
    return tuple(states)


def _delete_topic(image: MetadataImage, name: str) -> MetadataImage:
    if name not in image.topics:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION, f"there is no topic {name!r}")
    return replace(image, topics={n: topic for n, topic in image.topics.items() if n != name})


def _create_partitions(image: MetadataImage, command: CreatePartitions, seed: int) -> MetadataImage:
    topic = image.topics.get(command.name)
    if topic is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    have = len(topic.partitions)
    if not have < command.count <= PARTITIONS_MAX:
        raise BrokerError(
            Code.INVALID_PARTITIONS, f"{have} partitions cannot become {command.count}"
        )
    factor = len(topic.partitions[0].replicas)
    more = command.assignments or _place(image, command.count - have, factor, seed)
    if len(more) != command.count - have:
        raise BrokerError(Code.INVALID_PARTITIONS, f"{len(more)} assignments")
    states = (*topic.partitions, *_fresh(image, topic.name, topic.id, have, more))
    return replace(image, topics={**image.topics, topic.name: replace(topic, partitions=states)})


def _alter_config(image: MetadataImage, command: AlterConfig) -> MetadataImage:
    topic = image.topics.get(command.topic)
    if command.topic and topic is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    configs = dict(topic.configs if topic is not None else image.broker_configs)
    for key, operation, value in command.changes:
        if topic is not None or key in TOPIC_CONFIGS:
            _change_config(configs, key, operation, value)
        else:
            raise BrokerError(Code.INVALID_CONFIG, f"{key!r} cannot be changed at run time")
    if topic is None:
        return replace(image, broker_configs=configs)
    image = replace(image, topics={**image.topics, topic.name: replace(topic, configs=configs)})
    # Unclean election may have been allowed just now for a partition that waits for a leader.
    return _each_partition(image, lambda image, state: _fill_vacancy(image, state))


def _change_config(configs: dict[str, str], key: str, operation: int, value: str) -> None:
    have = [part for part in configs.get(key, "").split(",") if part]
    match operation:
        case 0:
            configs[key] = value
        case 1:
            configs.pop(key, None)
            return
        case 2:
            configs[key] = ",".join(dict.fromkeys([*have, *value.split(",")]))
        case 3:
            configs[key] = ",".join(part for part in have if part not in value.split(","))
        case _:
            raise BrokerError(Code.INVALID_REQUEST, f"operation {operation}")
    check_topic_config(key, configs[key])


def _commit_offsets(image: MetadataImage, command: CommitOffsets) -> MetadataImage:
    offsets = dict(image.group_offsets)
    for topic, partition, offset, metadata in command.offsets:
        offsets[f"{command.group}\0{topic}\0{partition}"] = (offset, metadata)
    return replace(image, group_offsets=offsets)
