"""Requests as they come from anybody: decoded, or refused as malformed, and nothing else."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.broker.wire import APIS, Malformed, Request, decode_request, encode_response
from tests.nodes.broker.messages import VERSIONS, requests


def fields_of(value: Any, struct_field: Any, version: int) -> Any:
    """A message as plain values, with what its version holds and no more."""
    if isinstance(value, list):
        return [fields_of(each, struct_field.array_of, version) for each in value]
    if not hasattr(value, "_struct"):
        return value
    return {
        field.name: fields_of(getattr(value, field.name), field, version)
        for field in value._struct._fields
        if field.for_version_q(version)
    }


@given(requests())
@settings(max_examples=200, deadline=None)
def test_what_a_client_encodes_is_decoded(sent: tuple[int, int, Any, bytearray]) -> None:
    key, version, body, frame = sent
    request = decode_request(frame)
    assert (request.api.key, request.version) == (key, version)
    assert (request.correlation, request.client) == (
        body.header.correlation_id,
        body.header.client_id or "",
    )
    schema = body._struct
    assert fields_of(request.body, schema, version) == fields_of(body, schema, version)


@given(requests(), st.data())
@settings(max_examples=300, deadline=None)
def test_a_frame_that_is_cut_short_is_malformed(
    sent: tuple[int, int, Any, bytearray], data: st.DataObject
) -> None:
    frame = sent[-1]
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(Malformed):
        decode_request(frame[:cut])


@given(requests(), st.data())
@settings(max_examples=500, deadline=None)
def test_a_frame_with_changed_bytes_is_decoded_or_malformed(
    sent: tuple[int, int, Any, bytearray], data: st.DataObject
) -> None:
    frame = sent[-1]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place : place + 1] = data.draw(st.binary(max_size=6))
    try:
        request = decode_request(frame)
    except Malformed:
        return
    assert isinstance(request, Request)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_bytes_are_decoded_or_malformed(data: bytes) -> None:
    try:
        decode_request(bytearray(data))
    except Malformed:
        return


def frame_of(key: int, version: int, rest: bytes) -> bytearray:
    flexible = APIS[key].request.flexible_version_q(version)
    return bytearray(struct.pack(">hhih", key, version, 1, -1) + b"\0" * flexible + rest)


@pytest.mark.parametrize("length", [b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x80\0\0\1"])
def test_a_length_that_is_only_stated_costs_no_memory(length: bytes) -> None:
    for key, version in VERSIONS:
        frame = frame_of(key, version, length * 3)
        for watched in (False, True):  # generating the decoder takes memory; it is done once
            if watched:
                tracemalloc.start()
            with contextlib.suppress(Malformed):
                decode_request(frame)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 18, f"{APIS[key].name} v{version}"


@pytest.mark.parametrize(
    ("version", "bomb"),
    [
        pytest.param(12, b"\xff" * (1 << 20), id="a varint without end"),
        pytest.param(
            12,
            b"\xff\xff\x03" + (b"\0" * 16 + b"\x02a" + b"\x01\x09\x01a") * 40_000,
            id="tags in every structure",
        ),
        pytest.param(1, b"\x7f\xff\xff\xff" + b"\0\1a" * 300_000, id="an array without end"),
    ],
)
def test_a_megabyte_of_malice_is_refused_soon(version: int, bomb: bytes) -> None:
    frame = frame_of(3, version, bomb)
    began = time.process_time()
    with pytest.raises(Malformed):
        decode_request(frame)
    assert time.process_time() - began < 10  # seconds of CPU, on a busy machine, too


def test_an_api_that_is_not_served_is_malformed() -> None:
    with pytest.raises(Malformed, match="API key 999 is not served"):
        decode_request(bytearray(struct.pack(">hhih", 999, 0, 1, -1)))


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
def test_a_version_that_is_not_served_has_no_body(api: Any) -> None:
    for version in (api.low - 1, api.high + 1):
        request = decode_request(bytearray(struct.pack(">hhi", api.key, version, 7)))
        assert (request.body, request.correlation) == (None, 7)


@pytest.mark.parametrize(("key", "version"), VERSIONS)
def test_an_answer_without_content_can_be_encoded_and_read(key: int, version: int) -> None:
    api = APIS[key]
    frame = encode_response(Request(api, version, 11, "", object()), api.response())
    assert len(frame) - 4 == struct.unpack(">i", frame[:4])[0]
    answer = api.response.decode(bytes(frame[4:]), version=version, header=True)
    assert answer.header.correlation_id == 11
