"""Which brokers are alive, as the leader of the quorum hears them.

The clock of this stands still while the leader itself does: when it was stopped, or starved, for
seconds, the heartbeats of these seconds wait in its sockets, and to fence everybody for that would
be a false alarm. A broker is never fenced sooner than after a session, sometimes later.
"""

from __future__ import annotations

from collections.abc import Iterable

STEP_S = 0.1
"""How often the leader looks. Of a step that took longer, twice this is counted."""


class Liveness:
    """What one leader has heard in its term."""

    def __init__(self, session_s: float) -> None:
        self._session_s = session_s
        self._clock_s = 0.0
        self._heard: dict[int, float] = {}

    def restart(self) -> None:
        """A new leader has heard nobody yet: everybody gets a full session."""
        self._heard.clear()

    def passed(self, seconds: float) -> None:
        self._clock_s += min(seconds, 2 * STEP_S)

    def heard(self, broker: int) -> None:
        self._heard[broker] = self._clock_s

    def silent(self, brokers: Iterable[int]) -> list[int]:
        """Those whose session is over. Who is asked about for the first time begins one."""
        return [
            broker
            for broker in brokers
            if self._clock_s - self._heard.setdefault(broker, self._clock_s) > self._session_s
        ]
