"""Values of a history as columns: what checkers read at millions of operations.

Each event's value has one of five shapes, recognised when the history is decoded:

    NONE    null
    SCALAR  an integer, a string, a number or a truth value
    PAIR    [k, v] with an integer k: independent keys, or the two sides of a cas
    MICRO   a list of micro-operations, see `Micro`
    RAW     anything else, as JSON

Every number in a column is a *code*. An integer is its own code; what is no integer has a code from
the bottom of int64, below `INTEGER_MIN`, that stands for the null, for absence, or for an object in
a table. Real integers down there are objects too, so each code has one meaning:

    MISSING                  nothing stands there: a poll's key, the offset of ["send", k, v]
    NULL                     the JSON null
    NULL < code < INTEGER_MIN  `Values.object(code)`; equal values have equal codes
    code >= INTEGER_MIN      that integer

Nothing is lost: `Values.get(position)` is the value as the file has it, up to spaces, the order of
keys and the spelling of numbers. Keys of a poll are integers here and, as JSON wants it, strings
there. Blind to: duplicate keys of a JSON object (the last one counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

NONE: Final = 0
SCALAR: Final = 1
PAIR: Final = 2
MICRO: Final = 3
RAW: Final = 4

MISSING: Final = -(2**63)
NULL: Final = MISSING + 1
OBJECT_MIN: Final = MISSING + 2
INTEGER_MIN: Final = MISSING + 2**32
"""Below this, no code is an integer: room for 4 billion objects, and a loss to nobody."""

BARE: Final = 0  # ["poll"]: no key, no entries
VALUE: Final = 1  # ["send", k, v], ["r", k, null]: one entry, offset MISSING
OFFSET: Final = 2  # ["send", k, [offset, v]]: one entry; offset NULL where the file has null
LIST: Final = 3  # ["r", k, [v, …]]: one entry an element, offset MISSING
MAP: Final = 4  # ["poll", {k: [[offset, v], …]}]: one entry a message, key by key


def is_integer(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which codes are integers; an offset is known where this holds."""
    return codes >= INTEGER_MIN


def is_object(codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which codes stand for an object of the table: neither integer, nor null, nor missing."""
    return (codes >= OBJECT_MIN) & (codes < INTEGER_MIN)


@dataclass(frozen=True, slots=True)
class Blobs:
    """Many byte strings in one: blob i is data[start[i]:start[i + 1]]."""

    data: NDArray[np.uint8]
    start: NDArray[np.int64]

    @staticmethod
    def of(blobs: list[bytes]) -> Blobs:
        start = np.zeros(len(blobs) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, blobs), np.int64, len(blobs)), out=start[1:])
        return Blobs(np.frombuffer(b"".join(blobs), np.uint8), start)

    def __len__(self) -> int:
        return len(self.start) - 1

    def __getitem__(self, row: int) -> bytes:
        assert 0 <= row < len(self)
        return self.data[self.start[row] : self.start[row + 1]].tobytes()

    @property
    def nbytes(self) -> int:
        return self.data.nbytes + self.start.nbytes


@dataclass(frozen=True, slots=True)
class Micro:
    """Ragged micro-operations: row → mops → entries. Numbers are codes (see above).

    Attributes:
        fs: names of the micro-operations, by code.
        mop_start: int32[rows + 1]; row r's mops are mop_start[r]:mop_start[r + 1], at least one.
        mop_f: int16[mops], code in `fs`.
        mop_form: int8[mops]: BARE, VALUE, OFFSET, LIST or MAP, how the file spells it. It tells
            ["r", k, []] (LIST) from ["r", k, null] (VALUE with one entry NULL), and ["poll"] (BARE)
            from a poll that returned nothing (MAP).
        mop_key: int64[mops], the key; MISSING for BARE and MAP.
        entry_start: int32[mops + 1]; mop m's entries are entry_start[m]:entry_start[m + 1].
        entry_key, entry_offset, entry_value: int64[entries]. The key is the mop's, or in a poll
            the message's; the offset is MISSING in VALUE and LIST.
    """

    fs: tuple[str, ...]
    mop_start: NDArray[np.int32]
    mop_f: NDArray[np.int16]
    mop_form: NDArray[np.int8]
    mop_key: NDArray[np.int64]
    entry_start: NDArray[np.int32]
    entry_key: NDArray[np.int64]
    entry_offset: NDArray[np.int64]
    entry_value: NDArray[np.int64]

    def code(self, f: str) -> int:
        """The code of a micro-operation's name in `mop_f`, or -2 if there is none."""
        return self.fs.index(f) if f in self.fs else -2

    def row_of_mop(self) -> NDArray[np.int32]:
        """int32[mops]; the row that each mop belongs to."""
        return _owners(self.mop_start)

    def mop_of_entry(self) -> NDArray[np.int32]:
        """int32[entries]; the mop that each entry belongs to."""
        return _owners(self.entry_start)

    def _check(self) -> None:
        assert self.mop_start[-1] == len(self.mop_f) == len(self.mop_form) == len(self.mop_key)
        assert self.entry_start[-1] == len(self.entry_key)
        assert len(self.entry_key) == len(self.entry_offset) == len(self.entry_value)
        assert len(self.entry_start) == len(self.mop_f) + 1
        assert (np.diff(self.mop_start) >= 1).all(), "a row without a mop is RAW"
        assert (np.diff(self.entry_start) >= 0).all()
        one = (self.mop_form == VALUE) | (self.mop_form == OFFSET)
        assert (np.diff(self.entry_start)[one] == 1).all()
        assert (np.diff(self.entry_start)[self.mop_form == BARE] == 0).all()


def _owners(start: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.repeat(np.arange(len(start) - 1, dtype=np.int32), np.diff(start))


@dataclass(frozen=True, slots=True)
class Values:
    """The value of each event.

    Attributes:
        shape: int8[n]: NONE, SCALAR, PAIR, MICRO or RAW.
        row: int32[n], row in the shape's table; 0 for NONE. Rows ascend with the position, so that
            `positions(MICRO)[row]` is the event of a row of `micro`.
        scalar: int64[scalars]. pair: int64[pairs, 2], key and value.
        micro: the micro-operations of all events of shape MICRO.
        raw: JSON of the events of shape RAW.
        objects: JSON of what is no integer, by code - OBJECT_MIN.
        exact_position, exact: JSON of the few MICRO values that their columns cannot spell again,
            such as a poll with a key that has no messages; positions ascend.
    """

    shape: NDArray[np.int8]
    row: NDArray[np.int32]
    scalar: NDArray[np.int64]
    pair: NDArray[np.int64]
    micro: Micro
    raw: Blobs
    objects: Blobs
    exact_position: NDArray[np.int64]
    exact: Blobs

    def get(self, position: int) -> Any:
        """The value of the event at `position`, as JSON has it. A new object each time."""
        shape, row = self.shape[position], int(self.row[position])
        if shape == NONE:
            return None
        if shape == SCALAR:
            return self.decode(int(self.scalar[row]))
        if shape == PAIR:
            return [self.decode(code) for code in self.pair[row].tolist()]
        if shape == RAW:
            return msgspec.json.decode(self.raw[row])
        if len(self.exact):
            known = int(np.searchsorted(self.exact_position, position))
            if known < len(self.exact) and self.exact_position[known] == position:
                return msgspec.json.decode(self.exact[known])
        start = self.micro.mop_start
        return [self._mop(mop) for mop in range(start[row], start[row + 1])]

    def object(self, code: int) -> Any:
        """The value that an object's code stands for."""
        assert OBJECT_MIN <= code < INTEGER_MIN
        return msgspec.json.decode(self.objects[code - OBJECT_MIN])

    def decode(self, code: int) -> Any:
        """The JSON value of any code but MISSING."""
        assert code != MISSING, "there is no value to decode"
        if code >= INTEGER_MIN:
            return code
        return None if code == NULL else self.object(code)

    def positions(self, shape: int) -> NDArray[np.int64]:
        """int64[rows]; the event of each row of the shape's table."""
        return np.flatnonzero(self.shape == shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all columns."""
        tables: list[NDArray[Any]] = [
            self.shape,
            self.row,
            self.scalar,
            self.pair,
            self.exact_position,
        ]
        tables += [getattr(self.micro, name) for name in Micro.__dataclass_fields__ if name != "fs"]
        blobs = (self.raw, self.objects, self.exact)
        return sum(table.nbytes for table in tables) + sum(blob.nbytes for blob in blobs)

    def _mop(self, mop: int) -> list[Any]:
        micro = self.micro
        f, form = micro.fs[micro.mop_f[mop]], micro.mop_form[mop]
        entries = slice(micro.entry_start[mop], micro.entry_start[mop + 1])
        values = [self.decode(code) for code in micro.entry_value[entries].tolist()]
        if form == BARE:
            return [f]
        if form == MAP:
            messages: dict[str, list[Any]] = {}
            offsets = map(self.decode, micro.entry_offset[entries].tolist())
            keys = map(self.decode, micro.entry_key[entries].tolist())
            for key, offset, value in zip(keys, offsets, values, strict=True):
                messages.setdefault(str(key), []).append([offset, value])
            return [f, messages]
        key = self.decode(int(micro.mop_key[mop]))
        if form == LIST:
            return [f, key, values]
        if form == VALUE:
            return [f, key, values[0]]
        assert form == OFFSET
        return [f, key, [self.decode(int(micro.entry_offset[entries][0])), values[0]]]

    def _check(self) -> None:
        """Every invariant of the columns; raises AssertionError. Cost: linear."""
        self.micro._check()
        sizes = (
            None,
            len(self.scalar),
            len(self.pair),
            len(self.micro.mop_start) - 1,
            len(self.raw),
        )
        for shape, size in enumerate(sizes):
            rows = self.row[self.shape == shape]
            expected = np.zeros(len(rows)) if size is None else np.arange(size)
            assert np.array_equal(rows, expected), f"rows of shape {shape} are not dense"
        assert len(self.exact_position) == len(self.exact)
        assert (self.shape[self.exact_position] == MICRO).all()
