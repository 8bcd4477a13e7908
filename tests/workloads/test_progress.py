"""Every thread and every key shows progress; who does not is named."""

from __future__ import annotations

import pytest

from harness.generator.rehearse import invocations, quick
from harness.op import Kind, Op
from workloads.progress import FAR, Everywhere


@pytest.mark.parametrize(("keys", "threads"), [(1, 1), (4, 6), (6, 4), (1, 5)])
def test_every_thread_and_every_key_has_a_part_and_no_value_comes_twice(
    keys: int, threads: int
) -> None:
    progress = Everywhere(keys, threads, 10)
    assert len(progress.stuck()) == max(keys, threads)
    sent = []
    for op in invocations(quick(progress.generator, concurrency=threads)):
        progress.observe(op)
        progress.observe(Op(0, op.time, Kind.OK, op.process, op.f, op.value))
        sent.append(tuple(op.value[0][1:]))
    assert progress.stuck() == []
    assert len(set(sent)) == len(sent) == max(keys, threads)
    assert all(value >= FAR for _, value in sent)


def test_who_gets_no_answer_is_named_with_its_last_operation() -> None:
    progress = Everywhere(1, 1, 5)
    progress.observe(Op(7, 1, Kind.INVOKE, 0, "send", [["send", 0, FAR]]))
    (told,) = progress.stuck()
    assert told == (
        "thread 0 waits for key 0: no send was acknowledged within 5 s of healing; "
        "the last one, op 7, got no answer"
    )
