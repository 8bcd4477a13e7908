"""What Raft nodes say to each other, and what stands in their logs."""

from __future__ import annotations

from typing import Annotated

import msgspec

ENTRIES_MAX = 256
"""Of one message."""


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One entry of the replicated log.

    Attributes:
        command: opaque; empty for the no-op with which a leader begins its term.
        time_ms: the leader's wall clock when it was proposed; never goes back along the log.
        seed: for whatever chance the command needs; the same on all nodes.
        session: (id, sequence, lowest) of a proposal that may be repeated and must apply once, see
            `nodes.raft.sessions`. With an empty command it opens a session.
    """

    index: int
    term: int
    command: bytes = b""
    time_ms: int = 0
    seed: int = 0
    session: tuple[int, int, int] | None = None


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
    """`term`: the voter's; of a pre-vote that would be given, the term that was asked about."""

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
    entries: Annotated[list[Entry], msgspec.Meta(max_length=ENTRIES_MAX)]
    commit: int
    round: int


class AppendReply(msgspec.Struct, array_like=True, frozen=True, tag="ar"):
    """`index`: if ok, the last entry known to match; else where the follower's log may match.

    `prev` is the request's `prev_index`: it tells a late refusal from one that still matters.
    """

    term: int
    ok: bool
    index: int
    prev: int
    round: int


class Piece(msgspec.Struct, array_like=True, frozen=True, tag="p"):
    """A piece of the snapshot that ends with entry (last_index, last_term).

    Attributes:
        time_ms: that entry's. size, crc: of the whole snapshot, which a follower checks before it
            believes what it put together, perhaps from two leaders' pieces.
    """

    term: int
    last_index: int
    last_term: int
    time_ms: int
    size: int
    crc: int
    offset: int
    data: bytes
    round: int


class PieceReply(msgspec.Struct, array_like=True, frozen=True, tag="pr"):
    """`offset`: how much of the snapshot is there; -1 when it is installed or not needed."""

    term: int
    last_index: int
    offset: int
    round: int


class TimeoutNow(msgspec.Struct, array_like=True, frozen=True, tag="t"):
    """The leader asks this node to stand for election at once."""

    term: int


Message = Vote | VoteReply | Append | AppendReply | Piece | PieceReply | TimeoutNow
