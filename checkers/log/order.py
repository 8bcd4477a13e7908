"""The log of each key as far as a history proves it: which message lies where.

A *message* is a key and a value; a *slot* is a key and an offset of which something is known. Slots
ascend by key and offset, so that the distance of two slots of one key counts the messages known to
lie between them: gaps in the offsets (control records, compaction) have no slots.

What is known to lie in a slot comes from sends that must have taken place, and from every poll,
failed ones too, since a consumer must only ever be given safe data.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from checkers.log.codes import Bools, Ints, dense, paired
from checkers.log.tables import UNKNOWN, Tables
from harness.op import FAIL, INFO, OK


class Order:
    """Attributes:
    sent, polled: int32, the message of each entry of `tables.sent` and `tables.polled`.
    key, value: int64[messages]; a message's key, and its value's code.
    read: bool[messages], polled by an operation that is OK.
    sends: int64[messages], how many times it was sent; more than one and the workload is to blame.
    committed: bool[ops], must have taken place: OK, or INFO and something that it sent was read.
    slot_key, slot_offset: int64[slots].
    sent_slot, polled_slot: int32, the slot of each entry; UNKNOWN if nothing proves one.
    source: int32[placements], ascending: an entry of `sent`, or behind those one of `polled`.
    placed, place: int32[placements], message and slot.
    views: what others derive from it, by a name of theirs.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.views: dict[str, object] = {}
        sent, polled = tables.sent, tables.polled
        keys = np.concatenate([sent.key, polled.key])
        message, self.key, self.value = paired(
            keys, len(tables.keys), np.concatenate([sent.value, polled.value])
        )
        self.sent, self.polled = message[: len(sent)], message[len(sent) :]
        count = len(self.key)
        self.read = np.zeros(count, np.bool_)
        self.read[self.polled[tables.status[polled.op] == OK]] = True
        self.sends = np.bincount(self.sent, minlength=count)
        self.committed = tables.status == OK
        status = tables.status[sent.op]
        self.committed[sent.op[(status == INFO) & self.read[self.sent]]] = True
        self._place(keys, np.concatenate([sent.offset, polled.offset]))

    def _place(self, keys: Ints, offsets: Ints) -> None:
        sent, count = self.tables.sent, len(self.tables.keys)
        proven = offsets != UNKNOWN
        proven[: len(sent)] &= self.committed[sent.op]
        self.source = there = np.flatnonzero(proven).astype(np.int32)
        self.place, self.slot_key, self.slot_offset = paired(keys[there], count, offsets[there])
        self.placed = np.concatenate([self.sent, self.polled])[there]
        slot = np.full(len(offsets), UNKNOWN, np.int32)
        slot[there] = self.place
        self.sent_slot, self.polled_slot = slot[: len(sent)], slot[len(sent) :]
        self._infer(self.sent, self.sent_slot)
        self._infer(self.polled, self.polled_slot)

    def _infer(self, message: Ints, slot: Ints) -> None:
        """Give entries without an offset the slot of their message, where it has only one."""
        if len(missing := np.flatnonzero(slot == UNKNOWN)):
            found = self.first_slot[message[missing]]
            slot[missing] = np.where(self.moves[message[missing]], UNKNOWN, found)

    @cached_property
    def some_slot(self) -> Ints:
        """int64[messages]; a slot that each message lies in, UNKNOWN if there is none."""
        slot = np.full(len(self.key), UNKNOWN, np.int32)
        slot[self.placed] = self.place
        return slot

    @cached_property
    def moves(self) -> Bools:
        """bool[messages]; which lie in more than one slot."""
        moves = np.zeros(len(self.key), np.bool_)
        moves[self.placed[self.some_slot[self.placed] != self.place]] = True
        return moves

    @cached_property
    def first_slot(self) -> Ints:
        """int64[messages]; the first slot that each lies in, UNKNOWN if there is none."""
        slot = self.some_slot.copy()
        if self.moves.any():
            np.minimum.at(slot, self.placed, self.place)
        return slot

    @cached_property
    def last_slot(self) -> Ints:
        """int64[messages]; the last slot that each lies in, UNKNOWN if there is none."""
        slot = self.some_slot.copy()
        if self.moves.any():
            np.maximum.at(slot, self.placed, self.place)
        return slot

    @cached_property
    def contested(self) -> Bools:
        """bool[slots]; which hold more than one message."""
        some = np.empty(len(self.slot_key), np.int32)
        some[self.place] = self.placed
        contested = np.zeros(len(some), np.bool_)
        contested[self.place[some[self.place] != self.placed]] = True
        return contested

    @cached_property
    def begun(self) -> Ints:
        """int64[messages]; position at which each was first sent, `len(history)` if never."""
        tables = self.tables
        begun = np.full(len(self.key), len(tables.history), np.int64)
        begun[self.sent] = tables.begin[tables.sent.op]
        if (self.sends > 1).any():
            np.minimum.at(begun, self.sent, tables.begin[tables.sent.op])
        return begun

    @cached_property
    def failed(self) -> Bools:
        """bool[messages]; which were sent, and only by operations that failed."""
        return self._all_sent_by(self.tables.status == FAIL)

    @cached_property
    def must_exist(self) -> Bools:
        """bool[messages]; which were sent, and only by operations that must have taken place."""
        return self._all_sent_by(self.committed)

    @cached_property
    def acknowledged(self) -> Bools:
        """bool[messages]; which were sent by an operation that is OK."""
        acknowledged = np.zeros(len(self.key), np.bool_)
        acknowledged[self.sent[self.tables.status[self.tables.sent.op] == OK]] = True
        return acknowledged

    def _all_sent_by(self, ops: Bools) -> Bools:
        every = self.sends > 0
        every[self.sent[~ops[self.tables.sent.op]]] = False
        return every

    def distinct_slots(self, message: int) -> Ints:
        """The slots that a message lies in, ascending."""
        return dense(self.place[self.placed == message])[1]

    def distinct_messages(self, slot: int, *, polled: bool = False) -> Ints:
        """The messages that lie in a slot, ascending; only those that were polled there."""
        there = self.place == slot
        if polled:
            there &= self.source >= len(self.tables.sent)
        return dense(self.placed[there])[1]
