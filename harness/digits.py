"""The lines of a chunk of JSON, the runs of digits in them, and what is left of them without.

What a poll returns is a list of messages, `[[0,7],[1,8],[2,9]]`, of any length. Where that makes
lines differ too much, all but the first message of each list are taken out: they are its *further*
messages, and the line without them is its *base*. Skeletons and runs are then those of the bases,
and further messages stand in columns of their own.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Places = NDArray[np.int64]

DIGITS_MAX: Final = 16
_DIGITS: Final = b"0123456789"
_MESSAGE: Final = 4
"""Length of `,[,]`, which a further message leaves in a skeleton."""

_FURTHER: Final = re.compile(rb"(\[[0-9]+,[0-9]+\])(?:,\[[0-9]+,[0-9]+\])+")


class Text:
    """The lines of a chunk and the runs of digits in them.

    Attributes:
        skeletons: of each line's base.
        run_count, first_run: int64[lines]; how many runs a base has, and the number of its first.
        irregular: places of lines with a number that is none here (too long, leading zeros).
        value, length: int64[runs].
        run_place: int64[runs]; place in the base's skeleton.
        further_count, first_further: int64[lines]; as of the runs, of the further messages.
        further_behind: int64[further]; the run with which the message that it follows begins.
        further: int64[further, 2]; the two numbers of each.
    """

    def __init__(self, chunk: bytes, *, bases: bool) -> None:
        """`bases`: whether to take further messages out; else there are none."""
        assert chunk.endswith(b"\n")
        self.chunk = chunk
        skeletons = chunk.translate(None, _DIGITS)
        # A byte before, so that no number begins the text, and eight behind, so that eight can be
        # read from the start of any number.
        data = np.frombuffer(b"".join((b"\n", chunk, bytes(8))), np.uint8)
        line_start = np.flatnonzero(data == 10) + 1
        self.line_start, self.line_end = line_start[:-1] - 1, line_start[1:] - 2
        is_digit = (data - np.uint8(48)) < 10
        edges = np.flatnonzero(is_digit[1:] != is_digit[:-1]) + 1
        start, end = edges[0::2], edges[1::2]
        self.length = end - start
        bounds = np.searchsorted(start, line_start)
        odd = self.length > DIGITS_MAX
        odd |= (data[start] == 48) & (self.length > 1)
        self.irregular = np.searchsorted(bounds, np.flatnonzero(odd), side="right") - 1
        self.value = _values(data, start, end)
        # What stands before a run, less the digits in it, less the same for the line's start.
        before = np.zeros(len(start) + 1, np.int64)
        np.cumsum(self.length, out=before[1:])
        place = start - before[:-1]
        self.run_place = place - np.repeat(line_start[:-1] - before[bounds[:-1]], np.diff(bounds))
        further = _further(data, start, end) if bases else np.zeros(0, np.int64)
        if len(further):
            text = np.frombuffer(skeletons, np.uint8)
            kept = np.ones(len(text), np.bool_)
            # A message's first number stands behind the `,[`; and the text begins a byte later.
            kept[(place[further][:, None] + (np.arange(_MESSAGE) - 3)).reshape(-1)] = False
            skeletons = text[kept].tobytes()
        self._take_out(further, bounds)
        self.skeletons = skeletons.split(b"\n")
        self.skeletons.pop()

    def _take_out(self, further: Places, bounds: Places) -> None:
        """Leave the runs of the bases; `further` are the first runs of further messages."""
        in_line = np.searchsorted(further, bounds)
        self.first_further, self.further_count = in_line[:-1], np.diff(in_line)
        # Before a run lie two runs of each further message before it.
        base_bounds = bounds - 2 * in_line
        self.first_run, self.run_count = base_bounds[:-1], np.diff(base_bounds)
        self.further = np.stack([self.value[further], self.value[further + 1]], axis=1)
        self.further_behind = further - 2 * np.arange(len(further)) - 2
        if len(further):
            kept = np.ones(len(self.value), np.bool_)
            kept[further] = kept[further + 1] = False
            self.value, self.length = self.value[kept], self.length[kept]
            gaps = np.bincount(self.further_behind + 2, minlength=len(self.value) + 1)
            before = np.cumsum(gaps)[:-1] - np.repeat(self.first_further, self.run_count)
            self.run_place = self.run_place[kept] - _MESSAGE * before

    def __len__(self) -> int:
        return len(self.skeletons)

    def line(self, place: int) -> bytes:
        return self.chunk[self.line_start[place] : self.line_end[place]]

    def base(self, place: int) -> bytes:
        """The line without its further messages."""
        line = self.line(place)
        return _FURTHER.sub(rb"\1", line) if self.further_count[place] else line

    def runs_of(self, place: int) -> Ints:
        first = self.first_run[place]
        return self.run_place[first : first + self.run_count[place]]


def _further(data: NDArray[np.uint8], start: Places, end: Places) -> Places:
    """The first runs of further messages: `[a,b]` right behind `[c,d],`."""
    gap = start[1:] - end[:-1]
    at = np.flatnonzero(gap[1:-1] == 3) + 2  # "],[" may stand before this run
    at = at[(gap[at] == 1) & (gap[at - 2] == 1)]
    signs = ((start, -2, -1, b"["), (end, -2, 0, b","), (end, -1, 0, b"]"), (end, -1, 1, b","))
    for runs, of, by, sign in (*signs, (start, 0, -1, b"["), (end, 0, 0, b","), (end, 1, 0, b"]")):
        at = at[data[runs[at + of] + by] == ord(sign)]
    found: Places = at
    return found


def _values(data: NDArray[np.uint8], start: Places, end: Places) -> Ints:
    """The numbers at data[start:end], of up to 16 digits; others come out wrong."""
    words = np.lib.stride_tricks.as_strided(
        data[:8].view("<u8"), shape=(len(data) - 7,), strides=(1,), writeable=False
    )
    length = end - start
    value = _eight_digits(words[start], np.minimum(length, 8))
    long = np.flatnonzero(length > 8)
    if len(long):
        # The first digits end where the last eight begin.
        value[long] = _eight_digits(words[start[long]], np.minimum(length[long] - 8, 8))
        value[long] *= 10**8
        value[long] += _eight_digits(words[end[long] - 8], np.full(len(long), 8))
    return value


def _eight_digits(words: NDArray[np.uint64], length: NDArray[np.int64]) -> Ints:
    """The numbers that the first `length` of eight bytes spell; `words` is used up.

    The digits are moved to the high bytes, so that zeros stand before them; then neighbours are
    joined to numbers of two, four and eight digits.
    """
    # In place, as the allocation of a column costs more than the arithmetic on it.
    shift = length * -8
    shift += 64
    words <<= shift.view(np.uint64)
    words &= np.uint64(0x0F0F0F0F0F0F0F0F)
    words *= np.uint64(10 * 2**8 + 1)
    words >>= np.uint64(8)
    words &= np.uint64(0x00FF00FF00FF00FF)
    words *= np.uint64(100 * 2**16 + 1)
    words >>= np.uint64(16)
    words &= np.uint64(0x0000FFFF0000FFFF)
    words *= np.uint64(10000 * 2**32 + 1)
    words >>= np.uint64(32)
    numbers: Ints = words.view(np.int64)
    return numbers
