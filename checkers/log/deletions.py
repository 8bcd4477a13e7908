"""What was deleted on request (`delete-records`, {"k": offset} → {"k": low watermark}).

A deletion may have happened unless it failed; then nobody needs to find what is before its offset.
One that was acknowledged did happen: no replica that may lead has anything of it any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from checkers.log.cases import CONTRADICTION, Case, Cases, Proofs
from checkers.log.codes import Bools, Ints
from checkers.log.final import final_reads
from checkers.log.order import Order
from checkers.log.tables import UNKNOWN, Tables
from harness.op import OK, Kind
from harness.windows import Windows

F = "delete-records"


@dataclass(frozen=True, slots=True)
class Deletion:
    """One key of an operation. `events` are its positions; `done` says whether it is OK."""

    events: tuple[int, ...]
    process: int
    key: int
    upto: int
    done: bool


def deletions(tables: Tables) -> Iterator[Deletion]:
    """All that may have happened; of keys that the tables know."""
    history = tables.history
    row = {str(name): number for number, name in enumerate(tables.keys)}
    for position in history.select(f=F).tolist():
        op, events = history[position], history.operation(position)
        last = history[events[-1]]
        asked = op.value
        if events[0] != position or last.type is Kind.FAIL or not isinstance(asked, Mapping):
            continue
        if isinstance(op.process, int):
            for key, upto in asked.items():
                if key in row:
                    yield Deletion(events, op.process, row[key], int(upto), last.type is Kind.OK)


def bounds(order: Order) -> Ints:
    """int64[keys]; before which offset something may have been deleted; 0 where nothing was."""
    found = order.views.get(F)
    if found is None:
        found = np.zeros(len(order.tables.keys), np.int64)
        for deletion in deletions(order.tables):
            found[deletion.key] = max(found[deletion.key], deletion.upto)
        order.views[F] = found
    assert isinstance(found, np.ndarray)
    return found


def deletable(order: Order) -> Bools:
    """bool[messages]; which may have been deleted: they lie there, or nobody knows where."""
    bound, slot = bounds(order)[order.key], order.first_slot
    offset = np.full(len(slot), UNKNOWN, np.int64)
    placed = slot != UNKNOWN
    offset[placed] = order.slot_offset[slot[placed]]
    may: Bools = (bound > 0) & (offset < bound)
    return may


def floors(order: Order) -> Ints:
    """int64[keys]; the last slot of each key before the bound, UNKNOWN without one: who reads on
    from there, or from anywhere before it, misses nothing."""
    bound = bounds(order)
    floor = np.full(len(bound), UNKNOWN, np.int32)
    below = np.flatnonzero(order.slot_offset < bound[order.slot_key]).astype(np.int32)
    np.maximum.at(floor, order.slot_key[below], below)
    return floor


def reappeared(order: Order) -> Cases:
    """Messages that final reads polled from before an acknowledged deletion."""
    proofs, tables, polled = Proofs(order), order.tables, order.tables.polled
    final = final_reads(tables.history)
    done = [] if final is None else [d for d in deletions(tables) if d.done]
    if final is None or not done:
        return Cases(np.zeros(0, np.int64), lambda _: _none())
    furthest: dict[int, Deletion] = {}
    for deletion in done:
        known = furthest.get(deletion.key, deletion)
        if deletion.events[-1] < final.begin[0] and deletion.upto >= known.upto:
            furthest[deletion.key] = deletion
    upto = np.zeros(len(tables.keys), np.int64)
    for key, deletion in furthest.items():
        upto[key] = deletion.upto
    is_final = (tables.status[polled.op] == OK) & (tables.begin[polled.op] > final.begin[-1])
    there = np.flatnonzero(
        is_final & (polled.offset != UNKNOWN) & (polled.offset < upto[polled.key])
    )
    messages, first = np.unique(order.polled[there], return_index=True)
    entries = there[first]

    def make(number: int) -> Case:
        entry, message = int(entries[number]), int(messages[number])
        key, op = int(polled.key[entry]), int(polled.op[entry])
        deletion = furthest[key]
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        return Case(
            key,
            f"{what} was deleted, and the final reads found it at offset {polled.offset[entry]}",
            (
                f"{proofs.event(deletion.events[-1])}: process {deletion.process} deleted all "
                f"before offset {deletion.upto} of {proofs.key(key)}, acknowledged",
                f"{proofs.event(final.begin[0])}: the final reads began, with every fault healed",
                f"{proofs.at(op)}: however, {proofs.who(op)} polled {proofs.message(message)} at "
                f"offset {polled.offset[entry]}: {CONTRADICTION}",
            ),
            (*proofs.events([op]), deletion.events, final.begin),
        )

    time = tables.history.time
    since = [int(time[furthest[int(key)].events[0]]) for key in polled.key[entries]]
    windows = Windows.of(np.array(since, np.int64), time[tables.end[polled.op[entries]]])
    return Cases(order.key[messages], make, windows)


def _none() -> Case:
    raise IndexError("there is no such case")
