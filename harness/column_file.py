"""The columns of a history in a file beside it, so that checking it again starts at once.

    8 bytes   "ASSAYCOL"
    4 bytes   version of this format and of the columns' meaning, little-endian
    4 bytes   CRC-32C of all that follows
    8 bytes   length of the header
    header    JSON: the source's size and CRC-32C, the tables of names, name and place of each array
    arrays    each at a multiple of 64 bytes from the end of the header

It belongs to the history with that size and CRC, wherever both are moved to. One that belongs to
another, or has another version, is stale and passed over; a damaged one is passed over with a
remark. Nothing ever depends on it: deleting it is safe.

Cost: about 0.3 s for 2,000,000 events, most of it to read the source for its CRC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_type_hints

import msgspec
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from harness.columns import Blobs, Micro, Values
from harness.events import Events

MAGIC: Final = b"ASSAYCOL"
VERSION: Final = 1
ALIGN: Final = 64
_FIXED: Final = struct.Struct("<8sIIQ")
_BLOCK_BYTES: Final = 1 << 20


class Source(msgspec.Struct, frozen=True):
    """Which bytes a history was decoded from."""

    size: int
    crc: int

    @staticmethod
    def of(path: Path) -> Source:
        """Raises OSError."""
        size = crc = 0
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                size, crc = size + len(block), crc32c(block, crc)
        return Source(size, crc)


class _Array(msgspec.Struct):
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


class _Header(msgspec.Struct):
    source: Source
    names: dict[str, tuple[str, ...]]
    arrays: list[_Array]


class Damaged(Exception):
    """The file is not as it was written; the text says how."""


def path_of(source: Path) -> Path:
    """Where the columns of a history lie."""
    return source.with_suffix(".columns")


def save(events: Events, source: Source, path: Path) -> None:
    """Write the columns of the history `source`; another reader sees all of it or nothing.

    Raises:
        OSError: the file cannot be written.
    """
    header = _Header(source, {}, [])
    blocks: list[bytes] = []
    offset = 0
    for name, column in _flat("", events):
        if isinstance(column, tuple):
            header.names[name] = column
            continue
        data = np.ascontiguousarray(column)
        header.arrays.append(_Array(name, data.dtype.str, data.shape, offset))
        padding = -data.nbytes % ALIGN
        blocks += [data.tobytes(), bytes(padding)]
        offset += data.nbytes + padding
    text = msgspec.json.encode(header)
    text += b" " * (-(_FIXED.size + len(text)) % ALIGN)
    crc = crc32c(text)
    for block in blocks:
        crc = crc32c(block, crc)
    draft = path.with_name(path.name + ".new")
    try:
        with draft.open("wb") as file:
            file.write(_FIXED.pack(MAGIC, VERSION, crc, len(text)) + text)
            file.writelines(blocks)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path, source: Source) -> Events | None:
    """The columns of the history `source`; None if the file is of another one, or not there.

    Raises:
        Damaged: the file was cut or changed.
        OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _FIXED.size or not data.startswith(MAGIC):
        raise Damaged("it does not begin as a file of columns does")
    _, version, crc, length = _FIXED.unpack_from(data)
    if version != VERSION:
        return None
    body = memoryview(data)[_FIXED.size :]
    if crc32c(body) != crc:
        raise Damaged("its checksum does not match what it holds")
    header = msgspec.json.decode(body[:length], type=_Header)
    if header.source != source:
        return None
    columns: dict[str, Any] = dict(header.names)
    for array in header.arrays:
        columns[array.name] = np.frombuffer(
            body,
            np.dtype(array.dtype),
            int(np.prod(array.shape)),
            length + array.offset,
        ).reshape(array.shape)
    events = _built(Events, "", columns)
    assert isinstance(events, Events)
    return events


def _flat(prefix: str, table: Any) -> Iterator[tuple[str, NDArray[Any] | tuple[str, ...]]]:
    """(dotted name, array or names) of all that a table of columns holds."""
    for field in fields(table):
        name, value = f"{prefix}{field.name}", getattr(table, field.name)
        if isinstance(value, (Blobs, Micro, Values)):
            yield from _flat(f"{name}.", value)
        else:
            yield name, value


def _built(kind: type[Any], prefix: str, columns: dict[str, Any]) -> Any:
    """The table that `_flat` took apart."""
    hints = get_type_hints(kind)
    parts = {}
    for field in fields(kind):
        name, inner = f"{prefix}{field.name}", hints[field.name]
        nested = inner in (Blobs, Micro, Values)
        parts[field.name] = _built(inner, f"{name}.", columns) if nested else columns[name]
    return kind(**parts)
