"""From lines of JSON to the columns of a history.

There are three ways, each for what the one before leaves, and all give the same columns:

    by skeleton   lines that differ in numbers only are decoded together (`harness.skeletons`)
    typed         lines of known keys and types, decoded into structs that become columns by NumPy
    plain         any line, decoded alone; only this one says what is wrong with a malformed line

Tolerated, with a note: a torn last line. Tolerated, with a remark: events without indices or times,
times that go backwards, processes that go on after an INFO. Anything else malformed is an error.

Cost an event of the log workload: by skeleton 1 µs, typed 3 µs, plain 15 µs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.batches import Batch, Columns, merged
from harness.columnize import dump
from harness.events import Events
from harness.lines import CODES, TYPED, Line, integers_in, plain_line, uneven
from harness.memory import uncollected
from harness.mops import Untyped
from harness.skeletons import Skeletons
from harness.stretch import COLUMNS, Malformed, Stretch

PIECE_BYTES = 1 << 18
"""What is decoded to objects at once; they are few enough to live in the processor's caches."""

SKELETON_BYTES = 1 << 14
"""Chunks below this are too small to have many lines of one skeleton."""

MISSES = 8
"""Chunks not tried by skeleton after one in which most lines were rare."""

BATCH_EVENTS = 8192


def decode(lines: Iterable[bytes]) -> Events:
    """Decode events that are in memory, each a line of JSON without its newline.

    Raises:
        Malformed: an event cannot be.
    """
    decoder = Decoder()
    remaining = iter(lines)
    with uncollected():
        while batch := list(islice(remaining, BATCH_EVENTS)):
            decoder.feed(b"\n".join(batch) + b"\n", is_last=False)
        return decoder.finish()


_UNUSUAL = (
    *(msgspec.DecodeError, UnicodeDecodeError, Untyped, TypeError, OverflowError),
    RecursionError,
)
"""Lines that the typed way cannot take, for whatever reason; the plain way says which."""


Spell = Callable[[bytes], bytes | None]
"""The JSON of a line of another notation; None if it is anything but one event."""


@dataclass(slots=True)
class Decoder(Stretch):
    """Takes a stretch of a history chunk by chunk; `finish` gives the columns of a whole one."""

    skeletons: Skeletons = field(init=False)
    misses: int = 0  # chunks for which decoding by skeleton is not tried
    taken: Skeletons | None = None  # of lines of another notation
    taken_misses: int = 0

    def __post_init__(self) -> None:
        Stretch.__post_init__(self)
        self.skeletons = Skeletons(self._integers, self._learn)

    def feed(self, chunk: bytes, is_last: bool) -> None:
        """Add the events of some whole lines; the last line of a file may be torn.

        Raises:
            Malformed: a line is no event.
        """
        if self._feed_by_skeleton(chunk):
            return
        for piece in _pieces(chunk):
            try:
                columns, batch = self._typed(piece)
                self.add(columns, batch)
            except _UNUSUAL:
                lines = self._plain_lines(piece, is_last)
                if lines:
                    columns = self._columns(lines)
                    self.add(columns, self.values.plain(line.value for line in lines))

    def take(self, chunk: bytes, spell: Spell) -> bool:
        """Add the events of whole lines of another notation, or none of them: where they are not
        one event each, or hardly two are alike. `spell` is the same, whatever the chunk."""
        if self.taken is None:
            self.taken = Skeletons(
                lambda line: self._integers(spell(line) or b""),
                lambda line: self._learn(spell(line) or b""),
            )
        if self.taken_misses or not _is_worth_it(chunk):
            self.taken_misses -= self.taken_misses > 0
            return False
        done = self._by_skeleton(self.taken, chunk, spell)
        self.taken_misses = MISSES if done is None else 0
        return bool(done)

    def stretch(self) -> Stretch:
        """The events so far, without what was learned of their form."""
        stretch = Stretch(self.begin)
        for one in fields(Stretch):
            setattr(stretch, one.name, getattr(self, one.name))
        return stretch

    def _feed_by_skeleton(self, chunk: bytes) -> bool:
        """Add the chunk's events, or none of them where that is not worth it or not possible."""
        if self.misses or not _is_worth_it(chunk):
            self.misses -= self.misses > 0
            return False
        done = self._by_skeleton(self.skeletons, chunk)
        self.misses = MISSES if done is None else 0
        return bool(done)

    def _by_skeleton(
        self, skeletons: Skeletons, chunk: bytes, spell: Spell | None = None
    ) -> bool | None:
        """Add the chunk's events, or none of them; None if most lines' skeletons are rare."""
        parts, places, lines = skeletons.decode(chunk)
        size = len(places) + sum(len(part[0]) for part in parts)
        if 2 * len(places) > size:
            return None
        if spell is not None:
            spelled = [line for line in map(spell, lines) if line is not None]
            if len(spelled) < len(lines):
                return False
            lines = spelled
        try:
            if lines:
                parts.append((places, *self._typed(b"\n".join(lines) + b"\n")))
        except _UNUSUAL:
            return False
        columns = {
            name: np.empty(size, dtype) for name, dtype in (COLUMNS | {"index": np.int64}).items()
        }
        for places, part, _ in parts:
            if part.keys() != columns.keys():
                return False
            for name, column in part.items():
                columns[name][places] = column
        if not self._are_regular(columns):
            return False
        self.add(columns, merged([(places, batch) for places, _, batch in parts], size))
        return True

    def _are_regular(self, columns: Columns) -> bool:
        """Whether events that were decoded together have the right indices and processes."""
        expected = np.arange(self.end, self.end + len(columns["index"]))
        return (
            (self.is_numbered_anew or np.array_equal(columns["index"], expected))
            and self.given.setdefault("index", True)
            and self.given.setdefault("time", True)
        )

    # -- a batch of lines to columns -------------------------------------------------------------

    def _typed(self, chunk: bytes) -> tuple[Columns, Batch]:
        """The columns of whole lines of known keys and types.

        Raises:
            One of `_UNUSUAL`: not all of them are.
        """
        lines = TYPED.decode_lines(chunk)
        # One event a line: neither two on one nor one on two, which JSON alone would admit.
        if not lines or len(lines) != chunk.count(b"\n") + (not chunk.endswith(b"\n")):
            raise Untyped
        return self._columns(lines), self.values.typed([line.value for line in lines])

    def _columns(self, lines: list[Line]) -> Columns:
        """The columns of all but the values; `index` and `time` only where they are given."""
        count = len(lines)
        # One tuple an attribute, in the order of `Line`.
        kinds, processes, fs, indices, times, _, errors, nodes, extras = zip(
            *map(msgspec.structs.astuple, lines), strict=True
        )
        columns: Columns = {
            "type": np.fromiter(map(CODES.__getitem__, kinds), np.int8, count),
            "process": self._processes(processes),
            "f": _interned(self.fs, fs, np.int16),
            "node": _interned(self.nodes, nodes, np.int16),
            "error": self._json(self.errors, errors),
            "extra": self._json(self.extras, extras),
        }
        for name, numbers in (("index", indices), ("time", times)):
            if (lacking := numbers.count(None)) == 0:
                columns[name] = np.fromiter(numbers, np.int64, count)
            elif lacking < count and not (name == "index" and self.is_numbered_anew):
                raise Untyped
        return columns

    def _processes(self, processes: Sequence[int | str]) -> NDArray[np.int32]:
        names, count = self.names, len(processes)
        if str in set(map(type, processes)):
            codes = [
                p if isinstance(p, int) else -1 - names.setdefault(p, len(names)) for p in processes
            ]
            lowest = min((p for p in processes if isinstance(p, int)), default=0)
        else:
            codes = list(cast("Sequence[int]", processes))
            lowest = min(codes)
        if lowest < 0:  # it would be mistaken for a name
            raise Untyped
        return np.fromiter(codes, np.int32, count)

    def _json(self, table: dict[bytes, int], values: Sequence[Any]) -> NDArray[np.int32]:
        if values.count(None) == len(values):
            return np.full(len(values), -1, np.int32)
        return _interned(table, [None if v is None else dump(v) for v in values], np.int32)

    # -- what the skeletons ask ------------------------------------------------------------------

    def _integers(self, line: bytes) -> frozenset[int] | None:
        try:
            (event,) = TYPED.decode_lines(line)
        except (*_UNUSUAL, ValueError):
            return None
        return frozenset(integers_in([event.index, event.time, event.process, event.value]))

    def _learn(self, line: bytes) -> tuple[Columns, Batch] | None:
        try:
            columns, batch = self._typed(line)
        except _UNUSUAL:
            return None
        return (columns, batch) if {"index", "time"} <= columns.keys() else None

    # -- line by line ----------------------------------------------------------------------------

    def _plain_lines(self, chunk: bytes, is_last: bool) -> list[Line]:
        raws = [raw for raw in chunk.split(b"\n") if raw.strip()]
        lines: list[Line] = []
        for number, raw in enumerate(raws):
            try:
                event = msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if is_last and number == len(raws) - 1:
                    self._note_torn(raw)
                    break
                raise Malformed(self.end + number, f"not JSON: {error}") from None
            except RecursionError:
                raise Malformed(self.end + number, "not read: it is nested too deep") from None
            try:
                line = plain_line(event)
            except ValueError as error:
                raise Malformed(self.end + number, str(error)) from None
            for name, found in (("index", line.index), ("time", line.time)):
                if name == "index" and self.is_numbered_anew:
                    continue
                if self.given.setdefault(name, found is not None) != (found is not None):
                    raise Malformed(self.end + number, uneven(name, self.given[name]))
            lines.append(line)
        return lines

    def _note_torn(self, raw: bytes) -> None:
        self.notes.append(
            f"the last line is torn after {len(raw)} bytes; it is left out, so the history ends "
            "with what came before it"
        )


def _interned(table: dict[Any, int], keys: Sequence[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """Codes of the keys, new ones numbered in the order they come; -1 for None."""
    try:
        return np.fromiter(map(table.__getitem__, keys), dtype, len(keys))
    except KeyError:
        for key in dict.fromkeys(keys):
            if key is not None:
                table.setdefault(key, len(table))
        codes = {**table, None: -1}
        return np.fromiter(map(codes.__getitem__, keys), dtype, len(keys))


def _is_worth_it(chunk: bytes) -> bool:
    return len(chunk) >= SKELETON_BYTES and chunk.endswith(b"\n")


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """Whole lines of a chunk, some at a time."""
    begin = 0
    while begin < len(chunk):
        end = chunk.rfind(b"\n", begin, begin + PIECE_BYTES) + 1
        if not end:  # a line that is longer than a piece
            end = chunk.find(b"\n", begin) + 1 or len(chunk)
        yield chunk[begin:end]
        begin = end
