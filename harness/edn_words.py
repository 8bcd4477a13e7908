"""A word of EDN, token by token: what it becomes in JSON, and what is open behind it.

`harness.edn` cuts texts into words and remembers what becomes of each.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final, NamedTuple

from harness.columnize import dump
from harness.sources import Misread

DEPTH_MAX: Final = 200
"""Of nested collections, tags and discards; Python's own stack ends at a thousand calls."""

DIGITS_MAX: Final = 1000
"""Of an integer: reading one takes time in the square of its digits."""

KEYS_MAX: Final = 64
"""Of a map, for which repetitions are seen at once; of longer ones each line is looked at again."""

KEY_BEGIN, KEY_END = "\0", "\1"
"""Stand around the JSON of a collection that is a key; no JSON has them."""

STRING, PATTERN, COMMENT = '"', '#"', ";"


class EdnError(Misread):
    """The text is no EDN."""


class Frame(NamedTuple):
    """An open collection, or what else waits for a form.

    Attributes:
        kind: "top" (each form is a line), "list", "key" and "value" (a map, by what comes next),
            "discard", "meta" (after which a form must follow).
        opener: what began it; "" for the text as a whole.
        begun: whether something is in it.
        names: the namespace of a map's keys, with its slash, or "".
        keys: of a map, so far, where they are no collections; None once they are too many.
        tags: those before a discard, which stand before what comes behind it.
    """

    kind: str
    opener: str = ""
    begun: bool = False
    names: str = ""
    keys: frozenset[str] | None = frozenset()
    tags: int = 0


class Open(NamedTuple):
    """What is open at some place of a text.

    Attributes:
        frames: the innermost last.
        tags: how many stand before what comes next. names: the namespace of the map that must.
        within: whether the place is in the midst of a string or a comment, or of neither.
    """

    frames: tuple[Frame, ...] = (Frame("top"),)
    tags: int = 0
    names: str = ""
    within: str = ""

    @property
    def lacks(self) -> str | None:
        """What is missing if the text ends here; None if it may."""
        if self.within in (STRING, PATTERN):
            return "a string is never closed"
        frame = self.frames[-1]
        if self.tags or self.names or frame.kind in ("discard", "meta"):
            return "the text ends before a form that must follow"
        return f"{frame.opener!r} is never closed" if frame.opener else None


_SKIP = re.compile(r"[\s,]*+", re.ASCII)
_TOKEN = re.compile(
    r"""(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:/[0-9]+|(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?[MN]?)))(?=[\s,;"()\[\]{}]|$)
    |(?P<string>\#?")
    |(?P<open>\#\{|[\[({])
    |(?P<close>[\])}])
    |(?P<keyword>::?[^\s,;"()\[\]{}]+)
    |(?P<char>\\(?:u[0-9a-fA-F]{4}|o[0-3]?[0-7]{1,2}(?![0-9a-z])|[a-z]+|.))
    |(?P<special>\#\#-?[A-Za-z]+)
    |(?P<discard>\#_)
    |(?P<meta>\#?\^)
    |(?P<names>\#::?[^\s,;"()\[\]{}\#_:^][^\s,;"()\[\]{}]*)
    |(?P<tag>\#[^\s,;"()\[\]{}\#_:^][^\s,;"()\[\]{}]*)
    |(?P<symbol>(?![+-]?[0-9])[^\s,;"()\[\]{}\#\\:^][^\s,;"()\[\]{}]*)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_INNER = re.compile(r'(?:[^"\\]++|\\.)*+', re.DOTALL)
_CLOSES = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_SYMBOLS: dict[str, Any] = {"nil": None, "true": True, "false": False}
_CHARACTERS = {
    "newline": "\n", "return": "\r", "space": " ", "tab": "\t", "formfeed": "\f", "backspace": "\b",
}  # fmt: skip
_HEXADECIMAL = re.compile("u[0-9a-fA-F]{4}")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b"}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[0-3]?[0-7]{1,2}|.)", re.DOTALL)


class Speller:
    """Reads one word. What is open is changed as it goes; `out` is the JSON.

    Args:
        is_spliced: what a top-level collection holds that is no map are lines of their own, as of
            a history that is one vector.

    Attributes:
        starts: where lines begin, in characters.
    """

    def __init__(self, before: Open, *, is_spliced: bool) -> None:
        self.frames = list(before.frames)
        self.tags, self.names, self.within = before.tags, before.names, before.within
        self.is_spliced = is_spliced
        self.out: list[str] = []
        self.starts: list[int] = []
        self.muted = sum(frame.kind in ("discard", "meta") for frame in before.frames)

    @property
    def open(self) -> Open:
        return Open(tuple(self.frames), self.tags, self.names, self.within)

    def read(self, text: str) -> None:
        """Raises EdnError; its offset is in characters."""
        at = 0
        if self.within in (STRING, PATTERN):
            at = self._string(text, 0)
        elif self.within == COMMENT:
            at = self._comment(text, 0)
        while (at := _skipped(text, at)) < len(text):
            if text[at] == COMMENT:
                at = self._comment(text, at)
                continue
            match = _TOKEN.match(text, at)
            if match is None:
                raise _unreadable(text, at)
            kind, token = str(match.lastgroup), match.group()
            if kind == "string":
                self._begin(at)
                self._emit('"')
                self.within = token
                at = self._string(text, match.end())
                continue
            self._token(kind, token, at)
            at = match.end()

    def _token(self, kind: str, token: str, at: int) -> None:
        if kind == "open":
            self._open(token, at)
        elif kind == "close":
            self._close(token, at)
        elif kind in ("discard", "meta"):
            self._refuse_names(at)
            self._push(Frame(kind, tags=self.tags), at)
            self.tags = 0
            self.muted += 1
        elif kind == "names":
            self._refuse_names(at)
            self.names = token.lstrip("#:") + "/"
        elif kind == "tag":
            self._refuse_names(at)
            self._tag(at)
        else:
            self.scalar(_value(kind, token, at), at)

    def scalar(self, value: Any, at: int, *, stands_for_any: bool = False) -> None:
        """A form that is no collection."""
        frame = self._begin(at)
        if frame.kind == "key":
            value = _key(value, frame)
            if not stands_for_any:
                self._see(value, at)
        self._emit(dump(str(value) if isinstance(value, str) else value).decode())
        self._end(at)

    # -- what is open ----------------------------------------------------------------------------

    def _begin(self, at: int) -> Frame:
        """A form that is no map begins; the frame that it is in."""
        self._refuse_names(at)
        return self._begin_any(at)

    def _begin_any(self, at: int) -> Frame:
        frame = self.frames[-1]
        if frame.kind == "top":
            self.starts.append(at)
        elif frame.begun and frame.kind in ("list", "key"):
            self._emit(",")
        self.tags = 0
        return frame

    def _refuse_names(self, at: int) -> None:
        if self.names:
            name = self.names.rstrip("/")
            raise EdnError(at, f"#:{name} is the namespace of a map, and no map follows")

    def _tag(self, at: int) -> None:
        """A form must follow, and is what is read."""
        self.tags += 1
        if self.tags + len(self.frames) > DEPTH_MAX:
            raise EdnError(at, f"forms are nested more than {DEPTH_MAX} deep")

    def _see(self, key: str, at: int) -> None:
        """A map has this key."""
        keys = self.frames[-1].keys
        if keys is None:
            return
        if key in keys:
            raise EdnError(at, "a map has a key twice")
        more = keys | {key} if len(keys) < KEYS_MAX else None
        self.frames[-1] = self.frames[-1]._replace(keys=more)

    def _end(self, at: int) -> None:
        """The form that began last is complete."""
        frame = self.frames[-1]
        if frame.kind in ("discard", "meta"):
            self.frames.pop()
            self.muted -= 1
            self.tags = frame.tags
            if frame.kind == "meta":
                self._tag(at)
        elif frame.kind == "top":
            self._emit("\n")
        elif frame.kind == "key":
            self._emit(":")
            self.frames[-1] = frame._replace(kind="value")
        else:
            kind = "key" if frame.kind == "value" else "list"
            self.frames[-1] = frame._replace(kind=kind, begun=True)

    def _open(self, token: str, at: int) -> None:
        names, self.names = self.names, self.names if token != "{" else ""
        self._refuse_names(at)
        if self.is_spliced and len(self.frames) == 1 and token != "{":
            self.tags = 0
            self._push(Frame("top", token), at)
            return
        if self._begin_any(at).kind == "key":
            self._emit(KEY_BEGIN)
        self._emit("{" if token == "{" else "[")
        kind = "key" if token == "{" else "list"
        self._push(Frame(kind, token, names=names), at)

    def _push(self, frame: Frame, at: int) -> None:
        if len(self.frames) > DEPTH_MAX:
            raise EdnError(at, f"forms are nested more than {DEPTH_MAX} deep")
        self.frames.append(frame)

    def _close(self, closer: str, at: int) -> None:
        frame = self.frames[-1]
        self._refuse_names(at)
        if not frame.opener or self.tags:
            before = ": a form must follow a tag or metadata" if self.tags else ""
            raise EdnError(at, f"{closer!r} closes nothing{before}")
        expected = _CLOSES[frame.opener]
        if closer != expected:
            raise EdnError(at, f"{closer!r} closes {frame.opener!r}, expected {expected!r}")
        if frame.kind == "value":
            raise EdnError(at, "a map has a key without a value")
        self.frames.pop()
        if frame.kind == "top":
            return
        self._emit("}" if frame.opener == "{" else "]")
        if self.frames[-1].kind == "key":
            self._emit(KEY_END)
        self._end(at)

    def _string(self, text: str, at: int) -> int:
        """Read a string on from within it; where it ends."""
        match = _INNER.match(text, at)
        assert match, "the pattern matches nothing, too"
        inner, end = match.group(), match.end()
        if "\\" in inner and self.within == STRING:
            inner = _unescaped(inner, at)
        if end < len(text) and text[end] != '"':
            raise EdnError(end, "a string ends with a backslash", torn=True)
        self._inner(inner, is_whole=at > 0 and text[at - 1] == '"' and end < len(text), at=at)
        if end == len(text):
            return end
        self._emit('"')
        self.within = ""
        self._end(end)
        return end + 1

    def _inner(self, inner: str, *, is_whole: bool, at: int) -> None:
        """The text of a string, or some of it."""
        if self.frames[-1].kind == "key":
            if is_whole:
                self._see(inner, at)
            else:
                self.frames[-1] = self.frames[-1]._replace(keys=None)
        self._emit(dump(inner).decode()[1:-1])

    def _comment(self, text: str, at: int) -> int:
        """Pass a comment; where it ends."""
        end = text.find("\n", at)
        self.within = COMMENT if end < 0 else ""
        return len(text) if end < 0 else end

    def _emit(self, text: str) -> None:
        if not self.muted:
            self.out.append(text)


class Name(str):
    """A keyword or a symbol, which a map's namespace may be put before."""

    __slots__ = ()

    @property
    def is_qualified(self) -> bool:
        return "/" in self and self != "/"


def _key(value: Any, frame: Frame) -> str:
    """A map's key as JSON has it: a name."""
    name = str(value) if isinstance(value, str) else dump(value).decode()
    if frame.names and isinstance(value, Name):
        if not value.is_qualified:
            return frame.names + name
        return name.removeprefix("_/")
    return name


def _skipped(text: str, at: int) -> int:
    """Pass spaces and commas."""
    match = _SKIP.match(text, at)
    assert match, "the pattern matches nothing, too"
    return match.end()


def _value(kind: str, token: str, at: int) -> Any:
    """What a token that is a form by itself becomes."""
    if kind == "number":
        return _number(token, at)
    if kind == "keyword":
        return Name(token.lstrip(":"))
    if kind == "symbol":
        return _SYMBOLS[token] if token in _SYMBOLS else Name(token)
    if kind == "char":
        return _character(token[1:], at)
    return token


def _number(token: str, at: int) -> int | float | str:
    if "/" in token:
        return token
    if len(token) > DIGITS_MAX:
        raise EdnError(at, f"a number of {len(token)} digits; {DIGITS_MAX} can be read")
    if "x" in token or "X" in token:
        return int(token, 16)
    token = token.rstrip("N")
    if token.lstrip("+-").isdecimal():
        return int(token)
    number = float(token.rstrip("M"))
    return number if math.isfinite(number) else "##Inf" if number > 0 else "##-Inf"


def _character(name: str, at: int) -> str:
    if len(name) == 1:
        return name
    if _HEXADECIMAL.fullmatch(name):
        return _whole(chr(int(name[1:], 16)))
    if name[0] == "o" and name[1:].isdecimal():
        return chr(int(name[1:], 8))
    if name in _CHARACTERS:
        return _CHARACTERS[name]
    raise EdnError(at, f"unknown character \\{name}")


def _unescaped(inner: str, start: int) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] == "u" and len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        if escape[0] in "01234567":
            return chr(int(escape, 8))
        raise EdnError(start + match.start(), f"unknown escape \\{escape} in a string")

    return _whole(_ESCAPE.sub(plain, inner))


def _whole(text: str) -> str:
    """Clojure writes a character beyond the first 65,536 as two halves of UTF-16."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unreadable(text: str, at: int) -> EdnError:
    rest = text[at : at + 20]
    ends = at + len(rest) == len(text)
    begun = rest in ("#", "\\", ":", "##", "##-", "#:", "::")
    return EdnError(at, f"{rest!r} is no EDN", torn=ends and begun)
