"""What the real machine adds: log lines, chance, and a failed fsync that stays so."""

from __future__ import annotations

import asyncio
import io
import json
import os
from pathlib import Path

import pytest

from harness.host.real import RealDisk, RealHost


def test_a_log_line_is_one_json_object(tmp_path: Path) -> None:
    output = io.StringIO()
    host = RealHost("n1", tmp_path, 1, output=output)
    before = host.clock.wall_ns()
    host.log("disk.full", path=Path("logs"), text="two\nlines", node_count=3)
    host.log("next")
    first, second = map(json.loads, output.getvalue().splitlines())
    assert before <= first.pop("time") <= host.clock.wall_ns()
    assert first == {
        "node": "n1",
        "event": "disk.full",
        "path": "logs",
        "text": "two\nlines",
        "node_count": 3,
    }
    assert second["event"] == "next"


def test_chance_comes_from_the_seed(tmp_path: Path) -> None:
    draws = [RealHost("n1", tmp_path, seed).rng.random() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_the_monotonic_clock_never_goes_back(tmp_path: Path) -> None:
    clock = RealHost("n1", tmp_path, 1).clock
    moments = [clock.monotonic_ns() for _ in range(100)]
    assert moments == sorted(moments)


async def test_a_failed_fsync_is_not_repeated_and_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealDisk(tmp_path).open("f", create=True)
    file.write_at(0, b"abc")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError) as first:
            await file.fsync()
    with pytest.raises(OSError) as second:
        await file.fsync()
    assert second.value is first.value


async def test_the_loop_goes_on_while_a_file_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RealDisk(tmp_path).open("f", create=True)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    read, write = os.pipe()

    def hang(fd: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        os.read(read, 1)

    monkeypatch.setattr(os, "fsync", hang)
    syncing = asyncio.create_task(file.fsync())
    await begun.wait()
    file.write_at(0, b"abc")
    file.close()
    assert not syncing.done()
    os.write(write, b"x")
    await syncing
    os.close(read)
    os.close(write)
