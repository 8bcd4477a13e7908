"""Hosts of a world are apart: each runs as itself, and the dead do nothing."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import random
import socket
from typing import Any

import pytest

from harness.errors import EnvironmentFailure
from harness.host.contract import Host
from harness.sim import links, scheduler
from harness.sim.disk import Fenced
from harness.sim.machine import Machine
from harness.sim.world import World
from tests.sim.hosts import PORT, Collector, listening, until

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


# -- identity --------------------------------------------------------------------------------


def test_what_a_client_sends_is_received_as_the_server() -> None:
    seen: list[Any] = []

    class Server(asyncio.Protocol):
        def note(self, what: str) -> None:
            loop: Any = asyncio.get_running_loop()
            seen.append((what, loop.name, socket.gethostname(), WHO.get()))

        def connection_made(self, transport: Any) -> None:
            self.note("made")

        def data_received(self, data: bytes) -> None:
            self.note("data")
            asyncio.get_running_loop().call_soon(self.note, "later")

        def connection_lost(self, error: Exception | None) -> None:
            self.note("lost")

    async def client(host: Host) -> None:
        WHO.set("the client")
        await asyncio.sleep(0.01)
        _, writer = await asyncio.open_connection("server", PORT)
        writer.write(b"x")
        writer.close()
        await asyncio.Event().wait()

    with World(1) as world:
        world.machine("server").start(listening(Server))
        world.machine("client").start(client)
        world.run(until(lambda: len(seen) == 4, "all is received"))
    assert seen == [
        (what, "server", "server", "nobody") for what in ("made", "data", "later", "lost")
    ]


def test_draws_of_a_host_do_not_depend_on_the_other_hosts() -> None:
    def drawn(others: int) -> list[float]:
        values: list[float] = []

        async def draw(host: Host) -> None:
            for _ in range(10):
                values.append(random.random())
                await asyncio.sleep(0.001)

        async def spend(host: Host) -> None:
            while True:
                random.random()
                await asyncio.sleep(0.0007)

        with World(1) as world:
            for number in range(others):
                world.machine(f"other{number}").start(spend)
            world.machine("n1").start(draw)
            world.run(asyncio.sleep(0.1))
        return values

    assert drawn(0) == drawn(3)
    assert len(set(drawn(0))) == 10


def test_one_connection_less_leaves_the_delays_of_the_others() -> None:
    def arrivals(silent: bool) -> list[float]:
        collectors: list[Collector] = []

        def factory() -> Collector:
            collectors.append(Collector())
            return collectors[-1]

        async def client(host: Host) -> None:
            await asyncio.sleep(0.01)
            _, first = await asyncio.open_connection("server", PORT)
            await asyncio.sleep(0.1)
            _, second = await asyncio.open_connection("server", PORT)
            await asyncio.sleep(0.1)
            for _ in range(50):
                first.write(b"xx")
                if not silent:
                    second.write(b"yy")
                await asyncio.sleep(0.01)

        with World(1) as world:
            world.machine("server").start(listening(factory))
            world.machine("client").start(client)
            world.run(asyncio.sleep(2))
        assert bool(collectors[1].times) is not silent
        return collectors[0].times

    assert arrivals(silent=True) == arrivals(silent=False)
    assert len(arrivals(silent=True)) >= 50


# -- the dead --------------------------------------------------------------------------------


def test_a_killed_program_never_runs_again() -> None:
    ran: list[str] = []

    async def program(host: Host) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, ran.append, "timer")
        try:
            while True:
                ran.append("turn")
                await asyncio.sleep(0.1)
        finally:
            ran.append("finally")

    async def main(world: World) -> list[str]:
        machine = world.machine("n1")
        machine.start(program)
        await asyncio.sleep(0.25)
        machine.kill()
        await asyncio.sleep(10)
        return list(ran)

    with World(1) as world:
        assert world.run(main(world)) == ["turn"] * 3
    assert ran == ["turn"] * 3 + ["finally"]  # only when the world was over


def test_what_a_dead_program_does_in_its_finally_has_no_effect() -> None:
    tried: list[str] = []
    collector = Collector()

    async def program(host: Host) -> None:
        file = host.disk.open("file", create=True)
        file.write_at(0, b"before")
        _, writer = await asyncio.open_connection("server", PORT)
        try:
            writer.write(b"before")
            await asyncio.Event().wait()
        finally:
            writer.write(b"after")
            asyncio.get_running_loop().call_soon(tried.append, "a callback")
            try:
                file.write_at(0, b"after!")
            except Fenced:
                tried.append("the disk refused")
            try:
                host.disk.open("another", create=True)
            except Fenced:
                tried.append("and again")

    async def main(world: World) -> None:
        world.machine("server").start(listening(lambda: collector))
        await asyncio.sleep(0.01)
        world.machine("n1").start(program)
        await until(lambda: collector.text == b"before", "it has written")
        world.machine("n1").kill()
        await until(lambda: collector.lost == [None], "its kernel has ended the connection")

    with World(1) as world:
        world.run(main(world))
        assert tried == []
    assert tried == ["the disk refused", "and again"]
    assert dict(world.machine("n1").disk.files()) == {"file": b"before"}
    assert collector.text == b"before"


def test_a_new_incarnation_has_the_disk_and_nothing_else_of_the_old_one() -> None:
    found: list[Any] = []

    async def program(host: Host) -> None:
        found.append((host.disk.exists("file"), host.rng.random(), random.random()))
        host.disk.open("file", create=True).write_at(0, b"x")
        await asyncio.Event().wait()

    async def main(world: World) -> None:
        for _ in range(2):
            world.machine("n1").start(program)
            await asyncio.sleep(0.01)
            world.machine("n1").kill()

    with World(1) as world:
        world.run(main(world))
    first, second = found
    assert (first[0], second[0]) == (False, True)
    assert first[1:] != second[1:]


def test_a_kill_with_unread_bytes_is_a_reset_and_else_an_end() -> None:
    async def deaf(host: Host) -> None:
        await asyncio.start_server(lambda reader, writer: None, host.name, PORT, limit=10)
        await asyncio.Event().wait()

    async def main(world: World, big: bytes) -> Any:
        machine = world.machine("n1")
        machine.start(deaf)
        world.network.route(("n1", PORT), "c1")
        await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("n1", PORT)
        writer.write(big)
        await asyncio.sleep(1)
        machine.kill()
        return await asyncio.wait_for(reader.read(), 10)

    with World(1) as world:
        assert world.run(main(world, b"x")) == b""
    with World(1) as world, pytest.raises(ConnectionResetError):
        world.run(main(world, b"x" * 1_000_000))


def test_a_program_that_ends_or_fails_tells_its_status() -> None:
    async def done(host: Host) -> None:
        return

    async def failed(host: Host) -> None:
        raise KeyError("why")

    async def exited(host: Host) -> None:
        await asyncio.sleep(0)
        raise SystemExit(5)

    async def exits_elsewhere(host: Host) -> None:
        asyncio.get_running_loop().call_later(0.01, exit_now)
        await asyncio.Event().wait()

    def exit_now() -> None:
        raise SystemExit("words")

    statuses: list[int] = []
    with World(1) as world:
        for number, program in enumerate((done, failed, exited, exits_elsewhere)):
            machine = world.machine(f"n{number}")
            machine.on_end = statuses.append
            machine.start(program)
            world.run(asyncio.sleep(0.1))
            assert machine.loop is None
    assert statuses == [0, 1, 5, 1]
    assert "KeyError: 'why'" in world.machine("n1").lines[-1]


async def spin_for_ever() -> None:
    await asyncio.sleep(0.01)
    while True:
        await asyncio.sleep(0)


def test_a_program_that_spins_is_ended_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scheduler, "TURNS_MAX", 10_000)
    statuses: list[int] = []
    ticks: list[float] = []

    async def spins(host: Host) -> None:
        await spin_for_ever()

    async def ticking(host: Host) -> None:
        while True:
            await asyncio.sleep(0.001)
            ticks.append(asyncio.get_running_loop().time())

    with World(1) as world:
        machine = world.machine("n1")
        machine.on_end = statuses.append
        machine.start(spins)
        world.machine("n2").start(ticking)
        world.run(asyncio.sleep(0.1))
        assert statuses == [1] and machine.loop is None and ticks[-1] > 0.09
    assert "n1 did something 10,000 times" in machine.lines[-1]
    assert "the task 'n1 main'" in machine.lines[-1] and __file__ in machine.lines[-1]


def test_a_harness_that_spins_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "TURNS_MAX", 10_000)
    with World(1) as world, pytest.raises(EnvironmentFailure, match="harness did something 10,000"):
        world.run(spin_for_ever())


def test_many_turns_are_no_spinning_while_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "TURNS_MAX", 200)
    turns: list[int] = []

    async def busy(host: Host) -> None:
        for turn in range(10_000):
            await asyncio.sleep(0 if turn % 100 else 0.001)
            turns.append(turn)
        await asyncio.Event().wait()

    with World(1) as world:
        world.machine("n1").start(busy)
        world.run(asyncio.sleep(1))
    assert len(turns) == 10_000


@pytest.mark.parametrize("where", ["task", "callback"])
def test_an_interrupt_is_no_end_of_the_program_that_happened_to_run(where: str) -> None:
    ended: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    async def program(host: Host) -> None:
        if where == "callback":
            asyncio.get_running_loop().call_soon(interrupt)
            await asyncio.Event().wait()
        interrupt()

    with World(1) as world:
        machine = world.machine("n1")
        machine.on_end = ended.append
        machine.start(program)
        with pytest.raises(KeyboardInterrupt):
            world.run(asyncio.sleep(1))
        assert not ended and machine.loop is not None


# -- power and pauses ------------------------------------------------------------------------


async def reached(
    world: World, collector: Collector
) -> tuple[Machine, asyncio.StreamReader, asyncio.StreamWriter]:
    """A machine n1 that listens, and a connection to it over the links of c1."""
    machine = world.machine("n1")
    world.network.route(("n1", PORT), "c1")
    machine.start(listening(lambda: collector))
    await asyncio.sleep(0.01)
    return machine, *await asyncio.open_connection("n1", PORT)


def test_a_machine_without_power_is_silent_and_resets_when_it_is_up_again() -> None:
    collector, again = Collector(), Collector()

    async def main(world: World) -> None:
        machine, reader, writer = await reached(world, collector)
        writer.write(b"a")
        assert await reader.read(2) == b"ok"
        machine.power_off()
        writer.write(b"b")
        connecting = asyncio.create_task(asyncio.open_connection("n1", PORT))
        reading = asyncio.create_task(reader.read(2))
        done, _ = await asyncio.wait([connecting, reading], timeout=60)
        assert not done, "nobody answers, and nobody is told"
        machine.start(listening(lambda: again))
        await asyncio.sleep(0.1)
        writer.write(b"c")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reading, 10)
        connecting.cancel()

    with World(1) as world:
        world.run(main(world))
    assert collector.heard == [b"a"] and collector.lost == []
    assert again.heard == []


async def is_reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Who writes to a machine that is up again, and knows nothing of the connection, learns it."""
    await asyncio.sleep(0.1)
    writer.write(b"b")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(2), 10)


def test_a_machine_that_lost_power_behind_a_cut_resets_when_both_are_over() -> None:
    """Its answer was held and went with the power; seed 3 of a minute under faults waited for the
    reset ever after, and its leader never wrote to that follower again."""
    collector = Collector()

    async def main(world: World) -> None:
        machine, reader, writer = await reached(world, collector)
        back = world.network.link("n1", "c1")
        world.network.cut([back])
        writer.write(b"a")
        await asyncio.sleep(0.1)
        machine.power_off()
        world.network.heal([back])
        machine.start(listening(Collector))
        await is_reset(reader, writer)

    with World(1) as world:
        world.run(main(world))
    assert collector.heard == [b"a"]


def test_what_was_under_way_when_the_power_failed_behind_a_cut_holds_nothing_back_either() -> None:
    """Its arrival was still expected, found nothing, and was taken for one that the cut holds, but
    no healing told it to go on; seed 1229 of an exploration waited for the reset ever after."""
    collector = Collector()

    async def main(world: World) -> None:
        machine, reader, writer = await reached(world, collector)
        back = world.network.link("n1", "c1")
        writer.write(b"a")
        while not collector.heard:
            await asyncio.sleep(1e-6)
        world.network.cut([back])  # with the answer on its way
        machine.power_off()
        await asyncio.sleep(0.1)
        world.network.heal([back])
        machine.start(listening(Collector))
        await is_reset(reader, writer)

    with World(1) as world:
        world.run(main(world))
    assert collector.heard == [b"a"]


def test_a_paused_machine_accepts_and_answers_when_it_goes_on() -> None:
    ran: list[float] = []

    async def tick(host: Host) -> None:
        while True:
            ran.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)

    async def program(host: Host) -> None:
        asyncio.get_running_loop().create_task(tick(host))
        await listening(Collector)(host)

    async def main(world: World) -> None:
        machine = world.machine("n1")
        machine.start(program)
        await asyncio.sleep(1.05)
        machine.pause()
        before = len(ran)
        reader, writer = await asyncio.wait_for(asyncio.open_connection("n1", PORT), 1)
        writer.write(b"held")
        answer = asyncio.create_task(reader.read(2))
        await asyncio.sleep(10)
        assert len(ran) == before and not answer.done()
        machine.resume()
        assert await asyncio.wait_for(answer, 1) == b"ok"
        assert len(ran) == before + 1, "a timer that was due is late, and comes once"

    with World(1) as world:
        world.run(main(world))


# -- links -----------------------------------------------------------------------------------


class Two:
    """A server, and a client on a host of its own, with the links between them."""

    def __init__(self, world: World) -> None:
        self.collector = Collector()
        self.network = world.network
        world.machine("server").start(listening(lambda: self.collector))
        world.network.route(("server", PORT), "client")
        self.there = world.network.link("client", "server")
        self.back = world.network.link("server", "client")


def test_a_cut_of_one_direction_holds_that_direction() -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("server", PORT)
        two.network.cut([two.back])
        writer.write(b"a")
        await until(lambda: two.collector.text == b"a", "it arrives")
        answer = asyncio.create_task(reader.read(2))
        await asyncio.sleep(30)
        assert not answer.done()
        two.network.heal([two.back])
        assert await asyncio.wait_for(answer, 1) == b"ok"
        two.network.cut([two.there])
        writer.write(b"b")
        writer.close()
        await asyncio.sleep(30)
        assert two.collector.text == b"a" and two.collector.lost == []
        two.network.heal([two.there])
        await until(lambda: two.collector.lost == [None], "the end arrives, after the bytes")
        assert two.collector.text == b"ab"

    with World(1) as world:
        world.run(main(world))


@pytest.mark.parametrize("how", ["paused", "not reading"])
def test_what_had_arrived_before_a_cut_is_read_during_it(how: str) -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        _, writer = await asyncio.open_connection("server", PORT)
        await until(lambda: hasattr(two.collector, "transport"), "it is accepted")
        machine, transport = world.machine("server"), two.collector.transport
        machine.pause() if how == "paused" else transport.pause_reading()
        writer.write(b"a" * 1000)
        await asyncio.sleep(0.1)
        two.network.cut([two.there])
        writer.write(b"b")
        await asyncio.sleep(1)
        machine.resume() if how == "paused" else transport.resume_reading()
        await until(lambda: len(two.collector.text) == 1000, "what was there is read")
        await asyncio.sleep(30)
        assert two.collector.text == b"a" * 1000, "what came later was not there"
        two.network.heal([two.there])
        await until(lambda: two.collector.text == b"a" * 1000 + b"b", "it is now")

    with World(1) as world:
        world.run(main(world))


@pytest.mark.parametrize("reads", [True, False])
def test_what_one_cut_held_is_held_by_the_next_that_follows_at_once(reads: bool) -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        _, writer = await asyncio.open_connection("server", PORT)
        await until(lambda: hasattr(two.collector, "transport"), "it is accepted")
        two.network.cut([two.there])
        if not reads:
            two.collector.transport.pause_reading()
        writer.write(b"a")
        await asyncio.sleep(1)
        two.network.heal([two.there])
        two.network.cut([two.there])
        if not reads:
            two.collector.transport.resume_reading()
        await asyncio.sleep(30)
        assert two.collector.text == b""
        two.network.heal([two.there])
        await until(lambda: two.collector.text == b"a", "it arrives")

    with World(1) as world:
        world.run(main(world))


@pytest.mark.parametrize("way", ["there", "back"])
def test_a_connect_during_a_cut_hangs_and_completes_after_it(way: str) -> None:
    async def main(world: World) -> bytes:
        two = Two(world)
        await asyncio.sleep(0.01)
        two.network.cut([getattr(two, way)])
        connecting = asyncio.create_task(asyncio.open_connection("server", PORT))
        await asyncio.sleep(30)
        assert not connecting.done()
        assert not hasattr(two.collector, "transport"), "the server accepts nobody meanwhile"
        two.network.heal([getattr(two, way)])
        reader, writer = await asyncio.wait_for(connecting, 1)
        writer.write(b"a")
        return await reader.read(2)

    with World(1) as world:
        assert world.run(main(world)) == b"ok"


def test_a_connect_that_is_given_up_during_a_cut_leaves_no_connection() -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        two.network.cut([two.back])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("server", PORT), 1)
        two.network.heal([two.back])
        await asyncio.sleep(30)
        assert not hasattr(two.collector, "transport"), "the server never heard of it"
        assert not two.there.pipes and not two.back.pipes

    with World(1) as world:
        world.run(main(world))


def test_a_server_accepts_when_the_third_packet_arrives() -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        delayed = dataclasses.replace(links.WHOLE, latency_ms=100)
        two.there.shape = two.back.shape = delayed
        connecting = asyncio.create_task(asyncio.open_connection("server", PORT))
        await asyncio.sleep(0.15)  # the answer is under way
        two.network.cut([two.there])
        _, writer = await asyncio.wait_for(connecting, 1)
        writer.write(b"a")
        await asyncio.sleep(30)
        assert not hasattr(two.collector, "transport"), "nobody told it that its answer arrived"
        two.network.heal([two.there])
        await until(lambda: two.collector.text == b"a", "now it is accepted")

    with World(1) as world:
        world.run(main(world))


@pytest.mark.parametrize("how", ["closes", "dies"])
def test_a_server_that_is_gone_when_the_third_packet_arrives_resets(how: str) -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        two.there.shape = dataclasses.replace(links.WHOLE, latency_ms=100)
        connecting = asyncio.create_task(asyncio.open_connection("server", PORT))
        await asyncio.sleep(0.15)  # it is connected, and the server does not know yet
        reader, _ = await asyncio.wait_for(connecting, 1)
        if how == "dies":
            world.machine("server").kill()
        else:
            two.network.listeners["server", PORT].close()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 1)
        assert not hasattr(two.collector, "transport")

    with World(1) as world:
        world.run(main(world))


def test_a_reset_is_told_to_both_sides() -> None:
    async def main(world: World) -> None:
        two = Two(world)
        await asyncio.sleep(0.01)
        reader, _ = await asyncio.open_connection("server", PORT)
        await asyncio.sleep(0.01)
        assert two.network.reset([two.there]) == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await until(lambda: bool(two.collector.lost), "the server learns it")
        assert isinstance(two.collector.lost[0], ConnectionResetError)

    with World(1) as world:
        world.run(main(world))
