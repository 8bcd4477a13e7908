"""What a message of a workload looks like: its value as text, padded so that damage has room; and
its timestamp, which follows from its value."""

from __future__ import annotations

import time
from typing import Any
from zlib import crc32

_PAD = b"."
_SHOWN_MAX = 48
"""Characters of a message that is none of ours."""

_AGE_MS = 24 * 3_600_000
"""How long ago the first timestamp is: so many values there may be before one lies in the future,
which brokers bear for an hour, and far less than a retention of 7 days."""


def payload(value: int, size: int) -> bytes:
    """The bytes of a message, at least `size` of them.

    >>> payload(42, 5)
    b'42...'
    """
    return str(value).encode().ljust(size, _PAD)


def value_of(raw: bytes, size: int) -> Any:
    """What a message says: the number that we sent, or whatever else came, as text.

    >>> value_of(b"42...", 5), value_of(b"42.\\0.", 5), value_of(b"42..", 5)
    (42, '42.\\x00.', '42..')
    """
    try:
        value = int(raw.rstrip(_PAD))
    except ValueError:
        value = None
    if value is not None and payload(value, size) == raw:
        return value
    text = raw.decode(errors="backslashreplace")
    if len(text) <= _SHOWN_MAX:
        return text
    return f"{text[:_SHOWN_MAX]}… ({len(raw)} bytes, CRC {crc32(raw):08x})"


class Stamps:
    """The timestamp of each value, in milliseconds: a later one for a larger value, so that times
    can be told as values, and a history says what it says without a clock."""

    def __init__(self) -> None:
        self._base_ms: int | None = None

    def of(self, value: int) -> int:
        if self._base_ms is None:
            self._base_ms = int(time.time() * 1000) - _AGE_MS
        return self._base_ms + value

    def value(self, timestamp_ms: int) -> int:
        return timestamp_ms - self.of(0)
