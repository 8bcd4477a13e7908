"""The node of the echo system: a server small enough to see through any cluster.

Requests are JSON objects, one a line, alike on every port; so are the replies:

    do      with              reply                             on the way
    echo    text              {"node", "listener", "text"}
    tell    peer, text        {}, at once                       text goes to the peer's "heard"
    ask     peer, text        the peer's echo                   over the kept peer connection
    heard                     {"heard": [text, …]}
    add     sync              {"count"}                         one more, in a file
    count                     {"count"}, as the file had it at the start, plus what was added
    exit    status            none: the process ends

Standard library only, since it is sent as a file to wherever it runs. `run(host, config)` needs of
its host a little of what `harness.host.contract` has: a log, and files that are opened and synced.
`main` brings a host of its own; on a simulated machine it is that machine's.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from pathlib import Path
from typing import Any


class Echo:
    """One node's state and the answers to its requests."""

    def __init__(self, host: Any, config: dict[str, Any]) -> None:
        self.host, self.config, self.name = host, config, config["node"]
        self.heard: list[str] = []
        self.file = host.disk.open("count", create=True)
        self.count = int(self.file.read_at(0, 20) or b"0")
        self.peers: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def answer(self, request: dict[str, Any], listener: str) -> dict[str, Any]:
        match request["do"]:
            case "echo":
                return {"node": self.name, "listener": listener, "text": request["text"]}
            case "tell":
                _, writer = await self.peer(request["peer"])
                writer.write(line({"do": "hear", "text": request["text"]}))
                return {}
            case "hear":
                self.heard.append(request["text"])
                return {}
            case "ask":
                reader, writer = await self.peer(request["peer"])
                writer.write(line({"do": "echo", "text": request["text"]}))
                while reply := await reader.readline():
                    if json.loads(reply):  # not the answer to a "hear"
                        return dict(json.loads(reply))
                raise ConnectionResetError
            case "heard":
                return {"heard": self.heard}
            case "add":
                self.count += 1
                self.file.write_at(0, str(self.count).encode())
                if request["sync"]:
                    await self.file.fsync()
                return {"count": self.count}
            case "count":
                return {"count": self.count}
            case "exit":
                self.host.log("told to exit")
                asyncio.get_running_loop().call_soon(sys.exit, request["status"])
                await asyncio.Event().wait()
        return {"error": "no such request"}

    async def peer(self, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if name not in self.peers:
            where = self.config["peers"][name]["peer"]
            self.peers[name] = await asyncio.open_connection(*where)
        return self.peers[name]


def line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


async def run(host: Any, config: dict[str, Any]) -> None:
    """Listen on all ports and serve for ever."""
    if config["options"].get("refuses_to_start"):
        host.log("the echo node refuses to start")
        raise SystemExit(7)
    if config["options"].get("never_ready"):
        host.log("the echo node will never listen")
        await asyncio.Event().wait()
    echo = Echo(host, config)
    await host.disk.fsync_dir()  # else a power failure may take the file that was just made

    async def serve(
        listener: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while request := await reader.readline():
                writer.write(line(await echo.answer(json.loads(request), listener)))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            echo.peers.clear()  # dial again at the next request
        finally:
            writer.close()

    for listener, where in config["bind"].items():
        await asyncio.start_server(functools.partial(serve, listener), *where)
    host.log(f"{echo.name} listens")
    await asyncio.Event().wait()


class File:
    """A file; a volatile one keeps in memory what was not fsynced."""

    def __init__(self, path: Path, volatile: bool) -> None:
        self.path, self.volatile = path, volatile
        self.content = path.read_bytes() if path.exists() else b""

    def read_at(self, offset: int, size: int) -> bytes:
        return self.content[offset : offset + size]

    def write_at(self, offset: int, data: bytes) -> None:
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]
        if not self.volatile:
            self.path.write_bytes(self.content)

    async def fsync(self) -> None:
        with self.path.open("wb") as file:
            file.write(self.content)
            file.flush()
            os.fsync(file.fileno())


class Disk:
    def __init__(self, root: Path, volatile: bool) -> None:
        self.root, self.volatile = root, volatile

    def open(self, path: str, *, create: bool = False) -> File:
        return File(self.root / path, self.volatile)

    async def fsync_dir(self) -> None:
        """Nothing to do: a kill is all that a real process meets."""


class Machine:
    """The host of a real process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.disk = Disk(Path(config["data"]), config["disk"] == "volatile")

    def log(self, event: str) -> None:
        print(event, flush=True)


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())

    async def in_a_process() -> None:
        # Tasks that end with the process are no news, and would push its last words out of sight.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await run(Machine(config), config)

    asyncio.run(in_a_process())


if __name__ == "__main__":
    main()
