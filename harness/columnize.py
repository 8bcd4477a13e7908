"""Values on their way into columns, a batch at a time.

Values come in two forms. *Typed* ones were decoded by msgspec into the few types of `harness.mops`,
as nearly all of a history can be, and become columns by NumPy. *Plain* ones are any JSON; `normal`
brings each of them into the same types first, turning what is no integer into codes.

Cost: typed about 0.7 µs a value, plain about 3 µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, compress
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from harness.batches import (
    ENTRY_COLUMNS,
    MOP_COLUMNS,
    Batch,
    Columns,
    Places,
    spread,
    starts,
)
from harness.columns import (
    BARE,
    INTEGER_MIN,
    LIST,
    MAP,
    MICRO,
    MISSING,
    NONE,
    NULL,
    OBJECT_MIN,
    OFFSET,
    PAIR,
    RAW,
    SCALAR,
    VALUE,
    Blobs,
    Micro,
    Values,
)
from harness.mops import (
    MOPS,
    Entries,
    Mop,
    Poll,
    Read,
    Send,
    Untyped,
    ints,
    is_idle,
    poll_columns,
    read_columns,
    repeat,
    send_columns,
    within,
)
from harness.numbering import renumbered, renumbered_objects, translated, translated_objects

_USUAL = frozenset({int, list, type(None)})
_CODED = ("scalar", "pair", "mop_key", "entry_key", "entry_offset", "entry_value")
"""The columns of codes, in the order in which their objects are numbered."""

_SHAPES = {type(None): NONE, int: SCALAR, tuple: PAIR, list: MICRO, bytes: RAW}


def dump(value: Any) -> bytes:
    """Compact JSON, integers of any size included."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class Columnizer:
    """Collects the values of a history, in order; `finish` makes the columns."""

    fs: dict[str, int] = field(default_factory=dict)
    objects: dict[bytes, int] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    exact: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def typed(self, values: list[Any]) -> Batch:
        """Columns of values that msgspec decoded as `Typed`; the list is changed.

        Raises:
            Untyped: one does not fit, e.g. a key of more than 64 bits.
        """
        kinds = set(map(type, values))
        lists = values if len(kinds) == 1 else [v for v in values if type(v) is list]
        if not kinds <= _USUAL or (list in kinds and not _all_micro(lists)):
            self._normalise(values)
        elif int in kinds:
            within(ints(v for v in values if type(v) is int))
        try:
            return self._batch(values)
        except OverflowError as error:
            raise Untyped from error

    def plain(self, values: Iterable[Any]) -> Batch:
        """Columns of any JSON values."""
        return self._batch(list(map(self.normal, values)))

    def add(self, batch: Batch) -> None:
        """Put a batch behind those before."""
        self.raw += batch.raw
        self.exact |= {self.size + at: blob for at, blob in batch.exact.items()}
        self.size += len(batch.shape)
        for name, column in batch.columns.items():
            self.parts.setdefault(name, []).append(column)

    def append(self, other: Columnizer) -> None:
        """Put another's values behind these, which uses it up."""
        for name in list(other.parts):
            joined = other._joined(name, np.int64)
            if name in _CODED:
                joined = translated_objects(joined, other.objects, self.objects)
            elif name == "mop_f":
                joined = translated(joined, other.fs, self.fs)
            self.parts.setdefault(name, []).append(joined)
        self.raw += other.raw
        self.exact |= {self.size + at: blob for at, blob in other.exact.items()}
        self.size += other.size

    def fits_behind(self, before: Columnizer) -> bool:
        """Whether the names of both have codes, however different they are."""
        return len(self.fs) + len(before.fs) <= np.iinfo(np.int16).max

    def normal(self, value: Any) -> int | tuple[int, int] | list[Mop] | bytes | None:
        """Any JSON value as one of the types of `_SHAPES`; integers are codes."""
        if value is None:
            return None
        kind = type(value)
        if kind is int or kind is str or kind is float or kind is bool:
            return self.code(value)
        if kind is list:
            if value and all(type(mop) is list and mop and type(mop[0]) is str for mop in value):
                mops = [micro for mop in value if (micro := self._mop(mop)) is not None]
                if len(mops) == len(value):
                    return mops
            return self._normal_list(value)
        return dump(value)

    def code(self, value: Any) -> int:
        """The code of one value."""
        if value is None:
            return NULL
        if type(value) is int and INTEGER_MIN <= value < 2**63:
            return value
        return OBJECT_MIN + self.objects.setdefault(dump(value), len(self.objects))

    def finish(self) -> Values:
        """The columns of all values; the columnizer is empty afterwards."""
        shape = self._joined("shape", np.int8)
        row = np.zeros(self.size, np.int32)
        for one in (SCALAR, PAIR, MICRO, RAW):
            there = np.flatnonzero(shape == one)
            row[there] = np.arange(len(there), dtype=np.int32)
        coded, objects = renumbered_objects(
            [self._joined(name, np.int64) for name in _CODED], self.objects
        )
        scalar, pair, mop_key, entry_key, entry_offset, entry_value = coded
        mop_f, fs = renumbered(self._joined("mop_f", np.int16), self.fs)
        micro = Micro(
            tuple(fs),
            starts(self._joined("mops", np.int32)),
            mop_f,
            self._joined("mop_form", np.int8),
            mop_key,
            starts(self._joined("entries", np.int32)),
            entry_key,
            entry_offset,
            entry_value,
        )
        exact = sorted(self.exact.items())
        return Values(
            shape=shape,
            row=row,
            scalar=scalar,
            pair=pair.reshape(-1, 2),
            micro=micro,
            raw=Blobs.of(self.raw),
            objects=Blobs.of(objects),
            exact_position=np.array([position for position, _ in exact], np.int64),
            exact=Blobs.of([blob for _, blob in exact]),
        )

    def _normalise(self, values: list[Any]) -> None:
        """Bring typed values into the types of `_SHAPES`, in place."""
        for place, value in enumerate(values):
            if type(value) is not list:
                values[place] = self.normal(value)
            elif not value or type(value[0]) not in MOPS:
                values[place] = self._normal_list(value)

    # -- plain values ----------------------------------------------------------------------------

    def _normal_list(self, value: list[Any]) -> tuple[int, int] | bytes:
        if len(value) == 2 and type(value[0]) is int and INTEGER_MIN <= value[0] < 2**63:
            second = value[1]
            # A small container gets a code too: the two sides of a cas on an independent key.
            if type(second) is not dict and (type(second) is not list or _is_small(second)):
                return value[0], self.code(second)
        if any(type(item) in MOPS for item in value):
            raise Untyped
        return dump(value)

    def _mop(self, mop: list[Any]) -> Mop | None:
        f = mop[0]
        if len(mop) == 1:
            return Mop(f, BARE, MISSING, [], mop)
        if len(mop) == 2:
            return self._poll(mop)
        if len(mop) != 3:
            return None
        key, value = self.code(mop[1]), mop[2]
        if f == "r" and type(value) is list:
            return Mop(f, LIST, key, [(key, MISSING, self.code(item)) for item in value], mop)
        if f == "send" and type(value) is list and len(value) == 2 and _is_offset(value[0]):
            return Mop(f, OFFSET, key, [(key, self.code(value[0]), self.code(value[1]))], mop)
        return Mop(f, VALUE, key, [(key, MISSING, self.code(value))], mop)

    def _poll(self, mop: list[Any]) -> Mop | None:
        """["poll", {k: [[offset, v], …]}], or None if it is not quite that."""
        f, messages = mop
        if f != "poll" or type(messages) is not dict:
            return None
        entries = []
        for name, pairs in messages.items():
            if type(pairs) is not list:
                return None
            key = self.code(_key(name))
            for pair in pairs:
                if type(pair) is not list or len(pair) != 2 or not _is_offset(pair[0]):
                    return None
                entries.append((key, self.code(pair[0]), self.code(pair[1])))
        return Mop(f, MAP, MISSING, entries, mop)

    # -- batches ---------------------------------------------------------------------------------

    def _batch(self, values: list[Any]) -> Batch:
        """Columns of values of the types of `_SHAPES`."""
        shape = np.fromiter(map(_SHAPES.__getitem__, map(type, values)), np.int8, len(values))
        present = set(shape.tolist())
        batch = Batch({"shape": shape})
        if SCALAR in present:
            batch.columns["scalar"] = ints(v for v in values if type(v) is int)
        if PAIR in present:
            pairs = (v for pair in values if type(pair) is tuple for v in pair)
            batch.columns["pair"] = ints(pairs)
        if MICRO in present:
            rows = values if len(present) == 1 else [v for v in values if type(v) is list]
            mops = list(chain.from_iterable(rows))
            batch.columns["mops"] = np.fromiter(map(len, rows), np.int32, len(rows))
            columns, idle = self._mops(mops)
            batch.columns |= columns
            if idle:
                batch.exact = _exact(rows, np.flatnonzero(shape == MICRO))
        if RAW in present:
            batch.raw = [v for v in values if type(v) is bytes]
        return batch

    def _mops(self, mops: list[Any]) -> tuple[Columns, bool]:
        """The columns of some micro-operations, made type by type; whether a key is idle."""
        types = list(map(type, mops))
        present = set(types)
        if not present <= MOPS.keys():
            raise Untyped
        if len(present) == 1:
            entries = self._columns(types[0], mops)
            return entries.columns(), entries.idle
        codes = np.fromiter(map(MOPS.__getitem__, types), np.int8, len(mops))
        count, idle = np.empty(len(mops), np.int32), False
        parts: list[tuple[Places, Columns]] = []
        for kind, code in MOPS.items():
            if kind in present:
                here = codes == code
                entries = self._columns(kind, list(compress(mops, here.tobytes())))
                count[here] = entries.count
                idle |= entries.idle
                parts.append((np.flatnonzero(here), entries.columns()))
        columns = {name: np.empty(len(mops), dtype) for name, dtype in MOP_COLUMNS.items()}
        for places, part in parts:
            for name in MOP_COLUMNS:
                columns[name][places] = part[name]
        return columns | spread(parts, count, ENTRY_COLUMNS), idle

    def _columns(self, kind: type, mops: list[Any]) -> Entries:
        """Columns of micro-operations that all have the type `kind`."""
        if kind is Mop:
            return self._plain_columns(mops)
        f = self._f(kind.__struct_config__.tag)  # type: ignore[attr-defined]
        if kind is Poll:
            return poll_columns(f, mops)
        key = within(ints(map(attrgetter("key"), mops)))
        if kind is Read:
            return read_columns(f, key, list(map(attrgetter("value"), mops)))
        form = np.full(len(mops), VALUE, np.int8)
        if kind is Send:
            value, offset = send_columns(list(map(attrgetter("value"), mops)))
            form[offset != MISSING] = OFFSET
        else:
            value = within(ints(map(attrgetter("value"), mops)))
            offset = np.full(len(mops), MISSING, np.int64)
        ones = np.ones(len(mops), np.int32)
        return Entries(repeat(f, len(mops)), form, key, ones, key, offset, value)

    def _plain_columns(self, mops: list[Mop]) -> Entries:
        entries = np.array([e for mop in mops for e in mop.entries], np.int64).reshape(-1, 3)
        return Entries(
            np.fromiter((self._f(mop.f) for mop in mops), np.int16, len(mops)),
            np.fromiter((mop.form for mop in mops), np.int8, len(mops)),
            ints([mop.key for mop in mops]),
            np.fromiter((len(mop.entries) for mop in mops), np.int32, len(mops)),
            entry_key=entries[:, 0],
            entry_offset=entries[:, 1],
            entry_value=entries[:, 2],
            idle=any(mop.form == MAP and is_idle(mop.plain[1]) for mop in mops),
        )

    def _f(self, name: str) -> int:
        return self.fs.setdefault(name, len(self.fs))

    def _joined(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        parts = self.parts.pop(name, [])
        return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _is_offset(value: Any) -> bool:
    """Whether this can be an offset: null, or an integer that is its own code."""
    return value is None or (type(value) is int and INTEGER_MIN <= value < 2**63)


def _is_small(value: list[Any]) -> bool:
    return len(value) <= 2 and not any(type(item) in (list, dict) for item in value)


def _key(name: Any) -> Any:
    """A poll's key: the integer that a JSON name spells, else the name."""
    if type(name) is str and name.lstrip("-").isdecimal() and len(name) < 20:
        number = int(name)
        return number if str(number) == name else name
    return name


def _all_micro(lists: Iterable[list[Any]]) -> bool:
    """Whether each list begins with a micro-operation."""
    try:
        return set(map(type, map(itemgetter(0), lists))) <= MOPS.keys()
    except IndexError:
        return False


def _exact(rows: list[list[Any]], positions: NDArray[np.int64]) -> dict[int, bytes]:
    """JSON of the rows in which a poll lists a key without messages, by the event's place."""
    spelled = {}
    for position, row in zip(positions.tolist(), rows, strict=True):
        maps = [_messages(mop) for mop in row]
        if any(messages is not None and is_idle(messages) for messages in maps):
            spelled[position] = dump([_plain(mop) for mop in row])
    return spelled


def _plain(mop: Any) -> Any:
    if type(mop) is Mop:
        return mop.plain
    return ["poll"] if type(mop) is Poll and mop.messages is UNSET else mop


def _messages(mop: Any) -> dict[Any, list[Any]] | None:
    if type(mop) is Poll:
        return None if mop.messages is UNSET else mop.messages
    return mop.plain[1] if type(mop) is Mop and mop.form == MAP else None
