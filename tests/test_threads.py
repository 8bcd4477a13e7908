"""Threads of blocking clients: one a worker, abandoned ones counted and capped."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from harness import generator as gen
from harness import threads
from harness.client import Endpoint
from harness.cluster.contract import Address
from harness.deadline import wait_until
from harness.errors import Unavailable
from harness.generator import Call
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.op import Kind, Op
from harness.threads import WorkerThread, stuck_threads


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked calls wait for; opened at the end, so that no thread outlives its test."""
    event = threading.Event()
    yield event
    event.set()


async def until(condition: Any, what: str) -> None:
    async def holds() -> bool:
        return bool(condition())

    await wait_until(holds, 10, what, pause_s=0.005)


def running(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


async def test_calls_run_one_after_another_on_one_thread_of_their_own() -> None:
    thread = WorkerThread("one")
    assert not running("one"), "it starts with the first call"
    first = await thread.call(threading.get_ident)
    assert await thread.call(threading.get_ident) == first != threading.get_ident()
    assert [t.daemon for t in running("one")] == [True], "it cannot keep the harness from ending"
    thread.close()
    await until(lambda: not running("one"), "the thread to end")


async def test_results_and_errors_come_back() -> None:
    thread = WorkerThread("two")
    assert await thread.call(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await thread.call(divmod, 7, 0)
    with pytest.raises(SystemExit):
        await thread.call(exit, 3)
    assert await thread.call(len, "still here") == 10
    thread.close()


async def test_what_was_submitted_is_done_before_the_thread_ends(gate: threading.Event) -> None:
    done: list[str] = []
    thread = WorkerThread("three")
    thread.submit(gate.wait)
    thread.submit(done.append, "closed")
    thread.close()
    thread.close()
    gate.set()
    await until(lambda: done == ["closed"] and not running("three"), "the thread to end")


async def test_a_call_that_is_cancelled_leaves_its_thread_behind_and_is_counted(
    gate: threading.Event,
) -> None:
    before = stuck_threads()
    thread = WorkerThread("four")
    call = asyncio.create_task(thread.call(gate.wait))
    await until(lambda: running("four"), "the call to begin")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert thread.stuck and stuck_threads() == before + 1
    with pytest.raises(AssertionError, match="serves no more"):
        await thread.call(len, "")
    thread.close()
    assert running("four"), "nobody can end it"
    gate.set()
    await until(lambda: not running("four"), "the thread to come back after all")
    assert stuck_threads() == before + 1


async def test_past_a_number_of_stuck_threads_no_more_are_started(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: threads._Count.now == 0, "threads of other tests to come back")
    monkeypatch.setattr(threads, "STUCK_MAX", 3)
    for number in range(3):
        thread = WorkerThread(f"stuck {number}")
        call = asyncio.create_task(thread.call(gate.wait))
        await until(lambda n=number: running(f"stuck {n}"), "the call to begin")
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        thread.close()
    with pytest.raises(Unavailable, match="3 threads wait for calls that never came back"):
        await WorkerThread("five").call(len, "")
    gate.set()
    await until(lambda: threads._Count.now == 0, "the threads to come back")
    late = WorkerThread("six")
    assert await late.call(len, "abc") == 3
    late.close()


async def test_a_thread_at_rest_holds_on_to_no_result() -> None:
    class Socket:
        pass

    thread = WorkerThread("seven")
    seen = weakref.ref(await thread.call(Socket))
    await until(lambda: gc.collect() >= 0 and seen() is None, "the thread to let go")
    thread.close()


class Blocking:
    """A client whose library blocks."""

    def __init__(self, gate: threading.Event, seen: set[str], node: str = "") -> None:
        self.gate, self.seen, self.node = gate, seen, node
        self.thread = WorkerThread(f"client of {node}")

    async def open(self, endpoint: Endpoint) -> Self:
        return type(self)(self.gate, self.seen, endpoint.node)

    async def setup(self) -> None:
        pass

    async def invoke(self, op: Op) -> Any:
        return await self.thread.call(self._invoke, op.value)

    def _invoke(self, value: Any) -> Any:
        self.seen.add(threading.current_thread().name)
        if value == "hang":
            self.gate.wait()
        return value

    async def teardown(self) -> None:
        pass

    async def close(self) -> None:
        self.thread.close()


async def test_blocking_clients_have_a_thread_each_and_a_time_out_of_the_interpreter(
    tmp_path: Path, gate: threading.Event
) -> None:
    seen: set[str] = set()
    recorder = Recorder(tmp_path / "history.jsonl")
    loop = asyncio.get_running_loop()
    started = loop.time()
    interpreter = Interpreter(
        recorder=recorder,
        now=lambda: int((loop.time() - started) * 1e9),
        client=Blocking(gate, seen),
        endpoints=[Endpoint(f"n{i}", "c1", Address("127.0.0.1", 1), ()) for i in (1, 2)],
        op_timeout_s=0.2,
    )
    await interpreter.run(gen.clients(gen.each_thread([Call("w", "hang"), Call("w", 2)])))
    assert interpreter.abandoned == 2
    await interpreter.close()
    recorder.close()
    said = [op for op in History.load(recorder.path) if op.type is not Kind.INVOKE]
    assert sorted((op.type.value, op.process) for op in said) == [
        ("info", 0),
        ("info", 1),
        ("ok", 2),
        ("ok", 3),
    ]
    assert seen == {"client of n1", "client of n2"}
