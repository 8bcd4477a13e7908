"""Generators: each combinator by what it means, rehearsed without a system."""

from __future__ import annotations

from collections.abc import Iterable

from harness.generator import Call
from harness.op import Kind, Op, Process

Said = tuple[str, object]


def r(value: object = None) -> Call:
    return Call("r", value)


def w(value: object = None) -> Call:
    return Call("w", value)


def calls(*values: object, f: str = "w") -> list[Call]:
    """One call a value."""
    return [Call(f, value) for value in values]


def fs(events: Iterable[Op]) -> list[str]:
    return [op.f for op in events]


def values(events: Iterable[Op]) -> list[object]:
    return [op.value for op in events]


def times(events: Iterable[Op]) -> list[int]:
    return [op.time for op in events]


def processes(events: Iterable[Op]) -> list[Process]:
    return [op.process for op in events]


def invoked(events: Iterable[Op]) -> list[Op]:
    """What clients were asked to do."""
    return [op for op in events if op.type is Kind.INVOKE]


def flying_max(events: Iterable[Op], f: str | None = None) -> int:
    """The most operations (named f) that were going on at once, the nemesis' too."""
    flying: set[Process] = set()
    most = 0
    for op in events:
        if f is not None and op.f != f:
            continue
        if op.process in flying:
            flying.discard(op.process)
        else:
            flying.add(op.process)
        most = max(most, len(flying))
    return most
