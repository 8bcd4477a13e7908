"""A simulated disk: all in memory, decided by a seed, and longer-lived than who uses it.

Each incarnation of a host uses the disk through a `Mount`, which is a `harness.host.contract.Disk`:

    disk = SimDisk(draws)
    view = disk.mount()     the first process starts
    disk.kill()             it dies; the page cache stays
    view = disk.mount()     the next one sees all that was written
    disk.power_off()        the machine dies: un-synced changes are kept, lost or torn
    view = disk.mount()     what the next one finds is what a real disk might have shown

What may be kept is told in `harness.sim.power_loss`; what else can go wrong, in
`harness.sim.disk_faults`. An fsync takes a drawn time (`harness.sim.disk_faults.Pace`), in which
others run, write, and die; it covers what was written before it began, and is over or had no
effect.

Whoever goes on to use a dead incarnation's files gets `Fenced`.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from typing import Any

from harness.host.contract import Path
from harness.host.real import replace
from harness.sim import disk_faults, power_loss
from harness.sim.content import Content
from harness.sim.disk_faults import DiskFaults, Draws, Pace
from harness.sim.names import Folder, Tree
from harness.sim.power_loss import Geometry


class Fenced(BaseException):
    """Code of a dead incarnation tried to use its disk.

    Not an `Exception`, as cancellation is none: code that retries or logs errors of its disk must
    not take this for one and go on. Asyncio ends the task and leaves the loop alone. Closing a
    file never raises it, so that `finally` blocks come to their end.
    """


class SimFile:
    """An open file of one incarnation."""

    __slots__ = ("_closed", "_content", "_disk", "_failed", "_faults", "_mount", "_path")

    def __init__(self, mount: Mount, disk: SimDisk, content: Content, path: str) -> None:
        self._mount, self._disk, self._content, self._path = mount, disk, content, path
        self._faults = disk.faults
        self._closed = False
        self._failed: OSError | None = None

    def read_at(self, offset: int, size: int) -> bytes:
        if self._mount.dead or self._closed or self._faults.on:
            self._admit("read")
        if offset < 0 or size < 0:
            raise _error(errno.EINVAL, self._path)
        return bytes(memoryview(self._content.seen)[offset : offset + size])

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if self._mount.dead or self._closed or self._faults.on:
            self._admit("write")
            self._write_what_fits(offset, bytes(data))
            return
        if offset < 0:
            raise _error(errno.EINVAL, self._path)
        if data:  # a file does not grow by nothing
            self._content.write(offset, bytes(data))

    def size(self) -> int:
        if self._mount.dead or self._closed:
            self._admit("size")
        return len(self._content.seen)

    def truncate(self, size: int) -> None:
        if self._mount.dead or self._closed or self._faults.on:
            self._admit("truncate")
        if size < 0:
            raise _error(errno.EINVAL, self._path)
        if self._faults.room(len(self._content.seen), size) < size:
            self._faults.shrunk()  # what was granted of it is not taken
            raise _error(errno.ENOSPC, self._path)
        self._content.truncate(size)
        self._faults.shrunk()

    async def fsync(self) -> None:
        if self._mount.dead or self._closed:
            self._admit("size")
        if self._failed is not None:
            raise self._failed
        content, mark = self._content, self._content.mark()
        await asyncio.sleep(self._faults.delay_s(self._path, content.grown()))
        self._mount.check()
        try:
            self._faults.strike("fsync", self._path)
        except OSError as error:
            content.fail(mark)
            self._failed = error
            raise
        content.sync(mark)

    def close(self) -> None:
        self._closed = True

    def fileno(self) -> int | None:
        return None

    def _admit(self, operation: str) -> None:
        self._mount.check()
        if self._closed:
            raise _error(errno.EBADF, self._path)
        self._faults.strike(operation, self._path)

    def _write_what_fits(self, offset: int, data: bytes) -> None:
        if offset < 0:
            raise _error(errno.EINVAL, self._path)
        if not data:
            return
        end = offset + len(data)
        room = self._faults.room(len(self._content.seen), end)
        if room > offset:
            self._content.write(offset, data[: room - offset])
        if room < end:
            self._faults.shrunk()  # it may have been granted a gap, which nothing fills now
            raise _error(errno.ENOSPC, self._path)


class Mount:
    """The disk as one incarnation of its host sees it."""

    def __init__(self, disk: SimDisk, tree: Tree) -> None:
        self.dead = False
        self._disk, self._tree, self._faults = disk, tree, disk.faults

    def check(self) -> None:
        if self.dead:
            raise Fenced("this incarnation of the host is dead, and has no disk any more")

    def open(self, path: Path, *, create: bool = False) -> SimFile:
        self._admit(path)
        content = self._tree.open(path, create=create)
        return SimFile(self, self._disk, content, os.fspath(path))

    def exists(self, path: Path) -> bool:
        self._admit(path)
        return self._tree.find(path) is not None

    def is_dir(self, path: Path) -> bool:
        self._admit(path)
        return isinstance(self._tree.find(path), Folder)

    def listdir(self, path: Path = ".") -> list[str]:
        self._admit(path)
        return sorted(self._tree.folder(path).entries)

    def mkdir(self, path: Path) -> None:
        self._admit(path)
        self._tree.mkdir(path)

    def remove(self, path: Path) -> None:
        self._admit(path)
        self._tree.remove(path)
        self._faults.shrunk()

    def rename(self, old: Path, new: Path) -> None:
        self._admit(old)
        self._tree.rename(old, new)
        self._faults.shrunk()

    def rmtree(self, path: Path) -> None:
        self._admit(path)
        self._tree.rmtree(path)
        self._faults.shrunk()

    async def fsync_dir(self, path: Path = ".") -> None:
        """One that fails leaves the names as they were: not durable."""
        self.check()
        folder, mark = self._tree.folder(path), self._tree.mark()
        await asyncio.sleep(self._faults.delay_s(os.fspath(path)))
        self.check()
        self._faults.strike("fsync_dir", os.fspath(path))
        self._tree.sync(folder, mark)

    def read(self, path: Path) -> bytes:
        file = self.open(path)
        return file.read_at(0, file.size())

    async def replace(self, path: Path, data: bytes) -> None:
        await replace(self, path, data)

    def _admit(self, path: Path) -> None:
        self.check()
        if self._faults.on:
            self._faults.strike("names", os.fspath(path))


class SimDisk:
    """One machine's disk. All chance comes from `draws`; see `harness.sim.disk_faults.Draws`.

    Attributes:
        faults: the switches of what goes wrong. journal: what power failures and rot did, as JSON.
    """

    def __init__(
        self, draws: Draws, *, geometry: Geometry | None = None, pace: Pace | None = None
    ) -> None:
        self.faults = DiskFaults(draws, self.used, pace or Pace())
        self.journal: list[dict[str, Any]] = []
        self._draws, self._geometry = draws, geometry or Geometry()
        self._tree = Tree()
        self._mount: Mount | None = None
        self._power_offs = 0
        self._older: dict[str, bytes] = {}

    # -- incarnations ------------------------------------------------------------------------

    def mount(self) -> Mount:
        assert self._mount is None, "the disk is in use: kill its user, or switch the power off"
        self._mount = Mount(self, self._tree)
        return self._mount

    def kill(self) -> None:
        """Who uses it is dead. Nothing is lost."""
        if self._mount is not None:
            self._mount.dead = True
        self._mount = None

    def power_off(self, *, harshest: bool = False) -> dict[str, Any]:
        """Who uses it is dead, and so is what was not synced, as far as chance wants it.

        Args:
            harshest: nothing un-synced is kept, as on a `harness.host.volatile.VolatileDisk`.

        Returns what was kept and lost; it stands in the journal, too.
        """
        self.kill()
        ordinal = self._power_offs
        self._power_offs += 1

        def keep(folder: str, count: int) -> int:
            if harshest:
                return 0
            return power_loss.keep_of(self._draws("power-off", ordinal, "names", folder), count)

        names = self._tree.power_off(keep)
        files: dict[str, Any] = {}
        for path, content in self._tree.files():
            if content.changes or content.medium is not None:
                rng = None if harshest else self._draws("power-off", ordinal, "content", path)
                files[path] = self._settle(content, rng)
        self.faults.shrunk()
        told = {path: {"kept": kept, "lost": lost} for path, (kept, lost) in names.items()}
        return self._tell(fault="power-off", ordinal=ordinal, names=told, files=files)

    def _settle(self, content: Content, rng: Any) -> dict[str, Any]:
        changes, durable, geometry = content.changes, content.durable(), self._geometry
        sizes = {"durable": len(durable), "seen": len(content.seen)}
        told: dict[str, Any] = {"changes": len(changes), "fsync_failed": content.medium is not None}
        if rng is None or not changes:
            told["policy"], left = "nothing", durable
        else:
            outcome = power_loss.choose(rng, changes, geometry)
            left = power_loss.survive(durable, changes, outcome, geometry)
            told.update(policy=outcome.policy, size_after=outcome.size_after, torn=outcome.torn)
            told["pages"] = {
                "changed": len(outcome.pages),
                "written": sum(1 for after in outcome.pages.values() if after),
            }
        content.settle(left)
        told["size"] = {**sizes, "left": len(left)}
        return told

    # -- rot ---------------------------------------------------------------------------------

    def bit_rot(self, path: Path, bits: int = 1) -> bool:
        """Flip durable bits of a file. Reads see them at once, but for what is not synced yet.

        This and the next return whether they acted. Raise FileNotFoundError.
        """
        file, name = self._file(path)
        flipped = disk_faults.flip(file, self.faults.rng("bit-rot", name), bits)
        return self._rotted("bit-rot", name, bool(flipped), bits=flipped)

    def cut_tail(self, path: Path, size: int) -> bool:
        """Take the last `size` durable bytes from a file."""
        file, name = self._file(path)
        taken = disk_faults.cut(file, size)
        return self._rotted("cut-tail", name, taken > 0, size=taken)

    def remember(self, path: Path) -> None:
        """Keep what is durable of a file for `roll_back`, instead of what was kept before."""
        file, name = self._file(path)
        self._older[name] = bytes(file.durable())

    def roll_back(self, path: Path, size: int = 4096) -> bool:
        """A chunk of a file is as when it was remembered: later writes to it never arrived."""
        file, name = self._file(path)
        rng = self.faults.rng("roll-back", name)
        done = disk_faults.roll_back(file, self._older.get(name, b""), rng, size)
        return self._rotted("roll-back", name, done is not None, chunk=done)

    # -- inside ------------------------------------------------------------------------------

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Paths and contents, as a process would see them now."""
        for path, content in self._tree.files():
            yield path, bytes(content.seen)

    def used(self) -> int:
        """Bytes in files that have a name. One that is removed while open is not counted."""
        return sum(len(content.seen) for _, content in self._tree.files())

    def _file(self, path: Path) -> tuple[Content, str]:
        return self._tree.open(path, create=False), os.fspath(path)

    def _rotted(self, fault: str, path: str, acted: bool, **fields: Any) -> bool:
        self.faults.acted[fault] += acted
        if acted:
            self.faults.shrunk()
            self._tell(fault=fault, path=path, **fields)
        return acted

    def _tell(self, **fields: Any) -> dict[str, Any]:
        self.journal.append(fields)
        return fields

    def _check(self) -> None:
        self._tree._check()
        for _, content in self._tree.files():
            content._check()


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
