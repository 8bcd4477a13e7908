"""The file in which Jepsen keeps a test, `test.jepsen`: where its blocks are, and which are whole.

    JEPSEN | version, 4 bytes | offset of the index, 8 bytes | block | block | …
    block: length, 8 bytes | CRC-32, 4 bytes | kind, 2 bytes | 14 bytes unused | data

All numbers are big-endian; a length counts the header's 28 bytes; a checksum is of the data, then
of the header with a checksum of zero. Blocks are put behind one another while a test runs, and a
block's header is written last, into a hole of zeros. An index says which block has which number,
and which one is the test. Every state worth keeping is a new index at the end; only then the file's
header points to it. So a file of a run that was killed has an index, and behind what it names the
*tail*: whole blocks, and an unfinished one. A file that was cut short has lost its last index, but
not the ones before.

Blind to: what the data mean (`harness.jepsen_history`). A checksum does not tell who made a file.
Source: the description of jepsen.store.format (jepsen-io/jepsen).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final
from zlib import crc32

MAGIC: Final = b"JEPSEN"
VERSIONS: Final = (0, 1)
FIRST: Final = 18
"""Where the first block begins."""

HEADER: Final = 28
_HEADER = struct.Struct(">QIH14x")

INDEX, FRESSIAN, PARTIAL_MAP, STREAM, BIG_VECTOR = KINDS = range(1, 6)
UNKNOWN: Final = 0
"""The kind of a block whose header was never written."""


class BlockError(ValueError):
    """The file is damaged, or none of Jepsen's. `offset` says where, in bytes."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset, self.reason = offset, reason


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header. One that is not `whole` goes on to the end of the file, or beyond it."""

    offset: int
    kind: int
    length: int
    checksum: int
    whole: bool

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Index:
    """Which block is where.

    Attributes:
        at: where the index itself is.
        root: the number of the block that is the test; 0 if there is none.
        offsets: of the blocks, by number.
        tail: blocks behind all of these; only the last can be one that is not whole.
        is_lost: the file's header pointed to a later index, which is not there any more.
    """

    at: int
    root: int
    offsets: dict[int, int]
    tail: tuple[Block, ...]
    is_lost: bool


class Blocks:
    """The blocks of a file.

    Raises:
        BlockError: it does not begin as a file of Jepsen's does.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        file.seek(0)
        head = file.read(FIRST)
        if head[: len(MAGIC)] != MAGIC:
            raise BlockError(0, "this is no test of Jepsen's: it does not begin with JEPSEN")
        if len(head) < FIRST:
            raise BlockError(len(head), "the file ends within its header")
        self.version, self.pointer = struct.unpack(">IQ", head[len(MAGIC) :])
        if self.version not in VERSIONS:
            raise BlockError(len(MAGIC), f"version {self.version} of the format; 0 and 1 are known")

    def block(self, offset: int) -> Block:
        """The header of the block that begins there.

        Raises:
            BlockError: none does.
        """
        if not FIRST <= offset < self.size:
            raise BlockError(min(offset, self.size), f"there is no block at byte {offset}")
        self.file.seek(offset)
        raw = self.file.read(HEADER)
        if len(raw) < HEADER or not any(raw):
            return Block(offset, UNKNOWN, self.size - offset, 0, False)
        length, checksum, kind = _HEADER.unpack(raw)
        if length < HEADER or kind not in KINDS:
            raise BlockError(offset, "this is no header of a block")
        return Block(offset, kind, length, checksum, offset + length <= self.size)

    def data(self, block: Block) -> bytes:
        """The data of a whole block, or what there is of another, which nothing vouches for.

        Raises:
            BlockError: the checksum is not theirs.
        """
        begin = block.offset + HEADER
        self.file.seek(begin)
        data = self.file.read(max(0, min(block.end, self.size) - begin))
        if block.whole:
            header = _HEADER.pack(block.length, 0, block.kind)
            if len(data) + HEADER != block.length or crc32(header, crc32(data)) != block.checksum:
                raise BlockError(block.offset, "the block's checksum is another: it is damaged")
        return data

    def index(self) -> Index:
        """The last index that is whole.

        Raises:
            BlockError: there is none, or it is damaged.
        """
        named = self.block(self.pointer) if FIRST <= self.pointer < self.size else None
        last = named if named is not None and named.whole else None
        behind = list(self._from(self._entries(last)[2] if last else FIRST))
        indices = [n for n, block in enumerate(behind) if block.whole and block.kind == INDEX]
        if indices:
            last, behind = behind[indices[-1]], behind[indices[-1] + 1 :]
        if last is None:
            raise BlockError(self.size, "the file ends before its first index of blocks")
        root, offsets, _ = self._entries(last)
        is_lost = self.pointer not in (0, last.offset) and (named is None or not named.whole)
        return Index(last.offset, root, offsets, tuple(behind), is_lost)

    def _entries(self, block: Block) -> tuple[int, dict[int, int], int]:
        """Of an index: the root, the offsets, and where the last of their blocks ends."""
        if block.kind != INDEX:
            raise BlockError(block.offset, "this block is no index")
        data = self.data(block)
        if len(data) % 12 != 4:
            raise BlockError(block.offset, f"an index of {len(data)} bytes")
        offsets = dict(struct.iter_unpack(">IQ", data[4:]))
        end = block.end
        for offset in set(offsets.values()):
            # A block that does not belong there is of no concern before somebody asks for it.
            if FIRST <= offset < self.size and end < self.size:
                end = max(end, self._end_of(offset))
        return int.from_bytes(data[:4]), offsets, end

    def _end_of(self, offset: int) -> int:
        try:
            return self.block(offset).end
        except BlockError:
            return 0

    def _from(self, offset: int) -> Iterator[Block]:
        """The blocks behind one another from there on, up to one that is not whole, or damaged."""
        while offset < self.size:
            try:
                block = self.block(offset)
                if block.whole:
                    self.data(block)
            except BlockError:
                block = Block(offset, UNKNOWN, self.size - offset, 0, False)
            yield block
            offset = block.end if block.whole else self.size
