"""The two grounds that a program is tried on: the real asyncio over loopback, and a world.

    play(client, serve)    what `client(host, port)` returned, or the name of what it raised

`serve(host, port)` returns a listening server. In a world, server and client are programs of two
machines, and the same is played under several seeds: timing, segmentation and the order of hosts
differ, and the outcome must not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from harness.sim.world import World

DEADLINE_S = 20.0
SEEDS = range(5)
PORT = 7000

Serve = Callable[[str, int], Coroutine[Any, Any, asyncio.AbstractServer]]
Client = Callable[[str, int], Coroutine[Any, Any, Any]]


async def nobody(host: str, port: int) -> asyncio.AbstractServer:
    """For programs that talk to nobody."""
    return await asyncio.start_server(lambda reader, writer: writer.close(), host, port)


async def outcome(client: Client, host: str, port: int) -> Any:
    """What it returned; an OSError counts by its kind, since its words are the system's."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await client(host, port)
    except OSError as error:
        return type(error).__name__


def real(client: Client, serve: Serve = nobody) -> Any:
    async def both() -> Any:
        server = await serve("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        try:
            return await outcome(client, "127.0.0.1", port)
        finally:
            server.close()

    return asyncio.run(both())


def simulated(client: Client, serve: Serve = nobody) -> Any:
    first, *others = [played(seed, client, serve) for seed in SEEDS]
    for other in others:
        assert other == first, "the outcome depends on the seed"
    return first


def played(seed: int, client: Client, serve: Serve) -> Any:
    came: list[Any] = []
    errors: list[BaseException] = []

    async def server(host: Any) -> None:
        await serve("server", PORT)
        await asyncio.Event().wait()

    async def ask(host: Any) -> None:
        await asyncio.sleep(0.01)  # by then the server listens
        try:
            came.append(await outcome(client, "server", PORT))
        except BaseException as error:
            errors.append(error)

    async def wait() -> None:
        while not came and not errors:
            await asyncio.sleep(0.01)

    with World(seed) as world:
        world.machine("server").start(server)
        world.machine("client").start(ask)
        world.run(wait())
    if errors:
        raise errors[0]
    return came[0]
