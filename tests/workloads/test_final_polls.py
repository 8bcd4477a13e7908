"""Final polls: fresh clients, until all is read, or it is said what is stuck."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness import generator as gen
from harness.errors import TimedOut
from harness.generator.rehearse import invocations, perfect
from harness.history import History, Recorder
from harness.interpreter import Interpreter
from harness.op import Kind, Op
from harness.workload import Load
from tests.workloads.fake import HERE, FakeLog, FakePort
from workloads import final_polls
from workloads.final_polls import SETTLE_S, Ends, FinalPolls
from workloads.log import READS, Options, workload
from workloads.ports import Partition

NS = 1_000_000_000


# -- the logic, event by event -------------------------------------------------------------------


class Watched:
    """Final polls of some keys, told of events by hand."""

    def __init__(self, keys: int = 1, seen: dict[int, int] | None = None) -> None:
        self.ends = Ends()
        for key, end in (seen or {}).items():
            self.ends.note(key, end)
        self.polls = FinalPolls(range(keys), 60, self.ends)

    def tell(self, kind: Kind, f: str, value: Any = None, at_s: float = 0, **more: Any) -> None:
        process = more.pop("process", 0)
        self.polls.observe(Op(0, int(at_s * NS), kind, process, f, value, extra=more or None))

    def begin(self, process: int = 0, keys: tuple[int, ...] = (0,)) -> None:
        self.tell(Kind.INVOKE, "assign", list(keys), process=process, **{"seek-to-beginning": True})
        self.tell(Kind.OK, "assign", list(keys), process=process)

    def poll(self, key: int, end: int, process: int = 0) -> None:
        messages = [[offset, offset] for offset in range(end)]
        self.tell(Kind.OK, "poll", [["poll", {str(key): messages}]], process=process)

    def leader_tells(self, ends: dict[str, int], at_s: float = 0) -> None:
        self.tell(Kind.OK, "list-offsets", ends, at_s)


def test_a_key_is_stuck_until_its_leader_has_told_where_it_ends() -> None:
    watched = Watched()
    assert watched.polls.stuck() == ["key 0: no leader told where it ends"]
    watched.leader_tells({"0": 0})
    assert watched.polls.caught_up()


def test_a_key_is_read_when_a_fresh_client_has_read_it_to_its_end() -> None:
    watched = Watched()
    watched.leader_tells({"0": 3})
    assert watched.polls.stuck() == ["key 0: read up to offset 0 of 3, where its leader tells 3"]
    watched.begin()
    watched.poll(0, 2)
    assert not watched.polls.caught_up()
    watched.poll(0, 3)
    assert watched.polls.caught_up()


def test_what_a_client_reads_that_did_not_begin_at_the_beginning_does_not_count() -> None:
    watched = Watched()
    watched.leader_tells({"0": 3})
    watched.tell(Kind.INVOKE, "assign", [0])
    watched.tell(Kind.OK, "assign", [0])
    watched.poll(0, 3)
    watched.begin(process=1)
    watched.poll(0, 3, process=2)
    assert not watched.polls.caught_up()


def test_an_assignment_that_failed_makes_no_fresh_client() -> None:
    watched = Watched()
    watched.leader_tells({"0": 1})
    watched.tell(Kind.INVOKE, "assign", [0], **{"seek-to-beginning": True})
    watched.tell(Kind.FAIL, "assign", [0])
    watched.poll(0, 1)
    assert not watched.polls.caught_up()


def test_what_any_client_ever_saw_must_be_read_though_a_leader_tells_less() -> None:
    """A leader of an instant ago may not know yet how far its log is committed."""
    watched = Watched(seen={0: 5})
    watched.begin()
    watched.leader_tells({"0": 4})
    watched.poll(0, 4)
    assert watched.polls.stuck() == ["key 0: read up to offset 4 of 5, where its leader tells 4"]
    watched.poll(0, 5)
    assert watched.polls.caught_up()


def test_a_leader_that_tells_less_for_long_enough_is_believed() -> None:
    """What was acknowledged and is not there any more is the checker's business."""
    watched = Watched(seen={0: 5})
    watched.begin()
    watched.poll(0, 4)
    watched.leader_tells({"0": 4}, at_s=1)
    watched.leader_tells({"0": 4}, at_s=1 + SETTLE_S / 2)
    assert not watched.polls.caught_up()
    watched.leader_tells({"0": 4}, at_s=1 + SETTLE_S)
    assert watched.polls.caught_up()


def test_a_leader_that_changes_its_mind_is_believed_only_later() -> None:
    watched = Watched(seen={0: 9})
    watched.begin()
    watched.poll(0, 4)
    watched.leader_tells({"0": 3}, at_s=0)
    watched.leader_tells({"0": 4}, at_s=SETTLE_S)
    assert not watched.polls.caught_up()


def test_each_stuck_key_is_named() -> None:
    watched = Watched(keys=3)
    watched.leader_tells({"0": 0, "2": 7})
    assert watched.polls.stuck() == [
        "key 1: no leader told where it ends",
        "key 2: read up to offset 0 of 7, where its leader tells 7",
    ]


# -- the generator -------------------------------------------------------------------------------


def test_each_thread_begins_with_a_fresh_client_and_ends_at_the_deadline() -> None:
    polls = FinalPolls(range(2), 30, Ends())
    slow = gen.stagger(0.05, polls.generator)
    ops = [op for op in invocations(perfect(slow, concurrency=3)) if isinstance(op.process, int)]
    for thread in range(3):
        mine = [op for op in ops if op.process % 3 == thread]
        assert [op.f for op in mine[:4]] == ["crash", "assign", "list-offsets", "poll"]
        crashes = [op.time for op in mine if op.f == "crash"]
        assert len(crashes) >= 3, "a client is given up after a while"
    assert max(op.time for op in ops) <= 30.5 * NS
    assert {tuple(op.value) for op in ops if op.f == "assign"} == {(0, 1)}


# -- with the interpreter and a log in memory ----------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final_polls, "CLIENT_S", 0.3)
    monkeypatch.setattr(final_polls, "PAUSE_S", 0.01)


Finish = Callable[[FakeLog, float], Any]


async def final_reads(log: FakeLog, folder: Path, timeout_s: float = 5.0) -> tuple[Any, History]:
    """The final phase of a run over `log`, and its history."""
    options = Options(partitions=2, final_timeout_s=timeout_s, poll_timeout_s=0.01)
    made = workload(options, Load(), log.connect)  # type: ignore[arg-type]
    assert made.final_reads is not None
    final = made.final_reads()
    recorder, started = Recorder(folder / "history.jsonl"), time.monotonic_ns()
    interpreter = Interpreter(
        recorder=recorder,
        now=lambda: time.monotonic_ns() - started,
        client=made.client,
        endpoints=[HERE, HERE],
        reads=READS,
        rng=Random(1),
    )
    await interpreter.run(final.generator, on_event=final.observe)
    await interpreter.close()
    recorder.close()
    return final, History.load(folder / "history.jsonl")


def filled(count: int) -> FakeLog:
    values = [str(i).encode() for i in range(count)]
    return FakeLog({Partition("log-0", 0): list(values), Partition("log-0", 1): list(values)})


@pytest.mark.usefixtures("impatient")
async def test_all_is_read_and_the_phase_ends_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    final, history = await final_reads(filled(50), tmp_path)
    assert not final.stuck()
    assert time.monotonic() - began < 2
    polled = [op for op in history if op.f == "poll" and op.type is Kind.OK]
    assert any(len(op.value[0][1].get("1", ())) == 50 for op in polled)


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_cannot_be_read_is_given_up_and_named_at_the_deadline(
    tmp_path: Path,
) -> None:
    log = filled(3)
    log.lost_polls = 10**9
    final, history = await final_reads(log, tmp_path, timeout_s=1.0)
    assert final.stuck() == [
        f"key {key}: read up to offset 0 of 3, where its leader tells 3" for key in (0, 1)
    ]
    assert len([op for op in history if op.f == "crash" and op.type is Kind.INVOKE]) >= 4


@pytest.mark.usefixtures("impatient")
async def test_a_wedged_client_is_replaced_by_one_that_reads(tmp_path: Path) -> None:
    log = filled(3)
    opened = 0

    async def connect(endpoint: Any, settings: Any) -> FakePort:
        nonlocal opened
        opened += 1
        port = FakePort(log)
        if opened <= 4:  # two of the threads' first clients, two that follow the crash

            async def nothing(timeout_s: float) -> list[Any]:
                return []

            port.poll = nothing  # type: ignore[method-assign]
        return port

    log.connect = connect  # type: ignore[method-assign]
    final, _ = await final_reads(log, tmp_path)
    assert not final.stuck()
    assert opened > 4


@pytest.mark.usefixtures("impatient")
async def test_leaders_that_are_away_for_a_while_are_asked_again(tmp_path: Path) -> None:
    log = filled(3)
    log.troubles["end_offsets"] = [TimedOut("no leader")] * 5
    final, history = await final_reads(log, tmp_path)
    assert not final.stuck()
    failed = [op for op in history if op.f == "list-offsets" and op.type is Kind.FAIL]
    assert len(failed) == 5
