"""One small HTTP request to a node's admin port: no pool, no proxy, one deadline."""

from __future__ import annotations

import asyncio

import msgspec

from harness.cluster.contract import Address

BYTES_MAX = 4 << 20


async def get(address: Address, path: str, timeout_s: float = 1.0) -> bytes | None:
    """The body of a 200 answer; None if there is no such answer in time."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(*address)
            try:
                request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
                writer.write(request.encode())
                answer = await reader.read(BYTES_MAX)
                while len(answer) < BYTES_MAX and (more := await reader.read(BYTES_MAX)):
                    answer += more
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if b" 200 " in head.split(b"\r\n", 1)[0] + b" " else None


async def get_json(address: Address, path: str, timeout_s: float = 1.0) -> dict[str, object] | None:
    """The JSON object of a 200 answer; None if there is no such answer in time."""
    body = await get(address, path, timeout_s)
    if body is None:
        return None
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None
