"""Collections that only grow: who added which element, and which reads have it.

Reads additions (`add`, `append`, `write`, `insert`) and `read`, with elements, or `[key, element]`
and `[key, [element, …]]` for a collection of each key. An addition that failed did not happen, and
one in doubt happened at any time after its begin, if at all. What a read tells is a list, or null
for nothing.

Cost: about 1 µs an element of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

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
    every = (_operation(history, begin) for begin in begins.tolist())
    operations = [one for one in every if one is not None]
    keyed = _are_keyed(operations)
    found: dict[Any, Collection] = {}
    odd = 0
    for begin, end, f, value in operations:
        key = None
        if keyed:
            if not isinstance(value, list) or len(value) != 2:
                odd += 1
                continue
            key, value = value
        name = hashable(key)
        one = found.get(name) or found.setdefault(name, Collection(key))
        process = int(history.process[begin])
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


Operation = tuple[int, int | None, str, Any]
"""Begin, end if it is OK, name, and what was told, or else asked."""


def _operation(history: History, begin: int) -> Operation | None:
    """None if it failed."""
    end: int | None = int(history.pair[begin])
    kind = history.type[end] if end is not None and end >= 0 else None
    if kind == FAIL:
        return None
    if kind != OK:
        end = None
    f = history.fs[history.f[begin]]
    value = history.values.get(begin if f != "read" or end is None else end)
    return begin, end, f, value


def _are_keyed(operations: Iterable[Operation]) -> bool:
    """Whether whatever was added is `[key, element]`; or, if nothing was, whatever was read is
    `[key, [element, …]]`."""
    added = [value for _, _, f, value in operations if f != "read"]
    if added:
        return all(isinstance(value, list) and len(value) == 2 for value in added)
    read = [value for _, end, f, value in operations if f == "read" and end is not None]
    return bool(read) and all(
        isinstance(value, list) and len(value) == 2 and (value[1] is None or type(value[1]) is list)
        for value in read
    )


def elements(value: list[Any] | None) -> list[Any]:
    """Hashable elements of what a read told."""
    return [hashable(element) for element in value or ()]


def hashable(value: Any) -> Any:
    """Equal for equal JSON, and for no other: 1, 1.0 and true are three."""
    if type(value) is int or type(value) is str:
        return value
    return (json.dumps(value, sort_keys=True),)


def plain(element: Any) -> Any:
    """What `hashable` was given."""
    return json.loads(element[0]) if isinstance(element, tuple) else element
