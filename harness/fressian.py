"""Reads Fressian, the binary encoding of Clojure's data in which Jepsen keeps its tests.

All codes are read: integers of all widths, cached values and types, strings and bytes in chunks,
lists of known and unknown length, typed arrays, footers. What comes out is JSON, in the shapes
in which `harness.edn` reads the same data as text:

    keyword, symbol, char    its name        2/3, 2.5M, 7N              "2/3", 2.5, 7
    list, set, typed array   a list          nil, true                  null, true
    map, record              an object       NaN                        "##NaN"
    uuid, uri, regex, inst   a string        anything else tagged       what is tagged: one value,
    bytes                    base64                                     or a list of its parts

A length is believed only as far as bytes are there. A value that is cached costs a byte to repeat:
what all repeats spell is limited (`REPEATS`), so that no small file becomes a huge one.

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
from harness.fressian_tags import HANDLERS, Handler, finite, in_pairs, single, unknown

DEPTH_MAX: Final = 150
"""Of values in values, up to five calls each; Python's own stack ends at a thousand calls."""

REPEATS: Final = 64
"""Characters that a repeated value may spell a byte of the data, over all. Jepsen repeats names."""

REPEATS_FREE: Final = 1 << 12
"""Characters beyond that, for what is short."""

_CACHED, _STRUCTS, _ARRAYS = 0x80, 0xA0, 0xB0
_KEY, _GET, _PUT, _FOOTER = 0xCA, 0xCC, 0xCD, 0xCF
_BYTES, _BYTES_CHUNK, _BYTES_LONG = 0xD0, 0xD8, 0xD9
_STRING, _STRING_CHUNK, _STRING_LONG = 0xDA, 0xE2, 0xE3
_LIST, _LIST_LONG, _CLOSED_LIST, _OPEN_LIST = 0xE4, 0xEC, 0xED, 0xEE
_STRUCT_TYPE, _STRUCT, _NULL, _END, _RESET = 0xEF, 0xF0, 0xF7, 0xFD, 0xFE

_DEEP = f"values are nested more than {DEPTH_MAX} deep"

_SMALL = re.compile(rb"[\x00-\x3f]+")
_PAIRS = re.compile(rb"(?:[\x40-\x5f][\x00-\xff])+")
"""Integers of one byte, and of two."""

_UNFINISHED: Final = object()
"""Stands in the cache for a value that is still being read."""


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
        # Emptied, never replaced: `items` holds on to them while it reads.
        self.cache: list[Any] = []
        self.names: dict[int, str] = {}  # short strings of the cache, by their code
        self.heavy: dict[int, int] = {}  # what else of the cache spells, in characters
        self.structs: list[tuple[Handler, int]] = []
        self.left = REPEATS * len(data) + REPEATS_FREE

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
        if not self.more() or not _LIST <= (code := self.data[self.at]) <= _OPEN_LIST:
            yield self.value()
            return
        start = self.at
        self.at += 1
        try:
            if code in (_CLOSED_LIST, _OPEN_LIST):
                while not self._closes(code):
                    yield self._value()
            else:
                for _ in range(code - _LIST if code < _LIST_LONG else self.count()):
                    yield self._value()
        except IndexError:
            raise _torn(start) from None

    def more(self) -> bool:
        """Whether anything but footers and resets follows."""
        while self.at < len(self.data):
            code = self.data[self.at]
            if code == _FOOTER:
                self._footer()
            elif code == _RESET:
                self.at += 1
                self._reset()
            else:
                return True
        return False

    # -- what handlers ask for -------------------------------------------------------------------

    def items(self, count: int) -> list[Any]:
        """The next `count` values. The most frequent kinds are read here: it is most of the time.

        Raises:
            IndexError: the data end.
        """
        data, size, names, at = self.data, len(self.data), self.names, self.at
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
            elif _LIST <= code < _LIST_LONG:
                self.at = at + 1
                append(self.items(code - _LIST))
                at = self.at
            elif code == _KEY and data[at + 1] == _NULL and data[at + 2] in names:
                append(names[data[at + 2]])
                at += 3
            elif code == _NULL:
                append(None)
                at += 1
            elif code < 0x80:
                width, high = _WIDE[code]
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
        if not _BYTES <= code <= _BYTES_LONG:
            raise FressianError(start, "there are no bytes")
        self.at += 1
        return self._chunks(code, _BYTES, _BYTES_CHUNK)

    def pairs(self) -> list[tuple[Any, Any]]:
        """Keys and values of the next value, which must be a map."""
        start = self.at
        if self.data[self.at] != 0xC0:
            raise FressianError(start, "there is no map")
        self.at += 1
        return in_pairs(self, self.sequence())

    def spend(self, characters: int) -> None:
        """Something is spelled again, and makes so many characters."""
        self.left -= characters
        if self.left < 0:
            self.fail("repeated values spell too much for data of this size")

    def fail(self, reason: str, start: int | None = None) -> NoReturn:
        """What begins at `start`, or else ends here, is malformed."""
        raise FressianError(self.at if start is None else start, reason)

    # -- one value -------------------------------------------------------------------------------

    def _value(self) -> Any:
        code = self.data[self.at]
        if code in (_FOOTER, _RESET):
            if not self.more():
                raise IndexError
            code = self.data[self.at]
        self.at += 1
        if code < 0x40:
            return code
        if code < _CACHED:
            width, high = _WIDE[code]
            return high + int.from_bytes(self.take(width))
        if code < _STRUCTS:
            return self._cached(code - _CACHED)
        if code < _ARRAYS:
            return self._struct(code - _STRUCTS)
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
        raw = self._chunks(code, _STRING, _STRING_CHUNK)
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
            if code == _OPEN_LIST:
                return True
            raise IndexError
        if self.data[self.at] != _END:
            return False
        self.at += 1
        return True

    # -- caches ----------------------------------------------------------------------------------

    def _put(self, _: int) -> Any:
        place = len(self.cache)
        self.cache.append(_UNFINISHED)
        value = self._value()
        if place >= len(self.cache):
            self.fail("the caches are emptied within a value that is cached")
        self.cache[place] = value
        if type(value) is str and len(value) <= REPEATS:
            if place < _STRUCTS - _CACHED:
                self.names[_CACHED + place] = value
        elif type(value) in (str, list, dict):
            self.heavy[place] = _weight(self, value)
        return value

    def _cached(self, place: int) -> Any:
        if place >= len(self.cache):
            self.fail(f"there is no cached value {place}")
        value = self.cache[place]
        if value is _UNFINISHED:
            self.fail(f"the cached value {place} contains itself")
        if place in self.heavy:
            self.spend(self.heavy[place])
        return value

    def _reset(self) -> None:
        self.cache.clear()
        self.names.clear()
        self.heavy.clear()
        self.structs.clear()

    def _footer(self) -> None:
        """Magic, length and checksum of what came before; the caches begin anew behind it."""
        start = self.at
        if (footer := self.data[start : start + 12])[:4] != bytes([_FOOTER] * 4):
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
        self._reset()

    # -- tagged values ---------------------------------------------------------------------------

    def _struct_type(self, _: int) -> Any:
        start = self.at
        tag = self._value()
        if type(tag) is not str:
            raise FressianError(start, f"{_shown(tag)} is no tag")
        self.structs.append((self.handlers.get(tag, unknown), self.count()))
        return self._struct(len(self.structs) - 1)

    def _struct(self, place: int) -> Any:
        if place >= len(self.structs):
            self.fail(f"there is no type {place}")
        read, count = self.structs[place]
        self._descend()
        value = read(self, count)
        self.depth -= 1
        return value


_WIDE = {
    code: (width, (code - zero) << 8 * width)
    for width, first, zero, end in (
        (1, 0x40, 0x50, 0x60), (2, 0x60, 0x68, 0x70), (3, 0x70, 0x72, 0x74),
        (4, 0x74, 0x76, 0x78), (5, 0x78, 0x7A, 0x7C), (6, 0x7C, 0x7E, 0x80),
    )
    for code in range(first, end)
}  # fmt: skip
"""By the code of an integer: how many bytes are beside it, and what the code itself adds."""


def _torn(start: int) -> FressianError:
    return FressianError(start, "the data end before this is complete", torn=True)


def _weight(reader: Reader, value: Any) -> int:
    """What a value spells, in characters about; finding out is paid for as it goes."""
    size = len(value) if type(value) is str else 1
    reader.spend(size)
    if type(value) is list:
        size += sum(_weight(reader, item) for item in value)
    elif type(value) is dict:
        size += sum(len(key) + _weight(reader, item) for key, item in value.items())
    return size


def _shown(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= 40 else text[:40] + "…"


_TAGS = {
    0xB0: "long[]", 0xB1: "double[]", 0xB2: "boolean[]", 0xB3: "int[]", 0xB4: "float[]",
    0xB5: "Object[]", 0xC0: "map", 0xC1: "set", 0xC3: "uuid", 0xC4: "regex", 0xC5: "uri",
    0xC6: "bigint", 0xC7: "bigdec", 0xC8: "inst", 0xC9: "sym", _KEY: "key",
}  # fmt: skip
"""Those that have a code of their own."""


def _tagged(tag: str) -> Callable[[Reader, int], Any]:
    return lambda reader, _: reader.handlers[tag](reader, 1)


_CODES: Final[dict[int, Callable[[Reader, int], Any]]] = {
    **{code: _tagged(tag) for code, tag in _TAGS.items()},
    _GET: lambda reader, _: reader._cached(reader.count()),
    _PUT: Reader._put,
    **dict.fromkeys(
        range(_BYTES, _BYTES_LONG + 1),
        lambda reader, code: b64encode(reader._chunks(code, _BYTES, _BYTES_CHUNK)).decode(),
    ),
    **dict.fromkeys(range(_STRING, _STRING_LONG + 1), Reader._string),
    **dict.fromkeys(range(_LIST, _LIST_LONG), lambda reader, code: reader.items(code - _LIST)),
    _LIST_LONG: lambda reader, _: reader.many(reader.count()),
    _CLOSED_LIST: Reader._uncounted,
    _OPEN_LIST: Reader._uncounted,
    _STRUCT_TYPE: Reader._struct_type,
    _STRUCT: lambda reader, _: reader._struct(reader.count()),
    0xF5: lambda reader, _: True,
    0xF6: lambda reader, _: False,
    _NULL: lambda reader, _: None,
    0xFF: lambda reader, _: -1,
    0xF8: lambda reader, _: int.from_bytes(reader.take(8), signed=True),
    0xF9: lambda reader, _: finite(single(reader.take(4))),
    0xFA: lambda reader, _: finite(struct.unpack(">d", reader.take(8))[0]),
    0xFB: lambda reader, _: 0.0,
    0xFC: lambda reader, _: 1.0,
}
