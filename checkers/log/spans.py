"""When the cause of each case must lie, as columns; see `harness.windows`.

From the first send of what it is about to the operation that shows that something is wrong. Where a
message was acknowledged, a change of leaders can undo it for some time only: a follower has caught
up or is out of the replicas in sync after `LAG_NS`.
"""

from __future__ import annotations

import numpy as np

from checkers.log.codes import Bools, Ints, paired
from checkers.log.order import Order
from checkers.log.tables import UNKNOWN
from checkers.transactions import wide
from harness.licences import LINGER_NS
from harness.op import INFO, OK
from harness.windows import NEVER, Windows

SECOND = 1_000_000_000
LAG_NS = 30 * SECOND
"""Kafka's default of `replica.lag.time.max.ms`; runs of ours set less."""
DELIVERY_NS = 120 * SECOND
"""Kafka's default of `delivery.timeout.ms`: so long a producer goes on with a send of which nobody
waits for the outcome any more. Runs of ours set less."""
REQUEST_NS = 2 * SECOND
"""The request time-out of our runs, after which a producer sends again; Kafka's default is 30 s."""
NO_SENDER = -2
"""The process of what no crash of a client can have done."""


def of_messages(order: Order, messages: Ints, end: Ints | int) -> Windows:
    """Of messages that are gone; `end` is when that was seen."""
    known = np.where(order.acknowledged[messages], _acked(order)[messages], NEVER)
    led_until = np.minimum(known, NEVER - LAG_NS - LINGER_NS) + LAG_NS + LINGER_NS
    return Windows.of(
        _begun(order)[messages],
        np.broadcast_to(np.asarray(end, np.int64), messages.shape),
        led_until,
        _process(order)[messages],
    )


def of_duplicates(order: Order, messages: Ints) -> Windows:
    """Of messages that lie twice: it happened before the only send of each was done."""
    tables, sent = order.tables, order.tables.sent
    begin, end = _times(order, tables.begin[sent.op]), _times(order, tables.end[sent.op])
    unknown = tables.status[sent.op] == INFO
    done = np.full(len(order.key), int(tables.history.time.max(initial=0)))
    done[order.sent] = end + np.where(unknown, DELIVERY_NS, 0)
    retried = np.zeros(len(order.key), np.bool_)
    retried[order.sent] = unknown | (end - begin >= REQUEST_NS)
    return Windows.of(
        _begun(order)[messages],
        done[messages],
        process=_process(order)[messages],
        retried=retried[messages],
    )


def of_slots(order: Order, slots: Ints, settled: Bools) -> Windows:
    """Of slots that hold several messages: until each of them was known to lie there."""
    _, place, message = pairs = paired(order.place, len(order.slot_key), order.placed)
    known = np.full(len(place), NEVER)
    np.minimum.at(known, pairs[0], _source_end(order))
    end = np.zeros(len(order.slot_key), np.int64)
    np.maximum.at(end, place, known)
    begin = np.full(len(order.slot_key), NEVER)
    np.minimum.at(begin, place, _begun(order)[message])
    return Windows.of(begin[slots], end[slots], process=NO_SENDER, settled=settled)


def of_steps(
    order: Order, ops: tuple[Ints, Ints], slots: tuple[Ints, ...], settled: Bools
) -> Windows:
    """Of two operations each, and of the slots between which they stepped."""
    tables = order.tables
    slot_begun, slot_known = np.full((2, len(order.slot_key)), NEVER)
    np.minimum.at(slot_begun, order.place, _begun(order)[order.placed])
    np.minimum.at(slot_known, order.place, _source_end(order))
    begins = [_times(order, tables.begin[op]) for op in ops] + [slot_begun[s] for s in slots]
    ends = [_times(order, tables.end[op]) for op in ops] + [slot_known[s] for s in slots]
    begin, end = np.minimum.reduce(begins), np.maximum.reduce(ends)
    return Windows.of(begin, end, process=tables.process[ops[1]], settled=settled)


def polled_there(order: Order, messages: Ints, slots: Ints) -> Bools:
    """bool[pairs]; whether somebody polled the message in that slot."""
    known = order.polled_slot != UNKNOWN
    count = len(order.key)
    polled = wide(order.polled_slot[known], count, order.polled[known])
    there: Bools = np.isin(wide(slots, count, messages), polled)
    return there


def settled_slots(order: Order) -> tuple[Bools, Bools]:
    """(bool[slots], in which two messages were polled; bool[slots], in which one was polled before
    another one that lies there was sent, besides): who polled was below the high watermark."""
    polls = order.source >= len(order.tables.sent)
    _, place, _ = paired(order.place[polls], len(order.slot_key), order.placed[polls])
    twice = np.bincount(place, minlength=len(order.slot_key)) > 1
    op = np.concatenate([order.tables.sent.op, order.tables.polled.op])[order.source]
    first = np.full(len(order.slot_key), NEVER)
    np.minimum.at(first, order.place[polls], order.tables.end[op[polls]])
    last = np.full(len(order.slot_key), -1)
    sent = order.sends[order.placed] > 0
    np.maximum.at(last, order.place[sent], order.begun[order.placed[sent]])
    return twice, twice | (first < last)


def _times(order: Order, positions: Ints) -> Ints:
    """Of what never ended, the time of the end of the history."""
    time = order.tables.history.time
    return np.asarray(time[np.minimum(positions, len(time) - 1)], np.int64)


def _begun(order: Order) -> Ints:
    return _times(order, order.begun)


def _acked(order: Order) -> Ints:
    """int64[messages]; when each was acknowledged last, 0 if never."""
    tables, sent = order.tables, order.tables.sent
    told = np.flatnonzero(tables.status[sent.op] == OK)
    acked = np.zeros(len(order.key), np.int64)
    np.maximum.at(acked, order.sent[told], _times(order, tables.end[sent.op[told]]))
    return acked


def _process(order: Order) -> Ints:
    """int64[messages]; who sent each first."""
    process = np.full(len(order.key), NO_SENDER)
    process[order.sent[::-1]] = order.tables.process[order.tables.sent.op[::-1]]
    return process


def _source_end(order: Order) -> Ints:
    """int64[placements]; when the operation that proves each was done."""
    op = np.concatenate([order.tables.sent.op, order.tables.polled.op])[order.source]
    return _times(order, order.tables.end[op])
