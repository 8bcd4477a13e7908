"""The `.snapshot` files of a log: its producers as they were at some of its offsets.

A snapshot is written and removed without a sync, so it carries a CRC: after a power failure an
older one, and more of the log, do. It also carries the leader epoch of the batch before it: one of
batches that were cut off, and that comes back with a power failure after others took their offsets,
shows by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from harness.host.contract import Disk
from nodes.broker.log.producers import Producers

_SUFFIX = ".snapshot"
_KEPT = 3
"""A cut goes seldom further back than the last few."""


class Snapshots:
    """The snapshots in one folder."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self._disk, self._folder = disk, folder

    def offsets(self) -> list[int]:
        """Ascending."""
        names = (n.removesuffix(_SUFFIX) for n in self._disk.listdir(self._folder) if _SUFFIX in n)
        return sorted(int(name) for name in names if name.isdigit())

    def store(self, offset: int, epoch: int, producers: Producers) -> None:
        """`epoch` is that of the batch before `offset`. Raises OSError."""
        file = self._disk.open(self._path(offset), create=True)
        try:
            data = producers.dump(epoch)
            file.truncate(len(data))
            file.write_at(0, data)
        finally:
            file.close()

    def newest(
        self, start: int, end: int, is_ours: Callable[[int, int], bool]
    ) -> tuple[int, Producers]:
        """(offset, producers) of the newest in this range that is readable and, by its offset and
        epoch, ours; (start, none) without, which is all that there were only if that is 0."""
        for offset in reversed(self.offsets()):
            if start <= offset <= end:
                try:
                    epoch, producers = Producers.load(self._disk.read(self._path(offset)))
                except (ValueError, OSError):
                    continue
                if is_ours(offset, epoch):
                    return offset, producers
        return start, Producers(complete=start == 0)

    def drop(self, offsets: Iterable[int]) -> bool:
        """Whether there were any."""
        dropped = list(offsets)
        for offset in dropped:
            self._disk.remove(self._path(offset))
        return bool(dropped)

    def tidy(self, bases: Sequence[int]) -> None:
        """Keep those at the segments' bases, which stay right whatever is cut, and the newest."""
        offsets = [at for at in self.offsets() if at not in bases]
        newest = offsets[-_KEPT:]
        self.drop(at for at in offsets if at < bases[0] or at not in newest)

    def above(self, offset: int) -> Iterator[int]:
        return (at for at in self.offsets() if at > offset)

    def _path(self, offset: int) -> str:
        return f"{self._folder}/{offset:020d}{_SUFFIX}"
