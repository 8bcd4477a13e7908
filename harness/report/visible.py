"""Text of anybody with nothing hidden in it: safe to print, and what differs looks different.

A broken system may return terminal escapes, halves of surrogate pairs, or marks that turn the
writing direction around. Each is spelled out (`␛`, `\\u202e`). Called by every kind of report.
"""

from __future__ import annotations

import unicodedata


def visible(value: str) -> str:
    """The text with a visible sign for every character that has none; tabs and newlines stay.

    >>> visible("a\\x1b[31m\\u202e")
    'a␛[31m\\\\u202e'
    """
    if value.isprintable():
        return value
    return "".join(map(_sign, value))


def _sign(character: str) -> str:
    if character.isprintable() or character in "\t\n" or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's pictures of control characters
    if code == 0x7F:
        return "␡"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
