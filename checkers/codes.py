"""Values of any shape as codes: equal JSON has one code, and 1, 1.0 and true have three.

Codes are those of `harness.columns`. What has none there, such as a list, an object or a value
under a key that is no integer, gets one that means something here only.

Cost: nothing where values are scalars, or pairs with an integer; else 5 µs a value.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from checkers.linearizable.values import Bools, Ints
from harness.columns import INTEGER_MIN, NONE, NULL, OBJECT_MIN, PAIR, SCALAR
from harness.history import History


class Codes:
    """Codes of keys and values of a history, whose values are `[key, value]` if it is keyed."""

    def __init__(self, history: History, keyed: bool) -> None:
        self.values, self.keyed = history.values, keyed
        self._known: dict[bytes, int] = {}
        self._own: list[bytes] = []

    def of(self, at: Ints) -> tuple[Ints, Ints, Bools]:
        """Key and value at each of these positions, and which of them have none."""
        values = self.values
        shape = values.shape[at]
        row = values.row[at]
        key = np.full(len(at), NULL, np.int64)
        value = np.full(len(at), NULL, np.int64)
        if self.keyed:
            plain = shape == PAIR
            key[plain], value[plain] = values.pair[row[plain]].T
            rest = ~plain
        else:
            plain = shape == SCALAR
            value[plain] = values.scalar[row[plain]]
            rest = ~plain & (shape != NONE)
        odd = np.zeros(len(at), np.bool_)
        for place in np.flatnonzero(rest).tolist():
            told = values.get(int(at[place]))
            if not self.keyed:
                value[place] = self.code(told)
            elif isinstance(told, list) and len(told) == 2:
                key[place], value[place] = map(self.code, told)
            else:
                odd[place] = True
        return key, value, odd

    def code(self, value: Any) -> int:
        """The code of one value."""
        if value is None:
            return NULL
        if type(value) is int and INTEGER_MIN <= value < 2**63:
            return value
        # Sorted, since equal objects may name their members in any order.
        text = msgspec.json.encode(value, order="sorted")
        objects = self.values.objects
        if not self._known:
            self._known = {objects[row]: OBJECT_MIN + row for row in range(len(objects))}
        code = self._known.setdefault(text, OBJECT_MIN + len(objects) + len(self._own))
        if code == OBJECT_MIN + len(objects) + len(self._own):
            self._own.append(text)
        return code

    def decode(self, code: int) -> Any:
        """The value that a code stands for."""
        own = code - OBJECT_MIN - len(self.values.objects)
        if 0 <= own < len(self._own):
            return msgspec.json.decode(self._own[own])
        return self.values.decode(code)
