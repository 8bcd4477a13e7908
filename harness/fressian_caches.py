"""What values of Fressian are repeated by, in a byte or two: what came before, and its types.

A value that is cached costs a byte to repeat, and may itself repeat others: a hundred bytes could
spell more than any memory holds. So what is repeated is counted in characters, and what all of it
may spell is limited by the size of the data. Short strings are free, being limited by themselves;
nearly all that Jepsen caches are names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

from harness.fressian_codes import CACHED, STRUCTS
from harness.fressian_tags import Handler

REPEATS: Final = 64
"""Characters that repeated values may spell a byte of the data, over all."""

REPEATS_FREE: Final = 1 << 12
"""Characters beyond that, for what is short."""

_UNFINISHED: Final = object()
"""Stands for a value that is still being read."""


class Caches:
    """Those of data of some size. `fail` is called with the reason where something cannot be.

    Attributes:
        names: short strings that are cached, by the code that repeats them. Always the same
            object, which who reads may hold on to.
    """

    def __init__(self, size: int, fail: Callable[[str], NoReturn]) -> None:
        self.names: dict[int, str] = {}
        self._fail = fail
        self._left = REPEATS * size + REPEATS_FREE
        self._values: list[Any] = []
        self._weights: dict[int, int] = {}  # of what is not free to repeat, in characters
        self._types: list[tuple[Handler, int]] = []

    def reserve(self) -> int:
        """A place for the value that is read next; others may be put behind it meanwhile."""
        self._values.append(_UNFINISHED)
        return len(self._values) - 1

    def put(self, place: int, value: Any) -> None:
        if place >= len(self._values):
            self._fail("the caches are emptied within a value that is cached")
        self._values[place] = value
        if type(value) is str and len(value) <= REPEATS:
            if CACHED + place < STRUCTS:
                self.names[CACHED + place] = value
        elif type(value) in (str, list, dict):
            self._weights[place] = self._weight(value)

    def get(self, place: int) -> Any:
        if place >= len(self._values):
            self._fail(f"there is no cached value {place}")
        value = self._values[place]
        if value is _UNFINISHED:
            self._fail(f"the cached value {place} contains itself")
        if place in self._weights:
            self.spend(self._weights[place])
        return value

    def define(self, read: Handler, count: int) -> None:
        """A type: how its values are read, and of how many parts."""
        self._types.append((read, count))

    def type(self, place: int) -> tuple[Handler, int]:
        """The type that was defined there; -1 is the last."""
        if place >= len(self._types):
            self._fail(f"there is no type {place}")
        return self._types[place]

    def spend(self, characters: int) -> None:
        """Something is spelled again, and makes so many characters."""
        self._left -= characters
        if self._left < 0:
            self._fail("repeated values spell too much for data of this size")

    def reset(self) -> None:
        for cache in (self.names, self._values, self._weights, self._types):
            cache.clear()

    def _weight(self, value: Any) -> int:
        """What a value spells, in characters about; finding out is paid for as it goes."""
        size = len(value) if type(value) is str else 1
        self.spend(size)
        if type(value) is list:
            size += sum(map(self._weight, value))
        elif type(value) is dict:
            size += sum(len(key) + self._weight(item) for key, item in value.items())
        return size
