"""Histories of which more is known: an operation in doubt ended in some way after all."""

from __future__ import annotations

from collections.abc import Iterator
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
