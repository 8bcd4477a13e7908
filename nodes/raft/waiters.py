"""Callers who wait for what the log will bring: results, reads, and entries to be applied."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from harness.errors import OpError, TimedOut


class Proposals:
    """Proposals that are not applied yet, by the place in the log that each was given.

    An index may have been given twice, in two terms of this node's leadership: either entry may be
    the one that gets committed there, so both wait for that.
    """

    def __init__(self) -> None:
        self._at: dict[int, dict[int, asyncio.Future[Any]]] = {}  # index → term → …

    async def wait(self, index: int, term: int) -> Any:
        """The result of the entry at this place, when it is applied."""
        future = self._at.setdefault(index, {})[term] = _future()
        try:
            return await future
        finally:
            waiting = self._at.get(index, {})
            if waiting.get(term) is future:
                del waiting[term]
                if not waiting:
                    self._at.pop(index, None)

    def applied(
        self, index: int, term: int, result: Any, error: Exception | None, other: OpError
    ) -> None:
        """The entry at `index` is that of `term`; those of other terms will never be: `other`."""
        for proposed, future in self._at.pop(index, {}).items():
            if proposed != term:
                _settle(future, error=other)
            else:
                _settle(future, result, error)

    def overtaken(self, index: int) -> None:
        """A snapshot covers all up to `index`: applied, with results that nobody has here."""
        for covered in [at for at in self._at if at <= index]:
            for future in self._at.pop(covered).values():
                _settle(future, error=TimedOut("overtaken by a snapshot"))

    def fail(self, error: OpError) -> None:
        for waiting in self._at.values():
            for future in waiting.values():
                _settle(future, error=error)


class Reads:
    """Reads whose leader is being confirmed: each gets the index to wait for."""

    def __init__(self) -> None:
        self._number = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}

    async def wait(self, ask: Callable[[int], bool]) -> int | None:
        """Ask, by a number of its own; the answer, or None if the asking was refused."""
        self._number += 1
        number = self._number
        self._waiting[number] = future = _future()
        try:
            return await future if ask(number) else None
        finally:
            del self._waiting[number]

    def confirmed(self, reads: Iterable[tuple[int, int]]) -> None:
        for number, index in reads:
            if number in self._waiting:
                _settle(self._waiting[number], index)

    def lost(self, reads: Iterable[int], error: OpError) -> None:
        for number in reads:
            if number in self._waiting:
                _settle(self._waiting[number], error=error)

    def fail(self, error: OpError) -> None:
        self.lost(list(self._waiting), error)


class Appliers:
    """Those who wait for an entry to be applied."""

    def __init__(self) -> None:
        self._waiting: set[tuple[int, asyncio.Future[None]]] = set()

    async def wait(self, index: int) -> None:
        waiting = index, _future()
        self._waiting.add(waiting)
        try:
            await waiting[1]
        finally:
            self._waiting.discard(waiting)

    def applied(self, index: int) -> None:
        for wanted, future in self._waiting:
            if wanted <= index:
                _settle(future)

    def fail(self, error: OpError) -> None:
        for _, future in self._waiting:
            _settle(future, error=error)


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _settle(
    future: asyncio.Future[Any], result: Any = None, error: Exception | None = None
) -> None:
    if future.done():
        return  # who waited gave up
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
