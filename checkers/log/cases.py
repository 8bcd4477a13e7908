"""Cases of an anomaly, and what proves them.

A *case* names the operations that are enough to show it, and argues from them. It is made twice:
from the whole history, for its operations; and from these operations alone, for its sentences,
so that no sentence can speak of anything else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from checkers.log.codes import Ints
from checkers.log.order import Order
from harness.op import INFO, OK
from harness.windows import Windows

CONTRADICTION = "a contradiction"


@dataclass(frozen=True, slots=True)
class Case:
    """One occurrence of an anomaly.

    Attributes:
        key: row of the key it is about.
        operations: positions of the events of each operation that it needs, or more of them.
        messages: what it is about; a cause lies after they were first sent.
    """

    key: int
    claim: str
    because: tuple[str, ...]
    operations: tuple[tuple[int, ...], ...]
    messages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Cases:
    """All cases of an anomaly in a history.

    Attributes:
        keys: int64[cases], row of the key of each, the worst case first.
        make: the case of this number.
        windows: when the cause of each must lie; None where nothing licences the anomaly.
    """

    keys: Ints
    make: Callable[[int], Case]
    windows: Windows | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Proof:
    """Operations, and the sentences that say what they prove."""

    ops: tuple[int, ...]
    sentences: tuple[str, ...]


class Proofs:
    """Finds the operations that prove a thing about an order, and words for them."""

    def __init__(self, order: Order) -> None:
        self.order, self.tables = order, order.tables

    # -- words -----------------------------------------------------------------------------------

    def message(self, message: int) -> str:
        return f"message {json.dumps(self.value(message), ensure_ascii=False)}"

    def value(self, message: int) -> Any:
        return self.tables.value(int(self.order.value[message]))

    def key(self, key: int) -> str:
        return f"key {json.dumps(self.tables.keys[key], ensure_ascii=False)}"

    def who(self, op: int) -> str:
        return f"process {self.tables.process[op]}"

    def at(self, op: int) -> str:
        """The operation by the index of its last event."""
        return self.event(self.tables.events(op)[-1])

    def event(self, position: int) -> str:
        index = self.tables.index
        return f"op {position if index is None else index[position]}"

    def offset(self, slot: int) -> str:
        return f"offset {self.order.slot_offset[slot]}"

    def events(self, ops: Iterable[int]) -> tuple[tuple[int, ...], ...]:
        """The events of some operations, each once."""
        return tuple(self.tables.events(op) for op in dict.fromkeys(ops))

    # -- proofs ----------------------------------------------------------------------------------

    def lies(self, message: int, slot: int, op: int | None = None, *, seen: bool = False) -> Proof:
        """That a message lies in a slot, by operation `op` if it alone proves it.

        An acknowledged send is the plainest proof, then a poll, the earliest of each; a send with
        an unknown outcome needs somebody who read what it sent. `seen`: rather a poll, if any.
        """
        order, sent = self.order, self.tables.sent
        source = order.source[(order.place == slot) & (order.placed == message)]
        assert len(source), "a slot that nothing proves"
        sends, polls = source[source < len(sent)], source[source >= len(sent)] - len(sent)
        told = sent.op[sends[self.tables.status[sent.op[sends]] == OK]].tolist()
        saw = self.tables.polled.op[polls].tolist()
        if op is not None and op in (*told, *saw):
            told, saw = ([op], []) if op in told else ([], [op])
        if seen and saw:
            told = []
        place = f"{self.offset(slot)} of {self.key(int(order.key[message]))}"
        what = self.message(message)
        if told:
            by = min(told)
            said = f"{self.at(by)}: {self.who(by)} was told that its {what} is at {place}"
            return Proof((by,), (said,))
        if saw:
            by = min(saw)
            return Proof((by,), (f"{self.at(by)}: {self.who(by)} polled {what} at {place}",))
        by = int(sent.op[sends].min())
        said = f"{self.at(by)}: {self.who(by)} sent {what} to {place}, and its outcome is unknown"
        reader = self.took_place(by)
        return Proof((by, *reader.ops), (said, *reader.sentences))

    def took_place(self, op: int) -> Proof:
        """That a send must have taken place; nothing more to say if it is OK."""
        order, sent, polled = self.order, self.tables.sent, self.tables.polled
        if self.tables.status[op] == OK:
            return Proof((), ())
        assert self.tables.status[op] == INFO
        own = order.sent[sent.op == op]
        read = np.isin(order.polled, own) & (self.tables.status[polled.op] == OK)
        entry = int(np.flatnonzero(read)[0])
        by, message = int(polled.op[entry]), int(order.polled[entry])
        said = (
            f"{self.at(by)}: {self.who(by)} polled {self.message(message)} of "
            f"{self.key(int(order.key[message]))}, which that operation sent: it took place"
        )
        return Proof((by,), (said,))

    def read(self, message: int) -> tuple[int, int]:
        """The first OK operation that polled the message, and its entry."""
        polled = self.tables.polled
        entries = np.flatnonzero(self.order.polled == message)
        entry = int(entries[self.tables.status[polled.op[entries]] == OK][0])
        return int(polled.op[entry]), entry

    def senders(self, message: int) -> list[int]:
        """The operations that sent the message."""
        ops: list[int] = self.tables.sent.op[self.order.sent == message].tolist()
        return ops
