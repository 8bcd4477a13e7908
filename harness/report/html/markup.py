"""Text of anybody as text of the page: no value can become markup, and none can hide.

A broken system may return anything: `</script>`, terminal escapes, halves of surrogate pairs, marks
that turn the writing direction around. Markup is escaped; what a browser would not show, or would
obey, is spelled out (`␛`, `\\u202e`), so that two values that differ look different.

Called by everything in this package that writes HTML.
"""

from __future__ import annotations

import base64
import gzip
import re
from html import escape
from typing import Any, Final

import msgspec

_DIRECTION = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_BREAKS = (0x2028, 0x2029)
_NOTHING = (0xFEFF, 0xFFFE, 0xFFFF, *range(0xFFF9, 0xFFFC), *range(0x200B, 0x200E), 0x2060)
_SHOWN: Final[dict[int, str]] = {
    **{code: chr(0x2400 + code) for code in range(32) if code not in (9, 10)},
    0x7F: "␡",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{code: f"\\u{code:04x}" for code in (*_DIRECTION, *_BREAKS, *_NOTHING)},
    **{code: f"\\u{code:04x}" for code in range(0xD800, 0xE000)},
}


def visible(value: str) -> str:
    """The text with a visible sign for every character that has none; tabs and newlines stay.

    >>> visible("a\\x1b[31m\\u202e")
    'a␛[31m\\\\u202e'
    """
    if value.isprintable():
        return value
    return value.translate(_SHOWN)


def text(value: Any) -> str:
    """HTML of a value as text; safe between tags and inside quoted attributes.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    return escape(visible(value if isinstance(value, str) else json(value)), quote=True)


def json(value: Any) -> str:
    """A value as one line of JSON; what is no JSON as its `str`."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except UnicodeEncodeError:  # a lone surrogate, which no UTF-8 can hold
        return str(value)


def packed(value: Any) -> str:
    """A JSON value as base64 of its gzip: a seventh of its size, and no character of markup."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(value), 6, mtime=0)).decode()


def anchor(value: str) -> str:
    """An id for a name: letters, digits and dashes; others as their codes.

    >>> anchor("lost-write"), anchor("G1a <x>")
    ('lost-write', 'G1a_20__3c_x_3e_')
    """
    return re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found[0]):x}_", value)


def swatch(colour: str, name: str, *, shade: bool = False) -> str:
    """An entry of a legend. `colour` is CSS."""
    kind = ' class="shade"' if shade else ""
    return f'<span><i{kind} style="background:{text(colour)}"></i>{text(name)}</span>'
