"""A simulated loop is held against asyncio's own: callbacks, timers, tasks, locks behave alike."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from harness.sim.loop import NotSimulated
from harness.sim.scheduler import Stuck
from harness.sim.world import World

Play = Callable[..., Any]

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


# -- callbacks and timers --------------------------------------------------------------------


def test_callbacks_run_in_the_order_in_which_they_were_made(play: Play) -> None:
    async def client(host: str, port: int) -> list[int]:
        ran: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(10):
            loop.call_soon(ran.append, number)
        loop.call_soon(lambda: loop.call_soon(ran.append, 99))
        loop.call_soon_threadsafe(ran.append, 10)
        for _ in range(3):
            await asyncio.sleep(0)
        return ran

    assert play(client) == [*range(11), 99]


def test_timers_run_in_the_order_of_their_times(play: Play) -> None:
    async def client(host: str, port: int) -> list[int]:
        ran: list[int] = []
        loop = asyncio.get_running_loop()
        start = loop.time()
        loop.call_later(0.03, ran.append, 3)
        loop.call_at(start + 0.02, ran.append, 2)
        loop.call_later(0.01, ran.append, 1)
        loop.call_later(-1, ran.append, 0)
        loop.call_at(start + 0.015, ran.append, 99).cancel()
        await asyncio.sleep(0.05)
        return ran

    assert play(client) == [0, 1, 2, 3]


def test_a_timer_is_never_early(play: Play) -> None:
    async def client(host: str, port: int) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in range(1, 20):
            await asyncio.sleep(step * 1.1e-4)
            if loop.time() < began + step * 1.1e-4:
                return False
            began = loop.time()
        return True

    assert play(client) is True


def test_a_handle_knows_its_time_and_whether_it_was_cancelled(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        timer = loop.call_at(loop.time() + 5, print)
        known = timer.when() - loop.time() <= 5, timer.cancelled()
        timer.cancel()
        timer.cancel()
        return known, timer.cancelled()

    assert play(client) == ((True, False), True)


def test_a_callback_that_raises_is_told_to_the_handler_and_stops_nobody(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        told: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda on, context: told.append((on is loop, context)))
        loop.call_soon(lambda: 1 // 0)
        loop.call_soon(told.append, "next")
        await asyncio.sleep(0.001)
        (same, context), following = told
        handled = loop.get_exception_handler() is not None
        loop.set_exception_handler(None)
        return same, type(context["exception"]).__name__, following, handled

    assert play(client) == (True, "ZeroDivisionError", "next", True)


def test_context_travels_with_callbacks_timers_and_tasks(play: Play) -> None:
    async def ask() -> str:
        return WHO.get()

    async def client(host: str, port: int) -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        WHO.set("one")
        loop.call_soon(lambda: seen.append(WHO.get()))
        loop.call_later(0.001, lambda: seen.append(WHO.get()))
        task = asyncio.create_task(ask())
        empty = contextvars.Context()
        loop.call_soon(lambda: seen.append(WHO.get()), context=empty)
        elsewhere = loop.create_task(ask(), context=empty)
        WHO.set("two")
        await asyncio.sleep(0.01)
        return [*seen, await task, await elsewhere, await ask()]

    assert play(client) == ["one", "nobody", "one", "one", "nobody", "two"]


# -- tasks -----------------------------------------------------------------------------------


def test_gather_returns_in_order_and_passes_errors_on(play: Play) -> None:
    async def later(number: int) -> int:
        await asyncio.sleep(0.01 * (3 - number))
        if number == 2:
            raise KeyError(number)
        return number

    async def client(host: str, port: int) -> Any:
        kept = await asyncio.gather(*map(later, range(3)), return_exceptions=True)
        try:
            await asyncio.gather(*map(later, range(3)))
        except KeyError as error:
            return [repr(each) for each in kept], error.args

    assert play(client) == (["0", "1", "KeyError(2)"], (2,))


def test_a_group_cancels_the_others_when_one_fails(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        seen: list[str] = []

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def fail() -> None:
            await asyncio.sleep(0.001)
            raise ValueError("one")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait())
                group.create_task(fail())
        except* ValueError as errors:
            seen += [repr(error) for error in errors.exceptions]
        return seen

    assert play(client) == ["cancelled", "ValueError('one')"]


def test_time_outs_cancel_and_are_told_from_cancellations(play: Play) -> None:
    async def client(host: str, port: int) -> list[str]:
        seen: list[str] = []
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            seen.append("wait_for")
        async with asyncio.timeout(None):
            seen.append(str(await asyncio.wait_for(asyncio.sleep(0, "quick"), 1)))
        done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(9))], timeout=0.01)
        seen.append(f"{len(done)} done, {len(pending)} pending")
        (task,) = pending
        task.cancel()
        await asyncio.wait([task])
        return [*seen, str(task.cancelled())]

    expected = ["timeout", "wait_for", "quick", "0 done, 1 pending", "True"]
    assert play(client) == expected


def test_a_shielded_task_outlives_the_one_who_waits(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        inner = asyncio.create_task(asyncio.sleep(0.02, "done"))

        async def wait() -> None:
            await asyncio.shield(inner)

        outer = asyncio.create_task(wait())
        await asyncio.sleep(0.001)
        outer.cancel()
        await asyncio.wait([outer])
        return outer.cancelled(), await inner

    assert play(client) == (True, "done")


def test_first_completed_is_the_first(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        tasks = [asyncio.create_task(asyncio.sleep(0.01 * n, n)) for n in (3, 1, 2)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        order = [await each for each in asyncio.as_completed(tasks)]
        return [task.result() for task in done], sorted(order)

    assert play(client) == ([1], [1, 2, 3])


def test_an_abandoned_generator_is_closed(play: Play) -> None:
    async def client(host: str, port: int) -> list[str]:
        seen: list[str] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                seen.append("closed")

        async for _ in numbers():
            break
        await asyncio.sleep(0.01)
        return seen

    assert play(client) == ["closed"]


def test_a_task_knows_itself_and_its_name(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        async def name() -> str:
            task = asyncio.current_task()
            assert task is not None and task in asyncio.all_tasks()
            return task.get_name()

        return await asyncio.create_task(name(), name="x"), await asyncio.gather(name()) != ["x"]

    assert play(client) == ("x", True)


# -- locks -----------------------------------------------------------------------------------


def test_locks_events_conditions_and_queues_wake_in_turn(play: Play) -> None:
    async def client(host: str, port: int) -> list[Any]:
        seen: list[Any] = []
        lock, event = asyncio.Lock(), asyncio.Event()
        condition, queue = asyncio.Condition(), asyncio.Queue[int](maxsize=1)
        limit = asyncio.Semaphore(2)

        async def holder(number: int) -> None:
            async with limit, lock:
                seen.append(("lock", number))
                await asyncio.sleep(0)

        async def waiter(number: int) -> None:
            await event.wait()
            async with condition:
                await condition.wait()
                seen.append(("condition", number))

        async def put() -> None:
            for number in range(3):
                await queue.put(number)

        await asyncio.gather(*map(holder, range(4)))
        waiters = [asyncio.create_task(waiter(number)) for number in range(3)]
        event.set()
        await asyncio.sleep(0.001)
        async with condition:
            condition.notify(2)
        await asyncio.sleep(0.001)
        seen.append("notified two")
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waiters)
        putting = asyncio.create_task(put())
        seen += [("queue", await queue.get()) for _ in range(3)]
        await putting
        return seen

    locks = [("lock", number) for number in range(4)]
    conditions = [("condition", 0), ("condition", 1), "notified two", ("condition", 2)]
    assert play(client) == [*locks, *conditions, *(("queue", number) for number in range(3))]


# -- what else is asked of a loop --------------------------------------------------------------


def test_an_executor_gives_results_and_errors(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(None, divmod, 7, 3)
        try:
            await asyncio.to_thread(lambda: 1 // 0)
        except ZeroDivisionError:
            return result, "raised"

    assert play(client) == ((2, 1), "raised")


def test_names_are_looked_up(play: Play) -> None:
    async def client(host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, _, _, where = found[0]
        return family, kind, where == (host, port)

    assert play(client) == (socket.AF_INET, socket.SOCK_STREAM, True)


# -- of a world alone ------------------------------------------------------------------------


def test_an_hour_of_waiting_takes_no_time() -> None:
    began = time.monotonic()
    with World(1) as world:
        world.run(asyncio.sleep(3_600))
        assert world.now_ns() == 3_600 * 10**9
    assert time.monotonic() - began < 30


def test_waiting_for_nothing_is_told() -> None:
    with World(1) as world, pytest.raises(Stuck):
        world.run(asyncio.Event().wait())


def test_a_runner_runs_a_world_and_ends_it() -> None:
    world = World(1)
    seen: list[str] = []

    async def left_behind() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            seen.append("ended")

    async def main() -> float:
        task = asyncio.create_task(left_behind())
        await asyncio.sleep(5)
        assert not task.done()
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=lambda: world.harness) as runner:
        assert runner.run(main()) == 5.0
        assert runner.run(asyncio.sleep(1, "again")) == "again"
    assert seen == ["ended"]
    assert world.harness.is_closed()


@pytest.mark.parametrize("name", ["run_forever", "run_until_complete", "stop", "close"])
def test_a_machine_cannot_run_its_own_loop(name: str) -> None:
    errors: list[str] = []

    async def program(host: Any) -> None:
        loop = asyncio.get_running_loop()
        arguments = [loop.create_future()] if name == "run_until_complete" else []
        try:
            getattr(loop, name)(*arguments)
        except NotSimulated as error:
            errors.append(str(error))

    with World(1) as world:
        world.machine("n1").start(program)
        world.run(asyncio.sleep(1))
    assert len(errors) == 1 and f"loop.{name}()" in errors[0]


@pytest.mark.parametrize("name", ["start_tls", "subprocess_exec", "sock_recv", "add_reader"])
def test_what_is_not_simulated_is_refused_by_its_name(name: str) -> None:
    async def main() -> None:
        getattr(asyncio.get_running_loop(), name)()

    with World(1) as world, pytest.raises(NotSimulated, match=name):
        world.run(main())
