"""What a simulated world is made of: hosts with disks and state machines, packets, clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from nodes.raft.applied import Applied
from nodes.raft.core import Core
from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry, Message
from nodes.raft.ready import HardState, Ready
from nodes.raft.sessions import OPEN


class Register:
    """A state machine that remembers everything: the commands that it was given, in order."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []

    def apply(self, index: int, entry: Entry) -> int:
        self.commands.append(entry.command)
        return len(self.commands)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.commands)

    def restore(self, data: bytes, index: int) -> None:
        self.commands = msgspec.msgpack.decode(data, type=list[bytes])


@dataclass
class Disk:
    """What a host persisted; survives its crashes."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=Snapshot)
    entries: list[Entry] = field(default_factory=list)

    def save(self, ready: Ready) -> None:
        if ready.hard_state is not None:
            self.hard_state = ready.hard_state
        if ready.snapshot is not None:
            self.snapshot, self.entries = ready.snapshot, []
        elif ready.truncate_from is not None:
            self.entries = [e for e in self.entries if e.index < ready.truncate_from]
        self.entries += ready.entries

    def compact(self, snapshot: Snapshot) -> None:
        self.entries = [entry for entry in self.entries if entry.index > snapshot.index]
        self.snapshot = snapshot

    def has(self, index: int, term: int) -> bool:
        if index <= self.snapshot.index:
            return True
        place = index - self.snapshot.index - 1
        return place < len(self.entries) and self.entries[place].term == term


@dataclass
class Host:
    """A machine of the world. `core` is None while it is down."""

    id: int
    disk: Disk = field(default_factory=Disk)
    core: Core | None = None
    register: Register = field(default_factory=Register)
    applied: Applied | None = None
    saving: Ready | None = None


@dataclass(frozen=True)
class Packet:
    sender: int
    receiver: int
    message: Message


@dataclass
class Proposal:
    """A command that a client wants applied, and where it was proposed so far."""

    command: bytes
    session: tuple[int, int, int] | None = None
    places: set[tuple[int, int]] = field(default_factory=set)
    result: Any = None


class Client:
    """Opens a session and has commands applied in it, each proposed until its result is known."""

    def __init__(self, name: int) -> None:
        self.opening = Proposal(b"", OPEN)
        self.commands: list[Proposal] = []
        self._name = name

    def next(self, rng: Random) -> Proposal:
        """What to propose now: something new, or again something without a result."""
        if self.opening.result is None:
            return self.opening
        pending = [n for n, command in enumerate(self.commands, 1) if command.result is None]
        if pending and (len(pending) > 3 or rng.random() < 0.7):
            proposal = self.commands[rng.choice(pending) - 1]
            assert proposal.session is not None
            id, sequence, _ = proposal.session
        else:
            proposal = Proposal(b"%d/%d" % (self._name, len(self.commands) + 1))
            self.commands.append(proposal)
            id, sequence = self.opening.result, len(self.commands)
        proposal.session = (id, sequence, min([*pending, sequence]))
        return proposal
