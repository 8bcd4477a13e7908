"""Consecutive events of a history on their way into columns.

A stretch is begun by one decoder; another's, decoded elsewhere, can be put behind it. `finish`
makes the columns of a history of the one that begins with event 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from harness import pairing
from harness.batches import Batch, Columns
from harness.columnize import Columnizer
from harness.columns import Blobs
from harness.events import Events
from harness.lines import uneven
from harness.numbering import renumbered, translated
from harness.op import NEMESIS

COLUMNS: Final[dict[str, Any]] = {
    "time": np.int64,
    "type": np.int8,
    "process": np.int32,
    "f": np.int16,
    "node": np.int16,
    "error": np.int32,
    "extra": np.int32,
}


class Malformed(Exception):
    """The event at `position` (from 0, blank lines not counted) cannot be."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"event {position}: {reason}")
        self.position, self.reason = position, reason


@dataclass(slots=True)
class Stretch:
    """Some events, in batches.

    Attributes:
        begin, end: position of the first event, and of the one that comes next.
        fs, names, nodes, errors, extras: codes of what events name.
        given: whether events have "index" and "time", once that is known.
        is_numbered_anew: an index may be anything, or nothing; the order of the file counts.
        others: how many events had another index, or none, the first of them, and its index.
    """

    begin: int = 0
    end: int = field(init=False)
    values: Columnizer = field(default_factory=Columnizer)
    fs: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=lambda: {NEMESIS: 0})
    nodes: dict[str, int] = field(default_factory=dict)
    errors: dict[bytes, int] = field(default_factory=dict)
    extras: dict[bytes, int] = field(default_factory=dict)
    parts: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    given: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_numbered_anew: bool = False
    others: tuple[int, int, int | None] = (0, 0, None)

    def __post_init__(self) -> None:
        self.end = self.begin

    def add(self, columns: Columns, batch: Batch) -> None:
        """Put events behind those before.

        Raises:
            Malformed: they do not continue them; nothing was added.
        """
        count = len(batch.shape)
        expected = np.arange(self.end, self.end + count)
        if self.is_numbered_anew:
            self._number_anew(columns, expected)
        for name in ("index", "time"):
            if self.given.setdefault(name, name in columns) != (name in columns):
                raise Malformed(self.end, uneven(name, self.given[name]))
        index = columns.pop("index", expected)
        for place in np.flatnonzero(index != expected)[:1].tolist():
            reason = f"index {index[place]}, expected {expected[place]}: they count from 0"
            raise Malformed(self.end + place, reason)
        columns.setdefault("time", expected)
        self.values.add(batch)
        self.end += count
        for name, column in columns.items():
            self.parts.setdefault(name, []).append(column)

    def _number_anew(self, columns: Columns, expected: NDArray[np.int64]) -> None:
        index = columns.pop("index", None)
        self.given.setdefault("index", index is not None)
        odd = np.flatnonzero(index != expected) if index is not None else np.arange(len(expected))
        if len(odd):
            count, first, found = self.others
            if not count:
                first = int(expected[odd[0]])
                found = None if index is None else int(index[odd[0]])
            self.others = count + len(odd), first, found
        if self.given["index"]:
            columns["index"] = expected

    def append(self, other: Stretch) -> bool:
        """Put another stretch behind this one, which uses it up; False, and nothing happened, if it
        does not continue this one."""
        if other.begin != self.end or other.given != self.given or not other._fits_behind(self):
            return False
        columns = {name: other._joined(name) for name in COLUMNS}
        for name, table in other._tables().items():
            columns[name] = translated(columns[name], table, self._tables()[name])
        columns["process"] = _named(columns["process"], other.names, self.names)
        for name, column in columns.items():
            self.parts.setdefault(name, []).append(column)
        self.values.append(other.values)
        self.end = other.end
        self.notes += other.notes
        return True

    def finish(self) -> Events:
        """The columns of all events.

        Raises:
            Malformed: a completion without its invocation, a process with two operations at once.
        """
        assert self.begin == 0, "a history begins with event 0"
        columns = {name: self._joined(name) for name in COLUMNS}
        keys: dict[str, list[Any]] = {}
        for name, table in self._tables().items():
            columns[name], keys[name] = renumbered(columns[name], table)
        columns["process"], names = _renamed(columns["process"], self.names)
        fs = tuple(keys["f"])
        by_process = pairing.ByProcess.of(columns["process"])
        try:
            pair = pairing.pairs(by_process, columns["type"], columns["process"], columns["f"], fs)
        except pairing.Unpaired as error:
            raise Malformed(error.position, error.reason) from None
        return Events(
            **columns,
            pair=pair,
            fs=fs,
            names=names,
            nodes=tuple(keys["node"]),
            errors=Blobs.of(keys["error"]),
            extras=Blobs.of(keys["extra"]),
            values=self.values.finish(),
            notes=tuple(self.notes),
            remarks=tuple(self._remarks(columns, by_process)),
        )

    def _tables(self) -> dict[str, dict[Any, int]]:
        """The tables by the columns that hold their codes."""
        return {"f": self.fs, "node": self.nodes, "error": self.errors, "extra": self.extras}

    def _fits_behind(self, before: Stretch) -> bool:
        """Whether the codes of both fit their columns, however different the names."""
        return all(
            len(table) + len(before._tables()[name]) <= np.iinfo(COLUMNS[name]).max
            for name, table in self._tables().items()
        ) and self.values.fits_behind(before.values)

    def _joined(self, name: str) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, COLUMNS[name]), *self.parts.pop(name, [])])

    def _remarks(self, columns: Columns, by_process: pairing.ByProcess) -> Iterator[str]:
        if self.given.get("index") is False:
            yield "the events have no index: they are numbered from 0 in the order of the file"
        elif self.others[0]:
            count, first, found = self.others
            yield (
                f"{count} events have another index than their place, or none, first the event at "
                f"place {first} (index {'none' if found is None else found}): they are numbered "
                "from 0 in the order of the file"
            )
        if self.given.get("time") is False:
            yield "the events have no time: their index stands for it"
        back = np.flatnonzero(columns["time"][1:] < columns["time"][:-1])
        if len(back):
            yield (
                f"time goes backwards {len(back)} times, first at event {back[0] + 1}: "
                "the order of the file counts"
            )
        again = pairing.reused(by_process, columns["type"])
        if len(again):
            yield (
                f"processes go on after an info operation {len(again)} times, first at event "
                f"{again[0]}: such an operation may still take effect at any later time"
            )


def _named(process: NDArray[np.int32], table: dict[str, int], into: dict[str, int]) -> Any:
    """Processes with the names of `table` (name i is -1 - i) as those with names of `into`."""
    if len(table) == 1:  # the nemesis, which is the first of every table
        return process
    codes = -1 - np.minimum(process, -1)
    return np.where(process < 0, -1 - translated(codes, table, into), process)


def _renamed(
    process: NDArray[np.int32], table: dict[str, int]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Processes and names in the order in which they come; the nemesis is always the first."""
    if len(table) == 1:
        return process, tuple(table)
    # As if the nemesis came before all others.
    codes = np.concatenate([[0], -1 - process[process < 0]])
    changed, names = renumbered(codes, table)
    process = process.copy()
    process[process < 0] = -1 - changed[1:]
    return process, tuple(names)
