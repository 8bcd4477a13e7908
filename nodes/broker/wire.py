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
    DeleteGroupsRequest,
    DeleteGroupsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DescribeClusterRequest,
    DescribeClusterResponse,
    DescribeConfigsRequest,
    DescribeConfigsResponse,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
    DescribeProducersRequest,
    DescribeProducersResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    ListGroupsRequest,
    ListGroupsResponse,
    ListTransactionsRequest,
    ListTransactionsResponse,
)
from kafka.protocol.api_header import RequestHeader
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    JoinGroupRequest,
    JoinGroupResponse,
    LeaveGroupRequest,
    LeaveGroupResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetFetchRequest,
    OffsetFetchResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    SyncGroupRequest,
    SyncGroupResponse,
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
    AddOffsetsToTxnRequest,
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
    InitProducerIdRequest,
    InitProducerIdResponse,
    ProduceRequest,
    ProduceResponse,
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)
from kafka.protocol.schemas.fields.codecs.encode_buffer import EncodeBuffer

from nodes.broker.decoding import Decoder, decoder
from nodes.broker.encoding import Encoder, encoder

LENGTH = Struct(">i")
_START = Struct(">hhi")  # api key, version, correlation id: the same in every header
_NAME = Struct(">h")  # the length of what follows
_CORRELATION = Struct(">i")
_BUFFER = EncodeBuffer()  # of whatever is encoded now: nothing waits meanwhile
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
        _api(JoinGroupRequest, JoinGroupResponse, 0, 9),
        _api(HeartbeatRequest, HeartbeatResponse, 0, 4),
        _api(LeaveGroupRequest, LeaveGroupResponse, 0, 5),
        _api(SyncGroupRequest, SyncGroupResponse, 0, 5),
        _api(DescribeGroupsRequest, DescribeGroupsResponse, 0, 6),
        _api(ListGroupsRequest, ListGroupsResponse, 0, 5),
        _api(ApiVersionsRequest, ApiVersionsResponse, 0, 4),
        _api(CreateTopicsRequest, CreateTopicsResponse, 2, 7),
        _api(DeleteTopicsRequest, DeleteTopicsResponse, 1, 6),
        _api(DeleteRecordsRequest, DeleteRecordsResponse, 0, 2),
        _api(InitProducerIdRequest, InitProducerIdResponse, 0, 4),
        _api(OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, 2, 4),
        _api(AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, 0, 4),
        _api(AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, 0, 3),
        _api(EndTxnRequest, EndTxnResponse, 0, 3),
        _api(WriteTxnMarkersRequest, WriteTxnMarkersResponse, 1, 1),
        _api(TxnOffsetCommitRequest, TxnOffsetCommitResponse, 0, 4),
        _api(DescribeConfigsRequest, DescribeConfigsResponse, 1, 4),
        _api(CreatePartitionsRequest, CreatePartitionsResponse, 0, 3),
        _api(DeleteGroupsRequest, DeleteGroupsResponse, 0, 2),
        _api(IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, 0, 1),
        _api(OffsetDeleteRequest, OffsetDeleteResponse, 0, 0),
        _api(DescribeClusterRequest, DescribeClusterResponse, 0, 1),
        _api(DescribeProducersRequest, DescribeProducersResponse, 0, 0),
        _api(DescribeTransactionsRequest, DescribeTransactionsResponse, 0, 0),
        _api(ListTransactionsRequest, ListTransactionsResponse, 0, 1),
    )
}


@dataclass(slots=True)  # not frozen, as one is made for every frame; but nobody changes it
class Request:
    """A decoded request. `body` is None if the version is not served; `peer` is who sent it."""

    api: Api
    version: int
    correlation: int
    client: str
    body: Any
    peer: str = ""


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
    head = 10 + max(named, 0)
    client = str(frame[10:head], "utf-8")
    if APIS[key].request.flexible_version_q(version):
        untagged = head < len(frame) and frame[head] == 0
        head = head + 1 if untagged else _end_of_tags(frame, head)
    return client, _decoder(key, version)(memoryview(frame)[head:])


def _end_of_tags(frame: bytearray | memoryview, head: int) -> int:
    """Where a header ends whose client's name ends at `head`, and which has tagged fields."""
    stream = io.BytesIO(bytes(frame[: head + HEADER_TAGS_MAX]))
    RequestHeader.decode(stream, flexible=True)
    if stream.tell() == head + HEADER_TAGS_MAX:
        raise Malformed(f"tagged fields of over {HEADER_TAGS_MAX} bytes in a header")
    return stream.tell()


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
    """The whole frame of an answer; the body stays as it is."""
    encode_body, tags = _answering(api.key, version)
    return _framed(_CORRELATION.pack(correlation) + tags, encode_body, body)


@functools.cache
def _answering(key: int, version: int) -> tuple[Encoder, bytes]:
    """The encoder of an answer, and what its header ends with: that no tagged fields follow."""
    response = APIS[key].response
    # The header of ApiVersions can have none: who gets it may not know yet what we speak (KIP-511).
    tagged = response.flexible_version_q(version) and response is not ApiVersionsResponse
    return encoder(response, version), b"\0" * tagged


@functools.cache
def _asking(request: Any, response: Any, version: int) -> tuple[int, Encoder, Decoder, bytes]:
    """The API's key, how its request is encoded and its answer decoded, and the headers' ends."""
    tags = b"\0" * request.flexible_version_q(version)
    return request.API_KEY, encoder(request, version), decoder(response, version), tags


def _framed(header: bytes, encode_body: Encoder, body: Any) -> bytes:
    out = _BUFFER
    out.pos = start = LENGTH.size + len(header)
    encode_body(body, out)
    LENGTH.pack_into(out.buf, 0, out.pos - LENGTH.size)
    out.buf[LENGTH.size : start] = header
    return bytes(memoryview(out.buf)[: out.pos])


class PeerConnection(asyncio.Protocol):
    """A connection to another broker: one request at a time, as a client."""

    def __init__(self, client: str) -> None:
        self._client = client.encode()
        self._transport: asyncio.Transport | None = None
        self._correlation = 0
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._lost: Exception | None = None

    @staticmethod
    async def open(address: tuple[str, int], client: str) -> PeerConnection:
        """Raises OSError or TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, connection = await loop.create_connection(lambda: PeerConnection(client), *address)
        return connection

    async def ask(
        self, body: Any, request: Any, response: Any, version: int, timeout_s: float
    ) -> Any:
        """Send a request and return its decoded answer.

        Raises:
            OSError, EOFError, TimeoutError: the connection is of no more use.
            ValueError: the answer is not one.
        """
        key, encode_body, decode_body, tags = _asking(request, response, version)
        self._correlation += 1
        start = _START.pack(key, version, self._correlation)
        header = start + _NAME.pack(len(self._client)) + self._client + tags
        data = await self._exchange(_framed(header, encode_body, body), timeout_s)
        correlation = int.from_bytes(data[:4], "big", signed=True)
        if correlation != self._correlation:
            raise ValueError(f"answer {correlation} came to request {self._correlation}")
        head = 4 + len(tags)
        try:
            if data[4:head] != tags:
                raise ValueError("tagged fields in its header")
            return decode_body(memoryview(data)[head:])
        except Exception as error:
            raise ValueError(f"an answer that cannot be decoded: {error}") from error

    async def _exchange(self, frame: bytes, timeout_s: float) -> bytes:
        """Send a frame and wait for the next one, less its length."""
        if self._lost is not None:
            raise self._lost
        assert self._transport is not None and self._answer is None
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(timeout_s, self._fail, TimeoutError(f"none in {timeout_s:g} s"))
        self._transport.write(frame)
        try:
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- asyncio's side ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if len(received) < LENGTH.size:
            return
        end = LENGTH.size + LENGTH.unpack_from(received)[0]
        if end < LENGTH.size:
            self._fail(ValueError(f"an answer of {end - LENGTH.size} bytes"))
        elif len(received) >= end and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(memoryview(received)[LENGTH.size : end]))
            del received[:end]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = exc or EOFError("the peer closed the connection")
        self._fail(self._lost)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
