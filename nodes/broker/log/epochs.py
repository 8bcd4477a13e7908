"""Which leader epoch began at which offset: what makes truncation after a fail-over exact.

`leader-epoch-checkpoint` on disk, as Kafka writes it: a version line, a count, then "epoch offset".
Source: KIP-101 (truncate by epoch, not by high watermark), KIP-279 (ask again with the epoch that
is known on both sides).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from harness.host.contract import Disk

FILE = "leader-epoch-checkpoint"
UNKNOWN = -1


@dataclass(slots=True)
class Epochs:
    """Epochs ascending, with their start offsets, also ascending."""

    epochs: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    dirty: bool = False

    @property
    def latest(self) -> int:
        return self.epochs[-1] if self.epochs else UNKNOWN

    def assign(self, epoch: int, start_offset: int) -> None:
        """Note that `epoch` begins at `start_offset`. An older or equal epoch changes nothing."""
        if epoch <= self.latest:
            return
        # Epochs that wrote nothing share their start with the next one: only the last counts.
        while self.starts and self.starts[-1] >= start_offset:
            self.starts.pop()
            self.epochs.pop()
        self.epochs.append(epoch)
        self.starts.append(start_offset)
        self.dirty = True

    def end_of(self, epoch: int, log_end: int) -> tuple[int, int]:
        """(largest known epoch ≤ `epoch`, where it ends); (UNKNOWN, UNKNOWN) if there is none.

        An epoch ends where the next one starts; the latest, at the end of the log.
        """
        if epoch == UNKNOWN or not self.epochs:
            return UNKNOWN, UNKNOWN
        if epoch > self.latest:
            return UNKNOWN, UNKNOWN  # this replica has not heard of it yet
        place = bisect_right(self.epochs, epoch) - 1
        if place < 0:
            # Older than all that is known: it ends where the first known one starts.
            return epoch, self.starts[0]
        end = self.starts[place + 1] if place + 1 < len(self.starts) else log_end
        return self.epochs[place], end

    def start_of(self, epoch: int) -> int | None:
        """Where `epoch` began, if it is known exactly."""
        place = bisect_right(self.epochs, epoch) - 1
        return self.starts[place] if place >= 0 and self.epochs[place] == epoch else None

    def at(self, offset: int) -> int:
        """The epoch that wrote `offset`."""
        place = bisect_right(self.starts, offset) - 1
        return self.epochs[place] if place >= 0 else UNKNOWN

    def truncate_to(self, end_offset: int) -> None:
        """Forget epochs that begin at or after the new end of the log."""
        while self.starts and self.starts[-1] >= end_offset:
            self.starts.pop()
            self.epochs.pop()
            self.dirty = True

    def drop_before(self, start_offset: int) -> None:
        """Forget epochs that end before the new start of the log; one begins there instead."""
        place = bisect_right(self.starts, start_offset) - 1
        if place > 0:
            del self.starts[:place], self.epochs[:place]
            self.dirty = True
        if self.starts and self.starts[0] < start_offset:
            self.starts[0] = start_offset
            self.dirty = True

    def dump(self) -> bytes:
        lines = [f"{e} {s}" for e, s in zip(self.epochs, self.starts, strict=True)]
        return "\n".join(("0", str(len(lines)), *lines, "")).encode()

    @staticmethod
    def load(disk: Disk, folder: str) -> Epochs:
        """From the checkpoint; empty if there is none or it is not readable (it is rebuilt)."""
        try:
            version, count, *lines = disk.read(f"{folder}/{FILE}").decode().split("\n")
            pairs = [tuple(map(int, line.split())) for line in lines if line]
            if int(version) != 0 or int(count) != len(pairs):
                return Epochs()
            found = Epochs([e for e, _ in pairs], [s for _, s in pairs])
            found._check()
        except (FileNotFoundError, ValueError, UnicodeDecodeError, AssertionError):
            return Epochs()
        return found

    def _check(self) -> None:
        assert len(self.epochs) == len(self.starts)
        assert all(a < b for a, b in zip(self.epochs, self.epochs[1:], strict=False))
        assert all(a < b for a, b in zip(self.starts, self.starts[1:], strict=False))
