"""Reads Fressian, the binary encoding of Clojure's data in which Jepsen keeps its tests.

All codes are read: integers of all widths, cached values and types, strings and bytes in chunks,
lists of known and unknown length, typed arrays, footers. What comes out is JSON, in the shapes
in which `harness.edn` reads the same data as text:

    keyword, symbol, char    its name        2/3, 2.5M, 7N              "2/3", 2.5, 7
    list, set, typed array   a list          nil, true                  null, true
    map, record              an object       NaN                        "##NaN"
    uuid, uri, regex, inst   a string        anything else tagged       what is tagged: one value,
    bytes                    base64                                     or a list of its parts

A length is believed only as far as bytes are there, and what is repeated may spell only so much
(`harness.fressian_caches`), so that no small file becomes a huge one.

Blind to: tags, and the difference between keywords, symbols and strings. Cost: some 0.1 µs a byte.
Source: Fressian (Datomic/fressian: its codes and their meaning), and Clojure's data.fressian.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NoReturn
from zlib import adler32

from harness.columnize import dump
from harness.fressian_caches import Caches
from harness.fressian_codes import (
    ARRAYS,
    BYTES,
    BYTES_CHUNK,
    BYTES_LONG,
    CACHED,
    CLOSED_LIST,
    END,
    FOOTER,
    GET,
    KEY,
    LIST,
    LIST_LONG,
    NULL,
    OPEN_LIST,
    PUT,
    RESET,
    STRING,
    STRING_CHUNK,
    STRING_LONG,
    STRUCT,
    STRUCT_TYPE,
    STRUCTS,
    TAGS,
    WIDE,
)
from harness.fressian_tags import HANDLERS, Handler, finite, in_pairs, single, unknown

DEPTH_MAX: Final = 150
"""Of values in values, up to five calls each; Python's own stack ends at a thousand calls."""

_DEEP = f"values are nested more than {DEPTH_MAX} deep"

_SMALL = re.compile(rb"[\x00-\x3f]+")
_PAIRS = re.compile(rb"(?:[\x40-\x5f][\x00-\xff])+")
"""Integers of one byte, and of two."""


class FressianError(ValueError):
    """The data are no Fressian. `offset` says where; `torn` that they end too early."""

    def __init__(self, offset: int, reason: str, *, torn: bool = False) -> None:
        super().__init__(reason)
        self.offset, self.reason, self.torn = offset, reason, torn


class Reader:
    """A cursor in the data. Each method reads one thing and leaves the cursor, `at`, behind it.

    >>> Reader(bytes([0xE6, 1, 0xDB]) + b"a").value()
    [1, 'a']
    """

    def __init__(self, data: bytes, handlers: Mapping[str, Handler] | None = None) -> None:
        self.data, self.at, self.depth, self.begun = data, 0, 0, 0
        self.handlers = {**HANDLERS, **(handlers or {})}
        self.caches = Caches(len(data), self.fail)

    def value(self) -> Any:
        """The next value.

        Raises:
            FressianError: there is none, or it is malformed.
        """
        start = self.at
        try:
            return self._value()
        except IndexError:
            raise _torn(start) from None

    def values(self) -> Iterator[Any]:
        """All that follow, up to the end of the data."""
        while self.more():
            yield self.value()

    def elements(self) -> Iterator[Any]:
        """Those of the next value, one by one, if it is a list; else the value."""
        if not self.more() or not LIST <= (code := self.data[self.at]) <= OPEN_LIST:
            yield self.value()
            return
        start = self.at
        self.at += 1
        try:
            if code in (CLOSED_LIST, OPEN_LIST):
                while not self._closes(code):
                    yield self._value()
            else:
                for _ in range(code - LIST if code < LIST_LONG else self.count()):
                    yield self._value()
        except IndexError:
            raise _torn(start) from None

    def more(self) -> bool:
        """Whether anything but footers and resets follows."""
        while self.at < len(self.data):
            code = self.data[self.at]
            if code == FOOTER:
                self._footer()
            elif code == RESET:
                self.at += 1
                self.caches.reset()
            else:
                return True
        return False

    # -- what handlers ask for -------------------------------------------------------------------

    def items(self, count: int) -> list[Any]:
        """The next `count` values. The most frequent kinds are read here: it is most of the time.

        Raises:
            IndexError: the data end.
        """
        data, size, names, at = self.data, len(self.data), self.caches.names, self.at
        self.depth += 1
        if self.depth > DEPTH_MAX:
            self.fail(_DEEP)
        found: list[Any] = []
        append = found.append
        for _ in range(count):
            code = data[at]
            if code < 0x40:
                append(code)
                at += 1
            elif code < 0x60:
                append((code - 0x50 << 8) + data[at + 1])
                at += 2
            elif LIST <= code < LIST_LONG:
                self.at = at + 1
                append(self.items(code - LIST))
                at = self.at
            elif code == KEY and data[at + 1] == NULL and data[at + 2] in names:
                append(names[data[at + 2]])
                at += 3
            elif code == NULL:
                append(None)
                at += 1
            elif code < 0x80:
                width, high = WIDE[code]
                end = at + 1 + width
                if end > size:
                    raise IndexError
                append(high + int.from_bytes(data[at + 1 : end]))
                at = end
            elif code in names:
                append(names[code])
                at += 1
            else:
                self.at = at
                append(self._value())
                at = self.at
        self.at = at
        self.depth -= 1
        return found

    def many(self, count: int) -> list[Any]:
        """The next `count` values, where they are many: they begin with small integers mostly.

        Raises:
            IndexError: the data end.
        """
        found: list[Any] = []
        while left := count - len(found):
            if run := _SMALL.match(self.data, self.at, self.at + left):
                found += run.group()
            elif run := _PAIRS.match(self.data, self.at, self.at + 2 * left):
                words = struct.unpack(f">{len(run.group()) // 2}H", run.group())
                found += [word - 0x5000 for word in words]
            else:
                return found + self.items(left)
            self.at = run.end()
        return found

    def integer(self) -> int:
        """The next value, which must be an integer."""
        start = self.at
        value = self._value()
        if type(value) is not int:
            raise FressianError(start, f"{_shown(value)} is no integer")
        return value

    def count(self) -> int:
        """The next value, which must be a number of things."""
        start = self.at
        if not 0 <= (count := self.integer()) < 2**31:
            raise FressianError(start, f"{_shown(count)} is no number of things")
        return count

    def sequence(self) -> list[Any]:
        """The next value, which must be a list; null counts as an empty one."""
        start = self.at
        value = self._value()
        if value is None:
            return []
        if type(value) is not list:
            raise FressianError(start, f"{_shown(value)} is no list")
        return value

    def raw(self) -> bytes:
        """The next value, which must be bytes: these."""
        start, code = self.at, self.data[self.at]
        if not BYTES <= code <= BYTES_LONG:
            raise FressianError(start, "there are no bytes")
        self.at += 1
        return self._chunks(code, BYTES, BYTES_CHUNK)

    def pairs(self) -> list[tuple[Any, Any]]:
        """Keys and values of the next value, which must be a map."""
        start = self.at
        if self.data[self.at] != 0xC0:
            raise FressianError(start, "there is no map")
        self.at += 1
        return in_pairs(self, self.sequence())

    def fail(self, reason: str, start: int | None = None) -> NoReturn:
        """What begins at `start`, or else ends here, is malformed."""
        raise FressianError(self.at if start is None else start, reason)

    # -- one value -------------------------------------------------------------------------------

    def _value(self) -> Any:
        code = self.data[self.at]
        if code in (FOOTER, RESET):
            if not self.more():
                raise IndexError
            code = self.data[self.at]
        self.at += 1
        if code < 0x40:
            return code
        if code < CACHED:
            width, high = WIDE[code]
            return high + int.from_bytes(self.take(width))
        if code < STRUCTS:
            return self.caches.get(code - CACHED)
        if code < ARRAYS:
            return self._struct(code - STRUCTS)
        read = _CODES.get(code)
        if read is None:
            raise FressianError(self.at - 1, f"unknown code 0x{code:02X}")
        self._descend()
        value = read(self, code)
        self.depth -= 1
        return value

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            self.fail(_DEEP)

    def take(self, count: int) -> bytes:
        """That many bytes as they stand.

        Raises:
            IndexError: the data end.
        """
        end = self.at + count
        if end > len(self.data):
            raise IndexError
        taken, self.at = self.data[self.at : end], end
        return taken

    def _chunks(self, code: int, packed: int, chunk: int) -> bytes:
        """Bytes or a string, in one piece or several; `code` begins the first."""
        start, parts = self.at - 1, []
        while code == chunk:
            parts.append(self.take(self.count()))
            code = self.data[self.at]
            self.at += 1
        if not packed <= code <= chunk + 1:
            raise FressianError(start, "what is in chunks goes on with something else")
        parts.append(self.take(code - packed if code < chunk else self.count()))
        return b"".join(parts)

    def _string(self, code: int) -> str:
        start = self.at - 1
        raw = self._chunks(code, STRING, STRING_CHUNK)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            pass
        try:  # halves of UTF-16, three bytes each, as Java has what is beyond the first 65,536
            halves = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise FressianError(start, f"a string is not UTF-8: {error.reason}") from None
        return halves.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _uncounted(self, code: int) -> list[Any]:
        found = []
        while not self._closes(code):
            found.append(self._value())
        return found

    def _closes(self, code: int) -> bool:
        """Whether a list of unknown length ends here; the end of the data ends an open one."""
        if not self.more():
            if code == OPEN_LIST:
                return True
            raise IndexError
        if self.data[self.at] != END:
            return False
        self.at += 1
        return True

    # -- caches and types ------------------------------------------------------------------------

    def _put(self, _: int) -> Any:
        place = self.caches.reserve()
        value = self._value()
        self.caches.put(place, value)
        return value

    def _footer(self) -> None:
        """Magic, length and checksum of what came before; the caches begin anew behind it."""
        start = self.at
        if (footer := self.data[start : start + 12])[:4] != bytes([FOOTER] * 4):
            raise FressianError(start, "a footer that does not begin as one")
        if len(footer) < 12:
            raise _torn(start)
        _, length, checksum = struct.unpack(">III", footer)
        if length != (came := start - self.begun):
            raise FressianError(start, f"the footer is of {length} bytes, {came} came")
        # Java's writer counts the footer's own first eight bytes, too.
        if checksum != adler32(self.data[self.begun : start + 8]):
            raise FressianError(start, "the footer's checksum is another")
        self.at = self.begun = start + 12
        self.caches.reset()

    def _struct_type(self, _: int) -> Any:
        start = self.at
        tag = self._value()
        if type(tag) is not str:
            raise FressianError(start, f"{_shown(tag)} is no tag")
        self.caches.define(self.handlers.get(tag, unknown), self.count())
        return self._struct(-1)

    def _struct(self, place: int) -> Any:
        read, count = self.caches.type(place)
        self._descend()
        value = read(self, count)
        self.depth -= 1
        return value


def _torn(start: int) -> FressianError:
    return FressianError(start, "the data end before this is complete", torn=True)


def _shown(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= 40 else text[:40] + "…"


def _tagged(tag: str) -> Callable[[Reader, int], Any]:
    return lambda reader, _: reader.handlers[tag](reader, 1)


_CODES: Final[dict[int, Callable[[Reader, int], Any]]] = {
    **{code: _tagged(tag) for code, tag in TAGS.items()},
    GET: lambda reader, _: reader.caches.get(reader.count()),
    PUT: Reader._put,
    **dict.fromkeys(
        range(BYTES, BYTES_LONG + 1),
        lambda reader, code: b64encode(reader._chunks(code, BYTES, BYTES_CHUNK)).decode(),
    ),
    **dict.fromkeys(range(STRING, STRING_LONG + 1), Reader._string),
    **dict.fromkeys(range(LIST, LIST_LONG), lambda reader, code: reader.items(code - LIST)),
    LIST_LONG: lambda reader, _: reader.many(reader.count()),
    CLOSED_LIST: Reader._uncounted,
    OPEN_LIST: Reader._uncounted,
    STRUCT_TYPE: Reader._struct_type,
    STRUCT: lambda reader, _: reader._struct(reader.count()),
    0xF5: lambda reader, _: True,
    0xF6: lambda reader, _: False,
    NULL: lambda reader, _: None,
    0xFF: lambda reader, _: -1,
    0xF8: lambda reader, _: int.from_bytes(reader.take(8), signed=True),
    0xF9: lambda reader, _: finite(single(reader.take(4))),
    0xFA: lambda reader, _: finite(struct.unpack(">d", reader.take(8))[0]),
    0xFB: lambda reader, _: 0.0,
    0xFC: lambda reader, _: 1.0,
}
