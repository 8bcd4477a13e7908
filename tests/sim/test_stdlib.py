"""Time and chance are the host's, and what would bring real ones in is refused aloud."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from harness.host.contract import Host
from harness.sim import stdlib
from harness.sim.clock import EPOCH_NS
from harness.sim.loop import NotSimulated
from harness.sim.world import World

S = 1_000_000_000

CHANCE: dict[str, Callable[[], Any]] = {
    "random.random": lambda: random.random(),
    "random.shuffle": lambda: (items := list(range(50)), random.shuffle(items))[0],
    "random.triangular": lambda: random.triangular(),
    "random.gammavariate": lambda: random.gammavariate(2, 3),
    "random.getstate": lambda: random.getstate()[1][:3],
    "random.Random()": lambda: random.Random().random(),
    "os.urandom": lambda: os.urandom(16),
    "secrets": lambda: secrets.token_hex(),
    "uuid1": lambda: uuid.uuid1(),
    "uuid4": lambda: uuid.uuid4(),
}

CLOCKS: dict[str, Callable[[], float]] = {
    "time": lambda: time.time() - EPOCH_NS / S,
    "time_ns": lambda: (time.time_ns() - EPOCH_NS) / S,
    "monotonic": lambda: time.monotonic(),
    "monotonic_ns": lambda: time.monotonic_ns() / S,
    "perf_counter": lambda: time.perf_counter(),
    "process_time": lambda: time.process_time(),
    "loop.time": lambda: asyncio.get_running_loop().time(),
}


def asked(ask: Callable[[], Any], host: str = "n1", seed: int = 1) -> Any:
    """What a program on a host got."""
    got: list[Any] = []

    async def program(host: Host) -> None:
        await asyncio.sleep(2)
        try:
            got.append(ask())
        except NotSimulated as error:
            got.append(error)

    with World(seed) as world:
        world.machine(host).start(program)
        world.run(asyncio.sleep(3))
    (answer,) = got
    return answer


@pytest.mark.parametrize("name", CHANCE)
def test_chance_is_of_the_seed_and_the_host(name: str) -> None:
    ask = CHANCE[name]
    assert asked(ask) == asked(ask)
    assert asked(ask) != asked(ask, seed=2)
    assert asked(ask) != asked(ask, host="n2")


@pytest.mark.parametrize("name", CLOCKS)
def test_clocks_show_the_worlds_time(name: str) -> None:
    assert asked(CLOCKS[name]) == pytest.approx(2, abs=1e-6)


CALENDARS: dict[str, Callable[[], Any]] = {
    "gmtime": lambda: time.gmtime()[:6],
    "localtime": lambda: time.localtime()[:6],
    "localtime of a time": lambda: time.localtime(time.time())[:6],
    "strftime": lambda: tuple(map(int, time.strftime("%Y %m %d %H %M %S").split())),
    "asctime": lambda: time.strptime(time.asctime())[:6],
    "ctime": lambda: time.strptime(time.ctime())[:6],
}


@pytest.mark.parametrize("name", CALENDARS)
def test_calendars_show_the_worlds_time_in_utc(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert asked(CALENDARS[name]) == (2026, 1, 1, 0, 0, 2)
        assert CALENDARS[name]()[0] != 0, "nobody's loop gets the real one"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_all_functions_of_random_are_the_hosts() -> None:
    """Whatever this Python has of them."""
    state = random.getstate()
    with World(1):
        pass
    drawn = [name for name in dir(random) if name.endswith("variate")]
    assert len(drawn) >= 8 and {*drawn, "seed", "setstate", "triangular"} <= set(stdlib._CHANCE)
    asked(lambda: random.seed(5))
    assert random.getstate() == state


def test_coroutines_that_are_awaited_as_they_complete_start_in_their_order() -> None:
    async def client(host: Host) -> None:
        async def note(number: int) -> int:
            started.append(number)
            await asyncio.sleep(0.01 * (30 - number))
            return number

        work = [note(number) for number in range(30)]
        for each in asyncio.as_completed(work):
            ended.append(await each)
        await asyncio.Event().wait()

    started: list[int] = []
    ended: list[int] = []
    with World(1) as world:
        world.machine("n1").start(client)
        world.run(asyncio.sleep(1))
    assert started == list(range(30)) and ended == list(range(29, -1, -1))


REFUSED: dict[str, Callable[[], Any]] = {
    "a thread": lambda: threading.Thread(target=print).start(),
    "a process": lambda: subprocess.Popen(["true"]),
    "a real socket": lambda: socket.create_connection(("127.0.0.1", 9)),
    "time.sleep": lambda: getattr(time, "sleep")(0.001),  # noqa: B009 - a call would be one
    "a real name server": lambda: socket.getaddrinfo("localhost", 9),
}


@pytest.mark.parametrize("name", REFUSED)
def test_real_things_are_refused_aloud(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    # getaddrinfo comes first where a connection is made by name.
    expected = "a real name server" if name == "a real socket" else name
    refused = asked(REFUSED[name])
    assert isinstance(refused, NotSimulated) and expected in str(refused)
    said = capsys.readouterr().err
    assert "n1 asked for" in said and expected in said


def test_a_socket_is_refused_by_number_too() -> None:
    def connect() -> None:
        with socket.socket() as sock:
            sock.connect(("127.0.0.1", 9))

    assert "a real socket" in str(asked(connect))


def test_all_is_real_again_after_a_world() -> None:
    before = (time.time, random.random, os.urandom, threading.Thread.start, socket.socket.bind)
    state = random.getstate()
    asked(random.random)
    after = (time.time, random.random, os.urandom, threading.Thread.start, socket.socket.bind)
    assert after == before
    assert random.getstate() == state
    assert abs(time.time() - EPOCH_NS / S) > 1


# -- clocks that are wrong -------------------------------------------------------------------


def test_an_offset_moves_the_wall_clock_of_one_host_alone() -> None:
    seen: dict[str, tuple[float, float]] = {}

    async def program(host: Host) -> None:
        await asyncio.sleep(1)
        seen[host.name] = (time.time() - EPOCH_NS / S, time.monotonic())

    with World(1) as world:
        for name in ("n1", "n2"):
            world.machine(name).start(program)
        world.machine("n1").clock.skew(-5 * S, 0)
        world.run(asyncio.sleep(2))
    assert seen["n1"] == pytest.approx((-4, 1))
    assert seen["n2"] == pytest.approx((1, 1))


def test_a_clock_that_runs_fast_has_its_timers_early_and_never_jumps_back() -> None:
    rang: list[float] = []
    read: list[float] = []

    async def program(host: Host) -> None:
        while True:
            await asyncio.sleep(1)
            rang.append(world.now_ns() / S)
            read.append(time.monotonic())

    with World(1) as world:
        clock = world.machine("n1").clock
        clock.skew(0, 250_000)
        world.machine("n1").start(program)
        world.run(asyncio.sleep(3.9))
        assert rang == pytest.approx([0.8, 1.6, 2.4, 3.2])
        assert clock.offset_ns == pytest.approx(3.9 * S / 4)
        clock.skew(0, 0)
        assert clock.offset_ns == 0
        world.run(asyncio.sleep(4.2))
    assert read == sorted(read) and read[:4] == pytest.approx([1, 2, 3, 4])
    # The timer that ran keeps the rate it was set with; those after it are on time.
    assert rang[4:] == pytest.approx([4.0, 5.0, 6.0, 7.0, 8.0], abs=0.2)
