"""A server with Toxiproxy's HTTP API.

    python -m harness.cluster.toxiproxy -host HOST -port PORT -seed N

Takes the options of `toxiproxy-server`, so that either can be started by the same command line.
Answers the routes, status codes, bodies, defaults and error texts of Toxiproxy 2.12, with two
additions: a proxy also shows `"flows"`, by direction the live connections and the bytes received,
sent and held; and `-seed` decides every chance that a toxic takes.

Not there: /metrics, a configuration file, chunked request bodies (411).
Source: the API as observed on toxiproxy-server 2.12.0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from harness.cluster.relay import ListenFailed, Proxy
from harness.cluster.toxics import DOWNSTREAM, STAGES, UPSTREAM, Toxic

VERSION = "2.12.0+assay"
BODY_BYTES_MAX = 16 * 1024 * 1024

JSON, TEXT = "application/json", "text/plain; charset=utf-8"


@dataclass(slots=True)
class Reply:
    """What is sent back."""

    status: int
    body: bytes = b""
    type: str = JSON


class ApiError(Exception):
    """A mistake of the user's, with the status that Toxiproxy gives it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text

    @property
    def reply(self) -> Reply:
        body = json.dumps({"error": self.text, "status": self.status}, separators=(",", ":"))
        return Reply(self.status, body.encode() + b"\n", TEXT)


def bad_body(reason: str) -> ApiError:
    return ApiError(400, f"bad request body: {reason}")


def missing_field(name: str) -> ApiError:
    return ApiError(400, f"missing required field: {name}")


PROXY_NOT_FOUND = (404, "proxy not found")
PROXY_EXISTS = (409, "proxy already exists")
TOXIC_NOT_FOUND = (404, "toxic not found")
TOXIC_EXISTS = (409, "toxic already exists")
INVALID_TOXIC = (400, "invalid toxic type")
INVALID_STREAM = (400, "stream was invalid, can be either upstream or downstream")


class Api:
    """The proxies of a server and the requests upon them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.proxies: dict[str, Proxy] = {}
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, method: str, path: str, body: bytes) -> Reply:
        """The reply to a request; never raises for what a user can send."""
        parts = path.partition("?")[0].strip("/").split("/")
        methods = self._route(parts)
        if methods is None:
            return Reply(404, b"404 page not found\n", TEXT)
        handler = methods.get(method)
        if handler is None:
            return Reply(405, type="")
        try:
            async with self._one_at_a_time:
                return await handler(body)
        except ApiError as error:
            return error.reply
        except ListenFailed as error:
            return ApiError(500, str(error)).reply

    def _route(self, parts: list[str]) -> Mapping[str, Handler] | None:
        match parts:
            case ["version"]:
                return {"GET": self._version}
            case ["reset"]:
                return {"POST": self._reset}
            case ["populate"]:
                return {"POST": self._populate}
            case ["proxies"]:
                return {"GET": self._show_all, "POST": self._create}
            case ["proxies", name]:
                change = self._with_proxy(name, self._change)
                return {
                    "GET": self._with_proxy(name, self._show),
                    "POST": change,
                    "PATCH": change,
                    "DELETE": self._with_proxy(name, self._delete),
                }
            case ["proxies", name, "toxics"]:
                return {
                    "GET": self._with_proxy(name, self._show_toxics),
                    "POST": self._with_proxy(name, self._add_toxic),
                }
            case ["proxies", name, "toxics", toxic]:
                change = self._with_toxic(name, toxic, self._change_toxic)
                return {
                    "GET": self._with_toxic(name, toxic, self._show_toxic),
                    "POST": change,
                    "PATCH": change,
                    "DELETE": self._with_toxic(name, toxic, self._remove_toxic),
                }
        return None

    def _with_proxy(self, name: str, do: Callable[[Proxy, bytes], Awaitable[Reply]]) -> Handler:
        async def handle(body: bytes) -> Reply:
            proxy = self.proxies.get(name)
            if proxy is None:
                raise ApiError(*PROXY_NOT_FOUND)
            return await do(proxy, body)

        return handle

    def _with_toxic(
        self, name: str, toxic_name: str, do: Callable[[Proxy, Toxic, bytes], Awaitable[Reply]]
    ) -> Handler:
        async def handle(proxy: Proxy, body: bytes) -> Reply:
            toxic = proxy.toxic(toxic_name)
            if toxic is None:
                raise ApiError(*TOXIC_NOT_FOUND)
            return await do(proxy, toxic, body)

        return self._with_proxy(name, handle)

    # -- the server --------------------------------------------------------------------------

    async def _version(self, body: bytes) -> Reply:
        text = f'{{"version": "{VERSION}"}}\n'
        return Reply(200, text.encode(), "application/json;charset=utf-8")

    async def _reset(self, body: bytes) -> Reply:
        for proxy in list(self.proxies.values()):
            await proxy.start()
            for toxic in reversed(list(proxy.all_toxics())):
                proxy.remove(toxic)
        return Reply(204)

    async def _populate(self, body: bytes) -> Reply:
        try:
            wanted = [parse_proxy(entry) for entry in parse_list(body)]
            for at, (name, _, upstream, _) in enumerate(wanted, start=1):
                if not name or not upstream:
                    raise missing_field(f"{'upstream' if name else 'name'} at proxy {at}")
        except ApiError as error:
            return populate_failed(error.status, error.text, None)
        done: list[Proxy] = []
        for name, listen, upstream, enabled in wanted:
            try:
                done.append(await self._create_or_keep(name, listen, upstream, enabled))
            except ListenFailed as error:
                return populate_failed(500, str(error), done)
        return as_json({"proxies": [show_proxy(proxy) for proxy in done]}, 201)

    async def _create_or_keep(self, name: str, listen: str, upstream: str, enabled: bool) -> Proxy:
        existing = self.proxies.get(name)
        if existing is not None:
            if (existing.listen, existing.upstream) == (listen, upstream):
                return existing
            await existing.stop()
        proxy = Proxy(name, listen, upstream, self.seed)
        if enabled:
            await proxy.start()
        self.proxies[name] = proxy
        return proxy

    # -- proxies -----------------------------------------------------------------------------

    async def _show_all(self, body: bytes) -> Reply:
        return as_json({name: show_proxy(proxy) for name, proxy in self.proxies.items()})

    async def _create(self, body: bytes) -> Reply:
        name, listen, upstream, enabled = parse_proxy(parse_object(body, "toxiproxy.Proxy"))
        if not name:
            raise missing_field("name")
        if not upstream:
            raise missing_field("upstream")
        if name in self.proxies:
            raise ApiError(*PROXY_EXISTS)
        proxy = await self._create_or_keep(name, listen, upstream, enabled)
        return as_json(show_proxy(proxy), 201)

    async def _show(self, proxy: Proxy, body: bytes) -> Reply:
        return as_json(show_proxy(proxy))

    async def _change(self, proxy: Proxy, body: bytes) -> Reply:
        given = parse_object(body, "toxiproxy.Proxy")
        _, listen, upstream, enabled = parse_proxy(
            {"listen": proxy.listen, "upstream": proxy.upstream, "enabled": proxy.enabled} | given
        )
        if (listen, upstream) != (proxy.listen, proxy.upstream):
            await proxy.stop()
            proxy.listen, proxy.upstream = listen, upstream
        if enabled:
            await proxy.start()
        else:
            await proxy.stop()
        return as_json(show_proxy(proxy))

    async def _delete(self, proxy: Proxy, body: bytes) -> Reply:
        await proxy.stop()
        del self.proxies[proxy.name]
        return Reply(204)

    # -- toxics ------------------------------------------------------------------------------

    async def _show_toxics(self, proxy: Proxy, body: bytes) -> Reply:
        return as_json([show_toxic(toxic) for toxic in proxy.all_toxics()])

    async def _add_toxic(self, proxy: Proxy, body: bytes) -> Reply:
        given = parse_object(body, "toxics.ToxicWrapper")
        kind = typed(given, "type", str, "", "ToxicWrapper")
        stream = typed(given, "stream", str, DOWNSTREAM, "ToxicWrapper")
        if stream.lower() not in (UPSTREAM, DOWNSTREAM):
            raise ApiError(*INVALID_STREAM)
        name = typed(given, "name", str, "", "ToxicWrapper") or f"{kind}_{stream}"
        toxicity = typed(given, "toxicity", float, 1.0, "ToxicWrapper")
        if kind not in STAGES:
            raise ApiError(*INVALID_TOXIC)
        if proxy.toxic(name) is not None:
            raise ApiError(*TOXIC_EXISTS)
        zeros = dict.fromkeys(STAGES[kind].fields, 0)
        toxic = Toxic(kind, name, stream, toxicity, parse_attributes(given, kind, zeros))
        proxy.add(toxic)
        return as_json(show_toxic(toxic))

    async def _show_toxic(self, proxy: Proxy, toxic: Toxic, body: bytes) -> Reply:
        return as_json(show_toxic(toxic))

    async def _change_toxic(self, proxy: Proxy, toxic: Toxic, body: bytes) -> Reply:
        given = parse_object(body, "toxics.ToxicWrapper")
        toxicity = typed(given, "toxicity", float, toxic.toxicity, "ToxicWrapper")
        attributes = parse_attributes(given, toxic.type, toxic.attributes)
        toxic.toxicity, toxic.attributes = toxicity, attributes
        proxy.change(toxic)
        return as_json(show_toxic(toxic))

    async def _remove_toxic(self, proxy: Proxy, toxic: Toxic, body: bytes) -> Reply:
        proxy.remove(toxic)
        return Reply(204)


Handler = Callable[[bytes], Awaitable[Reply]]


def as_json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, separators=(",", ":")).encode())


def populate_failed(status: int, text: str, done: list[Proxy] | None) -> Reply:
    proxies = None if done is None else [show_proxy(proxy) for proxy in done]
    return as_json({"error": text, "status": status, "proxies": proxies}, status)


def show_proxy(proxy: Proxy) -> dict[str, Any]:
    return {
        "name": proxy.name,
        "listen": proxy.listen,
        "upstream": proxy.upstream,
        "enabled": proxy.enabled,
        "Logger": {},
        "toxics": [show_toxic(toxic) for toxic in proxy.all_toxics()],
        "flows": proxy.counters(),
    }


def show_toxic(toxic: Toxic) -> dict[str, Any]:
    toxicity = int(toxic.toxicity) if toxic.toxicity.is_integer() else toxic.toxicity
    return {
        "attributes": toxic.attributes,
        "name": toxic.name,
        "type": toxic.type,
        "stream": toxic.stream,
        "toxicity": toxicity,
    }


# What Go's decoder calls the types, since its words reach the user.
_GO_NAMES = {str: "string", bool: "bool", float: "float32", int: "int64"}


def _kind_of(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "number"
        case float():
            return f"number {value}"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def parse_json(body: bytes) -> Any:
    """The first JSON value of the body. Raises ApiError 400."""
    try:
        text = body.decode().lstrip()
        if not text:
            raise bad_body("EOF")
        return json.JSONDecoder().raw_decode(text)[0]
    except ValueError as error:
        raise bad_body(str(error)) from error


def parse_object(body: bytes, target: str) -> dict[str, Any]:
    value = parse_json(body)
    if not isinstance(value, dict):
        raise bad_body(f"json: cannot unmarshal {_kind_of(value)} into Go value of type {target}")
    return value


def parse_list(body: bytes) -> list[dict[str, Any]]:
    value = parse_json(body)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise bad_body(f"json: cannot unmarshal {_kind_of(value)} into a list of proxies")
    return value


def parse_proxy(given: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    """Its name, listen, upstream and enabled, absent ones as in Toxiproxy."""
    return (
        typed(given, "name", str, "", "Proxy"),
        typed(given, "listen", str, "", "Proxy"),
        typed(given, "upstream", str, "", "Proxy"),
        typed(given, "enabled", bool, True, "Proxy"),
    )


def parse_attributes(
    given: Mapping[str, Any], kind: str, current: Mapping[str, int]
) -> dict[str, int]:
    """The current attributes with the given ones over them; unknown ones are ignored."""
    new = given.get("attributes")
    if new is None:
        new = {}
    owner = "".join(word.capitalize() for word in kind.split("_")) + "Toxic.attributes"
    if not isinstance(new, dict):
        raise bad_body(f"json: cannot unmarshal {_kind_of(new)} into Go struct field {owner}")
    return {name: typed(new, name, int, value, owner) for name, value in current.items()}


def typed(given: Mapping[str, Any], name: str, kind: type, default: Any, owner: str) -> Any:
    """A field of the JSON type wanted, or its default if absent or null. Raises ApiError 400."""
    value = given.get(name)
    if value is None:
        return default
    fits = isinstance(value, (int, float)) if kind is float else isinstance(value, kind)
    if not fits or (kind is not bool and isinstance(value, bool)):
        raise bad_body(
            f"json: cannot unmarshal {_kind_of(value)} into Go struct field "
            f"{owner}.{name} of type {_GO_NAMES[kind]}"
        )
    return float(value) if kind is float else value


# -- HTTP ------------------------------------------------------------------------------------


async def serve_connection(
    api: Api, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer requests until the client goes or asks for the end."""
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            reply, keep = await _read_and_answer(api, reader)
            writer.write(_encode(reply, keep))
            await writer.drain()
            if not keep:
                break
    writer.close()


async def _read_and_answer(api: Api, reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return Reply(431, b"", ""), False
    request, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    match request.split(" "):
        case [method, path, "HTTP/1.1" | "HTTP/1.0" as version]:
            pass
        case _:
            return Reply(400, b"400 Bad Request", TEXT), False
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdigit():
        return Reply(411, b"", ""), False
    if int(length) > BODY_BYTES_MAX:
        return Reply(413, b"", ""), False
    body = await reader.readexactly(int(length))
    keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    if headers.get("user-agent", "").startswith("Mozilla/"):
        # No page that a browser shows may reach the API of a machine's test tool.
        return Reply(403, b"User agent not allowed\n", TEXT), keep
    return await api.answer(method, path, body), keep


def _encode(reply: Reply, keep: bool) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"]
    if reply.body:
        lines.append(f"Content-Type: {reply.type}")
    if reply.status != 204:
        lines.append(f"Content-Length: {len(reply.body)}")
    if not keep:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + reply.body


async def serve(host: str, port: int, seed: int) -> None:
    """Run until SIGTERM or SIGINT."""
    api = Api(seed)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(api, reader, writer)

    server = await asyncio.start_server(connected, host, port)
    where = server.sockets[0].getsockname()
    print(json.dumps({"event": "listening", "host": where[0], "port": where[1]}), flush=True)
    await over.wait()
    server.close()
    for proxy in api.proxies.values():
        await proxy.stop()


def main() -> None:
    options = argparse.ArgumentParser(prog="toxiproxy", description=__doc__.partition("\n")[0])
    options.add_argument("-host", "--host", default="localhost")
    options.add_argument("-port", "--port", type=int, default=8474)
    options.add_argument("-seed", "--seed", type=int, default=0)
    given = options.parse_args()
    gc.freeze()  # what was imported lives as long as the process: spare the collector its walks
    asyncio.run(serve(given.host, given.port, given.seed))


if __name__ == "__main__":
    main()
