"""Reads the history in a test of Jepsen's, `store/NAME/TIME/test.jepsen`.

    index ─▶ test, a map ─▶ :history, a block ─▶ chunks, each a block of operations
                                                 (version 0: one block, a list of maps)

The same history comes out as of the `history.edn` beside it (`harness.edn`), without the detour
over text. Of a run that was killed, or a file that was cut short, all events are read up to where
the file ends, those of an unfinished block included: nothing vouches for these but that each is an
operation and has the index that comes next. The history says so in its notes.

Memory: a block at a time beside the columns. Cost: 6 µs an event of list-append that is 40 bytes
long, 7 µs if 80; to make columns of them costs as much again.
Source: jepsen.store.format and jepsen.store.fressian (jepsen-io/jepsen).
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from harness.columnize import dump
from harness.decode import BATCH_EVENTS, Decoder
from harness.errors import HistoryError
from harness.events import Events
from harness.fressian import FressianError, Reader
from harness.fressian_codes import NULL
from harness.jepsen_blocks import (
    BIG_VECTOR,
    FIRST,
    FRESSIAN,
    HEADER,
    PARTIAL_MAP,
    STREAM,
    UNKNOWN,
    Block,
    BlockError,
    Blocks,
)
from harness.lines import plain_line
from harness.memory import keep_freed, uncollected
from harness.stretch import Malformed

REFERENCE: Final = "block-ref"


def read(path: Path) -> Events:
    """Decode the history.

    Raises:
        HistoryError: it is damaged, missing, or not readable; names the byte or the event.
    """
    keep_freed()
    try:
        with path.open("rb") as file, uncollected():
            return _read(file)
    except OSError as error:
        raise HistoryError(path, None, f"cannot be read: {error.strerror}") from error
    except BlockError as error:
        raise HistoryError(path, None, f"byte {error.offset}: {error.reason}") from None
    except Malformed as error:
        raise HistoryError(path, None, str(error)) from None


def _read(file: BinaryIO) -> Events:
    stored = _Stored(Blocks(file))
    decoder = Decoder(is_numbered_anew=True)
    events = stored.events()
    while batch := list(islice(events, BATCH_EVENTS)):
        decoder.feed(_lines(batch), is_last=False)
    done = decoder.finish()
    return replace(
        done, notes=(*done.notes, *stored.notes), remarks=(*done.remarks, *stored.remarks)
    )


_ENCODER = msgspec.json.Encoder()


def _lines(events: list[Any]) -> bytes:
    try:
        return _ENCODER.encode_lines(events)
    except OverflowError:  # an integer of more than 64 bits
        return b"".join(dump(event) + b"\n" for event in events)


class _Stored:
    """A test in its file. `notes` and `remarks` are complete when `events` is at its end."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.index = blocks.index()
        self.seen = 0  # events so far
        self.is_begun = True  # there is a history, maybe an empty one
        self.used: set[int] = set()  # where blocks of the history begin
        self.notes: list[str] = []
        self.remarks: list[str] = []

    def events(self) -> Iterator[Any]:
        """The events of the history, as JSON values."""
        root = self._block(self.index.root, "the test")
        first = self._block(self._history_of(root), "the history")
        cut = yield from self._part(first)
        # A test is saved again when its history is complete. A file that was made anew without
        # what is not needed begins with its index; it was complete.
        closed = self.is_begun and (root.offset > first.offset or self.index.at == FIRST)
        if closed and not cut:
            if self.index.tail or self.index.is_lost:
                self.remarks.append("the file ends in what is unfinished; its history is complete")
            return
        counted = self.seen
        for block in (cut,) if cut else self.index.tail:
            yield from self._unnamed(block)
        self.notes.append(self._shortness(self.seen - counted, cut is not None))

    def _shortness(self, unnamed: int, cut: bool) -> str:
        what = "the file is cut short" if cut or self.index.is_lost else "the run was ended"
        text = f"{what} before its history is complete: {self.seen} events could be read"
        if unnamed:
            text += f", the last {unnamed} of them from behind what its index knows"
        return text

    # -- the test --------------------------------------------------------------------------------

    def _block(self, number: int, what: str) -> Block:
        offset = self.index.offsets.get(number)
        if offset is None:
            raise BlockError(self.index.at, f"{what} is in block {number}, which nobody knows")
        return self.blocks.block(offset)

    def _history_of(self, root: Block) -> int:
        """The number of the history's block."""
        passed: set[int] = set()
        block, number = root, self.index.root
        while True:
            if number in passed or not block.whole:
                raise BlockError(block.offset, "the test is not whole")
            passed.add(number)
            number, test = self._map(block)
            if type(test) is dict and "history" in test:
                break
            if not number:
                raise BlockError(root.offset, "the test has no history")
            block = self._block(number, "the rest of the test")
        match test["history"]:
            case {"block-ref": int(number)}:
                return number
        raise BlockError(block.offset, "the test's history is no reference to a block")

    def _map(self, block: Block) -> tuple[int, Any]:
        """The number of the block with the rest of a map, or 0, and what is here."""
        data = self.blocks.data(block)
        if block.kind == PARTIAL_MAP:
            skipped = 4
        elif block.kind == FRESSIAN:
            skipped = 0
        else:
            raise BlockError(block.offset, "the test is not in this kind of block")
        reader = Reader(data[skipped:], {REFERENCE: _reference})
        try:
            return int.from_bytes(data[:skipped]), reader.value()
        except FressianError as error:
            raise _located(block, error, skipped) from None

    # -- the history -----------------------------------------------------------------------------

    def _part(self, block: Block) -> Generator[Any, None, Block | None]:
        """The events of a block and those that it refers to. Returns one that is not whole, if
        there is one: it is the last then, and none of its events were read."""
        if not block.whole:
            return block
        if block.offset in self.used:
            raise BlockError(block.offset, "the history has this block twice")
        self.used.add(block.offset)
        if block.kind == BIG_VECTOR:
            return (yield from self._vector(block))
        if block.kind not in (FRESSIAN, STREAM):
            raise BlockError(block.offset, "the history is not in this kind of block")
        data = self.blocks.data(block)
        if block.kind == FRESSIAN and data[:1] == bytes([NULL]):
            self.is_begun = False  # the run did not come to its first chunk
            return None
        reader = Reader(data, _HANDLERS)
        values = reader.values() if block.kind == STREAM else reader.elements()
        try:
            for event in values:
                self.seen += 1
                yield event
        except FressianError as error:
            raise _located(block, error) from None
        return None

    def _vector(self, block: Block) -> Generator[Any, None, Block | None]:
        """The events of a vector in chunks: how many, then the first index and block of each."""
        data, begin = self.blocks.data(block), self.seen
        if len(data) % 12 != 8:
            raise BlockError(block.offset, f"a vector of {len(data)} bytes")
        for index, number in struct.iter_unpack(">QI", data[8:]):
            if index != self.seen - begin:
                raise BlockError(
                    block.offset, f"a chunk begins at {index}, after {self.seen - begin} events"
                )
            cut = yield from self._part(self._block(number, "a chunk of the history"))
            if cut:
                return cut
        count = int.from_bytes(data[:8])
        if count != self.seen - begin:
            raise BlockError(block.offset, f"of {count} events there are {self.seen - begin}")
        return None

    def _unnamed(self, block: Block) -> Iterator[Any]:
        """The events of a block that no index names, as far as they continue the history."""
        if block.kind not in (STREAM, UNKNOWN):
            return
        reader = Reader(self.blocks.data(block), _HANDLERS)
        while True:
            try:
                event = reader.value()
                is_next = plain_line(event).index == self.seen
            except (FressianError, ValueError):
                return
            if not is_next:
                return
            self.seen += 1
            yield event


def _located(block: Block, error: FressianError, skipped: int = 0) -> BlockError:
    """What is wrong with a block's data, with the place in the file."""
    return BlockError(block.offset + HEADER + skipped + error.offset, error.reason)


# -- what Jepsen adds to Fressian -----------------------------------------------------------------


def _reference(reader: Reader, _: int) -> dict[str, int]:
    return {REFERENCE: reader.integer()}


def _operation(reader: Reader, count: int) -> dict[str, Any]:
    if count != 7:
        reader.fail(f"an operation of {count} parts; 7 are known")
    start = reader.at
    index, time, kind, process, f, value, more = reader.items(7)
    event = {"type": kind, "process": process, "f": f, "index": index, "time": time, "value": value}
    if index == -1:  # it has none
        del event["index"]
    if more is not None:
        if type(more) is not dict:
            reader.fail("what an operation has beside is no map", start)
        event = more | event
    return event


def _multiset(reader: Reader, _: int) -> list[Any]:
    """Each element as often as it is in there."""
    found: list[Any] = []
    for element, times in reader.pairs():
        if type(times) is not int or times < 0:
            reader.fail("an element is in a multiset how often?")
        reader.caches.spend(times)
        found += [element] * times
    return found


_HANDLERS = {"jepsen.history.Op": _operation, "multiset": _multiset}
