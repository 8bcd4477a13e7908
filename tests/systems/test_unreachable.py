"""What each client library's adapter does when there is nobody to speak to."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from harness.client import classify
from harness.cluster.contract import Address
from harness.op import Kind
from tests.systems.conftest import QUICK, Open, endpoint_at
from workloads.ports import BrokerPort, Partition

HERE = Partition("log-0", 0)
BUDGET_S = 2 * QUICK.request_timeout_s + QUICK.delivery_timeout_s + 2.0
"""What an operation may take; the time-out of operations in a run is as far above its settings."""


@pytest.fixture
def nowhere() -> Address:
    """A port of this machine on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return Address(*unused.getsockname())


@pytest.fixture
async def silence() -> AsyncIterator[Address]:
    """A server that takes connections and never says anything, as behind a cut link."""
    over = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield Address(*server.sockets[0].getsockname())
    over.set()
    server.close()


async def failing(call: Callable[[], Awaitable[object]]) -> Exception:
    """The error of a call that must fail, in time."""
    began = time.monotonic()
    with pytest.raises(Exception) as caught:
        async with asyncio.timeout(BUDGET_S + 5):
            await call()
    assert time.monotonic() - began < BUDGET_S
    assert not isinstance(caught.value, AssertionError)
    return caught.value


async def test_a_send_to_nobody_fails_in_time_and_is_never_said_to_be_ok(
    connect: Open, nowhere: Address, library: str
) -> None:
    port = await connect(endpoint_at(nowhere))
    error = await failing(lambda: port.send(HERE, b"1"))
    kind, _ = classify(error, "send", frozenset())
    # librdkafka accepts messages before it knows any broker, and does not say what became of them.
    assert kind is (Kind.INFO if library == "confluent" else Kind.FAIL)


async def test_a_send_into_silence_fails_in_time(
    connect: Open, silence: Address, library: str
) -> None:
    port = await connect(endpoint_at(silence))
    error = await failing(lambda: port.send(HERE, b"1"))
    kind, _ = classify(error, "send", frozenset())
    assert kind is (Kind.INFO if library == "confluent" else Kind.FAIL)


async def test_end_offsets_that_nobody_tells_are_an_error_or_none(
    connect: Open, silence: Address
) -> None:
    port = await connect(endpoint_at(silence))
    began = time.monotonic()
    try:
        ends = await port.end_offsets([HERE])
    except Exception as error:
        assert not isinstance(error, AssertionError)
    else:
        assert ends == {}
    assert time.monotonic() - began < BUDGET_S


async def test_offsets_by_time_that_nobody_tells_are_an_error_or_none(
    connect: Open, silence: Address
) -> None:
    port = await connect(endpoint_at(silence))
    began = time.monotonic()
    try:
        found = await port.offsets_for_times({HERE: 0})
    except Exception as error:
        assert not isinstance(error, AssertionError)
    else:
        assert found == {}
    assert time.monotonic() - began < BUDGET_S


async def test_a_deletion_into_silence_ends_in_time_and_in_doubt(
    connect: Open, silence: Address
) -> None:
    port = await connect(endpoint_at(silence))
    error = await failing(lambda: port.delete_records({HERE: 1}))
    assert classify(error, "delete-records", frozenset())[0] is Kind.INFO


async def test_a_poll_of_silence_ends_in_time_with_nothing(connect: Open, silence: Address) -> None:
    port = await connect(endpoint_at(silence))
    began = time.monotonic()
    try:
        await port.assign({HERE: None})
        messages = await port.poll(0.2)
    except Exception as error:
        assert not isinstance(error, AssertionError)
    else:
        assert not messages
    assert time.monotonic() - began < BUDGET_S


async def test_closing_does_not_wait_for_what_will_never_come(
    connect: Open, silence: Address
) -> None:
    port = await connect(endpoint_at(silence))
    sending = asyncio.ensure_future(port.send(HERE, b"1"))
    await asyncio.sleep(0)  # begun
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    began = time.monotonic()
    await port.close()
    assert time.monotonic() - began < 2.0


async def test_a_port_that_was_never_used_is_closed_at_once(
    connect: Open, nowhere: Address
) -> None:
    port: BrokerPort = await connect(endpoint_at(nowhere))
    began = time.monotonic()
    await port.close()
    assert time.monotonic() - began < 0.5
