"""Which brokers are alive, as the leader of the quorum hears them.

The clock of this stands still while the leader itself does: when it was stopped, or starved, for
seconds, the heartbeats of these seconds wait in its sockets, and to fence everybody for that would
be a false alarm. A broker is never fenced sooner than after a session, sometimes later.

    leader     pause_s() ─▶ sleeps ─▶ silent(…) ─▶ pause_s() …     heard(…) whenever a broker beats
"""

from __future__ import annotations

from collections.abc import Iterable

SLACK_S = 0.05
"""For a heartbeat that comes at the last moment, and between two attempts to fence a broker."""

LATE_S = 0.1
"""What a pause may last longer than was said and still count in full."""


class Liveness:
    """What one leader has heard in its term. `now_s` is any clock that never goes back."""

    def __init__(self, session_s: float) -> None:
        self._session_s = session_s
        # So much may count when the leader stands still: brokers beat more often than that.
        self._pause_s_max = session_s / 4
        self._clock_s = 0.0
        self._looked_s: float | None = None
        self._pause_s = 0.0  # what is left of it
        self._heard: dict[int, float] = {}

    def restart(self) -> None:
        """A new leader has heard nobody yet: everybody gets a full session."""
        self._heard.clear()
        self._looked_s, self._pause_s = None, 0.0

    def heard(self, broker: int, now_s: float) -> None:
        self._pass(now_s)
        self._heard[broker] = self._clock_s

    def silent(self, brokers: Iterable[int], now_s: float) -> list[int]:
        """Those whose session is over. Who is asked about for the first time begins one."""
        self._pass(now_s)
        return [
            broker
            for broker in brokers
            if self._clock_s - self._heard.setdefault(broker, self._clock_s) > self._session_s
        ]

    def pause_s(self, brokers: Iterable[int]) -> float:
        """For how long nobody needs to be looked for: until the next session of these may end."""
        ends = [self._heard.get(broker, self._clock_s) + self._session_s for broker in brokers]
        left_s = min(ends, default=self._clock_s + self._session_s) - self._clock_s
        self._pause_s = min(max(left_s, 0.0) + SLACK_S, self._pause_s_max)
        return self._pause_s

    def _pass(self, now_s: float) -> None:
        """Count what has passed since the last look, as far as the leader was to pause for it."""
        if self._looked_s is not None:
            passed_s = now_s - self._looked_s
            self._clock_s += min(passed_s, self._pause_s + LATE_S)
            self._pause_s = max(self._pause_s - passed_s, 0.0)
        self._looked_s = now_s
