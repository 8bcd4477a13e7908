"""JSON of other tools: an array of events, or events that follow each other, one a line.

An array is held in memory while it is read; its events are not decoded here. One that ends too
early is read up to its last whole event.

Source: what elle-cli reads, and Jepsen's own store of JSON; the names are those of `harness.op`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator

import msgspec

from harness.jsonl import chunks
from harness.sources import Misread, Source, within

_EVENTS = 4096
"""Of an array, handed on at once."""

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_MARKS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
_UNTIL_EVENT = re.compile(rb"[\s,]*+")
TORN = "the array has no end; it is read up to its last whole event, so the history ends there"


def lines(source: Source, notes: list[str], _: object) -> Iterator[tuple[bytes, bool]]:
    """Chunks of lines, and whether the last of them is that of the file.

    Raises:
        Misread: an array is malformed.
    """
    text, is_array = _begun(source)
    return _of_array(_rest(text), notes) if is_array else chunks(text)


def place(source: Source, position: int) -> int:
    """Where the event at a position begins, in bytes of the text."""
    text, is_array = _begun(source)
    if is_array:
        starts, _, _ = _scanned(_rest(text))
        return starts[position] if position < len(starts) else 0
    offset = 0
    for chunk, _ in chunks(text):
        for line in chunk.split(b"\n"):
            if line.strip():
                if not position:
                    return offset + len(line) - len(line.lstrip())
                position -= 1
            offset += len(line) + 1
        offset -= 1  # what follows the last line break is no line
    return offset


def _begun(source: Source) -> tuple[_Again, bool]:
    """The text, and whether it is an array."""
    blocks: list[bytes] = []
    while not (blocks and blocks[-1].strip()) and (block := source.read(1 << 12)):
        blocks.append(block)
    return _Again(b"".join(blocks), source), b"".join(blocks[-1:]).lstrip()[:1] == b"["


class _Again:
    """A source, from its beginning although some of it was read."""

    def __init__(self, first: bytes, source: Source) -> None:
        self._first, self._source = first, source

    def read(self, size: int, /) -> bytes:
        first, self._first = self._first[:size], self._first[size:]
        return first + self._source.read(size - len(first)) if len(first) < size else first


def _rest(source: _Again) -> bytes:
    blocks = []
    while block := source.read(1 << 20):
        blocks.append(block)
    return b"".join(blocks)


def _of_array(text: bytes, notes: list[str]) -> Iterator[tuple[bytes, bool]]:
    try:
        events = [memoryview(raw) for raw in _ARRAY.decode(text)]
    except UnicodeDecodeError as error:
        raise Misread(error.start, f"is not UTF-8: {error.reason}") from None
    except RecursionError:
        raise Misread(0, "not read: it is nested too deep") from None
    except msgspec.DecodeError as error:
        starts, ends, is_whole = _scanned(text)
        if is_whole or "truncated" not in str(error):
            reason, byte = within(str(error))
            raise Misread(byte or 0, f"not JSON: {reason}") from None
        notes.append(TORN)
        events = [memoryview(text)[a:b] for a, b in zip(starts, ends, strict=False)]
    for at in range(0, len(events), _EVENTS):
        # A line break is white space there: within a string it would be escaped.
        some = (bytes(event).replace(b"\n", b" ") for event in events[at : at + _EVENTS])
        yield b"\n".join(some) + b"\n", False


def _scanned(text: bytes) -> tuple[array[int], array[int], bool]:
    """(where each event of an array begins, where those that are whole end, whether the array
    does). Cost: linear, some ten million strings and brackets a second."""
    begin = text.index(b"[") + 1
    starts, ends = array("q"), array("q")
    depth, at = 0, _after_spaces(text, begin)
    for match in _MARKS.finditer(text, begin):
        mark = match.group()
        if mark in (b"[", b"{"):
            depth += 1
        elif depth and mark in (b"]", b"}"):
            depth -= 1
        elif not depth and mark in (b",", b"]"):
            if at < match.start():
                starts.append(at)
                ends.append(match.start())
            at = _after_spaces(text, match.end())
            if mark == b"]":
                return starts, ends, True
    if at < len(text):
        starts.append(at)
        if not depth and text[at : at + 1] == b"{" and text.rstrip()[-1:] == b"}":
            ends.append(len(text))
    return starts, ends, False


def _after_spaces(text: bytes, at: int) -> int:
    match = _UNTIL_EVENT.match(text, at)
    assert match, "the pattern matches nothing, too"
    return match.end()
