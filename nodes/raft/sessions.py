"""Sessions: a command that is proposed again, through whichever leader, applies once.

A client opens a session with an entry of the log, and the entry's index is its id: unique, for
ever. Each of its commands has a sequence number; the client also says the lowest number whose
result it may still ask for, so that older results can be forgotten. A number below that was
answered already: its proposal is an echo.

There are no more than SESSIONS_MAX sessions; the one that was not used for longest goes. A command
of a session that is not there is refused instead of applied, since it may have been applied before
(thesis, §6.3). All of this is replicated state: a function of the log, the same on every node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Session = tuple[int, int, int]
"""(id, sequence, lowest sequence whose result may still be asked for)"""

OPEN: Session = (0, 0, 0)
"""With an empty command: opens a session; the result is its id."""

SESSIONS_MAX = 1000


class SessionExpired(Exception):
    """There is no such session (any more). The command was not applied now, but may have been."""


@dataclass(slots=True)
class _Kept:
    """Of one session: results by sequence number, none of them below `lowest`."""

    lowest: int = 0
    results: dict[int, Any] = field(default_factory=dict)


class Sessions:
    """See the module."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def open(self, index: int) -> int:
        """A new session, opened by entry `index`."""
        self._kept[index] = _Kept()
        while len(self._kept) > SESSIONS_MAX:
            self._kept.popitem(last=False)
        return index

    def apply(self, session: Session, apply: Callable[[], Any]) -> Any:
        """The result of `apply`, called unless this command was applied before.

        Raises:
            SessionExpired: it cannot be told whether it was.
        """
        id, sequence, lowest = session
        kept = self._kept.get(id)
        if kept is None:
            raise SessionExpired(f"there is no session {id} now")
        self._kept.move_to_end(id)
        # An echo may carry a lower bound that is long out of date.
        kept.lowest = max(kept.lowest, lowest)
        for number in [number for number in kept.results if number < kept.lowest]:
            del kept.results[number]
        if sequence < kept.lowest:
            return None  # its client has the answer, or gave up: nobody waits for this one
        if sequence not in kept.results:
            kept.results[sequence] = apply()
        return kept.results[sequence]

    def dump(self) -> list[Any]:
        return [(id, kept.lowest, list(kept.results.items())) for id, kept in self._kept.items()]

    @staticmethod
    def load(rows: list[Any]) -> Sessions:
        sessions = Sessions()
        for id, lowest, results in rows:
            sessions._kept[id] = _Kept(lowest, dict(results))
        return sessions
