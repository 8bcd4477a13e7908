"""Which leader epoch began at which offset: what makes truncation after a fail-over exact.

`leader-epoch-checkpoint` on disk, as Kafka writes it: a version line, a count, then "epoch offset".
Source: KIP-101 (truncate by epoch, not by high watermark), KIP-279 (ask again with the epoch that
is known on both sides).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

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

    def assign(self, epoch: int, offset: int) -> None:
        """Note that the batch at `offset`, the end of the log, is of `epoch`."""
        if epoch == self.latest or epoch < 0:
            return
        # Epochs that wrote nothing give way: this replica may have led one of them, while the log
        # goes on in another.
        self.truncate_to(offset)
        assert epoch >= self.latest, f"epoch {epoch} at {offset} after {self.latest}"
        if epoch > self.latest:
            self.epochs.append(epoch)
            self.starts.append(offset)
            self.dirty = True

    def end_of(self, epoch: int, log_end: int) -> tuple[int, int]:
        """(largest known epoch ≤ `epoch`, where it ends); (UNKNOWN, UNKNOWN) if there is none.

        An epoch ends where the next one starts; the latest, at the end of the log. One older than
        all that is known is answered with itself and the first known start. One newer than all is
        unknown: this replica has not heard of it yet.
        """
        if epoch == UNKNOWN or epoch > self.latest:
            return UNKNOWN, UNKNOWN
        place = bisect_right(self.epochs, epoch) - 1
        if place < 0:
            return epoch, self.starts[0]
        end = self.starts[place + 1] if place + 1 < len(self.starts) else log_end
        return self.epochs[place], end

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
        """The text of the checkpoint file."""
        lines = [f"{e} {s}" for e, s in zip(self.epochs, self.starts, strict=True)]
        return "\n".join(("0", str(len(lines)), *lines, "")).encode()

    @staticmethod
    def load(data: bytes) -> Epochs:
        """From the checkpoint file. Raises ValueError if it is not one."""
        version, count, *lines = data.decode().split("\n")
        pairs = [line.split() for line in lines if line]
        if int(version) != 0 or int(count) != len(pairs):
            raise ValueError("version or count is wrong")
        epochs, starts = [int(e) for e, _ in pairs], [int(s) for _, s in pairs]
        if epochs != sorted(set(epochs)) or starts != sorted(set(starts)):
            raise ValueError("epochs and their starts ascend")
        return Epochs(epochs, starts)

    def _check(self) -> None:
        assert len(self.epochs) == len(self.starts)
        assert all(a < b for a, b in zip(self.epochs, self.epochs[1:], strict=False))
        assert all(a < b for a, b in zip(self.starts, self.starts[1:], strict=False))
