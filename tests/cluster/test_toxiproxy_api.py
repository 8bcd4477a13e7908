"""Toxiproxy's HTTP API, over the embedded server and the real one alike."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from harness.cluster.contract import Address
from harness.cluster.toxics import STAGES
from tests.cluster.servers import Server

pytestmark = pytest.mark.local

PROXY = {"name": "p", "upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}


async def refused(
    server: Server, method: str, path: str, body: Any, status: int, text: str
) -> None:
    reply = await server.ask(method, path, body)
    assert (reply.status, reply.json["status"]) == (status, status)
    assert reply.json["error"].startswith(text)
    assert reply.body.endswith(b"\n")


async def test_the_version_is_json(either: Server) -> None:
    reply = await either.ask("GET", "/version")
    assert reply.status == 200 and set(reply.json) == {"version"}


async def test_a_proxy_is_created_with_its_resolved_address(either: Server) -> None:
    assert (await either.ask("GET", "/proxies")).json == {}
    reply = await either.ask("POST", "/proxies", PROXY)
    shown = reply.json
    assert reply.status == 201
    assert shown["listen"].startswith("127.0.0.1:") and not shown["listen"].endswith(":0")
    assert shown["enabled"] is True and shown["toxics"] == []
    assert (await either.ask("GET", "/proxies/p")).json == shown
    assert (await either.ask("GET", "/proxies")).json == {"p": shown}


async def test_a_disabled_proxy_keeps_port_zero_until_reset_enables_it(either: Server) -> None:
    reply = await either.ask("POST", "/proxies", {**PROXY, "enabled": False})
    assert reply.json["listen"] == "127.0.0.1:0" and reply.json["enabled"] is False
    assert (await either.ask("POST", "/reset")).status == 204
    shown = (await either.ask("GET", "/proxies/p")).json
    assert shown["enabled"] is True and not shown["listen"].endswith(":0")


async def test_mistakes_have_toxiproxys_words(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        in_use = f"listen tcp {busy}: bind: address already in use"
        await refused(
            either, "POST", "/proxies", {**PROXY, "name": "q", "listen": busy}, 500, in_use
        )
    for method, path, body, status, text in [
        ("POST", "/proxies", PROXY, 409, "proxy already exists"),
        ("POST", "/proxies", b"", 400, "bad request body: EOF"),
        ("POST", "/proxies", b"{bad", 400, "bad request body: "),
        ("POST", "/proxies", [], 400, "bad request body: json: cannot unmarshal array"),
        ("POST", "/proxies", {"name": 5}, 400, "bad request body: json: cannot unmarshal number"),
        ("POST", "/proxies", {"name": "q"}, 400, "missing required field: upstream"),
        ("POST", "/proxies", {"upstream": "x:1"}, 400, "missing required field: name"),
        (
            *("POST", "/proxies", {**PROXY, "name": "q", "listen": "garbage"}, 500),
            "listen tcp: address garbage: missing port in address",
        ),
        ("GET", "/proxies/none", None, 404, "proxy not found"),
        ("POST", "/proxies/none", {}, 404, "proxy not found"),
        ("DELETE", "/proxies/none", None, 404, "proxy not found"),
        ("GET", "/proxies/none/toxics", None, 404, "proxy not found"),
        ("POST", "/proxies/p", {"enabled": "x"}, 400, "bad request body: json: cannot unmarshal"),
        ("POST", "/proxies/p/toxics", {}, 400, "invalid toxic type"),
        ("POST", "/proxies/p/toxics", {"type": "nope"}, 400, "invalid toxic type"),
        (
            *("POST", "/proxies/p/toxics", {"type": "noop", "stream": "x"}, 400),
            "stream was invalid, can be either upstream or downstream",
        ),
        ("GET", "/proxies/p/toxics/none", None, 404, "toxic not found"),
        ("PATCH", "/proxies/p/toxics/none", {}, 404, "toxic not found"),
        ("DELETE", "/proxies/p/toxics/none", None, 404, "toxic not found"),
    ]:
        await refused(either, method, path, body, status, text)


async def test_attributes_must_be_integers(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    for value, shown in ((1.5, "number 1.5"), ("10", "string")):
        await refused(
            either,
            "POST",
            "/proxies/p/toxics",
            {"type": "latency", "attributes": {"latency": value}},
            400,
            f"bad request body: json: cannot unmarshal {shown} into Go struct field "
            "LatencyToxic.attributes.latency of type int64",
        )
    assert (await either.ask("GET", "/proxies/p/toxics")).json == []


async def test_unknown_routes_and_methods(either: Server) -> None:
    reply = await either.ask("GET", "/nothing")
    assert (reply.status, reply.body) == (404, b"404 page not found\n")
    assert (await either.ask("GET", "/metrics")).status == 404
    reply = await either.ask("PUT", "/proxies")
    assert (reply.status, reply.body) == (405, b"")


async def test_browsers_are_kept_out(either: Server) -> None:
    reply = await either.ask("GET", "/version", headers={"User-Agent": "Mozilla/5.0"})
    assert (reply.status, reply.body) == (403, b"User agent not allowed\n")


@pytest.mark.parametrize("type_", sorted(STAGES))
async def test_every_toxic_has_defaults_for_all_its_attributes(either: Server, type_: str) -> None:
    await either.ask("POST", "/proxies", PROXY)
    reply = await either.ask("POST", "/proxies/p/toxics", {"type": type_, "attributes": {"x": 1}})
    assert reply.status == 200
    assert reply.json == {
        "attributes": dict.fromkeys(STAGES[type_].fields, 0),
        "name": f"{type_}_downstream",
        "type": type_,
        "stream": "downstream",
        "toxicity": 1,
    }


async def test_a_toxics_name_and_stream_are_echoed_as_given(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    body = {"type": "latency", "stream": "UpStream", "attributes": {"latency": 7}, "toxicity": 0.5}
    reply = await either.ask("POST", "/proxies/p/toxics", body)
    assert (reply.json["name"], reply.json["stream"]) == ("latency_UpStream", "UpStream")
    assert reply.json["toxicity"] == 0.5
    await refused(either, "POST", "/proxies/p/toxics", body, 409, "toxic already exists")


async def test_changing_a_toxic_merges_attributes_and_nothing_else(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    await either.add("p", "slicer", average_size=5, delay=3)
    path = "/proxies/p/toxics/slicer_downstream"
    change = {"attributes": {"delay": 9}, "toxicity": 0.25, "name": "q", "stream": "upstream"}
    for method in ("POST", "PATCH"):
        reply = await either.ask(method, path, change)
        assert reply.status == 200
        assert reply.json == {
            "attributes": {"average_size": 5, "size_variation": 0, "delay": 9},
            "name": "slicer_downstream",
            "type": "slicer",
            "stream": "downstream",
            "toxicity": 0.25,
        }


async def test_toxics_are_listed_upstream_first_in_chain_order(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    for type_, stream in [("noop", "downstream"), ("slicer", "upstream"), ("latency", "upstream")]:
        await either.add("p", type_, stream)
    names = [toxic["name"] for toxic in (await either.ask("GET", "/proxies/p/toxics")).json]
    assert names == ["slicer_upstream", "latency_upstream", "noop_downstream"]
    await either.remove("p", "slicer_upstream")
    shown = (await either.ask("GET", "/proxies/p")).json["toxics"]
    assert [toxic["name"] for toxic in shown] == ["latency_upstream", "noop_downstream"]


async def test_populate_creates_all_or_says_how_far_it_came(either: Server) -> None:
    entry = {"upstream": "127.0.0.1:1", "listen": "127.0.0.1:0"}
    reply = await either.ask("POST", "/populate", [{"name": "a", **entry}, {"name": "b", **entry}])
    assert reply.status == 201
    assert [proxy["name"] for proxy in reply.json["proxies"]] == ["a", "b"]
    reply = await either.ask("POST", "/populate", [{"name": "c", **entry}, {"name": "d"}])
    assert reply.status == 400 and reply.json["proxies"] is None
    assert reply.json["error"] == "missing required field: upstream at proxy 2"
    busy = {"name": "d", "upstream": "127.0.0.1:1", "listen": str(either.api)}
    reply = await either.ask("POST", "/populate", [{"name": "c", **entry}, busy])
    assert reply.status == 500 and [p["name"] for p in reply.json["proxies"]] == ["c"]
    assert set((await either.ask("GET", "/proxies")).json) == {"a", "b", "c"}


async def test_reset_enables_proxies_and_removes_toxics(either: Server) -> None:
    await either.ask("POST", "/proxies", PROXY)
    await either.add("p", "latency", latency=5)
    await either.ask("POST", "/proxies/p", {"enabled": False})
    assert (await either.ask("POST", "/reset")).status == 204
    shown = (await either.ask("GET", "/proxies/p")).json
    assert shown["enabled"] is True and shown["toxics"] == []


async def test_a_deleted_proxy_is_gone(either: Server, upstream: Address) -> None:
    where = await either.proxy("p", upstream)
    reader, writer = await either.connect(where)
    writer.write(b"x")
    assert await reader.readexactly(1) == b"x"
    reply = await either.ask("DELETE", "/proxies/p")
    assert (reply.status, reply.body) == (204, b"")
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*where)


async def test_disabling_closes_connections_and_enabling_keeps_the_port(
    either: Server, upstream: Address
) -> None:
    where = await either.proxy("p", upstream)
    reader, writer = await either.connect(where)
    writer.write(b"x")
    await reader.readexactly(1)
    assert (await either.ask("PATCH", "/proxies/p", {"enabled": False})).json["enabled"] is False
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*where)
    await either.ask("POST", "/proxies/p", {"enabled": True})
    reader, writer = await either.connect(where)
    writer.write(b"y")
    assert await reader.readexactly(1) == b"y"


async def test_a_new_upstream_drops_connections_and_keeps_toxics(
    either: Server, upstream: Address
) -> None:
    where = await either.proxy("p", Address("127.0.0.1", 1))
    await either.add("p", "latency", latency=1)
    reply = await either.ask("POST", "/proxies/p", {"upstream": str(upstream)})
    if not reply.json["enabled"]:  # Toxiproxy says here what it does only with the next line
        await either.ask("POST", "/proxies/p", {"enabled": True})
    reader, writer = await either.connect(where)
    writer.write(b"z")
    assert await reader.readexactly(1) == b"z"
    assert len((await either.ask("GET", "/proxies/p/toxics")).json) == 1


async def test_a_refused_upstream_closes_the_client(either: Server) -> None:
    where = await either.proxy("p", Address("127.0.0.1", 1))
    reader, _ = await either.connect(where)
    async with asyncio.timeout(5):
        assert await reader.read() == b""


async def test_requests_share_a_connection(embedded: Server) -> None:
    reader, writer = await embedded.connect(embedded.api)
    writer.write(b"GET /version HTTP/1.1\r\n\r\nGET /proxies HTTP/1.1\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(5):
        text = await reader.read()
    assert text.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /proxies HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411"),
        (b"POST /proxies HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n", b"431"),
    ],
)
async def test_hostile_requests_are_refused_and_closed(
    embedded: Server, request_: bytes, status: bytes
) -> None:
    reader, writer = await embedded.connect(embedded.api)
    writer.write(request_)
    async with asyncio.timeout(5):
        line = await reader.readline()
    assert line.split()[1] == status
    assert (await embedded.ask("GET", "/version")).status == 200
