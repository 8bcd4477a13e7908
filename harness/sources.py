"""The bytes of a history's file, whether or not it is compressed, and places in them.

A file that begins as gzip's do is unpacked as it is read, whatever it is called; one that ends
before its time is read up to there. A byte order mark is passed over.
"""

from __future__ import annotations

import re
import zlib
from typing import BinaryIO, Final

_BLOCK_BYTES: Final = 1 << 16
_MARK: Final = b"\xef\xbb\xbf"
_MAGIC: Final = b"\x1f\x8b"
_WITH_HEADER: Final = 31  # of zlib: the format is gzip's
_BYTE: Final = re.compile(r" \(byte (\d+)\)$")
_CONTINUING: Final = bytes(range(0x80, 0xC0))
"""Bytes of a character in UTF-8 behind its first one."""


class Misread(ValueError):
    """The text is not as it must be. `offset` says where, in bytes of the unpacked text; `torn`
    that it ends too early."""

    def __init__(self, offset: int, reason: str, *, torn: bool = False) -> None:
        super().__init__(reason)
        self.offset, self.reason, self.torn = offset, reason, torn


class Damaged(Exception):
    """What is compressed cannot be unpacked; the text says why."""


class Source:
    """A file's text, from its beginning. `torn`: what was compressed had no end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.seek(0)
        is_packed = file.read(2) == _MAGIC
        file.seek(0)
        self._unpacker = zlib.decompressobj(_WITH_HEADER) if is_packed else None
        self.torn = False
        self._ready = b""
        self._ready = self.read(len(_MARK)).removeprefix(_MARK)

    def again(self) -> Source:
        """The same text, from its beginning. This one must not be read any more."""
        return Source(self._file)

    def read(self, size: int, /) -> bytes:
        """As many bytes, fewer only at the end.

        Raises:
            Damaged: the file cannot be unpacked.
            OSError: it cannot be read.
        """
        if self._unpacker is None:
            rest = self._file.read(size - len(self._ready)) if size > len(self._ready) else b""
            whole, self._ready = self._ready[:size] + rest, self._ready[size:]
            return whole
        found = [self._ready[:size]]
        self._ready = self._ready[size:]
        missing = size - len(found[0])
        while missing and (block := self._unpacked(missing)):
            found.append(block)
            missing -= len(block)
        return b"".join(found)

    def _unpacked(self, most: int) -> bytes:
        """Some bytes, at most so many; none only at the end."""
        while True:
            assert self._unpacker is not None
            packed = self._unpacker.unconsumed_tail or self._file.read(_BLOCK_BYTES)
            if self._unpacker.eof:
                packed = self._unpacker.unused_data + packed
                if not packed.startswith(_MAGIC):  # what follows is padding
                    return b""
                self._unpacker = zlib.decompressobj(_WITH_HEADER)
            if not packed:
                self.torn = True
                return b""  # zlib holds nothing back when what it was given is used up
            try:
                block = self._unpacker.decompress(packed, most)
            except zlib.error as error:
                raise Damaged(f"cannot be unpacked: {error}") from None
            if block:
                return block


def within(reason: str) -> tuple[str, int | None]:
    """A reason of msgspec's without the byte of the line that it names, and that byte.

    >>> within("not JSON: JSON is malformed: invalid character (byte 4)")
    ('not JSON: JSON is malformed: invalid character', 4)
    """
    match = _BYTE.search(reason)
    return (reason[: match.start()], int(match[1])) if match else (reason, None)


def spot(source: Source, offset: int) -> tuple[int, int]:
    """(line, column) of a place in a text, both from 1; columns are of characters."""
    line, column = 1, 1
    while offset and (block := source.read(min(offset, 1 << 20))):
        offset -= len(block)
        before, newline, rest = block.rpartition(b"\n")
        if newline:
            line += before.count(b"\n") + 1
            column = 1
        column += len(rest.translate(None, _CONTINUING))
    return line, column
