"""Replication of one partition, as a small model around the controller's real state machine.

Brokers see the metadata late, each at its own pace; leaders do not know that they are deposed;
requests to the controller arrive late or twice; brokers are fenced for no reason, are killed, and
lose what they had not synced. It follows the argument at the top of
`nodes/broker/controller/machine.py` word by word.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nodes.broker.controller.commands import AlterPartition, Fence, Register, Unfence
from nodes.broker.errors import BrokerError
from nodes.broker.metadata import NO_LEADER, MetadataImage, PartitionState
from tests.nodes.broker.controller.images import Log

BROKERS = (1, 2, 3)
PHASE_STEPS = 100
Message = tuple[int, int]  # (leader epoch, value): at one offset, equal only if it is the same


@dataclass
class Leading:
    """What a broker knows as leader in one epoch."""

    epoch: int
    start: int
    progress: dict[int, tuple[int, int]] = field(default_factory=dict)  # id → broker epoch, end
    joining: tuple[int, ...] = ()
    waiting: set[int] = field(default_factory=set)  # offsets of acks=all


@dataclass
class Broker:
    """A machine, and the process on it. `epoch` is 0 until the process has registered."""

    id: int
    log: list[Message] = field(default_factory=list)
    synced: int = 0
    process: int = 0
    epoch: int = 0
    seen: int = 0
    hw: int = 0
    leading: Leading | None = None


class Model:
    """One partition. Raises AssertionError when a promise is broken."""

    waits_for_joining = True
    stands_still = True

    def __init__(self, seed: int, min_isr: int, losses: bool) -> None:
        self.rng, self.min_isr, self.losses = Random(seed), min_isr, losses
        self.controller = Log()
        self.images: list[MetadataImage] = [self.controller.image]
        self.brokers = {id: Broker(id) for id in BROKERS}
        self.acked: dict[int, Message] = {}
        self.doubtful: set[int] = set()  # restarted uncleanly, and not yet back in the ISR
        self.requests: list[AlterPartition] = []
        self.statistics: Counter[str] = Counter()
        self._values = self._steps = self._faults = 0
        for id in BROKERS:
            self.start(id)
            self.ask(Unfence(id, self.image.brokers[id].epoch))
        self.controller.topic(*BROKERS, configs={"min.insync.replicas": str(min_isr)})
        self.images.append(self.image)

    # -- the controller ------------------------------------------------------------------------

    @property
    def image(self) -> MetadataImage:
        return self.controller.image

    def ask(self, command: Any) -> None:
        """A command gets into the log; refused, it changes nothing."""
        try:
            self.controller.apply(command)
            self.statistics[type(command).__name__] += 1
        except BrokerError:
            self.statistics["refused"] += 1
        self.images.append(self.image)
        state = self.image.partition("t", 0)
        if state is not None:
            self.doubtful -= set(state.isr)

    def state_of(self, broker: Broker) -> PartitionState | None:
        """What the broker believes. Nothing, before its own registration is in what it has seen."""
        image = self.images[broker.seen]
        own = image.brokers.get(broker.id)
        if broker.epoch == 0 or own is None or own.epoch != broker.epoch:
            return None
        return image.partition("t", 0)

    def see(self, broker: Broker) -> None:
        """The broker applies some more of the metadata, entry by entry."""
        for _ in range(self.rng.randrange(1, 6)):
            if broker.seen + 1 == len(self.images):
                return
            broker.seen += 1
            self._take_role(broker)

    def _take_role(self, broker: Broker) -> None:
        state = self.state_of(broker)
        if state is None or state.leader != broker.id:
            broker.leading = None
            return
        leading = broker.leading
        if leading is None or leading.epoch != state.leader_epoch:
            self._check_leader(broker, state)
            broker.leading = Leading(state.leader_epoch, len(broker.log))
            self.statistics["led"] += 1
        elif self.images[broker.seen - 1].partition("t", 0) != state:
            leading.joining = ()
        self.advance(broker)

    # -- replication ---------------------------------------------------------------------------

    def produce(self, broker: Broker) -> None:
        state = self.state_of(broker)
        if broker.leading is None or state is None or len(state.isr) < self.min_isr:
            return
        self._values += 1
        broker.log.append((broker.leading.epoch, self._values))
        broker.leading.waiting.add(len(broker.log) - 1)
        self.advance(broker)

    def fetch(self, follower: Broker) -> None:
        """A fetch and its answer: logs are cut where they part, then filled, a little at a time."""
        state = self.state_of(follower)
        if state is None or state.leader in (NO_LEADER, follower.id):
            return
        leader = self.brokers[state.leader]
        leading = leader.leading
        if leading is None or leading.epoch != state.leader_epoch:
            return
        common = 0
        for mine, theirs in zip(follower.log, leader.log, strict=False):
            if mine != theirs:
                break
            common += 1
        del follower.log[common:]
        follower.synced = min(follower.synced, common)
        leading.progress[follower.id] = follower.epoch, common
        self.advance(leader)
        follower.log += leader.log[common : common + self.rng.randrange(1, 4)]
        follower.hw = min(leader.hw, len(follower.log))

    def advance(self, broker: Broker) -> None:
        """Move the high watermark, and acknowledge."""
        state, leading = self.state_of(broker), broker.leading
        assert state is not None and leading is not None
        if self.stands_still and len(state.isr) < self.min_isr:
            return
        members = {*state.isr, *(leading.joining if self.waits_for_joining else ())}
        ends = [leading.progress.get(m, (0, -1))[1] for m in members if m != broker.id]
        broker.hw = max(broker.hw, min([len(broker.log), *ends]))
        for offset in [offset for offset in leading.waiting if offset < broker.hw]:
            leading.waiting.discard(offset)
            if len(state.isr) >= self.min_isr:
                message = broker.log[offset]
                assert self.acked.setdefault(offset, message) == message, "two leaders acked"
                self.statistics["acked"] += 1

    def widen(self, broker: Broker) -> None:
        state, leading = self.state_of(broker), broker.leading
        if state is None or leading is None or leading.joining:
            return
        for id, (_, end) in leading.progress.items():
            if id not in state.isr and end >= max(broker.hw, leading.start):
                leading.joining = (id,)
                self._request(broker, state, (*state.isr, id))
                return

    def narrow(self, broker: Broker) -> None:
        state = self.state_of(broker)
        if state is None or broker.leading is None or len(state.isr) == 1:
            return
        gone = self.rng.choice([member for member in state.isr if member != broker.id])
        self._request(broker, state, tuple(member for member in state.isr if member != gone))

    def _request(self, broker: Broker, state: PartitionState, isr: tuple[int, ...]) -> None:
        assert broker.leading is not None
        epochs = {id: epoch for id, (epoch, _) in broker.leading.progress.items()}
        self.requests.append(AlterPartition.of(state, broker.id, broker.epoch, isr, epochs))

    # -- faults --------------------------------------------------------------------------------

    def start(self, id: int) -> None:
        """A new process registers; what it saw of the metadata is on its disk."""
        broker = self.brokers[id]
        broker.process += 1
        broker.epoch, broker.leading = 0, None
        self.ask(Register(id, f"process {id}/{broker.process}", clean=False))
        broker.epoch = self.image.brokers[id].epoch

    def stop(self, id: int) -> None:
        """The process is gone, perhaps with what it had not synced.

        No more may lose something than min.insync.replicas promises to survive. Who restarted
        uncleanly counts among these: the controller cannot know that it lost nothing.
        """
        broker = self.brokers[id]
        self.doubtful.add(id)
        if self.losses and self.rng.random() < 0.7 and len(self.doubtful) < self.min_isr:
            self.statistics["lost"] += broker.synced < len(broker.log)
            del broker.log[broker.synced :]
            broker.hw = min(broker.hw, len(broker.log))
        self.start(id)

    def step(self) -> None:
        broker = self.brokers[self.rng.choice(BROKERS)]
        epoch = self.image.brokers[broker.id].epoch
        if self._steps % PHASE_STEPS == 0:
            self._faults = self.rng.choice((0, 0, 1, 3))
        self._steps += 1
        weights = (60, 15, 60, 10, 1, 15, self._faults, 8, self._faults, 2)
        match self.rng.choices(range(10), weights)[0]:
            case 0:
                self.see(broker)
            case 1:
                self.produce(broker)
            case 2:
                self.fetch(broker)
            case 3:
                self.widen(broker)
            case 4:
                self.narrow(broker)
            case 5 if self.requests:
                request = self.rng.choice(self.requests)
                if self.rng.random() < 0.8:
                    self.requests.remove(request)
                self.ask(request)
            case 6:
                self.ask(Fence(broker.id, epoch))
            case 7 if broker.seen >= epoch:
                self.ask(Unfence(broker.id, epoch))
            case 8:
                self.stop(broker.id)
            case 9:
                broker.synced = len(broker.log)

    # -- promises ------------------------------------------------------------------------------

    def _check_leader(self, broker: Broker, state: PartitionState) -> None:
        """Who begins to lead in the newest epoch has all that was ever acknowledged."""
        newest = self.image.partition("t", 0)
        assert newest is not None
        if state.leader_epoch == newest.leader_epoch:
            for offset, message in self.acked.items():
                held = offset < len(broker.log) and broker.log[offset] == message
                assert held, f"leader {broker.id} lacks offset {offset}, which was acked"

    def finish(self) -> None:
        """Everybody is back and sees everything: a leader has all that was acknowledged."""
        for id in BROKERS:
            self.ask(Unfence(id, self.image.brokers[id].epoch))
        for broker in self.brokers.values():
            while broker.seen + 1 < len(self.images):
                self.see(broker)
        assert any(broker.leading for broker in self.brokers.values()), "nobody may lead"
