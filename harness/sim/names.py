"""The names on a simulated disk: a tree of directories, now and as it is durable.

What happens to the name of a file is a `Move` from a directory, to one, or both; it is durable once
its directory was synced, and with it all moves before it there. A rename from one directory to
another is one move that stands in the lists of both; whichever is synced first takes the other's
earlier ones with it, as a journal does, so that the file is never in both or in neither.

What happens to whole directories (`mkdir`, `rename`, `rmtree`) is durable at once, as
`harness.host.volatile` pins it; so are earlier moves of the same name, which it could not overtake.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from harness.host.contract import Path
from harness.sim.content import Content


@dataclass(eq=False, slots=True)
class Move:
    """One file's name goes from `source` to `target`; either is None if there is none.

    Attributes:
        at: its place in the order of all moves of the disk.
    """

    at: int
    file: Content
    source: Folder | None
    old: str
    target: Folder | None
    new: str

    def store(self) -> None:
        if self.source is not None:
            self.source.durable.pop(self.old, None)
        if self.target is not None:
            self.target.durable[self.new] = self.file

    def partner(self, folder: Folder) -> Folder | None:
        """The other directory, if the move concerns two."""
        other = self.target if folder is self.source else self.source
        return None if other is folder else other

    def told(self, folder: Folder) -> str:
        """What happened, as seen from one of its directories."""
        if self.source is self.target:
            return f"rename {self.old} to {self.new}"
        if folder is self.source:
            return f"remove {self.old}" if self.target is None else f"move {self.old} away"
        return f"create {self.new}" if self.source is None else f"move {self.new} here"


class Folder:
    """One directory. Directories in it are in `entries` and `durable` alike."""

    __slots__ = ("durable", "entries", "moves")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.moves: list[Move] = []

    def store(self, count: int) -> None:
        """The first `count` moves are durable."""
        for move in self.moves[:count]:
            other = move.partner(self)
            if other is not None:
                other.store(other.moves.index(move))
                other.moves.remove(move)
            move.store()
        del self.moves[:count]

    def put(self, name: str, folder: Folder | None) -> None:
        """A directory comes to be here, or goes, at once."""
        last = max((n for n, m in enumerate(self.moves, 1) if name in (m.old, m.new)), default=0)
        self.store(last)
        for table in (self.entries, self.durable):
            if folder is None:
                table.pop(name, None)
            else:
                table[name] = folder


Node = Folder | Content


class Tree:
    """All names below a root. Raises OSError as the kernel does."""

    def __init__(self) -> None:
        self.root = Folder()
        self._moves = 0

    # -- looking up --------------------------------------------------------------------------

    def find(self, path: Path) -> Node | None:
        node: Node = self.root
        for part in parts(path):
            found = node.entries.get(part) if isinstance(node, Folder) else None
            if found is None:
                return None
            node = found
        return node

    def folder(self, path: Path) -> Folder:
        return self._folder(parts(path), path)

    def place(self, path: Path) -> tuple[Folder, str]:
        """The directory of a path, and its name there. The root has none."""
        names = parts(path)
        if not names:
            raise _error(errno.EBUSY, path)
        return self._folder(names[:-1], path), names[-1]

    def walk(self) -> Iterator[tuple[str, Folder]]:
        """All directories, by path."""
        yield from _walk("", self.root)

    def files(self) -> Iterator[tuple[str, Content]]:
        """All files, by path."""
        for path, folder in self.walk():
            for name in sorted(folder.entries):
                node = folder.entries[name]
                if isinstance(node, Content):
                    yield _join(path, name), node

    # -- files -------------------------------------------------------------------------------

    def open(self, path: Path, *, create: bool) -> Content:
        node = self.find(path)
        if isinstance(node, Content):
            return node
        if node is not None:
            raise _error(errno.EISDIR, path)
        folder, name = self.place(path)
        if not create:
            raise _error(errno.ENOENT, path)
        file = Content()
        self._move(file, None, "", folder, name)
        return file

    def remove(self, path: Path) -> None:
        folder, name = self.place(path)
        node = folder.entries.get(name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, Folder):
            raise _error(errno.EISDIR, path)
        self._move(node, folder, name, None, "")

    def rename(self, old: Path, new: Path) -> None:
        source, before = self.place(old)
        node = source.entries.get(before)
        if node is None:
            raise _error(errno.ENOENT, old)
        target, after = self.place(new)
        there = target.entries.get(after)
        if there is node:
            return
        if isinstance(node, Content):
            if isinstance(there, Folder):
                raise _error(errno.EISDIR, new)
            self._move(node, source, before, target, after)
            return
        if isinstance(there, Content):
            raise _error(errno.ENOTDIR, new)
        if there is not None and there.entries:
            raise _error(errno.ENOTEMPTY, new)
        if parts(new)[: len(parts(old))] == parts(old):
            raise _error(errno.EINVAL, new)
        source.put(before, None)
        target.put(after, node)

    # -- directories -------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        folder, names = self.root, parts(path)
        for depth, part in enumerate(names, 1):
            node = folder.entries.get(part)
            if isinstance(node, Content):
                raise _error(errno.EEXIST if depth == len(names) else errno.ENOTDIR, path)
            if node is None:
                node = Folder()
                folder.put(part, node)
            folder = node

    def rmtree(self, path: Path) -> None:
        folder, name = self.place(path)
        node = folder.entries.get(name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, Content):
            raise _error(errno.ENOTDIR, path)
        for _, inside in _walk("", node):
            inside.store(len(inside.moves))  # what was renamed out of it before is not removed
        folder.put(name, None)

    # -- durability --------------------------------------------------------------------------

    def mark(self) -> int:
        """What a sync of a directory that begins now covers: all moves before this number."""
        return self._moves

    def sync(self, folder: Folder, mark: int) -> None:
        folder.store(sum(1 for move in folder.moves if move.at < mark))

    def power_off(self, keep: Callable[[str, int], int]) -> dict[str, tuple[list[str], list[str]]]:
        """Of each directory's moves only so many happened as `keep(path, how many)` says, or fewer.

        Returns, by path, what was kept and what was lost, where anything was not synced.
        """
        folders = list(self.walk())
        cuts = {folder: keep(path, len(folder.moves)) for path, folder in folders if folder.moves}
        _agree(cuts)
        kept = {move.at: move for folder, cut in cuts.items() for move in folder.moves[:cut]}
        for at in sorted(kept):
            kept[at].store()
        told: dict[str, tuple[list[str], list[str]]] = {}
        for path, folder in folders:
            if folder in cuts:
                moves, cut = [move.told(folder) for move in folder.moves], cuts[folder]
                told[path] = moves[:cut], moves[cut:]
            folder.moves.clear()
            folder.entries = dict(folder.durable)
        return told

    def _move(
        self, file: Content, source: Folder | None, old: str, target: Folder | None, new: str
    ) -> None:
        move = Move(self._moves, file, source, old, target, new)
        self._moves += 1
        if source is not None:
            del source.entries[old]
            source.moves.append(move)
        if target is not None:
            target.entries[new] = file
            if target is not source:
                target.moves.append(move)

    def _folder(self, names: tuple[str, ...], path: Path) -> Folder:
        folder = self.root
        for name in names:
            node = folder.entries.get(name)
            if node is None:
                raise _error(errno.ENOENT, path)
            if isinstance(node, Content):
                raise _error(errno.ENOTDIR, path)
            folder = node
        return folder

    def _check(self) -> None:
        durable: list[int] = []
        moves = {move.at: move for _, folder in self.walk() for move in folder.moves}
        tables = {id(folder): dict(folder.durable) for _, folder in self.walk()}
        for at in sorted(moves):
            move = moves[at]
            if move.source is not None and id(move.source) in tables:
                tables[id(move.source)].pop(move.old)
            if move.target is not None and id(move.target) in tables:
                tables[id(move.target)][move.new] = move.file
        for path, folder in self.walk():
            assert folder.entries == tables[id(folder)], f"{path}: moves lead from durable to seen"
            order = [move.at for move in folder.moves]
            assert order == sorted(order), f"{path}: moves are in order"
            durable += [id(n) for n in folder.durable.values() if isinstance(n, Content)]
        assert len(durable) == len(set(durable)), "a file has one durable name"


@lru_cache(maxsize=4096)
def _split(path: str) -> tuple[str, ...]:
    found = PurePosixPath(path).parts
    if ".." in found or path.startswith("/"):
        raise ValueError(f"{path!r} leads out of the disk: paths are relative to its root")
    return found


def parts(path: Path) -> tuple[str, ...]:
    """The names on the way to a path.

    >>> parts("a/./b"), parts(".")
    (('a', 'b'), ())
    """
    return _split(os.fspath(path))


def _agree(cuts: dict[Folder, int]) -> None:
    """Lower what is kept of directories until a rename between two is kept in both, or in none."""
    lowered = True
    while lowered:
        lowered = False
        for folder, cut in cuts.items():
            for move in folder.moves[cut:]:
                other = move.partner(folder)
                if other is not None and (place := other.moves.index(move)) < cuts[other]:
                    cuts[other], lowered = place, True


def _walk(path: str, folder: Folder) -> Iterator[tuple[str, Folder]]:
    yield path or ".", folder
    for name in sorted(folder.entries):
        node = folder.entries[name]
        if isinstance(node, Folder):
            yield from _walk(_join(path or ".", name), node)


def _join(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), os.fspath(path))
