"""What clients asked, of which node and which key, and when they were served.

Reads every client operation. One that is OK was *served*. One that ended in INFO, or failed with an
error, was asked *in vain*; one that failed without an error got an answer, which is no success and
says nothing of an outage.

The node is that of the completion; of an operation without one, that of its process' others. Keys
are those of micro-operations, the messages of a poll included, or the first of `[k, v]` where every
client's operation has such a value.

Cost: sorts the operations' times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.columns import MAP, MICRO, MISSING, NONE, PAIR
from harness.history import History
from harness.op import FAIL, INFO, OK

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Asked:
    """Operations in the order in which they began.

    Attributes:
        position: int64[n], of the invocation.
        begin, end: int64[n], ns; the end of one that is pending is NEVER.
        served, vain: bool[n].
        f, node: int64[n], codes of the history; a node that nobody knows is -1.
    """

    history: History
    position: Ints
    begin: Ints
    end: Ints
    served: Bools
    vain: Bools
    f: Ints
    node: Ints

    @staticmethod
    def of(history: History) -> Asked:
        position = np.flatnonzero((history.type == 0) & (history.process >= 0))
        position = position[np.argsort(history.time[position], kind="stable")]
        pair = history.pair[position]
        ended = pair >= 0
        kind = np.where(ended, history.type[pair], INFO)
        told = np.where(ended, pair, position)
        return Asked(
            history,
            position,
            history.time[position],
            np.where(ended, history.time[pair], NEVER),
            kind == OK,
            (kind == INFO) | ((kind == FAIL) & (history.error[told] >= 0)),
            history.f[position].astype(np.int64),
            _nodes(history, position, told),
        )

    def kinds(self) -> Group:
        """By what was asked."""
        return Group.of(self, np.arange(len(self.f)), np.zeros(len(self.f), np.int64))

    def nodes(self) -> Group:
        """By what was asked of whom."""
        known = np.flatnonzero(self.node >= 0)
        return Group.of(self, known, self.node[known])

    def keys(self) -> Group:
        """By what was asked about what; an operation may be about many keys, or none."""
        row, key = _keys(self)
        return Group.of(self, row, key)


@dataclass(frozen=True, slots=True)
class Group:
    """Operations of the same kind, and of the same node or key, by number.

    Attributes:
        row: int64[m], ascending, rows of `asked`; member: int64[m], which of the groups.
        f, what: int64[groups]; the code of the kind, and of the node or key.
    """

    asked: Asked
    row: Ints
    member: Ints
    f: Ints
    what: Ints
    _ends: Ints
    _order: Ints
    _ranked: Ints

    @staticmethod
    def of(asked: Asked, row: Ints, what: Ints) -> Group:
        f, what, member = _numbered(asked.f[row], what)
        served = np.flatnonzero(asked.served[row])
        ends = asked.end[row[served]]
        by_end = np.argsort(ends, kind="stable")
        rank = np.empty(len(by_end), np.int64)
        rank[by_end] = np.arange(len(by_end))
        # Group and rank in one number, so that one search finds the next success of every group.
        joined = member[served] * (len(served) + 1) + rank
        order = np.argsort(joined)
        return Group(asked, row, member, f, what, ends[by_end], served[order], joined[order])

    def __len__(self) -> int:
        return len(self.f)

    def served_from(self, time: int) -> tuple[Ints, Ints]:
        """Of each group, when it was first served from then on, and in which row of `asked`; NEVER
        and -1 where it was not."""
        _, at, last = self._places(time)
        which = self._rows(at, at < last)
        return np.where(which >= 0, self.asked.end[which], NEVER) if len(which) else which, which

    def served_before(self, time: int) -> Ints:
        """Of each group, the row of `asked` that was served last before that; or -1."""
        first, at, _ = self._places(time)
        return self._rows(at - 1, at > first)

    def _places(self, time: int) -> tuple[Ints, Ints, Ints]:
        """Of each group, where its successes begin in `_order`, those from a time on, and end."""
        width = len(self._ends) + 1
        low = np.arange(len(self)) * width
        some = (low, low + np.searchsorted(self._ends, time), low + width)
        first, at, last = (np.searchsorted(self._ranked, one).astype(np.int64) for one in some)
        return first, at, last

    def _rows(self, places: Ints, there: Bools) -> Ints:
        rows = np.full(len(self), -1, np.int64)
        rows[there] = self.row[self._order[places[there]]]
        return rows

    def begun(self, first: int, last: int) -> slice:
        """The members that began in [first, last), as a slice of `row` and `member`."""
        begin = self.asked.begin
        rows = np.searchsorted(begin, (first, last))
        low, high = np.searchsorted(self.row, rows).tolist()
        return slice(low, high)


def _nodes(history: History, position: Ints, told: Ints) -> Ints:
    node = history.node[told].astype(np.int64)
    node = np.where(node >= 0, node, history.node[position])
    clients = np.flatnonzero((history.process >= 0) & (history.node >= 0))
    if not len(clients) or (node >= 0).all():
        return node
    process, first = np.unique(history.process[clients], return_index=True)
    place = np.searchsorted(process, history.process[position])
    place = np.minimum(place, len(process) - 1)
    same = process[place] == history.process[position]
    known = history.node[clients[first[place]]]
    return np.where((node < 0) & same, known, node).astype(np.int64)


def _keys(asked: Asked) -> tuple[Ints, Ints]:
    """(row, key) of each key of each operation, rows ascending."""
    history, values = asked.history, asked.history.values
    pair = history.pair[asked.position]
    shape = values.shape
    silent = (pair < 0) | ~asked.served | (shape[pair] == NONE)
    told = np.where(silent, asked.position, pair)
    if (shape[asked.position] == PAIR).all():
        return np.arange(len(told)), values.pair[values.row[asked.position], 0]
    micro = values.micro
    rows = np.flatnonzero(shape[told] == MICRO)
    row, mop = _spread(rows, values.row[told[rows]], micro.mop_start)
    own = micro.mop_key[mop] != MISSING
    polls = np.flatnonzero(micro.mop_form[mop] == MAP)
    row_of_entry, entry = _spread(row[polls], mop[polls], micro.entry_start)
    row = np.concatenate((row[own], row_of_entry))
    key = np.concatenate((micro.mop_key[mop[own]], micro.entry_key[entry]))
    row, key, _ = _numbered(row, key)
    return row, key


def _numbered(one: Ints, other: Ints) -> tuple[Ints, Ints, Ints]:
    """The distinct pairs of two columns, ascending, and which of them each row is."""
    names, rank = np.unique(other, return_inverse=True)
    width = max(len(names), 1)
    pairs, number = np.unique(one * width + rank, return_inverse=True)
    return pairs // width, names[pairs % width], number.astype(np.int64)


def _spread(
    owner: Ints, part: NDArray[np.int32] | Ints, start: NDArray[np.int32]
) -> tuple[Ints, Ints]:
    """The owner and the number of all that the parts are made of."""
    first = start[part].astype(np.int64)
    count = start[part + 1] - first
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    inner = np.arange(total) + np.repeat(first - (ends - count), count)
    return np.repeat(owner, count), inner
