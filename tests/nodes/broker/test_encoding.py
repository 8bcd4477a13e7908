"""What we encode is what kafka-python would encode, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.protocol.schemas.fields.codecs.encode_buffer import EncodeBuffer

from nodes.broker.encoding import encoder, maker
from nodes.broker.wire import APIS, encode
from tests.nodes.broker.messages import VERSIONS, fields_of, ints


@st.composite
def messages(draw: st.DrawFn) -> tuple[Any, int, dict[str, Any]]:
    """(class, version, fields) of a request or an answer."""
    key, version = draw(st.sampled_from(VERSIONS))
    message = draw(st.sampled_from([APIS[key].request, APIS[key].response]))
    return message, version, draw(fields_of(message, version))


def kinds(message: Any) -> Iterator[Any]:
    """A message's class and those of all structures in it."""
    yield message
    for field in message._struct.fields.values():
        if field.is_struct() or field.is_struct_array():
            yield from kinds(getattr(message, field.type_str))


@given(messages())
@settings(max_examples=300, deadline=None)
def test_a_body_is_encoded_as_the_library_does_it(drawn: tuple[Any, int, dict[str, Any]]) -> None:
    message, version, fields = drawn
    out = EncodeBuffer(1)  # which has to grow, wherever something is written
    encoder(message, version)(message(**fields), out)
    assert out.result() == message(version=version, **fields).encode()


@given(st.sampled_from(VERSIONS), st.data())
@settings(max_examples=200, deadline=None)
def test_an_answer_is_framed_as_the_library_does_it(
    served: tuple[int, int], data: st.DataObject
) -> None:
    key, version = served
    fields = data.draw(fields_of(APIS[key].response, version))
    correlation = data.draw(ints(32))
    expected = APIS[key].response(version=version, **fields)
    expected.with_header(correlation)
    found = encode(APIS[key], APIS[key].response(**fields), version, correlation)
    assert found == expected.encode(header=True, framed=True)


@given(messages())
@settings(max_examples=200, deadline=None)
def test_what_is_made_equals_what_the_library_makes(drawn: tuple[Any, int, dict[str, Any]]) -> None:
    message, version, fields = drawn
    made, expected = maker(message)(**fields), message(**fields)
    assert type(made) is type(expected)
    for field in message._struct._fields:
        assert getattr(made, field.name) == getattr(expected, field.name)
    assert made.encode(version=version) == expected.encode(version=version)


def test_every_structure_can_be_made_without_any_field() -> None:
    for api in APIS.values():
        for kind in (*kinds(api.request), *kinds(api.response)):
            made, expected = maker(kind)(), kind()
            for field in kind._struct._fields:
                assert getattr(made, field.name) == getattr(expected, field.name)


def test_a_field_that_is_not_in_the_schema_is_refused() -> None:
    with pytest.raises(TypeError):
        maker(APIS[1].request)(max_wait=1)


def test_numbers_that_follow_each_other_are_packed_at_once() -> None:
    """Else all of this would be slow, and no test would say so."""
    packed = [const for const in _constants(encoder(APIS[1].response, 11)) if ">ihqqq" in const]
    assert packed


def _constants(function: Any) -> list[str]:
    return [const for const in function.__code__.co_consts if isinstance(const, str)]
