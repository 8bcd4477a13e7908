"""What a simulated disk does wrong beside losing power. All off by default, switched at run time.

| fault | what the node sees | counted as |
|---|---|---|
| `eio` | EIO; nothing was done. An fsync of a file fails as below | `eio` |
| `fsync_fails` | EIO from fsync; what it was to store is gone at power-off | `fsync-failed` |
| `full_after` | ENOSPC; the part of the write that had room is there | `enospc` |
| `slow_fsync` | fsync takes that much longer | `slow-fsync` |
| `bit_rot`, `cut_tail`, `roll_back` | other content than was stored | the same names |

The counts are the probe of effect: a fault that was switched on and never struck did nothing.

Draws are keyed by (fault, operation, path, ordinal of that operation on that path while the fault
was on), so that what is done to one file changes nothing for another.

An fsync takes time on a disk in good order, too (`Pace`): a power failure must be able to come
between a write and its fsync, and between an fsync's begin and its end.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Protocol

from harness.sim.content import Content, resize

OPERATIONS = frozenset({"read", "write", "truncate", "fsync", "names", "fsync_dir"})
"""What EIO can strike. `names` is everything done to directories except syncing them."""

Paths = Callable[[str], bool]


class Draws(Protocol):
    """Chance by name: the same names give a generator in the same state.

    For a host of a run: `partial(harness.seeds.stream, seed, "disk", host)`.
    """

    def __call__(self, *names: object) -> Random: ...


def everywhere(path: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an fsync takes on a disk in good order.

    Half of them take less than four times `least_s`, one in n takes more than n² times it, and none
    more than `most_s`: a fast disk that often enough has something else to do. What is stored
    counts beside that.
    """

    least_s: float = 0.000_1
    most_s: float = 0.005
    bytes_per_s: float = 500e6

    def of(self, rng: Random, size: int) -> float:
        return min(self.least_s / (1 - rng.random()) ** 2, self.most_s) + size / self.bytes_per_s


INSTANT = Pace(0.0, 0.0, float("inf"))
"""For those who look at a disk without a world's clock."""


@dataclass(frozen=True, slots=True)
class _Chance:
    """A fault that strikes with a probability at some operations on some paths."""

    probability: float
    paths: Paths
    operations: Collection[str]


class DiskFaults:
    """The switches of one disk.

    Attributes:
        on: whether operations must ask. acted: how often each fault struck.
        limit: how many bytes all files together may have, None while there is room for all.
    """

    def __init__(self, draws: Draws, used: Callable[[], int], pace: Pace) -> None:
        self.on = False
        self.acted: Counter[str] = Counter()
        self._before: Counter[str] = Counter()  # what had struck when they were switched on
        self.limit: int | None = None
        self._draws, self._count_used = draws, used
        self._used: int | None = None
        self._eio: _Chance | None = None
        self._fsync: _Chance | None = None
        self._slow_s = 0.0
        self._ordinals: Counter[tuple[object, ...]] = Counter()
        self._pace = pace
        self._paces: dict[str, Random] = {}

    # -- switches ----------------------------------------------------------------------------

    def eio(
        self,
        probability: float = 1.0,
        paths: Paths = everywhere,
        operations: Collection[str] = OPERATIONS,
    ) -> None:
        unknown = set(operations) - OPERATIONS
        if unknown:
            raise ValueError(
                f"no such operations: {sorted(unknown)}; there are {sorted(OPERATIONS)}"
            )
        self._eio = _Chance(probability, paths, frozenset(operations))
        self._turn_on()

    def fsync_fails(self, probability: float = 1.0, paths: Paths = everywhere) -> None:
        """Files only. Later fsyncs through another handle may succeed, and prove nothing."""
        self._fsync = _Chance(probability, paths, ("fsync",))
        self._turn_on()

    def full_after(self, size: int) -> None:
        """There is room for so many bytes more. Removing and truncating files makes room."""
        self._used = self._count_used()
        self.limit = self._used + size
        self._turn_on()

    def slow_fsync(self, seconds: float) -> None:
        self._slow_s = seconds
        self._turn_on()

    def heal(self) -> dict[str, int]:
        """All of them off. What was lost or rotted stays so.

        Returns how often each struck since the first of them was switched on.
        """
        struck = self.acted - self._before if self.on else Counter()
        self._eio = self._fsync = self.limit = self._used = None
        self._slow_s, self.on = 0.0, False
        return dict(struck)

    def _turn_on(self) -> None:
        if not self.on:
            self._before = self.acted.copy()
        self.on = True

    # -- what operations ask -----------------------------------------------------------------

    def strike(self, operation: str, path: str) -> None:
        """Raises OSError (EIO) if a fault strikes this operation."""
        if self._strikes("eio", self._eio, operation, path):
            raise _error(errno.EIO, path)
        if self._strikes("fsync-failed", self._fsync, operation, path):
            raise _error(errno.EIO, path)

    def delay_s(self, path: str, size: int = 0) -> float:
        """How long an fsync takes that stores about `size` bytes.

        One draw each, from a generator of the path's own.
        """
        rng = self._paces.get(path)
        if rng is None:
            rng = self._paces[path] = self._draws("pace", path)
        if self._slow_s:
            self.acted["slow-fsync"] += 1
        return self._slow_s + self._pace.of(rng, size)

    def room(self, size: int, end: int) -> int:
        """Where a file of `size` bytes must end that shall grow to `end`."""
        if self.limit is None or end <= size:
            return end
        if self._used is None:
            self._used = self._count_used()
        granted = max(size, min(end, size + self.limit - self._used))
        self._used += granted - size
        if granted < end:
            self.acted["enospc"] += 1
        return granted

    def shrunk(self) -> None:
        """Files were removed, renamed or truncated: there may be room again."""
        self._used = None

    def rng(self, *names: object) -> Random:
        """The next generator of these names."""
        ordinal = self._ordinals[names]
        self._ordinals[names] += 1
        return self._draws(*names, ordinal)

    def _strikes(self, fault: str, chance: _Chance | None, operation: str, path: str) -> bool:
        if chance is None or operation not in chance.operations or not chance.paths(path):
            return False
        struck = self.rng(fault, operation, path).random() < chance.probability
        self.acted[fault] += struck
        return struck


def flip(file: Content, rng: Random, bits: int) -> list[list[int]]:
    """Flip bits on the medium. Returns where: [byte, bit], in the order of the draws."""
    medium = file.durable()
    if not medium:
        return []
    every = range(len(medium) * 8)
    flipped = [[n // 8, n % 8] for n in rng.sample(every, min(bits, len(every)))]
    for byte, bit in flipped:
        medium[byte] ^= 1 << bit
    file.rot(medium)
    return flipped


def cut(file: Content, size: int) -> int:
    """Take the last bytes from the medium. Returns how many there were to take."""
    medium = file.durable()
    taken = min(size, len(medium))
    resize(medium, len(medium) - taken)
    file.rot(medium)
    return taken


def roll_back(file: Content, older: bytes, rng: Random, size: int) -> list[int] | None:
    """Put one aligned chunk of `older` back on the medium, one that differs.

    Returns where: [offset, bytes]; None if no chunk that both have differs.
    """
    medium = file.durable()
    common = min(len(older), len(medium))
    chunks = {at: older[at : min(at + size, common)] for at in range(0, common, size)}
    differs = [at for at, old in chunks.items() if medium[at : at + len(old)] != old]
    if not differs:
        return None
    at = rng.choice(differs)
    medium[at : at + len(chunks[at])] = chunks[at]
    file.rot(medium)
    return [at, len(chunks[at])]


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
