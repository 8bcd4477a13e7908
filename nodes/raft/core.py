"""Raft as a pure state machine: messages and ticks in; what to persist, send and apply out.

No clock, no disk, no network: the driver calls `tick` at equal intervals, `receive` for each
message, and `take` for what is to be done. The order that the driver must keep is the whole of safety:

    ready = core.take()
    persist ready.hard_state, ready.snapshot, ready.truncate_from and ready.entries; fsync
    core.persisted(ready)
    send ready.messages; apply ready.committed

Promises, each tested over seeded schedules of loss, delay, partition and crash: at most one leader
a term (votes are durable before they are sent); committed entries are never lost or changed; an
entry is committed only once one of the leader's own term is on a majority (§5.4.2); reads are
confirmed by a round of heartbeats; a node that was cut off does not disturb a working leader
(pre-vote, and followers that hear a leader ignore candidates); a leader that a majority does not
hear steps down.

Source: Ongaro & Ousterhout, "In Search of an Understandable Consensus Algorithm" (extended), and
Ongaro's dissertation, §3.10 (transfer), §4.2.3 and §9.6 (pre-vote), §6.2 and §6.4 (reads).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from nodes.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Message,
    Snapshot,
    SnapshotReply,
    TimeoutNow,
    Vote,
    VoteReply,
)

BATCH_ENTRIES = 256
BATCH_BYTES = 1 << 20
IN_FLIGHT_MAX = 4
"""Batches sent to a follower beyond what it has confirmed."""

CHUNK_BYTES = 256 << 10


class Role(StrEnum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class Config:
    """In ticks. An election time-out is drawn from [election, 2 × election)."""

    heartbeat: int = 2
    election: int = 10


@dataclass(frozen=True, slots=True)
class HardState:
    """What must survive: the term, and who got this node's vote in it (0 for nobody)."""

    term: int = 0
    vote: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """A snapshot of the state after entry `index`."""

    index: int = 0
    term: int = 0
    data: bytes = b""


@dataclass(slots=True)
class Ready:
    """What the driver has to do, in this order."""

    hard_state: HardState | None = None
    snapshot: SnapshotMeta | None = None  # received: install and persist before anything else
    truncate_from: int | None = None
    entries: list[Entry] = field(default_factory=list)
    messages: list[tuple[int, Message]] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)  # (id, index to wait for)
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


@dataclass(slots=True)
class Follower:
    """A follower as its leader sees it.

    Attributes:
        match: the last entry that is known to be the same there. next: what to send next.
        probing: its log's end is not known yet: one message at a time.
        round: the newest heartbeat that it answered. heard: ticks since anything came from it.
        snapshot_offset: how much of a snapshot it has, None when none is being sent.
    """

    match: int = 0
    next: int = 1
    probing: bool = True
    waiting: int = 0  # ticks until a probe is repeated
    round: int = 0
    heard: int = 0
    snapshot_offset: int | None = None
    snapshot: SnapshotMeta | None = None


class Log:
    """Entries after the snapshot, in memory."""

    def __init__(self, snapshot: SnapshotMeta, entries: Sequence[Entry]) -> None:
        self.snapshot = snapshot
        self.entries = list(entries)
        assert not entries or entries[0].index == snapshot.index + 1

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot.index

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.snapshot.term

    def term(self, index: int) -> int | None:
        """The term of an entry; None if it is not here (compacted, or not there yet)."""
        if index == self.snapshot.index:
            return self.snapshot.term
        if self.snapshot.index < index <= self.last_index:
            return self.entries[index - self.snapshot.index - 1].term
        return None

    def slice(self, first: int, last: int) -> list[Entry]:
        start = first - self.snapshot.index - 1
        return self.entries[start : last - self.snapshot.index]

    def truncate(self, first: int) -> None:
        """Drop the entries from `first` on."""
        del self.entries[first - self.snapshot.index - 1 :]

    def compact(self, snapshot: SnapshotMeta) -> None:
        """Drop the entries that the snapshot covers."""
        keep = [entry for entry in self.entries if entry.index > snapshot.index]
        self.entries, self.snapshot = keep, snapshot


class Core:
    """One node's Raft. `voters` includes itself."""

    def __init__(
        self,
        id: int,
        voters: Sequence[int],
        rng: Random,
        *,
        config: Config | None = None,
        hard_state: HardState | None = None,
        snapshot: SnapshotMeta | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        assert id in voters and id > 0
        self.id, self.voters = id, tuple(sorted(voters))
        self.config = config or Config()
        self._rng = rng
        state = hard_state or HardState()
        self.term, self.vote = state.term, state.vote
        self.log = Log(snapshot or SnapshotMeta(), entries)
        self.role = Role.FOLLOWER
        self.leader: int | None = None
        self.commit = self.log.snapshot.index
        self.applied = self.log.snapshot.index  # handed out to be applied
        self.stable = self.log.last_index  # persisted
        self._ready = Ready()
        self._elapsed = 0
        self._timeout = self._draw_timeout()
        self._votes: dict[int, bool] = {}
        self._followers: dict[int, Follower] = {}
        self._round = 0
        self._pending_reads: list[tuple[int, int]] = []  # (id, round) not yet confirmed
        self._early_reads: list[int] = []  # asked before the term's first commit
        self._transfer_to: int | None = None
        self._transfer_left = 0
        self._incoming: tuple[int, int, bytearray] | None = None  # a snapshot as it arrives

    # -- in ----------------------------------------------------------------------------------

    def tick(self) -> None:
        """An interval of time has passed."""
        self._elapsed += 1
        if self.role is Role.LEADER:
            self._tick_leader()
        elif self._elapsed >= self._timeout:
            self._campaign(pre=True)

    def receive(self, sender: int, message: Message) -> None:
        """A message came. Anything may come late, twice, or never."""
        if sender not in self.voters or sender == self.id:
            return
        if isinstance(message, Vote):
            self._on_vote(sender, message)
            return
        if message.term > self.term and not (
            # A pre-vote that was granted says nothing about terms: nobody has entered that one.
            isinstance(message, VoteReply) and message.pre and message.granted
        ):
            from_leader = isinstance(message, Append | Snapshot)
            self._become_follower(message.term, sender if from_leader else None)
        match message:
            case VoteReply():
                self._on_vote_reply(sender, message)
            case Append():
                self._on_append(sender, message)
            case AppendReply():
                self._on_append_reply(sender, message)
            case Snapshot():
                self._on_snapshot(sender, message)
            case SnapshotReply():
                self._on_snapshot_reply(sender, message)
            case TimeoutNow() if message.term == self.term and self.role is Role.FOLLOWER:
                self._campaign(pre=False, transfer=True)

    def propose(
        self, command: bytes, time_ms: int, seed: int, session: tuple[str, int] | None = None
    ) -> tuple[int, int] | None:
        """Append a command as leader: its (index, term); None if this node cannot lead it.

        While leadership is being handed over nothing is taken: it would only be overwritten.
        """
        if self.role is not Role.LEADER or self._transfer_to is not None:
            return None
        before = self.log.entries[-1].time_ms if self.log.entries else 0
        entry = Entry(
            self.log.last_index + 1, self.term, command, max(time_ms, before), seed, session
        )
        self._append_own(entry)
        for peer in self._peers():
            self._send_to(peer)
        return entry.index, entry.term

    def read_index(self, id: int) -> bool:
        """Ask for a read to be confirmed; `Ready` says how it went. False: not leader."""
        if self.role is not Role.LEADER:
            return False
        if self.log.term(self.commit) != self.term:
            self._early_reads.append(id)  # the leader does not know yet what is committed
            return True
        self._pending_reads.append((id, self._round + 1))
        self._heartbeat()
        self._confirm_reads()
        return True

    def transfer(self, to: int) -> bool:
        """Hand leadership to `to` once its log is complete. False if it cannot be tried."""
        if self.role is not Role.LEADER or to not in self.voters or to == self.id:
            return False
        self._transfer_to, self._transfer_left = to, self.config.election
        self._try_transfer()
        return True

    def compact(self, index: int, data: bytes) -> SnapshotMeta | None:
        """The state machine made a snapshot of the state after entry `index`, which is applied."""
        term = self.log.term(index)
        if term is None or index <= self.log.snapshot.index:
            return None
        assert index <= self.applied
        snapshot = SnapshotMeta(index, term, data)
        self.log.compact(snapshot)
        return snapshot

    # -- out ---------------------------------------------------------------------------------

    def take(self) -> Ready | None:
        """What is to be done now, or None. Each thing is handed out once."""
        if self.commit > self.applied:
            self._ready.committed = self.log.slice(self.applied + 1, self.commit)
            self.applied = self.commit
        if not self._ready:
            return None
        ready, self._ready = self._ready, Ready()
        return ready

    def persisted(self, ready: Ready) -> None:
        """`ready`'s state, snapshot and entries are durable."""
        if ready.entries:
            last = ready.entries[-1]
            # It may have been truncated again while it was being written.
            if self.log.term(last.index) == last.term:
                self.stable = max(self.stable, last.index)
                if self.role is Role.LEADER:
                    self._advance_commit()

    # -- elections ---------------------------------------------------------------------------

    def _campaign(self, *, pre: bool, transfer: bool = False) -> None:
        self._elapsed, self._timeout = 0, self._draw_timeout()
        self._votes = {self.id: True}
        if pre:
            self._set_role(Role.PRE_CANDIDATE)
        else:
            self.term, self.vote = self.term + 1, self.id
            self._save()
            self._set_role(Role.CANDIDATE)
        if self.leader is not None:
            self.leader = None
            self._ready.role_changed = True
        if self._has_majority(sum(self._votes.values())):
            self._won(pre)
            return
        term = self.term + 1 if pre else self.term
        vote = Vote(term, self.log.last_index, self.log.last_term, pre, transfer)
        for peer in self._peers():
            self._send(peer, vote)

    def _on_vote(self, sender: int, vote: Vote) -> None:
        # A follower that hears its leader, or a leader that hears its followers, keeps the peace.
        settled = self.leader is not None and self._elapsed < self.config.election
        if settled and not vote.transfer and vote.term > self.term:
            return
        if vote.pre:
            granted = vote.term > self.term and self._is_complete(vote)
            term = vote.term if granted else self.term
            self._send(sender, VoteReply(term, granted, pre=True))
            return
        if vote.term > self.term:
            self._become_follower(vote.term, None)
        granted = (
            vote.term == self.term
            and self.vote in (0, sender)
            and self.role is Role.FOLLOWER
            and self._is_complete(vote)
        )
        if granted and self.vote != sender:
            self.vote = sender
            self._save()
        if granted:
            self._elapsed = 0
        self._send(sender, VoteReply(self.term, granted))

    def _is_complete(self, vote: Vote) -> bool:
        """Whether the candidate's log holds at least what this one's does (§5.4.1)."""
        return (vote.last_term, vote.last_index) >= (self.log.last_term, self.log.last_index)

    def _on_vote_reply(self, sender: int, reply: VoteReply) -> None:
        wanted = Role.PRE_CANDIDATE if reply.pre else Role.CANDIDATE
        expected = self.term + 1 if reply.pre and reply.granted else self.term
        if self.role is not wanted or reply.term != expected:
            return
        self._votes[sender] = reply.granted
        if self._has_majority(sum(self._votes.values())):
            self._won(reply.pre)
        elif self._has_majority(sum(not granted for granted in self._votes.values())):
            self._set_role(Role.FOLLOWER)

    def _won(self, pre: bool) -> None:
        if pre:
            self._campaign(pre=False)
            return
        self.leader = self.id
        self._set_role(Role.LEADER)
        self._elapsed = 0
        after = self.log.last_index + 1
        self._followers = {peer: Follower(next=after) for peer in self._peers()}
        self._transfer_to = None
        # Only an entry of its own term tells a leader what is committed (§5.4.2, §8).
        before = self.log.entries[-1].time_ms if self.log.entries else 0
        self._append_own(Entry(after, self.term, b"", before, 0, None))
        for peer in self._peers():
            self._send_to(peer)

    def _become_follower(self, term: int, leader: int | None) -> None:
        if term > self.term:
            self.term, self.vote = term, 0
            self._save()
        if self.role is Role.LEADER:
            self._lose_reads()
        if self.leader != leader:
            self.leader = leader
            self._ready.role_changed = True
        self._set_role(Role.FOLLOWER)
        self._elapsed, self._timeout = 0, self._draw_timeout()

    def _set_role(self, role: Role) -> None:
        if role is not self.role:
            self.role = role
            self._ready.role_changed = True

    # -- replication, the leader's side ------------------------------------------------------

    def _tick_leader(self) -> None:
        for follower in self._followers.values():
            follower.heard += 1
            follower.waiting = max(follower.waiting - 1, 0)
        if self._transfer_to is not None:
            self._transfer_left -= 1
            if self._transfer_left <= 0:
                self._transfer_to = None  # it did not come about: lead on
        heard = 1 + sum(f.heard <= self.config.election for f in self._followers.values())
        if not self._has_majority(heard):
            self._become_follower(self.term, None)
        elif self._elapsed >= self.config.heartbeat:
            self._elapsed = 0
            self._heartbeat()

    def _heartbeat(self) -> None:
        self._round += 1
        for peer in self._peers():
            self._send_to(peer, always=True)

    def _append_own(self, entry: Entry) -> None:
        self.log.entries.append(entry)
        self._ready.entries.append(entry)

    def _send_to(self, peer: int, *, always: bool = False) -> None:
        """Send what the follower lacks, as far as it may have it now."""
        follower = self._followers[peer]
        if follower.snapshot is not None:
            if always and follower.waiting == 0:
                self._send_chunk(peer, follower)
            elif always:
                self._send_append(peer, follower.match, [])
            return
        prev_term = self.log.term(follower.next - 1)
        if prev_term is None:
            follower.snapshot, follower.snapshot_offset = self.log.snapshot, 0
            self._send_chunk(peer, follower)
            return
        if follower.probing and follower.waiting and not always:
            return
        ahead = follower.next - 1 - follower.match
        room = not follower.probing and ahead <= IN_FLIGHT_MAX * BATCH_ENTRIES
        entries = self._batch(follower.next) if room or follower.probing else []
        if not entries and not always:
            return
        self._send_append(peer, follower.next - 1, entries)
        if follower.probing:
            follower.waiting = self.config.heartbeat
        elif entries:
            follower.next = entries[-1].index + 1

    def _batch(self, first: int) -> list[Entry]:
        entries = self.log.slice(first, min(self.log.last_index, first + BATCH_ENTRIES - 1))
        size = 0
        for count, entry in enumerate(entries, start=1):
            size += len(entry.command)
            if size > BATCH_BYTES:
                return entries[:count]
        return entries

    def _send_append(self, peer: int, prev: int, entries: list[Entry]) -> None:
        prev_term = self.log.term(prev)
        if prev_term is None:  # compacted meanwhile: only to be heard, so match anything older
            prev, prev_term = self.log.snapshot.index, self.log.snapshot.term
        self._send(peer, Append(self.term, prev, prev_term, entries, self.commit, self._round))

    def _on_append_reply(self, peer: int, reply: AppendReply) -> None:
        if self.role is not Role.LEADER or reply.term != self.term:
            return
        follower = self._followers[peer]
        follower.heard = 0
        follower.round = max(follower.round, reply.round)
        self._confirm_reads()
        if reply.ok:
            if reply.index > follower.match:
                follower.match = reply.index
                self._advance_commit()
            follower.next = max(follower.next, follower.match + 1)
            follower.probing = False
            if follower.snapshot is None and follower.next <= self.log.last_index:
                self._send_to(peer)
            self._try_transfer()
        elif reply.index + 1 < follower.next and reply.index >= follower.match:
            follower.next, follower.probing, follower.waiting = reply.index + 1, True, 0
            self._send_to(peer)

    def _advance_commit(self) -> None:
        matches = sorted([self.stable, *(f.match for f in self._followers.values())], reverse=True)
        index = matches[len(self.voters) // 2]  # on a majority
        if index > self.commit and self.log.term(index) == self.term:
            self.commit = index
            early, self._early_reads = self._early_reads, []
            for id in early:
                self.read_index(id)

    # -- replication, the follower's side ----------------------------------------------------

    def _on_append(self, leader: int, append: Append) -> None:
        if append.term < self.term:
            self._send(leader, AppendReply(self.term, False, 0, append.round))
            return
        self._follow(leader)
        log = self.log
        if append.prev_index < log.snapshot.index:
            # What the snapshot covers is committed, and so the same everywhere.
            entries = [e for e in append.entries if e.index > log.snapshot.index]
        elif log.term(append.prev_index) != append.prev_term:
            hint = self._hint(append.prev_index)
            self._send(leader, AppendReply(self.term, False, hint, append.round))
            return
        else:
            entries = append.entries
        match = max(append.prev_index, append.entries[-1].index if append.entries else 0)
        for place, entry in enumerate(entries):
            term = log.term(entry.index)
            if term == entry.term:
                continue
            if term is not None:
                self._truncate(entry.index)
            log.entries.extend(entries[place:])
            self._ready.entries.extend(entries[place:])
            break
        match = max(match, log.snapshot.index)
        self.commit = max(self.commit, min(append.commit, match))
        self._send(leader, AppendReply(self.term, True, match, append.round))

    def _hint(self, prev: int) -> int:
        """The last entry before the conflicting term: a leader skips a term at a time."""
        if prev > self.log.last_index:
            return self.log.last_index
        term = self.log.term(prev)
        index = prev
        while index > self.log.snapshot.index and self.log.term(index) == term:
            index -= 1
        return max(index, self.commit)

    def _truncate(self, first: int) -> None:
        assert first > self.commit, "a committed entry is never changed"
        self.log.truncate(first)
        self.stable = min(self.stable, first - 1)
        ready = self._ready
        ready.entries = [entry for entry in ready.entries if entry.index < first]
        before = ready.truncate_from
        ready.truncate_from = first if before is None else min(before, first)

    def _follow(self, leader: int) -> None:
        if self.role is not Role.FOLLOWER or self.leader != leader:
            assert self.role is not Role.LEADER, "two leaders of one term"
            self._become_follower(self.term, leader)
        self._elapsed = 0

    # -- snapshots ---------------------------------------------------------------------------

    def _send_chunk(self, peer: int, follower: Follower) -> None:
        snapshot, offset = follower.snapshot, follower.snapshot_offset
        assert snapshot is not None and offset is not None
        data = snapshot.data[offset : offset + CHUNK_BYTES]
        done = offset + len(data) >= len(snapshot.data)
        follower.waiting = self.config.election
        self._send(
            peer,
            Snapshot(self.term, snapshot.index, snapshot.term, offset, data, done, self._round),
        )

    def _on_snapshot(self, leader: int, piece: Snapshot) -> None:
        if piece.term < self.term:
            self._send(leader, SnapshotReply(self.term, piece.last_index, 0, piece.round))
            return
        self._follow(leader)
        if piece.last_index <= self.commit:
            self._send(leader, SnapshotReply(self.term, piece.last_index, -1, piece.round))
            return
        key = (piece.last_index, piece.last_term)
        if self._incoming is None or self._incoming[:2] != key:
            self._incoming = (*key, bytearray())
        got = self._incoming[2]
        if piece.offset == len(got):
            got += piece.data
            if piece.done:
                self._install(SnapshotMeta(*key, bytes(got)))
                self._incoming = None
                self._send(leader, SnapshotReply(self.term, piece.last_index, -1, piece.round))
                return
        self._send(leader, SnapshotReply(self.term, piece.last_index, len(got), piece.round))

    def _install(self, snapshot: SnapshotMeta) -> None:
        if self.log.term(snapshot.index) == snapshot.term:
            self.log.compact(snapshot)  # the rest of the log goes on from it
        else:
            self.log = Log(snapshot, [])
            self._ready.entries.clear()
            self._ready.truncate_from = None
        self.commit = self.applied = snapshot.index
        self.stable = max(self.stable, snapshot.index)
        if self.log.last_index < self.stable:
            self.stable = self.log.last_index
        self._ready.snapshot = snapshot
        self._ready.committed.clear()
        self._ready.entries = [e for e in self._ready.entries if e.index > snapshot.index]

    def _on_snapshot_reply(self, peer: int, reply: SnapshotReply) -> None:
        if self.role is not Role.LEADER or reply.term != self.term:
            return
        follower = self._followers[peer]
        follower.heard = 0
        follower.round = max(follower.round, reply.round)
        self._confirm_reads()
        if follower.snapshot is None or follower.snapshot.index != reply.last_index:
            return
        if reply.offset < 0:
            follower.match = max(follower.match, reply.last_index)
            follower.next, follower.snapshot, follower.snapshot_offset = (
                follower.match + 1,
                None,
                None,
            )
            follower.probing, follower.waiting = True, 0
            self._send_to(peer, always=True)
        else:
            follower.snapshot_offset = reply.offset
            self._send_chunk(peer, follower)

    # -- reads and transfer ------------------------------------------------------------------

    def _confirm_reads(self) -> None:
        if not self._pending_reads:
            return
        rounds = sorted([self._round, *(f.round for f in self._followers.values())], reverse=True)
        confirmed = rounds[len(self.voters) // 2]
        ready = [id for id, round in self._pending_reads if round <= confirmed]
        self._pending_reads = [p for p in self._pending_reads if p[1] > confirmed]
        self._ready.reads += [(id, self.commit) for id in ready]

    def _lose_reads(self) -> None:
        self._ready.lost_reads += [id for id, _ in self._pending_reads] + self._early_reads
        self._pending_reads, self._early_reads = [], []

    def _try_transfer(self) -> None:
        to = self._transfer_to
        if to is not None and self._followers[to].match == self.log.last_index:
            self._send(to, TimeoutNow(self.term))

    # -- small things ------------------------------------------------------------------------

    def _peers(self) -> tuple[int, ...]:
        return tuple(voter for voter in self.voters if voter != self.id)

    def _has_majority(self, count: int) -> bool:
        return count > len(self.voters) // 2

    def _draw_timeout(self) -> int:
        return self.config.election + self._rng.randrange(self.config.election)

    def _save(self) -> None:
        self._ready.hard_state = HardState(self.term, self.vote)

    def _send(self, peer: int, message: Message) -> None:
        self._ready.messages.append((peer, message))

    def _check(self) -> None:
        """Every invariant of one node."""
        log = self.log
        indices = [entry.index for entry in log.entries]
        assert indices == list(range(log.snapshot.index + 1, log.last_index + 1))
        terms = [log.snapshot.term, *(entry.term for entry in log.entries)]
        assert terms == sorted(terms) and log.last_term <= self.term
        assert log.snapshot.index <= self.applied <= self.commit <= log.last_index
        assert self.stable <= log.last_index
        assert (self.role is Role.LEADER) == (self.leader == self.id)
