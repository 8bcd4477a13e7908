"""A broker from start to end: what is made in which order, and who answers what.

    start   clean-shutdown marker → replicas → controller → peers' listener → admin port
            → in service for the first time → clients' listeners
    end     fenced by its own wish → listeners → replicas (everything stored) → controller → marker

Clients are refused until the node is in service: before, it may know nothing of the cluster, and
would say so to clients that ask it what to do. (Kafka opens its listeners then, too.)

The marker is the promise of the last process that its logs are what the cluster believes they are;
it is taken away, durably, before anything is written. Without it the broker registers as one that
may have lost what it had not synced.
"""

from __future__ import annotations

import asyncio
import contextlib

from harness.host.contract import Disk, Host
from nodes.broker.admin import Admin
from nodes.broker.api.context import PEER, Context
from nodes.broker.config import NodeConfig
from nodes.broker.controller.commands import Fence
from nodes.broker.errors import BrokerError
from nodes.broker.metadata import MetadataImage
from nodes.broker.parts import PARTS, Parts, parts_of
from nodes.broker.server import Listener
from nodes.broker.wire import Malformed, Request, encode_response

MARKER = "clean-shutdown"
HAND_OVER_S = 1.0
"""How long a node that ends waits for the controller, which may be gone."""

FOR_PEERS = frozenset(
    {
        "AddPartitionsToTxn",
        "ApiVersions",
        "Fetch",
        "ListOffsets",
        "OffsetForLeaderEpoch",
        "WriteTxnMarkers",
    }
)
"""What is served on the listener of the brokers, who know each other by their configuration."""


class NodeFailed(Exception):
    """The node cannot go on. The text is for the log."""


class Node:
    """One broker process."""

    def __init__(
        self, host: Host, config: NodeConfig, *, clean: bool, parts: Parts = PARTS
    ) -> None:
        self._host, self._config, self._handlers = host, config, parts.handlers
        controller = parts.new_controller(host, config, clean=clean)
        replicas = parts.new_replicas(host, config, controller)
        self.context = Context.of(host, config, controller, replicas)
        bytes_max = config.ms("socket.request.max.bytes")
        self._peers, *self._clients = (
            Listener(host, name, config.bind[name], self._handle, bytes_max)
            for name in (PEER, *config.listeners)
        )
        self._opening: asyncio.Task[None] | None = None
        self._admin = Admin(self.context)

    async def start(self) -> None:
        """Raises OSError: an address cannot be bound, or the disk fails."""
        context = self.context
        await context.replicas.start()
        for listener in (self._peers, *self._clients):
            await listener.bind()
        context.controller.subscribe(self._on_metadata)
        await context.controller.start()
        context.start()
        await self._peers.serve()
        await self._admin.start()

    async def wait_failed(self) -> None:
        """Raises NodeFailed, should that happen."""
        failure = await self.context.controller.wait_failed()
        raise NodeFailed(f"the controller failed: {type(failure).__name__}: {failure}")

    async def hand_over(self) -> None:
        """Leave service in good order, so that others lead at once and clients are told so."""
        controller = self.context.controller
        if controller.broker_epoch and not controller.fenced:
            with contextlib.suppress(BrokerError):
                command = Fence(self._config.id, controller.broker_epoch)
                await controller.submit(command, HAND_OVER_S)

    async def close(self, *, clean: bool) -> None:
        self._admin.close()
        if self._opening is not None:
            self._opening.cancel()
        for listener in (self._peers, *self._clients):
            listener.close()
        await self.context.close()
        await self.context.replicas.close(clean=clean)
        await self.context.controller.close()

    def _on_metadata(self, old: MetadataImage, new: MetadataImage) -> None:
        if self._opening is None and not self.context.controller.fenced:
            self._opening = asyncio.create_task(self._open(), name="opening for clients")

    async def _open(self) -> None:
        for listener in self._clients:
            await listener.serve()
        self._host.log("node.open", id=self._config.id)

    async def _handle(self, request: Request, listener: str) -> bytes | None:
        api = request.api.name
        if listener == PEER and api not in FOR_PEERS:
            raise Malformed(f"{api} is not served to peers")
        if request.body is None and api != "ApiVersions":
            raise Malformed(f"{api} v{request.version} is not served")
        clock = self._host.clock
        began_ns = clock.monotonic_ns()
        answer = await self._handlers[api](self.context, request, listener)
        self.context.metrics.answered(api, (clock.monotonic_ns() - began_ns) / 1e9)
        return None if answer is None else encode_response(request, answer)


async def take_marker(disk: Disk) -> bool:
    """Whether the last process ended cleanly. Its word is taken back before it can become a lie."""
    if not disk.exists(MARKER):
        return False
    disk.remove(MARKER)
    await disk.fsync_dir()
    return True


async def run(host: Host, config: NodeConfig) -> None:
    """Serve until cancelled, then end cleanly.

    Raises:
        NodeFailed: the node cannot go on. OSError: it could not start.
    """
    clean = await take_marker(host.disk)
    host.log("node.starting", id=config.id, clean=clean)
    node = Node(host, config, clean=clean, parts=parts_of(host, config.bug))
    try:
        await node.start()
        host.log("node.started", id=config.id)
        await node.wait_failed()
    except asyncio.CancelledError:
        await node.hand_over()
        await node.close(clean=True)
        await host.disk.replace(MARKER, b"")
        host.log("node.ended", id=config.id)
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            await node.close(clean=False)
        raise
