"""What the quorum agrees on, and whether it stays agreed: bugs of Raft.

An honest core that meets a contradiction ends its node at once, which would be found as a crash.
Most of these lack that assertion, too (`Careless`): nodes that go on are the harder case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from nodes.broker.controller.machine import Machine
from nodes.broker.metadata import MetadataImage
from nodes.broker.parts import Parts
from nodes.bugs.bug import Activate, Bug, by_name
from nodes.raft.core import Core
from nodes.raft.leading import Leading
from nodes.raft.log import Snapshot
from nodes.raft.messages import Append, Entry, Vote, VoteReply
from nodes.raft.ready import Ready, Role
from nodes.raft.storage import Storage

altered = msgspec.structs.replace


class Careless(Core):
    """Follows whoever speaks as a leader of its term, and takes back what it had committed."""

    def _follow(self, leader: int) -> None:
        self._become_follower(self.term, leader)

    def _truncate(self, first: int) -> None:
        self.commit = min(self.commit, first - 1)
        super()._truncate(first)


def term_not_persisted(parts: Parts, activate: Activate) -> Parts:
    class Planted(Storage):
        async def save(self, ready: Ready) -> None:
            if ready.hard_state is not None:
                activate()
                ready = replace(ready, hard_state=None)
            await super().save(ready)

    return replace(parts, storage=Planted, core=Careless)


def votes_twice(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _on_vote(self, sender: int, vote: Vote) -> None:
            again = vote.term == self.term and self.vote not in (0, sender)
            if vote.pre or not again or not self._is_complete(vote):
                super()._on_vote(sender, vote)
                return
            activate()
            self.send(sender, VoteReply(self.term, True))

    return replace(parts, core=Planted)


def quorum_too_small(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def is_majority(self, count: int) -> bool:
            """With half of an odd number rounded down."""
            enough = super().is_majority(count)
            if not enough and 2 * count + 1 == len(self.voters):
                activate()
                return True
            return enough

    return replace(parts, core=Planted)


def vote_for_anybody(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _is_complete(self, vote: Vote) -> bool:
            if not super()._is_complete(vote):
                activate()
            return True

    return replace(parts, core=Planted)


def commits_alone(parts: Parts, activate: Activate) -> Parts:
    class Alone(Leading):
        def advance_commit(self) -> None:
            super().advance_commit()
            core = self._core
            if core.stable > core.commit:
                activate()
                core.commit = core.stable

    class Planted(Careless):
        def _new_leading(self) -> Leading:
            return Alone(self, self._peers())

    return replace(parts, core=Planted)


def applies_on_append(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _on_append(self, leader: int, append: Append) -> None:
            last = append.prev_index + len(append.entries)
            if append.entries and append.commit < last:
                activate()
                append = altered(append, commit=last)
            super()._on_append(leader, append)

    return replace(parts, core=Planted)


def commit_past_match(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _on_append(self, leader: int, append: Append) -> None:
            super()._on_append(leader, append)
            known = min(append.commit, self.log.last_index)
            if append.term == self.term and self.leader == leader and known > self.commit:
                activate()
                self.commit = known

    return replace(parts, core=Planted)


def conflicts_kept(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _on_append(self, leader: int, append: Append) -> None:
            kept = [self._kept(entry) for entry in append.entries]
            prev = self.log.term(append.prev_index)
            if append.term >= self.term and prev is not None and prev != append.prev_term:
                append = altered(append, prev_term=prev)
            super()._on_append(leader, altered(append, entries=kept))

        def _kept(self, entry: Entry) -> Entry:
            term = self.log.term(entry.index)
            if term in (None, entry.term):
                return entry
            activate()
            return self.log.slice(entry.index, entry.index)[0]

    return replace(parts, core=Planted)


def prefix_unchecked(parts: Parts, activate: Activate) -> Parts:
    class Planted(Careless):
        def _on_append(self, leader: int, append: Append) -> None:
            prev = self.log.term(append.prev_index)
            if append.term >= self.term and prev not in (None, append.prev_term):
                activate()
                append = altered(append, prev_term=prev)
            super()._on_append(leader, append)

    return replace(parts, core=Planted)


def entry_skipped(parts: Parts, activate: Activate) -> Parts:
    class Planted(Core):
        def take(self) -> Ready | None:
            ready = super().take()
            if ready is not None and len(ready.committed) > 1 and self.role is not Role.LEADER:
                activate()
                last = ready.committed[-1]
                ready.committed[-1] = altered(last, command=b"", session=None)
            return ready

    return replace(parts, core=Planted)


def snapshot_drops_tail(parts: Parts, activate: Activate) -> Parts:
    class Planted(Machine):
        before = MetadataImage()

        def apply(self, index: int, entry: Entry) -> Any:
            self.before = self.image
            return super().apply(index, entry)

        def snapshot(self) -> bytes:
            activate()
            return self.before.dump()

    return replace(parts, machine=Planted)


def producer_ids_not_in_snapshot(parts: Parts, activate: Activate) -> Parts:
    class Planted(Machine):
        def snapshot(self) -> bytes:
            first = MetadataImage().next_producer_id
            if self.image.next_producer_id != first:
                activate()
            return altered(self.image, next_producer_id=first).dump()

    return replace(parts, machine=Planted)


def sessions_not_in_snapshot(parts: Parts, activate: Activate) -> Parts:
    class Planted(Core):
        def compact(self, index: int, data: bytes) -> Snapshot | None:
            state, sessions, *rest = msgspec.msgpack.decode(data)
            if sessions:
                activate()
            return super().compact(index, msgspec.msgpack.encode((state, [], *rest)))

    return replace(parts, core=Planted)


def entries_not_synced(parts: Parts, activate: Activate) -> Parts:
    class Planted(Storage):
        late = 0  # writes that were not synced

        async def _sync(self, records: Sequence[Any]) -> None:
            self.late += 1
            if self.late < 4 and all(kind == "e" for kind, *_ in records):
                activate()
                return
            await super()._sync(records)
            self.late = 0

    return replace(parts, storage=Planted)


FAST = (
    "broker.session.timeout.ms=500",
    "broker.heartbeat.interval.ms=100",
    "controller.quorum.fetch.timeout.ms=1500",
)
"""Sessions that end before a leader that was cut off gives up: it has entries of its own then."""

HASTY = (
    "broker.session.timeout.ms=300",
    "broker.heartbeat.interval.ms=60",
    "controller.quorum.fetch.timeout.ms=450",
)
"""Leaders change twice while one of them is cut off: it has entries of a term before the last."""

BUGS = by_name(
    Bug(
        id="K15",
        name="term-not-persisted",
        mechanism="a node's term and vote are not on its disk when others hear of them",
        seen="seeded; Raft, figure 2: persistent state",
        promise="controller: persisted vote and term",
        anomalies=("election-safety", "vote-regression"),
        nemesis="kill",
        plant=term_not_persisted,
    ),
    Bug(
        id="K15",
        name="votes-twice",
        mechanism="a voter gives its vote to whoever asks in a term, though it gave it to another",
        seen="seeded; Raft §5.2",
        promise="controller: persisted vote and term",
        anomalies=("election-safety",),
        nemesis="kill:controller,partition:controller",
        nodes=5,
        options=("controller.quorum.fetch.timeout.ms=400",),
        plant=votes_twice,
    ),
    Bug(
        id="K18",
        name="quorum-too-small",
        mechanism="two of five, or one of three, are taken for a majority in elections",
        seen="Jepsen: Redis-Raft (overlapping majorities)",
        promise="controller: split brain is impossible",
        anomalies=("election-safety", "metadata-regression", "metadata-divergence"),
        nemesis="partition",
        nodes=5,
        plant=quorum_too_small,
    ),
    Bug(
        id="K16",
        name="vote-for-anybody",
        mechanism="a voter does not ask whether the candidate's log has what its own has",
        seen="seeded; Raft §5.4.1",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="partition:one,partition:controller,kill:controller",
        options=(
            "broker.session.timeout.ms=500",
            "broker.heartbeat.interval.ms=100",
            "controller.quorum.fetch.timeout.ms=400",
        ),
        plant=vote_for_anybody,
    ),
    Bug(
        id="K16",
        name="commits-alone",
        mechanism="a leader takes for committed what it alone has written",
        seen="seeded; Raft §5.3",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="partition:controller",
        options=FAST,
        plant=commits_alone,
    ),
    Bug(
        id="K16",
        name="applies-on-append",
        mechanism="a follower applies entries when it gets them, committed or not",
        seen="seeded; Raft §5.3",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="partition:halves,partition:controller",
        nodes=5,
        options=FAST,
        plant=applies_on_append,
    ),
    Bug(
        id="K16",
        name="commit-past-match",
        mechanism="a follower commits up to the leader's mark what it has, the same or not",
        seen="seeded; Raft, figure 2: AppendEntries, step 5",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="partition:controller,kill:controller",
        nodes=5,
        options=HASTY,
        plant=commit_past_match,
    ),
    Bug(
        id="K16",
        name="conflicts-kept",
        mechanism="a follower keeps its own entry where the leader has another one",
        seen="seeded; Raft §5.3",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-divergence",),
        nemesis="partition:controller",
        options=FAST,
        plant=conflicts_kept,
    ),
    Bug(
        id="K16",
        name="prefix-unchecked",
        mechanism="a follower takes entries whatever its own log has before them",
        seen="seeded; Raft, figure 2: AppendEntries, step 2",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="partition:controller,kill:controller",
        nodes=5,
        options=HASTY,
        plant=prefix_unchecked,
    ),
    Bug(
        id="K17",
        name="entry-skipped",
        mechanism="a follower that is behind skips the last entry of a batch that it applies",
        seen="seeded",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-divergence",),
        nemesis="kill,partition",
        plant=entry_skipped,
    ),
    Bug(
        id="K17",
        name="snapshot-drops-tail",
        mechanism="a snapshot says that it holds one entry more than it does",
        seen="Jepsen: Redis-Raft",
        promise="controller: snapshots",
        anomalies=("metadata-divergence",),
        nemesis="kill",
        options=("metadata.log.max.record.bytes.between.snapshots=400",),
        plant=snapshot_drops_tail,
    ),
    Bug(
        id="K17",
        name="producer-ids-not-in-snapshot",
        mechanism="a node that starts from a snapshot hands out producer ids that others have",
        seen="Jepsen: Redis-Raft (state that snapshots lack); seeded",
        promise="controller: snapshots",
        anomalies=("metadata-divergence",),
        nemesis="kill",
        options=("metadata.log.max.record.bytes.between.snapshots=400",),
        plant=producer_ids_not_in_snapshot,
    ),
    Bug(
        id="K19",
        name="sessions-not-in-snapshot",
        mechanism="a node that starts from a snapshot does not know which commands were applied",
        seen="Jepsen: Redis-Raft (commands applied twice)",
        promise="controller: snapshots",
        anomalies=("metadata-divergence",),
        nemesis="kill",
        options=("metadata.log.max.record.bytes.between.snapshots=400",),
        plant=sessions_not_in_snapshot,
    ),
    Bug(
        id="K57",
        name="entries-not-synced",
        mechanism="entries of the metadata log are acknowledged at once, and synced now and then",
        seen="Jepsen: NATS 2.12.1; seeded",
        promise="controller: metadata is a replicated log under Raft",
        anomalies=("metadata-regression", "metadata-divergence"),
        nemesis="power:all",
        options=("flush-messages=1",),
        plant=entries_not_synced,
    ),
)
