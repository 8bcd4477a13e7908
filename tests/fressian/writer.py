"""Writes Fressian and Jepsen's blocks, for values and files that no real writer would make.

Small on purpose: of the many ways to write a value this is one. That real ones are read is shown by
the samples beside it, which Clojure's own library has written.
"""

from __future__ import annotations

import struct
from typing import Any
from zlib import crc32

KEY, NULL, PUT = b"\xca", b"\xf7", b"\xcd"

FRESSIAN, PARTIAL_MAP, STREAM, BIG_VECTOR = 2, 3, 4, 5


class Keyword(str):
    pass


class Writer:
    """Writes values one after the other; keywords' names are cached, as Clojure's library does."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.cached: dict[str, int] = {}
        self.structs: dict[str, int] = {}

    def write(self, value: Any) -> Writer:
        if value is None:
            self.out += NULL
        elif isinstance(value, bool):
            self.out += b"\xf5" if value else b"\xf6"
        elif isinstance(value, int):
            self.out += integer(value)
        elif isinstance(value, float):
            self.out += b"\xfa" + struct.pack(">d", value)
        elif isinstance(value, Keyword):
            self.out += KEY + NULL
            self.cache(value)
        elif isinstance(value, str):
            self.out += string(value)
        elif isinstance(value, list):
            self.out += (
                bytes([0xE4 + len(value)]) if len(value) < 8 else b"\xec" + integer(len(value))
            )
            for item in value:
                self.write(item)
        else:
            assert isinstance(value, dict), value
            self.out += b"\xc0"
            self.write([part for item in value.items() for part in item])
        return self

    def cache(self, text: str) -> None:
        place = self.cached.get(text)
        if place is None:
            self.cached[text] = len(self.cached)
            self.out += PUT + string(text)
        else:
            self.out += bytes([0x80 + place]) if place < 32 else b"\xcc" + integer(place)

    def struct(self, tag: str, *parts: Any) -> Writer:
        place = self.structs.setdefault(tag, len(self.structs))
        if place == len(self.structs) - 1 and tag.encode() not in self.out:
            self.out += b"\xef" + string(tag) + integer(len(parts))
        else:
            self.out += bytes([0xA0 + place])
        for part in parts:
            self.write(part)
        return self

    def op(self, index: int, time: int, kind: str, process: Any, f: str, value: Any) -> Writer:
        name = Keyword(process) if isinstance(process, str) else process
        parts = (index, time, Keyword(kind), name, Keyword(f), value, None)
        return self.struct("jepsen.history.Op", *parts)


def string(text: str) -> bytes:
    raw = text.encode()
    return (bytes([0xDA + len(raw)]) if len(raw) < 8 else b"\xe3" + integer(len(raw))) + raw


def integer(value: int) -> bytes:
    """In as few bytes as there are codes for."""
    if -1 <= value < 64:
        return bytes([value & 0xFF])
    if not -(2**63) <= value < 2**63:
        raw = value.to_bytes(value.bit_length() // 8 + 1, signed=True)
        return b"\xc6" + b"\xd9" + integer(len(raw)) + raw
    for zero, width, bits in (
        (0x50, 1, 12), (0x68, 2, 19), (0x72, 3, 25), (0x76, 4, 33), (0x7A, 5, 41), (0x7E, 6, 49),
    ):  # fmt: skip
        if -(1 << bits) <= value < 1 << bits:
            low = value & (1 << 8 * width) - 1
            return bytes([zero + (value >> 8 * width)]) + low.to_bytes(width)
    return b"\xf8" + value.to_bytes(8, signed=True)


def encoded(*values: Any) -> bytes:
    writer = Writer()
    for value in values:
        writer.write(value)
    return bytes(writer.out)


# -- files ----------------------------------------------------------------------------------------


def sealed(kind: int, data: bytes) -> bytes:
    length = 28 + len(data)
    checksum = crc32(struct.pack(">QIH14x", length, 0, kind), crc32(data))
    return struct.pack(">QIH14x", length, checksum, kind) + data


def file_of(blocks: dict[int, tuple[int, bytes]], root: int, version: int = 1) -> bytes:
    """A file of blocks, {number: (kind, data)}, with its index behind them."""
    out, offsets = bytearray(18), {}
    for number, (kind, data) in blocks.items():
        offsets[number] = len(out)
        out += sealed(kind, data)
    index = struct.pack(">I", root)
    index += b"".join(struct.pack(">IQ", number, offset) for number, offset in offsets.items())
    at = len(out)
    out += sealed(1, index)
    out[:18] = b"JEPSEN" + struct.pack(">IQ", version, at)
    return bytes(out)


def reference(number: int) -> bytes:
    """A test whose history is in that block."""
    writer = Writer()
    writer.out += b"\xc0\xe6"
    writer.write(Keyword("history")).struct("block-ref", number)
    return bytes(writer.out)


def vector(count: int, *chunks: tuple[int, int]) -> bytes:
    """Of `count` elements; (first index, block) of each chunk."""
    return struct.pack(">Q", count) + b"".join(struct.pack(">QI", *chunk) for chunk in chunks)


def resealed(file: bytes) -> bytes:
    """The file with the checksums that its blocks should have, as far as they follow each other."""
    out, at = bytearray(file), 18
    while at + 28 <= len(out):
        length, _, kind = struct.unpack_from(">QIH", out, at)
        if not 28 <= length <= len(out) - at:
            break
        out[at : at + length] = sealed(kind, bytes(out[at + 28 : at + length]))
        at += length
    return bytes(out)
