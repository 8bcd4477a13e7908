"""Lines that differ in their numbers only, decoded together.

What is left of a line without its digits is its *skeleton*. A history of a million operations has
some hundred skeletons, and all lines of one skeleton have the same columns, up to the numbers in
them. So one line of a skeleton is decoded with markers in the place of its numbers; where the
markers turn up in the columns, the numbers of all its lines go, by NumPy:

    {"index":7,"time":90,"type":"ok","process":3,"f":"send","value":[["send",0,[4,17]]],"node":"n1"}
    {"index":,"time":,"type":"ok","process":,"f":"send","value":[["send",,[,]]],"node":"n"}
              0       1                      2                           3  4 5            6

Digits whose marker turns up in no column (number 6, in a string) are *literal*: only lines that
agree in them are decoded together. Polls that differ in the number of messages only have one
skeleton: further messages are put behind the one that they follow (`harness.digits`). A line is
left to the caller if its skeleton is rare, if it has numbers where its skeleton's other lines have
none, or one with more than 16 digits or leading zeros. So everything here is JSON that the decoder
accepts, and means what it would mean there.

Cost: about 0.8 µs a line, a third of what decoding each of them costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from harness.batches import Batch, Columns, Places, elements
from harness.columns import MAP
from harness.digits import Ints, Text

GROUP_MIN: Final = 8
"""Lines of one kind in a chunk below which NumPy costs more than decoding them."""

LINES_MIN: Final = 256
"""Lines of one skeleton, on average, below which further messages are taken out of them."""

SKELETONS_MAX: Final = 1 << 16
"""Known skeletons; a history in which most lines differ is better decoded line by line."""

MARKER: Final = 1_000_000_000
"""First marker; they must fit a process' number, of 31 bits."""

_RUN = re.compile(rb"[0-9]+")
Part = tuple[Places, Columns, Batch]
Learn = Callable[[bytes], tuple[Columns, Batch] | None]
Integers = Callable[[bytes], frozenset[int] | None]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of one line: its elements' places among the numbers and constants of the line."""

    cells: NDArray[np.int64]
    dtype: np.dtype[np.generic]
    varies: bool  # some of them are numbers of the line


@dataclass(slots=True)
class _Template:
    """How lines of one skeleton and the same literal digits become columns."""

    sign: Ints  # of each number
    constants: Ints
    event: dict[str, _Column]
    value: dict[str, _Column]
    entry_at: Ints  # the entry of a poll whose offset and value are this number and the next, or -1
    keys: list[Ints]  # for each poll of several keys, which numbers they are

    def apply(self, numbers: Ints) -> tuple[Columns, Batch] | None:
        """The columns of some lines; None if a number does not fit its column.

        numbers: int64[lines, numbers of a line].
        """
        for keys in self.keys:  # two that are the same are one, or none: the caller sees to it
            distinct = np.sort(numbers[:, keys] * self.sign[keys], axis=1)
            if (distinct[:, 1:] == distinct[:, :-1]).any():
                return None
        constants = np.broadcast_to(self.constants, (len(numbers), len(self.constants)))
        whole = np.concatenate([numbers * self.sign, constants], axis=1)
        event, value = self._columns(whole, self.event), self._columns(whole, self.value)
        return None if event is None or value is None else (event, Batch(value))

    def _columns(self, whole: Ints, what: dict[str, _Column]) -> Columns | None:
        columns: Columns = {}
        for name, column in what.items():
            numbers = whole[:, column.cells].reshape(-1)
            columns[name] = numbers.astype(column.dtype)
            narrow = column.varies and column.dtype != np.int64
            if narrow and not np.array_equal(columns[name], numbers):
                return None
        return columns


@dataclass(slots=True)
class _Skeleton:
    """What lines without digits look like.

    Attributes:
        runs: places of the digits' runs in the skeleton.
        literal: which of them are literal.
        templates: by the digits of the literal runs; None where there is no template.
    """

    runs: Ints
    literal: NDArray[np.bool_]
    templates: dict[tuple[bytes, ...], _Template | None] = field(default_factory=dict)


@dataclass(slots=True)
class Skeletons:
    """What is known of the skeletons of a history.

    Attributes:
        integers: the integers that a line holds outside of its strings, None if it is unusual.
        learn: the columns of one line, None if it is unusual.
    """

    integers: Integers
    learn: Learn
    numbers: dict[bytes, int] = field(default_factory=dict)
    known: dict[int, _Skeleton | None] = field(default_factory=dict)
    bases: bool = False  # whether lines differ so much that further messages are taken out of them

    def decode(self, chunk: bytes) -> tuple[list[Part], Places, list[bytes]]:
        """Decode what can be decoded together of a chunk of whole lines.

        Returns:
            (parts, places, lines): the columns of some lines with their places in the chunk, and
            the places of the lines that are left, with these lines.
        """
        text = Text(chunk, bases=self.bases)
        distinct = dict.fromkeys(text.skeletons)
        if not self.bases and len(distinct) * LINES_MIN > len(text):
            self.bases = True
            text = Text(chunk, bases=True)
            distinct = dict.fromkeys(text.skeletons)
        left = np.ones(len(text), np.bool_)
        parts: list[Part] = []
        for number, places in self._groups(text, list(distinct)):
            skeleton = self._skeleton(number, text, int(places[0]))
            if skeleton is None:
                continue
            places, runs = _regular(text, skeleton, places)
            if not len(places):
                continue  # in this chunk all of its lines have digits at other places
            for same in _by_literals(text, runs[:, skeleton.literal]):
                if len(same) < GROUP_MIN:
                    continue
                template = self._template(skeleton, text, int(places[same[0]]))
                if template is None:
                    continue
                numbers = text.value[runs[same][:, ~skeleton.literal]]
                columns = template.apply(numbers)
                if columns is None:
                    continue
                if not _put_further(columns[1], skeleton, template, text, places[same]):
                    continue
                parts.append((places[same], *columns))
                left[places[same]] = False
        rest = np.flatnonzero(left)
        return parts, rest, [text.line(place) for place in rest.tolist()]

    def _groups(self, text: Text, distinct: list[bytes]) -> list[tuple[int, Places]]:
        """(number of the skeleton, places of its lines) of all that are not rare."""
        numbers = self.numbers
        fresh = [skeleton for skeleton in distinct if skeleton not in numbers]
        if len(numbers) + len(fresh) > SKELETONS_MAX:
            return []
        for skeleton in fresh:
            numbers[skeleton] = len(numbers)
        of_line = np.fromiter(map(numbers.__getitem__, text.skeletons), np.int64, len(text))
        of_line[text.irregular] = -1
        if len(numbers) < 2**15:
            of_line = of_line.astype(np.int16)  # NumPy sorts these by radix
        order = np.argsort(of_line, kind="stable")
        bounds = np.flatnonzero(np.diff(of_line[order], prepend=-2, append=-2))
        return [
            (int(of_line[order[begin]]), order[begin:end])
            for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            if end - begin >= GROUP_MIN and of_line[order[begin]] >= 0
        ]

    def _skeleton(self, number: int, text: Text, place: int) -> _Skeleton | None:
        if number not in self.known:
            self.known[number] = self._look_at(text.base(place), text.runs_of(place))
        return self.known[number]

    def _look_at(self, line: bytes, runs: Ints) -> _Skeleton | None:
        marked, markers = _marked(line, np.zeros(len(runs), np.bool_))
        integers = self.integers(marked)
        if integers is None:
            return None
        literal = [marker not in integers and -marker not in integers for marker in markers]
        return _Skeleton(runs, np.array(literal, np.bool_))

    def _template(self, skeleton: _Skeleton, text: Text, place: int) -> _Template | None:
        line = text.base(place)
        runs = _RUN.findall(line)
        key = tuple(run for run, literal in zip(runs, skeleton.literal, strict=True) if literal)
        if key not in skeleton.templates:
            skeleton.templates[key] = self._new_template(*_marked(line, skeleton.literal))
        return skeleton.templates[key]

    def _new_template(self, line: bytes, markers: list[int]) -> _Template | None:
        learned = self.learn(line)
        if learned is None or learned[1].raw or learned[1].exact:
            return None
        columns, batch = learned
        cells = np.concatenate(
            [c.astype(np.int64) for c in (*columns.values(), *batch.columns.values())]
        )
        found = set(cells.tolist())
        if any((marker in found) == (-marker in found) for marker in markers):
            return None  # a number is in no column, or stands there with both signs
        sign = np.array([1 if marker in found else -1 for marker in markers], np.int64)
        signed = [int(s) * marker for s, marker in zip(sign, markers, strict=True)]
        constants = sorted(found - set(signed))
        cell = {value: place for place, value in enumerate([*signed, *constants])}

        def placed(whole: Columns) -> dict[str, _Column]:
            columns = {}
            for name, column in whole.items():
                cells = np.array([cell[v] for v in column.tolist()], np.int64)
                columns[name] = _Column(cells, column.dtype, bool((cells < len(sign)).any()))
            return columns

        value = placed(batch.columns)
        return _Template(
            sign,
            np.array(constants, np.int64),
            placed(columns),
            value,
            _entry_at(batch.columns, value, len(sign)),
            list(_keys(batch.columns, value, len(sign))),
        )


def _entry_at(columns: Columns, placed: dict[str, _Column], count: int) -> Ints:
    """For each number of a line the entry of a poll that it begins, or -1."""
    found = np.full(count, -1, np.int64)
    forms, entries = columns.get("mop_form"), columns.get("entries")
    if forms is None or entries is None or (forms != MAP).any():
        return found
    offsets, values = placed["entry_offset"].cells, placed["entry_value"].cells
    for entry in np.flatnonzero((offsets < count) & (values == offsets + 1)).tolist():
        found[offsets[entry]] = entry
    return found


def _keys(columns: Columns, placed: dict[str, _Column], count: int) -> Iterator[Ints]:
    """For each poll of several keys, which numbers of the line they are."""
    if "entries" not in columns:
        return
    for cells in np.split(placed["entry_key"].cells, np.cumsum(columns["entries"])[:-1]):
        keys = np.unique(cells[cells < count])
        if len(keys) > 1:
            yield keys


def _put_further(
    batch: Batch, skeleton: _Skeleton, template: _Template, text: Text, lines: Places
) -> bool:
    """Put the further messages of these lines, whose bases are the batch, behind the entries that
    they follow. False if one follows none, so that it is no message of a poll."""
    count = text.further_count[lines]
    if not count.any():
        return True
    further = elements(text.first_further, lines, count)
    line = np.repeat(np.arange(len(lines)), count)
    run = text.further_behind[further] - text.first_run[lines][line]
    number = np.cumsum(~skeleton.literal) - 1
    entry = np.where(skeleton.literal[run], -1, template.entry_at[number[run]])
    if entry.min() < 0:
        return False
    columns = batch.columns
    of_line = len(columns["entry_key"]) // len(lines)
    behind = line * of_line + entry
    if (np.diff(behind) < 0).any():
        return False  # a poll that lists its keys in another order than the columns do
    times = np.bincount(behind, minlength=len(columns["entry_key"])) + 1
    is_further = np.ones(int(times.sum()), np.bool_)
    is_further[np.cumsum(times) - times] = False
    for name in ("entry_key", "entry_offset", "entry_value"):
        columns[name] = np.repeat(columns[name], times)
    columns["entry_offset"][is_further] = text.further[further, 0]
    columns["entry_value"][is_further] = text.further[further, 1]
    mops = np.repeat(np.arange(len(columns["entries"])), columns["entries"])
    more = np.bincount(mops[behind], minlength=len(columns["entries"]))
    columns["entries"] = (columns["entries"] + more).astype(np.int32)
    return True


def _marked(line: bytes, literal: NDArray[np.bool_]) -> tuple[bytes, list[int]]:
    """The line with a marker for each run of digits that is not literal, and these markers."""
    markers: list[int] = []
    kept = iter(literal.tolist())

    def mark(run: re.Match[bytes]) -> bytes:
        if next(kept):
            return run[0]
        markers.append(MARKER + len(markers))
        return b"%d" % markers[-1]

    return _RUN.sub(mark, line), markers


def _regular(text: Text, skeleton: _Skeleton, places: Places) -> tuple[Places, Places]:
    """Those of the lines whose digits stand where the skeleton has them: (places, runs).

    runs: int64[lines, runs], each run's number in the text.
    """
    count = len(skeleton.runs)
    places = places[text.run_count[places] == count]
    runs = text.first_run[places][:, None] + np.arange(count)
    fits = (text.run_place[runs] == skeleton.runs).all(axis=1)
    return places[fits], runs[fits]


def _by_literals(text: Text, runs: Places) -> list[Places]:
    """The rows of `runs` (literal runs, a line each) in groups that agree in all digits."""
    code = np.zeros(len(runs), np.int64)
    for column in runs.T:
        # A run is its value and its length, as 1 and 01 are two texts.
        digits = text.value[column] * 32 + text.length[column]
        if digits.min() < digits.max():
            _, inverse = np.unique(digits, return_inverse=True)
            _, code = np.unique(code * (inverse.max() + 1) + inverse, return_inverse=True)
    if not code.any():
        return [np.arange(len(runs))]
    order = np.argsort(code, kind="stable")
    bounds = np.flatnonzero(np.diff(code[order], prepend=-1, append=-1))
    return [order[b:e] for b, e in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
