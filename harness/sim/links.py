"""Directed links: how long bytes take from one host to another, and whether they arrive.

A link is what the faults act upon. `Weather` is how it behaves when nothing is broken; a `Shape` of
the cluster's contract makes it worse. A packet that is lost is sent again by TCP, so that streams
only ever see it late: losses and reorderings are delays here, and everything behind waits.

Draws of a connection are its own, named by the link and its number on it: a message more on one
connection leaves the delays on all others as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from random import Random
from typing import TYPE_CHECKING

from harness.cluster.contract import Shape

if TYPE_CHECKING:
    from harness.sim.transport import Pipe
    from harness.sim.wiretap import Wiretap

MS = 1_000_000
RETRANSMISSION_MS = 200
"""Linux' smallest retransmission time-out; it doubles."""

WHOLE = Shape()


@dataclass(frozen=True, slots=True)
class Weather:
    """A link in good order.

    Attributes:
        least_ns, mean_ns: the one-way delay: a least one, and an exponential tail above it.
        split: how often a segment arrives in two pieces.
    """

    least_ns: int = 50_000
    mean_ns: int = 200_000
    split: float = 0.02


BESIDE = Weather(10_000, 10_000, 0.0)
"""Of connections beside all links: the harness' own, to the admin ports."""


class Link:
    """The direction of data from `source` to `target`.

    Attributes:
        cut: bytes are held, but for those that had arrived at `cut_at`.
        pipes: what runs over it now, in the order of their making.
        carried: bytes that arrived. tap: who listens, if anybody does.
    """

    __slots__ = (
        *("_draws", "_free_at", "_made", "carried", "cut", "cut_at", "pipes", "shape", "source"),
        *("tap", "target", "weather"),
    )

    def __init__(
        self, source: str, target: str, weather: Weather, draws: Callable[..., Random]
    ) -> None:
        self.source, self.target, self.weather = source, target, weather
        self.cut, self.cut_at = False, 0
        self.shape = WHOLE
        self.pipes: dict[Pipe, None] = {}
        self.carried = 0
        self.tap: Wiretap | None = None
        self._draws = draws
        self._made = 0
        self._free_at = 0

    def __repr__(self) -> str:
        return f"<Link {self.source}→{self.target}>"

    def chance(self) -> Random:
        """For the draws of one more connection."""
        self._made += 1
        return self._draws("link", self.source, self.target, self._made)

    def delay_ns(self, now: int, size: int, rng: Random) -> int:
        """How long `size` bytes that leave now are under way."""
        weather = self.weather
        tail = weather.mean_ns - weather.least_ns
        # An exponential draw, as `expovariate` makes it.
        delay = weather.least_ns + (int(-log(1.0 - rng.random()) * tail) if tail else 0)
        return delay if self.shape is WHOLE else delay + self._worse_ns(now, size, rng)

    def pieces(self, data: bytes, rng: Random) -> int:
        """How much of a segment arrives at first."""
        slice_bytes = self.shape.slice_bytes
        if slice_bytes:
            return min(slice_bytes, len(data))
        if len(data) > 1 and self.weather.split and rng.random() < self.weather.split:
            return 1 + int(rng.random() * (len(data) - 1))
        return len(data)

    def _worse_ns(self, now: int, size: int, rng: Random) -> int:
        shape = self.shape
        jitter = shape.jitter_ms * MS
        extra = shape.latency_ms * MS + (int((2 * rng.random() - 1) * jitter) if jitter else 0)
        again = RETRANSMISSION_MS
        # What is corrupt fails its checksum, and is lost; what is overtaken waits for its turn.
        lost = 1 - (1 - shape.loss) * (1 - shape.corrupt)
        while lost and again < 10_000 and rng.random() < lost:
            extra += again * MS
            again *= 2
        if shape.reorder and rng.random() < shape.reorder:
            extra += int(rng.random() * 10 * MS)
        if shape.rate_bytes_per_s:
            self._free_at = max(self._free_at, now) + size * 1_000_000_000 // shape.rate_bytes_per_s
            extra += self._free_at - now
        return max(extra, 0)
