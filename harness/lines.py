"""One line of a history: an event as we write it, or as another tool does.

Nearly all lines are a `Line`: known keys, values of known types. Any other event becomes one by
`plain_line`, which says what is wrong with what is no event.

Blind to: the events around it; `harness.decode` sees those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec

from harness.columnize import dump
from harness.mops import Typed
from harness.op import KINDS

CODES = {str(kind): code for code, kind in enumerate(KINDS)}
KNOWN = frozenset({"index", "time", "type", "process", "f", "value", "error", "node", "extra"})


class Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as nearly every line has it."""

    type: Literal["invoke", "ok", "fail", "info"]
    process: int | str
    f: str
    index: int | None = None
    time: int | None = None
    value: Typed = None
    error: tuple[str, str] | None = None
    node: str | None = None
    extra: dict[str, Any] | None = None


TYPED = msgspec.json.Decoder(Line)
"""Decodes lines of known keys and types; refuses others."""


def plain_line(event: Any) -> Line:
    """Any event of ours or of another tool.

    Raises:
        ValueError: it is none; the text is the reason.
    """
    if type(event) is not dict:
        raise ValueError("an event is a JSON object")
    for name in ("type", "process", "f"):
        if event.get(name) is None:
            raise ValueError(f"the event has no {name!r}")
    kind, process, f = event["type"], event["process"], event["f"]
    if type(kind) is not str or kind not in CODES:
        raise ValueError(f"unknown type {kind!r}: expected one of {', '.join(CODES)}")
    if type(process) is not str and not (type(process) is int and 0 <= process < 2**31):
        raise ValueError(f"process {process!r} is neither a number from 0 to 2^31 nor a name")
    if type(f) is not str:
        raise ValueError(f"f {f!r} is not a string")
    return Line(
        cast("Any", kind),
        process,
        f,
        _number(event, "index"),
        _number(event, "time"),
        event.get("value"),
        _error(event.get("error")),
        event["node"] if type(event.get("node")) is str else None,
        _extra(event),
    )


def _number(event: dict[str, Any], name: str) -> int | None:
    number = event.get(name)
    if number is not None and (type(number) is not int or not -(2**63) <= number < 2**63):
        raise ValueError(f"{name} {number!r} is not an integer of 64 bits")
    return number


def _error(error: Any) -> tuple[str, str] | None:
    """Another tool's error as [name, text]: "timeout", ["timeout", {…}], {"type": …}."""
    if error is None:
        return None
    if type(error) is str:
        return error, error
    if type(error) is list and error and type(error[0]) is str:
        rest = error[1:]
        if len(rest) == 1 and type(rest[0]) is str:
            return error[0], rest[0]
        return error[0], dump(rest).decode() if rest else error[0]
    return "error", dump(error).decode()


def _extra(event: dict[str, Any]) -> dict[str, Any] | None:
    """What stands under "extra", and all that we do not know, in the order of the file."""
    extra = event.get("extra")
    found = dict(extra) if type(extra) is dict else {}
    for name, value in event.items():
        expected = {"extra": dict, "node": str}.get(name)
        if name not in KNOWN or (expected and value is not None and type(value) is not expected):
            found[name] = value
    return found if found or type(extra) is dict else None


def uneven(name: str, given: bool) -> str:
    """Why an event that has `name`, or lacks it, cannot stand among the others."""
    what = f"no {name}, which the events before have" if given else f"the first {name}"
    return f"{what}; either all events have one or none"


def integers_in(value: Any) -> Iterator[int]:
    """The integers of a typed value, wherever they stand; those of strings are none."""
    if type(value) is int:
        yield value
    elif isinstance(value, msgspec.Struct):
        yield from integers_in(msgspec.structs.astuple(value))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from integers_in(item)
    elif isinstance(value, dict):
        yield from integers_in([*value, *value.values()])
