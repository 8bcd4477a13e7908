"""Whatever was done to a simulated disk, a power failure leaves what a real disk might have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from harness import seeds
from harness.sim import power_loss
from harness.sim.content import Content
from harness.sim.disk import SimDisk
from harness.sim.disk_faults import INSTANT
from harness.sim.power_loss import Geometry
from tests.host.running import run
from tests.sim.disk_model import PAGE, SECTOR, ModelDisk, ModelFile, Place

GEOMETRY = Geometry(PAGE, SECTOR)
FOLDERS = ["d", "e"]
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["a", "b"]))
OFFSETS = st.integers(0, 40)
BYTES = st.binary(min_size=1, max_size=20)
Change = tuple[int, bytes | None]
CHANGES = st.lists(st.tuples(OFFSETS, BYTES | st.none()), min_size=1, max_size=8)


def changed(start: bytes, changes: list[Change]) -> tuple[Content, ModelFile]:
    """A file and its model that hold `start`, durably, and then were changed."""
    content, model = Content(), ModelFile(start)
    if start:
        content.write(0, start)
        content.sync(content.mark())
    for offset, data in changes:
        if data is None:
            content.truncate(offset)
            model.truncate(offset)
        else:
            content.write(offset, data)
            model.write(offset, data)
    return content, model


def left_of(content: Content, seed: int) -> tuple[bytes, power_loss.Outcome]:
    outcome = power_loss.choose(Random(seed), content.changes, GEOMETRY)
    left = power_loss.survive(content.durable(), content.changes, outcome, GEOMETRY)
    return bytes(left), outcome


# -- one file -----------------------------------------------------------------------------------


@settings(max_examples=600, deadline=None)
@given(start=st.binary(max_size=40), changes=CHANGES, seed=st.integers(0, 2**32))
def test_a_file_comes_out_as_a_real_disk_might_leave_it(
    start: bytes, changes: list[Change], seed: int
) -> None:
    content, model = changed(start, changes)
    content._check()
    left, outcome = left_of(content, seed)
    assert model.may_be(left), (left, outcome)


def test_every_way_to_come_out_occurs() -> None:
    content, model = changed(b"-" * 30, [(n * 5, b"%02d345" % n) for n in range(10)])
    outcomes = [left_of(content, seed) for seed in range(300)]
    policies = Counter(outcome.policy for _, outcome in outcomes)
    assert set(policies) == set(power_loss.POLICIES) and min(policies.values()) > 30
    assert len({left for left, _ in outcomes}) > 60
    assert {model.images[0], model.seen} < {left for left, _ in outcomes}
    torn = [left for left, outcome in outcomes if outcome.torn is not None]
    assert len(torn) > 10
    assert any(left[30:].strip(b"\0") == b"" and len(left) > 30 for left, _ in outcomes), (
        "a size without its content"
    )


def test_pages_written_out_of_order_leave_a_hole_before_what_is_kept() -> None:
    content, _ = changed(b"", [(0, b"a" * PAGE), (PAGE, b"b" * PAGE)])
    hole = bytes(PAGE) + b"b" * PAGE
    assert hole in {left_of(content, seed)[0] for seed in range(200)}


@pytest.mark.parametrize(
    ("left", "why"),
    [
        (b"x" * 8 + b"-" * 8, "never written"),
        (b"-" * 15, "a size it never had"),
        (b"\0" * 8 + b"-" * 8, "durable content is gone"),
        (b"a-a-a-a-b-b-b-b-", "sectors are torn within"),
        (b"aa--aa--bb--bb--", "two pages are torn"),
    ],
)
def test_the_model_refuses(left: bytes, why: str) -> None:
    model = ModelFile(b"-" * 16)
    model.write(0, b"a" * 8)
    model.write(8, b"b" * 8)
    assert not model.may_be(left), why
    assert model.may_be(b"aa--aa--" + b"b" * 8)


def test_what_a_kept_truncation_cut_off_does_not_come_back() -> None:
    model = ModelFile(b"-" * 16)
    model.truncate(0)
    model.write(15, b"x")
    assert model.may_be(bytes(15) + b"x") and model.may_be(bytes(16)) and model.may_be(b"-" * 16)
    assert not model.may_be(b"-" * 8 + bytes(7) + b"x")


def test_a_torn_page_shows_nothing_from_before_a_truncation_that_is_kept() -> None:
    content, model = changed(b"-" * PAGE, [(0, None), (0, b"a" * PAGE), (0, b"b" * PAGE)])
    lefts = {left_of(content, seed)[0] for seed in range(500)}
    assert all(model.may_be(left) for left in lefts)
    assert any(b"b" in left and b"\0" in left for left in lefts), "it is torn now and then"


# -- a disk -------------------------------------------------------------------------------------


class PowerMachine(RuleBasedStateMachine):
    """Any sequence of operations in two directories, on a disk and on its model."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.machine = SimDisk(partial(seeds.stream, seed), geometry=GEOMETRY, pace=INSTANT)
        self.disk = self.machine.mount()
        self.model = ModelDisk(FOLDERS)
        for folder in FOLDERS:
            self.disk.mkdir(folder)
        run(self.disk.fsync_dir())

    def opened(self, place: Place) -> tuple[Any, ModelFile]:
        if place not in self.model.seen:
            self.model.move(None, place, ModelFile())
        return self.disk.open("/".join(place), create=True), self.model.seen[place]

    @rule(place=PLACES, offset=OFFSETS, data=BYTES)
    def write(self, place: Place, offset: int, data: bytes) -> None:
        file, model = self.opened(place)
        file.write_at(offset, data)
        model.write(offset, data)

    @rule(place=PLACES, size=OFFSETS)
    def truncate(self, place: Place, size: int) -> None:
        file, model = self.opened(place)
        file.truncate(size)
        model.truncate(size)

    @rule(place=PLACES)
    def fsync(self, place: Place) -> None:
        file, model = self.opened(place)
        run(file.fsync())
        model.fsync()

    @rule(folder=st.sampled_from(FOLDERS))
    def fsync_dir(self, folder: str) -> None:
        run(self.disk.fsync_dir(folder))
        self.model.fsync_dir(folder)

    @rule(place=PLACES)
    def remove(self, place: Place) -> None:
        if (model := self.model.seen.get(place)) is not None:
            self.disk.remove("/".join(place))
            self.model.move(place, None, model)

    @rule(old=PLACES, new=PLACES)
    def rename(self, old: Place, new: Place) -> None:
        if old != new and (model := self.model.seen.get(old)) is not None:
            self.disk.rename("/".join(old), "/".join(new))
            self.model.move(old, new, model)

    @rule(place=PLACES, data=BYTES)
    def replace(self, place: Place, data: bytes) -> None:
        run(self.disk.replace("/".join(place), data))
        aside, file = (place[0], f"{place[1]}.tmp"), ModelFile(data)
        self.model.move(None, aside, file)
        self.model.move(aside, place, file)
        self.model.fsync_dir(place[0])

    @rule()
    def kill(self) -> None:
        self.machine.kill()
        self.disk = self.machine.mount()

    @precondition(lambda self: len(self.model.moves) < 12)  # else trying all cuts takes too long
    @rule(harshest=st.booleans())
    def power_off(self, harshest: bool) -> None:
        durable = {place: file.images[0] for place, file in self.model.durable.items()}
        told = self.machine.power_off(harshest=harshest)
        self.disk = self.machine.mount()
        left = self.left()
        assert self.model.settle(left), (left, told)
        if harshest:
            assert left == durable

    @invariant()
    def reads_agree(self) -> None:
        self.machine._check()
        assert self.left() == {place: file.seen for place, file in self.model.seen.items()}

    def left(self) -> dict[Place, bytes]:
        return {
            (folder, name): self.disk.read(f"{folder}/{name}")
            for folder in FOLDERS
            for name in self.disk.listdir(folder)
        }


PowerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestAnySequenceAndPowerFailures = PowerMachine.TestCase


def test_the_model_refuses_half_a_rename() -> None:
    model, file = ModelDisk(FOLDERS, {("d", "a"): ModelFile(b"x")}), ModelFile(b"x")
    model.move(("d", "a"), ("e", "a"), file)
    assert not model.settle({("d", "a"): b"x", ("e", "a"): b"x"})
    assert not model.settle({})
    assert model.settle({("e", "a"): b"x"})


def test_a_rename_between_directories_takes_with_it_what_came_before_in_both() -> None:
    left = [after_a_rename(seed) for seed in range(200)]
    assert {names for names, legal in left if not legal} == set()
    assert {names for names, _ in left} == {
        (("d/a",), ()),
        (("d/a",), ("e/b",)),
        ((), ("e/a", "e/b")),
    }


def after_a_rename(seed: int) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], bool]:
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    disk, model = machine.mount(), ModelDisk(FOLDERS)
    for folder in FOLDERS:
        disk.mkdir(folder)
    run(disk.fsync_dir())
    run(disk.replace("d/a", b"x"))
    model.durable["d", "a"] = ModelFile(b"x")
    disk.open("e/b", create=True)
    model.move(None, ("e", "b"), ModelFile())
    disk.rename("d/a", "e/a")
    model.move(("d", "a"), ("e", "a"), model.seen["d", "a"])
    machine.power_off()
    disk = machine.mount()
    names = [tuple(f"{folder}/{name}" for name in disk.listdir(folder)) for folder in FOLDERS]
    left = {(path[0], path[2:]): disk.read(path) for paths in names for path in paths}
    return (names[0], names[1]), model.settle(left)


# -- directories --------------------------------------------------------------------------------


def outcomes(act: Callable[[Any], None], seeds_: range = range(100)) -> set[tuple[str, ...]]:
    """All files and empty folders that may be there when the power went after `act`."""
    found = set()
    for seed in seeds_:
        machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
        act(machine.mount())
        machine._check()
        machine.power_off()
        machine._check()
        found.add(tuple(tree(machine.mount(), ".")))
    return found


def tree(disk: Any, path: str) -> list[str]:
    if not disk.is_dir(path):
        return [path]
    inside = [tree(disk, f"{path}/{name}") for name in disk.listdir(path)]
    return [each.removeprefix("./") for some in inside for each in some] or [f"{path}/"]


def test_a_folder_whose_parent_was_not_synced_may_be_gone_with_all_that_is_in_it() -> None:
    def act(disk: Any) -> None:
        disk.mkdir("d/e")
        run(disk.replace("d/e/f", b"abc"))

    assert outcomes(act) == {("./",), ("d/",), ("d/e/f",)}


def test_a_folder_is_there_for_good_when_its_parents_were_synced() -> None:
    def act(disk: Any) -> None:
        disk.mkdir("d/e")
        run(disk.replace("d/e/f", b"abc"))
        run(disk.fsync_dir("d"))
        run(disk.fsync_dir("."))

    assert outcomes(act) == {("d/e/f",)}


def test_a_rename_of_a_folder_happened_or_did_not() -> None:
    def act(disk: Any) -> None:
        disk.mkdir("d")
        run(disk.replace("d/f", b"abc"))
        run(disk.fsync_dir("."))
        disk.rename("d", "g")

    assert outcomes(act) == {("d/f",), ("g/f",)}


def test_a_removed_folder_may_be_back_with_some_of_what_was_in_it() -> None:
    def act(disk: Any) -> None:
        disk.mkdir("d")
        run(disk.replace("d/a", b""))
        run(disk.replace("d/b", b""))
        run(disk.fsync_dir("."))
        disk.rmtree("d")

    assert outcomes(act) == {("d/a", "d/b"), ("d/b",), ("d/",), ("./",)}


@pytest.mark.parametrize("synced", [".", "to", "d", None])
def test_what_was_moved_out_of_a_folder_outlives_its_removal(synced: str | None) -> None:
    def act(disk: Any) -> None:
        disk.mkdir("d")
        disk.mkdir("to")
        run(disk.replace("d/f", b"abc"))
        run(disk.fsync_dir("."))
        disk.rename("d/f", "to/f")
        if synced != "d":
            disk.rmtree("d")
        if synced is not None:
            run(disk.fsync_dir(synced))

    expected = {
        ".": {("to/f",)},
        "to": {("d/", "to/f"), ("to/f",)},
        "d": {("d/", "to/f")},
        None: {("d/f", "to/"), ("d/", "to/f"), ("to/f",)},
    }
    assert {tuple(p.removeprefix("./") for p in names) for names in outcomes(act)} == expected[
        synced
    ]


def test_a_folder_that_moves_into_another_is_in_one_of_them() -> None:
    def act(disk: Any) -> None:
        disk.mkdir("a")
        disk.mkdir("b/c")
        run(disk.replace("a/f", b"abc"))
        disk.rename("a", "b/c/a")  # which makes everything before it durable
        disk.rename("b/c/a", "a")
        disk.rename("a", "b/a")

    assert {tuple(p.removeprefix("./") for p in names) for names in outcomes(act)} == {
        ("a/f", "b/c/"),
        ("b/a/f", "b/c/"),
    }


@pytest.mark.parametrize("seed", range(10))
def test_a_folder_does_not_overtake_the_file_that_had_its_name(seed: int) -> None:
    machine = SimDisk(partial(seeds.stream, seed), pace=INSTANT)
    disk = machine.mount()
    run(disk.replace("x", b"abc"))
    disk.remove("x")
    disk.mkdir("x")
    run(disk.fsync_dir())
    assert disk.is_dir("x")
    machine.power_off()
    assert machine.mount().is_dir("x")
