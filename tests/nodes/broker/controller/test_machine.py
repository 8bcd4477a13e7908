"""Any commands keep what the image promises, and the same entries make the same image."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.broker.controller import partitions
from nodes.broker.controller.commands import (
    AllocateProducerIds,
    AlterConfig,
    AlterPartition,
    AnyCommand,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    ElectPreferred,
    Fence,
    Register,
    Unfence,
    Withdraw,
)
from nodes.broker.controller.machine import Machine
from nodes.broker.metadata import NO_LEADER, Counters, MetadataImage, PartitionState
from nodes.raft.messages import Entry
from tests.nodes.broker.controller.images import Log

NAMES = ("t", "u", "a.b")
VALUES = {
    "min.insync.replicas": ("1", "2", "3", "0"),
    "unclean.leader.election.enable": ("true", "false", "maybe"),
}


class Chance:
    """Draws what brokers and clients may ask for: much of it right, some of it late or wrong."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def command(self, image: MetadataImage) -> AnyCommand:
        states = [state for topic in image.topics.values() for state in topic.partitions]
        kinds = [self._liveness, self._register, self._request, self._client]
        return self._rng.choices(kinds, (4, 2, 5 if states else 0, 3))[0](image)

    def _liveness(self, image: MetadataImage) -> AnyCommand:
        broker = self._rng.choice(list(image.brokers.values()))
        kind = Unfence if broker.fenced != self._rarely() else Fence
        return kind(broker.id, broker.epoch - self._rarely())

    def _register(self, image: MetadataImage) -> AnyCommand:
        id, clean = self._rng.randrange(1, 5), self._rng.random() < 0.3
        process = f"process {self._rng.randrange(100)}"
        return Register(id, process, clean, self._configs() if self._rarely() else {})

    def _request(self, image: MetadataImage) -> AnyCommand:
        topic = self._rng.choice(list(image.topics.values()))
        state = self._rng.choice(topic.partitions)
        isr = {r for r in state.replicas if self._rng.random() < 0.7} | {state.leader}
        epochs = {broker.id: broker.epoch - self._rarely() for broker in image.brokers.values()}
        if self._rarely():
            return ElectPreferred(topic.name, state.partition)
        if self._rarely():
            broker = self._rng.choice([*epochs])
            return Withdraw(broker, epochs[broker], state.topic_id, state.partition)
        believed = msgspec.structs.replace(
            state,
            leader_epoch=state.leader_epoch - self._rarely(),
            partition_epoch=state.partition_epoch - self._rarely(),
        )
        epoch = epochs.get(state.leader, 0)
        return AlterPartition.of(believed, state.leader, epoch, tuple(isr), epochs)

    def _client(self, image: MetadataImage) -> AnyCommand:
        rng, name = self._rng, self._rng.choice(NAMES)
        count, factor = rng.randrange(-1, 4), rng.randrange(-1, 4)
        changes = [(key, 0, value) for key, value in self._configs().items()]
        return rng.choice(
            [
                CreateTopic(name, count, factor, self._configs()),
                CreateTopic(name, -1, -1, {}, [self._replicas() for _ in range(rng.randrange(3))]),
                DeleteTopic(name),
                CreatePartitions(name, count),
                AlterConfig(name, changes),
                AlterConfig("", changes),
                AllocateProducerIds(count),
            ]
        )

    def _rarely(self) -> bool:
        return self._rng.random() < 0.05

    def _replicas(self) -> tuple[int, ...]:
        return tuple(self._rng.choices(range(1, 5), k=self._rng.randrange(4)))

    def _configs(self) -> dict[str, str]:
        keys = self._rng.sample(list(VALUES), self._rng.randrange(len(VALUES) + 1))
        return {key: self._rng.choice(VALUES[key]) for key in keys}


def check_step(old: MetadataImage, new: MetadataImage) -> None:
    """What one entry may do to partitions and brokers."""
    for id, broker in old.brokers.items():
        assert new.brokers[id].epoch >= broker.epoch, "broker epochs only rise"
    for name, topic in old.topics.items():
        if name not in new.topics or new.topics[name].id != topic.id:
            continue
        for before, after in zip(topic.partitions, new.topics[name].partitions, strict=False):
            check_partition(old, new, before, after)
    before_counts, after_counts = msgspec.structs.astuple(old.counters), new.counters
    assert all(
        a >= b for a, b in zip(msgspec.structs.astuple(after_counts), before_counts, strict=True)
    )


def check_partition(
    old: MetadataImage, new: MetadataImage, before: PartitionState, after: PartitionState
) -> None:
    assert after.replicas == before.replicas
    rises = after.leader_epoch - before.leader_epoch, after.partition_epoch - before.partition_epoch
    assert min(rises) >= 0, "epochs only rise"
    assert rises[0] > 0 or after.leader == before.leader
    assert rises[1] > 0 or after == before
    if len(after.isr) >= partitions.min_isr(new, after):
        assert not after.elr
    if after.leader in (before.leader, NO_LEADER):
        return
    if after.leader not in (*before.isr, *before.elr):
        allowed = new.config(after.topic, "unclean.leader.election.enable", "false")
        assert allowed == "true", "an unclean election must be allowed"
        assert not any(new.active(member) for member in before.isr), "and needed"
        assert (after.isr, new.counters.unclean_elections) == (
            (after.leader,),
            new.counters.unclean_elections,
        )
        assert new.counters.unclean_elections > old.counters.unclean_elections


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_any_commands_keep_every_invariant(seed: int, count: int) -> None:
    log, chance = Log(1, 2, 3), Chance(seed)
    for _ in range(count):
        before = log.image
        log.code(chance.command(before))  # asserts that a failure changes nothing
        check_step(before, log.image)
    check_determinism(log)


def test_the_commands_that_are_drawn_do_what_they_are_for() -> None:
    counters = Counters()
    for seed in range(60):
        log, chance = Log(1, 2, 3), Chance(seed)
        for _ in range(120):
            log.code(chance.command(log.image))
        pairs = zip(*map(msgspec.structs.astuple, (counters, log.image.counters)), strict=True)
        counters = Counters(*(a + b for a, b in pairs))
    assert min(msgspec.structs.astuple(counters)) > 3


def check_determinism(log: Log) -> None:
    """Entries applied anew, or from any snapshot on, make the same bytes."""
    again = Machine()
    for number, entry in enumerate(log.entries):
        if number % 7 == 3:
            restored = Machine()
            restored.restore(again.snapshot(), number)
            assert restored.image == again.image
            again = restored
        again.apply(entry.index, entry)
    assert again.snapshot() == log.machine.snapshot()


def test_an_entry_that_is_no_command_is_an_error_and_no_crash() -> None:
    machine = Machine()
    for data in (
        b"\xc1",
        b"",
        msgspec.msgpack.encode(["Fence"]),
        msgspec.msgpack.encode(["No", 1]),
    ):
        answer = machine.apply(1, Entry(1, 1, data))
        assert answer[0] == "error"


def test_subscribers_hear_of_changes_only() -> None:
    log = Log(1, 2)
    log.topic(1, 2)
    heard: list[tuple[Any, Any]] = []
    log.machine.on_change = lambda old, new: heard.append((old, new))
    before = log.image
    log.code(DeleteTopic("unknown"))
    log.unfence(1)
    assert heard == [] and log.image.offset == before.offset + 2
    log.fence(1)
    assert [(old.active(1), new.active(1)) for old, new in heard] == [(True, False)]
    log.machine.restore(log.machine.snapshot(), log.image.offset)
    assert len(heard) == 2, "a snapshot may have changed everything"
