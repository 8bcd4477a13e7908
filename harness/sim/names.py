"""The names on a simulated disk: a tree of directories, now and as it is durable.

What happens to the name of a file or of a directory is a `Move` from a directory, to one, or both;
it is durable once its directory was synced, and with it all moves before it there. A rename from
one directory to another is one move that stands in the lists of both; whichever is synced first
takes the other's earlier ones with it, as a journal does, so that what is moved is never in both or
in neither.

A directory that was made and whose parent was not synced may be gone after a power failure, with
all that is in it, synced or not. One that was removed may be back, with some of what was in it.
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
    """The name of a file or directory goes from `source` to `target`; None is nowhere.

    Attributes:
        at: its place in the order of all moves of the disk.
    """

    at: int
    node: Node
    source: Folder | None
    old: str
    target: Folder | None
    new: str

    def store(self) -> None:
        if self.source is not None:
            self.source.durable.pop(self.old, None)
        if self.target is not None:
            self.target.durable[self.new] = self.node

    @property
    def removed(self) -> Folder | None:
        """The directory that goes, if one does."""
        return self.node if self.target is None and isinstance(self.node, Folder) else None

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
    """One directory: its names now, those that are durable, and the moves between the two."""

    __slots__ = ("durable", "entries", "moves")

    def __init__(self) -> None:
        self.entries: dict[str, Node] = {}
        self.durable: dict[str, Node] = {}
        self.moves: list[Move] = []

    def store(self, count: int) -> None:
        """The first `count` moves are durable."""
        for move in self.moves[:count]:
            if (gone := move.removed) is not None:
                gone.store(len(gone.moves))  # what was moved out of it is not removed
            other = move.partner(self)
            if other is not None:
                other.store(other.moves.index(move))
                other.moves.remove(move)
            move.store()
        del self.moves[:count]


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
        if source is not target:
            # Only one such move is ever un-synced: of two, the later alone could close a circle.
            for folder in self._everywhere():
                folder.store(len(folder.moves))
        if there is not None:
            self._move(there, target, after, None, "")
        self._move(node, source, before, target, after)

    # -- directories -------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        folder, names = self.root, parts(path)
        for depth, part in enumerate(names, 1):
            node = folder.entries.get(part)
            if isinstance(node, Content):
                raise _error(errno.EEXIST if depth == len(names) else errno.ENOTDIR, path)
            if node is None:
                node = Folder()
                self._move(node, None, "", folder, part)
            folder = node

    def rmtree(self, path: Path) -> None:
        folder, name = self.place(path)
        node = folder.entries.get(name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, Content):
            raise _error(errno.ENOTDIR, path)
        self._clear(node)
        self._move(node, folder, name, None, "")

    def _clear(self, folder: Folder) -> None:
        for name in sorted(folder.entries):
            node = folder.entries[name]
            if isinstance(node, Folder):
                self._clear(node)
            self._move(node, folder, name, None, "")

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
        folders = self._everywhere()
        cuts = {f: keep(path, len(f.moves)) for f, path in folders.items() if f.moves}
        _agree(cuts)
        kept = {move.at: move for folder, cut in cuts.items() for move in folder.moves[:cut]}
        for at in sorted(kept):
            kept[at].store()
        told: dict[str, tuple[list[str], list[str]]] = {}
        for folder, path in folders.items():
            if folder in cuts:
                moves, cut = [move.told(folder) for move in folder.moves], cuts[folder]
                told[path] = moves[:cut], moves[cut:]
        for folder in folders:
            folder.moves.clear()
            folder.entries = dict(folder.durable)
        return told

    def _move(
        self, node: Node, source: Folder | None, old: str, target: Folder | None, new: str
    ) -> None:
        move = Move(self._moves, node, source, old, target, new)
        self._moves += 1
        if source is not None:
            del source.entries[old]
            source.moves.append(move)
        if target is not None:
            target.entries[new] = node
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

    def _everywhere(self) -> dict[Folder, str]:
        """Every directory that is there, or may be after a power failure, and a name for it."""
        found = {folder: path for path, folder in self.walk()}
        for folder in (queue := list(found)):
            inside = [(m.new or m.old, m.node) for m in folder.moves]
            others = [(m.new or m.old, m.partner(folder)) for m in folder.moves]
            for name, node in (*folder.durable.items(), *inside, *others):
                if isinstance(node, Folder) and node not in found:
                    path = _join(found[folder], name)
                    taken = sum(1 for known in found.values() if known.split("~")[0] == path)
                    found[node] = f"{path}~{taken}" if taken else path
                    queue.append(node)
        return found

    def _check(self) -> None:
        durable: list[int] = []
        moves = {move.at: move for folder in self._everywhere() for move in folder.moves}
        tables = {id(folder): dict(folder.durable) for folder in self._everywhere()}
        for at in sorted(moves):
            move = moves[at]
            if move.source is not None and id(move.source) in tables:
                tables[id(move.source)].pop(move.old)
            if move.target is not None and id(move.target) in tables:
                tables[id(move.target)][move.new] = move.node
        for folder, path in self._everywhere().items():
            assert folder.entries == tables[id(folder)], f"{path}: moves lead from durable to seen"
            order = [move.at for move in folder.moves]
            assert order == sorted(order), f"{path}: moves are in order"
            durable += [id(node) for node in folder.durable.values()]
        assert len(durable) == len(set(durable)), "what is there has one durable name"


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
    """Lower what is kept of directories until a rename between two is kept in both, or in none, and
    the removal of one only with all that happened in it."""
    lowered = True
    while lowered:
        lowered = False
        for folder, cut in cuts.items():
            for move in folder.moves[cut:]:
                other = move.partner(folder)
                if other is not None and (place := other.moves.index(move)) < cuts[other]:
                    cuts[other], lowered = place, True
            for place, move in enumerate(folder.moves[: cuts[folder]]):
                gone = move.removed
                if gone is not None and cuts.get(gone, 0) < len(gone.moves):
                    cuts[folder], lowered = place, True
                    break


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
