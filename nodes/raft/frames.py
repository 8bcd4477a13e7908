"""Frames of bytes on disk that tell a torn write from later damage.

    frame    "RaFt", length (u32), CRC-32C of the payload (u32), CRC-32C of the header so far (u32),
             a mark; the payload; a mark

No mark and no byte of the magic is zero, so that a frame of which a part was never written shows
zeros at its end or in a whole sector, or ends too soon. MessagePack of what Raft stores does not
hold a sector of zeros by itself.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct

from crc32c import crc32c

MAGIC = b"RaFt"
MARK = b"\xa5"
SECTOR_BYTES = 512

_HEADER = Struct(">4sIII1s")
_CHECKED_BYTES = 12  # of the header: what its own checksum covers


class Found(Enum):
    """What is at a place where there is no whole frame."""

    NOTHING_WHOLE = "no whole frame from here to the end"
    WHOLE_ONE_LATER = "a whole frame further on"


def frame(payload: bytes) -> bytes:
    checked = _HEADER.pack(MAGIC, len(payload), crc32c(payload), 0, MARK)[:_CHECKED_BYTES]
    seal: int = crc32c(checked)
    return checked + seal.to_bytes(4, "big") + MARK + payload + MARK


def frame_size(payload: bytes) -> int:
    return _HEADER.size + len(payload) + len(MARK)


def find_frame(data: bytes, at: int) -> bytes | Found:
    """The payload of the frame at `at`, if it is whole."""
    payload = _payload(data, at)
    if payload is not None:
        return payload
    later = at
    while (later := data.find(MAGIC, later + 1)) >= 0:
        if _payload(data, later) is not None:
            return Found.WHOLE_ONE_LATER
    return Found.NOTHING_WHOLE


def is_torn(data: bytes, at: int) -> bool:
    """Whether the frame at `at`, which is not whole, may be what a crash left of one."""
    body = at + _HEADER.size
    if len(data) < body or _unwritten(data, at, body):
        return True
    length = _length(data, at)
    if length is None:
        return False
    end = body + length + len(MARK)
    return len(data) < end or _unwritten(data, at, end)


def _length(data: bytes, at: int) -> int | None:
    """What the header at `at` says of the payload; None if it is no header."""
    if len(data) - at < _HEADER.size:
        return None
    magic, length, _, crc, mark = _HEADER.unpack_from(data, at)
    whole = crc32c(data[at : at + _CHECKED_BYTES]) == crc
    return int(length) if whole and magic == MAGIC and mark == MARK else None


def _payload(data: bytes, at: int) -> bytes | None:
    length = _length(data, at)
    if length is None:
        return None
    begin = at + _HEADER.size
    end = begin + length
    payload, crc = data[begin:end], _HEADER.unpack_from(data, at)[2]
    return payload if data[end : end + 1] == MARK and crc32c(payload) == crc else None


def _unwritten(data: bytes, begin: int, end: int) -> bool:
    """Whether a part of these bytes shows zeros as if it had never been written."""
    if data[end - 1] == 0:
        return True
    edges = range(begin - begin % SECTOR_BYTES, end, SECTOR_BYTES)
    return any(not any(data[max(edge, begin) : min(edge + SECTOR_BYTES, end)]) for edge in edges)
