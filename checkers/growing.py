"""Collections that only grow: who added which element, and which reads have it.

Reads additions (`add`, `append`, `write`, `insert`) and `read`, with elements, or `[key, element]`
and `[key, [element, …]]` for a collection of each key. An addition that failed did not happen, and
one in doubt happened at any time after its begin, if at all. What a read tells is a list, or null
for nothing.

Cost: about 1 µs an element of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from checkers.transactions import Ints
from harness.columns import RAW
from harness.history import History
from harness.op import FAIL, OK, Kind

ADDS = ("add", "append", "write", "insert")


@dataclass(slots=True)
class Addition:
    """One that happened, or may have. `end` is None where that is in doubt."""

    begin: int
    end: int | None
    process: int
    element: Any


@dataclass(slots=True)
class Reading:
    """A read that told what there is; the elements in the order in which it told them."""

    begin: int
    end: int
    process: int
    elements: list[Any]


@dataclass(slots=True)
class Collection:
    """One collection. Elements are hashable, see `hashable`; operations in order of their begins.

    Attributes:
        key: as the history has it; None without keys.
        ordered: whether elements are appended, so that the order of a read says something.
    """

    key: Any
    additions: list[Addition] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    ordered: bool = False


def collections(history: History) -> tuple[list[Collection], int]:
    """The collections of a history, and how many operations have values of another shape."""
    begins = history.select(f=(*ADDS, "read"), type=Kind.INVOKE)
    begins = begins[history.process[begins] >= 0]
    operations = list(_operations(history, begins))
    keyed = _are_keyed(operations)
    found: dict[Any, Collection] = {}
    odd = 0
    for begin, end, f, process, value in operations:
        key = None
        if keyed:
            if not isinstance(value, list) or len(value) != 2:
                odd += 1
                continue
            key, value = value
        name = hashable(key)
        one = found.get(name) or found.setdefault(name, Collection(key))
        if f != "read":
            one.additions.append(Addition(begin, end, process, hashable(value)))
            one.ordered |= f == "append"
        elif end is None:
            continue
        elif value is None or isinstance(value, list):
            one.readings.append(Reading(begin, end, process, elements(value)))
        else:
            odd += 1
    return list(found.values()), odd


Operation = tuple[int, int | None, str, int, Any]
"""Begin, end if it is OK, name, process, and what was told, or else asked."""


def _operations(history: History, begins: Ints) -> Iterator[Operation]:
    """Those that did not fail."""
    pair = history.pair[begins].astype(np.int64)
    kind = np.where(pair >= 0, history.type[pair], -1)
    begins, pair, kind = (column[kind != FAIL] for column in (begins, pair, kind))
    read = history.f[begins] == history.code("read")
    values = _values(history, np.where(read & (kind == OK), pair, begins))
    ends = [end if done else None for end, done in zip(pair.tolist(), kind == OK, strict=True)]
    fs = [history.fs[code] for code in history.f[begins].tolist()]
    return zip(begins.tolist(), ends, fs, history.process[begins].tolist(), values, strict=True)


def _values(history: History, at: Ints) -> Iterator[Any]:
    """The value of each event; those that are spelt out are decoded many at a time."""
    values = history.values
    for first in range(0, len(at), BATCH):
        some = at[first : first + BATCH]
        raw = values.shape[some] == RAW
        text = b",".join([values.raw[row] for row in values.row[some[raw]].tolist()])
        told = iter(msgspec.json.decode(b"[" + text + b"]"))
        for position, is_raw in zip(some.tolist(), raw.tolist(), strict=True):
            yield next(told) if is_raw else values.get(position)


BATCH = 1024


def _are_keyed(operations: Iterable[Operation]) -> bool:
    """Whether whatever was added is `[key, element]`; or, if nothing was, whatever was read is
    `[key, [element, …]]`."""
    added = [value for _, _, f, _, value in operations if f != "read"]
    if added:
        return all(isinstance(value, list) and len(value) == 2 for value in added)
    read = [value for _, end, f, _, value in operations if f == "read" and end is not None]
    return bool(read) and all(
        isinstance(value, list) and len(value) == 2 and (value[1] is None or type(value[1]) is list)
        for value in read
    )


def elements(value: list[Any] | None) -> list[Any]:
    """Hashable elements of what a read told."""
    if value is None:
        return []
    return value if _PLAIN.issuperset(map(type, value)) else [hashable(one) for one in value]


_PLAIN = frozenset({int, str})


def hashable(value: Any) -> Any:
    """Equal for equal JSON, and for no other: 1, 1.0 and true are three."""
    if type(value) in _PLAIN:
        return value
    return (json.dumps(value, sort_keys=True),)


def plain(element: Any) -> Any:
    """What `hashable` was given."""
    return json.loads(element[0]) if isinstance(element, tuple) else element
