"""A file of one event a line.

A long one is decoded by two processes, where there is a second processor. The second, a child,
takes what follows some line near the middle, and believes the index that it finds there; it hands
back its stretch of the history through a pipe. If it cannot decode that, or it does not continue
the first half, the parent decodes it as if there were no child: so only one process ever says what
is wrong, and the columns do not tell how many there were.

The child ends with its parent: it is killed with whatever ends the decoding, Ctrl-C included, and
looks between chunks whether its parent is still there.

Cost: 1.3 µs an event of the log workload; beyond 64 MiB nearly half of that is spent by the
second process.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from harness.decode import Decoder
from harness.errors import HistoryError
from harness.events import Events
from harness.memory import keep_freed, uncollected
from harness.sources import within
from harness.stretch import Malformed, Stretch

CHUNK_BYTES = 1 << 21
"""What is read at once: large enough for each skeleton to have many lines in it."""

SHARED_BYTES = 1 << 26
"""Files below this, which take 0.6 s, are decoded before a second process would be of use."""

FIRST_SHARE = 0.54
"""What of the file the parent decodes: more than half, as the child starts for 0.2 s."""

_ROOT = Path(__file__).parent.parent


def read(path: Path) -> Events:
    """Decode the file.

    Raises:
        HistoryError: it is malformed, missing, or not readable.
    """
    keep_freed()
    try:
        with path.open("rb") as file, uncollected():
            return _read(path, file)
    except OSError as error:
        raise HistoryError(path, None, f"cannot be read: {error.strerror}") from error
    except Malformed as error:
        line, column = _spot_of(path, error.position)
        reason, byte = within(error.reason)
        raise HistoryError(path, line, reason, column if byte is None else byte + 1) from None


def _read(path: Path, file: BinaryIO) -> Events:
    decoder = Decoder()
    cut = _cut(file)
    with _second(path, cut) as second:
        for chunk, _ in chunks(file, cut):
            decoder.feed(chunk, is_last=False)
        stretch = _received(second)
    if stretch is None or not decoder.append(stretch):
        for chunk, is_last in chunks(file):
            decoder.feed(chunk, is_last)
    return decoder.finish()


def _cut(file: BinaryIO) -> int:
    """Where the line begins from which on a second process decodes; 0 if none does."""
    size = os.fstat(file.fileno()).st_size
    if size < SHARED_BYTES or _processors() < 2 or not sys.executable:
        return 0
    file.seek(int(size * FIRST_SHARE))
    file.readline()
    cut = file.tell()
    file.seek(0)
    return cut if cut < size else 0  # the last line may be torn: it is never of the first part


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _second(path: Path, cut: int) -> Iterator[subprocess.Popen[bytes] | None]:
    """A process that decodes what follows `cut`; gone afterwards."""
    if not cut:
        yield None
        return
    # Not forked: another thread of ours may hold a lock that the child would wait for.
    search = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-P", "-m", "harness.jsonl"]
    try:
        child = subprocess.Popen(
            [*command, str(path.absolute()), str(cut), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": search},
        )
    except OSError:  # no process, or no file descriptor, is left for it
        yield None
        return
    with child:
        try:
            yield child
        finally:
            child.kill()


def _received(second: subprocess.Popen[bytes] | None) -> Stretch | None:
    """What the child decoded; None if it did not, whatever befell it."""
    if second is None:
        return None
    assert second.stdout is not None
    try:
        stretch = pickle.load(second.stdout)
    except (EOFError, pickle.UnpicklingError):
        return None
    assert stretch is None or isinstance(stretch, Stretch)
    return stretch


class Readable(Protocol):
    """What chunks are read from."""

    def read(self, size: int, /) -> bytes: ...


def chunks(file: Readable, size: int | None = None) -> Iterator[tuple[bytes, bool]]:
    """(whole lines, whether they are the last) of a file; the very last line may lack its end.

    `size`: how many bytes to read, up to the beginning of a line; the last lines are then those
    before it. Cost: linear, however long a line is.
    """
    held: list[bytes] = []  # one line that goes on, or the last line so far
    while data := file.read(CHUNK_BYTES if size is None else min(CHUNK_BYTES, size)):
        size = None if size is None else size - len(data)
        # The last line read so far is held back: it may turn out to be the last of the file.
        cut = data.rfind(b"\n", 0, len(data) - 1) + 1
        if not cut and held and held[-1].endswith(b"\n"):
            yield b"".join(held), False
            held = []
        elif cut:
            yield b"".join([*held, data[:cut]]), False
            held = []
        held.append(data[cut:])
    if held:
        yield b"".join(held), True


def _spot_of(path: Path, position: int) -> tuple[int, int]:
    """(line, column), from 1, of the event at a position: blank lines do not count as events."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                if position == 0:
                    return number, len(line) - len(line.lstrip()) + 1
                position -= 1
    return number, 1


# -- the second process ---------------------------------------------------------------------------


def stretch_from(file: BinaryIO, parent: int) -> Stretch | None:
    """The events from where the file stands to its end; None if another must say what is wrong
    with them, or where they begin, or if nobody is waiting for them."""
    begin = file.tell()
    try:
        first = msgspec.json.decode(file.readline(), type=_Numbered)
        file.seek(begin)
        decoder = Decoder(first.index)
        for chunk, is_last in chunks(file):
            if os.getppid() != parent:
                return None
            decoder.feed(chunk, is_last)
    except (msgspec.DecodeError, UnicodeDecodeError, Malformed):
        return None
    return decoder.stretch()


class _Numbered(msgspec.Struct):
    index: int


def main() -> None:
    path, begin, parent = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    keep_freed()
    with Path(path).open("rb") as file, uncollected():
        file.seek(int(begin))
        stretch = stretch_from(file, int(parent))
    pickle.dump(stretch, sys.stdout.buffer, protocol=5)


if __name__ == "__main__":
    main()
