"""What tagged values of Fressian become: maps, sets, names, numbers of any size, and the like.

The tags are Fressian's own, those of Clojure's data.fressian, and those that Jepsen adds for what
Clojure has beside them. A handler reads the parts of a value behind its tag.

Blind to: how many parts a type says it has; to Java that does not matter for a tag it knows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from harness.columnize import dump

if TYPE_CHECKING:
    from harness.fressian import Reader

BIGINT_BYTES_MAX: Final = 415
"""Of an integer, a thousand digits: to spell one takes time in the square of its digits."""

KEY_CHARACTERS_MAX: Final = 10_000
"""The text of a map that is a map's key doubles its escapes, and so on for every map around it."""

Handler = Callable[["Reader", int], Any]
"""Reads the parts of a tagged value, of which it is told the number."""


def unknown(reader: Reader, count: int) -> Any:
    return reader.items(1)[0] if count == 1 else reader.items(count)


def _named(reader: Reader, _: int) -> str:
    """A keyword or symbol."""
    start = reader.at
    space, name = reader.items(2)
    if type(name) is not str or not (space is None or type(space) is str):
        reader.fail("a keyword or symbol without a name", start)
    return name if space is None else f"{space}/{name}"


def _map(reader: Reader, _: int) -> dict[str, Any]:
    start = reader.at
    pairs = in_pairs(reader, reader.sequence())
    found = {_key(reader, key): value for key, value in pairs}
    if len(found) < len(pairs):
        reader.fail("a map has a key twice", start)
    return found


def in_pairs(reader: Reader, flat: list[Any]) -> list[tuple[Any, Any]]:
    if len(flat) % 2:
        reader.fail("a map has a key without a value")
    return list(zip(flat[::2], flat[1::2], strict=True))


def _key(reader: Reader, key: Any) -> str:
    """A map's key as JSON has it: a name."""
    if type(key) is str:
        return key
    name = dump(key).decode()
    if len(name) > KEY_CHARACTERS_MAX:
        reader.fail(f"a key of a map is {len(name)} characters long as JSON")
    return name


def _set(reader: Reader, _: int) -> list[Any]:
    return reader.sequence()


def _hash_set(reader: Reader, count: int) -> list[Any]:
    """A list, or null where it is empty; of old, its elements one by one."""
    parts = reader.items(count)
    if count != 1:
        return parts
    return [] if parts[0] is None else parts[0] if type(parts[0]) is list else parts


def _record(reader: Reader, _: int) -> Any:
    """The class' name, and a map."""
    return reader.items(2)[1]


def _char(reader: Reader, _: int) -> str:
    if not 0 <= (code := reader.integer()) <= 0xFFFF:
        reader.fail(f"there is no character {code}")
    return "\ufffd" if 0xD800 <= code < 0xE000 else chr(code)


def _ratio(reader: Reader, _: int) -> str:
    return f"{reader.integer()}/{reader.integer()}"


def _bigint(reader: Reader, _: int) -> int:
    raw = reader.raw()
    if len(raw) > BIGINT_BYTES_MAX:
        reader.fail(f"an integer of {len(raw)} bytes; {BIGINT_BYTES_MAX} can be read")
    return int.from_bytes(raw, signed=True)


def _bigdec(reader: Reader, count: int) -> float | str:
    unscaled, scale = _bigint(reader, count), reader.integer()
    if not -(2**31) <= scale < 2**31:
        reader.fail(f"a decimal of scale {scale}")
    sign, digits, _ = Decimal(unscaled).as_tuple()
    return finite(float(Decimal((sign, digits, -scale))))


def _uuid(reader: Reader, _: int) -> str:
    if len(raw := reader.raw()) != 16:
        reader.fail(f"a UUID of {len(raw)} bytes")
    return str(UUID(bytes=raw))


def _inst(reader: Reader, _: int) -> str | int:
    """As Clojure prints it; as milliseconds since 1970 where our calendar ends."""
    ms = reader.integer()
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    except OverflowError:
        return ms
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "-00:00")


def _array(reader: Reader, _: int) -> list[Any]:
    """Its length, and as many values."""
    return reader.many(reader.count())


def finite(number: float) -> float | str:
    """A number as JSON can have it."""
    if isfinite(number):
        return number
    return "##NaN" if isnan(number) else "##Inf" if number > 0 else "##-Inf"


def single(raw: bytes) -> float:
    """Of 32 bits, as it prints: 0.1, not 0.10000000149011612."""
    return float(str(np.frombuffer(raw, ">f4")[0]))


HANDLERS: Final[dict[str, Handler]] = {
    "key": _named, "sym": _named, "map": _map, "set": _set, "record": _record, "char": _char,
    "persistent-hash-set": _hash_set, "persistent-sorted-set": _hash_set,
    "ratio": _ratio, "bigint": _bigint, "bigdec": _bigdec, "uuid": _uuid, "inst": _inst,
    "regex": unknown, "uri": unknown,
    **dict.fromkeys(("long[]", "double[]", "boolean[]", "int[]", "float[]", "Object[]"), _array),
}  # fmt: skip
"""By tag; how many parts a type of these says it has does not matter to Java, nor here."""
