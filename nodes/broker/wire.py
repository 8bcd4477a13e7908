"""Frames and messages of the Kafka protocol, by kafka-python's schemas.

A frame is a length (int32) and a message; a message is a header and a body, both by version. What
comes from the network is checked before anything is allocated for it, and a frame that cannot be
decoded closes its connection: nobody knows where the next one begins.
Source: Kafka protocol guide; KIP-482 (flexible versions), KIP-511 (ApiVersions).
"""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from kafka.protocol.api_header import RequestHeader
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.protocol.producer import (
    InitProducerIdRequest,
    InitProducerIdResponse,
    ProduceRequest,
    ProduceResponse,
)

from nodes.broker.decoding import Decoder, decoder

LENGTH = Struct(">i")
_START = Struct(">hhi")  # api key, version, correlation id: the same in every header
CONNECT_TIMEOUT_S = 2.0
HEADER_TAGS_MAX = 1024
REPEATED_BYTES_MAX = 4096


class Malformed(Exception):
    """Bytes that are no request; the connection they came on is lost."""


@dataclass(frozen=True, slots=True)
class Api:
    """An API that is served, in the versions from `low` to `high`."""

    key: int
    name: str
    request: Any
    response: Any
    low: int
    high: int


def _api(request: Any, response: Any, low: int, high: int) -> Api:
    name = request.name.removesuffix("Request")
    return Api(request.API_KEY, name, request, response, low, high)


# The versions that are understood in full; what clients negotiate never lies outside.
APIS: Mapping[int, Api] = {
    api.key: api
    for api in (
        _api(ProduceRequest, ProduceResponse, 3, 11),
        _api(FetchRequest, FetchResponse, 4, 16),
        _api(ListOffsetsRequest, ListOffsetsResponse, 1, 7),
        _api(MetadataRequest, MetadataResponse, 0, 12),
        _api(OffsetCommitRequest, OffsetCommitResponse, 2, 8),
        _api(OffsetFetchRequest, OffsetFetchResponse, 1, 8),
        _api(FindCoordinatorRequest, FindCoordinatorResponse, 0, 4),
        _api(ApiVersionsRequest, ApiVersionsResponse, 0, 4),
        _api(CreateTopicsRequest, CreateTopicsResponse, 2, 7),
        _api(DeleteTopicsRequest, DeleteTopicsResponse, 1, 6),
        _api(DeleteRecordsRequest, DeleteRecordsResponse, 0, 2),
        _api(InitProducerIdRequest, InitProducerIdResponse, 0, 4),
        _api(OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, 2, 4),
        _api(DescribeConfigsRequest, DescribeConfigsResponse, 1, 4),
        _api(CreatePartitionsRequest, CreatePartitionsResponse, 0, 3),
        _api(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 0, 1),
        _api(DescribeClusterRequest, DescribeClusterResponse, 0, 1),
    )
}


@dataclass(frozen=True, slots=True)
class Request:
    """A decoded request. `body` is None if the version is not served."""

    api: Api
    version: int
    correlation: int
    client: str
    body: Any


def decode_request(frame: bytearray | memoryview) -> Request:
    """Decode a frame, less its length.

    Raises:
        Malformed: it is no request of an API that is served.
    """
    if len(frame) < _START.size:
        raise Malformed(f"a frame of {len(frame)} bytes")
    key, version, correlation = _START.unpack_from(frame)
    api = APIS.get(key)
    if api is None:
        raise Malformed(f"API key {key} is not served")
    if not api.low <= version <= api.high:
        return Request(api, version, correlation, "", None)
    try:
        if key == FetchRequest.API_KEY and len(frame) <= REPEATED_BYTES_MAX:
            client, body = _repeated(key, version, bytes(frame[_START.size :]))
        else:
            client, body = _decode(key, version, frame)
    except Malformed:
        raise
    except Exception as error:  # whatever the schemas make of hostile bytes
        raise Malformed(f"{api.name} v{version}: {type(error).__name__}: {error}") from error
    return Request(api, version, correlation, client, body)


def _decode(key: int, version: int, frame: bytearray | memoryview) -> tuple[str, Any]:
    """The client's name and the body."""
    # The header has no end of its own: the client's name tells how long it is.
    named = int.from_bytes(frame[8:10], "big", signed=True)
    if named < -1 or named > len(frame) - 10:
        raise Malformed(f"a client id of {named} bytes")
    flexible = APIS[key].request.flexible_version_q(version)
    head = 10 + max(named, 0)
    stream = io.BytesIO(bytes(frame[: head + HEADER_TAGS_MAX * flexible]))
    header = RequestHeader.decode(stream, flexible=flexible)
    if stream.tell() == head + HEADER_TAGS_MAX:
        raise Malformed(f"tagged fields of over {HEADER_TAGS_MAX} bytes in a header")
    body = _decoder(key, version)(memoryview(frame)[stream.tell() :])
    return header.client_id or "", body


@functools.lru_cache(maxsize=256)
def _repeated(key: int, version: int, rest: bytes) -> tuple[str, Any]:
    """Of a long poll that is asked again and again: all the same but for the correlation id.

    The body is shared by all who ask so: nobody may change it.
    """
    return _decode(key, version, bytearray(_START.pack(key, version, 0) + rest))


@functools.cache
def _decoder(key: int, version: int) -> Decoder:
    return decoder(APIS[key].request, version)


def encode_response(request: Request, body: Any) -> bytes:
    """The whole frame of an answer; in version 0 if the request's version is not served."""
    version = 0 if request.body is None else request.version
    return encode(request.api, body, version, request.correlation)


def encode(api: Api, body: Any, version: int, correlation: int) -> bytes:
    body.API_VERSION = version
    body.with_header(correlation)
    framed: bytes = body.encode(header=True, framed=True)
    return framed


class PeerConnection:
    """A connection to another broker: one request at a time, as a client."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        self._reader, self._writer, self._client = reader, writer, client
        self._correlation = 0

    @staticmethod
    async def open(address: tuple[str, int], client: str) -> PeerConnection:
        """Raises OSError or TimeoutError."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*address, limit=1 << 22)
        return PeerConnection(reader, writer, client)

    async def ask(
        self, body: Any, request: Any, response: Any, version: int, timeout_s: float
    ) -> Any:
        """Send a request and return its decoded answer.

        Raises:
            OSError, EOFError, TimeoutError: the connection is of no more use.
            ValueError: the answer is not one.
        """
        self._correlation += 1
        body.API_VERSION = version
        body.with_header(self._correlation, self._client)
        self._writer.write(body.encode(header=True, framed=True))
        async with asyncio.timeout(timeout_s):
            (size,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            data = await self._reader.readexactly(size)
        correlation = int.from_bytes(data[:4], "big", signed=True)
        if correlation != self._correlation:
            raise ValueError(f"answer {correlation} came to request {self._correlation}")
        # The library would copy all of a fetch twice to find out where its header ends: at four
        # bytes, and one that says that no tagged fields follow.
        head = 5 if response.flexible_version_q(version) else 4
        try:
            if any(data[4:head]):
                raise ValueError("tagged fields in its header")
            return response.decode(memoryview(data)[head:], version=version)
        except Exception as error:
            raise ValueError(f"an answer that cannot be decoded: {error}") from error

    def close(self) -> None:
        self._writer.close()
