"""Reads the histories of Jepsen: `history.edn`, one map an event, or a vector of such maps.

EDN is read in full (nested collections, sets, characters, ratios, tagged elements, namespaced maps,
comments, discards) and becomes JSON, so that a history has one set of value shapes:

    :send, send, \\a      "send", "send", "a"          1/3, 2.5M, 7N     "1/3", 2.5, 7
    [1 2], (1 2), #{1 2}  [1, 2]                       nil, true         null, true
    {:f 1, 0 2}           {"f": 1, "0": 2}             ##NaN             "##NaN"
    #jepsen.history.Op{…}, #inst "…"                   what is tagged, without its tag
    1e999                                              "##Inf", as Clojure reads it

A key that is a collection becomes its JSON text, of `KEY_CHARACTERS_MAX` at most. Metadata are
passed over. Blind to: tags, and the difference between keywords, symbols and strings.

There is a library, edn_format; it reads these files thirty times slower and its last release is of
2021. Cost: about 1 µs a token. Source: the EDN specification (edn-format/edn), and Clojure's
printer for what it prints beyond that (`##Inf`, `#:ns{…}`, hexadecimal identities in `#object[…]`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, Final

from harness import decode
from harness.columnize import dump
from harness.errors import HistoryError
from harness.events import Events
from harness.stretch import Malformed


class EdnError(ValueError):
    """The text is no EDN. `offset` says where, in characters; `torn` that it ends too early."""

    def __init__(self, offset: int, reason: str, *, torn: bool = False) -> None:
        super().__init__(reason)
        self.offset, self.reason, self.torn = offset, reason, torn


def read_history(path: Path) -> Events:
    """Decode a history of Jepsen's. A form that is torn at the end of the file is left out.

    Raises:
        HistoryError: it is malformed, missing, or not readable; names file, line and reason.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise HistoryError(path, None, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise HistoryError(path, None, f"is not UTF-8: {error.reason}") from error
    newlines = [match.start() for match in re.finditer("\n", text)]
    offsets: list[int] = []
    notes: list[str] = []
    try:
        events = decode.decode(_lines(text, offsets, notes))
    except EdnError as error:
        line = bisect_right(newlines, error.offset - 1) + 1
        raise HistoryError(path, line, error.reason) from None
    except Malformed as error:
        line = bisect_right(newlines, offsets[error.position]) + 1
        raise HistoryError(path, line, error.reason) from None
    return replace(events, notes=(*events.notes, *notes))


def forms(text: str) -> Iterator[tuple[int, Any]]:
    """(offset, value) of each top-level form, as JSON values.

    >>> list(forms("{:f :read, :value [0 nil]} #{1}"))
    [(0, {'f': 'read', 'value': [0, None]}), (27, [1])]

    Raises:
        EdnError: the text is malformed.
    """
    reader = _Reader(text)
    while (start := reader.skip()) < len(text):
        value = reader.form()
        if value is not _NOTHING:
            yield start, value


def _lines(text: str, offsets: list[int], notes: list[str]) -> Iterator[bytes]:
    """The events as lines of JSON; fills in where each one begins, and what was left out."""
    try:
        for offset, form in forms(text):
            for event in form if isinstance(form, list) else (form,):
                offsets.append(offset)
                yield dump(event)
    except EdnError as error:
        if not error.torn:
            raise
        notes.append("the last form is torn; it is left out, so the history ends before it")


_NOTHING: Final = object()  # a discarded form
_SKIP = re.compile(r"(?:[\s,]+|;[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|\d+(?:/\d+|(?:\.\d*)?(?:[eE][+-]?\d+)?[MN]?)))(?=[\s,;"()\[\]{}]|$)
    |(?P<open>\#\{|[\[({])
    |(?P<close>[\])}])
    |(?P<keyword>::?[^\s,;"()\[\]{}]+)
    |(?P<char>\\(?:u[0-9a-fA-F]{4}|[a-z]+|.))
    |(?P<special>\#\#-?[A-Za-z]+)
    |(?P<discard>\#_)
    |(?P<meta>\#?\^)
    |(?P<tag>\#:?[^\s,;"()\[\]{}\#_:][^\s,;"()\[\]{}]*)
    |(?P<symbol>(?![+-]?\d)[^\s,;"()\[\]{}\#\\:][^\s,;"()\[\]{}]*)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_SYMBOLS: dict[str, Any] = {"nil": None, "true": True, "false": False}
_CHARACTERS = {
    "newline": "\n", "return": "\r", "space": " ", "tab": "\t", "formfeed": "\f", "backspace": "\b",
}  # fmt: skip
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-3]?[0-7]{1,2}|.)", re.DOTALL)
DEPTH_MAX: Final = 200
"""Of nested collections and tags; Python's own stack ends at a thousand calls."""
DIGITS_MAX: Final = 1000
"""Of an integer: reading one takes time in the square of its digits."""
KEY_CHARACTERS_MAX: Final = 10_000
"""The text of a map that is a map's key doubles its escapes, and so on for every map around it."""


class _Reader:
    """A cursor in the text. Each method reads one thing and leaves the cursor behind it."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def skip(self) -> int:
        """Pass spaces, commas and comments; the offset of what comes then."""
        match = _SKIP.match(self.text, self.at)
        assert match, "the pattern matches nothing, too"
        self.at = match.end()
        return self.at

    def form(self) -> Any:
        """The next form, or _NOTHING for a discarded one."""
        start = self.skip()
        match = _TOKEN.match(self.text, start)
        if match is None:
            raise self._unreadable(start)
        self.at = match.end()
        token, kind = match.group(), match.lastgroup
        if kind == "number":
            return self._number(token, start)
        if kind == "keyword":
            return token.lstrip(":")
        if kind == "open":
            return self._collection(token, start)
        if kind == "string":
            return token[1:-1] if "\\" not in token else self._string(token, start)
        if kind == "symbol":
            return _SYMBOLS.get(token, token)
        if kind == "char":
            return self._character(token[1:], start)
        if kind == "special":
            return token
        if kind == "tag":
            return self._tagged(token, start)
        if kind == "discard":
            self._value(start)
            return _NOTHING
        if kind == "meta":
            self._value(start)
            return self._value(start)
        raise EdnError(start, f"{token!r} closes nothing")

    def _value(self, start: int) -> Any:
        """The next form that is not discarded."""
        self._descend(start)
        while self.skip() < len(self.text):
            if (value := self.form()) is not _NOTHING:
                self.depth -= 1
                return value
        raise EdnError(start, "the text ends before this is complete", torn=True)

    def _descend(self, start: int) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise EdnError(start, f"forms are nested more than {DEPTH_MAX} deep")

    def _collection(self, opening: str, start: int) -> Any:
        closing = _CLOSES[opening]
        self._descend(start)
        items: list[Any] = []
        while True:
            here = self.skip()
            if here == len(self.text):
                raise EdnError(start, f"{opening!r} is never closed", torn=True)
            found = self.text[here]
            if found in "])}":
                break
            if (value := self.form()) is not _NOTHING:
                items.append(value)
        if found != closing:
            raise EdnError(here, f"{found!r} closes {opening!r}, expected {closing!r}")
        self.at = here + 1
        self.depth -= 1
        if opening != "{":
            return items
        if len(items) % 2:
            raise EdnError(start, "a map has a key without a value")
        keys = [self._key(item, start) for item in items[::2]]
        if len(set(keys)) < len(keys):
            raise EdnError(start, "a map has a key twice")
        return dict(zip(keys, items[1::2], strict=True))

    def _tagged(self, tag: str, start: int) -> Any:
        value = self._value(start)
        if not tag.startswith("#:"):
            return value
        if not isinstance(value, dict):
            raise EdnError(start, f"{tag} is the namespace of a map, and no map follows")
        return {key if "/" in key else f"{tag[2:]}/{key}": v for key, v in value.items()}

    def _string(self, token: str, start: int) -> str:
        def plain(match: re.Match[str]) -> str:
            escape = match.group(1)
            if escape[0] == "u" and len(escape) == 5:
                return chr(int(escape[1:], 16))
            if escape in _ESCAPES:
                return _ESCAPES[escape]
            if escape.isdigit():
                return chr(int(escape, 8))
            raise EdnError(start + match.start(), f"unknown escape \\{escape} in a string")

        # Clojure writes a character beyond the first 65,536 as two halves of UTF-16.
        whole = _ESCAPE.sub(plain, token[1:-1])
        return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _character(self, name: str, start: int) -> str:
        if len(name) == 1:
            return name
        if name[0] == "u" and len(name) == 5:
            return chr(int(name[1:], 16))
        if name in _CHARACTERS:
            return _CHARACTERS[name]
        raise EdnError(start, f"unknown character \\{name}")

    def _number(self, token: str, start: int) -> int | float | str:
        if "/" in token:
            return token
        if len(token) > DIGITS_MAX:
            raise EdnError(start, f"a number of {len(token)} digits; {DIGITS_MAX} can be read")
        if "x" in token or "X" in token:
            return int(token, 16)
        token = token.rstrip("N")
        if token.lstrip("+-").isdecimal():
            return int(token)
        value = float(token.rstrip("M"))
        return value if isfinite(value) else "##Inf" if value > 0 else "##-Inf"

    def _key(self, key: Any, start: int) -> str:
        """A map's key as JSON has it: a name."""
        name = key if isinstance(key, str) else dump(key).decode()
        if len(name) > KEY_CHARACTERS_MAX:
            raise EdnError(start, f"a key of a map is {len(name)} characters long as JSON")
        return name

    def _unreadable(self, start: int) -> EdnError:
        rest = self.text[start : start + 20]
        if rest.startswith('"'):
            return EdnError(start, "a string is never closed", torn=True)
        ends = start + len(rest) == len(self.text)
        return EdnError(start, f"{rest!r} is no EDN", torn=ends and rest in ("#", "\\", ":", "##"))
