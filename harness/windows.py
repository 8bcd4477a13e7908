"""When the cause of an anomaly must lie, and what else decides whether it is legal, case by case.

A checker counts every case and argues a few. Whether a case is legal must not depend on whether it
was argued, so a checker says of all of them what a licence may ask, in columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LONG_AGO, NEVER = -(2**62), 2**62
ANYBODY = -1


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A row a case. Times are nanoseconds.

    Attributes:
        begin, end: int64[cases]; a cause lies in between. LONG_AGO and NEVER where nobody knows.
        led_until: int64[cases]; a fault that began later cannot have done it by a change of
            leaders, since by then everybody who may lead had what the case is about.
        process: int64[cases]; who sent it, ANYBODY if unknown.
        settled: bool[cases]; what is gone had been read, and so was below the high watermark.
        retried: bool[cases]; its send lasted so long that the producer may have sent it again.
    """

    begin: Ints
    end: Ints
    led_until: Ints
    process: Ints
    settled: Bools
    retried: Bools

    @staticmethod
    def of(
        begin: Any,
        end: Any,
        led_until: Any = NEVER,
        process: Any = ANYBODY,
        settled: Any = False,
        retried: Any = False,
    ) -> Windows:
        """Of columns, or of values that hold for all; a window never ends before it begins."""
        end = np.asarray(end, np.int64)
        begin = np.minimum(np.asarray(begin, np.int64), end)
        size = begin.shape
        return Windows(
            begin,
            np.broadcast_to(end, size),
            np.broadcast_to(np.asarray(led_until, np.int64), size),
            np.broadcast_to(np.asarray(process, np.int64), size),
            np.broadcast_to(np.asarray(settled, np.bool_), size),
            np.broadcast_to(np.asarray(retried, np.bool_), size),
        )

    @staticmethod
    def of_span(span: tuple[int, int] | None) -> Windows:
        """One case of which nothing but its span is known."""
        begin, end = span or (LONG_AGO, NEVER)
        return Windows.of([begin], [end])

    @staticmethod
    def joined(some: Sequence[Windows]) -> Windows:
        """The cases of all."""
        names = [field.name for field in fields(Windows)]
        return Windows(*(np.concatenate([getattr(w, name) for w in some]) for name in names))

    def __len__(self) -> int:
        return len(self.begin)

    def take(self, rows: Any) -> Windows:
        """The cases of some rows."""
        return Windows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def span(self, row: int) -> tuple[int, int]:
        return int(self.begin[row]), int(self.end[row])
