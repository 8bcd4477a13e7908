"""Connections that come while their proxy changes, in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from harness.cluster.contract import Address
from harness.cluster.relay import End, Proxy
from harness.cluster.toxics import DOWNSTREAM, UPSTREAM, Toxic


@pytest.fixture
async def proxy(upstream: Address) -> AsyncIterator[Proxy]:
    proxy = Proxy("p", "127.0.0.1:0", str(upstream), seed=1)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def connect(accepted: End) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """What the loop does with an accepted connection some turns after it asked for a protocol."""
    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: accepted, theirs)
    return await asyncio.open_connection(sock=ours)


async def test_a_toxic_added_between_accept_and_connection_holds(proxy: Proxy) -> None:
    accepted = proxy._accept()
    toxic = Toxic("bandwidth", "held", UPSTREAM, 1.0, {"rate": 0})
    proxy.add(toxic)
    reader, writer = await connect(accepted)
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(5), 0.2)
    proxy.remove(toxic)
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
    writer.close()


async def test_a_toxic_removed_between_accept_and_connection_is_not_there(proxy: Proxy) -> None:
    toxic = Toxic("bandwidth", "held", DOWNSTREAM, 1.0, {"rate": 0})
    proxy.add(toxic)
    accepted = proxy._accept()
    proxy.remove(toxic)
    reader, writer = await connect(accepted)
    writer.write(b"hello")
    assert await asyncio.wait_for(reader.readexactly(5), 5) == b"hello"
    writer.close()


async def test_a_proxy_disabled_between_accept_and_connection_ends_it(proxy: Proxy) -> None:
    accepted = proxy._accept()
    await proxy.stop()
    reader, writer = await connect(accepted)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    assert proxy.connections == {}
    writer.close()
