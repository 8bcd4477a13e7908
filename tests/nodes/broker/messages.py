"""Requests of any API and version, drawn from the schemas themselves."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import strategies as st

from nodes.broker.wire import APIS

VERSIONS = [(api.key, version) for api in APIS.values() for version in range(api.low, api.high + 1)]

# "t" and 0 are a topic and a partition that may be there.
text = st.just("t") | st.text(st.characters(codec="utf-8"), max_size=8)


def value_of(field: Any, version: int) -> st.SearchStrategy[Any]:
    """What a field of a schema may hold."""
    nullable = field.nullable_for_version_q(version)
    if field.is_struct_array() or field.is_array():
        inner = field.array_of
        item = struct_of(inner, version) if field.is_struct_array() else value_of(inner, version)
        found: st.SearchStrategy[Any] = st.lists(item, max_size=3)
    elif field.is_struct():
        found = struct_of(field, version)
    else:
        found = SIMPLE[field.type_str]
    return st.none() | found if nullable else found


def ints(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-3, 3) | st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int8": ints(8),
    "int16": ints(16),
    "int32": ints(32),
    "int64": ints(64),
    "string": text,
    "bytes": st.binary(max_size=20),
    "records": st.binary(max_size=100),
    "bitfield": st.none() | st.sets(st.integers(0, 30)),
    "uuid": st.uuids().map(lambda id: uuid.UUID(int=id.int | 1)),
}


def struct_of(field: Any, version: int) -> st.SearchStrategy[Any]:
    fields = {
        each.name: value_of(each, version) for each in field._fields if each.for_version_q(version)
    }
    return st.fixed_dictionaries(fields).map(lambda values: field.data_class(**values))


def fields_of(message: Any, version: int) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of a request or an answer in some version."""
    return st.fixed_dictionaries(
        {
            field.name: value_of(field, version)
            for field in message._struct._fields
            if field.for_version_q(version)
        }
    )


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, int, Any, bytearray]:
    """(API key, version, body, frame) of a request as a client would send it."""
    key, version = draw(st.sampled_from(VERSIONS))
    message = APIS[key].request
    body = message(version=version, **draw(fields_of(message, version)))
    body.with_header(draw(ints(32)), draw(st.none() | text))
    return key, version, body, bytearray(body.encode(header=True))
