"""The operations of a history, object by object, as the search reads them.

A register, queue, set, stack or counter is one of many where each value that is written, put in or
added is a pair `[key, value]`; a lock's value is its name. Each key is an object of its own, and a
history is linearizable if each object is (Herlihy & Wing, "locality").

What failed did not happen. What is in doubt may have happened, at any time after its begin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checkers.linearizable.models import UNKNOWN, Model, frozen
from checkers.linearizable.search import NEVER, Call
from harness.columns import PAIR
from harness.history import History
from harness.op import FAIL, OK, Kind


@dataclass(slots=True)
class Objects:
    """Attributes:
    calls: the calls of each key, in the order of their begins; the key is None without keys.
    illegible: how many operations have values of another shape; they are left out.
    """

    calls: dict[Any, list[Call]] = field(default_factory=lambda: defaultdict(list))
    illegible: int = 0

    def doubts(self) -> Iterator[str]:
        if self.illegible:
            yield f"{self.illegible} operations have values that this checker cannot read"


def begins(history: History, model: Model) -> NDArray[np.int64]:
    """Positions of the clients' invocations of the model's operations, those that failed not."""
    at = history.select(f=model.fs, type=Kind.INVOKE)
    at = at[history.process[at] >= 0]
    pair = history.pair[at]
    chosen: NDArray[np.int64] = at[(pair < 0) | (history.type[pair] != FAIL)]
    return chosen


def are_keyed(history: History, model: Model) -> bool:
    """Whether values are `[key, value]`: as those that are written are, or else those read."""
    if model.keys != "pairs":
        return model.keys == "value"
    positions = history.select(f=model.writers, type=Kind.INVOKE)
    if len(positions):
        unlike = positions[history.values.shape[positions] != PAIR]
        return all(_is_pair(history.values.get(at)) for at in unlike.tolist())
    positions = history.select(f=model.readers, type=Kind.OK)
    values = [history.values.get(at) for at in positions.tolist()]
    read = [_is_pair(value) and model.legible("read", None, frozen(value[1])) for value in values]
    return len(read) > 0 and all(read)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def objects(history: History, model: Model, keys: set[Any] | None = None) -> Objects:
    """The calls of all objects, or of those with these keys. Cost: about 5 µs a call."""
    return _objects(history, model, begins(history, model), are_keyed(history, model), keys)


def parts(history: History, model: Model) -> Iterator[Objects]:
    """The calls of all objects, some objects at a time, so that they need not stand in memory
    together. Objects come in the order of their first operations.

    Blind to: keys that only completions tell; then all objects come at once.
    """
    at, keyed, values = begins(history, model), are_keyed(history, model), history.values
    if not keyed or (values.shape[at] != PAIR).any():
        yield _objects(history, model, at, keyed)
        return
    key = values.pair[values.row[at], 0]
    _, first, number = np.unique(key, return_index=True, return_inverse=True)
    first = first[number]  # of each operation, where its object's first one stands
    order = np.argsort(first, kind="stable")
    begun = np.flatnonzero(np.diff(first[order], prepend=-1))
    part = begun // PART
    cuts = begun[np.flatnonzero(np.diff(part)) + 1]
    for some in np.split(at[order], cuts):
        yield _objects(history, model, some, keyed)


PART = 20_000
"""Operations of objects that come together, if none has more by itself."""


def _objects(
    history: History,
    model: Model,
    at: NDArray[np.int64],
    keyed: bool,
    keys: set[Any] | None = None,
) -> Objects:
    found = Objects()
    for begin in at.tolist():
        asked = frozen(history.values.get(begin))
        end = int(history.pair[begin])
        told = UNKNOWN
        if end >= 0 and history.type[end] == OK:
            told = frozen(history.values.get(end))
        else:
            end = NEVER
        key, asked, told = _split(asked, told, model) if keyed else (None, asked, told)
        if keys is not None and key not in keys:
            continue
        _add(found, key, history, model, begin, end, asked, told)
    return found


def failed(history: History, model: Model) -> dict[Any, list[Call]]:
    """What was asked and failed for sure, by key; nothing was told."""
    keyed = are_keyed(history, model)
    at = history.select(f=model.writers, type=Kind.FAIL)
    found: dict[Any, list[Call]] = {}
    for end in at[(history.process[at] >= 0) & (history.pair[at] >= 0)].tolist():
        begin = int(history.pair[end])
        asked = frozen(history.values.get(begin))
        key, asked, _ = _split(asked, UNKNOWN, model) if keyed else (None, asked, None)
        f, process = history.fs[history.f[begin]], int(history.process[begin])
        found.setdefault(key, []).append(Call(process, f, asked, UNKNOWN, begin, end))
    return found


def _add(
    found: Objects,
    key: Any,
    history: History,
    model: Model,
    begin: int,
    end: int,
    asked: Any,
    told: Any,
) -> None:
    f = history.fs[history.f[begin]]
    if told is None and asked is not None:
        told = asked  # a completion may leave out what was asked
    if key is _ILLEGIBLE or not model.legible(f, asked, told):
        found.illegible += 1
    elif end < NEVER or not model.only_looks(f, asked, told):
        found.calls[key].append(Call(int(history.process[begin]), f, asked, told, begin, end))


_ILLEGIBLE = object()


def _split(asked: Any, told: Any, model: Model) -> tuple[Any, Any, Any]:
    """Key, what was asked of it, what it told."""
    if model.keys == "value":
        return asked, None, told if told is UNKNOWN else None
    pairs = [value for value in (asked, told) if value is not UNKNOWN and value is not None]
    if not pairs or any(not isinstance(v, tuple) or len(v) != 2 for v in pairs):
        return _ILLEGIBLE, asked, told
    key = pairs[0][0]
    told = told if told is UNKNOWN else None if told is None else told[1]
    return key, None if asked is None else asked[1], told
