"""A disk whose un-synced writes live in this process: SIGKILL of the process is a power failure.

Every write, truncation, creation, rename and removal is seen by reads at once, and reaches the real
disk below only at `fsync` (a file's content) or `fsync_dir` (the names of a directory). What a real
disk might keep by luck is always lost here: the harshest legal outcome.

Rules, as POSIX promises no more:
    - `fsync` of a file stores its content; its *name* is stored by `fsync_dir` of its directory;
    - a rename or removal without a later `fsync_dir` did not happen after the power failure;
    - `mkdir` takes effect at once: an empty directory that survives tells nothing.

Memory: the content of every file that has un-synced writes is held whole.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        real: the path below, None if nothing of it was ever synced.
    """

    content: bytearray | None
    real: PurePath | None


_Name = TypeVar("_Name", _Inode, _Inode | None)


class VolatileFile:
    """An open file of a `VolatileDisk`."""

    def __init__(self, disk: VolatileDisk, inode: _Inode) -> None:
        self._disk, self._inode = disk, inode
        self._file: RealFile | None = None

    def read_at(self, offset: int, size: int) -> bytes:
        content = self._inode.content
        if content is not None:
            return bytes(content[offset : offset + size])
        return self._real().read_at(offset, size)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        content = self._dirty()
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data

    def size(self) -> int:
        content = self._inode.content
        return len(content) if content is not None else self._real().size()

    def truncate(self, size: int) -> None:
        content = self._dirty()
        if size < len(content):
            del content[size:]
        else:
            content.extend(bytes(size - len(content)))

    async def fsync(self) -> None:
        await self._disk.sync(self._inode)
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def fileno(self) -> int | None:
        return None  # its content may be in this process only

    def _dirty(self) -> bytearray:
        inode = self._inode
        if inode.content is None:
            real = self._real()
            inode.content = bytearray(real.read_at(0, real.size()))
            self.close()
        return inode.content

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

    def open(self, path: Path, *, create: bool = False) -> VolatileFile:
        name = PurePath(path)
        inode = self._look_up(name)
        if inode is None:
            if not create:
                raise FileNotFoundError(2, "No such file or directory", str(path))
            if not self.below.is_dir(name.parent):
                raise FileNotFoundError(2, "No such file or directory", str(name.parent))
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
        if inode is None:
            if self.below.is_dir(before):
                self._rename_folder(before, after)
                return
            raise FileNotFoundError(2, "No such file or directory", str(old))
        self._seen[after] = inode
        self._seen[before] = None

    def rmtree(self, path: Path) -> None:
        folder = PurePath(path)
        self.below.rmtree(path)
        for name in [n for n in (*self._seen, *self._stored) if folder in n.parents]:
            self._seen.pop(name, None)
            self._stored.pop(name, None)

    async def fsync_dir(self, path: Path = ".") -> None:
        folder = PurePath(path)
        moved = [(name, inode) for name, inode in self._seen.items() if name.parent == folder]
        # What arrives is stored before what leaves goes: a rename must not lose both names.
        for name, inode in moved:
            if inode is not None:
                await self._store(name, inode)
        for name, inode in moved:
            if inode is None and self.below.exists(name):
                self.below.remove(name)
                self._stored.pop(name, None)
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

    async def sync(self, inode: _Inode) -> None:
        """Store an inode's content, under whatever name the disk below knows it."""
        if inode.content is None:
            return
        content = bytes(inode.content)
        if inode.real is None:
            name = next((n for n, i in self._seen.items() if i is inode), None)
            if name is None:
                return  # removed: nobody will ever see it
            inode.real = name.with_name(name.name + _SHADOW)
        file = self.below.open(inode.real, create=True)
        try:
            file.truncate(len(content))
            file.write_at(0, content)
            await file.fsync()
        finally:
            file.close()
        if inode.content is not None and bytes(inode.content) == content:
            inode.content = None

    async def _store(self, name: PurePath, inode: _Inode) -> None:
        """Give the inode this name on the disk below. Un-synced content stays in memory."""
        if inode.real is None:
            # The name survives, the content does not: an empty file, as a real disk shows.
            self.below.open(name, create=True).close()
        elif inode.real != name:
            self.below.rename(inode.real, name)
        inode.real = name
        self._stored[name] = inode

    def _rename_folder(self, before: PurePath, after: PurePath) -> None:
        self.below.rename(before, after)
        _rename_in(self._seen, before, after)
        _rename_in(self._stored, before, after)
        for inode in {id(i): i for i in self._stored.values()}.values():
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
