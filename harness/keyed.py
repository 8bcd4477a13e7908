"""A history of independent objects, key by key.

The value of an operation on one of many objects is `[key, value]`, in Jepsen's words a tuple of
`jepsen.independent`. Each object has a history of its own: the operations of its key, whose values
are without it there, and all events that have no key, as those of the nemesis are.

An operation has the key that either of its events has: a client that never came back, or told
nothing, still was about the object that it had been asked for. One whose completion names another
key than its invocation is in doubt: it is pending in the history of the key that it was asked for.

Blind to: lists of two that are no keyed values, in histories in which others are; keys of values
that look like two micro-operations, `[["x", 1], ["y", 2]]`.
Cost: about 1 µs an event, 5 where values are transactions; then, key by key, about 0.2 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.batches import Batch, merged
from harness.columnize import Columnizer, dump
from harness.columns import NONE, NULL, OBJECT_MIN, PAIR, RAW, SCALAR, Values, is_object
from harness.history import History
from harness.mops import Typed, Untyped
from harness.op import INVOKE
from harness.parts import part

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_NOWHERE, _EVERYWHERE = -2, -1
BATCH_VALUES = 8192

EVERYWHERE_MAX = 100_000_000
"""Events without a key times keys, beyond which those of clients are left out: they would take
minutes to read before anybody judges them."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """A history, and which event belongs to which key.

    Attributes:
        keys: as the history has them, in the order in which they first occur.
        key: int64[n], of each event its number among `keys`, or _EVERYWHERE or _NOWHERE.
        carries: bool[n], whose value is `[key, value]`.
        mixed: how many operations have completions of another key.
        everywhere: the events that belong to all keys.
        left_out: how many clients' operations without a key do not, since keys are too many.
    """

    history: History
    keys: list[Any]
    key: Ints
    carries: Bools
    mixed: int
    everywhere: Ints
    left_out: int

    @staticmethod
    def of(history: History) -> Keyed:
        clients = history.process >= 0
        own, names = _keys(history.values, clients)
        carries = own >= 0
        begin = np.flatnonzero(clients & (history.type == INVOKE))
        begin = begin[history.pair[begin] >= 0]
        end = history.pair[begin]
        asked, told = own[begin], own[end]
        mixed = (asked >= 0) & (told >= 0) & (asked != told)
        key = own.copy()
        key[begin] = np.where(asked >= 0, asked, told)
        key[end] = np.where(mixed, _NOWHERE, key[begin])
        everywhere, left_out = np.flatnonzero(key == _EVERYWHERE), 0
        if len(everywhere) * len(names) > EVERYWHERE_MAX:
            of_clients = clients[everywhere]
            left_out = int((history.type[everywhere[of_clients]] == INVOKE).sum())
            everywhere = everywhere[~of_clients]
        return Keyed(history, names, key, carries, int(mixed.sum()), everywhere, left_out)

    @property
    def are_all_keyed(self) -> bool:
        """Whether every operation of a client has one key."""
        others = (self.key < 0) & (self.history.process >= 0)
        return bool(self.keys) and not others.any()

    def parts(self) -> Iterator[tuple[Any, History, Ints]]:
        """Each key, its history, and the indices of its events in the whole one."""
        bare = replace(self.history, values=_stripped(self))
        order = np.argsort(self.key, kind="stable")
        start = np.searchsorted(self.key[order], np.arange(len(self.keys) + 1))
        for number, key in enumerate(self.keys):
            own = order[start[number] : start[number + 1]]
            if len(self.everywhere):
                own = np.sort(np.concatenate((own, self.everywhere)))
            yield key, part(bare, own), own


# -- which key an event has ----------------------------------------------------------------------


def _keys(values: Values, clients: Bools) -> tuple[Ints, list[Any]]:
    """Of each event the number of the key in its value, -1 if there is none; and the keys."""
    found = np.full(len(values.shape), -1, np.int64)
    texts: dict[bytes, int] = {}
    at = np.flatnonzero((values.shape == PAIR) & clients)
    codes, which = np.unique(values.pair[values.row[at], 0], return_inverse=True)
    numbers = [texts.setdefault(dump(code), len(texts)) for code in codes.tolist()]
    found[at] = np.array(numbers, np.int64)[which]
    for position in np.flatnonzero((values.shape == RAW) & clients).tolist():
        pair = _pair(values.raw[values.row[position]])
        if pair is not None:
            found[position] = texts.setdefault(bytes(pair[0]), len(texts))
    return _by_first_place(found, [msgspec.json.decode(text) for text in texts])


def _by_first_place(numbers: Ints, names: list[Any]) -> tuple[Ints, list[Any]]:
    there = np.flatnonzero(numbers >= 0)
    met, first = np.unique(numbers[there], return_index=True)
    order = met[np.argsort(first)]
    rank = np.zeros(len(names) + 1, np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    return rank[numbers], [names[number] for number in order.tolist()]


_LIST = msgspec.json.Decoder(list[msgspec.Raw])


def _pair(text: bytes) -> list[msgspec.Raw] | None:
    """The two values of a list of two, as JSON."""
    if not text.startswith(b"["):
        return None
    pair = _LIST.decode(text)
    return pair if len(pair) == 2 else None


# -- values without their keys -------------------------------------------------------------------


def _stripped(keyed: Keyed) -> Values:
    values = keyed.history.values
    code, plain = _plain(values, keyed.carries)
    columnizer = Columnizer(objects=_numbered(values))
    shape = np.where(code[plain] == NULL, NONE, SCALAR).astype(np.int8)
    scalars = code[plain][shape == SCALAR]
    parts = [(np.flatnonzero(plain), Batch({"shape": shape, "scalar": scalars}))]
    rest = np.flatnonzero(~plain)
    for begin in range(0, len(rest), BATCH_VALUES):
        places = rest[begin : begin + BATCH_VALUES]
        texts = [_text(values, place, bool(keyed.carries[place])) for place in places.tolist()]
        parts.append((places, _batch(columnizer, texts)))
    columnizer.add(merged(parts, len(plain)))
    return columnizer.finish()


def _plain(values: Values, carries: Bools) -> tuple[Ints, Bools]:
    """The code of each event's value without its key, where one says it; and where."""
    code = np.full(len(carries), NULL, np.int64)
    plain = values.shape == NONE
    scalar = values.shape == SCALAR
    code[scalar] = values.scalar[values.row[scalar]]
    pairs = np.flatnonzero((values.shape == PAIR) & carries)
    second = values.pair[values.row[pairs], 1]
    # A small list has a code as the value of a pair, and none of its own.
    lists = np.array([values.objects[at][:1] == b"[" for at in range(len(values.objects))], bool)
    is_list = np.zeros(len(second), np.bool_)
    objects = is_object(second)
    is_list[objects] = lists[second[objects] - OBJECT_MIN]
    code[pairs] = second
    plain |= scalar
    plain[pairs] = ~is_list
    return code, plain


def _numbered(values: Values) -> dict[bytes, int]:
    return {values.objects[at]: at for at in range(len(values.objects))}


def _text(values: Values, place: int, carries: bool) -> bytes:
    """The JSON of an event's value, without its key."""
    row = int(values.row[place])
    if values.shape[place] == RAW:
        text = values.raw[row]
        pair = _pair(text) if carries else None
        return text if pair is None else bytes(pair[1])
    if carries:
        return values.objects[int(values.pair[row, 1]) - OBJECT_MIN]
    return dump(values.get(place))


_TYPED = msgspec.json.Decoder(Typed)


def _batch(columnizer: Columnizer, texts: list[bytes]) -> Batch:
    try:
        return columnizer.typed([_TYPED.decode(text) for text in texts])
    except (msgspec.DecodeError, Untyped, OverflowError):
        return columnizer.plain(map(msgspec.json.decode, texts))
