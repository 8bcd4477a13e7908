"""A simulated host, as a node program sees it: clocks, chance, disk, and a log."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from harness.host.contract import Clock, Disk


class SimHost:
    """One incarnation, as its node sees it. See `harness.host.contract.Host`."""

    def __init__(
        self, name: str, clock: Clock, rng: Random, disk: Disk, write: Callable[[str], None]
    ) -> None:
        self.name, self.rng, self.disk = name, rng, disk
        self.clock: Clock = clock
        self._write = write
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def log(self, event: str, /, **fields: Any) -> None:
        shape = {"time": self.clock.wall_ns(), "node": self.name, "event": event, **fields}
        self._write(self._encode(shape).decode())
