"""How fast a simulated disk takes the appends and reads of a broker.

Run: pytest -m bench -s tests/bench/bench_sim_disk.py

Times are of the CPU, as other work on the machine would count otherwise.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from harness import seeds
from harness.sim.disk import SimDisk, SimFile
from harness.sim.disk_faults import INSTANT

pytestmark = pytest.mark.bench

BATCH = bytes(range(256)) * 8
PAIRS = 200_000


def disk() -> SimDisk:
    return SimDisk(partial(seeds.stream, 1729, "disk", "n1"), pace=INSTANT)


def test_300_000_appends_and_reads_a_second() -> None:
    """Timer: an append of 2 KiB and a read of it, in one file that is never synced."""
    file = disk().mount().open("log", create=True)
    started = time.process_time()
    end = 0
    for _ in range(PAIRS):
        file.write_at(end, BATCH)
        file.read_at(end, 2048)
        end += 2048
    spent_s = time.process_time() - started
    rate = 2 * PAIRS / spent_s
    print(f"\nappend, read: {rate:,.0f} a second, {spent_s / PAIRS * 1e6:.2f} µs a pair")
    assert file.size() == end
    assert rate >= 300_000


def test_an_fsync_does_not_cost_the_size_of_the_file() -> None:
    """Timer: 20,000 times an append of 2 KiB and an fsync, to an empty file and to one of 256 MiB.

    An fsync yields to the loop, whose turn is most of the cost.
    """
    spent_s = {}
    for size in (0, 256 << 20):
        file = disk().mount().open("log", create=True)
        file.truncate(size)
        asyncio.run(file.fsync())
        started = time.process_time()
        asyncio.run(_append_and_sync(file, size, 20_000))
        spent_s[size] = time.process_time() - started
    small, large = spent_s.values()
    print(
        f"\nappend, fsync: {small / 20_000 * 1e6:.1f} µs; in 256 MiB {large / 20_000 * 1e6:.1f} µs"
    )
    assert large <= 2 * small


async def _append_and_sync(file: SimFile, end: int, times: int) -> None:
    for _ in range(times):
        file.write_at(end, BATCH)
        await file.fsync()
        end += len(BATCH)


def test_a_power_failure_costs_what_was_not_synced() -> None:
    """Timer: `power_off` with 16 files of 4 MiB, of which the last 1 MiB is in 512 changes."""
    machine = disk()
    view = machine.mount()
    for n in range(16):
        file = view.open(f"log{n}", create=True)
        file.write_at(0, bytes(3 << 20))
        asyncio.run(file.fsync())
        for at in range(3 << 20, 4 << 20, 2048):
            file.write_at(at, BATCH)
    asyncio.run(view.fsync_dir())
    started = time.process_time()
    told = machine.power_off()
    spent_s = time.process_time() - started
    print(f"\npower off: {spent_s * 1e3:.0f} ms for 64 MiB in 16 files")
    assert len(told["files"]) == 16
    assert spent_s <= 1
