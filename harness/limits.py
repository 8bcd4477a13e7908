"""How much memory there is, and how a process is kept from taking more than its share.

What counts is what a process may still write to: `RLIMIT_DATA` is of private writable memory, where
NumPy's arrays and Python's objects live, whether malloc takes it from the heap or from mmap. Both
limits are of a whole process; a fork begins with its parent's size, so that what it may take *more*
is added to that. `RLIMIT_AS` is of all addresses, libraries included, and is set with some slack
for them, for kernels that count only these.

Blind to: pages of the parent that a fork writes to, and that are copied then (they were counted
already); memory of further processes.
Source: setrlimit(2), proc_pid_status(5), and the kernel's cgroup-v2 document.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path

LIBRARIES_BYTES = 1 << 30
"""Of addresses that may be mapped without being memory: code of modules that are loaded late."""

LEAST_BYTES = 1 << 28
"""Nobody gets less, however little there seems to be: what is available is an estimate."""

SHARE = 0.8
"""Of what is available. The rest is for copied pages, and for everybody else."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_NO_LIMIT = 1 << 60  # version 1 of cgroups spells "no limit" as a huge number


def size(text: str) -> int:
    """A type of an argument: bytes, as in 512M or 1.5G.

    >>> size("512M"), size("1.5G")
    (536870912, 1610612736)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    bytes_ = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if not 0 < bytes_ < _NO_LIMIT:
        raise argparse.ArgumentTypeError(f"{text} is no size, as 512M or 4G")
    return bytes_


def spelled(bytes_: int) -> str:
    """For a person.

    >>> spelled(1610612736), spelled(300 << 20)
    ('1.5 GiB', '300 MiB')
    """
    return f"{bytes_ / (1 << 30):.3g} GiB" if bytes_ >= 1 << 30 else f"{bytes_ >> 20} MiB"


def available() -> int:
    """Bytes that this process and its children may still take, by the machine and its cgroup."""
    return min((_of_machine(), *_of_cgroup()))


def share(of: int) -> int:
    """Bytes for each of so many that work side by side."""
    return max(LEAST_BYTES, int(available() * SHARE) // of)


@contextlib.contextmanager
def bounded(more_bytes: int) -> Iterator[None]:
    """This process may take so much over what it has; what asks for more gets a MemoryError.

    Only soft limits are set, so that all is as before at the end.
    """
    has = _told("/proc/self/status", ("VmData", "VmSize"))
    undo = []
    for what, name, slack in (
        (resource.RLIMIT_DATA, "VmData", 0),
        (resource.RLIMIT_AS, "VmSize", LIBRARIES_BYTES),
    ):
        soft, hard = resource.getrlimit(what)
        undo.append(partial(resource.setrlimit, what, (soft, hard)))
        if name in has:
            known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
            resource.setrlimit(what, (min(has[name] + more_bytes + slack, *known, _NO_LIMIT), hard))
    try:
        yield
    finally:
        for each in undo:
            each()


def _of_machine() -> int:
    return _told("/proc/meminfo", ("MemAvailable",)).get("MemAvailable", 4 * _UNITS["G"])


def _of_cgroup() -> Iterator[int]:
    """What each limit above this process leaves; what is cached of files counts as free."""
    root = Path("/sys/fs/cgroup")
    for name, most, used, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _above(root / name, "memory" if name else ""):
            limit, usage = _number(folder / most), _number(folder / used)
            if limit is not None and usage is not None and limit < _NO_LIMIT:
                yield max(limit - usage + _stat(folder / "memory.stat", cached), 0)


def _above(root: Path, controller: str) -> Iterator[Path]:
    """The folders of our group and of all groups above it."""
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if (controller in controllers.split(",")) if controller else not controllers:
            own = root / path.strip("/")
            yield from (
                folder for folder in (own, *own.parents) if root in (folder, *folder.parents)
            )


def _stat(path: Path, name: str) -> int:
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    told = "".join(_lines(path))
    return int(told) if told.isdigit() else None


def _told(path: str, names: tuple[str, ...]) -> dict[str, int]:
    """Bytes, of lines like `VmData:    1234 kB`."""
    found = {}
    for line in _lines(path):
        name, _, value = line.partition(":")
        if name in names:
            found[name] = int(value.split()[0]) << 10
    return found


def _lines(path: Path | str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
