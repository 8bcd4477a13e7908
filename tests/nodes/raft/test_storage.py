"""What was saved is there after a crash at any moment, and damage is never taken for the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import seeds
from harness.host.real import RealDisk, replace
from harness.host.volatile import VolatileDisk
from harness.sim.disk import SimDisk
from harness.sim.disk_faults import INSTANT
from nodes.raft.frames import find_frame, frame, frame_size
from nodes.raft.log import Snapshot
from nodes.raft.messages import Entry
from nodes.raft.ready import HardState, Ready
from nodes.raft.storage import CorruptState, Storage
from tests.nodes.raft.machines import Disk

State = tuple[HardState, Snapshot, list[Entry]]


class PowerFailure(Exception):
    """The machine goes dark."""


class Fused:
    """A disk, or a file of it, that goes dark with the effect number `fuse`."""

    EFFECTS = frozenset({"write_at", "truncate", "fsync", "rename", "fsync_dir", "remove", "open"})

    def __init__(self, inner: Any, fuse: list[int]) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name not in self.EFFECTS:
            return value

        def burn(*given: Any, **named: Any) -> Any:
            self._fuse[0] -= 1
            if self._fuse[0] < 0:
                raise PowerFailure
            result = value(*given, **named)
            return Fused(result, self._fuse) if name == "open" else result

        return burn

    async def replace(self, path: Any, data: bytes) -> None:
        await replace(self, path, data)


def volatile(root: Path, fuse: int = 10**9) -> Any:
    return Fused(VolatileDisk(RealDisk(root)), [fuse])


async def opened(disk: Any) -> Storage:
    storage = Storage(disk, "raft")
    await storage.open()
    return storage


def state_of(kept: Storage | Disk) -> State:
    return kept.hard_state, kept.snapshot, list(kept.entries)


class Life:
    """A history of saves as a core would ask for them, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng, self._term = Random(seed), 1
        self.model = Disk()

    @property
    def _end(self) -> int:
        model = self.model
        return model.entries[-1].index if model.entries else model.snapshot.index

    def step(self) -> tuple[str, Any]:
        """("save", Ready) or ("compact", Snapshot); the model has it already."""
        if self.model.entries and self._rng.random() < 0.15:
            last = self._rng.choice(self.model.entries)
            snapshot = Snapshot(last.index, last.term, b"state %d" % last.index, last.time_ms)
            self.model.compact(snapshot)
            return "compact", snapshot
        ready = Ready()
        if self._rng.random() < 0.4:
            self._term += self._rng.randrange(1, 3)
            ready.hard_state = HardState(self._term, self._rng.randrange(4))
        if self._rng.random() < 0.1:
            end = self._end + self._rng.randrange(1, 5)
            ready.hard_state = HardState(self._term, 1)
            ready.snapshot = Snapshot(end, self._term, b"sent %d" % end, 7)
            first = end + 1
        elif self.model.entries and self._rng.random() < 0.3:
            first = ready.truncate_from = self._rng.choice(self.model.entries).index
        else:
            first = self._end + 1
        count = self._rng.randrange(4)
        ready.hard_state = ready.hard_state or HardState(self._term, 0)
        ready.entries = [
            Entry(index, self._term, self._rng.randbytes(self._rng.randrange(300)), 7, 3, (1, 2, 1))
            for index in range(first, first + count)
        ]
        self.model.save(ready)
        return "save", ready

    async def apply(self, storage: Storage, step: tuple[str, Any]) -> None:
        kind, what = step
        if kind == "save":
            await storage.save(what)
        else:
            await storage.compact(what, self.model.entries)


async def live(disk: Any, seed: int, steps: int) -> tuple[list[State], int]:
    """The states of which one must be there after power came back, and how many steps were done."""
    life, legal, done = Life(seed), [state_of(Disk())], 0
    try:
        storage = await opened(disk)
        for _ in range(steps):
            before = state_of(life.model)
            step = life.step()
            legal = stages(before, state_of(life.model), step)
            await life.apply(storage, step)
            legal = legal[-1:]
            done += 1
    except PowerFailure:
        pass
    return legal, done


def stages(before: State, after: State, step: tuple[str, Any]) -> list[State]:
    """What a step may leave when it is cut short. It is one write, but for a snapshot sent by the
    leader: there the term comes first, then the snapshot, then what follows it."""
    if step[0] == "save" and step[1].snapshot is not None:
        return [before, (after[0], *before[1:]), (*after[:2], []), after]
    return [before, after]


@pytest.mark.parametrize("seed", range(4))
def test_a_power_failure_at_every_effect_loses_nothing_that_was_saved(
    tmp_path: Path, seed: int
) -> None:
    async def run() -> None:
        for fuse in range(10**6):
            root = tmp_path / str(fuse)
            legal, done = await live(volatile(root, fuse), seed, steps=14)
            storage = await opened(volatile(root))
            assert state_of(storage) in legal, f"after {fuse} effects"
            if done == 14:
                return

    asyncio.run(run())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(0, 25))
def test_a_second_failure_during_recovery_loses_nothing_either(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, second: int
) -> None:
    async def run() -> None:
        root = tmp_path_factory.mktemp("disk")
        legal, _ = await live(volatile(root, first), seed, steps=20)
        with contextlib.suppress(PowerFailure):
            await opened(volatile(root, second))
        storage = await opened(volatile(root))
        assert state_of(storage) in legal

    asyncio.run(run())


async def test_life_goes_on_after_recovery(tmp_path: Path) -> None:
    life = Life(3)
    for _ in range(30):
        storage = await opened(volatile(tmp_path))
        assert state_of(storage) == state_of(life.model)
        await life.apply(storage, life.step())


# -- damage --------------------------------------------------------------------------------------


ENTRIES = [Entry(index, 1, b"command %d" % index) for index in (1, 2, 3)]


async def three_saves(root: Path) -> RealDisk:
    disk = RealDisk(root)
    storage = await opened(disk)
    for entry in ENTRIES:
        await storage.save(Ready(hard_state=HardState(1, 2), entries=[entry]))
    storage.close()
    return disk


def wal(root: Path) -> Path:
    return root / "raft" / "wal"


async def test_a_torn_tail_is_cut_and_never_read_again(tmp_path: Path) -> None:
    disk = await three_saves(tmp_path)
    whole = wal(tmp_path).read_bytes()
    two = whole.rfind(b"RaFt")
    for size in range(two, len(whole)):
        wal(tmp_path).write_bytes(whole[:size])
        storage = await opened(disk)
        assert storage.entries == ENTRIES[:2]
        now = wal(tmp_path).read_bytes()
        found = find_frame(now, 0)
        assert isinstance(found, bytes) and frame_size(found) == len(now), "one whole frame"
        await storage.save(Ready(entries=[Entry(3, 1, b"other")]))
        assert (await opened(disk)).entries[2].command == b"other"


@pytest.mark.parametrize("seed", range(20))
async def test_what_a_failed_fsync_left_in_the_page_cache_is_stored_before_anything_follows(
    seed: int,
) -> None:
    """Seed 594 of an exploration: an fsync failed, the node ended and came back, read from the page
    cache what no later fsync would store, and wrote on behind it. After a power failure there was
    a hole before frames that were whole, and it refused to start."""
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    storage = await opened(machine.mount())
    await storage.save(Ready(entries=ENTRIES[:1]))
    machine.faults.fsync_fails()
    with pytest.raises(OSError):
        await storage.save(Ready(entries=ENTRIES[1:2]))
    machine.faults.heal()
    machine.kill()
    again = await opened(machine.mount())
    assert again.entries == ENTRIES[:2], "the page cache outlives the process"
    await again.save(Ready(entries=ENTRIES[2:]))
    machine.power_off()
    assert (await opened(machine.mount())).entries == ENTRIES


async def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    disk = await three_saves(tmp_path)
    whole = wal(tmp_path).read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        wal(tmp_path).write_bytes(damaged)
        with pytest.raises(CorruptState, match=r"raft/wal is damaged"):
            await opened(disk)


def missing(root: Path) -> None:
    wal(root).unlink()


def flipped(root: Path) -> None:
    path = root / "raft" / "snapshot"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def shortened(root: Path) -> None:
    path = root / "raft" / "snapshot"
    path.write_bytes(path.read_bytes()[:-1])


def longer(root: Path) -> None:
    path = root / "raft" / "snapshot"
    path.write_bytes(path.read_bytes() + b"x")


def forgotten(root: Path) -> None:
    (root / "raft" / "snapshot").unlink()


@pytest.mark.parametrize("damage", [missing, flipped, shortened, longer, forgotten])
async def test_a_snapshot_that_is_not_what_was_written_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    disk = await three_saves(tmp_path)
    storage = await opened(disk)
    await storage.compact(Snapshot(2, 1, b"state"), ENTRIES[2:])
    damage(tmp_path)
    with pytest.raises(CorruptState):
        await opened(disk)


async def test_entries_that_are_out_of_place_are_refused(tmp_path: Path) -> None:
    disk = await three_saves(tmp_path)
    whole = wal(tmp_path).read_bytes()
    second = whole.index(b"RaFt", 1)
    third = whole.index(b"RaFt", second + 1)
    wal(tmp_path).write_bytes(whole[:second] + whole[third:])
    with pytest.raises(CorruptState, match="entry 3 is out of place"):
        await opened(disk)


async def test_a_crash_between_snapshot_and_log_is_made_good(tmp_path: Path) -> None:
    """The snapshot is new, the log is the old one, and what it holds conflicts with it."""
    disk = await three_saves(tmp_path)
    old = wal(tmp_path).read_bytes()
    storage = await opened(disk)
    await storage.save(Ready(snapshot=Snapshot(2, 4, b"state")))
    wal(tmp_path).write_bytes(old)
    storage = await opened(disk)
    assert storage.snapshot == Snapshot(2, 4, b"state") and storage.entries == []
    await storage.save(Ready(entries=[Entry(3, 4, b"new")]))
    assert [entry.command for entry in (await opened(disk)).entries] == [b"new"]


async def test_one_fsync_makes_all_of_a_save_durable(tmp_path: Path) -> None:
    storage = await opened(volatile(tmp_path))
    before = wal(tmp_path).stat().st_size
    await storage.save(Ready(hard_state=HardState(2, 1), entries=ENTRIES))
    grown = wal(tmp_path).stat().st_size - before
    assert grown > 0 and wal(tmp_path).read_bytes().count(b"RaFt") == 1
    await storage.save(Ready())
    assert wal(tmp_path).stat().st_size == before + grown, "nothing is written for nothing"
    assert frame_size(b"") == len(frame(b""))


class Noting(RealDisk):
    """Notes what is done to directories."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.done: list[tuple[str, str]] = []

    def mkdir(self, path: Any) -> None:
        self.done.append(("mkdir", str(path)))
        super().mkdir(path)

    async def fsync_dir(self, path: Any = ".") -> None:
        self.done.append(("fsync_dir", str(path)))
        await super().fsync_dir(path)


async def test_the_folder_itself_outlives_a_power_failure_before_anything_is_in_it(
    tmp_path: Path,
) -> None:
    disk = Noting(tmp_path)
    await Storage(disk, "raft").open()
    assert disk.done[:2] == [("mkdir", "raft"), ("fsync_dir", ".")]
    again = Noting(tmp_path)
    await Storage(again, "raft").open()
    assert ("fsync_dir", ".") in again.done  # the one who made it may have died before that
