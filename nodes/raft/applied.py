"""What the committed log has made of the state machine and the sessions so far."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry
from nodes.raft.sessions import Sessions


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
    """`index`: the last entry that was applied."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._sessions = Sessions()
        self.index = 0

    def apply(self, entry: Entry) -> Any:
        """Apply the next entry; its result.

        Raises:
            SessionExpired: the entry's session is not known; the machine saw nothing of it.
        """
        assert entry.index == self.index + 1
        self.index = entry.index
        if not entry.command:
            return self._sessions.open(entry.index) if entry.session is not None else None
        if entry.session is None:
            return self._machine.apply(entry.index, entry)
        return self._sessions.apply(entry.session, lambda: self._machine.apply(entry.index, entry))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self._machine.snapshot(), self._sessions.dump()))

    def restore(self, snapshot: Snapshot) -> None:
        state, sessions = msgspec.msgpack.decode(snapshot.data)
        self._machine.restore(state, snapshot.index)
        self._sessions = Sessions.load(sessions)
        self.index = snapshot.index
