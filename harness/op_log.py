"""Operations as Jepsen logs them, one a line, among whatever else a log says.

    INFO  jepsen.util - 0   :invoke  :write  1
    INFO  jepsen.util - 0   :ok      :write  1   :hint 2
    INFO  jepsen.util - 1   :info    :cas    :timed-out
    0   :invoke   :read   nil                              as in history.txt

Columns are parted by tabs or, where there are none, by spaces: process, type, f, value, and then an
error or further keys. A name in the place of the value of what did not succeed is its error; the
invocation tells the value. Lines that are no operations are passed over, and counted.

Source: Jepsen's log and `history.txt`; the histories of etcd that Porcupine is tried on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.edn import Spelling
from harness.edn_words import EdnError
from harness.jsonl import chunks
from harness.sources import Misread, Source
from harness.stretch import Malformed

OPERATION = re.compile(
    rb"(?:^|[-:\]][ \t]+)(?P<process>:?[\w.-]+)[ \t]+:(?P<type>invoke|ok|fail|info)[ \t]+"
    rb":(?P<f>[^\s,;\"()\[\]{}]+)(?P<rest>[ \t\r].*)?$",
    re.MULTILINE,
)
LIKE = re.compile(rb"[ \t]:(?:invoke|ok|fail)[ \t]")
"""What only operations have: a line with this that is none is malformed."""

TORN = "the last line may be torn; it is left out (if it is whole, end it with a line break)"

_NAME = re.compile(rb":[^\s,;\"()\[\]{}]+")
_FURTHER = re.compile(rb":[^\s,;\"()\[\]{}]+[ \t]+\S.*")


def lines(source: Source, notes: list[str], _: object) -> Iterator[tuple[bytes, bool]]:
    """Chunks of lines of JSON.

    Raises:
        Misread: an operation is malformed.
    """
    offset = passed = found = 0
    for chunk, is_last in chunks(source):
        out = []
        for line in chunk.splitlines(keepends=True):
            is_torn = is_last and not line.endswith(b"\n")
            event = _event(line.rstrip(b"\r\n"), offset, is_torn)
            if event is not None:
                out.append(event)
                found += 1
            elif is_torn and line.strip():
                notes.append(TORN)
            else:
                passed += bool(line.strip())
            offset += len(line)
        yield b"".join(out), False
    if passed and not found:
        raise Misread(0, "no line is an operation: expected PROCESS :TYPE :F VALUE")


def place(source: Source, position: int) -> int:
    """Where the line of the event at a position begins, in bytes of the text."""
    offset = 0
    for chunk, _ in chunks(source):
        for line in chunk.splitlines(keepends=True):
            if OPERATION.search(line.rstrip(b"\r\n")):
                if not position:
                    return offset
                position -= 1
            offset += len(line)
    return offset


def _event(line: bytes, offset: int, is_torn: bool) -> bytes | None:
    """The event of a line, as JSON; None if there is none, or it may lack something."""
    match = OPERATION.search(line)
    if match is None:
        if LIKE.search(line) and not is_torn:
            raise Misread(offset, "no operation: expected PROCESS :TYPE :F VALUE")
        return None
    if is_torn:
        return None
    kind, rest = match["type"], (match["rest"] or b"").strip() or b"nil"
    at = offset + match.end() - len(match["rest"] or b"") + 1
    value, *more = (part.strip() for part in rest.split(b"\t") if part.strip())
    further = [part for part in more if _FURTHER.fullmatch(part)]
    errors = [part for part in more if part not in further]
    if kind in (b"fail", b"info") and _NAME.fullmatch(value):
        value, errors = b"nil", [value, *errors]
    process = match["process"].removeprefix(b":")
    text = b"{:process %b, :type :%b, :f :%b, :value %b%b%b\n" % (
        process if process.isdigit() else b":" + process,
        kind,
        match["f"],
        value,
        b", :error [%b]" % b" ".join(errors) if errors else b"",
        b"".join(b", " + part for part in further),
    )
    try:
        spelling = Spelling(is_spliced=False)
        spelling.feed(text)
        event = spelling.feed(b"}\n") if len(spelling.state.open.frames) == 2 else b""
    except (EdnError, Malformed) as error:
        raise Misread(at, error.reason) from None
    if spelling.state.open.lacks is not None or event.count(b"\n") != 1:
        raise Misread(at, "what follows is no value: expected one of EDN")
    return event
