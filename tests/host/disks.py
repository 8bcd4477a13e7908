"""What a disk must be like, as plain dictionaries; disks whose power fails; quick disks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from harness import seeds
from harness.host.contract import Path
from harness.host.real import RealDisk, RealFile
from harness.host.volatile import VolatileDisk
from harness.sim.disk import SimDisk
from harness.sim.disk_faults import INSTANT


@dataclass(eq=False, slots=True)
class ModelFile:
    """`durable` is None while nothing was synced."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes | None = None


class ModelDisk:
    """One flat directory: names and their files, now and after a power failure."""

    def __init__(self) -> None:
        self.names: dict[str, ModelFile] = {}
        self.durable_names: dict[str, ModelFile] = {}

    def fsync_dir(self) -> None:
        self.durable_names = dict(self.names)

    def power_off(self) -> None:
        files: dict[int, ModelFile] = {}
        for name, file in self.durable_names.items():
            content = file.durable or b""
            again = files.setdefault(id(file), ModelFile(bytearray(content), content))
            self.durable_names[name] = again
        self.names = dict(self.durable_names)


class Powered(Protocol):
    """A machine with a disk, which keeps nothing un-synced when its power fails."""

    disk: Any

    def power_off(self) -> Any:
        """Returns the disk as the next process finds it."""
        ...


class PoweredVolatile:
    def __init__(self, below: RealDisk) -> None:
        self.disk = VolatileDisk(below)

    def power_off(self) -> VolatileDisk:
        self.disk = VolatileDisk(self.disk.below)
        return self.disk


class PoweredSim:
    def __init__(self) -> None:
        self.machine = SimDisk(partial(seeds.stream, 7, "disk"), pace=INSTANT)
        self.disk: Any = self.machine.mount()

    def power_off(self) -> Any:
        self.machine.power_off(harshest=True)
        self.disk = self.machine.mount()
        return self.disk


class QuickFile(RealFile):
    """A real file whose fsync takes a turn of the loop, and no disk."""

    async def fsync(self) -> None:
        await asyncio.sleep(0)


class QuickDisk(RealDisk):
    """A real disk that syncs nothing: for tests in which the machine does not fail."""

    def open(self, path: Path, *, create: bool = False) -> QuickFile:
        return QuickFile(self._at(path), create=create)

    async def fsync_dir(self, path: Path = ".") -> None:
        if not self.is_dir(path):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        await asyncio.sleep(0)
