"""What a leader believes of a follower, and what it may send it next."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.raft.log import Snapshot

IN_FLIGHT_MAX = 1024
"""Entries sent to a follower beyond what it has confirmed."""


@dataclass(slots=True)
class Follower:
    """A follower as its leader sees it.

    Attributes:
        match: the last entry that is known to be the same there. next: what to send next.
        probing: its log's end is not known yet: one message at a time.
        waiting: ticks until a probe, or a piece of a snapshot, is repeated.
        round: the newest heartbeat that it answered. heard: ticks since anything came from it.
        snapshot: what it is being sent, since it lacks what the log begins after.
        offset: how much of that it is known to have.
    """

    next: int
    match: int = 0
    probing: bool = True
    waiting: int = 0
    round: int = 0
    heard: int = 0
    snapshot: Snapshot | None = None
    offset: int = 0

    @property
    def has_room(self) -> bool:
        """Whether entries may be sent to it now."""
        if self.probing:
            return self.waiting == 0
        return self.next - 1 - self.match <= IN_FLIGHT_MAX

    def tick(self) -> None:
        self.heard += 1
        self.waiting = max(self.waiting - 1, 0)

    def answered(self, round: int) -> None:
        """It answered, whatever it said."""
        self.heard = 0
        self.round = max(self.round, round)

    def accepted(self, index: int) -> bool:
        """Its log matches up to `index`; whether that is news."""
        if self.snapshot is not None and index >= self.snapshot.index:
            self.snapshot = None
        news = index > self.match
        self.match = max(self.match, index)
        self.next = max(self.next, self.match + 1)
        self.probing = False
        return news

    def refused(self, prev: int, hint: int) -> bool:
        """It lacks entry `prev` or has another there; it may match at `hint`. Whether to go back.

        Refusals come late and out of order: only one of what is still believed counts.
        """
        if not self.match < prev < self.next:
            return False
        # The follower hints by terms, and may hint below what it confirmed long ago.
        self.next = max(min(hint, prev - 1), self.match) + 1
        self.probing, self.waiting = True, 0
        return True

    def begin_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshot, self.offset, self.waiting = snapshot, 0, 0

    def has_piece(self, offset: int) -> bool:
        """It has that much of the snapshot; whether the next piece is to follow at once.

        After a restart it has less than it said. It gets that when the piece in flight is overdue:
        an answer that was late looks the same, and to send at once for both would double the
        stream with each.
        """
        progress = offset > self.offset
        self.offset = offset
        return progress
