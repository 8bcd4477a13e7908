"""The interpreter's rules, with clients in memory and in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest

from harness import generator as gen
from harness.client import Endpoint
from harness.cluster.contract import Address
from harness.errors import EnvironmentFailure, OpError, Refused, UsageError
from harness.generator import Call, Context
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.op import NEMESIS, Kind, Op
from tests.generator import fs, invoked, processes, times, values
from tests.virtual import now_ns, virtually

Answer = Callable[["Memory", Op], Awaitable[Any]]


class Memory:
    """A client that does what the test says; `log` is shared by all that were opened."""

    def __init__(self, answer: Answer, log: list[str] | None = None, node: str = "") -> None:
        self.answer, self.node = answer, node
        self.log = log if log is not None else []
        self.refuse_opening: list[BaseException] = []

    async def open(self, endpoint: Endpoint) -> Self:
        if self.refuse_opening:
            raise self.refuse_opening.pop(0)
        self.log.append(f"open {endpoint.node}")
        return type(self)(self.answer, self.log, endpoint.node)

    async def setup(self) -> None:
        raise AssertionError("nobody is to be set up here")

    async def invoke(self, op: Op) -> Any:
        return await self.answer(self, op)

    async def teardown(self) -> None:
        raise AssertionError("nobody is to be torn down here")

    async def close(self) -> None:
        self.log.append(f"close {self.node}")


class Breaks:
    """A nemesis in memory."""

    def __init__(self, fail: bool = False, took_s: float = 0.0) -> None:
        self.fail, self.took_s = fail, took_s

    def resolve(self, f: str, value: Any) -> Any:
        return ["n2"] if value == "leader" else value

    async def invoke(self, f: str, value: Any) -> tuple[Any, dict[str, Any]]:
        await asyncio.sleep(self.took_s)
        if self.fail:
            raise EnvironmentFailure("the link has no proxy")
        return value, {"effect": {"outcome": "observed"}}


class Setting:
    """An interpreter, its history's file, and the client that it opens."""

    def __init__(self, path: Path, answer: Answer, concurrency: int = 1, **more: Any) -> None:
        self.path = path / "history.jsonl"
        self.client = more.pop("client", None) or Memory(answer)
        self.recorder = Recorder(self.path)
        endpoints = [
            Endpoint(f"n{i + 1}", "c1", Address("127.0.0.1", 1 + i), ()) for i in range(concurrency)
        ]
        self.it = Interpreter(
            recorder=self.recorder,
            now=more.pop("now", now_ns),
            client=self.client,
            endpoints=endpoints,
            faults=more.pop("faults", Breaks()),
            rng=Random(1),
            **more,
        )

    async def run(self, generator: Any) -> list[Op]:
        """Run it, close, and read what is on disk."""
        try:
            await self.it.run(generator)
        finally:
            await self.it.close()
            self.recorder.close()
        history = History.load(self.path)
        history._check()
        return list(history)


async def at_once(client: Memory, op: Op) -> Any:
    return op.value


def taking(seconds: float) -> Answer:
    async def answer(client: Memory, op: Op) -> Any:
        await asyncio.sleep(seconds)
        return op.value

    return answer


def kinds(events: Sequence[Op]) -> list[str]:
    return [op.type.value for op in events]


W = gen.repeat(Call("w", 1))
TWO = gen.clients(gen.limit(2, W))


# -- the rules ------------------------------------------------------------------------------------


def test_an_operation_is_an_invocation_and_a_completion_with_its_node(tmp_path: Path) -> None:
    said = virtually(Setting(tmp_path, taking(0.5)).run(TWO))
    assert [(op.type, op.time, op.process, op.value, op.node) for op in said] == [
        (Kind.INVOKE, 0, 0, 1, None),
        (Kind.OK, 500_000_000, 0, 1, "n1"),
        (Kind.INVOKE, 500_000_000, 0, 1, None),
        (Kind.OK, 1_000_000_000, 0, 1, "n1"),
    ]


def test_completions_are_taken_before_anything_new_is_asked(tmp_path: Path) -> None:
    """To invoke the next before the last is known would record concurrency that never was."""
    said = virtually(Setting(tmp_path, taking(1), 3).run(gen.clients(gen.limit(9, W))))
    assert kinds(said) == (["invoke"] * 3 + ["ok"] * 3) * 3


def test_a_generator_hears_of_every_event_in_the_order_of_the_history(tmp_path: Path) -> None:
    heard: list[Op] = []

    def react(generator: gen.Generator, context: Context, event: Op) -> gen.Generator:
        heard.append(event)
        return generator

    setting = Setting(tmp_path, taking(0.1), 2)
    both = gen.clients(gen.limit(5, W), [Call("kill", "leader"), Call("start")])
    said = virtually(setting.run(gen.on_update(react, both)))
    assert heard == said


def test_a_crash_retires_the_process_and_a_fresh_client_comes(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        if op.process in (0, 1):
            raise ConnectionResetError("by peer")
        return op.value

    setting = Setting(tmp_path, answer, 2)
    said = virtually(setting.run(gen.clients(gen.each_thread(gen.limit(3, W)))))
    assert Counter(processes(invoked(said))) == {0: 1, 1: 1, 2: 2, 3: 2}
    crashed = [op for op in said if op.type is Kind.INFO]
    assert [op.error for op in crashed] == [("ConnectionResetError", "by peer")] * 2
    assert [op.value for op in crashed] == [1, 1], "what was asked stands where no result is"
    log = setting.client.log
    assert Counter(log) == {"open n1": 2, "open n2": 2, "close n1": 2, "close n2": 2}
    assert log.index("open n1") < log.index("close n1")


def test_a_refusal_keeps_the_process_and_its_client(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        raise Refused("not the leader", name="NotLeader")

    setting = Setting(tmp_path, answer)
    said = virtually(setting.run(TWO))
    assert kinds(said) == ["invoke", "fail"] * 2 and set(processes(said)) == {0}
    assert said[1].error == ("NotLeader", "not the leader")
    assert setting.client.log == ["open n1", "close n1"]


def test_a_client_that_cannot_be_opened_fails_its_operation_and_is_tried_again(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path, at_once)
    setting.client.refuse_opening = [
        OSError("no route"),
        OpError("not yet", name="Starting"),
        UsageError("no such host"),
    ]
    said = virtually(setting.run(gen.clients(gen.limit(4, W))))
    assert kinds(said) == ["invoke", "fail"] * 3 + ["invoke", "ok"]
    assert [op.error for op in said if op.error] == [
        ("NoClient", "OSError: no route"),
        ("NoClient", "not yet"),
        ("NoClient", "no such host"),
    ]
    assert set(processes(said)) == {0}, "nothing was sent, so nothing is in doubt"
    assert setting.it.problems == ["opening a client: no such host"]


def test_the_nemesis_is_never_renamed_and_its_targets_are_resolved(tmp_path: Path) -> None:
    said = virtually(
        Setting(tmp_path, at_once).run(gen.nemesis([Call("kill", "leader"), Call("start", "all")]))
    )
    assert [(op.process, op.type, op.f, op.value) for op in said] == [
        (NEMESIS, Kind.INFO, "kill", ["n2"]),
        (NEMESIS, Kind.INFO, "kill", ["n2"]),
        (NEMESIS, Kind.INFO, "start", "all"),
        (NEMESIS, Kind.INFO, "start", "all"),
    ]
    assert said[1].extra == {"effect": {"outcome": "observed"}} and said[0].extra is None


def test_a_fault_that_breaks_is_journaled_and_the_run_goes_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path, at_once, faults=Breaks(fail=True))
    said = virtually(setting.run(gen.nemesis([Call("cut"), Call("heal")])))
    assert len(said) == 4
    assert said[1].error == ("EnvironmentFailure", "the link has no proxy")
    assert said[1].extra is not None and said[1].extra["effect"]["outcome"] == "failed"
    assert len(setting.it.problems) == 2


def test_sleeps_and_log_lines_are_not_in_the_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = [Call("w", 1), gen.sleep(3), gen.log("rested"), Call("w", 2)]
    said = virtually(Setting(tmp_path, at_once).run(gen.clients(steps)))
    assert fs(said) == ["w"] * 4 and times(invoked(said)) == [0, 3_000_000_000]
    printed = capsys.readouterr()
    assert "rested" in printed.err and not printed.out, "standard output belongs to the verdict"


# -- on disk --------------------------------------------------------------------------------------


def test_an_invocation_is_on_disk_before_it_is_dispatched(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        lines = [json.loads(line) for line in (tmp_path / "history.jsonl").open()]
        assert lines[op.index]["type"] == "invoke" and lines[op.index]["value"] == op.value
        return len(lines)

    said = virtually(Setting(tmp_path, answer, 5).run(gen.clients(gen.limit(40, W))))
    assert {op.type for op in said} == {Kind.INVOKE, Kind.OK}


def test_a_completion_is_on_disk_before_anybody_waits(tmp_path: Path) -> None:
    """A harness that is killed between two operations loses neither."""
    seen: list[str] = []
    setting = Setting(tmp_path, at_once)

    async def main() -> None:
        running = asyncio.create_task(setting.run(gen.clients(gen.delay(10, gen.limit(2, W)))))
        await asyncio.sleep(5)
        seen.append(setting.path.read_text())
        await running

    virtually(main())
    assert len(seen[0].splitlines()) == 2


def test_a_value_that_json_cannot_hold_is_info(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        return object()

    said = virtually(Setting(tmp_path, answer).run(TWO))
    assert kinds(said) == ["invoke", "info"] * 2
    assert said[1].error is not None and said[1].error[0] == "NotJSON"


def test_time_never_goes_back(tmp_path: Path) -> None:
    clock = iter([5, 9, 3, 3, 12, 1, *range(13, 100)])
    said = virtually(Setting(tmp_path, at_once, now=lambda: next(clock)).run(TWO))
    assert times(said) == sorted(times(said)) and min(times(said)) >= 5


# -- time-outs ------------------------------------------------------------------------------------


async def never(client: Memory, op: Op) -> Any:
    await asyncio.get_running_loop().create_future()


def test_an_operation_that_takes_too_long_is_info_and_its_thread_goes_on(tmp_path: Path) -> None:
    setting = Setting(tmp_path, never, op_timeout_s=10)
    said = virtually(setting.run(TWO))
    assert [(op.type, op.process, op.time) for op in said] == [
        (Kind.INVOKE, 0, 0),
        (Kind.INFO, 0, 10_000_000_000),
        (Kind.INVOKE, 1, 10_000_000_000),
        (Kind.INFO, 1, 20_000_000_000),
    ]
    assert said[1].error == ("TimedOut", "no outcome within 10 s")
    assert setting.client.log.count("open n1") == 2


def test_a_read_that_takes_too_long_failed_and_keeps_its_process(tmp_path: Path) -> None:
    said = virtually(Setting(tmp_path, never, reads=frozenset({"w"})).run(TWO))
    assert kinds(said) == ["invoke", "fail"] * 2 and set(processes(said)) == {0}


def test_what_comes_late_is_dropped_even_if_its_client_ignores_the_end(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        if op.process == 0:
            for _ in range(3):
                try:
                    await asyncio.sleep(11)
                except asyncio.CancelledError:
                    continue
            return "too late"
        await asyncio.sleep(8)
        return "in time"

    said = virtually(Setting(tmp_path, answer, op_timeout_s=10).run(gen.clients(gen.limit(6, W))))
    assert kinds(said) == ["invoke", "info"] + ["invoke", "ok"] * 5
    assert values(said[3::2]) == ["in time"] * 5


def test_a_client_that_cancels_itself_crashed(tmp_path: Path) -> None:
    """Some libraries cancel their own futures when a connection goes; nobody cancelled ours."""

    async def answer(client: Memory, op: Op) -> Any:
        raise asyncio.CancelledError

    said = virtually(Setting(tmp_path, answer).run(TWO))
    assert kinds(said) == ["invoke", "info"] * 2
    assert times(said) == [0] * 4, "it need not wait for the time-out"


def test_an_opening_that_hangs_is_cut_off_too(tmp_path: Path) -> None:
    class Hanging(Memory):
        async def open(self, endpoint: Endpoint) -> Self:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    setting = Setting(tmp_path, at_once, client=Hanging(at_once), op_timeout_s=4)
    assert times(virtually(setting.run(TWO))) == [0, 4 * 10**9, 4 * 10**9, 8 * 10**9]


# -- stopping and going on ------------------------------------------------------------------------


def test_stop_asks_for_nothing_more_and_ends_what_is_in_flight(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        await asyncio.sleep(1 if client.node == "n1" else 100)
        return op.value

    setting = Setting(tmp_path, answer, 2)

    async def main() -> list[Op]:
        asyncio.get_running_loop().call_later(5.5, setting.it.stop, "SIGINT")
        return await setting.run(gen.clients(W))

    said = virtually(main())
    (cut,) = [op for op in said if op.type is Kind.INFO]
    assert cut.error == ("Stopped", "the run was stopped") and cut.time == 7_500_000_000
    assert max(times(invoked(said))) == 5_000_000_000
    assert setting.it.stopped == "SIGINT"


def test_stop_wakes_who_sleeps_and_waits_for_the_nemesis(tmp_path: Path) -> None:
    """A fault that is half applied must be finished before it can be undone."""
    setting = Setting(tmp_path, at_once, faults=Breaks(took_s=9))

    async def main() -> list[Op]:
        asyncio.get_running_loop().call_later(1, setting.it.stop, "SIGINT")
        slow = gen.clients(gen.sleep(1000), [Call("kill", "n1"), gen.sleep(1000)])
        return await setting.run(slow)

    said = virtually(main())
    assert [(op.f, op.time) for op in said] == [("kill", 0), ("kill", 9 * 10**9)]


def test_after_a_stop_healing_goes_on_with_resume(tmp_path: Path) -> None:
    setting = Setting(tmp_path, at_once)

    async def main() -> list[Op]:
        setting.it.stop("SIGINT")
        await setting.it.run(TWO)
        setting.it.resume()
        return await setting.run(gen.nemesis(Call("heal")))

    assert fs(virtually(main())) == ["heal", "heal"]


def test_runs_follow_each_other_with_their_processes_and_clients(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        if op.value == "crash":
            raise OpError("as told")
        return op.value

    setting = Setting(tmp_path, answer)

    async def main() -> list[Op]:
        await setting.it.run(gen.clients(Call("w", "crash")))
        setting.it.mark("phase", "main", {"at": "end"})
        return await setting.run(gen.clients(Call("w", "ok")))

    said = virtually(main())
    assert processes(said) == [0, 0, NEMESIS, NEMESIS, 1, 1]
    assert said[2].extra == said[3].extra == {"at": "end"} and said[2].f == "phase"


def test_somebody_may_watch_one_run(tmp_path: Path) -> None:
    seen: list[Op] = []
    everything: list[Op] = []
    setting = Setting(tmp_path, at_once, on_event=everything.append)

    async def main() -> list[Op]:
        await setting.it.run(TWO, on_event=seen.append)
        return await setting.run(gen.clients(Call("r")))

    said = virtually(main())
    assert everything == said and seen == said[:4]


def test_a_generator_that_waits_is_asked_again_when_something_happens(tmp_path: Path) -> None:
    said = virtually(
        Setting(tmp_path, taking(2), 2).run(
            gen.clients([Call("w", 1), gen.synchronize(Call("w", 2))])
        )
    )
    assert times(invoked(said)) == [0, 2_000_000_000]


def test_a_generator_that_cannot_say_when_is_asked_again_soon(tmp_path: Path) -> None:
    begun: list[float] = []

    def late() -> bool:
        return asyncio.get_running_loop().time() < 1.5

    waiting = gen.filter_calls(lambda call: not late(), gen.delay(0.001, W))
    setting = Setting(tmp_path, at_once)

    async def main() -> list[Op]:
        begun.append(asyncio.get_running_loop().time())
        hold = gen.until(lambda: not late(), gen.concurrency_limit(0, W))
        return await setting.run(gen.clients([hold, Call("w", 2)]))

    (op,) = invoked(virtually(main()))
    assert 1.5e9 <= op.time <= 1.502e9 and begun == [0]
    assert waiting.op(Context.of(0, Random(0), nemesis=False)) is gen.PENDING


def test_closing_does_not_hang_on_a_client_that_does(tmp_path: Path) -> None:
    class Clinging(Memory):
        async def close(self) -> None:
            await asyncio.get_running_loop().create_future()

    setting = Setting(tmp_path, at_once, client=Clinging(at_once))

    async def main() -> float:
        await setting.run(TWO)
        return asyncio.get_running_loop().time()

    assert virtually(main()) <= 3


def test_completions_are_counted_by_operation_and_outcome(tmp_path: Path) -> None:
    async def answer(client: Memory, op: Op) -> Any:
        if op.value == 2:
            raise Refused("no")
        return op.value

    setting = Setting(tmp_path, answer)
    virtually(setting.run(gen.clients([Call("w", 1), Call("w", 2), Call("r", 3)])))
    assert setting.it.stats == {("w", Kind.OK): 1, ("w", Kind.FAIL): 1, ("r", Kind.OK): 1}
