"""The leader's side of Raft: replication, commitment, reads, and handing over.

A `Leading` lives from a won election until its node is leader no more, all in one term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nodes.raft.followers import Follower
from nodes.raft.messages import ENTRIES_MAX, Append, AppendReply, Entry, PieceReply, TimeoutNow
from nodes.raft.pieces import cut
from nodes.raft.reads import Reads

if TYPE_CHECKING:
    from nodes.raft.core import Core

BATCH_BYTES = 1 << 20
"""Of one message, where it has more than one entry."""


class Leading:
    """What only a leader has. `core` is its node, whose log and messages it works on.

    Attributes:
        followers: what it knows of each.
        round: counts its heartbeats.
        transfer_to: who is to lead instead; meanwhile nothing is proposed.
    """

    def __init__(self, core: Core, peers: Sequence[int]) -> None:
        self._core = core
        self.followers = {peer: Follower(next=core.log.last_index + 1) for peer in peers}
        self.round = 0
        self.reads = Reads()
        self.transfer_to: int | None = None
        self._transfer_left = 0
        self._elapsed = 0

    # -- time --------------------------------------------------------------------------------

    def tick(self) -> bool:
        """An interval of time has passed. False: no majority answers, somebody else may lead."""
        config = self._core.config
        for follower in self.followers.values():
            follower.tick()
        heard = 1 + sum(f.heard <= config.patience for f in self.followers.values())
        if not self._core.is_majority(heard):
            return False
        if self.transfer_to is not None:
            self._transfer_left -= 1
            if self._transfer_left <= 0:
                self.transfer_to = None  # it did not come about: lead on
        self._elapsed += 1
        if self._elapsed >= config.heartbeat:
            self.heartbeat()
        return True

    def ticks_to_next(self) -> int:
        """See `Core.ticks_to_next`: a heartbeat, the end of a transfer, or of this leadership."""
        config = self._core.config
        left = [config.heartbeat - self._elapsed]
        if self.transfer_to is not None:
            left.append(self._transfer_left)
        needed = len(self._core.voters) // 2
        if needed:
            # The last of a majority, itself included, to be heard too long ago.
            heard = sorted(follower.heard for follower in self.followers.values())
            left.append(config.patience + 1 - heard[needed - 1])
        return min(left)

    def heartbeat(self) -> None:
        """Something to everybody, that must be answered."""
        self._elapsed = 0
        self.round += 1
        for peer, follower in self.followers.items():
            if follower.snapshot is None:
                follower.waiting = 0
                if not self._send_entries(peer, follower):
                    self._send_append(peer, follower.next - 1, [])
            elif follower.waiting == 0:
                self._send_piece(peer, follower)
            else:
                self._send_append(peer, self._core.log.snapshot.index, [])

    # -- replication -------------------------------------------------------------------------

    def replicate(self) -> None:
        """Send everybody what there is to send now."""
        for peer, follower in self.followers.items():
            self._send_entries(peer, follower)

    def on_append_reply(self, peer: int, reply: AppendReply) -> None:
        follower = self._answered(peer, reply.round)
        if reply.ok:
            self._accepted(peer, follower, reply.index)
        elif follower.snapshot is None and follower.refused(reply.prev, reply.index):
            self._send_entries(peer, follower)

    def on_piece_reply(self, peer: int, reply: PieceReply) -> None:
        follower = self._answered(peer, reply.round)
        if follower.snapshot is None or follower.snapshot.index != reply.last_index:
            return
        if reply.offset < 0:
            self._accepted(peer, follower, reply.last_index)
        elif follower.has_piece(reply.offset):
            self._send_piece(peer, follower)

    def advance_commit(self) -> None:
        """Commit what a majority has: by counting, only what is of this term (§5.4.2)."""
        core = self._core
        matches = [core.stable, *(f.match for f in self.followers.values())]
        index = _on_majority(matches)
        if index > core.commit and core.log.term(index) == core.term:
            core.commit = index
            for id in self.reads.take_early():
                self.read(id)

    def _answered(self, peer: int, round: int) -> Follower:
        follower = self.followers[peer]
        follower.answered(round)
        self._confirm_reads()
        return follower

    def _accepted(self, peer: int, follower: Follower, index: int) -> None:
        if follower.accepted(index):
            self.advance_commit()
        self._send_entries(peer, follower)
        self._try_transfer()

    def _send_entries(self, peer: int, follower: Follower) -> bool:
        """Send what the follower lacks, as far as it may have it now; whether there was any."""
        log = self._core.log
        if follower.snapshot is not None or not follower.has_room:
            return False
        if log.term(follower.next - 1) is None:
            follower.begin_snapshot(log.snapshot)
            self._send_piece(peer, follower)
            return True
        entries = log.batch(follower.next, ENTRIES_MAX, BATCH_BYTES)
        if not entries:
            return False
        self._send_append(peer, follower.next - 1, entries)
        if follower.probing:
            follower.waiting = self._core.config.heartbeat
        else:
            follower.next = entries[-1].index + 1
        return True

    def _send_append(self, peer: int, prev: int, entries: list[Entry]) -> None:
        core = self._core
        prev_term = core.log.term(prev)
        if prev_term is None:  # compacted meanwhile; this is a heartbeat, and any entry will do
            assert not entries
            prev, prev_term = core.log.snapshot.index, core.log.snapshot.term
        core.send_now(peer, Append(core.term, prev, prev_term, entries, core.commit, self.round))

    def _send_piece(self, peer: int, follower: Follower) -> None:
        assert follower.snapshot is not None
        follower.waiting = self._core.config.patience
        piece = cut(follower.snapshot, follower.offset, self._core.term, self.round)
        self._core.send_now(peer, piece)

    # -- reads -------------------------------------------------------------------------------

    def read(self, id: int) -> None:
        """Have a read confirmed; `Ready` will say so."""
        core = self._core
        if core.log.term(core.commit) != core.term:
            self.reads.ask_early(id)
            return
        self.reads.ask(id, self.round + 1)
        self.heartbeat()
        self._confirm_reads()

    def _confirm_reads(self) -> None:
        rounds = [self.round, *(f.round for f in self.followers.values())]
        for id in self.reads.confirm(_on_majority(rounds)):
            self._core.read_confirmed(id)

    # -- handing over ------------------------------------------------------------------------

    def transfer(self, to: int) -> None:
        """Have `to` stand for election once its log is complete; give up after `patience`."""
        self.transfer_to, self._transfer_left = to, self._core.config.patience
        self._try_transfer()

    def _try_transfer(self) -> None:
        to, core = self.transfer_to, self._core
        if to is not None and self.followers[to].match == core.log.last_index:
            core.send(to, TimeoutNow(core.term))

    def _check(self) -> None:
        for follower in self.followers.values():
            assert follower.match < follower.next <= self._core.log.last_index + 1
            assert follower.round <= self.round


def _on_majority(numbers: Sequence[int]) -> int:
    """The largest number that a majority has reached; there is one number for each voter."""
    return sorted(numbers, reverse=True)[len(numbers) // 2]
