"""What a core wants done: `Ready`, and the words it is written in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry, Message


class Role(StrEnum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive: the term, and who got this node's vote in it (0 for nobody)."""

    term: int = 0
    vote: int = 0


@dataclass(slots=True)
class Ready:
    """What the driver has to do, in this order: persist, send, apply, answer.

    Attributes:
        snapshot: received from the leader; it replaces the whole log.
        truncate_from: drop persisted entries from here on, before `entries` are added.
        committed: to be applied after `snapshot`.
        reads: (id, index): the read may be answered when entry `index` is applied.
        lost_reads: ids that this node cannot answer any more.
        role_changed: the role, the term's leader, or both.
    """

    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    truncate_from: int | None = None
    entries: list[Entry] = field(default_factory=list)
    messages: list[tuple[int, Message]] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    lost_reads: list[int] = field(default_factory=list)
    role_changed: bool = False

    def __bool__(self) -> bool:
        return bool(
            self.hard_state
            or self.snapshot
            or self.truncate_from is not None
            or self.entries
            or self.messages
            or self.committed
            or self.reads
            or self.lost_reads
            or self.role_changed
        )
