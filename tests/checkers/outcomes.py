"""Histories of which more is known, or less: an operation in doubt ended in some way after all, or
nobody knows how one ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from harness.history import History
from harness.op import Kind, Op


def in_doubt(history: History) -> Iterator[int]:
    """Where operations of clients begin of which nobody knows whether they happened."""
    for begin in history.select(type=Kind.INVOKE).tolist():
        done = history.completion(begin)
        if done is None or done.type is Kind.INFO:
            yield begin


def with_outcome(history: History, begin: int, kind: Kind, value: Any) -> History:
    """The same, but for the end of that operation; one that had none ends last of all."""
    ops = list(history)
    asked = ops[begin]
    end = int(history.pair[begin])
    at = ops[end].time if end >= 0 else ops[-1].time + 1
    told = Op(0, at, kind, asked.process, asked.f, value)
    if end >= 0:
        ops[end] = told
    else:
        ops.append(told)
    return History.of(ops)


def forgotten(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """The same without knowing how one operation ended, each in turn."""
    for at, op in enumerate(ops):
        if op.type is Kind.OK or op.type is Kind.FAIL:
            (asked,) = (
                one for one in ops[:at] if one.process == op.process and _open(ops, one, at)
            )
            less = list(ops)
            less[at] = Op(op.index, op.time, Kind.INFO, op.process, op.f, asked.value)
            # From then on the process has another name: nobody calls while still waiting.
            fresh = 1 + max(one.process for one in ops if isinstance(one.process, int))
            for later in range(at + 1, len(less)):
                one = less[later]
                if one.process == op.process:
                    less[later] = Op(one.index, one.time, one.type, fresh, one.f, one.value)
            yield less


def _open(ops: Sequence[Op], asked: Op, at: int) -> bool:
    return asked.type is Kind.INVOKE and not any(
        one.process == asked.process for one in ops[asked.index + 1 : at]
    )


def renumbered(ops: Sequence[Op]) -> list[Op]:
    return [
        Op(at, at * 10, op.type, op.process, op.f, op.value, op.error) for at, op in enumerate(ops)
    ]
