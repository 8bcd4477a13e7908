"""Values of a history as columns. (Interface; see the brief of the data layer.)

Three shapes are recognised; anything else is kept as raw JSON:
    scalar   null, an integer, or anything interned
    pair     [k, v] with integer k and scalar v (independent keys)
    micro    a list of micro-operations: ["send", k, v], ["send", k, [off, v]],
             ["poll"], ["poll", {k: [[off, v], …]}], ["append", k, v], ["r", k, [v, …]], ["w", k, v], …
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Micro:
    """Ragged micro-operations: row → mops → entries.

    Attributes:
        mop_start: int32[rows + 1]; row r's mops are mop_start[r]:mop_start[r + 1].
        mop_f: int16[mops], code in `fs`. mop_key: int64[mops], the key; MISSING for a poll.
        entry_start: int32[mops + 1]; mop m's entries are entry_start[m]:entry_start[m + 1].
        entry_key, entry_offset, entry_value: int64[entries]; offset MISSING where there is none.
            A send has one entry, a poll one per message, an "r" one per element.
            Values that are not integers are codes: `Values.object(code)`.
    """

    fs: tuple[str, ...]
    mop_start: NDArray[np.int32]
    mop_f: NDArray[np.int16]
    mop_key: NDArray[np.int64]
    entry_start: NDArray[np.int32]
    entry_key: NDArray[np.int64]
    entry_offset: NDArray[np.int64]
    entry_value: NDArray[np.int64]


class Values:
    """The value of each event.

    Attributes:
        shape: int8[n]: NONE, SCALAR, PAIR, MICRO or RAW. row: int32[n], row in the shape's table.
        micro: the micro-operations of all events of shape MICRO.
    """

    shape: NDArray[np.int8]
    row: NDArray[np.int32]
    micro: Micro
