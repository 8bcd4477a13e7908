"""What a power failure may leave, by brute force: every image a file went through, every cut.

It shares nothing with `harness.sim`: files are lists of all their images, directories are lists of
dictionaries, and whether an outcome is legal is found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

PAGE, SECTOR = 8, 2
"""Small, so that small files have many."""


class ModelFile:
    """`images[0]` is durable; the others followed, the last is seen."""

    def __init__(self, content: bytes = b"") -> None:
        self.images = [content]

    @property
    def seen(self) -> bytes:
        return self.images[-1]

    def write(self, offset: int, data: bytes) -> None:
        if data:
            before = self.seen.ljust(offset, b"\0")
            self.images.append(before[:offset] + data + before[offset + len(data) :])

    def truncate(self, size: int) -> None:
        self.images.append(self.seen[:size].ljust(size, b"\0"))

    def fsync(self) -> None:
        self.images = [self.seen]

    def may_be(self, left: bytes) -> bool:
        return any(
            len(left) == len(image) and self._with_size(left, after)
            for after, image in enumerate(self.images)
        )

    def _with_size(self, left: bytes, size_after: int) -> bool:
        odd = [
            begin
            for begin in range(0, len(left), PAGE)
            if not any(
                _same(left, begin, PAGE, self.images[v]) for v in self._versions(begin, size_after)
            )
        ]
        return not odd or (len(odd) == 1 and self._torn(left, odd[0], size_after))

    def _torn(self, left: bytes, begin: int, size_after: int) -> bool:
        sectors = range(begin, min(begin + PAGE, len(left)), SECTOR)
        versions = self._versions(begin, size_after)
        return any(
            all(any(_same(left, at, SECTOR, self.images[v]) for v in pair) for at in sectors)
            for pair in product(versions, versions)
        )

    def _versions(self, begin: int, size_after: int) -> list[int]:
        """After how many changes a page may have been written, if the size is of then."""
        cuts = [
            n
            for n in range(1, len(self.images))
            if max(begin, len(self.images[n])) < min(begin + PAGE, len(self.images[n - 1]))
        ]
        return [
            v
            for v in range(len(self.images))
            if all(v >= cut if cut <= size_after else v < cut for cut in cuts)
        ]


def _same(left: bytes, begin: int, size: int, image: bytes) -> bool:
    part = left[begin : begin + size]
    return part == image[begin : begin + len(part)].ljust(len(part), b"\0")


Place = tuple[str, str]
"""A directory and a name in it."""
Names = dict[Place, ModelFile]


@dataclass(eq=False)
class Move:
    old: Place | None
    new: Place | None
    file: ModelFile

    def concerns(self, folder: str) -> bool:
        return folder in [place[0] for place in (self.old, self.new) if place is not None]

    def apply(self, names: Names) -> None:
        if self.old is not None:
            names.pop(self.old)
        if self.new is not None:
            names[self.new] = self.file


@dataclass
class ModelDisk:
    """Files in some directories. `durable` are the names before the un-synced `moves`."""

    folders: list[str]
    durable: Names = field(default_factory=dict)
    moves: list[Move] = field(default_factory=list)

    @property
    def seen(self) -> Names:
        return _after(self.durable, self.moves)

    def move(self, old: Place | None, new: Place | None, file: ModelFile) -> None:
        self.moves.append(Move(old, new, file))

    def fsync_dir(self, folder: str) -> None:
        """With a rename from or to another directory, what came before it there."""
        stored: list[Move] = []
        synced = {folder}
        for move in reversed(self.moves):
            if any(move.concerns(f) for f in synced):
                stored.insert(0, move)
                synced |= {f for f in self.folders if move.concerns(f)}
        self.durable = _after(self.durable, stored)
        self.moves = [move for move in self.moves if move not in stored]

    def settle(self, left: dict[Place, bytes]) -> bool:
        """Whether this may be what a power failure left. If so, it is what there is now."""
        for names in self.outcomes():
            same = names.keys() == left.keys()
            if same and all(file.may_be(left[place]) for place, file in names.items()):
                self.durable = {place: ModelFile(content) for place, content in left.items()}
                self.moves = []
                return True
        return False

    def outcomes(self) -> Iterator[Names]:
        """The names after each choice of a prefix per directory that splits no rename."""
        per_folder = [[m for m in self.moves if m.concerns(f)] for f in self.folders]
        for cuts in product(*(range(len(moves) + 1) for moves in per_folder)):
            kept = [moves[:cut] for moves, cut in zip(per_folder, cuts, strict=True)]
            lost = [moves[cut:] for moves, cut in zip(per_folder, cuts, strict=True)]
            lost_moves = {id(m) for moves in lost for m in moves}
            if not any(id(m) in lost_moves for moves in kept for m in moves):
                yield _after(self.durable, [m for m in self.moves if id(m) not in lost_moves])


def _after(names: Names, moves: list[Move]) -> Names:
    names = dict(names)
    for move in moves:
        move.apply(names)
    return names
