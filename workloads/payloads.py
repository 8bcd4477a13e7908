"""What a message of a workload looks like: its value as text, padded so that damage has room."""

from __future__ import annotations

from typing import Any

_PAD = b"."


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
    return raw.decode(errors="backslashreplace")
