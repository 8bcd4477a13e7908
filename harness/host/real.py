"""The real machine as a `Host`: passes through to the operating system.

Reads and writes reach the page cache and are synchronous; `fsync` runs on a thread, so that the
loop goes on meanwhile. A failed fsync poisons the file: the kernel may have dropped what it could
not write, so a second fsync that succeeds would prove nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path as RealPath
from random import Random
from typing import Any, TextIO

import msgspec

from harness.host.contract import Clock, Path


class RealClock:
    """This machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class RealFile:
    """A file descriptor with positions."""

    def __init__(self, path: RealPath, *, create: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._fd = os.open(path, flags, 0o644)
        self._path = path
        self._poisoned: OSError | None = None

    def read_at(self, offset: int, size: int) -> bytes:
        data = os.pread(self._fd, size, offset)
        if len(data) == size or not data:
            return data
        parts = [data]  # a signal may have cut the read short: only nothing means the end
        got = len(data)
        while got < size and (more := os.pread(self._fd, size - got, offset + got)):
            parts.append(more)
            got += len(more)
        return b"".join(parts)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        size = len(data)
        written = os.pwrite(self._fd, data, offset)
        while written < size:
            rest = memoryview(data)[written:]
            written += os.pwrite(self._fd, rest, offset + written)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    async def fsync(self) -> None:
        if self._poisoned is not None:
            raise self._poisoned
        # On a descriptor of its own: the file may be closed while the thread still syncs.
        fd = os.dup(self._fd)
        try:
            await asyncio.get_running_loop().run_in_executor(None, os.fsync, fd)
        except OSError as error:
            self._poisoned = error
            raise
        finally:
            os.close(fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int | None:
        return self._fd


class RealDisk:
    """The files below one folder."""

    def __init__(self, root: RealPath) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def open(self, path: Path, *, create: bool = False) -> RealFile:
        return RealFile(self._at(path), create=create)

    def exists(self, path: Path) -> bool:
        return self._at(path).exists()

    def is_dir(self, path: Path) -> bool:
        return self._at(path).is_dir()

    def listdir(self, path: Path = ".") -> list[str]:
        return sorted(entry.name for entry in self._at(path).iterdir())

    def mkdir(self, path: Path) -> None:
        self._at(path).mkdir(parents=True, exist_ok=True)

    def remove(self, path: Path) -> None:
        self._at(path).unlink()

    def rename(self, old: Path, new: Path) -> None:
        self._at(old).replace(self._at(new))

    def rmtree(self, path: Path) -> None:
        shutil.rmtree(self._at(path))

    async def fsync_dir(self, path: Path = ".") -> None:
        fd = os.open(self._at(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            await asyncio.get_running_loop().run_in_executor(None, os.fsync, fd)
        finally:
            os.close(fd)

    def read(self, path: Path) -> bytes:
        return self._at(path).read_bytes()

    async def replace(self, path: Path, data: bytes) -> None:
        await replace(self, path, data)

    def _at(self, path: Path) -> RealPath:
        return self._root / path


async def replace(disk: Any, path: Path, data: bytes) -> None:
    """`Disk.replace` in terms of the other operations; every disk uses it."""
    path = RealPath(path)
    aside = path.with_name(path.name + ".tmp")
    file = disk.open(aside, create=True)
    try:
        file.truncate(0)
        file.write_at(0, data)
        await file.fsync()
    finally:
        file.close()
    disk.rename(aside, path)
    await disk.fsync_dir(path.parent)


class RealHost:
    """This machine, with the files below `root`. Log lines go to standard output."""

    def __init__(
        self,
        name: str,
        root: RealPath,
        seed: int,
        *,
        disk: Any = None,
        output: TextIO | None = None,
    ) -> None:
        self.name = name
        self.clock: Clock = RealClock()
        self.rng = Random(seed)
        self.disk = disk if disk is not None else RealDisk(root)
        self._output = output or sys.stdout
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def log(self, event: str, /, **fields: Any) -> None:
        shape = {"time": self.clock.wall_ns(), "node": self.name, "event": event, **fields}
        self._output.write(self._encode(shape).decode() + "\n")
        self._output.flush()
