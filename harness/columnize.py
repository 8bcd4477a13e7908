"""Values on their way into columns, a batch at a time.

Values come in two forms. *Typed* ones were decoded by msgspec into the few types below, as nearly
all of a history can be, and become columns by NumPy. *Plain* ones are any JSON; `normal` brings
each of them into the same types first, turning what is no integer into codes.

Cost: typed about 0.7 µs a value, plain about 3 µs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, compress
from operator import attrgetter, is_, itemgetter
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType
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

Ints = NDArray[np.int64]


class Untyped(Exception):
    """A batch of typed values has one that does not fit; decode the batch as plain JSON."""


class Send(Struct, array_like=True, tag="send", forbid_unknown_fields=True, gc=False):
    key: int
    value: int | tuple[int | None, int]


class Poll(Struct, array_like=True, tag="poll", forbid_unknown_fields=True, gc=False):
    messages: dict[int, list[tuple[int | None, int]]] | UnsetType = UNSET


class Append(Struct, array_like=True, tag="append", forbid_unknown_fields=True, gc=False):
    key: int
    value: int


class Write(Struct, array_like=True, tag="w", forbid_unknown_fields=True, gc=False):
    key: int
    value: int


class Read(Struct, array_like=True, tag="r", forbid_unknown_fields=True, gc=False):
    key: int
    value: int | list[int] | None


@dataclass(slots=True)
class Mop:
    """A micro-operation of any name, in codes: what `normal` makes."""

    f: str
    form: int
    key: int
    entries: list[tuple[int, int, int]]  # key, offset, value
    plain: list[Any]


Items = list[int | str | Send | Poll | Append | Write | Read | None]
Typed = bool | int | float | str | dict[str, Any] | Items | None
"""The type that msgspec decodes a value to, or fails."""

_MOPS: dict[type, int] = {
    kind: code for code, kind in enumerate((Send, Poll, Append, Write, Read, Mop))
}
_USUAL = frozenset({int, list, type(None)})
_SHAPES = {type(None): NONE, int: SCALAR, tuple: PAIR, list: MICRO, bytes: RAW}


def dump(value: Any) -> bytes:
    """Compact JSON, integers of any size included."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class _Entries:
    """The mops of one type in a batch. Entries stand in the order of their mops."""

    f: NDArray[np.int16]
    form: NDArray[np.int8]
    key: Ints
    count: NDArray[np.int32]
    entry_key: Ints
    entry_offset: Ints
    entry_value: Ints
    idle: bool = False  # a poll lists a key that has no messages, and so no entry

    def columns(self) -> Columns:
        return {
            "mop_f": self.f,
            "mop_form": self.form,
            "mop_key": self.key,
            "entries": self.count,
            "entry_key": self.entry_key,
            "entry_offset": self.entry_offset,
            "entry_value": self.entry_value,
        }


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
            _within(_ints(v for v in values if type(v) is int))
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
        micro = Micro(
            tuple(self.fs),
            starts(self._joined("mops", np.int32)),
            self._joined("mop_f", np.int16),
            self._joined("mop_form", np.int8),
            self._joined("mop_key", np.int64),
            starts(self._joined("entries", np.int32)),
            self._joined("entry_key", np.int64),
            self._joined("entry_offset", np.int64),
            self._joined("entry_value", np.int64),
        )
        exact = sorted(self.exact.items())
        return Values(
            shape=shape,
            row=row,
            scalar=self._joined("scalar", np.int64),
            pair=self._joined("pair", np.int64).reshape(-1, 2),
            micro=micro,
            raw=Blobs.of(self.raw),
            objects=Blobs.of(list(self.objects)),
            exact_position=np.array([position for position, _ in exact], np.int64),
            exact=Blobs.of([blob for _, blob in exact]),
        )

    def _normalise(self, values: list[Any]) -> None:
        """Bring typed values into the types of `_SHAPES`, in place."""
        for place, value in enumerate(values):
            if type(value) is not list:
                values[place] = self.normal(value)
            elif not value or type(value[0]) not in _MOPS:
                values[place] = self._normal_list(value)

    # -- plain values ----------------------------------------------------------------------------

    def _normal_list(self, value: list[Any]) -> tuple[int, int] | bytes:
        if len(value) == 2 and type(value[0]) is int and INTEGER_MIN <= value[0] < 2**63:
            second = value[1]
            # A small container gets a code too: the two sides of a cas on an independent key.
            if type(second) is not dict and (type(second) is not list or _is_small(second)):
                return value[0], self.code(second)
        if any(type(item) in _MOPS for item in value):
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
            batch.columns["scalar"] = _ints(v for v in values if type(v) is int)
        if PAIR in present:
            pairs = (v for pair in values if type(pair) is tuple for v in pair)
            batch.columns["pair"] = _ints(pairs)
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
        if not present <= _MOPS.keys():
            raise Untyped
        if len(present) == 1:
            entries = self._columns(types[0], mops)
            return entries.columns(), entries.idle
        codes = np.fromiter(map(_MOPS.__getitem__, types), np.int8, len(mops))
        count, idle = np.empty(len(mops), np.int32), False
        parts: list[tuple[Places, Columns]] = []
        for kind, code in _MOPS.items():
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

    def _columns(self, kind: type, mops: list[Any]) -> _Entries:
        """Columns of micro-operations that all have the type `kind`."""
        if kind is Mop:
            return self._plain_columns(mops)
        f = self._f(kind.__struct_config__.tag)  # type: ignore[attr-defined]
        if kind is Poll:
            return _poll_columns(f, mops)
        key = _within(_ints(map(_KEY, mops)))
        if kind is Read:
            return _read_columns(f, key, list(map(_VALUE, mops)))
        form = np.full(len(mops), VALUE, np.int8)
        if kind is Send:
            value, offset = _send_columns(list(map(_VALUE, mops)))
            form[offset != MISSING] = OFFSET
        else:
            value = _within(_ints(map(_VALUE, mops)))
            offset = np.full(len(mops), MISSING, np.int64)
        ones = np.ones(len(mops), np.int32)
        return _Entries(_repeat(f, len(mops)), form, key, ones, key, offset, value)

    def _plain_columns(self, mops: list[Mop]) -> _Entries:
        entries = np.array([e for mop in mops for e in mop.entries], np.int64).reshape(-1, 3)
        return _Entries(
            np.fromiter((self._f(mop.f) for mop in mops), np.int16, len(mops)),
            np.fromiter((mop.form for mop in mops), np.int8, len(mops)),
            _ints([mop.key for mop in mops]),
            np.fromiter((len(mop.entries) for mop in mops), np.int32, len(mops)),
            entry_key=entries[:, 0],
            entry_offset=entries[:, 1],
            entry_value=entries[:, 2],
            idle=any(mop.form == MAP and _is_idle(mop.plain[1]) for mop in mops),
        )

    def _f(self, name: str) -> int:
        return self.fs.setdefault(name, len(self.fs))

    def _joined(self, name: str, dtype: type[np.generic]) -> NDArray[Any]:
        parts = self.parts.pop(name, [])
        return np.concatenate(parts) if parts else np.zeros(0, dtype)


_KEY, _VALUE, _MESSAGES = attrgetter("key"), attrgetter("value"), attrgetter("messages")


def _ints(numbers: Iterable[int]) -> Ints:
    return np.fromiter(numbers, np.int64)


def _within(numbers: Ints) -> Ints:
    """The numbers, none of which may be mistaken for another code."""
    if len(numbers) and numbers.min() < INTEGER_MIN:
        raise Untyped
    return numbers


def _repeat(f: int, count: int) -> NDArray[np.int16]:
    return np.full(count, f, np.int16)


def _offsets(offsets: list[int | None]) -> Ints:
    """Offsets as codes; None is an offset that nobody knows."""
    _within(_ints([offset for offset in offsets if offset is not None]))
    return _ints([NULL if offset is None else offset for offset in offsets])


def _all_micro(lists: Iterable[list[Any]]) -> bool:
    """Whether each list begins with a micro-operation."""
    try:
        return set(map(type, map(itemgetter(0), lists))) <= _MOPS.keys()
    except IndexError:
        return False


def _parted(values: list[Any], kind: type) -> tuple[NDArray[np.bool_], list[Any], list[Any]]:
    """Which of the values have the type, those that do, and those that do not."""
    there = np.fromiter(map(partial(is_, kind), map(type, values)), np.bool_, len(values))
    return (
        there,
        list(compress(values, there.tobytes())),
        list(compress(values, (~there).tobytes())),
    )


def _send_columns(values: list[int | tuple[int | None, int]]) -> tuple[Ints, Ints]:
    """(value, offset) of sends, some of which are [offset, value]."""
    there, pairs, plain = _parted(values, tuple)
    value, offset = np.empty(len(values), np.int64), np.full(len(values), MISSING, np.int64)
    value[~there] = _ints(plain)
    offset[there], value[there] = _pairs(pairs)
    return _within(value), offset


def _pairs(pairs: list[tuple[int | None, int]]) -> tuple[Ints, Ints]:
    """(offset, value) of pairs; an offset that nobody knows is NULL."""
    flat: Iterable[Any] = chain.from_iterable(pairs)
    try:
        numbers = _within(np.fromiter(flat, np.int64, 2 * len(pairs))).reshape(-1, 2)
        return numbers[:, 0], numbers[:, 1]
    except TypeError:
        return _offsets([pair[0] for pair in pairs]), _within(_ints(pair[1] for pair in pairs))


def _read_columns(f: int, key: Ints, values: list[int | list[int] | None]) -> _Entries:
    there, lists, single = _parted(values, list)
    count = np.ones(len(values), np.int32)
    count[there] = np.fromiter(map(len, lists), np.int32, len(lists))
    value = np.empty(int(count.sum()), np.int64)
    in_list = np.repeat(there, count)
    value[in_list] = _within(_ints(chain.from_iterable(lists)))
    value[~in_list] = _offsets(single)
    return _Entries(
        f=_repeat(f, len(values)),
        form=np.where(there, LIST, VALUE).astype(np.int8),
        key=key,
        count=count,
        entry_key=np.repeat(key, count),
        entry_offset=np.full(len(value), MISSING, np.int64),
        entry_value=value,
    )


def _poll_columns(f: int, polls: list[Poll]) -> _Entries:
    there, maps, _ = _parted(list(map(_MESSAGES, polls)), dict)
    lists = list(chain.from_iterable(map(dict.values, maps)))
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    lists_of_map = np.fromiter(map(len, maps), np.int32, len(maps))
    offset, value = _pairs(list(chain.from_iterable(lists)))
    count = np.zeros(len(polls), np.int32)
    count[there] = np.diff(starts(lengths)[starts(lists_of_map)])
    return _Entries(
        f=_repeat(f, len(polls)),
        form=np.where(there, MAP, BARE).astype(np.int8),
        key=np.full(len(polls), MISSING, np.int64),
        count=count,
        entry_key=np.repeat(_within(_ints(chain.from_iterable(maps))), lengths),
        entry_offset=offset,
        entry_value=value,
        idle=bool(len(lists)) and int(lengths.min()) == 0,
    )


def _exact(rows: list[list[Any]], positions: NDArray[np.int64]) -> dict[int, bytes]:
    """JSON of the rows in which a poll lists a key without messages, by the event's place."""
    spelled = {}
    for position, row in zip(positions.tolist(), rows, strict=True):
        maps = [_messages(mop) for mop in row]
        if any(messages is not None and _is_idle(messages) for messages in maps):
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


def _is_idle(messages: dict[Any, list[Any]]) -> bool:
    return not all(messages.values())


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
