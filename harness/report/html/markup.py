"""Text of anybody as text of the page: no value can become markup, and none can hide.

A broken system may return anything: `</script>`, terminal escapes, halves of surrogate pairs.
Markup is escaped here; what a browser would not show, or would obey, is spelled out by
`harness.report.visible`.

Called by everything in this package that writes HTML.
"""

from __future__ import annotations

import base64
import gzip
import re
from html import escape
from typing import Any

import msgspec

from harness.report.visible import visible


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
