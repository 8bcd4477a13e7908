"""A disk whose un-synced writes live in this process: SIGKILL of the process is a power failure.

Every write, truncation, creation, rename and removal is seen by reads at once, and reaches the real
disk below only at `fsync` (a file's content) or `fsync_dir` (the names of a directory). What a real
disk might keep by luck is always lost here: the harshest legal outcome.

Rules, as POSIX promises no more, and they hold of files and directories alike:
    - `fsync` of a file stores its content; its *name* is stored by `fsync_dir` of its directory;
    - a name that is stored before any content is an empty file after the power failure;
    - a directory whose name was not stored is not there, nor is anything in it;
    - a rename or removal without a later `fsync_dir` did not happen after the power failure.

What is synced and has no stored name yet waits on the disk below as a shadow, beside everything.

Memory: the names of all directories that were looked at, and the content of every file that was
written to while it is open or dirty. An `fsync` costs what was written since the last one, for
files that grow at their end.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import PurePath

from harness.host.contract import Path
from harness.host.real import RealDisk, RealFile, replace

_SHADOW = ".unsynced"
"""Suffix of what has no stored name: after power loss nobody looks at it."""


@dataclass(eq=False, slots=True)
class _Inode:
    """One file's content, independent of its names.

    Attributes:
        content: what reads see; None while the real file is the same.
        home: where it is on the disk below, None if nothing of it was ever synced, or if its last
            name is gone.
        clean: how many bytes at its begin the real file has, too. dirty: whether that is not all.
        handles: how often it is open. failed: an fsync failed, and so do all later ones.
    """

    content: bytearray | None
    home: tuple[_Folder, str] | None
    clean: int = 0
    dirty: bool = False
    handles: int = 0
    failed: OSError | None = None


@dataclass(eq=False, slots=True)
class _Folder:
    """One directory.

    Attributes:
        home: as a file's. entries: its names as they are seen. stored: those on the disk below.
        loaded: whether the disk below was asked.
    """

    home: tuple[_Folder, str] | None
    entries: dict[str, _Node] = field(default_factory=dict)
    stored: dict[str, _Node] = field(default_factory=dict)
    loaded: bool = False


_Node = _Inode | _Folder


class VolatileFile:
    """An open file of a `VolatileDisk`."""

    def __init__(self, disk: VolatileDisk, inode: _Inode) -> None:
        self._disk, self._inode = disk, inode
        self._file: RealFile | None = None
        self._closed = False
        inode.handles += 1

    def read_at(self, offset: int, size: int) -> bytes:
        content = self._open().content
        if content is not None:
            return bytes(memoryview(content)[offset : offset + size])
        return self._real().read_at(offset, size)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if not data:
            return  # a file does not grow by nothing
        content = self._dirty(offset)
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def size(self) -> int:
        content = self._open().content
        return len(content) if content is not None else self._real().size()

    def truncate(self, size: int) -> None:
        content = self._dirty(size)
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))

    async def fsync(self) -> None:
        await self._disk.sync(self._open())

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None
        self._inode.handles -= 1
        self._disk.let_go(self._inode)

    def fileno(self) -> int | None:
        return None  # its content may be in this process only

    def _open(self) -> _Inode:
        if self._closed:
            raise OSError(9, "Bad file descriptor")
        return self._inode

    def _dirty(self, offset: int) -> bytearray:
        """The content, about to change from `offset` on."""
        inode = self._open()
        content = self._disk.load(inode)
        inode.clean = min(inode.clean, offset, len(content))
        inode.dirty = True
        return content

    def _real(self) -> RealFile:
        if self._file is None:
            self._file = self._disk.below.open(self._disk.real(self._inode))
        return self._file


class VolatileDisk:
    """See the module."""

    def __init__(self, below: RealDisk) -> None:
        self.below = below
        self._root = _Folder(None)
        self._shadows = count()

    def open(self, path: Path, *, create: bool = False) -> VolatileFile:
        node = self._find(path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        if node is None:
            parent = self._find(PurePath(path).parent)
            if not create or not isinstance(parent, _Folder):
                raise _error(errno.ENOENT, path)
            node = parent.entries[PurePath(path).name] = _Inode(bytearray(), None)
        return VolatileFile(self, node)

    def exists(self, path: Path) -> bool:
        return self._find(path) is not None

    def is_dir(self, path: Path) -> bool:
        return isinstance(self._find(path), _Folder)

    def listdir(self, path: Path = ".") -> list[str]:
        return sorted(self._folder(path).entries)

    def mkdir(self, path: Path) -> None:
        folder = self._root
        for part in PurePath(path).parts:
            node = self._load(folder).entries.get(part)
            if isinstance(node, _Inode):
                raise _error(errno.EEXIST, path)
            if node is None:
                node = folder.entries[part] = _Folder(None, loaded=True)
            folder = node

    def remove(self, path: Path) -> None:
        folder, name = self._place(path)
        node = folder.entries.get(name)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, _Folder):
            raise _error(errno.EISDIR, path)
        del folder.entries[name]

    def rename(self, old: Path, new: Path) -> None:
        source, before = self._place(old)
        node = source.entries.get(before)
        if node is None:
            raise _error(errno.ENOENT, old)
        target, after = self._place(new)
        there = target.entries.get(after)
        if there is node:
            return
        if isinstance(node, _Inode) and isinstance(there, _Folder):
            raise _error(errno.EISDIR, new)
        if isinstance(node, _Folder):
            if isinstance(there, _Inode):
                raise _error(errno.ENOTDIR, new)
            if there is not None and self._load(there).entries:
                raise _error(errno.ENOTEMPTY, new)
            if PurePath(old) in PurePath(new).parents:
                raise _error(errno.EINVAL, new)
        del source.entries[before]
        target.entries[after] = node

    def rmtree(self, path: Path) -> None:
        folder, name = self._place(path)
        self._empty(self._folder(path))
        del folder.entries[name]

    async def fsync_dir(self, path: Path = ".") -> None:
        folder = self._folder(path)
        if folder is not self._root and folder.home is None:
            self._give_shadow(folder)
        # What arrives is stored before what leaves goes: a rename must not lose both names.
        for name, node in list(folder.entries.items()):
            if folder.stored.get(name) is not node:
                self._store(folder, name, node)
        for name, node in list(folder.stored.items()):
            if folder.entries.get(name) is not node:
                self._forget(folder, name, node)
        await self.below.fsync_dir(self.real(folder))

    def read(self, path: Path) -> bytes:
        file = self.open(path)
        try:
            return file.read_at(0, file.size())
        finally:
            file.close()

    async def replace(self, path: Path, data: bytes) -> None:
        await replace(self, path, data)

    # -- names -------------------------------------------------------------------------------

    def real(self, node: _Node) -> PurePath:
        """Where it is on the disk below."""
        if node is self._root:
            return PurePath()
        assert node.home is not None
        folder, name = node.home
        return self.real(folder) / name

    def _find(self, path: Path) -> _Node | None:
        node: _Node = self._root
        for part in PurePath(path).parts:
            found = self._load(node).entries.get(part) if isinstance(node, _Folder) else None
            if found is None:
                return None
            node = found
        return self._load(node) if isinstance(node, _Folder) else node

    def _folder(self, path: Path) -> _Folder:
        node = self._find(path)
        if node is None:
            raise _error(errno.ENOENT, path)
        if isinstance(node, _Inode):
            raise _error(errno.ENOTDIR, path)
        return node

    def _place(self, path: Path) -> tuple[_Folder, str]:
        return self._folder(PurePath(path).parent), PurePath(path).name

    def _load(self, folder: _Folder) -> _Folder:
        """Ask the disk below what is in it, the first time."""
        if not folder.loaded:
            folder.loaded, real = True, self.real(folder)
            for name in self.below.listdir(real):
                if name.endswith(_SHADOW):
                    self._erase(real / name)  # a process before this one had no name for it
                    continue
                home = folder, name
                is_folder = self.below.is_dir(real / name)
                node: _Node = _Folder(home) if is_folder else _Inode(None, home)
                folder.stored[name] = folder.entries[name] = node
        return folder

    def _empty(self, folder: _Folder) -> None:
        for node in self._load(folder).entries.values():
            if isinstance(node, _Folder):
                self._empty(node)
        folder.entries.clear()

    def _named(self, node: _Node) -> bool:
        """Whether anybody can still find it."""
        return any(each is node for each in _walk(self._root))

    # -- inodes ------------------------------------------------------------------------------

    async def sync(self, inode: _Inode) -> None:
        """Store an inode's content, under whatever name the disk below knows it."""
        if inode.failed is not None:
            raise inode.failed
        if not inode.dirty and inode.home is not None:
            return
        if inode.home is None:
            if not self._named(inode):
                return  # removed: nobody will ever see it
            inode.home = self._shadow()
            inode.clean = 0
        content = self.load(inode)
        clean, size = inode.clean, len(content)
        changed = bytes(memoryview(content)[clean:])
        inode.clean, inode.dirty = size, False  # what is written meanwhile is not covered
        try:
            await self._write(self.real(inode), size, clean, changed)
        except OSError as error:
            inode.clean, inode.dirty, inode.failed = min(inode.clean, clean), True, error
            raise
        self.let_go(inode)

    async def _write(self, real: PurePath, size: int, offset: int, data: bytes) -> None:
        file = self.below.open(real, create=True)
        try:
            file.truncate(size)
            file.write_at(offset, data)
            await file.fsync()
        finally:
            file.close()

    def load(self, inode: _Inode) -> bytearray:
        """Have the content in memory."""
        if inode.content is None:
            inode.content = bytearray(self.below.read(self.real(inode)))
            inode.clean = len(inode.content)
        return inode.content

    def let_go(self, inode: _Inode) -> None:
        """The real file will do, if nobody writes to it now."""
        if not inode.handles and not inode.dirty and inode.home is not None:
            inode.content = None

    # -- the disk below ----------------------------------------------------------------------

    def _shadow(self) -> tuple[_Folder, str]:
        return self._root, f"{next(self._shadows)}{_SHADOW}"

    def _give_shadow(self, folder: _Folder) -> None:
        folder.home = self._shadow()
        self.below.mkdir(self.real(folder))

    def _store(self, folder: _Folder, name: str, node: _Node) -> None:
        """Give it this name on the disk below. Un-synced content stays in memory."""
        place = self.real(folder) / name
        displaced = folder.stored.pop(name, None)
        if displaced is not None:
            self._displace(displaced)
            if isinstance(displaced, _Folder) or isinstance(node, _Folder):
                self._erase(place)  # a rename replaces files only
        if node.home is not None:
            at, before = node.home
            self.below.rename(self.real(node), place)
            if at.stored.get(before) is node:
                del at.stored[before]
        elif isinstance(node, _Folder):
            self.below.mkdir(place)
        else:
            # The name survives, the content does not: an empty file, as a real disk shows.
            file = self.below.open(place, create=True)
            file.truncate(0)
            file.close()
            node.clean = 0
        node.home = folder, name
        folder.stored[name] = node

    def _forget(self, folder: _Folder, name: str, node: _Node) -> None:
        place = self.real(folder) / name
        self._displace(node)
        del folder.stored[name]
        self._erase(place)

    def _displace(self, node: _Node) -> None:
        """Its name on the disk below goes to another, or to nobody; who has it open reads on."""
        if self._named(node):
            # It has a new name that is to be stored yet, and what was synced must stay so.
            before, node.home = self.real(node), self._shadow()
            self.below.rename(before, self.real(node))
            return
        if isinstance(node, _Folder):
            for inside in list(self._load(node).stored.values()):
                self._displace(inside)
            node.stored.clear()
            node.home = None
            return
        if node.handles:
            self.load(node)
        node.home, node.clean, node.dirty = None, 0, True

    def _erase(self, real: PurePath) -> None:
        if self.below.is_dir(real):
            self.below.rmtree(real)
        elif self.below.exists(real):
            self.below.remove(real)


def _walk(folder: _Folder) -> Iterator[_Node]:
    yield folder
    for node in folder.entries.values():
        if isinstance(node, _Folder):
            yield from _walk(node)
        else:
            yield node


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
