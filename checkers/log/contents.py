"""What is in the log and should not be, and what is not and should."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from checkers.log import spans
from checkers.log.cases import CONTRADICTION, Case, Cases, Proofs
from checkers.log.codes import Bools, Ints, dense, order_by, paired
from checkers.log.deletions import deletable
from checkers.log.final import FinalReads, final_reads
from checkers.log.order import Order
from checkers.log.tables import UNKNOWN
from checkers.transactions import wide
from harness.op import OK


def inconsistent_offsets(order: Order) -> Cases:
    """Slots that hold two messages or more; those with most first."""
    proofs = Proofs(order)
    slots, count = _counted(order.place, order.placed, order.contested)
    slots = slots[np.argsort(-count, kind="stable")]
    if not len(slots):
        return Cases(slots, lambda _: _none())
    twice, settled = spans.settled_slots(order)

    def make(number: int) -> Case:
        slot = int(slots[number])
        key = int(order.slot_key[slot])
        first, second = order.distinct_messages(slot, polled=bool(twice[slot]))[:2].tolist()
        one, other = (proofs.lies(m, slot, seen=bool(settled[slot])) for m in (first, second))
        return Case(
            key,
            f"{proofs.offset(slot)} of {proofs.key(key)} holds both {proofs.message(first)} and "
            f"{proofs.message(second)}",
            (
                *one.sentences,
                *other.sentences,
                f"however, an offset holds one message: {CONTRADICTION}",
            ),
            proofs.events(one.ops + other.ops),
            (first, second),
        )

    return Cases(order.slot_key[slots], make, spans.of_slots(order, slots, settled[slots]))


def duplicates(order: Order) -> Cases:
    """Messages that were sent once and lie in more than one slot; those in most first."""
    proofs = Proofs(order)
    messages, count = _counted(order.placed, order.place, order.moves & (order.sends <= 1))
    messages = messages[np.argsort(-count, kind="stable")]

    def make(number: int) -> Case:
        message = int(messages[number])
        key = int(order.key[message])
        first, second = order.distinct_slots(message)[:2].tolist()
        one, other = proofs.lies(message, first), proofs.lies(message, second)
        return Case(
            key,
            f"{proofs.message(message)} is at two offsets of {proofs.key(key)}, "
            f"{order.slot_offset[first]} and {order.slot_offset[second]}",
            (
                *one.sentences,
                *other.sentences,
                f"however, it was sent once at most: {CONTRADICTION}",
            ),
            proofs.events(one.ops + other.ops),
            (message,),
        )

    return Cases(order.key[messages], make, spans.of_duplicates(order, messages))


def aborted_reads(order: Order) -> Cases:
    """G1a: messages read although every operation that sent them failed."""
    proofs = Proofs(order)

    def argue(message: int) -> Case:
        key, (sender, *_) = int(order.key[message]), proofs.senders(message)
        reader, _ = proofs.read(message)
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        return Case(
            key,
            f"{what} was polled although its send failed",
            (
                f"{proofs.at(sender)}: {proofs.who(sender)} could not send {what}: it failed, and "
                "so never took place",
                f"{proofs.at(reader)}: however, {proofs.who(reader)} polled it: {CONTRADICTION}",
            ),
            proofs.events([*proofs.senders(message), reader]),
            (message,),
        )

    return _of_messages(order, np.flatnonzero(order.failed & order.read), argue)


def precommitted_reads(order: Order) -> Cases:
    """Operations that polled what they themselves sent."""
    proofs, sent, polled = Proofs(order), order.tables.sent, order.tables.polled
    sends, polls = np.zeros((2, len(order.tables.status)), np.bool_)
    sends[sent.op], polls[polled.op] = True, True
    entries, count = np.flatnonzero(sends[polled.op]), len(order.key)
    both = np.flatnonzero(polls[sent.op])
    entries = entries[
        np.isin(
            wide(polled.op[entries], count, order.polled[entries]),
            wide(sent.op[both], count, order.sent[both]),
        )
    ]
    entries = entries[np.lexsort((polled.key[entries], polled.op[entries]))]
    _, first = np.unique(polled.op[entries], return_index=True)
    entries = entries[first]

    def make(number: int) -> Case:
        entry = int(entries[number])
        op, message = int(polled.op[entry]), int(order.polled[entry])
        key = int(order.key[message])
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        return Case(
            key,
            f"{proofs.who(op)} polled {what} in the very transaction that sent it",
            (
                f"{proofs.at(op)}: {proofs.who(op)} sent {what} in this operation",
                "however, it polled it in the same operation, before that could have ended: "
                f"{CONTRADICTION}",
            ),
            proofs.events([op]),
            (message,),
        )

    return Cases(polled.key[entries], make)


def phantoms(order: Order) -> Cases:
    """Messages polled before anybody had sent them, or that nobody sent at all."""
    proofs, polled = Proofs(order), order.tables.polled
    early = np.flatnonzero(order.begun[order.polled] > order.tables.end[polled.op])
    messages, first = np.unique(order.polled[early], return_index=True)

    def make(number: int) -> Case:
        op, message = int(polled.op[early[first[number]]]), int(messages[number])
        key = int(order.key[message])
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        return Case(
            key,
            f"{proofs.who(op)} polled {what}, which nobody had sent",
            (
                f"{proofs.at(op)}: {proofs.who(op)} polled {what}",
                f"however, nobody had sent that to this key: {CONTRADICTION}",
            ),
            proofs.events([op]),
        )

    return Cases(order.key[messages], make)


def lost_writes(order: Order) -> Cases:
    """Messages that must have been read, since somebody read one behind them, and were not."""
    proofs, tables = Proofs(order), order.tables
    messages = np.flatnonzero(_lost(order))
    behind = _first_behind(order, order.last_slot[messages])

    def argue(message: int) -> Case:
        key, slot = int(order.key[message]), int(order.last_slot[message])
        sender, *_ = senders = proofs.senders(message)
        place, exists = proofs.lies(message, slot, sender), proofs.took_place(sender)
        entry = int(behind[np.searchsorted(messages, message)])
        reader, later = int(tables.polled.op[entry]), int(order.polled[entry])
        there = proofs.lies(later, int(order.first_slot[later]), reader)
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        told = f"{proofs.at(sender)}: {proofs.who(sender)} sent {what}"
        told += ", acknowledged" if tables.status[sender] == OK else ", with an unknown outcome"
        because = [
            told if sender not in place.ops else "",
            *exists.sentences,
            *place.sentences,
            f"{proofs.at(reader)}: {proofs.who(reader)} polled {proofs.message(later)}"
            if reader not in there.ops
            else "",
            *there.sentences,
            f"so everything up to there was to be read; however, nobody ever polled "
            f"{proofs.message(message)}: {CONTRADICTION}",
        ]
        return Case(
            key,
            f"{what} took place and then disappeared",
            tuple(dict.fromkeys(sentence for sentence in because if sentence)),
            proofs.events([*senders, *exists.ops, *place.ops, reader, *there.ops]),
            (message,),
        )

    seen_at = tables.history.time[tables.end[tables.polled.op[behind]]]
    return _of_messages(order, messages, argue, seen_at)


def _lost(order: Order) -> Bools:
    """bool[messages]; which took place and were never read, though somebody read one behind."""
    bound = np.full(len(order.tables.keys), UNKNOWN, np.int64)
    seen = order.polled[_passing(order)]
    np.maximum.at(bound, order.key[seen], order.first_slot[seen])
    passed = (order.first_slot != UNKNOWN) & (order.last_slot <= bound[order.key])
    lost: Bools = passed & ~order.read & order.must_exist & ~deletable(order)
    return lost


def _passing(order: Order) -> Ints:
    """Entries of OK polls, in known slots, of processes that had to pass all that lies before.

    Who has sought a position may have jumped over what lies before it, and so may who subscribed:
    a group goes on from what it has committed, or begins where `auto.offset.reset` says, which is
    the end by default; neither stands in the history. What such a process reads says nothing of
    the rest from then on. Jepsen takes it for a proof all the same, so that there a group which
    begins at the end "loses" all that was sent before. Where final reads follow, which take keys by
    assignment from the beginning, nothing is missed by asking for more.
    """
    tables, polled = order.tables, order.tables.polled
    fits = (tables.status[polled.op] == OK) & (order.first_slot[order.polled] != UNKNOWN)
    sought = tables.history.select(f=("seek", "subscribe"))
    if len(sought):
        by, first = np.unique(tables.history.process[sought], return_index=True)
        process = tables.process[polled.op]
        row = np.minimum(np.searchsorted(by, process), len(by) - 1)
        fits &= (by[row] != process) | (tables.begin[polled.op] < sought[first][row])
    return np.flatnonzero(fits)


def _first_behind(order: Order, slots: Ints) -> Ints:
    """int64[slots]; the first entry of an OK poll of something in that slot or behind it."""
    if not len(slots):
        return slots
    polled, entries = order.tables.polled, _passing(order)
    entries = entries[order_by(polled.key[entries])]
    # Slots ascend by key, and so does the highest one up to each entry.
    highest = np.maximum.accumulate(order.first_slot[order.polled[entries]])
    first: Ints = entries[np.searchsorted(highest, slots)]
    return first


def unseen(order: Order) -> Cases:
    """Acknowledged messages that nobody read although complete final reads followed."""
    proofs, sent = Proofs(order), order.tables.sent
    final = final_reads(order.tables.history)
    candidates = _not_found(order, final)
    if final is None or not len(candidates):
        return Cases(np.zeros(0, np.int64), lambda _: _none())
    messages, first = np.unique(order.sent[candidates], return_index=True)
    begin, end = proofs.event(final.begin[0]), proofs.event(final.end[-1])

    def argue(message: int) -> Case:
        sender = int(sent.op[candidates[first[np.searchsorted(messages, message)]]])
        key = int(order.key[message])
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        return Case(
            key,
            f"{what} was acknowledged, and the final reads did not find it",
            (
                f"{proofs.at(sender)}: {proofs.who(sender)} was told that {what} is in the log",
                f"{begin} to {end}: the final reads read every key from its beginning to its end",
                f"however, nobody ever polled it: {CONTRADICTION}",
            ),
            (*proofs.events([sender]), final.begin, final.end),
            (message,),
        )

    seen_at = order.tables.history.time[[final.end[-1]] * len(messages)]
    return _of_messages(order, messages, argue, seen_at)


def _not_found(order: Order, final: FinalReads | None) -> Ints:
    """Entries acknowledged before complete final reads, of messages that nobody ever read."""
    tables, sent = order.tables, order.tables.sent
    if final is None or not final.complete:
        return np.zeros(0, np.int64)
    in_time = (tables.status[sent.op] == OK) & (tables.end[sent.op] < final.begin[0])
    missing = ~order.read & ~deletable(order)
    return np.flatnonzero(in_time & missing[order.sent])


def unjudged(order: Order) -> int:
    """How many messages were acknowledged and never read, and nobody looked whether they are there:
    no one read past them, and no complete final reads followed."""
    missing = order.acknowledged & ~order.read & ~_lost(order) & ~deletable(order)
    missing[order.sent[_not_found(order, final_reads(order.tables.history))]] = False
    return int(missing.sum())


def read_then_lost(order: Order) -> Cases:
    """Messages that were read before complete final reads, which did not find them any more.

    What begins during the final reads counts as one, whoever polls: who finds a message then shows
    that it is there. An operation across their beginning shows neither.
    """
    proofs, tables, polled = Proofs(order), order.tables, order.tables.polled
    final = final_reads(tables.history)
    if final is None or not final.complete:
        return Cases(np.zeros(0, np.int64), lambda _: _none())
    is_ok = tables.status[polled.op] == OK
    begin, end = tables.begin[polled.op], tables.end[polled.op]
    earlier = np.flatnonzero(is_ok & (end < final.begin[0]))
    there = np.zeros(len(order.key), np.bool_)
    there[order.polled[earlier]] = True
    there[order.polled[is_ok & (begin > final.begin[0]) & (begin < final.end[-1])]] = False

    def argue(message: int) -> Case:
        sender, *_ = senders = proofs.senders(message)
        reader = int(polled.op[earlier[order.polled[earlier] == message][0]])
        key = int(order.key[message])
        what = f"{proofs.message(message)} of {proofs.key(key)}"
        told = "acknowledged" if tables.status[sender] == OK else "with an unknown outcome"
        since, until = proofs.event(final.begin[0]), proofs.event(final.end[-1])
        return Case(
            key,
            f"{what} was polled, and the final reads did not find it",
            (
                f"{proofs.at(sender)}: {proofs.who(sender)} sent {what}, {told}",
                f"{proofs.at(reader)}: {proofs.who(reader)} polled it",
                f"{since} to {until}: the final reads read every key from its beginning to its end",
                f"however, none of them polled it: {CONTRADICTION}",
            ),
            (*proofs.events([*senders, reader]), final.begin, final.end),
            (message,),
        )

    messages = np.flatnonzero(there & order.must_exist & ~deletable(order))
    seen_at = tables.history.time[[final.end[-1]] * len(messages)]
    return _of_messages(order, messages, argue, seen_at)


def repeated(order: Order) -> Ints:
    """Messages that were sent more than once: the workload broke its promise, not the system."""
    return np.flatnonzero(order.sends > 1)


def _none() -> Case:
    raise IndexError("there is no such case")


def _of_messages(
    order: Order, messages: Ints, argue: Callable[[int], Case], seen_at: Ints | None = None
) -> Cases:
    """A case a message, in the order in which they were first sent; `seen_at`: when it was seen."""
    by_send = np.argsort(order.begun[messages], kind="stable")
    messages = messages[by_send]
    windows = None if seen_at is None else spans.of_messages(order, messages, seen_at[by_send])
    return Cases(order.key[messages], lambda number: argue(int(messages[number])), windows)


def _counted(of: Ints, what: Ints, which: Bools) -> tuple[Ints, Ints]:
    """(those of `which`, how many different `what` each has) by pairs of `of` and `what`."""
    there = np.flatnonzero(which[of])
    if not len(there):
        return there, there
    _, owner, _ = paired(of[there], int(of.max()) + 1, what[there])
    codes, distinct = dense(owner)
    return distinct, np.bincount(codes)
