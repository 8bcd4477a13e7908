"""Which reader a history's file is read by: by what it is called, else by how it begins.

A reader is one line of `READERS`, and its files' endings one of `SUFFIXES`. Most of them translate
a text into lines of JSON, chunk by chunk, which `harness.decode` makes columns of; what they leave
out is filled in by `harness.gaps`. Any of these may be compressed by gzip. `harness.jepsen_history`
reads files of blocks, which are no text.

Blind to: what the tool that wrote a history meant by it; `--workload` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec

from harness import edn, gaps, jepsen_history, json_text, jsonl, op_log
from harness.decode import Decoder, Spell
from harness.edn import Take
from harness.errors import HistoryError
from harness.events import Events
from harness.memory import keep_freed, uncollected
from harness.sources import Damaged, Misread, Source, spot, within
from harness.stretch import Malformed

NAMES: Final = (
    "history.jsonl", "history.edn", "history.edn.gz", "history.json", "history.txt", "test.jepsen",
)  # fmt: skip
"""A history in a folder: the first of these that is there."""

_PEEKED_BYTES: Final = 1 << 16


class Translator(Protocol):
    """A module that reads a notation."""

    def lines(
        self, source: Source, notes: list[str], take: Take, /
    ) -> Iterator[tuple[bytes, bool]]:
        """Chunks of lines of JSON, and whether the last of them is that of the file, which may be
        torn. Adds what weakens a verdict to the notes. Lines of its own notation may be offered to
        `take` instead.

        Raises:
            Misread, Malformed: the text is malformed.
        """
        ...

    def place(self, source: Source, position: int) -> int:
        """Where the event at a position (from 0) begins, in bytes of the text."""
        ...


def read(path: Path) -> Events:
    """Decode a file.

    Raises:
        HistoryError: it is malformed, of no kind that is known, or not readable.
    """
    keep_freed()
    try:
        return READERS[_kind(path)](path)
    except OSError as error:
        raise HistoryError(path, None, f"cannot be read: {error.strerror}") from error
    except Damaged as error:
        raise HistoryError(path, None, str(error)) from None


def translated(path: Path, translator: Translator, *, is_numbered_anew: bool = True) -> Events:
    """Decode what a module translates."""
    notes: list[str] = []
    filler = gaps.Filler()
    decoder = Decoder(is_numbered_anew=is_numbered_anew)

    def take(lines: bytes, spell: Spell) -> bool:
        return filler.has_passed and decoder.take(lines, spell)

    with path.open("rb") as file, uncollected():
        source = Source(file)
        try:
            for chunk, is_last in filler.filled(translator.lines(source, notes, take)):
                decoder.feed(chunk, is_last)
            events = decoder.finish()
        except Misread as error:
            raise _placed(path, source, error.offset, error.reason) from None
        except gaps.Unfilled as error:
            offset = translator.place(source.again(), error.position)
            raise _placed(path, source, offset, error.reason) from None
        except Malformed as error:
            position = filler.origin[error.position] if filler.origin else error.position
            offset = translator.place(source.again(), position)
            raise _placed(path, source, offset, error.reason) from None
        if source.torn:
            notes.append("the compressed file has no end: it is read up to there")
    return replace(
        events, notes=(*events.notes, *notes), remarks=(*filler.remarks, *events.remarks)
    )


def _placed(path: Path, source: Source, offset: int, reason: str) -> HistoryError:
    line, column = spot(source.again(), offset)
    reason, byte = within(reason)
    return HistoryError(path, line, reason, column if byte is None else byte + 1)


def _own(path: Path) -> Events:
    """One event a line: as ours has it, else as another tool does."""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        source = Source(file)
        first = source.read(_PEEKED_BYTES)
    if _is_another_tools(first):
        return translated(path, json_text)
    return translated(path, json_text, is_numbered_anew=False) if is_packed else jsonl.read(path)


def _is_another_tools(text: bytes) -> bool:
    """Whether the first event says that it is not of ours."""
    if text.lstrip()[:1] == b"[":
        return True
    try:
        event = msgspec.json.decode(text.lstrip().partition(b"\n")[0])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return isinstance(event, dict) and (event.get("index") not in (0, None) or gaps.has_gap(event))


READERS: Final[Mapping[str, Callable[[Path], Events]]] = {
    "jsonl": _own,
    "json": partial(translated, translator=json_text),
    "edn": partial(translated, translator=edn),
    "log": partial(translated, translator=op_log),
    "jepsen": jepsen_history.read,
}
"""What reads a file of a kind, one line a kind."""

SUFFIXES: Final[Mapping[str, str]] = {
    ".jsonl": "jsonl",
    ".ndjson": "json",
    ".json": "json",
    ".edn": "edn",
    ".jepsen": "jepsen",
}
"""Kinds by what files are called; all others are known by how they begin."""

BEGINNINGS: Final[tuple[tuple[str, re.Pattern[bytes]], ...]] = (
    ("jepsen", re.compile(rb"JEPSEN\0")),
    ("json", re.compile(rb'\s*+(?:\[\s*+)?+\{\s*+"[^"]*+"\s*+:|\s*+\[\s*+\]')),
    ("edn", re.compile(rb"(?:[\s,]++|;[^\n]*+\n)*+[\[({#^]")),
    ("log", re.compile(rb"(?s:.*?)" + op_log.OPERATION.pattern, re.MULTILINE)),
)
"""Kinds by how the text begins, the first that fits."""


def _kind(path: Path) -> str:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if (kind := SUFFIXES.get(suffix.lower())) is not None:
        return kind
    with path.open("rb") as file:
        text = Source(file).read(_PEEKED_BYTES)
    for kind, beginning in BEGINNINGS:
        if beginning.match(text):
            return kind
    if not text.strip():
        return "jsonl"
    raise HistoryError(
        path,
        1,
        f"this is no history of a kind that is known: expected {', '.join(SUFFIXES)}, or a text "
        "that begins like JSON, like EDN or with lines like '0 :invoke :read nil'",
    )
