"""Any sequence of appends, fetches, elections, crashes and lost messages, and what must hold.

Held after every step:
    - what was acknowledged with acks=all is on every leader of that epoch or a later one;
    - what consumers were shown at an offset is what everybody is shown there, for ever;
    - below both high watermarks two replicas hold the same;
    - of an idempotent producer's batches the first ones are in a log, once and in their order.
Held at the end, when everything is healed: all replicas are in sync and hold the same, nothing that
was acknowledged is missing, and the idempotent producer's batches are there once and in order.

The limits of what is promised: without flush.messages=1 a power failure takes what was not synced,
so one comes only while no other process that ended uncleanly is on its way back into the ISR. With
min.insync.replicas=1 there may be nobody else, so none comes at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodes.broker.controller.commands import AlterConfig, ElectPreferred
from nodes.broker.errors import BrokerError, Code
from tests.host.running import run
from tests.nodes.broker.log.making import batch
from tests.nodes.broker.replication.world import Sent, SimNode, World

ALL = -1
PRODUCER = {"producer": 7, "epoch": 0}
RETRIABLE = {
    Code.NOT_LEADER_OR_FOLLOWER,
    Code.NOT_ENOUGH_REPLICAS,
    Code.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Code.REQUEST_TIMED_OUT,
    Code.UNKNOWN_TOPIC_OR_PARTITION,
    Code.KAFKA_STORAGE_ERROR,
    Code.OUT_OF_ORDER_SEQUENCE_NUMBER,  # one before it failed
}
IN_FLIGHT_MAX = 5
ids = st.integers(1, 3)


class ReplicationMachine(RuleBasedStateMachine):
    """See the module. Subclasses set `configs` and `flushes`."""

    min_isr = 2
    flushes = False
    unclean = False

    @initialize(segment_bytes=st.sampled_from([1024, 100_000]))
    def begin(self, segment_bytes: int) -> None:
        configs = {"min_insync_replicas": str(self.min_isr), "segment_bytes": str(segment_bytes)}
        if self.flushes:
            configs["flush_messages"] = "1"
        if self.unclean:
            configs["unclean_leader_election_enable"] = "true"
        self.world = World(**configs)
        run(self.world.begin())
        self.number = 0
        self.own: list[Sent] = []  # all batches of the idempotent producer
        self.seen: dict[int, bytes] = {}
        self.unsure: dict[int, str] = {}  # ended uncleanly, not yet back in the ISR
        self.deleted = 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.heal()
            finally:
                run(self.world.end())

    # -- clients -----------------------------------------------------------------------------

    def value(self) -> bytes:
        self.number += 1
        return b"%d" % self.number

    def leading(self, pick: int) -> SimNode | None:
        """One of those that believe that they lead."""
        found = [node for node in self.world.nodes.values() if node.leader is not None]
        return found[pick % len(found)] if found else None

    @rule(pick=ids, acks=st.sampled_from([ALL, ALL, 1]), count=st.integers(1, 2))
    def produce(self, pick: int, acks: int, count: int) -> None:
        node = self.leading(pick)
        if node is not None:
            run(self.world.produce(node, [self.value() for _ in range(count)], acks))

    @rule(id=ids, count=st.integers(1, 3))
    def produce_or_retry(self, id: int, count: int) -> None:
        """The idempotent producer: up to five batches in flight; when one fails, it waits for the
        others and sends all again in their order. The node may hear that it leads in between."""
        left = [sent for sent in self.own if sent.code != 0]
        if all(sent.code is None for sent in left):
            number = len(self.own)
            left = [self.next_batch(n) for n in range(number, number + count)][
                : IN_FLIGHT_MAX - len(left)
            ]
            self.own += left
        elif any(sent.code is None for sent in left):
            return
        node = self.world.nodes[id]
        for sent in left:
            sent.code = Code.NOT_LEADER_OR_FOLLOWER
            if node.up:
                run(self.world.send(node, sent))
                run(self.world.learn_one(node))

    def next_batch(self, sequence: int) -> Sent:
        value = self.value()
        return Sent([value], ALL, batch([(1000, value)], sequence=sequence, **PRODUCER))

    @rule(pick=ids, data=st.data())
    def delete_records(self, pick: int, data: st.DataObject) -> None:
        node = self.leading(pick)
        if node is not None and node.leader is not None:
            partition = node.leader
            offset = data.draw(st.integers(partition.log.start_offset, partition.hw))
            partition.log.delete_before(offset)
            self.deleted = max(self.deleted, offset)

    # -- the network -------------------------------------------------------------------------

    @rule(id=ids, rounds=st.integers(1, 3))
    def replicate(self, id: int, rounds: int) -> None:
        run(self.world.replicate(id, rounds))

    @rule(pick=st.integers(0, 5))
    def deliver(self, pick: int) -> None:
        if self.world.messages:
            run(self.world.deliver(self.world.messages[pick % len(self.world.messages)]))

    @rule(pick=st.integers(0, 5))
    def lose(self, pick: int) -> None:
        if self.world.messages:
            self.world.lose(self.world.messages[pick % len(self.world.messages)])
            run(self.world.settle())

    # -- the controller ----------------------------------------------------------------------

    @rule(pick=st.integers(0, 3), answer=st.booleans())
    def commit(self, pick: int, answer: bool) -> None:
        proposals = self.world.proposals
        if proposals:
            run(self.world.commit_proposal(proposals[pick % len(proposals)], answer=answer))

    @rule(pick=st.integers(0, 3))
    def time_out(self, pick: int) -> None:
        if self.world.proposals:
            self.world.time_out(self.world.proposals[pick % len(self.world.proposals)])
            run(self.world.settle())

    @rule(id=ids)
    def learn_one(self, id: int) -> None:
        if self.world.nodes[id].up:
            run(self.world.learn_one(self.world.nodes[id]))

    @rule()
    def learn_all(self) -> None:
        run(self.world.learn())

    @rule(id=ids)
    def fence(self, id: int) -> None:
        run(self.world.fence(self.world.nodes[id]))

    @rule(id=ids)
    def unfence(self, id: int) -> None:
        run(self.world.unfence(self.world.nodes[id]))

    @rule()
    def elect_preferred(self) -> None:
        with contextlib.suppress(BrokerError):
            self.world.commit(ElectPreferred("t", 0))

    # -- time --------------------------------------------------------------------------------

    @rule(id=ids)
    def lag(self, id: int) -> None:
        """Time passes until somebody may leave the ISR."""
        self.world.clock.now_ms += 600
        node = self.world.nodes[id]
        if node.context is not None:
            run(node.context.replicas.shrink())
            run(self.world.settle())

    @rule(id=ids)
    def checkpoint(self, id: int) -> None:
        node = self.world.nodes[id]
        if node.context is not None:
            run(node.context.replicas.checkpoint())

    # -- processes ---------------------------------------------------------------------------

    @rule(id=ids)
    def disk_fails(self, id: int) -> None:
        """What is in its files is there when it starts again, but nobody counts on that."""
        partition = self.world.nodes[id].partition
        usable = partition is not None and partition.offline is None
        if partition is not None and usable and ("power" not in self.others(id) or self.flushes):
            run(self.world.fail_disk(partition))
            self.unsure.setdefault(id, "disk")

    @rule(id=ids)
    def start(self, id: int) -> None:
        if not self.world.nodes[id].up:
            run(self.world.start(self.world.nodes[id]))

    @rule(id=ids)
    def kill(self, id: int) -> None:
        node = self.world.nodes[id]
        if node.up and ("power" not in self.others(id) or self.flushes):
            run(self.world.kill(node))
            self.unsure.setdefault(id, "kill")

    @rule(id=ids)
    def power_off(self, id: int) -> None:
        node = self.world.nodes[id]
        if node.up and (self.flushes or (not self.others(id) and self.min_isr > 1)):
            run(self.world.power_off(node))
            self.unsure[id] = "power"

    @rule(id=ids)
    def stop(self, id: int) -> None:
        node = self.world.nodes[id]
        if node.partition is not None and node.partition.offline is not None:
            self.kill(id)  # it cannot store everything, and so leaves no marker
        elif node.up:
            run(self.world.stop(node))

    def others(self, id: int) -> list[str]:
        for each in list(self.unsure):
            node = self.world.nodes[each]
            failed = node.partition is not None and node.partition.offline is not None
            if node.up and not failed and each in self.world.state.isr:
                del self.unsure[each]
        return [how for each, how in self.unsure.items() if each != id]

    # -- what must hold ----------------------------------------------------------------------

    @precondition(lambda self: hasattr(self, "world"))
    @invariant()
    def everything_is_consistent(self) -> None:
        for node in self.world.nodes.values():
            if node.up:
                failed = [e for e in node.host.events if e["event"].endswith(".failed")]
                assert not failed
            if node.partition is not None:
                node.partition._check()
        if not self.unclean:
            self.acknowledged_is_on_every_later_leader()
            self.shown_is_shown_for_ever()
            self.replicas_agree_below_their_high_watermarks()
            self.nothing_is_there_twice()

    def acknowledged(self) -> list[Sent]:
        return [sent for sent in self.world.sent if sent.acks == ALL and sent.code == 0]

    def acknowledged_is_on_every_later_leader(self) -> None:
        for node in self.world.nodes.values():
            if node.leader is None:
                continue
            contents = self.world.contents(node)
            for sent in self.acknowledged():
                if node.leader.state.leader_epoch < sent.epoch:
                    continue
                for offset, value in enumerate(sent.values, sent.base_offset):
                    if offset >= self.deleted:
                        assert contents.get(offset, (0, None))[1] == value, (
                            f"n{node.id} leads without {value!r} at {offset}"
                        )

    def shown_is_shown_for_ever(self) -> None:
        for node in self.world.nodes.values():
            if node.leader is not None:
                for offset, (_, value) in self.world.contents(node).items():
                    if offset < node.leader.hw:
                        assert self.seen.setdefault(offset, value) == value

    def replicas_agree_below_their_high_watermarks(self) -> None:
        for node in self.world.nodes.values():
            if node.partition is not None:
                for offset, (_, value) in self.world.contents(node).items():
                    if offset < node.partition.hw and offset in self.seen:
                        assert self.seen[offset] == value

    def nothing_is_there_twice(self) -> None:
        own = [sent.values[0] for sent in self.own]
        for node in self.world.nodes.values():
            if node.partition is not None:
                # A batch that was deleted may be forgotten, and be appended again.
                contents = sorted(self.world.contents(node).items())
                values = [value for at, (_, value) in contents if at >= self.deleted]
                assert len(values) == len(set(values))
                found = [value for value in values if value in own]
                assert self.deleted or found == own[: len(found)], "in order, without a gap"

    def heal(self) -> None:
        """Everything works again; wait until it is as if nothing had been."""
        world = self.world
        for _ in range(30):
            for node in world.nodes.values():
                if node.partition is not None and node.partition.offline is not None:
                    run(world.kill(node))
                if not node.up:
                    run(world.start(node))
                if world.image.brokers[node.id].fenced:
                    run(world.unfence(node))
            run(world.learn())
            for proposal in list(world.proposals):
                run(world.commit_proposal(proposal))
            run(world.learn())
            for id in world.nodes:
                run(world.replicate(id, 2))
            self.everything_is_consistent()
            world.clock.now_ms += 100
            if self.healed():
                break
        else:
            raise AssertionError(f"it never healed: {self.describe()}")
        if not self.unclean and not self.deleted:
            self.finish()
        self.nothing_acknowledged_is_missing(list(world.nodes.values()))

    def finish(self) -> None:
        """The idempotent producer comes to its end, whatever it went through."""
        for _ in range(10):
            if all(sent.code == 0 for sent in self.own):
                return
            self.produce_or_retry(self.world.state.leader, 1)
            for id in self.world.nodes:
                run(self.world.replicate(id, 3))
        raise AssertionError(f"it is stuck: {[sent.code for sent in self.own]}")

    def healed(self) -> bool:
        world, nodes = self.world, list(self.world.nodes.values())
        if len(world.state.isr) < len(nodes) or any(node.partition is None for node in nodes):
            return False
        leader = world.nodes[world.state.leader].leader
        if leader is None or leader.hw != leader.log.end_offset:
            return False
        return all(
            node.partition is not None
            and node.partition.hw == leader.hw
            and node.partition.log.end_offset == leader.log.end_offset
            for node in nodes
        )

    def nothing_acknowledged_is_missing(self, nodes: Sequence[SimNode]) -> None:
        # A leader that was replaced may be the only one that has heard of what was deleted.
        starts = [node.partition.log.start_offset for node in nodes if node.partition is not None]
        contents = [
            {o: found for o, found in self.world.contents(node).items() if o >= max(starts)}
            for node in nodes
        ]
        assert all(each == contents[0] for each in contents)
        if self.unclean:
            return
        waiting = [sent for sent in self.world.sent if sent.code is None]
        assert not waiting, "everybody got an answer"
        for sent in self.acknowledged():
            for offset, value in enumerate(sent.values, sent.base_offset):
                if offset >= self.deleted:
                    assert contents[0][offset][1] == value
        order = [sent.base_offset for sent in self.own if sent.code == 0]
        assert len(order) == len(set(order))
        assert self.deleted or order == sorted(order)
        for sent in self.world.sent:
            assert sent.code == 0 or sent.code in RETRIABLE, sent

    def describe(self) -> list[str]:
        lines = [str(self.world.state)]
        for node in self.world.nodes.values():
            partition = node.partition
            if partition is not None:
                lines.append(
                    f"n{node.id} {'leads' if partition.leading else 'follows'} "
                    f"{partition.state.leader_epoch}: {partition.log.start_offset}.."
                    f"{partition.log.end_offset} hw {partition.hw} {self.world.contents(node)}"
                )
            else:
                lines.append(f"n{node.id} has no partition; up: {node.up}")
        return lines


class FlushingMachine(ReplicationMachine):
    """flush.messages=1: any number of power failures, at any time."""

    flushes = True


class SingleMachine(ReplicationMachine):
    """min.insync.replicas=1: kills only."""

    min_isr = 1


class ChangingMachine(ReplicationMachine):
    """min.insync.replicas is changed all the while; kills only."""

    min_isr = 1

    @rule(min_isr=st.integers(1, 3))
    def change(self, min_isr: int) -> None:
        self.world.commit(AlterConfig("t", [("min.insync.replicas", 0, str(min_isr))]))


class UncleanMachine(ReplicationMachine):
    """unclean.leader.election.enable: much may be lost, but the replicas agree in the end."""

    unclean = True
    flushes = True
