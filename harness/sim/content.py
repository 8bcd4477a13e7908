"""The content of one simulated file: what reads see, and what of it is durable.

Only one image is held, the seen one. Each change since the last fsync carries what it overwrote, so
that the durable image can be had by undoing, and an fsync merely forgets: it costs no more than the
changes that it covers, however large the file is.

    seen     a b c d X Y g h i        changes  (4, "XY", old "ef", size 8), (8, "i", old "", size 8)
    durable  a b c d e f g h          = seen, with the changes undone from the last to the first

After an fsync that failed this does not hold any more: the kernel takes the pages for clean, reads
go on to see them, and yet they are not on the medium. From then on until the power goes the medium
is an image of its own, and later changes are written to both.
"""

from __future__ import annotations

Change = tuple[int, bytes | None, bytes, int]
"""Offset (the new size, if it is a truncation), data (None: truncation), what was there, old size.

A plain tuple: one is made for every write of every simulated broker.
"""


class Content:
    """One file, independent of its names.

    Attributes:
        seen: what reads see. Replaced as a whole now and then: do not hold on to it.
        changes: those since the last fsync, in order. synced: how many there were before them.
        medium: what is durable, where that is more than undoing; see the module.
    """

    __slots__ = ("changes", "medium", "seen", "synced")

    def __init__(self) -> None:
        self.seen = bytearray()
        self.changes: list[Change] = []
        self.synced = 0
        self.medium: bytearray | None = None

    def write(self, offset: int, data: bytes) -> None:
        """`data` is not empty."""
        seen = self.seen
        size = len(seen)
        if offset == size:  # almost always: logs grow at their end
            seen += data
            self.changes.append((offset, data, b"", size))
            return
        old = bytes(seen[offset : offset + len(data)])
        redo(seen, offset, data)
        self.changes.append((offset, data, old, size))

    def truncate(self, size: int) -> None:
        seen = self.seen
        self.changes.append((size, None, bytes(seen[size:]), len(seen)))
        resize(seen, size)

    def mark(self) -> int:
        """What an fsync that begins now covers: all changes before this number."""
        return self.synced + len(self.changes)

    def grown(self) -> int:
        """How many bytes longer the file is than before the first change."""
        return max(len(self.seen) - self.changes[0][3], 0) if self.changes else 0

    def sync(self, mark: int) -> None:
        """What was changed before the mark is durable."""
        self._forget(mark, stored=True)

    def fail(self, mark: int) -> None:
        """What was changed before the mark counts as stored and is not."""
        if self.medium is None:
            self.medium = self.durable()
        self._forget(mark, stored=False)

    def durable(self) -> bytearray:
        """A copy of what is on the medium. Cost: the file."""
        if self.medium is not None:
            return bytearray(self.medium)
        image = bytearray(self.seen)
        for offset, _, old, size in reversed(self.changes):
            image[offset : offset + len(old)] = old
            del image[size:]
        return image

    def rot(self, medium: bytearray) -> None:
        """The medium is this now. Reads see it where the page cache has nothing newer."""
        if self.medium is not None:
            self.medium = medium
            return
        changes, self.changes, self.seen = self.changes, [], medium
        for offset, data, _, _ in changes:
            if data is None:
                self.truncate(offset)
            else:
                self.write(offset, data)

    def settle(self, image: bytearray) -> None:
        """Power came back, and this is the file."""
        self.synced += len(self.changes)
        self.seen, self.changes, self.medium = image, [], None

    def _forget(self, mark: int, *, stored: bool) -> None:
        count = mark - self.synced
        if count <= 0:
            return  # another fsync, which began later, was faster
        if stored and self.medium is not None:
            for offset, data, _, _ in self.changes[:count]:
                redo(self.medium, offset, data)
        del self.changes[:count]
        self.synced = mark

    def _check(self) -> None:
        image = self.durable()
        for offset, data, old, size in self.changes:
            if self.medium is None:
                assert len(image) == size, "a change knows the size before it"
                assert image[offset : offset + len(old)] == old, "and what it overwrote"
            redo(image, offset, data)
        if self.medium is None:
            assert image == self.seen, "the durable image and the changes make the seen one"


def redo(image: bytearray, offset: int, data: bytes | None) -> None:
    """Apply a change to an image, as the kernel would."""
    if data is None:
        resize(image, offset)
        return
    if offset > len(image):
        resize(image, offset)
    image[offset : offset + len(data)] = data


def resize(image: bytearray, size: int) -> None:
    if size < len(image):
        del image[size:]
    else:
        image.extend(bytes(size - len(image)))
