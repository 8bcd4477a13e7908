"""Every thread and every key shows progress; who does not is named."""

from __future__ import annotations

import pytest

from harness.generator.rehearse import invocations, quick
from harness.op import Kind, Op
from workloads.progress import FAR, Everywhere


def answered(op: Op) -> Op:
    """The same, ok; a poll finds something."""
    value = [["poll", {"0": [[0, FAR]]}]] if op.f == "poll" else op.value
    return Op(0, op.time, Kind.OK, op.process, op.f, value)


@pytest.mark.parametrize(("keys", "threads"), [(1, 1), (4, 6), (6, 4), (1, 5)])
def test_every_thread_and_every_key_has_a_part_and_no_value_comes_twice(
    keys: int, threads: int
) -> None:
    progress = Everywhere(keys, threads, 10)
    assert len(progress.stuck()) == max(keys, threads) + threads
    sent = []
    for op in invocations(quick(progress.generator, concurrency=threads)):
        progress.observe(op)
        progress.observe(answered(op))
        if op.f == "send":
            sent.append(tuple(op.value[0][1:]))
    assert progress.stuck() == []
    assert len(set(sent)) == len(sent) == max(keys, threads)
    assert all(value >= FAR for _, value in sent)


SEND = [["send", 0, FAR]]


def test_who_gets_no_answer_is_named_with_its_last_operation() -> None:
    progress = Everywhere(1, 1, 5, polls=False)
    progress.observe(Op(7, 1, Kind.INVOKE, 0, "send", SEND))
    (told,) = progress.stuck()
    assert told == (
        "thread 0 waits for key 0: no send was acknowledged within 5 s of healing; "
        "the last one, op 7, got no answer"
    )


def test_polls_that_find_nothing_are_no_progress() -> None:
    progress = Everywhere(1, 1, 5)
    for kind, value in ((Kind.INVOKE, [["poll"]]), (Kind.OK, [["poll", {}]])):
        progress.observe(Op(8, 1, kind, 0, "poll", value))
    progress.observe(answered(Op(9, 1, Kind.INVOKE, 0, "send", SEND)))
    (told,) = progress.stuck()
    assert told == "thread 0 polled nothing within 5 s of healing: op 8 got nothing"


def test_a_client_that_was_given_up_is_stuck_though_the_next_one_is_not() -> None:
    progress = Everywhere(1, 1, 30, polls=False)
    progress.observe(Op(3, 1, Kind.INFO, 0, "send", SEND, ("TimedOut", "before the healing")))
    progress.observe(Op(4, 2, Kind.INVOKE, 1, "send", SEND))
    progress.observe(Op(5, 3, Kind.INFO, 1, "send", SEND, ("TimedOut", "no outcome within 10 s")))
    progress.observe(answered(Op(6, 4, Kind.INVOKE, 2, "send", SEND)))
    (told,) = progress.stuck()
    assert told.startswith("process 1 was given up: op 5, a send, began when all was healed")
