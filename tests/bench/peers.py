"""The same ping-pong and the same chain of callbacks on our loop and on its peers of PyPI.

Run: python tests/bench/peers.py assay|simloop|simloom|detangle|asyncio ROUNDS

Prints one line of JSON. The peers need Python 3.12; each is timed with what it does by default,
traces for its reports included. Ping-pong: two hosts, protocols, one small message under way.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

PORT = 7000


class Pong(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Ping(Pong):
    def __init__(self, rounds: int) -> None:
        self.left = rounds
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(data)
        else:
            self.done.set_result(None)


async def serve(host: str) -> None:
    await asyncio.get_running_loop().create_server(Pong, host, PORT)
    await asyncio.Event().wait()


async def play(host: str, rounds: int, spent: dict[str, float]) -> None:
    """A connection, `rounds` round trips on it, and as many callbacks that each make the next."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.1)
    transport, ping = await loop.create_connection(lambda: Ping(rounds), host, PORT)
    began = time.process_time()
    transport.write(b"ping")
    await ping.done
    spent["round trips"] = time.process_time() - began
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    began = time.process_time()
    step(rounds)
    await done
    spent["callbacks"] = time.process_time() - began


Two = Callable[[Coroutine[Any, Any, None], Coroutine[Any, Any, None]], None]


def on_assay(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, None]) -> None:
    from harness.sim.world import World

    async def main() -> None:
        ended = asyncio.get_running_loop().create_future()
        machine = world.machine("b")
        machine.on_end = ended.set_result
        machine.start(lambda host: client)
        assert await ended == 0, machine.lines

    with World(1) as world:
        world.machine("a").start(lambda host: server)
        world.run(main())


def on_simloop(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, None]) -> None:
    loop = importlib.import_module("simloop").SimLoop(seed=1)

    async def main() -> None:
        loop.net.host("a").create_task(server)
        await loop.net.host("b").create_task(client)

    loop.run_until_complete(main())


def on_simloom(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, None]) -> None:
    async def main(world: Any) -> None:
        world.host("a").spawn(server)
        await world.host("b").spawn(client)

    importlib.import_module("simloom").run(main, seed=1)


def on_detangle(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, None]) -> None:
    detangle = importlib.import_module("detangle")

    async def main() -> None:
        detangle.spawn(server, host="a")
        await detangle.spawn(client, host="b")

    detangle.run(main, seed=1, max_steps=10**9)


def on_asyncio(server: Coroutine[Any, Any, None], client: Coroutine[Any, Any, None]) -> None:
    async def main() -> None:
        serving = asyncio.create_task(server)
        await client
        serving.cancel()

    asyncio.run(main())


LIBRARIES: dict[str, tuple[str, Two]] = {
    "assay": ("a", on_assay),
    "simloop": ("a", on_simloop),
    "simloom": ("a", on_simloom),
    "detangle": ("a", on_detangle),
    "asyncio": ("127.0.0.1", on_asyncio),
}


def main() -> None:
    name, rounds = sys.argv[1], int(sys.argv[2])
    host, run = LIBRARIES[name]
    spent: dict[str, float] = {}
    run(serve(host), play(host, rounds, spent))
    rates = {what: round(rounds / seconds) for what, seconds in spent.items()}
    print(
        json.dumps({"library": name, "python": sys.version.split()[0], "rounds": rounds, **rates})
    )


if __name__ == "__main__":
    main()
