"""The guarantees of sessions over registers: reads that their session cannot have made.

See `checkers.sessions`. A session *touches* a version of a key by writing it or by reading it. What
a read r of v contradicts, a row each, and which guarantees that takes together:

    NULL_OWN      v is null, and the session had touched the key             RYW or MR
    NULL_OTHER    v is null, and somebody touched the key before a write     MR and (MW or WFR)
                  that the session had read
    AGAIN         the session had touched v and then read another version    MR, or MR and RYW
    OWN_WRITE     the session had touched v and then written the key         RYW and (MW or WFR)
    OWN_READ      the session had last read u, whose writer had touched v    MR and (MW or WFR)
                  before
    OTHER_WRITE   somebody touched v, then wrote the key, and the session    MR, MW and (MW or WFR)
                  had read that or a later write of his
    OTHER_READ    the session had read a write of somebody who had last      MR, WFR and (MW or WFR)
                  read u before, whose writer had touched v before

The order of v and u follows from MW where u's writer wrote v, and from WFR where it had read v.

Cost: a few sorts; for a read of what others had overwritten when its session may have known it, a
search for each session that did.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from checkers.accesses import INITIAL, Accesses
from checkers.linearizable.values import Bools, Ints, dense
from checkers.session_links import Links, Lists, expanded, firsts
from harness.history import History
from harness.op import FAIL, OK

RYW, MR, MW, WFR = 1, 2, 4, 8
ALL = RYW | MR | MW | WFR
NULL_OWN, NULL_OTHER, AGAIN, OWN_WRITE, OWN_READ, OTHER_WRITE, OTHER_READ = range(7)

NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Found:
    """Contradictions, a row each. Numbers are rows of `Accesses`, -1 for nobody.

    Attributes:
        kind: of the seven.
        read: the read that cannot be.
        touch: where the key was touched, or touched again after v.
        order: where v was touched by who then wrote the other version.
        write: what the session had read of somebody else.
    """

    kind: Ints
    read: Ints
    touch: Ints
    order: Ints
    write: Ints

    @staticmethod
    def of(
        kind: int, read: Ints, touch: Ints, order: Ints | None = None, write: Ints | None = None
    ) -> Found:
        nobody = np.full(len(read), -1, np.int64)
        order, write = (nobody if one is None else one for one in (order, write))
        return Found(np.full(len(read), kind, np.int64), read, touch, order, write)

    @staticmethod
    def joined(parts: list[Found]) -> Found:
        names = Found.__dataclass_fields__
        return Found(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def take(self, rows: Ints | Bools) -> Found:
        return Found(*(getattr(self, name)[rows] for name in Found.__dataclass_fields__))


@dataclass(frozen=True)
class Registers:
    """The contradictions that some of the guarantees, `allowed`, make together."""

    accesses: Accesses
    allowed: int = ALL

    def found(self) -> Found:
        """All of them; several may be of one read."""
        nothing = np.zeros(0, np.int64)
        parts = self._parts() if self._size else ()
        return Found.joined([Found.of(AGAIN, nothing, nothing), *parts])

    def _parts(self) -> Iterator[Found]:
        yield from self._null_own()
        if self.allowed & RYW:
            yield self._own_write()
        if self.allowed & MR:
            yield self._again()
            yield self._own_read()
            yield from self._null_other()
            yield from self._other()

    def _has(self, guarantee: int) -> bool:
        return bool(self.allowed & guarantee)

    # -- sessions, keys, versions ------------------------------------------------------------------

    @cached_property
    def session(self) -> Ints:
        """Ascending numbers: a process, until an operation of it is in doubt."""
        acc = self.accesses
        return sessions(acc.process, acc.begin, acc.history)

    @cached_property
    def _size(self) -> int:
        return len(self.accesses)

    @cached_property
    def _key(self) -> Ints:
        return dense(self.accesses.key)[0]

    @cached_property
    def version(self) -> Ints:
        """The row of the write that each operation touches; -1 where it read null, -2 where that
        cannot be told."""
        acc = self.accesses
        version: Ints = np.where(acc.write, np.arange(self._size), np.maximum(acc.source, -2))
        return version

    @cached_property
    def _reads(self) -> Bools:
        """Reads that touch a version."""
        reads: Bools = ~self.accesses.write & (self.version >= 0)
        return reads

    @cached_property
    def _orders(self) -> Bools:
        """Touches after which a write of the session is newer than what they touch."""
        write = self.accesses.write
        orders: Bools = (write & self._has(MW)) | (self._reads & self._has(WFR))
        return orders

    # -- places: the operations by session and key -------------------------------------------------

    @cached_property
    def _grouped(self) -> tuple[Ints, Ints, Ints]:
        """Rows by session and key, the number of the group of each, and where each row stands."""
        rows = np.lexsort((self._key, self.session))
        new = (np.diff(self.session[rows], prepend=-1) != 0) | (
            np.diff(self._key[rows], prepend=-1) != 0
        )
        place = np.empty(self._size, np.int64)
        place[rows] = np.arange(self._size)
        return rows, np.cumsum(new) - 1, place

    def _before(self, chosen: Bools) -> Ints:
        """Of each row, the last of these rows before it that has its session and key, or -1."""
        rows, group, place = self._grouped
        last = np.maximum.accumulate(np.where(chosen[rows], np.arange(self._size), -1))
        last = np.append(-1, last[:-1])
        there = (last >= 0) & (group[last] == group)
        return np.where(there, rows[last], -1)[place]

    def _after(self, chosen: Bools) -> Ints:
        """The first of them after it, or -1."""
        rows, group, place = self._grouped
        size = self._size
        following = np.where(chosen[rows], np.arange(size), size)[::-1]
        following = np.minimum.accumulate(following)[::-1]
        following = np.append(following[1:], size)
        at = np.minimum(following, size - 1)
        there = (following < size) & (group[at] == group)
        return np.where(there, rows[at], -1)[place]

    # -- null --------------------------------------------------------------------------------------

    @cached_property
    def _nulls(self) -> Ints:
        return np.flatnonzero(~self.accesses.write & (self.accesses.source == INITIAL))

    def _null_own(self) -> Iterator[Found]:
        for guarantee, touches in ((RYW, self.accesses.write), (MR, self._reads)):
            if self._has(guarantee):
                touch = self._before(touches)[self._nulls]
                there = touch >= 0
                yield Found.of(NULL_OWN, self._nulls[there], touch[there])

    def _null_other(self) -> Iterator[Found]:
        for guarantee, touches in ((MW, self.accesses.write), (WFR, self._reads)):
            if self._has(guarantee):
                first = np.flatnonzero(touches & (self._before(touches) < 0))
                lists = Lists.of(self._key[first], first, int(self._key.max()) + 1)
                soonest = lists.least(self.accesses.begin, NEVER)
                key = self._key[self._nulls]
                read, touch, write = self._known(self._nulls, key, lists, soonest)
                # What it read was a write of that key: then it touched the key itself.
                fits = touch != write
                yield Found.of(NULL_OTHER, read[fits], touch[fits], write=write[fits])

    # -- older versions ----------------------------------------------------------------------------

    @cached_property
    def _firsts(self) -> tuple[Ints, Ints]:
        """Where each session first touched each version, of `_orders`: sorted codes, and rows."""
        return self._first(self._orders)

    def _first(self, touches: Bools) -> tuple[Ints, Ints]:
        rows = np.flatnonzero(touches)
        codes, first = np.unique(
            self._code(self.session[rows], self.version[rows]), return_index=True
        )
        return codes, rows[first]

    def _code(self, session: Ints, version: Ints) -> Ints:
        return session * self._size + version

    def _touched(self, session: Ints, version: Ints, firsts: tuple[Ints, Ints]) -> Ints:
        """Where the session first touched the version, or -1."""
        codes, rows = firsts
        if not len(codes):
            return np.full(len(session), -1, np.int64)
        wanted = self._code(session, version)
        at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        return np.where(codes[at] == wanted, rows[at], -1)

    @cached_property
    def _overwritten(self) -> tuple[Ints, Ints]:
        """(touch, write): who first touched a version, and then first wrote another one."""
        touch = self._firsts[1]
        write = self._after(self.accesses.write)[touch]
        there = (write >= 0) & (write != self.version[touch])
        return touch[there], write[there]

    def _own_write(self) -> Found:
        touch, write = self._overwritten
        codes = self._code(self.session[touch], self.version[touch])
        reads = np.flatnonzero(self._reads)
        if not len(codes):
            return Found.of(OWN_WRITE, reads[:0], reads[:0])
        wanted = self._code(self.session[reads], self.version[reads])
        at = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        fits = (codes[at] == wanted) & (write[at] < reads)
        at = at[fits]
        return Found.of(OWN_WRITE, reads[fits], write[at], touch[at])

    @cached_property
    def _turned(self) -> tuple[Ints, Ints]:
        """Reads of another version than the one that their session had last read of the key; and
        where it had."""
        last = self._before(self._reads)
        turned = np.flatnonzero(self._reads & (last >= 0))
        turned = turned[self.version[last[turned]] != self.version[turned]]
        return turned, last[turned]

    def _again(self) -> Found:
        reads, last = self._turned
        touches = self._reads | (self.accesses.write & self._has(RYW))
        order = self._touched(self.session[reads], self.version[reads], self._first(touches))
        fits = (order >= 0) & (order < last)
        return Found.of(AGAIN, reads[fits], last[fits], order[fits])

    def _own_read(self) -> Found:
        reads, last = self._turned
        newer = self.version[last]
        order = self._touched(self.session[newer], self.version[reads], self._firsts)
        fits = (order >= 0) & (order < newer)
        return Found.of(OWN_READ, reads[fits], last[fits], order[fits])

    # -- what sessions know of others --------------------------------------------------------------

    def _other(self) -> Iterator[Found]:
        touch, write = self._overwritten
        newer = Lists.of(self.version[touch], write, self._size)
        soonest = newer.least(self.accesses.begin, NEVER)
        reads = np.flatnonzero(self._reads)
        if self._has(MW):
            read, write, known = self._known(reads, self.version[reads], newer, soonest)
            order = self._touched(self.session[write], self.version[read], self._firsts)
            yield Found.of(OTHER_WRITE, read, write, order, known)
        if self._has(WFR):
            yield self._other_read(
                reads[self._latest_of_others[reads] >= soonest[self.version[reads]]]
            )

    def _known(
        self, reads: Ints, what: Ints, lists: Lists, soonest: Ints
    ) -> tuple[Ints, Ints, Ints]:
        """(read, row, write): reads whose session had read a write of somebody at one of the rows
        that are listed of what they read, or later; the first of each read."""
        kept = self._latest[reads] >= soonest[what]
        reads, what = reads[kept], what[kept]
        found = [(reads[:0],) * 3]
        for at, place in expanded(lists.start[what], lists.start[what + 1] - lists.start[what]):
            read, row = reads[at], lists.rows[place]
            known = self._links.known(read, self._links.pair(read, self.session[row]))
            fits = np.flatnonzero(known >= row)
            fits = fits[firsts(read[fits])]
            found.append((read[fits], row[fits], known[fits]))
        read, row, known = (np.concatenate(column) for column in zip(*found, strict=True))
        return read, row, known

    def _other_read(self, reads: Ints) -> Found:
        parts = [Found.of(OTHER_READ, reads[:0], reads[:0])]
        for at, pair in expanded(*self._links.pairs_of(reads)):
            read = reads[at]
            write = self._links.known(read, pair)
            last = self._last_read(write, self._key[read])
            newer = self.version[last]
            order = self._touched(self.session[newer], self.version[read], self._firsts)
            fits = np.flatnonzero((last >= 0) & (order >= 0) & (order < newer))
            fits = fits[(newer != self.version[read])[fits]]
            fits = fits[firsts(read[fits])]
            parts.append(Found.of(OTHER_READ, *(c[fits] for c in (read, last, order, write))))
        return Found.joined(parts)

    def _last_read(self, row: Ints, key: Ints) -> Ints:
        """Where the session had last touched a key before a row, if that was a read; or -1. A row
        of -1 is nobody's."""
        codes, rows = self._touches
        at = np.searchsorted(codes, self._place(self.session[row], key, row)) - 1
        last = rows[np.maximum(at, 0)]
        fits = (row >= 0) & (at >= 0) & (self.session[last] == self.session[row])
        fits &= (self._key[last] == key) & self._reads[last]
        return np.where(fits, last, -1)

    @cached_property
    def _touches(self) -> tuple[Ints, Ints]:
        rows = self._grouped[0]
        rows = rows[self.version[rows] >= 0]
        return self._place(self.session[rows], self._key[rows], rows), rows

    def _place(self, session: Ints, key: Ints, row: Ints) -> Ints:
        """Ascends with session, key and row."""
        starts, keys = firsts(self.session), int(self._key.max()) + 1
        longest = int(np.diff(np.append(starts, self._size)).max()) + 1
        place: Ints = (session * keys + key) * longest + row - starts[session]
        return place

    @cached_property
    def _links(self) -> Links:
        return Links(self.session, self._reads, self.version)

    @cached_property
    def _latest(self) -> Ints:
        """When the newest write began that the session of each row had read before it, or -1."""
        return self._newest(self.accesses.begin)

    @cached_property
    def _latest_of_others(self) -> Ints:
        """The same of what its writer had read before, too."""
        return self._newest(np.maximum(self.accesses.begin, self._latest))

    def _newest(self, told: Ints) -> Ints:
        """Of each row, the greatest of what is told of the writes that its session had read."""
        told = np.where(self._reads, told[np.maximum(self.version, 0)], -1) + 1
        offset = self.session * (len(self.accesses.history) + 1)
        newest = np.append(0, np.maximum.accumulate(told + offset)[:-1]) - offset
        return np.maximum(newest, 0) - 1


def sessions(process: Ints, begin: Ints, history: History) -> Ints:
    """Numbers of the sessions of operations that ascend by process and begin: a process, until an
    operation of it is in doubt."""
    asked = np.flatnonzero((history.type == 0) & (history.process >= 0))
    pair = history.pair[asked]
    told = np.isin(history.type[pair], (OK, FAIL)) & (pair >= 0)
    width = len(history) + 1
    doubts = np.sort(history.process[asked[~told]].astype(np.int64) * width + asked[~told])
    before = np.searchsorted(doubts, process * width + begin)
    new = (np.diff(process, prepend=-1) != 0) | (np.diff(before, prepend=-1) != 0)
    return np.cumsum(new) - 1
