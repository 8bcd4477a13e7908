"""Cores in a network that drops, delays, doubles, reorders and cuts, on hosts that crash.

A host is a core, what it persisted, and a state machine. It does what `Ready` says in the order
that the driver must keep, but takes its time for the disk: other messages arrive meanwhile, and a
crash leaves what was persisted and nothing else. After every event the world checks what Raft
promises.

    steps: `tick(host)`, `deliver(message)`, `finish_disk(host)`, `crash(host)`, `restart(host)`, …
    `World.run(steps)` draws them from a seed; tests may also call them one by one.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from nodes.raft.applied import Applied
from nodes.raft.config import Config
from nodes.raft.core import Core
from nodes.raft.messages import Entry, Vote, VoteReply
from nodes.raft.ready import Ready, Role
from nodes.raft.sessions import SessionExpired
from tests.nodes.raft.machines import Client, Disk, Host, Packet, Proposal, Register

CONFIG = Config(heartbeat=2, patience=10, election=8)
KINDS = ("deliver", "tick", "disk", "propose", "read", "compact", "fault")
PHASE_STEPS = 300


class World:
    """See the module. Raises AssertionError as soon as a promise is broken."""

    core_class = Core
    disk_class = Disk
    saves_first = True
    """Whether messages wait for the disk, as they must."""

    def __init__(self, seed: int, voters: int = 3, config: Config = CONFIG) -> None:
        self.rng = Random(seed)
        self.voters, self.config = tuple(range(1, voters + 1)), config
        self.hosts = {id: Host(id, self.disk_class()) for id in self.voters}
        self.packets: list[Packet] = []
        self.cut: set[tuple[int, int]] = set()
        self.statistics: Counter[str] = Counter()
        # What the world knows, and no host does.
        self._leaders: dict[int, int] = {}  # term → who led it
        self._known: dict[tuple[int, int], tuple[Entry, int]] = {}  # place → entry, term before
        self.committed: dict[int, Entry] = {}
        self._committed_in: dict[int, int] = {}  # index → the term of the leader who committed it
        self._reads: dict[int, int] = {}  # id → what was committed when it was asked for
        self._read_number = 0
        self.clients = [Client(name) for name in range(3)]
        self._proposals: dict[tuple[int, int], Proposal] = {}  # by place
        self._now_ms = 0
        for id in self.voters:
            self.restart(id)

    # -- hosts -------------------------------------------------------------------------------

    def restart(self, id: int) -> None:
        host = self.hosts[id]
        disk = host.disk
        host.register = Register()
        host.applied = Applied(host.register)
        if disk.snapshot.index:
            host.applied.restore(disk.snapshot)
        host.core = self.core_class(
            id,
            self.voters,
            Random(self.rng.getrandbits(64)),
            config=self.config,
            hard_state=disk.hard_state,
            snapshot=disk.snapshot,
            entries=disk.entries,
        )
        host.saving = None
        self.statistics["restart"] += 1

    def crash(self, id: int) -> None:
        """Everything volatile is gone; what was being written may have got to the disk."""
        host = self.hosts[id]
        if host.saving is not None and self.rng.random() < 0.5:
            host.disk.save(host.saving)
        host.core, host.saving = None, None

    def tick(self, id: int) -> None:
        core = self.hosts[id].core
        if core is not None:
            core.tick()
            self._work(id)

    def deliver(self, packet: Packet) -> None:
        core = self.hosts[packet.receiver].core
        if core is not None and (packet.sender, packet.receiver) not in self.cut:
            core.receive(packet.sender, packet.message)
            self._work(packet.receiver)

    def finish_disk(self, id: int) -> None:
        """What is being written is durable now; do what had to wait for that."""
        host = self.hosts[id]
        if host.core is None or host.saving is None:
            return
        ready, host.saving = host.saving, None
        host.disk.save(ready)
        host.core.persisted(ready)
        if self.saves_first:
            self._send(host, ready)
        self._apply(host, ready)
        self._work(id)

    def _work(self, id: int) -> None:
        """Begin with the next thing that the core wants, unless the disk is busy."""
        host = self.hosts[id]
        if host.core is None:
            return
        self._observe(host)
        self.packets += [Packet(id, peer, message) for peer, message in host.core.take_now()]
        if host.saving is None and (ready := host.core.take()) is not None:
            host.saving = ready
            if not self.saves_first:
                self._send(host, ready)

    def _send(self, host: Host, ready: Ready) -> None:
        self.packets += [Packet(host.id, peer, message) for peer, message in ready.messages]

    def _apply(self, host: Host, ready: Ready) -> None:
        assert host.applied is not None and host.core is not None
        if ready.snapshot is not None:
            host.applied.restore(ready.snapshot)
            self.statistics["snapshot"] += 1
        for entry in ready.committed:
            known = self.committed.setdefault(entry.index, entry)
            assert known == entry, f"two entries were applied at {entry.index}"
            try:
                result = host.applied.apply(entry)
            except SessionExpired:
                continue
            proposal = self._proposals.get((entry.index, entry.term))
            if proposal is not None and proposal.result is None:
                proposal.result = result
        for id, index in ready.reads:
            assert index >= self._reads.pop(id), "a read missed what was committed before it"
            self.statistics["read"] += 1
        for id in ready.lost_reads:
            self._reads.pop(id, None)

    # -- what clients do -----------------------------------------------------------------------

    def leaders(self) -> list[Core]:
        """Who believes to lead, the newest term first. There may be several, in several terms."""
        cores = [host.core for host in self.hosts.values() if host.core is not None]
        found = [core for core in cores if core.role is Role.LEADER]
        return sorted(found, key=lambda core: -core.term)

    def propose(self, proposal: Proposal, core: Core) -> None:
        self._now_ms += self.rng.randrange(-50, 100)  # clocks of hosts differ
        place = core.propose(
            proposal.command, max(self._now_ms, 0), self.rng.getrandbits(8), proposal.session
        )
        if place is not None:
            self.statistics["repeat"] += bool(proposal.places)
            proposal.places.add(place)
            self._proposals[place] = proposal
            self._work(core.id)

    def read(self, core: Core) -> None:
        self._read_number += 1
        self._reads[self._read_number] = max(self.committed, default=0)
        if core.read_index(self._read_number):
            self._work(core.id)
        else:
            del self._reads[self._read_number]

    def compact(self, id: int) -> None:
        """Snapshot what is applied; as the driver, between two `Ready`s."""
        host = self.hosts[id]
        if host.core is None or host.saving is not None:
            return
        assert host.applied is not None
        snapshot = host.core.compact(host.applied.index, host.applied.snapshot())
        if snapshot is not None:
            host.disk.compact(snapshot)
            self.statistics["compact"] += 1

    # -- chance --------------------------------------------------------------------------------

    def run(self, steps: int, *, loss: float = 0.1, doubles: float = 0.05) -> None:
        """Draw steps: most of them messages and ticks, some of them faults."""
        weights: list[float] = []
        for step in range(steps):
            if step % PHASE_STEPS == 0:
                weights = self._draw_weights()
            kind = self.rng.choices(KINDS, weights)[0]
            id = self.rng.choice(self.voters)
            if kind == "deliver" and self.packets:
                packet = self.packets[self._pick()]
                if self.rng.random() >= doubles:
                    self.packets.remove(packet)
                if self.rng.random() >= loss:
                    self.deliver(packet)
            elif kind == "tick":
                self.tick(id)
            elif kind == "disk":
                self.finish_disk(id)
            elif kind == "propose" and (leaders := self.leaders()):
                client = self.rng.choice(self.clients)
                self.propose(client.next(self.rng), self.rng.choice(leaders))
            elif kind == "read" and (leaders := self.leaders()):
                self.read(self.rng.choice(leaders))
            elif kind == "compact":
                self.compact(id)
            elif kind == "fault":
                self._draw_fault(id)

    def _draw_weights(self) -> list[float]:
        """How often each kind of step comes, for a phase: slow network, slow disks, many faults."""
        draw = self.rng.uniform
        faults = self.rng.choice((0, 1, 4, 10))
        return [50, draw(5, 100), draw(10, 60), draw(1, 8), 2, draw(0, 4), faults]

    def _pick(self) -> int:
        """A message: mostly one of the oldest, since links keep some order."""
        if self.rng.random() < 0.7:
            return 0
        return self.rng.randrange(len(self.packets))

    def _draw_fault(self, id: int) -> None:
        host = self.hosts[id]
        kinds = ("crash", "restart", "bounce", "cut", "heal", "transfer")
        what = self.rng.choices(kinds, (2, 5, 4, 3, 3, 1))[0]
        self.statistics[what] += 1
        if what in ("crash", "bounce"):
            self.crash(id)
        if what == "bounce" or (what == "restart" and host.core is None):
            self.restart(id)
        elif what == "cut":
            other = self.rng.choice(self.voters)
            self.cut |= {(id, other), (other, id)} if self.rng.random() < 0.7 else {(id, other)}
        elif what == "heal":
            self.cut.clear()
        elif what == "transfer" and host.core is not None:
            host.core.transfer(self.rng.choice(self.voters))
            self._work(id)

    # -- a time without faults -----------------------------------------------------------------

    def heal(self) -> None:
        self.cut.clear()
        for host in self.hosts.values():
            if host.core is None:
                self.restart(host.id)

    def calm(self, ticks: int) -> None:
        """Time passes alike for all hosts, disks are fast, and every message arrives in order."""
        for _ in range(ticks):
            for id in self.voters:
                self.tick(id)
            self.settle()

    def settle(self) -> None:
        """Nothing is left to be delivered or written."""
        while self.packets or any(host.saving for host in self.hosts.values()):
            for id in self.voters:
                while self.hosts[id].saving is not None:
                    self.finish_disk(id)
            packets, self.packets = self.packets, []
            for packet in packets:
                self.deliver(packet)

    # -- step by step --------------------------------------------------------------------------

    def lead(self) -> Core:
        """Calm until somebody leads and all is committed: the leader."""
        for _ in range(20 * self.config.patience):
            self.calm(1)
            leaders = self.leaders()
            if len(leaders) == 1 and leaders[0].commit == leaders[0].log.last_index:
                self.calm(self.config.heartbeat)  # the others hear of it
                return leaders[0]
        raise AssertionError("there is no leader, long after all is well")

    def elect(self, id: int, voters: set[int]) -> Core:
        """Make `id` leader by these votes. The voters restart first; nothing is replicated."""
        for voter in voters:
            self.crash(voter)
            self.restart(voter)
        core = self.hosts[id].core
        assert core is not None
        while core.role is not Role.LEADER:
            self.tick_until(id, Role.PRE_CANDIDATE)
            self.exchange(voters, (Vote, VoteReply))
        self.finish_disk(id)
        self.packets.clear()
        return core

    def tick_until(self, id: int, role: Role) -> None:
        core = self.hosts[id].core
        assert core is not None
        while core.role is not role:
            self.tick(id)
        self.finish_disk(id)

    def hand(self, sender: int, receiver: int) -> None:
        """What is on its way from one to the other arrives, and is dealt with."""
        arriving = [p for p in self.packets if (p.sender, p.receiver) == (sender, receiver)]
        self.packets = [packet for packet in self.packets if packet not in arriving]
        for packet in arriving:
            self.deliver(packet)
            while self.hosts[receiver].saving is not None:
                self.finish_disk(receiver)

    def exchange(
        self, among: set[int], kinds: tuple[type[Any], ...] = (object,), rounds: int = 4
    ) -> None:
        """Some rounds of messages of these kinds among these hosts. All others are lost."""
        for _ in range(rounds):
            for id in among:
                while self.hosts[id].saving is not None:
                    self.finish_disk(id)
            packets, self.packets = self.packets, []
            for packet in packets:
                if {packet.sender, packet.receiver} <= among and isinstance(packet.message, kinds):
                    self.deliver(packet)

    def heartbeat(self, id: int, among: set[int], rounds: int = 4) -> None:
        """Time passes for `id` until it has something to say, to these."""
        for _ in range(self.config.heartbeat):
            self.tick(id)
        self.exchange(among, rounds=rounds)

    def isolate(self, id: int) -> None:
        self.cut |= {pair for other in self.voters for pair in ((id, other), (other, id))}

    def command(self, core: Core, command: bytes) -> Proposal:
        proposal = Proposal(command)
        self.propose(proposal, core)
        return proposal

    # -- promises --------------------------------------------------------------------------------

    def _observe(self, host: Host) -> None:
        core = host.core
        assert core is not None
        core._check()
        if core.role is Role.LEADER:
            if self._leaders.get(core.term) is None:
                self._check_complete(core)
            first = self._leaders.setdefault(core.term, core.id)
            assert first == core.id, f"term {core.term} has two leaders"
            self._check_commit(core)
        self._check_log(core)

    def _check_log(self, core: Core) -> None:
        """Log matching: what stands at (index, term) is the same everywhere, with all before it."""
        before = core.log.snapshot.term
        for entry in core.log.entries:
            known = self._known.setdefault((entry.index, entry.term), (entry, before))
            assert known == (entry, before), f"logs differ at {entry.index}, term {entry.term}"
            before = entry.term

    def _check_complete(self, core: Core) -> None:
        """Leader completeness: a new leader has all that was committed in earlier terms."""
        for index, entry in self.committed.items():
            if self._committed_in.get(index, entry.term) < core.term:
                held = index <= core.log.snapshot.index or core.log.term(index) == entry.term
                assert held, f"the leader of term {core.term} lacks entry {index}"

    def _check_commit(self, core: Core) -> None:
        """A leader calls committed only what a majority would still have after a power failure."""
        for index in range(core.commit, core.log.snapshot.index, -1):
            if index in self._committed_in:
                break
            entry = core.log.slice(index, index)[0]
            holders = sum(host.disk.has(index, entry.term) for host in self.hosts.values())
            assert core.is_majority(holders), f"entry {index} is committed on {holders} disks"
            self._committed_in[index] = core.term
            known = self.committed.setdefault(index, entry)
            assert known == entry, f"two entries were committed at {index}"

    def check_replay(self) -> None:
        """Every host's machine is what the committed log makes of a fresh one."""
        for host in self.hosts.values():
            if host.core is None or host.applied is None:
                continue
            fresh = Register()
            replayed = Applied(fresh)
            for index in range(1, host.applied.index + 1):
                try:
                    replayed.apply(self.committed[index])
                except SessionExpired:
                    continue
            assert fresh.commands == host.register.commands
            assert replayed.snapshot() == host.applied.snapshot()

    def check_once(self) -> None:
        """What a client had applied in its session was applied once; what has no result, at most.

        Each result is the one of that single time, whichever proposal of it was answered.
        """
        for host in self.hosts.values():
            times = Counter(host.register.commands)
            for client in self.clients:
                for proposal in client.commands:
                    wanted = (1,) if proposal.result is not None else (0, 1)
                    assert times[proposal.command] in wanted, f"{proposal.command!r} again"
                    if proposal.result is not None:
                        assert host.register.commands[proposal.result - 1] == proposal.command
