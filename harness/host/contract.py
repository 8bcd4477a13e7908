"""What a node program may do: clock, chance and disk. The network is plain asyncio.

A node is `async run(host, config)`; everything it knows of the outside world besides asyncio's
streams, protocols and `asyncio.sleep` comes through its `Host`. `RealHost` passes through to the
operating system; the simulated host decides everything from a seed.

Pinned semantics, where implementations could differ:
    - Reads and writes are synchronous and reach the page cache: they survive `kill`, but not power
      loss.
    - `fsync` makes a file's content durable, `fsync_dir` the names in a directory. Both are needed
      for a new file to be there after power loss. A failed fsync raises, and what it was to make
      durable may be gone: do not retry it and believe.
    - `rename` replaces atomically; it is durable after `fsync_dir` of the directory.
    - The same holds of directories: one whose parent was not synced may be gone after power loss,
      with all that is in it, and one that was removed may be back.
    - Errors of the disk are `OSError` with EIO, ENOSPC or ENOENT, as the kernel raises them.
"""

from __future__ import annotations

from pathlib import PurePath
from random import Random
from typing import Any, Protocol

Path = PurePath | str


class Clock(Protocol):
    """Time as this host sees it. Sleep with `asyncio.sleep`."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch; jumps and drifts, so order nothing by it."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds from an arbitrary start; never goes back."""
        ...


class File(Protocol):
    """An open file. Positions are explicit: there is no cursor."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset`; shorter only at the end of the file."""
        ...

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at `offset`. Raises OSError; then part may have been written."""
        ...

    def size(self) -> int: ...

    def truncate(self, size: int) -> None: ...

    async def fsync(self) -> None: ...

    def close(self) -> None:
        """Idempotent. Does not sync."""
        ...

    def fileno(self) -> int | None:
        """The descriptor of a real file whose content is all in the page cache, for sendfile."""
        ...


class Disk(Protocol):
    """The files of one host, below its own root. Paths are relative to that root."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing. Raises FileNotFoundError unless `create`."""
        ...

    def exists(self, path: Path) -> bool: ...

    def is_dir(self, path: Path) -> bool: ...

    def listdir(self, path: Path = ".") -> list[str]:
        """Names in a directory, sorted."""
        ...

    def mkdir(self, path: Path) -> None:
        """With parents; an existing directory is fine."""
        ...

    def remove(self, path: Path) -> None: ...

    def rename(self, old: Path, new: Path) -> None: ...

    def rmtree(self, path: Path) -> None: ...

    async def fsync_dir(self, path: Path = ".") -> None: ...

    def read(self, path: Path) -> bytes:
        """A whole file. Raises FileNotFoundError."""
        ...

    async def replace(self, path: Path, data: bytes) -> None:
        """Durably replace a file's content: write aside, fsync, rename, fsync the directory."""
        ...


class Host(Protocol):
    """One machine, as the node that runs on it sees it."""

    name: str
    clock: Clock
    rng: Random
    disk: Disk

    def log(self, event: str, /, **fields: Any) -> None:
        """Write one line of JSON: {"time": wall ns, "node": name, "event": event, **fields}."""
        ...
