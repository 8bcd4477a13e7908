"""The admin port: a few pages over HTTP, for the harness, scrapers and people.

/health     {"status": "ok"}, or why it does not serve yet
/state      what this node knows of partitions, brokers, the controller and its counters
/metrics    Prometheus text
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from nodes.broker.api.context import Context

TIMEOUT_S = 5.0
JSON = "application/json"
TEXT = "text/plain; version=0.0.4"


class Admin:
    """One node's admin server: one request a connection."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._server: asyncio.Server | None = None
        self._pages: dict[str, tuple[str, Callable[[], bytes]]] = {
            "/health": (JSON, lambda: msgspec.json.encode(health(context))),
            "/state": (JSON, lambda: msgspec.json.encode(state(context))),
            "/metrics": (TEXT, lambda: context.metrics.render(gauges(context)).encode()),
        }

    async def start(self) -> None:
        """Raises OSError: the address cannot be bound."""
        address = self._context.config.bind["admin"]
        self._server = await asyncio.start_server(self._serve, *address)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode(errors="replace").partition(" ")
        path = rest.split(" ", 1)[0].split("?", 1)[0]
        if method != "GET":
            return _response("405 Method Not Allowed", TEXT, b"only GET is served\n")
        if path not in self._pages:
            known = " ".join(self._pages)
            return _response("404 Not Found", TEXT, f"there are {known}\n".encode())
        kind, page = self._pages[path]
        return _response("200 OK", kind, page())


def _response(status: str, kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


def health(context: Context) -> dict[str, Any]:
    """Whether the node serves, and if not, what it waits for."""
    controller = context.controller
    if controller.broker_epoch == 0:
        status = "not registered"
    elif controller.fenced:
        status = "fenced"
    elif controller.leader_id is None:
        status = "no controller"
    else:
        status = "ok"
    return {"status": status, "node": context.config.node, "epoch": controller.broker_epoch}


def state(context: Context) -> dict[str, Any]:
    """What this node knows; another may know more."""
    controller, image = context.controller, context.image
    return {
        "node": context.config.node,
        "id": context.config.id,
        "offset": image.offset,
        "controller": controller.leader_id,
        "term": controller.term,
        "brokers": list(map(msgspec.structs.asdict, image.brokers.values())),
        "quorum": controller.account(),
        "counters": msgspec.structs.asdict(image.counters),
        "partitions": [
            {
                "topic": topic.name,
                "partition": partition.partition,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
            }
            for topic in image.topics.values()
            for partition in topic.partitions
        ],
        "replicas": [
            {
                "partition": partition.name,
                "start": partition.log.start_offset,
                "hw": partition.hw,
                "end": partition.log.end_offset,
                "leading": partition.leading,
                "offline": partition.offline,
            }
            for partition in context.replicas.partitions.values()
        ],
    }


def gauges(context: Context) -> Iterable[tuple[str, str, float]]:
    """(name, help, value) of what is known beside the counters of `Metrics`."""
    image, controller = context.image, context.controller
    partitions = list(context.replicas.partitions.values())
    led = [partition for partition in partitions if partition.leading]
    under = [p for p in led if len(p.state.isr) < len(p.state.replicas)]
    offline = [p for p in partitions if p.offline is not None]
    yield "partitions", "Replicas that this broker has.", len(partitions)
    yield "leaders", "Partitions that this broker leads.", len(led)
    yield "under_replicated", "Partitions led here whose ISR lacks a replica.", len(under)
    yield "offline", "Replicas here whose disk failed.", len(offline)
    yield "metadata_offset", "Metadata applied so far.", image.offset
    yield (
        "controller",
        "Whether this node leads the quorum.",
        controller.leader_id == (context.config.id),
    )
    yield "term", "The quorum's term.", controller.term
    helps = {
        "elections": "Elections of partition leaders.",
        "unclean_elections": "Elections outside the ISR, which may lose what was acknowledged.",
        "isr_shrinks": "ISRs that lost a member.",
        "isr_expands": "ISRs that won a member.",
        "fences": "Brokers that were not heard for a session.",
    }
    for name, text in helps.items():
        yield f"{name}_total", f"{text} Of the whole cluster.", getattr(image.counters, name)
