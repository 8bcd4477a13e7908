"""Micro-operations of one type, many at a time, as columns.

What msgspec decodes a micro-operation to is a struct a name; `Mop` is one of any name, whose
numbers are codes already. Each function here makes the columns of many that all have one type.

Cost: about 0.3 µs a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress
from operator import attrgetter, is_
from typing import Any

import numpy as np
from msgspec import UNSET, Struct, UnsetType
from numpy.typing import NDArray

from harness.batches import Columns, starts
from harness.columns import BARE, INTEGER_MIN, LIST, MAP, MISSING, NULL, VALUE

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

MOPS: dict[type, int] = {
    kind: code for code, kind in enumerate((Send, Poll, Append, Write, Read, Mop))
}


@dataclass(slots=True)
class Entries:
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


_MESSAGES = attrgetter("messages")


def ints(numbers: Iterable[int]) -> Ints:
    """Integers as a column."""
    return np.fromiter(numbers, np.int64)


def within(numbers: Ints) -> Ints:
    """The numbers, none of which may be mistaken for another code."""
    if len(numbers) and numbers.min() < INTEGER_MIN:
        raise Untyped
    return numbers


def repeat(f: int, count: int) -> NDArray[np.int16]:
    """The same name for each of some micro-operations."""
    return np.full(count, f, np.int16)


def _offsets(offsets: list[int | None]) -> Ints:
    """Offsets as codes; None is an offset that nobody knows."""
    within(ints([offset for offset in offsets if offset is not None]))
    return ints([NULL if offset is None else offset for offset in offsets])


def _parted(values: list[Any], kind: type) -> tuple[NDArray[np.bool_], list[Any], list[Any]]:
    """Which of the values have the type, those that do, and those that do not."""
    there = np.fromiter(map(partial(is_, kind), map(type, values)), np.bool_, len(values))
    return (
        there,
        list(compress(values, there.tobytes())),
        list(compress(values, (~there).tobytes())),
    )


def send_columns(values: list[int | tuple[int | None, int]]) -> tuple[Ints, Ints]:
    """(value, offset) of sends, some of which are [offset, value]."""
    there, pairs, plain = _parted(values, tuple)
    value, offset = np.empty(len(values), np.int64), np.full(len(values), MISSING, np.int64)
    value[~there] = ints(plain)
    offset[there], value[there] = _pairs(pairs)
    return within(value), offset


def _pairs(pairs: list[tuple[int | None, int]]) -> tuple[Ints, Ints]:
    """(offset, value) of pairs; an offset that nobody knows is NULL."""
    flat: Iterable[Any] = chain.from_iterable(pairs)
    try:
        numbers = within(np.fromiter(flat, np.int64, 2 * len(pairs))).reshape(-1, 2)
        return numbers[:, 0], numbers[:, 1]
    except TypeError:
        return _offsets([pair[0] for pair in pairs]), within(ints(pair[1] for pair in pairs))


def read_columns(f: int, key: Ints, values: list[int | list[int] | None]) -> Entries:
    """Columns of ["r", k, v] and ["r", k, [v, …]]."""
    there, lists, single = _parted(values, list)
    count = np.ones(len(values), np.int32)
    count[there] = np.fromiter(map(len, lists), np.int32, len(lists))
    value = np.empty(int(count.sum()), np.int64)
    in_list = np.repeat(there, count)
    value[in_list] = within(ints(chain.from_iterable(lists)))
    value[~in_list] = _offsets(single)
    return Entries(
        f=repeat(f, len(values)),
        form=np.where(there, LIST, VALUE).astype(np.int8),
        key=key,
        count=count,
        entry_key=np.repeat(key, count),
        entry_offset=np.full(len(value), MISSING, np.int64),
        entry_value=value,
    )


def poll_columns(f: int, polls: list[Poll]) -> Entries:
    """Columns of ["poll"] and ["poll", {k: [[offset, v], …]}]."""
    there, maps, _ = _parted(list(map(_MESSAGES, polls)), dict)
    lists = list(chain.from_iterable(map(dict.values, maps)))
    lengths = np.fromiter(map(len, lists), np.int32, len(lists))
    lists_of_map = np.fromiter(map(len, maps), np.int32, len(maps))
    offset, value = _pairs(list(chain.from_iterable(lists)))
    count = np.zeros(len(polls), np.int32)
    count[there] = np.diff(starts(lengths)[starts(lists_of_map)])
    return Entries(
        f=repeat(f, len(polls)),
        form=np.where(there, MAP, BARE).astype(np.int8),
        key=np.full(len(polls), MISSING, np.int64),
        count=count,
        entry_key=np.repeat(within(ints(chain.from_iterable(maps))), lengths),
        entry_offset=offset,
        entry_value=value,
        idle=bool(len(lists)) and int(lengths.min()) == 0,
    )


def is_idle(messages: dict[Any, list[Any]]) -> bool:
    """Whether a key has no messages."""
    return not all(messages.values())
