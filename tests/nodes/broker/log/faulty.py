"""A disk that fails where a test says so."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable

from harness.host.contract import Path
from tests.host.disks import QuickDisk, QuickFile

Fault = Callable[[str, str], int | None]
"""(operation, path) → an errno, or None to go on."""


class FaultyFile(QuickFile):
    disk: FaultyDisk
    name: str

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        try:
            self.disk.check("write", self.name)
        except OSError:
            super().write_at(offset, bytes(data)[: len(data) // 2])  # part of it may be there
            raise
        super().write_at(offset, data)

    async def fsync(self) -> None:
        await asyncio.sleep(0)
        self.disk.check("fsync", self.name)
        self.disk.synced.append(self.name)


class FaultyDisk(QuickDisk):
    """Attributes: fault: asked before every write and fsync. synced: what was, also folders."""

    fault: Fault = staticmethod(lambda operation, path: None)

    def __init__(self, root: os.PathLike[str]) -> None:
        super().__init__(root)  # type: ignore[arg-type]
        self.synced: list[str] = []

    def check(self, operation: str, path: str) -> None:
        number = self.fault(operation, path)
        if number is not None:
            raise OSError(number, os.strerror(number), path)

    async def fsync_dir(self, path: Path = ".") -> None:
        await super().fsync_dir(path)
        self.check("fsync", str(path))
        self.synced.append(str(path))

    def open(self, path: Path, *, create: bool = False) -> FaultyFile:
        file = FaultyFile(self._at(path), create=create)
        file.disk, file.name = self, str(path)
        return file


def failing(operation: str, suffix: str, number: int = errno.EIO) -> Fault:
    """Every such operation on files whose names end so fails."""
    return lambda op, path: number if op == operation and path.endswith(suffix) else None


def cancelling(operation: str, suffix: str) -> Fault:
    """Whoever waits for such an operation is cancelled."""

    def fault(op: str, path: str) -> None:
        if op == operation and path.endswith(suffix):
            raise asyncio.CancelledError

    return fault
