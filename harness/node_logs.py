"""The lines of the nodes' logs in a run's folder, for checkers, which open no files.

A log is read when somebody iterates over its lines: in the process of the checker that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LINE_BYTES = 1 << 16
"""What is longer counts as several lines: a log may be anything, even one line of a gigabyte."""


def read(folder: Path) -> Mapping[str, Lines]:
    """By the file's name in the folder; empty where there is none.

    >>> read(Path("/nowhere"))
    {}
    """
    files = sorted(folder.glob("nodes/*/*.log"))
    return {str(path.relative_to(folder)): Lines(path) for path in files if path.is_file()}


@dataclass(frozen=True, slots=True)
class Lines:
    """Of a file, without their ends; bytes that are no text are replaced."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        with self.path.open("rb") as file:
            while line := file.readline(LINE_BYTES):
                yield line.decode("utf-8", "replace").rstrip("\r\n")
