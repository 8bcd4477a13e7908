"""One conformance suite over all disks: what `harness.host.contract` pins."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from harness.host.real import RealDisk
from harness.host.volatile import VolatileDisk
from tests.host.disks import ModelDisk, ModelFile, Powered, PoweredSim, PoweredVolatile, QuickDisk
from tests.host.running import run

KINDS = ["real", "volatile", "sim"]
POWERED = ["volatile", "sim"]
"""The disks whose power can fail in a test: un-synced writes are in this process."""

NAMES = st.sampled_from(["a", "b", "c"])
FOLDERS = st.sampled_from(["", "a", "b", "a/a", "a/b"])
BYTES = st.binary(max_size=40)
Handle = tuple[Any, ModelFile, int]
"""An open file, its model, and how many power failures there were before it was opened."""


def make(kind: str, below: RealDisk) -> Powered:
    return PoweredSim() if kind == "sim" else PoweredVolatile(below)


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    below = RealDisk(tmp_path)
    return below if request.param == "real" else make(request.param, below).disk


def written(disk: Any, path: str, data: bytes) -> Any:
    file = disk.open(path, create=True)
    file.write_at(0, data)
    return file


# -- files --------------------------------------------------------------------------------------


def test_a_read_is_shorter_only_at_the_end(disk: Any) -> None:
    file = written(disk, "f", b"0123456789")
    assert file.read_at(2, 3) == b"234"
    assert file.read_at(8, 100) == b"89"
    assert file.read_at(10, 1) == file.read_at(99, 1) == b""


def test_a_write_past_the_end_leaves_zeros_before_it(disk: Any) -> None:
    file = written(disk, "f", b"ab")
    file.write_at(5, memoryview(b"xyz")[1:])
    assert disk.read("f") == b"ab\0\0\0yz"
    assert file.size() == 7


def test_truncate_cuts_and_extends(disk: Any) -> None:
    file = written(disk, "f", b"abcdef")
    file.truncate(2)
    file.truncate(4)
    assert disk.read("f") == b"ab\0\0"


def test_files_open_twice_show_each_others_writes(disk: Any) -> None:
    one, two = written(disk, "f", b"abc"), disk.open("f")
    two.write_at(1, b"X")
    assert one.read_at(0, 3) == b"aXc"


def test_opening_what_is_not_there_is_an_error_unless_it_is_created(disk: Any) -> None:
    with pytest.raises(FileNotFoundError):
        disk.open("f")
    with pytest.raises(FileNotFoundError):
        disk.read("f")
    with pytest.raises(FileNotFoundError):
        disk.open("no-folder/f", create=True)
    assert disk.open("f", create=True).size() == 0
    assert disk.exists("f") and not disk.is_dir("f")


def test_a_closed_file_is_closed(disk: Any) -> None:
    file = written(disk, "f", b"abc")
    file.close()
    file.close()
    with pytest.raises(OSError):
        file.read_at(0, 1)
    with pytest.raises(OSError):
        file.write_at(0, b"x")
    assert disk.read("f") == b"abc"


async def test_an_fsync_outlives_the_closing_of_its_file(disk: Any) -> None:
    file = written(disk, "f", b"abc")
    syncing = file.fsync()
    syncing.send(None)  # it is under way now
    file.close()
    syncing.close()
    assert disk.read("f") == b"abc"


# -- names --------------------------------------------------------------------------------------


def test_a_rename_replaces_and_open_files_stay_what_they_were(disk: Any) -> None:
    old, new = written(disk, "old", b"old"), written(disk, "new", b"new")
    disk.rename("new", "old")
    assert disk.read("old") == b"new"
    assert not disk.exists("new")
    assert (old.read_at(0, 9), new.read_at(0, 9)) == (b"old", b"new")
    with pytest.raises(FileNotFoundError):
        disk.rename("new", "old")


def test_a_removed_file_stays_readable_where_it_is_open(disk: Any) -> None:
    file = written(disk, "f", b"abc")
    disk.remove("f")
    assert not disk.exists("f")
    assert file.read_at(0, 9) == b"abc"
    with pytest.raises(FileNotFoundError):
        disk.remove("f")
    assert disk.open("f", create=True).size() == 0


def test_names_are_listed_in_order_with_folders(disk: Any) -> None:
    disk.mkdir("z/y")
    disk.mkdir("z/y")
    for name in ("b", "a", "z/y/f"):
        written(disk, name, b"")
    assert disk.listdir() == ["a", "b", "z"]
    assert disk.listdir("z") == ["y"]
    assert disk.listdir("z/y") == ["f"]
    assert disk.is_dir("z") and disk.exists("z")
    with pytest.raises(IsADirectoryError):
        disk.open("z")


def test_a_folder_is_renamed_and_removed_with_all_that_is_in_it(disk: Any) -> None:
    disk.mkdir("d/e")
    file = written(disk, "d/e/f", b"abc")
    run(file.fsync())
    disk.rename("d", "g")
    assert not disk.exists("d/e/f")
    file.write_at(1, b"X")
    run(file.fsync())
    run(disk.fsync_dir("g/e"))
    assert disk.read("g/e/f") == b"aXc"
    disk.rmtree("g")
    assert disk.listdir() == []
    assert file.read_at(0, 9) == b"aXc"


async def test_replace_is_all_or_nothing(disk: Any) -> None:
    await disk.replace("f", b"one")
    await disk.replace("f", b"three")
    assert disk.read("f") == b"three"
    assert disk.listdir() == ["f"]


async def test_a_folder_that_is_not_there_cannot_be_synced(disk: Any) -> None:
    with pytest.raises(FileNotFoundError):
        await disk.fsync_dir("nowhere")


# -- power failures -----------------------------------------------------------------------------


@pytest.fixture(params=POWERED)
def powered(request: pytest.FixtureRequest, tmp_path: Path) -> Powered:
    return make(request.param, RealDisk(tmp_path))


async def test_what_was_not_synced_is_gone_after_a_power_failure(powered: Powered) -> None:
    file = written(powered.disk, "f", b"abc")
    await file.fsync()
    await powered.disk.fsync_dir()
    file.write_at(3, b"def")
    assert powered.disk.read("f") == b"abcdef"
    assert powered.power_off().read("f") == b"abc"


async def test_a_synced_file_without_a_synced_name_is_gone(powered: Powered) -> None:
    await written(powered.disk, "f", b"abc").fsync()
    assert powered.power_off().listdir() == []


async def test_a_synced_name_without_synced_content_is_an_empty_file(powered: Powered) -> None:
    written(powered.disk, "f", b"abc")
    await powered.disk.fsync_dir()
    assert powered.power_off().read("f") == b""


async def test_a_removal_that_was_not_synced_did_not_happen(powered: Powered) -> None:
    await powered.disk.replace("f", b"abc")
    powered.disk.remove("f")
    assert powered.power_off().read("f") == b"abc"
    powered.disk.remove("f")
    await powered.disk.fsync_dir()
    assert powered.power_off().listdir() == []


async def test_a_folder_that_was_not_synced_is_gone_with_all_that_is_in_it(
    powered: Powered,
) -> None:
    powered.disk.mkdir("d/e")
    await powered.disk.replace("d/e/f", b"abc")
    await powered.disk.fsync_dir("d")
    assert powered.disk.read("d/e/f") == b"abc"
    assert powered.power_off().listdir() == []


async def test_a_folder_is_there_for_good_once_all_above_it_are_synced(powered: Powered) -> None:
    powered.disk.mkdir("d/e")
    await powered.disk.replace("d/e/f", b"abc")
    await powered.disk.fsync_dir("d")
    await powered.disk.fsync_dir()
    assert powered.power_off().read("d/e/f") == b"abc"


async def test_a_rename_of_a_folder_that_was_not_synced_did_not_happen(powered: Powered) -> None:
    powered.disk.mkdir("d")
    await powered.disk.fsync_dir()
    await powered.disk.replace("d/f", b"abc")
    powered.disk.rename("d", "g")
    await powered.disk.replace("g/h", b"new")
    disk = powered.power_off()
    assert (disk.listdir(), disk.listdir("d")) == (["d"], ["f", "h"])
    disk.rename("d", "g")
    await disk.fsync_dir()
    assert powered.power_off().read("g/f") == b"abc"


async def test_a_removal_of_a_folder_that_was_not_synced_did_not_happen(powered: Powered) -> None:
    powered.disk.mkdir("d/e")
    await powered.disk.fsync_dir("d")
    await powered.disk.fsync_dir()
    await powered.disk.replace("d/e/f", b"abc")
    file = powered.disk.open("d/e/f")
    powered.disk.rmtree("d")
    assert powered.disk.listdir() == []
    disk = powered.power_off()
    assert disk.read("d/e/f") == b"abc"
    file = disk.open("d/e/f")
    disk.rmtree("d")
    await disk.fsync_dir()
    assert file.read_at(0, 9) == b"abc"
    assert powered.power_off().listdir() == []


async def test_a_folder_that_is_made_anew_shows_nothing_of_the_one_before(powered: Powered) -> None:
    powered.disk.mkdir("d")
    await powered.disk.replace("d/old", b"abc")
    await powered.disk.fsync_dir()
    powered.disk.rmtree("d")
    powered.disk.mkdir("d")
    await powered.disk.replace("d/new", b"xyz")
    assert powered.disk.listdir("d") == ["new"]
    await powered.disk.fsync_dir()
    assert powered.power_off().listdir("d") == ["new"]


async def test_an_fsync_keeps_what_was_written_before_it_began(powered: Powered) -> None:
    await powered.disk.replace("f", b"")
    file = powered.disk.open("f")
    await write_while_syncing(file)
    assert powered.power_off().read("f") == b"one"


async def test_what_was_written_during_an_fsync_is_kept_by_the_next(powered: Powered) -> None:
    await powered.disk.replace("f", b"")
    file = powered.disk.open("f")
    await write_while_syncing(file)
    await file.fsync()
    assert powered.power_off().read("f") == b"onetwo"


async def write_while_syncing(file: Any) -> None:
    file.write_at(0, b"one")
    syncing = file.fsync()
    waiting_for = syncing.send(None)  # a future, or nothing: then the next turn will do
    file.write_at(3, b"two")
    while waiting_for is not None and not waiting_for.done():
        await run_once()
    with pytest.raises(StopIteration):
        syncing.send(None)


async def test_after_an_fsync_that_failed_none_succeeds(tmp_path: Path) -> None:
    volatile = VolatileDisk(RealDisk(tmp_path))
    await volatile.replace("d", b"")
    file = volatile.open("d")
    file.write_at(0, b"abc")
    volatile.below.remove("d")
    volatile.below.mkdir("d")  # what cannot be opened as a file below fails there
    with pytest.raises(OSError) as first:
        await file.fsync()
    volatile.below.rmtree("d")
    with pytest.raises(OSError) as second:
        await file.fsync()
    assert second.value is first.value


async def run_once() -> None:
    await asyncio.sleep(0)


# -- any sequence -------------------------------------------------------------------------------


class DiskMachine(RuleBasedStateMachine):
    """Any sequence of operations on one folder, on a disk and on its oracle."""

    kind = "real"
    files: Bundle[Handle] = Bundle("files")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        below = QuickDisk(Path(self.folder.name))
        self.powered = None if self.kind == "real" else make(self.kind, below)
        self.disk: Any = below if self.powered is None else self.powered.disk
        self.model = ModelDisk()
        self.era = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(target=files, name=NAMES)
    def open(self, name: str) -> Handle:
        model = self.model.names.setdefault(name, ModelFile())
        return self.disk.open(name, create=True), model, self.era

    @rule(file=files, offset=st.integers(0, 60), data=BYTES)
    def write(self, file: Handle, offset: int, data: bytes) -> None:
        real, model, era = file
        if era != self.era:
            return
        real.write_at(offset, data)
        if not data:
            return
        if offset > len(model.content):
            model.content.extend(bytes(offset - len(model.content)))
        model.content[offset : offset + len(data)] = data

    @rule(file=files, size=st.integers(0, 60))
    def truncate(self, file: Handle, size: int) -> None:
        real, model, era = file
        if era != self.era:
            return
        real.truncate(size)
        model.content[:] = model.content[:size].ljust(size, b"\0")

    @rule(file=files)
    def fsync(self, file: Handle) -> None:
        real, model, era = file
        if era != self.era:
            return
        run(real.fsync())
        model.durable = bytes(model.content)

    @rule(file=consumes(files))
    def close(self, file: Handle) -> None:
        file[0].close()

    @rule(file=files)
    def read(self, file: Handle) -> None:
        real, model, era = file
        if era == self.era:
            assert real.read_at(0, 1000) == model.content
            assert real.size() == len(model.content)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if self.model.names.pop(name, None) is not None:
            self.disk.remove(name)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if old in self.model.names and old != new:
            self.disk.rename(old, new)
            self.model.names[new] = self.model.names.pop(old)

    @rule()
    def fsync_dir(self) -> None:
        run(self.disk.fsync_dir())
        self.model.fsync_dir()

    @rule(name=NAMES, data=BYTES)
    def replace(self, name: str, data: bytes) -> None:
        run(self.disk.replace(name, data))
        self.model.names[name] = ModelFile(bytearray(data), data)
        self.model.fsync_dir()

    @precondition(lambda self: self.powered is not None)
    @rule()
    def power_off(self) -> None:
        assert self.powered is not None
        self.disk = self.powered.power_off()
        self.model.power_off()
        self.era += 1

    @invariant()
    def names_and_contents_agree(self) -> None:
        assert self.disk.listdir() == sorted(self.model.names)
        for name, model in self.model.names.items():
            assert self.disk.read(name) == model.content


class VolatileMachine(DiskMachine):
    kind = "volatile"


class SimMachine(DiskMachine):
    kind = "sim"

    @invariant()
    def the_disk_is_in_order(self) -> None:
        assert isinstance(self.powered, PoweredSim)
        self.powered.machine._check()


class FolderMachine(RuleBasedStateMachine):
    """Any sequence of operations on folders, on a disk and on nested dictionaries.

    A folder of the model is its names now and its durable ones; a file is its content.
    """

    kind = "volatile"

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.powered = make(self.kind, QuickDisk(Path(self.folder.name)))
        self.root: Any = ({}, {})

    def teardown(self) -> None:
        self.folder.cleanup()

    def at(self, path: str) -> Any:
        node = self.root
        for part in path.split("/") if path else ():
            node = node[0].get(part) if isinstance(node, tuple) else None
        return node

    @rule(folder=FOLDERS, name=NAMES)
    def mkdir(self, folder: str, name: str) -> None:
        if isinstance(self.at(folder), tuple) and name not in self.at(folder)[0]:
            self.powered.disk.mkdir(f"{folder}/{name}".lstrip("/"))
            self.at(folder)[0][name] = ({}, {})

    @rule(folder=FOLDERS, name=NAMES, data=BYTES)
    def replace(self, folder: str, name: str, data: bytes) -> None:
        there = self.at(folder)
        if isinstance(there, tuple) and not isinstance(there[0].get(name), tuple):
            run(self.powered.disk.replace(f"{folder}/{name}".lstrip("/"), data))
            there[0][name] = data
            there[1].clear()
            there[1].update(there[0])

    @rule(folder=FOLDERS, old=NAMES, new=NAMES)
    def rename(self, folder: str, old: str, new: str) -> None:
        there = self.at(folder)
        if isinstance(there, tuple) and old in there[0] and new not in there[0]:
            self.powered.disk.rename(f"{folder}/{old}".lstrip("/"), f"{folder}/{new}".lstrip("/"))
            there[0][new] = there[0].pop(old)

    @rule(folder=FOLDERS, name=NAMES)
    def rmtree(self, folder: str, name: str) -> None:
        there = self.at(folder)
        if isinstance(there, tuple) and isinstance(there[0].get(name), tuple):
            self.powered.disk.rmtree(f"{folder}/{name}".lstrip("/"))
            del there[0][name]

    @rule(folder=FOLDERS)
    def fsync_dir(self, folder: str) -> None:
        there = self.at(folder)
        if isinstance(there, tuple):
            run(self.powered.disk.fsync_dir(folder or "."))
            there[1].clear()
            there[1].update(there[0])

    @rule()
    def power_off(self) -> None:
        self.powered.power_off()
        self.root = _durable(self.root)

    @invariant()
    def all_is_as_in_the_model(self) -> None:
        self.agree("", self.root)

    def agree(self, path: str, node: Any) -> None:
        disk = self.powered.disk
        if not isinstance(node, tuple):
            assert disk.read(path) == node
            return
        assert disk.listdir(path or ".") == sorted(node[0])
        for name, inside in node[0].items():
            self.agree(f"{path}/{name}".lstrip("/"), inside)


def _durable(node: Any) -> Any:
    if not isinstance(node, tuple):
        return node
    left = {name: _durable(inside) for name, inside in node[1].items()}
    return dict(left), dict(left)


class SimFolderMachine(FolderMachine):
    kind = "sim"


DiskMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
for _machine in (VolatileMachine, SimMachine, FolderMachine, SimFolderMachine):
    _machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnySequenceOnTheRealDisk = DiskMachine.TestCase
TestAnySequenceOnTheVolatileDisk = VolatileMachine.TestCase
TestAnySequenceOnTheSimulatedDisk = SimMachine.TestCase
TestAnyFoldersOnTheVolatileDisk = FolderMachine.TestCase
TestAnyFoldersOnTheSimulatedDisk = SimFolderMachine.TestCase
