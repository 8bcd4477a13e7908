"""A disk whose un-synced writes live in this process: SIGKILL of the process is a power failure.

Every write, truncation, creation, rename and removal is seen by reads at once, and reaches the real
disk below only at `fsync` (a file's content) or `fsync_dir` (the names of a directory). What a real
disk might keep by luck is always lost here: the harshest legal outcome.

Rules, as POSIX promises no more:
    - `fsync` of a file stores its content; its *name* is stored by `fsync_dir` of its directory;
    - a name that is stored before any content is an empty file after the power failure;
    - a rename or removal without a later `fsync_dir` did not happen after the power failure;
    - what is done to whole directories (`mkdir`, `rename`, `rmtree`) takes effect at once.

Memory: the content of every file that was written to is held whole while it is open or dirty. An
`fsync` costs what was written since the last one, for files that grow at their end.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import PurePath
from typing import TypeVar

from harness.host.contract import Path
from harness.host.real import RealDisk, RealFile, replace

_SHADOW = ".unsynced"
"""Suffix of a real file whose name was never synced: after power loss nobody looks at it."""


@dataclass(slots=True)
class _Inode:
    """One file's content, independent of its names.

    Attributes:
        content: what reads see; None while the real file is the same.
        real: the path below, None if nothing of it was ever synced, or if its last name is gone.
        clean: how many bytes at its begin the real file has, too. dirty: whether that is not all.
        handles: how often it is open. failed: an fsync failed, and so do all later ones.
    """

    content: bytearray | None
    real: PurePath | None
    clean: int = 0
    dirty: bool = False
    handles: int = 0
    failed: OSError | None = None


_Name = TypeVar("_Name", _Inode, _Inode | None)


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
            assert self._inode.real is not None
            self._file = self._disk.below.open(self._inode.real)
        return self._file


class VolatileDisk:
    """See the module."""

    def __init__(self, below: RealDisk) -> None:
        self.below = below
        self._seen: dict[PurePath, _Inode | None] = {}  # name → what reads see; None: removed
        self._stored: dict[PurePath, _Inode] = {}  # inodes of names that are on the disk below
        self._shadows = count()

    def open(self, path: Path, *, create: bool = False) -> VolatileFile:
        name = PurePath(path)
        inode = self._look_up(name)
        if inode is None:
            if self.below.is_dir(name):
                raise IsADirectoryError(21, "Is a directory", str(path))
            if not create or not self.below.is_dir(name.parent):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            inode = self._seen[name] = _Inode(bytearray(), None)
        return VolatileFile(self, inode)

    def exists(self, path: Path) -> bool:
        return self._look_up(PurePath(path)) is not None or self.is_dir(path)

    def is_dir(self, path: Path) -> bool:
        return self.below.is_dir(path)

    def listdir(self, path: Path = ".") -> list[str]:
        folder = PurePath(path)
        names = {n for n in self.below.listdir(path) if not n.endswith(_SHADOW)}
        for name, inode in self._seen.items():
            if name.parent == folder:
                (names.discard if inode is None else names.add)(name.name)
        return sorted(names)

    def mkdir(self, path: Path) -> None:
        self.below.mkdir(path)

    def remove(self, path: Path) -> None:
        name = PurePath(path)
        if self._look_up(name) is None:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        self._seen[name] = None

    def rename(self, old: Path, new: Path) -> None:
        before, after = PurePath(old), PurePath(new)
        inode = self._look_up(before)
        if inode is not None:
            self._look_up(after)  # who has that name on the disk below must be known when it goes
            self._seen[before] = None
            self._seen[after] = inode
        elif self.below.is_dir(before):
            self._rename_folder(before, after)
        else:
            raise FileNotFoundError(2, "No such file or directory", str(old))

    def rmtree(self, path: Path) -> None:
        folder = PurePath(path)
        inside = [n for n in (*self._seen, *self._stored) if folder in n.parents]
        for name in inside:
            self._seen.pop(name, None)
            self._displace(self._stored.pop(name, None))
        self.below.rmtree(path)

    async def fsync_dir(self, path: Path = ".") -> None:
        folder = PurePath(path)
        moved = [(name, inode) for name, inode in self._seen.items() if name.parent == folder]
        # What arrives is stored before what leaves goes: a rename must not lose both names.
        for name, inode in moved:
            if inode is not None:
                self._store(name, inode)
        for name, inode in moved:
            if inode is None:
                self._forget(name)
            del self._seen[name]
        await self.below.fsync_dir(path)

    def read(self, path: Path) -> bytes:
        file = self.open(path)
        try:
            return file.read_at(0, file.size())
        finally:
            file.close()

    async def replace(self, path: Path, data: bytes) -> None:
        await replace(self, path, data)

    # -- inodes ------------------------------------------------------------------------------

    async def sync(self, inode: _Inode) -> None:
        """Store an inode's content, under whatever name the disk below knows it."""
        if inode.failed is not None:
            raise inode.failed
        if not inode.dirty and inode.real is not None:
            return
        if inode.real is None:
            name = next((n for n, i in self._seen.items() if i is inode), None)
            if name is None:
                return  # removed: nobody will ever see it
            inode.real = self._shadow(name)
            inode.clean = 0
        content = self.load(inode)
        clean, size = inode.clean, len(content)
        changed = bytes(memoryview(content)[clean:])
        inode.clean, inode.dirty = size, False  # what is written meanwhile is not covered
        try:
            await self._write(inode.real, size, clean, changed)
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
            assert inode.real is not None
            inode.content = bytearray(self.below.read(inode.real))
            inode.clean = len(inode.content)
        return inode.content

    def let_go(self, inode: _Inode) -> None:
        """The real file will do, if nobody writes to it now."""
        if not inode.handles and not inode.dirty and inode.real is not None:
            inode.content = None

    def _displace(self, inode: _Inode | None) -> None:
        """Its name on the disk below goes to another, or to nobody; who has it open reads on."""
        if inode is None or inode.real is None:
            return
        if any(other is inode for other in self._seen.values()):
            # It has a new name that is to be stored yet, and what was synced must stay so.
            shadow = self._shadow(inode.real)
            self.below.rename(inode.real, shadow)
            inode.real = shadow
            return
        if inode.handles:
            self.load(inode)
        inode.real, inode.clean, inode.dirty = None, 0, True

    def _shadow(self, name: PurePath) -> PurePath:
        return name.with_name(f"{name.name}.{next(self._shadows)}{_SHADOW}")

    def _store(self, name: PurePath, inode: _Inode) -> None:
        """Give the inode this name on the disk below. Un-synced content stays in memory."""
        if inode.real == name:
            return
        displaced = self._stored.get(name)
        if displaced is not inode:
            self._displace(displaced)
        if inode.real is None:
            # The name survives, the content does not: an empty file, as a real disk shows.
            file = self.below.open(name, create=True)
            file.truncate(0)
            file.close()
            inode.clean = 0
        else:
            self.below.rename(inode.real, name)
            self._stored.pop(inode.real, None)
        inode.real = name
        self._stored[name] = inode

    def _forget(self, name: PurePath) -> None:
        inode = self._stored.pop(name, None)
        if inode is not None and inode.real == name:
            self._displace(inode)
        if self.below.exists(name):
            self.below.remove(name)

    def _rename_folder(self, before: PurePath, after: PurePath) -> None:
        self.below.rename(before, after)
        inodes = {id(i): i for i in (*self._stored.values(), *self._seen.values()) if i is not None}
        _rename_in(self._seen, before, after)
        _rename_in(self._stored, before, after)
        for inode in inodes.values():
            if inode.real is not None and before in inode.real.parents:
                inode.real = after / inode.real.relative_to(before)

    def _look_up(self, name: PurePath) -> _Inode | None:
        if name in self._seen:
            return self._seen[name]
        if name in self._stored:
            return self._stored[name]
        if not self.below.exists(name) or self.below.is_dir(name):
            return None
        inode = self._stored[name] = _Inode(None, name)
        return inode


def _rename_in(table: dict[PurePath, _Name], before: PurePath, after: PurePath) -> None:
    for name in [n for n in table if before in n.parents]:
        table[after / name.relative_to(before)] = table.pop(name)
