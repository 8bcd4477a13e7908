"""What the committed log has made of the state machine and the sessions so far."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import msgspec
from crc32c import crc32c

from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry
from nodes.raft.sessions import Sessions

MARK_EVERY = 16
"""Entries between two that are remembered: nodes that are not equally far have some in common."""

MARKS_MAX = 4

_encode = msgspec.msgpack.Encoder().encode


class StateMachine(Protocol):
    """What is replicated. Deterministic: the state and the entry decide, nothing else."""

    def apply(self, index: int, entry: Entry) -> Any:
        """Apply a command; the result must be MessagePack-able. Must not raise."""
        ...

    def snapshot(self) -> bytes:
        """The state; the same bytes on all nodes that applied the same entries."""
        ...

    def restore(self, data: bytes, index: int) -> None:
        """Take over the state after entry `index`."""
        ...


class Applied:
    """See the module.

    Attributes:
        index: the last entry that was applied.
        chain: a checksum of every entry up to it; nodes that applied the same have the same.
    """

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._sessions = Sessions()
        self._marks: deque[tuple[int, int]] = deque(maxlen=MARKS_MAX)
        self.index = 0
        self.chain = 0

    @property
    def marks(self) -> list[tuple[int, int]]:
        """(index, chain) of a few entries, ascending; of the last one at the end."""
        marks = list(self._marks)
        return marks if marks and marks[-1][0] == self.index else [*marks, (self.index, self.chain)]

    def apply(self, entry: Entry) -> Any:
        """Apply the next entry; its result.

        Raises:
            SessionExpired: the entry's session is not known; the machine saw nothing of it.
        """
        assert entry.index == self.index + 1
        self.index = entry.index
        self.chain = crc32c(_encode(entry), self.chain)
        if entry.index % MARK_EVERY == 0:
            self._marks.append((self.index, self.chain))
        if not entry.command:
            return self._sessions.open(entry.index) if entry.session is not None else None
        if entry.session is None:
            return self._machine.apply(entry.index, entry)
        return self._sessions.apply(entry.session, lambda: self._machine.apply(entry.index, entry))

    def snapshot(self) -> bytes:
        return _encode((self._machine.snapshot(), self._sessions.dump(), self.chain))

    def restore(self, snapshot: Snapshot) -> None:
        state, sessions, self.chain = msgspec.msgpack.decode(snapshot.data)
        self._machine.restore(state, snapshot.index)
        self._sessions = Sessions.load(sessions)
        self._marks.clear()
        self.index = snapshot.index
