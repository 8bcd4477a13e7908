"""EDN, the notation of Jepsen's histories, becomes JSON: a line for each top-level form.

EDN is read in full (nested collections, sets, characters, ratios, tagged elements, namespaced maps,
metadata, comments, discards):

    :send, send, \\a      "send", "send", "a"          1/3, 2.5M, 7N     "1/3", 2.5, 7
    [1 2], (1 2), #{1 2}  [1, 2]                       nil, true         null, true
    {:f 1, 0 2}           {"f": 1, "0": 2}             ##NaN, 1e999      "##NaN", "##Inf"
    #jepsen.history.Op{…}, #inst "…", ^{…} x           what is tagged, without its tag
    #"a\\d+"               the text of the pattern

A key that is a collection becomes its JSON text, of `KEY_CHARACTERS_MAX` at most; a map that has a
key twice, also as JSON has it, is refused. Blind to: tags, metadata, and the difference between
keywords, symbols and strings.

A text is cut at its integers. What stands between two of them is a *word*, as `, :process `; of a
history of a million events there are some hundred. What a word becomes depends on what is open
before it, the *state*; it is found out once (`harness.edn_words`) and looked up ever after. So
strings that all differ cost more than numbers that do.

There is a library, edn_format; it reads these files a hundred times slower and its last release is
of 2021. Cost: 0.3 µs an integer, 10 µs a new word. Source: the EDN specification (edn-format/edn),
and Clojure's printer for what it prints beyond that (`##Inf`, `#:ns{…}`, hexadecimal identities).
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from harness.columnize import dump
from harness.decode import Spell
from harness.edn_words import DIGITS_MAX, KEY_BEGIN, KEY_END, STRING, EdnError, Open, Speller
from harness.sources import Source
from harness.stretch import Malformed

KEY_CHARACTERS_MAX: Final = 10_000
"""The text of a map that is a map's key doubles its escapes, and so on for every map around it."""

WORDS_MAX: Final = 1 << 16
"""Words that are remembered; then all are forgotten. A history has some hundred."""

WORD_BYTES: Final = 1 << 10
"""Length of a word that is worth it."""

PIECE_BYTES: Final = 1 << 21
"""What is read at once."""

_ATOMS = re.compile(
    # It begins with a set of bytes that the engine can look for; what is before comes second.
    rb'([-0-9"](?<=[\s,\[({].)(?:(?<=")[ !#-\[\]-~]*+"(?![^\s,\])}])'
    rb"|(?:(?<=0)|(?<=[1-9])[0-9]{0,%(max)d}+|(?<=-)[1-9][0-9]{0,%(max)d}+)"
    rb"(?![^\s,\])}])(?: (?:0|-?[1-9][0-9]{0,%(max)d}+)(?![^\s,\])}]))*+))"
    % {b"max": DIGITS_MAX - 1}
)
"""One integer or more, with one space between two; or what is a string of plain characters, or
what stands between two strings: the state says which."""

_KEY = re.compile(rf"{KEY_BEGIN}([^{KEY_BEGIN}{KEY_END}]*){KEY_END}".encode())
_NUMBER_KEY = re.compile(rb'"(-?[0-9]+)":')
_TOKEN_ENDS = re.compile(rb'[\s,;"()\[\]{}]')

_AS_LIST, _AS_ONE, _AS_KEY, _AS_TEXT, _AS_FORMS = range(5)
"""What becomes of atoms: elements of a list; one form or else forms; a map's key, then its value,
and so on; a string's text; forms."""

_QUOTE = ord('"')


@dataclass(slots=True, eq=False)
class State:
    """A place of a text: what is open there, and what each word becomes, as far as known."""

    open: Open
    words: dict[bytes, _Word] = field(default_factory=dict)


class _Word(NamedTuple):
    """What a word becomes in a state.

    Attributes:
        alone: its JSON; state: what is open behind it.
        how: what becomes of atoms behind it.
        before, behind: the JSON around the first of them; before includes `alone`.
        after: what is open behind it.
        starts: where in the word lines begin, in bytes.
    """

    alone: bytes
    state: State
    how: int
    before: bytes
    behind: bytes
    after: State
    starts: tuple[int, ...]


class Spelling:
    """Turns the text of a file into JSON, piece by piece.

    Args:
        is_spliced: what a top-level collection holds that is no map are lines of their own, as of
            a history that is one vector.
    """

    def __init__(self, *, is_spliced: bool = True) -> None:
        self.is_spliced = is_spliced
        self.offset = 0  # bytes before the piece
        self._states: dict[Open, State] = {}
        self._words = 0
        self._held: list[bytes] = []
        self._lines = 0
        self._number_keys = self._many_keys = False  # of whatever was learned so far
        self.state = self._interned(Open())

    def feed(self, piece: bytes, *, is_last: bool = False) -> bytes:
        """The lines that are whole with this piece, which ends behind a separator unless it is the
        last.

        Raises:
            EdnError: it is no EDN; nothing was taken.
            Malformed: a whole line has keys that cannot be.
        """
        out: list[bytes] = []
        state = self.state
        parts = _ATOMS.split(piece)
        last = parts.pop()
        try:
            for word, atoms in zip(parts[::2], parts[1::2], strict=True):
                known = state.words.get(word) or self._learn(state, word)
                _, _, how, before, behind, state, _ = known
                if how == _AS_LIST and atoms[0] != _QUOTE:
                    out += before, atoms.replace(b" ", b",")
                elif how == _AS_ONE and (atoms[0] == _QUOTE or b" " not in atoms):
                    out += before, atoms, behind
                else:
                    state = self._behind(known, atoms, out)
            known = state.words.get(last) or self._learn(state, last)
        except EdnError:
            deque(self.starts(piece, is_last=is_last), 0)  # it counts, and finds the same error
            raise
        out.append(known.alone)
        self.state = known.state
        self.offset += len(piece)
        return self._whole_lines(b"".join(out))

    @property
    def is_between(self) -> bool:
        """Whether the text stands between two lines, and nothing else is open."""
        opened = self.state.open
        is_top = all(frame.kind == "top" for frame in opened.frames)
        return is_top and opened == Open(opened.frames) and not any(self._held)

    def alone(self, line: bytes) -> bytes | None:
        """The JSON of a line that is one form and nothing else, as it would be read now; None if it
        is not. Nothing is taken."""
        before = self.state, self.offset, self._held, self._lines
        self._held = []
        try:
            text = self.feed(line + b"\n")
            is_one = self.state.open == before[0].open and text.count(b"\n") == 1
            return text[:-1] if is_one and not any(self._held) else None
        except (EdnError, Malformed):
            return None
        finally:
            self.state, self.offset, self._held, self._lines = before

    def passed(self, piece: bytes) -> None:
        """Somebody took the piece, each line of which is a form."""
        self.offset += len(piece)
        self._lines += piece.count(b"\n")

    def starts(self, piece: bytes, *, is_last: bool = False) -> Iterator[int]:
        """Where in the text the lines of a piece begin, in bytes; instead of `feed`.

        Raises:
            EdnError: as `feed` does.
        """
        state, offset = self.state, self.offset
        parts = [*_ATOMS.split(piece), b""]
        for word, atoms in zip(parts[::2], parts[1::2], strict=True):
            read = word
            try:
                known = self._known(state, word)
                yield from (offset + start for start in known.starts)
                offset += len(word)
                read = atoms
                if atoms:
                    yield from (offset + start for start in self._starts_in(known, atoms))
                    state = self._behind(known, atoms, [])
                else:
                    state = known.state
            except EdnError as error:
                is_end = is_last and offset + len(read) == self.offset + len(piece)
                torn = error.torn and is_end
                raise EdnError(offset + error.offset, error.reason, torn=torn) from None
            offset += len(atoms)
        self.state, self.offset = state, offset

    def _starts_in(self, word: _Word, atoms: bytes) -> Iterable[int]:
        """Where in the atoms behind a word lines begin."""
        if word.how == _AS_ONE and word.state.open.frames[-1].kind == "top":
            return (
                (0,) if atoms[0] == _QUOTE else [m.start() for m in re.finditer(rb"[^ ]+", atoms)]
            )
        if word.how == _AS_FORMS:
            return self._known(word.state, atoms).starts
        return ()

    def _behind(self, word: _Word, atoms: bytes, out: list[bytes]) -> State:
        """What is open behind these atoms, each of which may change it; adds their JSON."""
        is_string = atoms[0] == _QUOTE
        if word.how == _AS_LIST:
            out += word.before, atoms if is_string else atoms.replace(b" ", b",")
            return word.after
        if word.how == _AS_FORMS or (is_string and word.how != _AS_ONE):
            known = self._known(word.state, atoms)
            out += word.alone, known.alone
            return known.state
        if is_string or word.how == _AS_TEXT:
            out += word.before, atoms, word.behind
            return word.after
        self._number_keys |= word.how == _AS_KEY
        for integer in atoms.split(b" "):
            out += word.before, integer, word.behind
            state = word.after
            word = state.words.get(b"") or self._learn(state, b"")
        return state

    def _known(self, state: State, word: bytes) -> _Word:
        return state.words.get(word) or self._learn(state, word)

    def _learn(self, state: State, word: bytes) -> _Word:
        """Find out what a word becomes in a state, and remember it.

        Raises:
            EdnError: the word is no EDN there; the offset is within the word.
        """
        try:
            text = word.decode()
        except UnicodeDecodeError as error:
            raise EdnError(error.start, f"is not UTF-8: {error.reason}") from None
        speller = Speller(state.open, is_spliced=self.is_spliced)
        try:
            speller.read(text)
        except EdnError as error:
            offset = len(text[: error.offset].encode())
            raise EdnError(offset, error.reason, torn=error.torn) from None
        self._many_keys |= any(frame.keys is None for frame in speller.frames)
        if len(word) <= WORD_BYTES and self._words == WORDS_MAX:
            self._forget(state)
        behind = self._interned(speller.open)
        alone = "".join(speller.out).encode()
        starts = _in_bytes(text, speller.starts)
        found = _Word(alone, behind, *self._before_atoms(behind, alone), starts)
        if len(word) <= WORD_BYTES:
            self._words += 1
            state.words[word] = found
        return found

    def _before_atoms(self, state: State, alone: bytes) -> tuple[int, bytes, bytes, State]:
        """(how, before, behind, after) of a `_Word`."""
        speller = Speller(state.open, is_spliced=self.is_spliced)
        if state.open.within == STRING and not speller.muted:
            return _AS_TEXT, alone, b"", state
        if state.open.within or state.open.names or speller.muted:
            return _AS_FORMS, alone, b"", state
        kind = speller.frames[-1].kind
        speller.scalar(7, 0, stands_for_any=True)
        before, behind = "".join(speller.out).encode().split(b"7")
        how = {"list": _AS_LIST, "key": _AS_KEY}.get(kind, _AS_ONE)
        return how, alone + before, behind, self._interned(speller.open)

    def _interned(self, opened: Open) -> State:
        if opened not in self._states:
            self._states[opened] = State(opened)
        return self._states[opened]

    def _forget(self, current: State) -> None:
        """Words of all states, and the states themselves but the current one."""
        for state in self._states.values():
            state.words.clear()
        self._states = {current.open: current}
        self._words = 0

    def _whole_lines(self, text: bytes) -> bytes:
        """The lines that end in the text; what comes behind them is held until it has an end."""
        cut = text.rfind(b"\n") + 1
        if not cut:
            self._held.append(text)
            return b""
        whole = b"".join([*self._held, text[:cut]])
        self._held = [text[cut:]]
        if self._many_keys or self._number_keys or b"\0" in whole:
            lines = []
            for line in whole.splitlines(keepends=True):
                try:
                    lines.append(self._with_keys(line))
                except ValueError as error:
                    raise Malformed(self._lines + len(lines), str(error)) from None
            whole = b"".join(lines)
        self._lines += whole.count(b"\n")
        return whole

    def _with_keys(self, line: bytes) -> bytes:
        """A line of JSON in which each collection that is a key has become its text.

        Raises:
            ValueError: a key is too long, or a map has one twice.
        """
        had_collections = b"\0" in line
        while b"\0" in line:
            line = _KEY.sub(_as_text, line)
        numbers = _NUMBER_KEY.findall(line) if self._number_keys else []
        if had_collections or self._many_keys or len(set(numbers)) < len(numbers):
            json.loads(line, object_pairs_hook=_once)
        return line


Take = Callable[[bytes, Spell], bool]
"""Takes whole lines that are an event each, or none of them (`Decoder.take`)."""

TORN: Final = "the last form is torn; it is left out, so the history ends before it"


def lines(source: Source, notes: list[str], take: Take) -> Iterator[tuple[bytes, bool]]:
    """The events of a history as lines of JSON, many at a time (each is whole: none is the last
    that may be torn). Notes if the last one is. What is taken is no more among them.

    Raises:
        EdnError: the text is no EDN.
        Malformed: an event has keys that cannot be.
    """
    spelling = Spelling()
    for piece, is_last in pieces(source):
        try:
            if spelling.is_between and take(_with_commas(piece), spelling.alone):
                spelling.passed(piece)
            else:
                yield spelling.feed(piece, is_last=is_last), False
        except EdnError as error:
            at = error.offset - spelling.offset
            # The last token may be one that is only begun.
            is_begun = error.offset > 0 and not _TOKEN_ENDS.search(piece, at)
            if not is_last or not (is_begun or error.torn):
                raise
            yield _before_error(spelling, piece[:at], spelling.feed), False
            notes.append(TORN)
            return
    if spelling.state.open.lacks is not None:
        notes.append(TORN)


T = TypeVar("T")


def _before_error(spelling: Spelling, text: bytes, read: Callable[[bytes], T]) -> T:
    """What is read of a text that ends where an error was, which may be in the midst of a token."""
    while True:
        try:
            return read(text)
        except EdnError as error:
            text = text[: min(len(text) - 1, error.offset - spelling.offset)]


def _with_commas(piece: bytes) -> bytes:
    """The same, with commas for spaces as JSON has them, if nothing stands against it."""
    return piece if b'"' in piece or b"\\" in piece else piece.replace(b" ", b",")


def place(source: Source, position: int) -> int:
    """Where in the text the event at a position begins, in bytes. The text can be read so far."""
    spelling = Spelling()
    for piece, is_last in pieces(source):
        try:
            starts = list(spelling.starts(piece, is_last=is_last))
        except EdnError as error:  # it stands behind the event
            before = piece[: error.offset - spelling.offset]
            starts = _before_error(spelling, before, lambda text: list(spelling.starts(text)))
        if position < len(starts):
            return starts[position]
        position -= len(starts)
    return spelling.offset


def pieces(source: Source) -> Iterator[tuple[bytes, bool]]:
    """(text that ends behind a separator, whether it is the last) of a text."""
    held: list[bytes] = []
    while data := source.read(PIECE_BYTES):
        cut = data.rfind(b"\n") + 1 or max(data.rfind(b" "), data.rfind(b",")) + 1
        if cut:
            yield b"".join([*held, data[:cut]]), False
            held = []
        held.append(data[cut:])
    yield b"".join(held), True


def forms(text: str) -> Iterator[tuple[int, Any]]:
    """(offset in bytes, value) of each top-level form, as JSON values.

    >>> list(forms("{:f :read, :value [0 nil]} #{1}"))
    [(0, {'f': 'read', 'value': [0, None]}), (27, [1])]

    Raises:
        EdnError: the text is malformed, or torn.
    """
    data = text.encode("utf-8", "surrogatepass")
    spelling = Spelling(is_spliced=False)
    starts = list(Spelling(is_spliced=False).starts(data, is_last=True))
    try:
        lines = spelling.feed(data, is_last=True).splitlines()
    except Malformed as error:
        raise EdnError(starts[error.position], error.reason) from None
    if (lacks := spelling.state.open.lacks) is not None:
        raise EdnError(len(data), lacks, torn=True)
    yield from zip(starts, map(msgspec.json.decode, lines), strict=True)


def _in_bytes(text: str, places: list[int]) -> tuple[int, ...]:
    """Ascending places of a text, in bytes of UTF-8. Cost: linear."""
    if text.isascii():
        return tuple(places)
    pieces = (text[a:b] for a, b in pairwise([0, *places]))
    return tuple(accumulate(len(piece.encode()) for piece in pieces))


def _as_text(match: re.Match[bytes]) -> bytes:
    text = match[1].decode()
    if len(text) > KEY_CHARACTERS_MAX:
        raise ValueError(f"a key of a map is {len(text)} characters long as JSON")
    return dump(text)


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Checks the keys of one map."""
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a map has a key twice")
