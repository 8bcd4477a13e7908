"""What each toxic does to a stream, over the embedded server and the real one."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from harness import seeds
from harness.cluster.contract import Address
from harness.cluster.toxics import DOWNSTREAM, STAGES, UPSTREAM
from tests.cluster.servers import EMBEDDED, Server, Streams, running
from tests.conformance.echo import wait_quick, wait_until

pytestmark = pytest.mark.local

QUIET_S = 0.2


async def exchange(streams: Streams, data: bytes, wait_s: float = 10.0) -> float:
    """Send, get the same back, and say how long it took."""
    now = asyncio.get_running_loop().time
    began = now()
    streams[1].write(data)
    async with asyncio.timeout(wait_s):
        assert await streams[0].readexactly(len(data)) == data
    return now() - began


async def open_through(server: Server, upstream: Address) -> tuple[Address, Streams]:
    where = await server.proxy("p", upstream)
    streams = await server.connect(where)
    await exchange(streams, b"hello")
    return where, streams


async def is_silent(streams: Streams) -> bool:
    try:
        async with asyncio.timeout(QUIET_S):
            await streams[0].read(1)
    except TimeoutError:
        return True
    return False


async def end_of(streams: Streams) -> bytes:
    """What still comes before the end. Raises OSError for a reset, TimeoutError for no end."""
    async with asyncio.timeout(5):
        return await streams[0].read()


# -- loss of nothing -------------------------------------------------------------------------

LOSSLESS: list[dict[str, Any]] = [
    {"type": "latency", "latency": 15, "jitter": 10},
    {"type": "latency", "latency": 0},
    {"type": "bandwidth", "rate": 20_000},
    {"type": "bandwidth", "rate": 0},
    {"type": "slicer", "average_size": 400, "size_variation": 200, "delay": 5},
    {"type": "slow_close", "delay": 30},
    {"type": "noop"},
]


@pytest.mark.parametrize("seed", range(6))
async def test_no_data_is_dropped(embedded: Server, upstream: Address, seed: int) -> None:
    rng = seeds.stream(seed, "no data is dropped")
    where = await embedded.proxy("p", upstream)
    reader, writer = await embedded.connect(where)
    sent, present, held_max = b"", list[str](), 0
    received = bytearray()

    async def receive() -> None:
        while data := await reader.read(65536):
            received.extend(data)

    receiving = asyncio.create_task(receive())
    for number in range(60):
        piece = rng.randbytes(rng.choice([1, 100, 2_000, 9_000]))
        sent += piece
        writer.write(piece)
        await change_a_toxic(embedded, rng, present, number)
        held_max = max(held_max, *(flow["held"] for flow in (await flows(embedded)).values()))
    for name in present:
        await embedded.remove("p", name)
    await wait_until(lambda: len(received) >= len(sent), "as many bytes came back")
    assert received == sent
    assert held_max > 1_000, "the toxics had something to hold"
    expected = {"connections": 1, "received": len(sent), "sent": len(sent), "held": 0}
    assert await flows(embedded) == {UPSTREAM: expected, DOWNSTREAM: expected}
    receiving.cancel()


async def flows(server: Server) -> dict[str, dict[str, int]]:
    return dict((await server.ask("GET", "/proxies/p")).json["flows"])


async def change_a_toxic(
    server: Server, rng: random.Random, present: list[str], number: int
) -> None:
    """Add, change or remove one of the lossless toxics."""
    if present and rng.random() < 0.5:
        name = present.pop(rng.randrange(len(present)))
        if rng.random() < 0.5:
            await server.remove("p", name)
        else:
            toxicity = rng.choice([0.0, 1.0])
            path = f"/proxies/p/toxics/{name}"
            assert (await server.ask("PATCH", path, {"toxicity": toxicity})).status == 200
            present.append(name)
        return
    toxic = dict(rng.choice(LOSSLESS))
    body = {
        "name": f"t{number}",
        "type": toxic.pop("type"),
        "stream": rng.choice([UPSTREAM, DOWNSTREAM]),
        "attributes": toxic,
    }
    assert (await server.ask("POST", "/proxies/p/toxics", body)).status == 200
    present.append(f"t{number}")


async def test_a_slow_reader_slows_the_sender_and_loses_nothing(
    either: Server, upstream: Address
) -> None:
    _, (reader, writer) = await open_through(either, upstream)
    sent = bytes(8_000_000)

    async def send() -> None:
        for at in range(0, len(sent), 100_000):
            writer.write(sent[at : at + 100_000])
            await writer.drain()

    sending = asyncio.create_task(send())
    got = 0
    async with asyncio.timeout(30):
        while got < len(sent):
            got += len(await reader.read(50_000))
        await sending
    assert got == len(sent)


# -- latency, bandwidth, slicer --------------------------------------------------------------


async def test_latency_delays_by_at_least_its_value(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "latency", latency=100)
    assert await exchange(streams, b"x") >= 0.099
    await either.remove("p", "latency_downstream")
    await wait_quick(lambda: exchange(streams, b"x"), 0.099)


async def test_latency_of_a_stream_is_not_added_up(either: Server, upstream: Address) -> None:
    _, (reader, writer) = await open_through(either, upstream)
    await either.add("p", "latency", latency=100)
    pace = await either.connect(upstream)
    now = asyncio.get_running_loop().time

    async def stream_s() -> float:
        began = now()
        for number in range(20):
            writer.write(bytes([number]))
            await exchange(pace, bytes(10_000))  # so that the bytes travel one by one
        async with asyncio.timeout(10):
            assert await reader.readexactly(20) == bytes(range(20))
        return now() - began

    await wait_quick(stream_s, 1.0)


async def test_jitter_keeps_the_order(embedded: Server, upstream: Address) -> None:
    _, (reader, writer) = await open_through(embedded, upstream)
    await embedded.add("p", "latency", latency=30, jitter=30)
    pace = await embedded.connect(upstream)
    for number in range(50):
        writer.write(bytes([number]))
        await exchange(pace, bytes(1_000))  # so that the bytes travel one by one
    async with asyncio.timeout(5):
        assert await reader.readexactly(50) == bytes(range(50))


async def test_bandwidth_limits_the_rate(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "bandwidth", rate=100)
    assert await exchange(streams, bytes(50_000)) >= 0.4
    await wait_quick(lambda: exchange(streams, bytes(50_000)), 2.0)


async def test_bandwidth_of_zero_holds_until_it_is_removed(
    either: Server, upstream: Address
) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "bandwidth", "upstream", rate=0)
    streams[1].write(b"held")
    assert await is_silent(streams)
    await either.remove("p", "bandwidth_upstream")
    async with asyncio.timeout(5):
        assert await streams[0].readexactly(4) == b"held"


async def test_raising_the_rate_lets_the_held_bytes_go(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "bandwidth", rate=0)
    streams[1].write(b"held")
    assert await is_silent(streams)
    path = "/proxies/p/toxics/bandwidth_downstream"
    await either.ask("POST", path, {"attributes": {"rate": 1_000}})
    async with asyncio.timeout(5):
        assert await streams[0].readexactly(4) == b"held"


async def test_a_slicer_cuts_and_spaces_the_pieces(either: Server, upstream: Address) -> None:
    _, (reader, writer) = await open_through(either, upstream)
    await either.add("p", "slicer", average_size=10, size_variation=0, delay=40_000)
    writer.write(bytes(range(100)))
    pieces: list[bytes] = []
    async with asyncio.timeout(10):
        while sum(map(len, pieces)) < 100:
            pieces.append(await reader.read(100))
    assert b"".join(pieces) == bytes(range(100))
    assert len(pieces) > 5 and max(map(len, pieces)) < 60


async def test_a_slicer_of_no_size_cuts_single_bytes(embedded: Server, upstream: Address) -> None:
    _, streams = await open_through(embedded, upstream)
    await embedded.add("p", "slicer")
    await exchange(streams, bytes(range(200)))


# -- ends ------------------------------------------------------------------------------------


async def test_slow_close_delays_the_end(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "slow_close", "upstream", delay=150)
    now = asyncio.get_running_loop().time
    began = now()
    streams[1].write_eof()
    assert await end_of(streams) == b""
    assert now() - began >= 0.149


async def test_removing_slow_close_lets_a_held_end_go(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "slow_close", "upstream", delay=3_600_000)
    streams[1].write_eof()
    assert await is_silent(streams)
    await either.remove("p", "slow_close_upstream")
    assert await end_of(streams) == b""


async def test_timeout_zero_is_a_black_hole_until_removed(
    either: Server, upstream: Address
) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "timeout")
    streams[1].write(b"lost")
    assert await is_silent(streams)
    await either.remove("p", "timeout_downstream")
    assert await end_of(streams) == b""


async def test_timeout_closes_after_its_time(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    now = asyncio.get_running_loop().time
    began = now()
    await either.add("p", "timeout", timeout=120)
    streams[1].write(b"lost")
    assert await end_of(streams) == b""
    assert now() - began >= 0.115


async def test_limit_data_closes_after_its_bytes(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "limit_data", bytes=100)
    streams[1].write(bytes(60))
    async with asyncio.timeout(5):
        assert len(await streams[0].readexactly(60)) == 60
    streams[1].write(bytes(60))
    assert len(await end_of(streams)) == 40


async def test_limit_data_remembers_what_passed_when_changed(
    either: Server, upstream: Address
) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "limit_data", bytes=100)
    await exchange(streams, bytes(60))
    path = "/proxies/p/toxics/limit_data_downstream"
    await either.ask("POST", path, {"attributes": {"bytes": 150}})
    streams[1].write(bytes(100))
    assert len(await end_of(streams)) == 90


async def test_reset_peer_resets_new_connections_at_their_first_bytes(
    either: Server, upstream: Address
) -> None:
    where = await either.proxy("p", upstream)
    await either.add("p", "reset_peer", "upstream", timeout=20)
    streams = await either.connect(where)
    streams[1].write(b"x")
    with pytest.raises(ConnectionResetError):
        await end_of(streams)


async def test_reset_peer_resets_older_connections_too(embedded: Server, upstream: Address) -> None:
    _, streams = await open_through(embedded, upstream)
    await embedded.add("p", "reset_peer")
    streams[1].write(b"x")
    with pytest.raises(ConnectionResetError):
        await end_of(streams)


async def test_disabling_a_proxy_with_reset_peer_resets_idle_connections(
    embedded: Server, upstream: Address
) -> None:
    _, streams = await open_through(embedded, upstream)
    await embedded.add("p", "reset_peer", "upstream")
    await embedded.ask("POST", "/proxies/p", {"enabled": False})
    with pytest.raises(ConnectionResetError):
        await end_of(streams)


async def test_a_refused_upstream_is_not_seen_behind_a_cut(embedded: Server) -> None:
    where = await embedded.proxy("p", Address("127.0.0.1", 1))
    await embedded.add("p", "slow_close", delay=3_600_000)
    streams = await embedded.connect(where)
    assert await is_silent(streams)
    await embedded.remove("p", "slow_close_downstream")
    assert await end_of(streams) == b""


async def test_an_end_travels_behind_the_bytes_before_it(either: Server, upstream: Address) -> None:
    _, streams = await open_through(either, upstream)
    await either.add("p", "bandwidth", "upstream", rate=0)
    streams[1].write(b"last words")
    streams[1].close()
    # The far side must get the words before the end: it echoes them, and then closes.
    await either.remove("p", "bandwidth_upstream")
    other = await either.connect(Address(*streams[1].get_extra_info("peername")[:2]))
    await exchange(other, b"still here")


# -- chance ----------------------------------------------------------------------------------


async def bitten(seed: int, upstream: Address, extra: bool = False) -> list[bool]:
    """Which of 20 connections a toxic of toxicity one half bites."""
    async with running(EMBEDDED, seed) as server:
        where = await server.proxy("p", upstream)
        if extra:
            await server.add("p", "noop", "upstream", toxicity=0.5)
        await server.add("p", "limit_data", toxicity=0.5, bytes=1)
        bites = []
        for _ in range(20):
            streams = await server.connect(where)
            streams[1].write(b"xy")
            async with asyncio.timeout(5):
                first = await streams[0].read(2)
                bites.append(len(first) == 1 and await streams[0].read(1) == b"")
        return bites


async def test_a_seed_decides_which_connections_are_bitten(upstream: Address) -> None:
    first = await bitten(1, upstream)
    assert first == await bitten(1, upstream)
    assert first != await bitten(2, upstream)
    assert 3 <= sum(first) <= 17


async def test_a_further_toxic_leaves_the_draws_of_the_others(upstream: Address) -> None:
    assert await bitten(3, upstream) == await bitten(3, upstream, extra=True)


def test_every_toxic_of_toxiproxy_is_there() -> None:
    assert set(STAGES) == {
        *("latency", "bandwidth", "slow_close", "timeout", "reset_peer"),
        *("slicer", "limit_data", "noop"),
    }
