"""Short words for the operations of a log in timelines.

`drawn("c0: |-- send … --|", "c1: |-- poll … --|")` is a history in which each line begins when the
one before has ended; lines of one text, divided by newlines, are drawn as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.history import History
from harness.op import Kind, Op
from harness.timeline import parse


def sent(key: Any, *messages: tuple[int | None, Any] | Any, end: str = "|") -> str:
    """A send of messages: (offset, value) where somebody told the offset, else the value."""
    asked = [["send", key, m[1] if isinstance(m, tuple) else m] for m in messages]
    told = [["send", key, list(m) if isinstance(m, tuple) else m] for m in messages]
    return f"|-- send {_json(asked)} -> {_json(told)} --{end}"


def polled(*found: tuple[Any, Sequence[tuple[int | None, Any]]], end: str = "|") -> str:
    """A poll that returns (key, [(offset, value), …]), …"""
    messages = {str(key): [list(pair) for pair in pairs] for key, pairs in found}
    return f'|-- poll [["poll"]] -> {_json([["poll", messages]])} --{end}'


def took(*keys: Any, f: str = "assign", end: str = "|") -> str:
    return f"|-- {f} {_json(list(keys))} --{end}"


def drawn(*lines: str, extra: dict[int, dict[str, Any]] | None = None) -> History:
    """The history; `extra` by the number of the line, for its completion."""
    ops: list[Op] = []
    last_of_line: dict[int, int] = {}
    for number, line in enumerate(lines):
        for op in parse(line):
            ops.append(Op(len(ops), len(ops) * 10, op.type, op.process, op.f, op.value, op.error))
        last_of_line[number] = len(ops) - 1
    for number, more in (extra or {}).items():
        at = last_of_line[number]
        op = ops[at]
        ops[at] = Op(at, op.time, op.type, op.process, op.f, op.value, op.error, None, more)
        if op.process == "nemesis":  # a mark carries its facts in both events
            ops[at - 1] = Op(at - 1, op.time, op.type, op.process, op.f, op.value, extra=more)
        elif more.get("seek-to-beginning"):  # what was asked for stands in the invocation
            ops[at - 1] = Op(at - 1, op.time, Kind.INVOKE, op.process, op.f, op.value, extra=more)
    return History.of(ops)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
