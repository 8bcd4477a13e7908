"""Frames between nodes: Raft messages, which may be lost, and calls, which are answered or fail.

    frame    length (u32), then MessagePack of one of the structs below

A frame is refused before anything is allocated for it: by its length, and by the length of each
list in it. Until a connection has said who speaks it may only say that, in a few bytes.
"""

from __future__ import annotations

import asyncio
from struct import Struct

import msgspec

from nodes.raft.messages import Message

FRAME_BYTES_MAX = 8 << 20
HELLO_BYTES_MAX = 64

_LENGTH = Struct(">I")


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """First in each direction of a connection: who speaks."""

    id: int


class Note(msgspec.Struct, array_like=True, frozen=True, tag="m"):
    """A Raft message."""

    message: Message


class Call(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    number: int
    method: str
    payload: bytes


class Result(msgspec.Struct, array_like=True, frozen=True, tag="r"):
    number: int
    payload: bytes


class Failure(msgspec.Struct, array_like=True, frozen=True, tag="f"):
    number: int
    text: str


Frame = Hello | Note | Call | Result | Failure

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Malformed(Exception):
    """Bytes that are no frame of ours."""


def framed(frame: Frame) -> bytes:
    payload = _encode(frame)
    assert len(payload) <= FRAME_BYTES_MAX, "what may be sent is bounded where it is made"
    return _LENGTH.pack(len(payload)) + payload


async def read_frame(
    reader: asyncio.StreamReader, bytes_max: int = FRAME_BYTES_MAX
) -> Frame | None:
    """The next frame; None at the end of the stream.

    Raises:
        Malformed: too long (nothing of it was read), or none of ours.
    """
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if size > bytes_max:
            raise Malformed(f"a frame of {size} bytes, where {bytes_max} are allowed")
        data = await reader.readexactly(size)
    except (asyncio.IncompleteReadError, OSError):
        return None
    try:
        frame: Frame = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    return frame
