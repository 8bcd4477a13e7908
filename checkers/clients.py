"""Mistakes of our own clients: errors that tell of the code that asks, and not of the system.

Reads the clients' completions with an error. A recording of ours marks those that nobody foresaw
(`extra.unhandled`, and once a place `extra.traceback`; see `harness.client`). In recordings without
marks, an error with the name of one of Python's own exceptions counts, unless it is one that tells
of the network (`OSError`, `EOFError` and what is below them); Jepsen's have an `exception`.

Anomalies: none; what such an operation did to the system is in doubt, as it should be, and whatever
is proved is proved without it. A note tells each error by its name, how often it was met and where:
a client that mostly fails of itself tests nothing.

Blind to: mistakes that raise nothing, or another error than Python's own.
Cost: linear in the different errors and extras.
Source: Jepsen's `checker/unhandled-exceptions`.
"""

from __future__ import annotations

import builtins
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.columns import Blobs
from harness.guarantees import Contract
from harness.history import History
from harness.verdict import Verdict

NAMES_MAX = 20
"""Names that are told, the most frequent ones; all are counted."""

NOTED_MAX = 3
"""Names of which the note has the traceback."""

TEXT_MAX = 4000


@dataclass(slots=True)
class _Met:
    """An error, by its name."""

    first: int
    fs: Counter[str] = field(default_factory=Counter)
    traceback: str | None = None


def check(history: History, contract: Contract) -> Verdict:
    """VALID; the statistics have each error by name, and `note` tells of them."""
    done = np.flatnonzero((history.process >= 0) & (history.type != 0))
    by_extra = _rows(history.extras, history.extra[done], _marked)
    by_error = _rows(history.errors, history.error[done], _named)
    met: dict[str, _Met] = {}
    told = np.isin(history.extra[done], [*by_extra]) | np.isin(history.error[done], [*by_error])
    for position in done[told].tolist():
        name, traceback = by_extra.get(int(history.extra[position]), (None, None))
        name = name or by_error.get(int(history.error[position]), "")
        one = met.setdefault(name, _Met(position))
        one.fs[history.fs[history.f[position]]] += 1
        one.traceback = one.traceback or traceback
    if not met:
        return Verdict.of()
    most = sorted(met, key=lambda name: (-met[name].fs.total(), name))[:NAMES_MAX]
    stats = {
        "operations": sum(one.fs.total() for one in met.values()),
        "errors": {name: _shape(history, met[name]) for name in most},
        "note": _note(history, met, most),
    }
    return Verdict.of(stats=stats)


def _rows(table: Blobs, rows: NDArray[np.int32], read: Callable[[Any], Any]) -> dict[int, Any]:
    """What `read` finds in those rows of the table that are used, where it finds anything."""
    used = np.unique(rows[rows >= 0]).tolist()
    return {row: told for row in used if (told := read(msgspec.json.decode(table[row])))}


def _marked(extra: Any) -> tuple[str, str | None] | None:
    """(name, traceback) of an event's extra; None for one without a mark."""
    if not isinstance(extra, Mapping):
        return None
    name, traceback = extra.get("unhandled"), extra.get("traceback")
    if isinstance(name, str) and name:
        return name, traceback if isinstance(traceback, str) else None
    return _of_jepsen(extra.get("exception"))


def _of_jepsen(exception: Any) -> tuple[str, str | None] | None:
    """The outermost error of a Java exception as Clojure prints it."""
    via = exception.get("via") if isinstance(exception, Mapping) else None
    if not isinstance(via, list) or not via:
        return None
    first = via[0]
    if not isinstance(first, Mapping) or not isinstance(first.get("type"), str):
        return None
    return first["type"], "\n".join(
        f"{each.get('type')}: {each.get('message')} at {each.get('at')}"
        for each in via
        if isinstance(each, Mapping)
    )


def _named(error: Any) -> str | None:
    """The name of one of Python's own exceptions that tells of a mistake."""
    name = error[0] if isinstance(error, list) and error else None
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    return None if issubclass(kind, OSError | EOFError) else name


def _shape(history: History, one: _Met) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "count": one.fs.total(),
        "by f": dict(one.fs),
        "first op": one.first,
        "error": (history[one.first].error or ("", ""))[1][:TEXT_MAX],
    }
    return shape if one.traceback is None else {**shape, "traceback": one.traceback[-TEXT_MAX:]}


def _note(history: History, met: Mapping[str, _Met], most: list[str]) -> str:
    total = sum(one.fs.total() for one in met.values())
    counts = ", ".join(f"{name} × {met[name].fs.total()}" for name in most)
    lines = [
        f"{total} operations met an error that nobody foresaw, a mistake of a client: {counts}"
    ]
    for name in most[:NOTED_MAX]:
        one = met[name]
        op = history[one.first]
        lines.append(f"op {op.index}, {op.f}: {name}: {(op.error or ('', ''))[1]}"[:TEXT_MAX])
        lines += (one.traceback or "").rstrip()[-TEXT_MAX:].splitlines()
    return "\n".join(lines)
