"""Who leads a partition and who is in sync with its leader: pure functions of the image.

The *eligible leader replicas* of a partition (KIP-966) are those that left its ISR when it had
fewer members than `min.insync.replicas`. A leader shows and acknowledges nothing new while that is
so (its high watermark stands still), so they have all that was ever acknowledged or shown, as the
ISR has. When the last of the ISR is gone they take its place. Without them one node that loses its
disk could cost what `min.insync.replicas` promises to keep: the ISR shrinks to it, it comes back
without what it had not synced, and everybody else is cut to its log.

A process that did not end cleanly counts among those that lost something: the controller cannot
know better. When the last replica that is in sync or eligible restarts so, it leads again all the
same, for nobody has more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from nodes.broker.controller.commands import AlterPartition, ElectPreferred, Withdraw
from nodes.broker.errors import BrokerError, Code
from nodes.broker.metadata import NO_LEADER, BrokerState, MetadataImage, PartitionState

replace = msgspec.structs.replace
Change = Callable[[MetadataImage, PartitionState], PartitionState]


def each_partition(image: MetadataImage, change: Change) -> MetadataImage:
    """The image with every partition changed, and what happened to them counted."""
    topics = dict(image.topics)
    for name, topic in image.topics.items():
        after = tuple(change(image, state) for state in topic.partitions)
        if after != topic.partitions:
            image = _counted(image, topic.partitions, after)
            topics[name] = replace(topic, partitions=after)
    return image if topics == image.topics else replace(image, topics=topics)


def step_down(image: MetadataImage, state: PartitionState, broker: int) -> PartitionState:
    """The broker, out of service now, does not lead; what it has stays as good as it was."""
    return _settled(image, state, _without_leader(state, broker))


def leave(
    image: MetadataImage, state: PartitionState, broker: int, *, lost: bool
) -> PartitionState:
    """The broker leads no more and leaves the ISR; if it `lost` what it had, it is not eligible.

    The last replica that may have everything stays in the ISR, for there is nobody better.
    """
    if broker not in state.isr and broker not in state.elr:
        return state
    after = _without_leader(state, broker)
    isr, elr = set(after.isr) - {broker}, {*after.elr, broker}
    if lost:
        elr.discard(broker)
    if not isr:
        isr, elr = elr or {broker}, set()
    return _settled(image, state, replace(after, isr=tuple(isr), elr=tuple(elr)))


def review(image: MetadataImage, state: PartitionState) -> PartitionState:
    """As configs and brokers are now: somebody may lead who could not before."""
    return _settled(image, state, state)


def _without_leader(state: PartitionState, broker: int) -> PartitionState:
    return replace(state, leader=NO_LEADER) if state.leader == broker else state


def _settled(image: MetadataImage, before: PartitionState, state: PartitionState) -> PartitionState:
    """`state` in order: sets sorted, a leader elected if one is missing and can be had, epochs
    raised as they must.

    Only an active member of the ISR may lead. `unclean.leader.election.enable` lets any active
    replica lead when none of the ISR is active: it may lose what was acknowledged.
    """
    isr, elr, leader = state.isr, state.elr, state.leader
    if leader == NO_LEADER:
        leader = _first_active(image, state, isr)
    unclean = image.config(state.topic, "unclean.leader.election.enable", "false") == "true"
    if leader == NO_LEADER and unclean:
        leader = _first_active(image, state, state.replicas)
        isr, elr = (isr, elr) if leader == NO_LEADER else ((leader,), ())
    if len(isr) >= min_isr(image, state):
        elr = ()
    state = replace(
        state,
        isr=tuple(replica for replica in state.replicas if replica in isr),
        elr=tuple(r for r in state.replicas if r in elr and r not in isr),
        leader=leader,
    )
    if state == before:
        return before
    epoch = before.leader_epoch + (state.leader != before.leader)
    return replace(state, leader_epoch=epoch, partition_epoch=before.partition_epoch + 1)


def _first_active(image: MetadataImage, state: PartitionState, among: Iterable[int]) -> int:
    """The preferred one of these that is in service."""
    among = set(among)
    return next((r for r in state.replicas if r in among and image.active(r)), NO_LEADER)


def min_isr(image: MetadataImage, state: PartitionState) -> int:
    """How many must be in sync for acks=all; never more than there are replicas."""
    configured = int(image.config(state.topic, "min.insync.replicas", "1"))
    return min(configured, len(state.replicas))


def _counted(
    image: MetadataImage, before: Iterable[PartitionState], after: Iterable[PartitionState]
) -> MetadataImage:
    c = image.counters
    for old, new in zip(before, after, strict=True):
        elected = new.leader not in (old.leader, NO_LEADER)
        unclean = elected and new.leader not in (*old.isr, *old.elr)
        c = replace(
            c,
            elections=c.elections + elected,
            unclean_elections=c.unclean_elections + unclean,
            isr_shrinks=c.isr_shrinks + bool(set(old.isr) - set(new.isr)),
            isr_expands=c.isr_expands + bool(set(new.isr) - set(old.isr) and not unclean),
        )
    return replace(image, counters=c)


# -- commands ------------------------------------------------------------------------------------


def alter_partition(
    image: MetadataImage, command: AlterPartition
) -> tuple[MetadataImage, PartitionState]:
    """A leader shrinks or expands its ISR. Everything it believes must still be so."""
    leader = current(image, command.broker, command.broker_epoch)
    state = _partition_of(image, command)
    if state.leader != leader.id or state.leader_epoch != command.leader_epoch:
        raise BrokerError(Code.FENCED_LEADER_EPOCH, f"{state.leader} leads {state.leader_epoch}")
    if state.partition_epoch != command.partition_epoch:
        raise BrokerError(Code.INVALID_UPDATE_VERSION, f"it is at {state.partition_epoch}")
    isr = set(command.isr)
    if leader.id not in isr or not isr <= set(state.replicas) or len(isr) != len(command.isr):
        raise BrokerError(Code.INVALID_REQUEST, f"{command.isr} is no ISR of {state.replicas}")
    for member in isr - set(state.isr):
        # It may have started anew since it fetched, without what it had then (KIP-903).
        fetched_in = command.epochs.get(member)
        if not image.active(member) or image.brokers[member].epoch != fetched_in:
            raise BrokerError(Code.INELIGIBLE_REPLICA, f"broker {member} is not as it fetched")
    elr = {*state.elr, *state.isr} - isr
    after = _settled(image, state, replace(state, isr=tuple(isr), elr=tuple(elr)))
    return _with_partition(image, state, after), after


def withdraw(image: MetadataImage, command: Withdraw) -> MetadataImage:
    """A replica that cannot be served leads no more and counts as one that lost what it had, for
    as long as there is anybody else."""
    broker = current(image, command.broker, command.broker_epoch)
    state = _partition_of(image, command)
    return _with_partition(image, state, leave(image, state, broker.id, lost=True))


def _partition_of(image: MetadataImage, command: AlterPartition | Withdraw) -> PartitionState:
    """By name, a replica of a deleted topic could speak for a new one of that name."""
    topic = image.topic_by_id(command.topic_id)
    if topic is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_ID)
    state = image.partition(topic.name, command.partition)
    if state is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    return state


def elect_preferred(image: MetadataImage, command: ElectPreferred) -> MetadataImage:
    """Have the first replica lead. Raises BrokerError: it cannot, or does already."""
    state = image.partition(command.topic, command.partition)
    if state is None:
        raise BrokerError(Code.UNKNOWN_TOPIC_OR_PARTITION)
    preferred = state.replicas[0]
    if state.leader == preferred:
        raise BrokerError(Code.ELECTION_NOT_NEEDED, f"{preferred} leads already")
    if preferred not in state.isr or not image.active(preferred):
        raise BrokerError(Code.PREFERRED_LEADER_NOT_AVAILABLE, f"{preferred} is not in sync")
    after = _settled(image, state, replace(state, leader=preferred))
    return _with_partition(image, state, after)


def _with_partition(
    image: MetadataImage, before: PartitionState, after: PartitionState
) -> MetadataImage:
    if after is before:
        return image
    image = _counted(image, (before,), (after,))
    topic = image.topics[after.topic]
    states = list(topic.partitions)
    states[after.partition] = after
    topics = {**image.topics, topic.name: replace(topic, partitions=tuple(states))}
    return replace(image, topics=topics)


def current(image: MetadataImage, id: int, epoch: int) -> BrokerState:
    """The broker, if this is its epoch now. Raises BrokerError STALE_BROKER_EPOCH."""
    broker = image.brokers.get(id)
    if broker is None or broker.epoch != epoch:
        raise BrokerError(Code.STALE_BROKER_EPOCH, f"broker {id} has no epoch {epoch} now")
    return broker
