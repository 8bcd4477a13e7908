"""What Raft nodes say to each other, and what stands in their logs."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the replicated log.

    Attributes:
        command: opaque; empty for the no-op with which a leader begins its term.
        time_ms: the leader's wall clock when it was proposed; never goes back along the log.
        seed: a number that all nodes share, for whatever chance the command needs.
        session: (client, sequence) of a proposal that may be repeated and must apply once.
    """

    index: int
    term: int
    command: bytes = b""
    time_ms: int = 0
    seed: int = 0
    session: tuple[str, int] | None = None


class Vote(msgspec.Struct, array_like=True, frozen=True, tag="v"):
    """Asks for a vote in `term`; with `pre`, only whether it would be given.

    `transfer` says that the leader itself wants this election: nobody protects it then.
    """

    term: int
    last_index: int
    last_term: int
    pre: bool = False
    transfer: bool = False


class VoteReply(msgspec.Struct, array_like=True, frozen=True, tag="vr"):
    term: int
    granted: bool
    pre: bool = False


class Append(msgspec.Struct, array_like=True, frozen=True, tag="a"):
    """Entries after (prev_index, prev_term); without entries, a heartbeat.

    `round` counts the leader's heartbeats: a reply proves that it led when it sent that one.
    """

    term: int
    prev_index: int
    prev_term: int
    entries: list[Entry]
    commit: int
    round: int


class AppendReply(msgspec.Struct, array_like=True, frozen=True, tag="ar"):
    """`index`: if ok, the last entry known to match; else where the follower's log may match."""

    term: int
    ok: bool
    index: int
    round: int


class Snapshot(msgspec.Struct, array_like=True, frozen=True, tag="s"):
    """A piece of a snapshot that ends with entry (last_index, last_term)."""

    term: int
    last_index: int
    last_term: int
    offset: int
    data: bytes
    done: bool
    round: int


class SnapshotReply(msgspec.Struct, array_like=True, frozen=True, tag="sr"):
    """`offset`: how much of the snapshot is there; -1 when it is installed or not needed."""

    term: int
    last_index: int
    offset: int
    round: int


class TimeoutNow(msgspec.Struct, array_like=True, frozen=True, tag="t"):
    """The leader asks this node to stand for election at once."""

    term: int


Message = Vote | VoteReply | Append | AppendReply | Snapshot | SnapshotReply | TimeoutNow
