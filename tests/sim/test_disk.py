"""The simulated disk beyond its contract: incarnations, faults, rot, and whose chance is whose.

That it is a disk at all, `tests/host/test_disk.py` says; what power failures leave,
`tests/sim/test_power_loss.py`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness import seeds
from harness.host.contract import Disk
from harness.host.real import RealDisk
from harness.sim.disk import Fenced, SimDisk
from harness.sim.disk_faults import INSTANT
from tests.host.running import run
from tests.virtual import virtually

ROOT = Path(__file__).parents[2]


def machine(seed: int = 7) -> SimDisk:
    return SimDisk(partial(seeds.stream, seed, "disk", "n1"), pace=INSTANT)


def written(disk: Any, path: str, data: bytes) -> Any:
    """A file that is there for good."""
    run(disk.replace(path, data))
    return disk.open(path)


@pytest.fixture
def sim() -> SimDisk:
    return machine()


# -- errors -------------------------------------------------------------------------------------

WRONG: dict[str, Callable[[Disk], object]] = {
    "open a folder": lambda d: d.open("d"),
    "open the root": lambda d: d.open("."),
    "open in a file": lambda d: d.open("f/x", create=True),
    "open in nothing": lambda d: d.open("no/x", create=True),
    "list nothing": lambda d: d.listdir("no"),
    "list a file": lambda d: d.listdir("f"),
    "make a folder of a file": lambda d: d.mkdir("f"),
    "make a folder in a file": lambda d: d.mkdir("f/x"),
    "make a folder in a file of its name": lambda d: d.mkdir("f/f"),
    "remove nothing": lambda d: d.remove("no"),
    "remove a folder": lambda d: d.remove("d"),
    "remove a tree of a file": lambda d: d.rmtree("f"),
    "remove no tree": lambda d: d.rmtree("no"),
    "rename nothing": lambda d: d.rename("no", "x"),
    "rename into nothing": lambda d: d.rename("f", "no/x"),
    "rename into a file": lambda d: d.rename("f", "g/x"),
    "rename a file to a folder": lambda d: d.rename("f", "d"),
    "rename a folder to a file": lambda d: d.rename("d", "f"),
    "rename a folder to a full one": lambda d: d.rename("e", "d"),
    "rename a folder into itself": lambda d: d.rename("d", "d/x"),
    "sync nothing": lambda d: run(d.fsync_dir("no")),
    "sync a file as a folder": lambda d: run(d.fsync_dir("f")),
    "read a folder": lambda d: d.read("d"),
    "read before the begin": lambda d: d.open("f").read_at(-1, 1),
    "write before the begin": lambda d: d.open("f").write_at(-1, b"x"),
    "truncate to less than nothing": lambda d: d.open("f").truncate(-1),
}
FINE: dict[str, Callable[[Disk], object]] = {
    "rename a folder to an empty one": lambda d: d.rename("d", "e"),
    "rename a file to itself": lambda d: d.rename("f", "f"),
    "rename a folder to itself": lambda d: d.rename("d", "d"),
    "write nothing beyond the end": lambda d: d.open("f").write_at(99, b""),
    "look into a file": lambda d: (d.exists("f/x"), d.is_dir("f/x")),
    "look at the root": lambda d: (d.exists("."), d.is_dir(""), d.listdir("")),
    "spell a path otherwise": lambda d: d.read("./d//f"),
}


def furnished(disk: Any) -> Disk:
    for folder in ("d", "e"):
        disk.mkdir(folder)
    for name in ("f", "g", "d/f"):
        disk.open(name, create=True).write_at(0, name.encode())
    found: Disk = disk
    return found


def outcome(disk: Disk, act: Callable[[Disk], object]) -> object:
    try:
        told = act(disk)
    except OSError as error:
        return type(error), error.errno
    return told, disk.listdir(), disk.listdir("e"), disk.read("f")


@pytest.mark.parametrize("what", WRONG)
def test_an_error_is_that_of_the_kernel(what: str, sim: SimDisk, tmp_path: Path) -> None:
    expected = outcome(furnished(RealDisk(tmp_path)), WRONG[what])
    assert isinstance(expected, tuple) and isinstance(expected[0], type), "the kernel refuses it"
    assert outcome(furnished(sim.mount()), WRONG[what]) == expected


@pytest.mark.parametrize("what", FINE)
def test_what_the_kernel_allows_is_allowed(what: str, sim: SimDisk, tmp_path: Path) -> None:
    expected = outcome(furnished(RealDisk(tmp_path)), FINE[what])
    assert outcome(furnished(sim.mount()), FINE[what]) == expected


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "d/../../x"])
def test_no_path_leads_out_of_the_disk(sim: SimDisk, path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        sim.mount().exists(path)


# -- incarnations -------------------------------------------------------------------------------


def test_a_kill_keeps_what_was_written(sim: SimDisk) -> None:
    sim.mount().open("f", create=True).write_at(0, b"abc")
    sim.kill()
    assert sim.mount().read("f") == b"abc"


def test_a_disk_has_one_user(sim: SimDisk) -> None:
    sim.mount()
    with pytest.raises(AssertionError, match="in use"):
        sim.mount()


USES: dict[str, Callable[[Any, Any], object]] = {
    "read": lambda d, f: f.read_at(0, 1),
    "write": lambda d, f: f.write_at(0, b"x"),
    "size": lambda d, f: f.size(),
    "truncate": lambda d, f: f.truncate(0),
    "fsync": lambda d, f: run(f.fsync()),
    "open": lambda d, f: d.open("g", create=True),
    "exists": lambda d, f: d.exists("f"),
    "is_dir": lambda d, f: d.is_dir("f"),
    "listdir": lambda d, f: d.listdir(),
    "mkdir": lambda d, f: d.mkdir("d"),
    "remove": lambda d, f: d.remove("f"),
    "rename": lambda d, f: d.rename("f", "g"),
    "rmtree": lambda d, f: d.rmtree("f"),
    "fsync_dir": lambda d, f: run(d.fsync_dir()),
    "read whole": lambda d, f: d.read("f"),
    "replace": lambda d, f: run(d.replace("f", b"x")),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("death", [SimDisk.kill, SimDisk.power_off])
def test_the_dead_can_do_nothing(use: str, death: Callable[[SimDisk], object]) -> None:
    sim = machine()
    dead = sim.mount()
    file = written(dead, "f", b"abc")
    death(sim)
    with pytest.raises(Fenced):
        USES[use](dead, file)
    alive = sim.mount()
    assert (alive.listdir(), alive.read("f")) == (["f"], b"abc")


def test_cleaning_up_ends_in_a_dead_incarnation(sim: SimDisk) -> None:
    """What an honest program does about errors of its disk must not go on for ever."""
    dead = sim.mount()
    tries = 0

    async def serve() -> None:
        nonlocal tries
        file = dead.open("f", create=True)
        try:
            while True:
                try:
                    file.write_at(0, b"x")
                    await file.fsync()
                except Exception:
                    tries += 1  # it logs the error, and tries again
                sim.kill()
        finally:
            file.close()

    with pytest.raises(Fenced):
        run(serve())
    assert tries == 0


async def test_the_loop_outlives_a_task_that_was_fenced(sim: SimDisk) -> None:
    file = sim.mount().open("f", create=True)
    task = asyncio.create_task(file.fsync())
    sim.kill()
    await asyncio.wait([task])
    assert isinstance(task.exception(), Fenced)


async def test_an_fsync_that_death_overtook_stored_nothing(sim: SimDisk) -> None:
    view = sim.mount()
    await view.replace("f", b"")
    file = view.open("f")
    file.write_at(0, b"abc")
    syncing = file.fsync()
    syncing.send(None)
    sim.kill()
    with pytest.raises(Fenced):
        syncing.send(None)
    sim.power_off(harshest=True)
    assert sim.mount().read("f") == b""


async def test_a_sync_of_a_directory_that_death_overtook_stored_nothing(sim: SimDisk) -> None:
    view = sim.mount()
    view.open("f", create=True)
    syncing = view.fsync_dir()
    syncing.send(None)
    sim.kill()
    with pytest.raises(Fenced):
        syncing.send(None)
    sim.power_off(harshest=True)
    assert not sim.mount().exists("f")


async def test_a_sync_of_a_directory_covers_what_came_before_it_began(sim: SimDisk) -> None:
    view = sim.mount()
    view.open("before", create=True)
    syncing = view.fsync_dir()
    syncing.send(None)
    view.open("after", create=True)
    with pytest.raises(StopIteration):
        syncing.send(None)
    sim.power_off(harshest=True)
    assert sim.mount().listdir() == ["before"]


async def test_an_fsync_lets_others_run(sim: SimDisk) -> None:
    file = sim.mount().open("f", create=True)
    ran: list[str] = []

    async def sync() -> None:
        await file.fsync()
        ran.append("synced")

    syncing = asyncio.create_task(sync())
    asyncio.get_running_loop().call_soon(ran.append, "other")
    await syncing
    assert ran == ["other", "synced"]


# -- the time that an fsync takes ---------------------------------------------------------------


def paces(path: str, count: int, sizes: Sequence[int] = (100,), others: int = 0) -> list[float]:
    """How long fsyncs of a file take, one after another; some other file is synced, too."""

    async def measure() -> list[float]:
        view = SimDisk(partial(seeds.stream, 7, "disk", "n1")).mount()
        now = asyncio.get_running_loop().time
        file, other = view.open(path, create=True), view.open("other", create=True)
        took = []
        for n in range(count):
            for _ in range(others):
                await other.fsync()
            file.write_at(file.size(), bytes(sizes[n % len(sizes)]))
            began = now()
            await file.fsync()
            took.append(now() - began)
        return took

    return virtually(measure())


def test_an_fsync_takes_time_and_now_and_then_much() -> None:
    took = sorted(paces("f", 1000))
    assert took[0] >= 0.000_1 and took[-1] <= 0.005_1
    assert took[500] < 0.000_6 and took[900] > 0.004, "a heavy tail"


def test_how_long_an_fsync_takes_is_nothing_to_other_files() -> None:
    assert paces("f", 20) == pytest.approx(paces("f", 20, others=3))
    assert paces("f", 20) != pytest.approx(paces("g", 20))


def test_an_fsync_of_more_takes_longer() -> None:
    small, large = paces("f", 20), paces("f", 20, (100, 50_000_000))
    assert [b - a > 0.09 for a, b in zip(small, large, strict=True)] == [False, True] * 10


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_power_failure_can_come_between_a_write_and_the_end_of_its_fsync(what: str) -> None:
    """Who acknowledges when the fsync begins must be able to lose what it acknowledged."""

    async def play() -> list[bytes]:
        sim = SimDisk(partial(seeds.stream, 7, "disk", "n1"))
        view = sim.mount()
        await view.replace("f", b"")
        view.open("f").write_at(0, b"abc")
        view.rename("f", "g") if what == "folder" else None
        syncing = asyncio.create_task(
            view.fsync_dir() if what == "folder" else view.open("f").fsync()
        )
        await asyncio.sleep(0.000_05)
        sim.power_off(harshest=True)
        await asyncio.wait([syncing])
        return [sim.mount().read("f")]

    assert virtually(play()) == [b""]


# -- faults -------------------------------------------------------------------------------------


def test_eio_strikes_where_it_is_told_to(sim: SimDisk) -> None:
    view = sim.mount()
    bad, good = written(view, "bad", b"abc"), written(view, "good", b"abc")
    sim.faults.eio(paths=lambda path: path == "bad", operations={"read", "write"})
    for act in (lambda: bad.read_at(0, 1), lambda: bad.write_at(0, b"x"), lambda: view.read("bad")):
        with pytest.raises(OSError) as raised:
            act()
        assert raised.value.errno == errno.EIO
    assert good.read_at(0, 9) == b"abc"
    bad.truncate(2)
    assert sim.faults.acted == {"eio": 3}
    sim.faults.heal()
    assert bad.read_at(0, 9) == b"ab"


@pytest.mark.parametrize("operation", ["names", "fsync_dir"])
def test_eio_strikes_directories(sim: SimDisk, operation: str) -> None:
    view = sim.mount()
    view.mkdir("d")
    sim.faults.eio(operations={operation})
    with pytest.raises(OSError):
        view.listdir("d") if operation == "names" else run(view.fsync_dir("d"))
    assert sim.faults.acted == {"eio": 1}


def test_eio_knows_its_operations(sim: SimDisk) -> None:
    with pytest.raises(ValueError, match="no such operations"):
        sim.faults.eio(operations={"reed"})


def test_eio_strikes_as_often_as_it_is_told_to(sim: SimDisk) -> None:
    file = written(sim.mount(), "f", b"abc")
    sim.faults.eio(0.3, operations={"read"})
    struck = sum(strikes(lambda: file.read_at(0, 1)) for _ in range(1000))
    assert 200 < struck < 400 and sim.faults.acted["eio"] == struck


def strikes(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return True
    return False


def test_a_full_disk_takes_what_there_is_room_for(sim: SimDisk) -> None:
    view = sim.mount()
    file = written(view, "f", b"abc")
    sim.faults.full_after(4)
    with pytest.raises(OSError) as raised:
        file.write_at(2, b"123456789")
    assert raised.value.errno == errno.ENOSPC
    assert view.read("f") == b"ab12345"
    file.write_at(0, b"AB")  # what is there may be overwritten
    for act in (lambda: file.truncate(8), lambda: file.write_at(20, b"x")):
        with pytest.raises(OSError):
            act()
    assert view.read("f") == b"AB12345"
    assert sim.faults.acted == {"enospc": 3}


def test_what_struck_is_told_for_each_spell(sim: SimDisk) -> None:
    file = written(sim.mount(), "f", b"abc")
    told = []
    for reads in (2, 0, 1):
        sim.faults.eio(operations={"read"})
        sim.faults.slow_fsync(0.1)
        for _ in range(reads):
            assert strikes(lambda: file.read_at(0, 1))
        told.append(sim.faults.heal())
    assert told == [{"eio": 2}, {}, {"eio": 1}] and sim.faults.heal() == {}
    assert sim.faults.acted["eio"] == 3


@pytest.mark.parametrize("make_room", ["remove", "truncate", "replace"])
def test_what_goes_makes_room(sim: SimDisk, make_room: str) -> None:
    view = sim.mount()
    file, other = written(view, "f", b"abc"), written(view, "other", b"123")
    sim.faults.full_after(0)
    with pytest.raises(OSError):
        file.write_at(3, b"def")
    if make_room == "remove":
        view.remove("other")
    elif make_room == "truncate":
        other.truncate(0)
    else:
        run(view.replace("other", b""))
    file.write_at(3, b"def")
    with pytest.raises(OSError):
        file.write_at(6, b"g")
    assert view.read("f") == b"abcdef"


def test_a_slow_disk_syncs_late(sim: SimDisk) -> None:
    async def took(sync: Callable[[], Any]) -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await sync()
        return loop.time() - begin

    view = sim.mount()
    file = view.open("f", create=True)
    assert virtually(took(file.fsync)) == 0
    sim.faults.slow_fsync(1.5)
    assert virtually(took(file.fsync)) == 1.5
    assert virtually(took(view.fsync_dir)) == 1.5
    assert sim.faults.acted == {"slow-fsync": 2}
    sim.faults.heal()
    assert virtually(took(file.fsync)) == 0


async def test_after_an_fsync_that_failed_none_succeeds(sim: SimDisk) -> None:
    file = sim.mount().open("f", create=True)
    sim.faults.fsync_fails()
    with pytest.raises(OSError) as first:
        await file.fsync()
    sim.faults.heal()
    with pytest.raises(OSError) as second:
        await file.fsync()
    assert second.value is first.value and first.value.errno == errno.EIO
    assert sim.faults.acted == {"fsync-failed": 1}


async def test_what_an_fsync_failed_to_store_is_gone_though_reads_see_it(sim: SimDisk) -> None:
    """A new handle syncs without an error, as the kernel takes the pages for clean."""
    view = sim.mount()
    await view.replace("f", b"abc")
    file = view.open("f")
    file.write_at(3, b"def")
    sim.faults.fsync_fails()
    with pytest.raises(OSError):
        await file.fsync()
    sim.faults.heal()
    again = view.open("f")
    again.write_at(6, b"ghi")
    await again.fsync()
    assert view.read("f") == b"abcdefghi"
    sim._check()
    sim.kill()
    assert sim.mount().read("f") == b"abcdefghi", "the page cache outlives the process"
    told = sim.power_off()
    assert told["files"]["f"]["fsync_failed"]
    assert sim.mount().read("f") == b"abc\0\0\0ghi"


@pytest.mark.parametrize("seed", range(20))
def test_a_failed_fsync_is_over_when_the_power_is_back(seed: int) -> None:
    sim = machine(seed)
    file = written(sim.mount(), "f", b"abc")
    sim.faults.fsync_fails()
    with pytest.raises(OSError):
        run(file.fsync())
    sim.faults.heal()
    file.write_at(0, b"xyz")
    sim.power_off()
    left = sim.mount().read("f")
    sim.power_off()
    assert sim.mount().read("f") == left in (b"abc", b"xyz")


async def test_a_directory_that_failed_to_sync_is_as_it_was(sim: SimDisk) -> None:
    view = sim.mount()
    view.open("f", create=True)
    sim.faults.eio(operations={"fsync_dir"})
    with pytest.raises(OSError):
        await view.fsync_dir()
    sim.power_off(harshest=True)
    assert not sim.mount().exists("f")


# -- rot ----------------------------------------------------------------------------------------


def test_rot_flips_so_many_durable_bits(sim: SimDisk) -> None:
    file = written(sim.mount(), "f", bytes(100))
    file.write_at(100, bytes(100))
    assert sim.bit_rot("f", bits=5)
    data = file.read_at(0, 200)
    assert sum(byte.bit_count() for byte in data) == 5
    assert not any(data[100:]), "what is not on the medium yet cannot rot"
    for byte, bit in sim.journal[-1]["bits"]:
        assert data[byte] >> bit & 1
    sim._check()
    sim.power_off(harshest=True)
    assert sim.mount().read("f") == data[:100]


def test_a_tail_is_cut_from_what_is_durable(sim: SimDisk) -> None:
    file = written(sim.mount(), "f", b"abcdef")
    file.write_at(6, b"ghi")
    assert sim.cut_tail("f", 2)
    assert file.read_at(0, 9) == b"abcd\0\0ghi"
    sim.power_off(harshest=True)
    assert sim.mount().read("f") == b"abcd"


def test_a_chunk_rolls_back_to_what_was_remembered(sim: SimDisk) -> None:
    view = sim.mount()
    file = written(view, "f", b"a" * 12)
    sim.remember("f")
    file.write_at(4, b"b" * 8)
    run(file.fsync())
    assert sim.roll_back("f", size=4)
    assert view.read("f") in (b"aaaaaaaabbbb", b"aaaabbbbaaaa")
    assert sim.roll_back("f", size=4) and view.read("f") == b"a" * 12
    assert not sim.roll_back("f", size=4), "there is nothing to roll back any more"
    assert sim.faults.acted == {"roll-back": 2}


def test_rot_that_finds_nothing_did_not_act(sim: SimDisk) -> None:
    sim.mount().open("f", create=True)
    assert not sim.bit_rot("f") and not sim.cut_tail("f", 5) and not sim.roll_back("f")
    assert not sim.journal and not +sim.faults.acted
    with pytest.raises(FileNotFoundError):
        sim.bit_rot("g")


def test_after_a_failed_fsync_rot_is_seen_when_the_power_is_back(sim: SimDisk) -> None:
    view = sim.mount()
    file = written(view, "f", bytes(4))
    sim.faults.fsync_fails()
    with pytest.raises(OSError):
        run(file.fsync())
    assert sim.bit_rot("f") and not any(view.read("f"))
    sim.power_off()
    assert sum(byte.bit_count() for byte in sim.mount().read("f")) == 1


# -- chance -------------------------------------------------------------------------------------


def eventful(seed: int, *, neighbour: bool) -> tuple[SimDisk, list[object]]:
    """What became of one file in three power failures, with or without another beside it."""
    sim = machine(seed)
    seen: list[object] = []
    run(made(sim))
    for ordinal in range(3):
        view = sim.mount()
        sim.faults.eio(0.5, operations={"read"})
        for n in range(40):
            file = view.open("d/f")
            file.write_at(n * 700, bytes([ordinal + 1]) * 600)
            seen.append(strikes(partial(file.read_at, 0, 1)))
            if neighbour:
                other = view.open(f"{'ce'[n % 2]}/g{n}", create=True)
                other.write_at(0, b"x" * 9000)
                strikes(partial(other.read_at, 0, 1))
        sim.faults.heal()
        seen.append(sim.bit_rot("d/f") and sim.journal[-1])
        if neighbour:
            sim.bit_rot("c/g0")
        view.open(f"d/{ordinal}", create=True)
        sim.power_off()
        view = sim.mount()
        seen += [view.listdir("d"), view.read("d/f")]
        sim.kill()
    return sim, seen


async def made(sim: SimDisk) -> None:
    view = sim.mount()
    for folder in ("c", "d", "e"):  # neighbours on both sides, in any order by name
        view.mkdir(folder)
    await view.fsync_dir()
    await view.replace("d/f", bytes(5000))
    await view.replace("c/g0", b"x")
    sim.kill()


def test_the_same_seed_gives_the_same_outcome() -> None:
    one, two = eventful(1, neighbour=True), eventful(1, neighbour=True)
    assert one[1] == two[1] and one[0].journal == two[0].journal
    assert eventful(2, neighbour=True)[1] != one[1]


@pytest.mark.parametrize("seed", range(10))
def test_what_happens_to_one_file_does_not_depend_on_others(seed: int) -> None:
    assert eventful(seed, neighbour=True)[1] == eventful(seed, neighbour=False)[1]


def test_each_power_failure_draws_anew() -> None:
    """A file and a directory that are treated alike twice come out differently, sooner or later."""
    pairs = [[outcome_of(sim, str(n)) for n in range(2)] for sim in map(machine, range(30))]
    assert any(first[0] != second[0] for first, second in pairs), "policies differ"
    assert any(first[1] != second[1] for first, second in pairs), "names differ"
    assert any(first == second for first, second in pairs), "and may be the same"


def outcome_of(sim: SimDisk, name: str) -> tuple[str, int]:
    view = sim.mount()
    view.mkdir("d")
    run(view.fsync_dir())
    written(view, "f", b"abc").write_at(0, b"xyz")
    for n in range(3):
        view.open(f"d/{name}{n}", create=True)
    told = sim.power_off()
    return told["files"]["f"]["policy"], len(told["names"]["d"]["kept"])


def test_the_outcome_does_not_depend_on_the_hash_seed() -> None:
    script = "from tests.sim.test_disk import *; print(eventful(3, neighbour=True)[0].journal)"
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("0", "1", "2")
    }
    assert len(told) == 1 and len(told.pop()) > 1000


# -- evidence -----------------------------------------------------------------------------------


def test_the_journal_is_json_and_says_what_was_kept_and_lost(sim: SimDisk) -> None:
    view = sim.mount()
    file = written(view, "f", b"abc")
    file.write_at(3, b"def")
    view.rename("f", "g")
    view.open("h", create=True)
    view.remove("h")
    assert sim.bit_rot("g")
    told = sim.power_off(harshest=True)
    assert sim.journal == json.loads(json.dumps(sim.journal))
    assert [entry["fault"] for entry in sim.journal] == ["bit-rot", "power-off"]
    assert told["names"] == {".": {"kept": [], "lost": ["rename f to g", "create h", "remove h"]}}
    assert told["files"]["f"]["policy"] == "nothing"
    assert told["files"]["f"]["size"] == {"durable": 3, "seen": 6, "left": 3}


def test_a_power_failure_with_nothing_pending_says_so(sim: SimDisk) -> None:
    written(sim.mount(), "f", b"abc")
    told = sim.power_off()
    assert told == {"fault": "power-off", "ordinal": 0, "names": {}, "files": {}}
