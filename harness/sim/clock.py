"""The clocks of a simulated machine, right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.sim.scheduler import Scheduler

EPOCH_NS = 1_767_225_600_000_000_000
"""The wall clock where a world begins: 2026-01-01T00:00:00Z."""


class SimClock:
    """A machine's clocks.

    The wall clock is the world's time plus an offset that jumps and grows at a rate; the monotonic
    one has the rate, and no jumps.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._offset_ns = 0
        self._drift_ns = 0  # gathered until `_since`
        self._since = 0
        self.rate_ppm = 0

    def wall_ns(self) -> int:
        return EPOCH_NS + self.monotonic_ns() + self._offset_ns

    def monotonic_ns(self) -> int:
        now = self._scheduler.now
        if not self.rate_ppm:
            return now + self._drift_ns
        return now + self._drift_ns + (now - self._since) * self.rate_ppm // 1_000_000

    @property
    def offset_ns(self) -> int:
        """How far the wall clock is from the world's time."""
        return self.wall_ns() - EPOCH_NS - self._scheduler.now

    def skew(self, offset_ns: int, rate_ppm: int) -> None:
        """Put the wall clock `offset_ns` off the world's time, and run so wrong from now on."""
        now = self._scheduler.now
        self._drift_ns = self.monotonic_ns() - now
        self._since, self.rate_ppm = now, rate_ppm
        self._offset_ns = offset_ns - self._drift_ns
