"""A node's log in memory: a snapshot, and the entries after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodes.raft.messages import Entry


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after entry `index`, which had `term` and `time_ms`. Index 0: the beginning."""

    index: int = 0
    term: int = 0
    data: bytes = b""
    time_ms: int = 0


class Log:
    """Entries are numbered without gaps from the snapshot on; their terms never fall."""

    def __init__(self, snapshot: Snapshot, entries: Sequence[Entry] = ()) -> None:
        self.snapshot = snapshot
        self.entries = list(entries)
        assert not entries or entries[0].index == snapshot.index + 1

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.snapshot.index

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.snapshot.term

    @property
    def last_time_ms(self) -> int:
        return self.entries[-1].time_ms if self.entries else self.snapshot.time_ms

    def term(self, index: int) -> int | None:
        """The term of an entry; None if it is not here (compacted, or not there yet)."""
        if index == self.snapshot.index:
            return self.snapshot.term
        if self.snapshot.index < index <= self.last_index:
            return self.entries[index - self.snapshot.index - 1].term
        return None

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries from `first` to `last`, both included. They must not be compacted."""
        assert first > self.snapshot.index
        return self.entries[first - self.snapshot.index - 1 : last - self.snapshot.index]

    def batch(self, first: int, entries_max: int, bytes_max: int) -> list[Entry]:
        """Some entries from `first` on: at least one if there is any, and not many."""
        found = self.slice(first, min(self.last_index, first + entries_max - 1))
        size = 0
        for count, entry in enumerate(found, start=1):
            size += len(entry.command)
            if size > bytes_max:
                return found[:count]
        return found

    def before_term_of(self, index: int) -> int:
        """The last entry before those of the term that entry `index` has here."""
        term = self.term(index)
        while index > self.snapshot.index and self.term(index) == term:
            index -= 1
        return index

    def append(self, entries: Sequence[Entry]) -> None:
        self.entries.extend(entries)

    def truncate(self, first: int) -> None:
        """Drop the entries from `first` on."""
        assert first > self.snapshot.index
        del self.entries[first - self.snapshot.index - 1 :]

    def compact(self, index: int, data: bytes) -> Snapshot:
        """Replace the entries up to `index` by the state after them."""
        entry = self.slice(index, index)[0]
        snapshot = Snapshot(index, entry.term, data, entry.time_ms)
        del self.entries[: index - self.snapshot.index]
        self.snapshot = snapshot
        return snapshot

    def _check(self) -> None:
        indices = [entry.index for entry in self.entries]
        assert indices == list(range(self.snapshot.index + 1, self.last_index + 1))
        terms = [self.snapshot.term, *(entry.term for entry in self.entries)]
        assert terms == sorted(terms)
        times = [self.snapshot.time_ms, *(entry.time_ms for entry in self.entries)]
        assert times == sorted(times)
