"""Histories told in seconds: what the clients did, what was broken, and when.

    history(send(1.0, 1.2, 0, key=0, value=7, offset=3), fault(2.0, "kill", ["n1"]))

Each teller returns the events of one operation; `history` puts them in the order of their times.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from harness.history import History
from harness.op import NEMESIS, Kind, Op

Events = list[Op]


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def operation(
    begin_s: float,
    end_s: float | None,
    process: int,
    f: str,
    value: Any = None,
    result: Any = None,
    kind: Kind = Kind.OK,
) -> Events:
    """A client's operation; without an end it is pending."""
    begun = Op(0, ns(begin_s), Kind.INVOKE, process, f, value)
    if end_s is None:
        return [begun]
    given = value if result is None else result
    return [begun, Op(0, ns(end_s), kind, process, f, given)]


def keyed_or_not(
    begin_s: float, process: int, f: str, value: Any, told: Any, kind: Kind, keyed: bool
) -> Events:
    """One of 0.3 s, of an object of its own or of the one under the key "k"."""
    if keyed:
        value, told = ["k", value], None if told is None else ["k", told]
    return operation(begin_s, begin_s + 0.3, process, f, value, told, kind)


def send(
    begin_s: float, end_s: float, process: int, *, key: int, value: int, offset: int
) -> Events:
    sent = [["send", key, [offset, value]]]
    return operation(begin_s, end_s, process, "send", [["send", key, value]], sent)


def poll(
    begin_s: float, end_s: float, process: int, found: dict[int, list[tuple[int, int]]]
) -> Events:
    read = {str(key): [list(message) for message in messages] for key, messages in found.items()}
    return operation(begin_s, end_s, process, "poll", [["poll"]], [["poll", read]])


def fault(
    at_s: float,
    f: str,
    value: Any = None,
    *,
    took_s: float | None = 0.0,
    outcome: str | None = "observed",
    evidence: dict[str, Any] | None = None,
    **extra: Any,
) -> Events:
    """An operation of the nemesis and its effect; `took_s=None` for one that never came back."""
    begun = Op(0, ns(at_s), Kind.INFO, NEMESIS, f, value)
    if took_s is None:
        return [begun]
    if outcome is not None:
        extra["effect"] = {"outcome": outcome, "evidence": evidence or {}}
    return [begun, Op(0, ns(at_s + took_s), Kind.INFO, NEMESIS, f, value, extra=extra or None)]


def mark(at_s: float, f: str, value: Any, **extra: Any) -> Events:
    """What a run journals: both events at once, and alike."""
    event = Op(0, ns(at_s), Kind.INFO, NEMESIS, f, value, extra=extra or None)
    return [event, event]


def phase(
    name: str, begin_s: float, end_s: float | None, *, complete: bool = True, **more: Any
) -> Events:
    """A phase of the run; without an end, the run was killed in it."""
    begun = mark(begin_s, "phase", name, at="begin", **more)
    if end_s is None:
        return begun
    return begun + mark(end_s, "phase", name, at="end", complete=complete)


def history(*stories: Iterable[Op]) -> History:
    events = [event for story in stories for event in story]
    return History.of(sorted(events, key=lambda event: event.time))
