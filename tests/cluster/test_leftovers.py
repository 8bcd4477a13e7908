"""Who is an orphan, and when a watchdog has nothing to do."""

from __future__ import annotations

import asyncio
import os
import sys

from harness.cluster import watchdog
from harness.cluster.leftovers import HARNESS, RUN, is_orphan, labels


def test_what_a_living_harness_made_is_no_orphan() -> None:
    mine = labels("abc", os.getpid())
    assert mine[RUN] == "abc"
    assert not is_orphan(mine)


async def test_what_a_dead_harness_made_is_an_orphan() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
    its = labels("abc", process.pid)
    assert not is_orphan(its)
    process.kill()
    await process.wait()
    assert is_orphan(its)


def test_a_pid_used_again_or_of_another_boot_is_another_harness() -> None:
    boot, pid, start = labels("abc", os.getpid())[HARNESS].split("/")
    assert is_orphan({HARNESS: f"{boot}/{pid}/{int(start) - 1}"})
    assert is_orphan({HARNESS: f"x{boot}/{pid}/{start}"})
    assert not is_orphan({HARNESS: f"{boot}/{pid}/{start}"})


def test_what_names_no_harness_is_an_orphan_and_what_names_it_strangely_is_not_touched() -> None:
    assert is_orphan({})
    assert not is_orphan({HARNESS: "a/b/c"})


async def test_a_watchdog_told_that_all_is_done_ends_at_once_and_asks_no_engine() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "harness.cluster.watchdog", "abc", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        env={**os.environ, "DOCKER_HOST": "unix:///nonexistent.sock"},
    )
    await asyncio.wait_for(process.communicate(watchdog.DONE), watchdog.GIVE_UP_S / 4)
    assert process.returncode == 0
