"""A simulated connection is held against a real one: the same program, the same outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.grounds import Serve, played

Play = Callable[..., Any]
Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]

BIG = bytes(range(256)) * 16_384  # 4 MiB: more than any kernel buffers here


def serving(handle: Streams, **options: Any) -> Serve:
    async def serve(host: str, port: int) -> asyncio.AbstractServer:
        return await asyncio.start_server(handle, host, port, **options)

    return serve


def protocols(factory: Callable[[], asyncio.BaseProtocol]) -> Serve:
    async def serve(host: str, port: int) -> asyncio.AbstractServer:
        return await asyncio.get_running_loop().create_server(factory, host, port)

    return serve


async def echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


# -- bytes -----------------------------------------------------------------------------------


def test_what_is_sent_comes_back_in_order(play: Play) -> None:
    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        for number in range(100):
            writer.write(b"%d," % number)
        answer = await reader.readuntil(b",99,")
        writer.close()
        await writer.wait_closed()
        return answer

    assert play(client, serving(echoing)) == b"".join(b"%d," % number for number in range(100))


def test_a_big_transfer_arrives_whole(play: Play) -> None:
    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)

        async def send() -> None:
            for at in range(0, len(BIG), 100_000):
                writer.write(BIG[at : at + 100_000])
                await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        answer = await reader.read()
        await sending
        writer.close()
        return answer

    assert play(client, serving(echoing)) == BIG


@given(
    there=st.lists(st.binary(max_size=5_000), max_size=20),
    back=st.lists(st.binary(max_size=5_000), max_size=20),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=60)
def test_any_chunks_both_ways_arrive_however_they_are_cut(
    there: list[bytes], back: list[bytes], seed: int
) -> None:
    came: list[bytes] = []

    async def send(writer: asyncio.StreamWriter, chunks: list[bytes]) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await asyncio.sleep(0)
        writer.write_eof()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, data = await asyncio.gather(send(writer, back), reader.read())
        came.append(data)
        writer.close()

    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        _, data = await asyncio.gather(send(writer, there), reader.read())
        writer.close()
        return data

    assert played(seed, client, serving(answer)) == b"".join(back)
    assert came == [b"".join(there)]


def test_lines_and_exact_counts_are_found_in_a_stream(play: Play) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"one\ntwo\n" + b"x" * 10 + b"tail")
        writer.close()

    async def client(host: str, port: int) -> list[Any]:
        reader, writer = await asyncio.open_connection(host, port)
        said: list[Any] = [await reader.readline(), await reader.readline()]
        said.append(await reader.readexactly(10))
        try:
            await reader.readexactly(10)
        except asyncio.IncompleteReadError as error:
            said += [error.partial, error.expected]
        said += [await reader.readline(), reader.at_eof()]
        writer.close()
        return said

    expected = [b"one\n", b"two\n", b"x" * 10, b"tail", 10, b"", True]
    assert play(client, serving(speak)) == expected


def test_a_line_past_the_limit_is_refused(play: Play) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 5_000 + b"\n")
        await writer.drain()

    async def client(host: str, port: int) -> str:
        reader, writer = await asyncio.open_connection(host, port, limit=1_000)
        try:
            await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return "overrun"
        finally:
            writer.close()
        return "read"

    assert play(client, serving(speak)) == "overrun"


def test_a_buffered_protocol_gets_the_same_bytes(play: Play) -> None:
    class Into(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer, self.came = bytearray(700), bytearray()
            self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, size: int) -> None:
            self.came += self.buffer[:size]

        def eof_received(self) -> None:
            self.ended.set_result("eof")

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG[:100_000])
        writer.close()

    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        _, into = await loop.create_connection(Into, host, port)
        return await into.ended, bytes(into.came)

    assert play(client, serving(speak)) == ("eof", BIG[:100_000])


# -- back-pressure ---------------------------------------------------------------------------


class Pressed(asyncio.Protocol):
    """Writes BIG at once, and notes when it is asked to stop and to go on."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(BIG)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def test_a_writer_is_paused_until_the_other_side_has_read(play: Play) -> None:
    got: list[int] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(len(await reader.read()))
        writer.close()

    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(Pressed, host, port)
        error = await protocol.lost
        while not got:
            await asyncio.sleep(0.01)
        return protocol.calls, error, got.pop()

    assert play(client, serving(count)) == (["pause", "resume"], None, len(BIG))


def test_a_reader_that_pauses_gets_nothing_until_it_resumes(play: Play) -> None:
    class Choosy(asyncio.Protocol):
        def __init__(self) -> None:
            self.came = bytearray()
            self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            transport.pause_reading()

        def data_received(self, data: bytes) -> None:
            self.came += data

        def eof_received(self) -> None:
            self.ended.set_result(None)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        transport, choosy = await loop.create_connection(Choosy, host, port)
        await asyncio.sleep(0.05)
        before = bytes(choosy.came), transport.is_reading()
        transport.resume_reading()
        await choosy.ended
        return before, bytes(choosy.came)

    assert play(client, serving(speak)) == ((b"", False), b"hello")


def test_drain_waits_for_a_reader_and_ends_when_it_is_gone(play: Play) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.transport.abort()

    async def client(host: str, port: int) -> None:
        _, writer = await asyncio.open_connection(host, port)
        while True:
            writer.write(BIG)
            await writer.drain()

    assert play(client, serving(deaf, limit=1_000)) in ("ConnectionResetError", "BrokenPipeError")


# -- ends ------------------------------------------------------------------------------------


def test_half_a_connection_can_be_closed_and_the_other_half_used(play: Play) -> None:
    async def after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.read()
        writer.write(b"you said " + asked)
        writer.close()

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"hello")
        can = writer.can_write_eof()
        writer.write_eof()
        answer = await reader.read()
        try:
            writer.write(b"more")
        except RuntimeError:
            can = can and True
        else:
            can = False
        writer.close()
        return can, answer

    assert play(client, serving(after_the_end)) == (True, b"you said hello")


def test_an_abort_is_a_reset_for_the_other_side(play: Play) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.transport.abort()

    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"line\nwhich is not read, so that the end is a reset" + BIG)
        return await reader.read()

    assert play(client, serving(abort, limit=1_000)) == "ConnectionResetError"


def test_an_abort_of_one_who_has_read_everything_is_an_end(play: Play) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"last words")
        writer.transport.abort()
        writer.write(b"which nobody hears")

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"line\n")
        said = await reader.read(), reader.at_eof()
        writer.close()
        return said

    assert play(client, serving(abort)) == (b"last words", True)


def test_an_abort_loses_what_the_kernel_had_not_taken(play: Play) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BIG * 8)
        writer.transport.abort()

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        said = await reader.read()
        writer.close()
        return bool(said), len(said) < len(BIG * 8), (BIG * 8).startswith(said)

    assert play(client, serving(abort)) == (True, True, True)


def test_an_abort_after_the_end_was_sent_says_nothing_more(play: Play) -> None:
    async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        writer.write_eof()
        writer.transport.abort()

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    assert play(client, serving(abort)) == b"last words"


def test_an_orderly_end_lets_everything_be_read_first(play: Play) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"last words")
        writer.close()
        await writer.wait_closed()

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        await asyncio.sleep(0.05)
        said = await reader.read()
        closing = writer.is_closing()
        writer.close()
        await writer.wait_closed()
        return said, closing, writer.is_closing()

    assert play(client, serving(speak)) == (b"last words", False, True)


def test_writing_to_a_side_that_is_gone_fails_in_the_end(play: Play) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def client(host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        await reader.read()
        while True:
            writer.write(b"is anybody there?")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert play(client, serving(leave)) in ("ConnectionResetError", "BrokenPipeError")


def test_callbacks_of_a_protocol_come_once_and_in_order(play: Play) -> None:
    class Noting(asyncio.Protocol):
        def __init__(self) -> None:
            self.calls: list[Any] = []
            self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: Any) -> None:
            self.calls.append("made")
            transport.write(b"hello")
            transport.write_eof()

        def data_received(self, data: bytes) -> None:
            self.calls += list(data)

        def eof_received(self) -> None:
            self.calls.append("eof")

        def connection_lost(self, error: Exception | None) -> None:
            self.calls.append(("lost", error))
            self.lost.set_result(None)

    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        _, noting = await loop.create_connection(Noting, host, port)
        await noting.lost
        return noting.calls

    expected = ["made", *b"hello", "eof", ("lost", None)]
    assert play(client, serving(echoing)) == expected


def test_a_protocol_may_keep_its_half_open_after_the_others_end(play: Play) -> None:
    class Late(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def eof_received(self) -> bool:
            asyncio.get_running_loop().call_later(0.02, self.answer)
            return True

        def answer(self) -> None:
            self.transport.write(b"late")
            self.transport.close()

    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        return said

    assert play(client, protocols(Late)) == b"late"


# -- connecting ------------------------------------------------------------------------------


def test_a_port_where_nobody_listens_refuses(play: Play) -> None:
    async def client(host: str, port: int) -> None:
        await asyncio.open_connection(host, 9)

    assert play(client) == "ConnectionRefusedError"


def test_a_name_that_nobody_has_is_not_found(play: Play) -> None:
    async def client(host: str, port: int) -> None:
        await asyncio.open_connection("nobody.invalid", port)

    assert play(client) == "gaierror"


def test_a_closed_server_refuses_and_keeps_its_connections(play: Play) -> None:
    servers: list[asyncio.AbstractServer] = []

    async def serve(host: str, port: int) -> asyncio.AbstractServer:
        servers[:] = [await asyncio.start_server(close_then_echo, host, port)]
        return servers[0]

    async def close_then_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        servers[0].close()
        await echoing(reader, writer)

    async def client(host: str, port: int) -> Any:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"a")
        said = [await reader.read(1)]
        try:
            await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            said.append(b"refused")
        writer.write(b"b")
        said.append(await reader.read(1))
        writer.close()
        return said

    assert play(client, serve) == [b"a", b"refused", b"b"]


def test_an_address_can_be_bound_once_and_again_when_it_is_free(play: Play) -> None:
    async def serve(host: str, port: int) -> asyncio.AbstractServer:
        first = await asyncio.start_server(say("first"), host, port)
        where = first.sockets[0].getsockname()[:2]
        try:
            await asyncio.start_server(say("second"), *where)
        except OSError as error:
            tried = type(error).__name__
        first.close()
        return await asyncio.start_server(say(tried), *where)

    def say(text: str) -> Streams:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(text.encode())
            writer.close()

        return handle

    async def client(host: str, port: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        said = await reader.read()
        writer.close()
        return said

    assert play(client, serve) == b"OSError"


def test_both_sides_know_each_others_names(play: Play) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(repr(writer.get_extra_info("peername")[:2]).encode())
        writer.close()

    async def client(host: str, port: int) -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        here = writer.get_extra_info("sockname")[:2]
        there = writer.get_extra_info("peername")[:2]
        said = (await reader.read()).decode()
        writer.close()
        return said == repr(tuple(here)) and tuple(there) == (host, port)

    assert play(client, serving(tell)) is True


def test_a_connect_that_is_cancelled_leaves_the_server_able_to_serve(play: Play) -> None:
    async def client(host: str, port: int) -> bytes:
        for _ in range(20):
            connecting = asyncio.create_task(asyncio.open_connection(host, port))
            await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait([connecting])
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"x")
        said = await reader.read(1)
        writer.close()
        return said

    assert play(client, serving(echoing)) == b"x"
