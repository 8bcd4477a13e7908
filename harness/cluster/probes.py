"""Connections that ask a proxy whether bytes get through, whatever speaks behind it.

They send no bytes, so that no server is disturbed; it sees a client that came and went.
"""

from __future__ import annotations

import asyncio

from harness.cluster.contract import Address

ECHO_DEADLINE_S = 5.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def end_echo(listen: Address, wait_s: float) -> bool:
    """Whether a connection that sends nothing but its end gets an end back within `wait_s`."""
    try:
        async with asyncio.timeout(wait_s):
            reader, writer = await asyncio.open_connection(*listen)
            try:
                writer.write_eof()
                while await reader.read(4096):  # a greeting, say
                    pass
            finally:
                writer.close()
    except TimeoutError:
        return False
    except OSError:
        return True  # a reset is an end too
    return True


async def listens(address: Address) -> bool:
    """Whether anybody accepts connections there."""
    try:
        _, writer = await connect(address)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def connect(listen: Address) -> Streams:
    """Open a connection that the caller closes. Raises OSError or TimeoutError."""
    async with asyncio.timeout(ECHO_DEADLINE_S):
        return await asyncio.open_connection(*listen)


async def end_of(connection: Streams) -> str:
    """How a connection ended: "reset", "closed", or "open" if it did not in time."""
    try:
        async with asyncio.timeout(ECHO_DEADLINE_S):
            while await connection[0].read(4096):
                pass
    except TimeoutError:
        return "open"
    except OSError:
        return "reset"
    return "closed"
