"""Raft as a pure state machine: messages and ticks in; what to persist, send and apply out.

No clock, no disk, no network: the driver calls `tick` at equal intervals, `receive` for each
message, and `take` for what is to be done. The driver must keep this order, one `Ready` after the
other; all of the safety hangs on it:

    ready = core.take()
    persist ready.hard_state, ready.snapshot, ready.truncate_from and ready.entries; fsync
    core.persisted(ready)
    send ready.messages; apply ready.committed

What `take_now` gives may be sent at any time, also while the disk is busy.

Promises, each tested over seeded schedules of loss, delay, partition and crash: at most one leader
a term (votes are durable before they are sent); committed entries are never lost or changed; an
entry is committed only once one of the leader's own term is on a majority (§5.4.2); reads are
confirmed by a round of heartbeats; a node that was cut off does not disturb a working leader
(pre-vote, and followers that hear a leader ignore candidates); a leader that a majority does not
answer steps down.

Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended), and
Ongaro's dissertation, §3.10 (transfer), §4.2.3 and §9.6 (pre-vote), §6.2 and §6.4 (reads).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

from nodes.raft.config import Config
from nodes.raft.leading import Leading
from nodes.raft.log import Log, Snapshot
from nodes.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Message,
    Piece,
    PieceReply,
    TimeoutNow,
    Vote,
    VoteReply,
)
from nodes.raft.pieces import Incoming
from nodes.raft.ready import HardState, Ready, Role

LED_MAX = 16
"""Terms that a node remembers to have led."""


class Core:
    """One node's Raft. `voters` includes itself and is the same on all nodes, for ever.

    Attributes:
        led: (term, its first entry in it) of what this process has led lately, ascending.
    """

    def __init__(
        self,
        id: int,
        voters: Sequence[int],
        rng: Random,
        *,
        config: Config | None = None,
        hard_state: HardState | None = None,
        snapshot: Snapshot | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        assert id in voters and id > 0
        self.id, self.voters = id, tuple(sorted(voters))
        self.config = config or Config()
        self._rng = rng
        state = hard_state or HardState()
        self.term, self.vote = state.term, state.vote
        self.log = Log(snapshot or Snapshot(), entries)
        self.role = Role.FOLLOWER
        self.leader: int | None = None
        self.commit = self.log.snapshot.index
        self.applied = self.log.snapshot.index  # handed out to be applied
        self.stable = self.log.last_index  # persisted
        self.led: deque[tuple[int, int]] = deque(maxlen=LED_MAX)
        self._ready = Ready()
        self._now: list[tuple[int, Message]] = []
        self._elapsed = 0
        self._timeout = self._draw(self.config.patience)
        self._votes: dict[int, bool] = {}
        self._leading: Leading | None = None
        self._incoming = Incoming()

    # -- in ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """An interval of time has passed."""
        self._elapsed += 1
        if self._leading is not None:
            if not self._leading.tick():
                self._become_follower(self.term, None)
        elif self._elapsed >= self._timeout:
            self._campaign(pre=True)

    def ticks_to_next(self) -> int:
        """How many ticks it takes, if nothing else happens, until one of them does something."""
        if self._leading is not None:
            return self._leading.ticks_to_next()
        return self._timeout - self._elapsed

    def receive(self, sender: int, message: Message) -> None:
        """A message came. Anything may come late, twice, or never."""
        if sender not in self.voters or sender == self.id:
            return
        if isinstance(message, Vote):
            self._on_vote(sender, message)
            return
        # A pre-vote that would be given says nothing about terms: nobody has entered that one.
        would = isinstance(message, VoteReply) and message.pre and message.granted
        if message.term > self.term and not would:
            from_leader = isinstance(message, Append | Piece)
            self._become_follower(message.term, sender if from_leader else None)
        match message:
            case VoteReply():
                self._on_vote_reply(sender, message)
            case Append():
                self._on_append(sender, message)
            case AppendReply() if message.term == self.term and self._leading is not None:
                self._leading.on_append_reply(sender, message)
            case Piece():
                self._on_piece(sender, message)
            case PieceReply() if message.term == self.term and self._leading is not None:
                self._leading.on_piece_reply(sender, message)
            case TimeoutNow() if message.term == self.term and self.role is Role.FOLLOWER:
                self._campaign(pre=False, transfer=True)

    def propose(
        self,
        command: bytes,
        time_ms: int,
        seed: int,
        session: tuple[int, int, int] | None = None,
    ) -> tuple[int, int] | None:
        """Append a command as leader: its (index, term); None if this node cannot lead it.

        While leadership is being handed over nothing is taken: it would only be overwritten.
        """
        if self._leading is None or self._leading.transfer_to is not None:
            return None
        entry = self._append_own(command, time_ms, seed, session)
        self._leading.replicate()
        return entry.index, entry.term

    def read_index(self, id: int) -> bool:
        """Ask for a read to be confirmed; `Ready` says how it went. False: not leader."""
        if self._leading is None:
            return False
        self._leading.read(id)
        return True

    def transfer(self, to: int) -> bool:
        """Hand leadership to `to` once its log is complete. False if it cannot be tried."""
        if self._leading is None or to not in self._leading.followers:
            return False
        self._leading.transfer(to)
        return True

    def compact(self, index: int, data: bytes) -> Snapshot | None:
        """The state machine made a snapshot of the state after entry `index`, which is applied."""
        if index <= self.log.snapshot.index:
            return None
        assert index <= min(self.applied, self.stable)
        return self.log.compact(index, data)

    # -- out ---------------------------------------------------------------------------------

    @property
    def has_ready(self) -> bool:
        return bool(self._ready or self._now) or self.commit > self.applied

    def take_now(self) -> list[tuple[int, Message]]:
        """Messages that need not wait for the disk; those left are in the next `Ready`.

        They are a leader's, whose term and vote are durable since it was a candidate. It counts
        its own entries only when it has written them, so followers may write them meanwhile
        (thesis, §10.2.1), and a disk that hangs keeps no heartbeat back.
        """
        messages, self._now = self._now, []
        return messages

    def take(self) -> Ready | None:
        """What is to be done now, or None. Each thing is handed out once."""
        if not self.has_ready:
            return None
        ready, self._ready = self._ready, Ready()
        ready.messages += self.take_now()
        if self.commit > self.applied:
            ready.committed = self.log.slice(self.applied + 1, self.commit)
            self.applied = self.commit
        return ready

    def persisted(self, ready: Ready) -> None:
        """`ready`'s state, snapshot and entries are durable."""
        saved = ready.hard_state is not None and ready.hard_state.term == self.term
        if saved and self.role is Role.CANDIDATE and self.is_majority(1):
            self._won(pre=False)  # alone; with others its own vote is durable before theirs come
        for entry in reversed(ready.entries):
            # The last of them may have been truncated again while they were being written.
            if self.log.term(entry.index) == entry.term:
                self.stable = max(self.stable, entry.index)
                break
        if self._leading is not None:
            self._leading.advance_commit()

    # -- elections ---------------------------------------------------------------------------

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        self._elapsed, self._timeout = 0, self._draw(self.config.election)
        self._votes = {self.id: True}
        if pre:
            self._set_role(Role.PRE_CANDIDATE, None)
        else:
            self.term, self.vote = self.term + 1, self.id
            self._save()
            self._set_role(Role.CANDIDATE, None)
        if pre and self.is_majority(1):
            self._won(pre)
            return
        term = self.term + 1 if pre else self.term
        vote = Vote(term, self.log.last_index, self.log.last_term, pre, transfer)
        for peer in self._peers():
            self.send(peer, vote)

    def _on_vote(self, sender: int, vote: Vote) -> None:
        # A follower that hears its leader, or a leader that hears its followers, keeps the peace.
        hears = self._leading is not None or self._elapsed < self.config.patience
        settled = self.leader is not None and hears
        if settled and not vote.transfer and vote.term > self.term:
            return
        if vote.pre:
            granted = vote.term > self.term and self._is_complete(vote)
            term = vote.term if granted else self.term
            self.send(sender, VoteReply(term, granted, pre=True))
            return
        if vote.term > self.term:
            self._become_follower(vote.term, None)
        granted = vote.term == self.term and self.vote in (0, sender) and self._is_complete(vote)
        if granted and self.vote != sender:
            self.vote = sender
            self._save()
        if granted:
            assert self.role in (Role.FOLLOWER, Role.PRE_CANDIDATE)
            self._become_follower(self.term, self.leader)
        self.send(sender, VoteReply(self.term, granted))

    def _is_complete(self, vote: Vote) -> bool:
        """Whether the candidate's log holds at least what this one's does (§5.4.1)."""
        return (vote.last_term, vote.last_index) >= (self.log.last_term, self.log.last_index)

    def _on_vote_reply(self, sender: int, reply: VoteReply) -> None:
        wanted = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        expected = self.term + 1 if reply.pre and reply.granted else self.term
        if self.role is not wanted or reply.term != expected:
            return
        self._votes[sender] = reply.granted
        if self.is_majority(sum(self._votes.values())):
            self._won(reply.pre)
        elif self.is_majority(sum(not granted for granted in self._votes.values())):
            self._set_role(Role.FOLLOWER, None)

    def _won(self, pre: bool) -> None:
        if pre:
            self._campaign(pre=False)
            return
        self._leading = self._new_leading()
        self._set_role(Role.LEADER, self.id)
        # Only an entry of its own term tells a leader what is committed (§5.4.2, §8).
        first = self._append_own(b"", 0, 0, None)
        self.led.append((self.term, first.index))
        self._leading.replicate()

    def _new_leading(self) -> Leading:
        return Leading(self, self._peers())

    def _become_follower(self, term: int, leader: int | None) -> None:
        if term > self.term:
            self.term, self.vote = term, 0
            self._save()
        if self._leading is not None:
            self._ready.lost_reads += self._leading.reads.lose()
            self._leading = None
        self._set_role(Role.FOLLOWER, leader)
        self._elapsed, self._timeout = 0, self._draw(self.config.patience)

    def _set_role(self, role: Role, leader: int | None) -> None:
        if (role, leader) != (self.role, self.leader):
            self.role, self.leader = role, leader
            self._ready.role_changed = True

    # -- replication, the follower's side ----------------------------------------------------

    def _on_append(self, leader: int, append: Append) -> None:
        entries, prev = append.entries, append.prev_index
        if [e.index for e in entries] != list(range(prev + 1, prev + 1 + len(entries))):
            return  # not from a Raft of ours
        if append.term < self.term:
            self.send(leader, AppendReply(self.term, False, 0, prev, append.round))
            return
        self._follow(leader)
        log = self.log
        if prev < log.snapshot.index:
            # What the snapshot covers is committed, and so the same everywhere.
            entries = [entry for entry in entries if entry.index > log.snapshot.index]
        elif log.term(prev) != append.prev_term:
            self.send(leader, AppendReply(self.term, False, self._hint(prev), prev, append.round))
            return
        for place, entry in enumerate(entries):
            term = log.term(entry.index)
            if term == entry.term:
                continue
            if term is not None:
                self._truncate(entry.index)
            log.append(entries[place:])
            self._ready.entries.extend(entries[place:])
            break
        match = max(prev + len(append.entries), log.snapshot.index)
        self.commit = max(self.commit, min(append.commit, match))
        self.send(leader, AppendReply(self.term, True, match, prev, append.round))

    def _hint(self, prev: int) -> int:
        """The last entry before the conflicting term: a leader skips a term at a time."""
        if prev > self.log.last_index:
            return self.log.last_index
        return max(self.log.before_term_of(prev), self.commit)

    def _truncate(self, first: int) -> None:
        assert first > self.commit, "a committed entry is never changed"
        self.log.truncate(first)
        self.stable = min(self.stable, first - 1)
        ready = self._ready
        ready.entries = [entry for entry in ready.entries if entry.index < first]
        before = ready.truncate_from
        ready.truncate_from = first if before is None else min(before, first)

    def _follow(self, leader: int) -> None:
        assert self.role is not Role.LEADER, "two leaders of one term"
        assert self.leader in (None, leader), "two leaders of one term"
        self._become_follower(self.term, leader)

    # -- snapshots ---------------------------------------------------------------------------

    def _on_piece(self, leader: int, piece: Piece) -> None:
        if piece.term < self.term:
            self.send(leader, PieceReply(self.term, piece.last_index, 0, piece.round))
            return
        self._follow(leader)
        if self.log.term(piece.last_index) == piece.last_term:
            # It is committed, and so is all before it: the log goes on without the snapshot.
            self.commit = max(self.commit, piece.last_index)
        taken: int | Snapshot = -1
        if piece.last_index > self.commit:
            taken = self._incoming.take(piece)
        if isinstance(taken, Snapshot):
            self._install(taken)
            taken = -1
        self.send(leader, PieceReply(self.term, piece.last_index, taken, piece.round))

    def _install(self, snapshot: Snapshot) -> None:
        self.log = Log(snapshot)
        self.commit = self.applied = self.stable = snapshot.index
        self._ready.snapshot = snapshot
        self._ready.entries.clear()
        self._ready.truncate_from = None

    # -- what `Leading` needs, too -----------------------------------------------------------

    def send(self, peer: int, message: Message) -> None:
        self._ready.messages.append((peer, message))

    def send_now(self, peer: int, message: Append | Piece) -> None:
        self._now.append((peer, message))

    def read_confirmed(self, id: int) -> None:
        self._ready.reads.append((id, self.commit))

    def is_majority(self, count: int) -> bool:
        return count > len(self.voters) // 2

    # -- small things ------------------------------------------------------------------------

    def _append_own(
        self, command: bytes, time_ms: int, seed: int, session: tuple[int, int, int] | None
    ) -> Entry:
        index, time_ms = self.log.last_index + 1, max(time_ms, self.log.last_time_ms)
        entry = Entry(index, self.term, command, time_ms, seed, session)
        self.log.append([entry])
        self._ready.entries.append(entry)
        return entry

    def _peers(self) -> tuple[int, ...]:
        return tuple(voter for voter in self.voters if voter != self.id)

    def _draw(self, ticks: int) -> int:
        return ticks + self._rng.randrange(ticks)

    def _save(self) -> None:
        self._ready.hard_state = HardState(self.term, self.vote)

    def _check(self) -> None:
        """Every invariant of one node."""
        log = self.log
        log._check()
        assert log.last_term <= self.term
        assert log.snapshot.index <= self.applied <= self.commit <= log.last_index
        assert log.snapshot.index <= self.stable <= log.last_index
        assert (self.role is Role.LEADER) == (self.leader == self.id)
        assert (self.role is Role.LEADER) == (self._leading is not None)
        if self._leading is not None:
            assert self.vote == self.id
            self._leading._check()
