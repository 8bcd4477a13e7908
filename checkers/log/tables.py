"""What a history of a log says, as tables: operations, messages sent, messages polled.

An *operation* is named by its row here; its *key* is a row of `Tables.keys`. What an operation sent
is what its completion says, or its invocation where the completion says nothing. An operation
without a completion counts as INFO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.log.codes import Bools, Ints, dense
from checkers.transactions import wide
from harness.columns import MAP, MICRO, OFFSET, VALUE, is_integer
from harness.history import History
from harness.op import INFO, INVOKE, OK

FS = ("send", "poll", "txn")
UNKNOWN = -1
"""An offset, slot or position that nobody knows."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Messages that operations sent or polled, in the order of the file.

    Attributes:
        op: int32, row of the operation. key: int32, row of the key.
        value: int64, code (see `harness.columns`). offset: int64, UNKNOWN if it is.
    """

    op: Ints
    key: Ints
    value: Ints
    offset: Ints

    def __len__(self) -> int:
        return len(self.op)


@dataclass(frozen=True)
class Tables:
    """Attributes:
    begin, end: int64[ops]; position of the invocation and of the completion; `end` is
        `len(history)` while there is none, `begin` the completion's own where no invocation is
        known. status: int8[ops], OK, FAIL or INFO. process: int64[ops].
    keys: the keys as JSON has them, ascending by code.
    index: what each event is called, if not by its position: the history is a part of another.
    """

    history: History
    index: tuple[int, ...] | None
    begin: Ints
    end: Ints
    status: NDArray[np.int8]
    process: Ints
    keys: tuple[Any, ...]
    sent: Entries
    polled: Entries

    @staticmethod
    def of(history: History, index: tuple[int, ...] | None = None) -> Tables:
        """Cost: about 0.2 s for 1,000,000 operations."""
        values, micro = history.values, history.values.micro
        position = values.positions(MICRO)
        pair = history.pair[position]
        kind = history.type[position]
        clients = (history.process[position] >= 0) & np.isin(
            history.f[position], [history.code(f) for f in FS]
        )
        # An invocation speaks for its operation only where the completion does not.
        speaks = (kind != INVOKE) | (pair < 0) | (values.shape[pair] != MICRO)
        chosen = np.flatnonzero(speaks & clients)
        at, other = position[chosen], pair[chosen].astype(np.int64)
        is_invocation = kind[chosen] == INVOKE
        status = np.where(is_invocation & (other < 0), INFO, kind[chosen])
        answered = is_invocation & (other >= 0)
        status[answered] = history.type[other[answered]]
        completed = np.where(other < 0, len(history), other)
        row_of = np.full(len(position), -1, np.int32)
        row_of[chosen] = np.arange(len(chosen))
        op_of_mop = row_of[micro.row_of_mop()]
        sent, polled = _sent(history, op_of_mop), _polled(history, op_of_mop)
        key, codes = dense(np.concatenate([sent[1], polled[1]]))
        return Tables(
            history,
            index,
            begin=np.where(is_invocation | (other < 0), at, other),
            end=np.where(is_invocation, completed, at),
            status=status.astype(np.int8),
            process=history.process[at].astype(np.int64),
            keys=tuple(values.decode(code) for code in codes.tolist()),
            sent=Entries(sent[0], key[: len(sent[0])], *sent[2:]),
            polled=Entries(polled[0], key[len(sent[0]) :], *polled[2:]),
        )

    @cached_property
    def assigns(self) -> Assigns:
        return Assigns.of(self.history, self.keys)

    @cached_property
    def has_extra(self) -> Bools:
        """bool[ops]; whether the completion says something besides."""
        done = np.minimum(self.end, len(self.history) - 1)
        return (self.end < len(self.history)) & (self.history.extra[done] >= 0)

    def rebalanced(self, op: int, key: int) -> bool:
        """Whether the operation's `rebalance-log`, a list of {"keys": […]}, names the key."""
        extra = self.history[int(self.end[op])].extra or {}
        log = extra.get("rebalance-log") or []
        named = (k for entry in log if isinstance(entry, dict) for k in entry.get("keys") or [])
        return _hashable(self.keys[key]) in set(map(_hashable, named))

    def value(self, code: int) -> Any:
        """The value that a code stands for, as JSON has it."""
        return self.history.values.decode(code)

    def events(self, op: int) -> tuple[int, ...]:
        """Positions of the operation's events, ascending."""
        return self.history.operation(int(min(self.end[op], self.begin[op])))


def _sent(history: History, op_of_mop: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """(op, key, value, offset) of what was sent; here the keys are codes."""
    micro = history.values.micro
    is_send = (op_of_mop >= 0) & (micro.mop_f == micro.code("send"))
    is_send &= (micro.mop_form == VALUE) | (micro.mop_form == OFFSET)
    mops = np.flatnonzero(is_send)
    entries = micro.entry_start[mops]
    offset = _known(micro.entry_offset[entries])
    return op_of_mop[mops], micro.mop_key[mops], micro.entry_value[entries], offset


def _polled(history: History, op_of_mop: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """(op, key, value, offset) of what was polled, grouped by op and key; the keys are codes."""
    micro = history.values.micro
    is_poll = (op_of_mop >= 0) & (micro.mop_f == micro.code("poll")) & (micro.mop_form == MAP)
    mop_of_entry = micro.mop_of_entry()
    entries = np.flatnonzero(is_poll[mop_of_entry])
    op, key = op_of_mop[mop_of_entry[entries]], micro.entry_key[entries]
    polls = np.bincount(op_of_mop[is_poll], minlength=1)
    if polls.max() > 1:
        # Several polls in one operation: what they return of one key belongs together.
        order = np.lexsort((dense(key)[0], op))
        entries, op, key = entries[order], op[order], key[order]
    return op, key, micro.entry_value[entries], _known(micro.entry_offset[entries])


def _known(offset: NDArray[np.int64]) -> Ints:
    return np.where(is_integer(offset) & (offset >= 0), offset, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Assigns:
    """When a process took up and let go of keys.

    An assignment or subscription keeps the positions of its keys and drops all others. One that
    starts from the beginning, and a seek, drop them all. One that failed may have taken effect.

    Attributes:
        processes: int64, ascending. Below, a process is a row of it.
        at: int64[events], process * len(history) + position, ascending.
        is_ok: bool[events].
        is_subscription: bool[events]; whether the process is subscribed after it.
        subscribes: int64[events + 1]; how many of those before are subscriptions.
        kept: int64, (process * keys + key) * len(history) + position of each key kept, ascending.
    """

    size: int
    keys: int
    processes: Ints
    at: Ints
    is_ok: Bools
    is_subscription: Bools
    subscribes: Ints
    kept: Ints

    @staticmethod
    def of(history: History, keys: tuple[Any, ...]) -> Assigns:
        names = ("assign", "subscribe", "seek")
        done = history.select(f=names)
        done = done[(history.type[done] != INVOKE) & (history.process[done] >= 0)]
        process, processes = dense(history.process[done])
        size = len(history)
        when = wide(process, size, done)
        order = np.argsort(when)
        is_subscription = _states(
            process[order],
            history.f[done[order]] == history.code("subscribe"),
            history.f[done[order]] != history.code("seek"),
        )
        row = {_hashable(key): number for number, key in enumerate(keys)}
        kept = [
            (int(p) * len(keys) + row[key]) * size + int(position)
            for p, position in zip(process.tolist(), done.tolist(), strict=True)
            for key in _kept(history, position)
            if key in row
        ]
        return Assigns(
            size,
            len(keys),
            processes,
            when[order],
            history.type[done[order]] == OK,
            is_subscription,
            np.concatenate([[0], np.cumsum(is_subscription)]),
            np.array(sorted(kept), np.int64),
        )

    def dropped(self, process: Ints, key: Ints, first: Ints, last: Ints) -> Bools:
        """Whether the process let go of the key between the positions `first` and `last`."""
        row, known = self._row(process)
        since, until = (np.searchsorted(self.at, row * self.size + p) for p in (first, last))
        base = (row * self.keys + key) * self.size
        kept = np.searchsorted(self.kept, base + last) - np.searchsorted(self.kept, base + first)
        return known & (until - since > kept)

    def subscribed(self, process: Ints, first: Ints, last: Ints) -> Bools:
        """Whether the process was subscribed at some time from position `first` to `last`."""
        row, known = self._row(process)
        since, until = (np.searchsorted(self.at, row * self.size + p) for p in (first, last))
        # The state at `first` is that of the last event before it, if it is of this process.
        begun = np.searchsorted(self.at, row * self.size)
        since = np.maximum(since - 1, begun)
        return known & (self.subscribes[until] > self.subscribes[np.minimum(since, until)])

    def _row(self, process: Ints) -> tuple[Ints, Bools]:
        if not len(self.processes):
            return np.zeros_like(process), np.zeros(len(process), np.bool_)
        row = np.minimum(np.searchsorted(self.processes, process), len(self.processes) - 1)
        return row, self.processes[row] == process


def _states(process: Ints, is_subscription: Bools, tells: Bools) -> Bools:
    """Whether the process is subscribed after each event; some leave it as it was."""
    place = np.arange(len(process))
    told = np.maximum.accumulate(np.where(tells, place, -1)) if len(place) else place
    state: Bools = (told >= 0) & is_subscription[told] & (process[told] == process)
    return state


def _kept(history: History, position: int) -> Iterator[Any]:
    """The keys whose positions the event at `position` keeps."""
    op = history[position]
    extra = {**(history.invocation(position).extra or {}), **(op.extra or {})}
    from_the_start = extra.get("seek-to-beginning") or extra.get("seek-to-beginning?")
    if op.f == "seek" or from_the_start:
        return
    if isinstance(op.value, list):
        yield from dict.fromkeys(map(_hashable, op.value))


def _hashable(key: Any) -> Any:
    """A key that tells 1 from true and from 1.0, and lists from nothing."""
    return key if type(key) in (int, str) else repr(key)
