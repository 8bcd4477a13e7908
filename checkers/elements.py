"""Operations by the elements that they put in, took out or read, as codes.

An event's value is one element or a list of them; with keys it is `[key, element]` or
`[key, [element, …]]`. A completion of null says nothing new: an operation whose list is null found
none. What failed did not happen; what is in doubt may have, at any time after its begin.

Lists come a batch at a time, so that what they take together never stands in memory.

Cost: about 0.1 µs an element of a list where all are integers, and 1 µs where they are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from checkers.codes import Codes
from checkers.linearizable import calls
from checkers.linearizable.models import Model
from checkers.linearizable.values import Ints, Ops, begins
from harness.columnize import dump
from harness.columns import INTEGER_MIN, NONE, NULL, PAIR, RAW
from harness.history import History
from harness.op import FAIL, OK, Kind

BATCH_BYTES = 1 << 18
"""Of the JSON of lists that are decoded together."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Operations that returned lists, in the order of their begins.

    Attributes:
        begin, end, key: of each operation. size: how many elements it has.
        value: codes of the elements of all, one list after another.
    """

    begin: Ints
    end: Ints
    key: Ints
    size: Ints
    value: Ints

    def owner(self) -> Ints:
        """int64[elements]; the number of the operation that has each."""
        return np.repeat(np.arange(len(self.size)), self.size)


class Elements:
    """Reads the operations of a history.

    Attributes:
        keyed: whether values are `[key, …]`.
        odd: how many of the operations read so far have values of another shape.
    """

    def __init__(
        self, history: History, model: Model, lists: str, keyed: bool | None = None
    ) -> None:
        """`keyed` of a part of a history is that of the whole."""
        self.history = history
        self.keyed = _are_keyed(history, model, lists) if keyed is None else keyed
        self.codes = Codes(history, self.keyed)
        self.odd = 0

    def asked(self, f: str) -> tuple[Ops, Ops]:
        """By what they asked: the operations that happened or may have, and those that failed."""
        begin = begins(self.history, f)
        pair = self.history.pair[begin]
        kind = np.where(pair >= 0, self.history.type[pair], -1)
        end = np.where(kind == OK, pair, len(self.history)).astype(np.int64)
        key, value, odd = self.codes.of(begin)
        self.odd += int(odd.sum())
        every = Ops(begin, end, key, value)
        return every.where(~odd & (kind != FAIL)), every.where(~odd & (kind == FAIL))

    def told(self, f: str) -> Ops:
        """By what they returned: the operations that did."""
        begin, end = self._returned(f)
        key, value, odd = self.codes.of(end)
        if self.keyed:
            silent = np.flatnonzero(self.history.values.shape[end] == NONE)
            key[silent], value[silent], odd[silent] = self.codes.of(begin[silent])
        self.odd += int(odd.sum())
        return Ops(begin, end, key, value).where(~odd)

    def lists(self, f: str) -> Iterator[Lists]:
        """By the lists that they returned: the operations that did, some at a time."""
        begin, end = self._returned(f)
        values = self.history.values
        start = values.raw.start
        raw = values.shape[end] == RAW
        row = np.where(raw, values.row[end], 0)
        size = np.where(raw, start[row + 1] - start[row] if len(values.raw) else 0, 0) + 16
        batch = np.cumsum(size) // BATCH_BYTES
        cuts = np.flatnonzero(batch[1:] != batch[:-1]) + 1
        for some, theirs in zip(np.split(begin, cuts), np.split(end, cuts), strict=True):
            key, count, value = self._batch(some, theirs)
            legible = count >= 0
            self.odd += int((~legible).sum())
            yield Lists(some[legible], theirs[legible], key[legible], count[legible], value)

    def in_doubt(self, f: str) -> list[tuple[int, int | None]]:
        """Operations of which nobody knows whether they happened: where each begins, and its key as
        a code, or None if nobody knows that."""
        begin = begins(self.history, f)
        pair = self.history.pair[begin]
        kind = np.where(pair >= 0, self.history.type[pair], -1)
        begin = begin[(kind != OK) & (kind != FAIL)]
        key, _, odd = self.codes.of(begin)
        return [
            (at, None if unknown else code)
            for at, code, unknown in zip(begin.tolist(), key.tolist(), odd.tolist(), strict=True)
        ]

    def shown(self, code: int) -> Any:
        """The element or the key of a code."""
        return self.codes.decode(code)

    def doubts(self) -> Iterator[str]:
        if self.odd:
            yield f"{self.odd} operations have values that this checker cannot read"

    def _returned(self, f: str) -> tuple[Ints, Ints]:
        begin = begins(self.history, f)
        pair = self.history.pair[begin]
        fine = (pair >= 0) & (self.history.type[pair] == OK)
        return begin[fine], pair[fine].astype(np.int64)

    # -- lists -------------------------------------------------------------------------------------

    def _batch(self, begin: Ints, end: Ints) -> tuple[Ints, Ints, Ints]:
        """Of some operations: key, length of the list (-1 if it is none), elements of all."""
        texts = [self._json(*at) for at in zip(begin.tolist(), end.tolist(), strict=True)]
        found = self._integers(b"[" + b",".join(texts) + b"]")
        return self._any(texts) if found is None else found

    def _json(self, begin: int, end: int) -> bytes:
        """What the operation told: a list, or a list of key and list, or something else."""
        values = self.history.values
        shape = values.shape[end]
        if shape == RAW:
            return values.raw[int(values.row[end])]
        told = values.get(end)
        if not self.keyed:
            return b"[]" if told is None else dump(told)
        if told is None:
            told = values.get(begin)
            told = [*told[:1], None] if isinstance(told, list) else told
        if shape in (PAIR, NONE) and isinstance(told, list) and len(told) == 2 and told[1] is None:
            told[1] = []
        return dump(told)

    def _integers(self, text: bytes) -> tuple[Ints, Ints, Ints] | None:
        """The batch if it has integers only."""
        try:
            if self.keyed:
                pairs = _KEYED.decode(text)
                key = np.fromiter((pair[0] for pair in pairs), np.int64, len(pairs))
                lists = [pair[1] for pair in pairs]
            else:
                lists = _PLAIN.decode(text)
                key = np.full(len(lists), NULL, np.int64)
            size = np.fromiter(map(len, lists), np.int64, len(lists))
            value = np.fromiter(chain.from_iterable(lists), np.int64, int(size.sum()))
        except (msgspec.ValidationError, OverflowError):
            return None
        if self.keyed and key.min(initial=0) < INTEGER_MIN:
            return None
        return None if value.min(initial=0) < INTEGER_MIN else (key, size, value)

    def _any(self, texts: list[bytes]) -> tuple[Ints, Ints, Ints]:
        key = np.full(len(texts), NULL, np.int64)
        size = np.full(len(texts), -1, np.int64)
        elements: list[int] = []
        for place, text in enumerate(texts):
            told = msgspec.json.decode(text)
            if self.keyed:
                if not isinstance(told, list) or len(told) != 2:
                    continue
                key[place], told = self.codes.code(told[0]), told[1]
                told = [] if told is None else told
            if isinstance(told, list):
                size[place] = len(told)
                elements += map(self.codes.code, told)
        return key, size, np.array(elements, np.int64)


_PLAIN = msgspec.json.Decoder(list[list[int]])
_KEYED = msgspec.json.Decoder(list[tuple[int, list[int]]])


def _are_keyed(history: History, model: Model, lists: str) -> bool:
    """Whether values are `[key, element]`, and lists `[key, [element, …]]`.

    Elements may be pairs themselves: then lists of them look keyed by chance, if at all.
    """
    asked = np.concatenate([begins(history, f) for f in sorted(model.writers)])
    others = len(asked) or len(history.select(f=model.readers, type=Kind.OK))
    if others and not calls.are_keyed(history, model):
        return False
    told = history.select(f=lists, type=Kind.OK)
    told = told[history.process[told] >= 0].tolist()
    if not told:
        return others > 0
    codes = Codes(history, keyed=True)
    keys = set(np.unique(codes.of(asked)[0]).tolist())
    alike = True
    for at in told:
        value = history.values.get(at)
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], list | None):
            if codes.code(value[0]) in keys:
                return True
            alike &= not isinstance(value[0], list | dict)
        elif isinstance(value, list):
            alike = False
    return alike
