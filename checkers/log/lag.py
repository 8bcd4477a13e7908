"""How far behind the end of the log somebody's polls were: a statistic, never an anomaly.

The *lag* of a key in a poll is a lower bound of how long the last message that its process had
seen of the key was no longer the last one: from when somebody knew of a later one to when the poll
began. It grows until the process sees more of the key, so of the polls up to then only the last is
looked at.

A process that takes up a key by an OK assignment has seen nothing of it, if it held it not before.
One that takes it up from the beginning, or by a subscription, counts from its first message of it.
Polls after the beginning of final reads do not count, as they read everything anew.

Source: jepsen.tests.kafka, `realtime-lag`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from checkers.log.codes import Ints, dense
from checkers.log.final import final_reads
from checkers.log.order import Order
from checkers.log.tables import Tables
from checkers.transactions import wide
from harness.op import OK

SEEN, TAKEN, DROPPED = range(3)
Events = tuple[Ints, Ints, Ints, Ints, Ints]
"""Of a process (its row) and a key: (process, key, position, kind, first slot it has not seen)."""


def worst_lag(order: Order) -> dict[str, Any] | None:
    """{"time", "process", "key", "lag"} of the poll that lagged most, times in ns; None if none
    did. Cost: a sort of what processes polled, by process and key."""
    tables = order.tables
    polls = _ok_polls(tables)
    if not len(polls) or not len(order.slot_key):
        return None
    row, processes = dense(tables.process[polls])
    size = len(tables.history) + 1
    done = wide(row, size, tables.end[polls])
    by_end = np.argsort(done)
    done, polls = done[by_end], polls[by_end]

    process, key, since, kind, slot = _events(order, processes)
    owner: Ints = process * len(tables.keys) + key
    by_owner = np.argsort(owner * size + since)
    process, key, since, kind, slot, owner = (
        column[by_owner] for column in (process, key, since, kind, slot, owner)
    )
    # What a process has seen only grows while it holds a key.
    spell = np.cumsum((kind == DROPPED) | np.diff(owner, prepend=-1).astype(np.bool_))
    span = len(order.slot_key) + 1
    slot = np.maximum.accumulate(slot + spell * span) - spell * span
    until = np.full(len(owner), size - 1)
    until[:-1] = np.where(owner[1:] == owner[:-1], since[1:], size - 1)
    last = np.searchsorted(done, process * size + until) - 1
    known = _known_since(order)
    is_behind = (kind != DROPPED) & (last >= 0) & (slot < len(order.slot_key))
    at = np.flatnonzero(is_behind)
    at = at[
        (done[last[at]] >= process[at] * size + since[at]) & (order.slot_key[slot[at]] == key[at])
    ]
    if not len(at):
        return None
    time = tables.history.time
    began = time[tables.begin[polls[last[at]]]]
    lag = began - known[slot[at]]
    worst = int(np.argmax(lag))
    if lag[worst] <= 0:
        return None
    return {
        "time": int(began[worst]),
        "process": int(processes[process[at[worst]]]),
        "key": tables.keys[int(key[at[worst]])],
        "lag": int(lag[worst]),
    }


def _ok_polls(tables: Tables) -> Ints:
    """The OK operations that may poll, up to the final reads."""
    history = tables.history
    done = np.flatnonzero(tables.status == OK)
    done = done[np.isin(history.f[tables.end[done]], [history.code("poll"), history.code("txn")])]
    final = final_reads(history)
    return done if final is None else done[tables.begin[done] < final.begin[0]]


def _known_since(order: Order) -> Ints:
    """int64[slots]; the time at which somebody first knew of this slot of a key or a later one."""
    tables, sent = order.tables, order.tables.sent
    op = np.concatenate([sent.op, tables.polled.op])[order.source]
    first: Ints = np.full(len(order.slot_key), len(tables.status), np.int64)
    np.minimum.at(first, order.place, op)
    # From the end, key by key: those of earlier keys are made smaller than all that come before.
    shift = order.slot_key * (len(tables.status) + 1)
    first = np.minimum.accumulate((first + shift)[::-1])[::-1] - shift
    known: Ints = tables.history.time[np.minimum(tables.end[first], len(tables.history) - 1)]
    return known


def _events(order: Order, processes: Ints) -> Events:
    """What happened to the keys of these processes, in no order."""
    tables, polled, slots = order.tables, order.tables.polled, order.polled_slot
    begins = np.ones(len(polled), np.bool_)
    begins[1:] = (polled.op[1:] != polled.op[:-1]) | (polled.key[1:] != polled.key[:-1])
    first = np.flatnonzero(begins)
    highest = np.maximum.reduceat(slots, first) if len(first) else slots
    op, key = polled.op[first], polled.key[first]
    row = np.minimum(np.searchsorted(processes, tables.process[op]), len(processes) - 1)
    kept = (tables.status[op] == OK) & (processes[row] == tables.process[op]) & (highest >= 0)
    op, key, row, highest = op[kept], key[kept], row[kept], highest[kept]
    seen = (row, key, tables.end[op], np.full(len(op), SEEN), highest + 1)
    taken = _taken(order, processes)
    return tuple(np.concatenate(pair) for pair in zip(seen, taken, strict=True))  # type: ignore[return-value]


def _taken(order: Order, processes: Ints) -> Events:
    """When processes took up keys of which they had seen nothing, and when they let go of keys."""
    tables, assigns = order.tables, order.tables.assigns
    first_slot = np.searchsorted(order.slot_key, np.arange(len(tables.keys)))
    kept = assigns.kept
    process = kept // (assigns.size * len(tables.keys))
    number = np.searchsorted(assigns.at, process * assigns.size + kept % assigns.size)
    by_name = ~assigns.is_subscription[number]
    kept, process, number = kept[by_name], process[by_name], number[by_name]
    owner, position = kept // assigns.size, kept % assigns.size
    key = owner % len(tables.keys)
    held_before = np.zeros(len(owner), np.bool_)
    held_before[1:] = (owner[1:] == owner[:-1]) & (number[1:] == number[:-1] + 1)
    new = np.flatnonzero(~held_before & assigns.is_ok[number])
    # A key is let go of in the next event of its process that does not keep it by name.
    held_after = np.append(held_before[1:], False)
    gone = np.flatnonzero(~held_after & (number + 1 < len(assigns.at)))
    gone = gone[assigns.at[number[gone] + 1] // assigns.size == process[gone]]
    parts = (
        (process[new], key[new], position[new], np.full(len(new), TAKEN), first_slot[key[new]]),
        (
            process[gone],
            key[gone],
            assigns.at[number[gone] + 1] % assigns.size,
            np.full(len(gone), DROPPED),
            np.zeros(len(gone), np.int64),
        ),
    )
    process, key, position, kind, slot = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    row = np.minimum(np.searchsorted(processes, assigns.processes[process]), len(processes) - 1)
    there = processes[row] == assigns.processes[process]
    return row[there], key[there], position[there], kind[there], slot[there]
