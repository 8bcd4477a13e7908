"""Histories as text, one notation for docs, tests, reports and error messages.

    c0: |-- add 1 --|
    c1:        |-- add 2 --?
    c2:   |-- send [["send",0,7]] ! ["Refused","not the leader"] --x
    nemesis:      |-- kill "n1" -> {"n1":"killed"} --?
    c3: |-- read -->
    c4:             <-- read -> [] --|   |-- read -> [1] --|

A line is a process: `c3` is client 3, any other name stands for itself. A bar opens with `|` at the
invocation and closes at the completion with `|` for OK, `x` for FAIL and `?` for INFO; it ends with
`>` if there is no completion, and begins with `<` if the invocation is not shown. The text is
`f argument -> result ! error`; each part but `f` may be left out, and all are JSON. A number among
the dashes is the event's index: `|-118- read -> 4 -133-|`. Lines of one process may be split.

Only the order of the columns has a meaning; a rendered bar is as long as its text needs. What is at
the same column is concurrent: intervals are closed, so invocations sort before completions. To say
of equal times that the first ended before the second began would report violations that never
happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json import JSONDecodeError, JSONDecoder
from typing import Any, Final

import msgspec

from harness.op import Kind, Op, Process

COLUMN_NS: Final = 1_000_000
"""A column of a parsed timeline is a millisecond."""

_CLOSES = {"|": Kind.OK, "x": Kind.FAIL, "?": Kind.INFO, ">": None}
_SIGNS = {kind: sign for sign, kind in _CLOSES.items() if kind}
_PROCESS = re.compile(r"\s*(?P<name>[^\s:|]+)\s*:")
_OPEN = re.compile(r"(?P<open>[|<])-+(?:\d+-+)? ")
_CLOSE = re.compile(r" (?:--+|-+\d+-+)(?P<close>[|x?>])(?=\s|$)")
_F = re.compile(r"[\w./+*:-]*\w")
_CLIENT = re.compile(r"c\d+")
_PARTS = {" -> ": "result", " ! ": "error", " ": "argument"}
_JSON = JSONDecoder()


@dataclass(frozen=True, slots=True)
class _Event:
    """An end of a bar. Sorts by column, invocations before completions, then by line."""

    column: int
    completes: bool
    line: int
    kind: Kind
    process: Process
    f: str
    value: Any = None
    error: tuple[str, str] | None = None


def parse(text: str) -> list[Op]:
    """Read a timeline; events are numbered from 0 in the order of their columns.

    >>> [(op.type.value, op.process, op.value) for op in parse("c0: |-- add 1 --|")]
    [('invoke', 0, 1), ('ok', 0, 1)]

    A completion's value is the result, or without one the argument, as Jepsen has it.

    Raises:
        ValueError: a line is none of a timeline; names the line, the column and what was expected.
    """
    events = [
        event
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.lstrip().startswith("#")
        for event in _events(number, line)
    ]
    events.sort(key=lambda event: (event.column, event.completes, event.line))
    return [
        Op(index, e.column * COLUMN_NS, e.kind, e.process, e.f, e.value, e.error)
        for index, e in enumerate(events)
    ]


def render(ops: Iterable[Op], *, indices: bool | None = None, text_max: int | None = None) -> str:
    """Draw events as a timeline, a line a process, in the order in which processes appear.

    `parse` of it gives the same events in the same order; their times, nodes and further facts are
    not drawn. The events may be any part of a history, in its order.

    Args:
        indices: whether to write each event's index; None for only where the events are a part of
            a history, so that an event's place does not tell it.
        text_max: longest text of a bar; a longer one is cut with `…` and cannot be parsed again.

    Raises:
        ValueError: a named process has a name that a timeline cannot hold, such as "c3".
    """
    events = list(ops)
    if indices is None:
        indices = any(op.index != place for place, op in enumerate(events))
    bars = _bars(events, indices, text_max)
    lanes = _lay_out(events, bars)
    width = max((len(_name(process)) for process in lanes), default=0) + 2
    return "\n".join(
        f"{_name(process)}: ".ljust(width) + _line(lane)
        for process, lanes_of_it in lanes.items()
        for lane in lanes_of_it
    )


# -- reading --------------------------------------------------------------------------------------


def _events(number: int, line: str) -> Iterator[_Event]:
    process = _PROCESS.match(line)
    if process is None:
        raise ValueError(f"line {number}: expected 'process: |-- f --|', got {line!r}")
    name = process["name"]
    who = int(name[1:]) if _CLIENT.fullmatch(name) else name
    at = process.end()
    while rest := line[at:].lstrip():
        start = len(line) - len(rest)
        bar, at = _read_bar(number, line, start)
        yield from _ends(bar, number, start, at - 1, who)


def _read_bar(number: int, line: str, start: int) -> tuple[dict[str, Any], int]:
    """The parts of the bar that begins at `start`, and where it ends."""

    def expected(what: str, at: int) -> ValueError:
        return ValueError(f"line {number}, column {at + 1}: expected {what}, got {line[at:]!r}")

    def literal(at: int) -> tuple[Any, int]:
        try:
            return _JSON.raw_decode(line, at)
        except JSONDecodeError:
            raise expected("JSON", at) from None

    opening = _OPEN.match(line, start)
    if opening is None:
        raise expected("a bar, '|-- f --|'", start)
    bar: dict[str, Any] = {"open": opening["open"]}
    at = opening.end()
    if line.startswith('"', at):
        bar["f"], at = literal(at)
    elif f := _F.match(line, at):
        bar["f"], at = f[0], f.end()
    else:
        raise expected("the name of an operation", at)
    while (closing := _CLOSE.match(line, at)) is None:
        sign = next((sign for sign in _PARTS if line.startswith(sign, at)), "")
        part = _PARTS.get(sign, "open")
        if part in bar:
            raise expected("the end of the bar, ' --|'", at)
        bar[part], at = literal(at + len(sign))
    return bar | {"close": closing["close"]}, closing.end()


def _ends(
    bar: dict[str, Any], line: int, first: int, last: int, process: Process
) -> Iterator[_Event]:
    kind, f = _CLOSES[bar["close"]], bar["f"]
    argument, error = bar.get("argument"), bar.get("error")
    error = error and tuple(error)
    if bar["open"] == "|":
        # Both events of a nemesis operation are INFO.
        named = isinstance(process, str) and kind in (Kind.INFO, None)
        begins = Kind.INFO if named else Kind.INVOKE
        yield _Event(first, False, line, begins, process, f, argument, None if kind else error)
    if kind is not None:
        yield _Event(last, True, line, kind, process, f, bar.get("result", argument), error)


# -- drawing --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bar:
    """An operation, or what a part of a history has of it."""

    process: Process
    label: str
    left: str  # `|-118-`
    right: str  # `133-|`, without the dashes that fill the bar
    begins: bool  # the invocation is shown
    ends: bool  # the completion is shown
    first: int = -1  # columns, set by the layout
    last: int = -1

    @property
    def width_min(self) -> int:
        return len(f"{self.left} {self.label} -{self.right}")

    def text(self) -> str:
        fill = self.last - self.first + 1 - self.width_min
        assert fill >= 0
        return f"{self.left} {self.label} -{'-' * fill}{self.right}"


def _bars(events: list[Op], indices: bool, text_max: int | None) -> list[tuple[_Bar, bool]]:
    """For each event its bar, and whether the event is the bar's beginning."""
    ends: dict[int, Op] = {}  # place of an invocation → its completion
    begun: dict[tuple[Process, str], int] = {}
    owner: list[int] = []  # place of each event's invocation, or its own
    for place, op in enumerate(events):
        key = (op.process, op.f)
        opens = op.type is Kind.INVOKE or (isinstance(op.process, str) and key not in begun)
        owner.append(place if opens else begun.pop(key, place))
        if opens:
            begun.pop(key, None)
            if op.error is None:  # a whole bar has room for its completion's error only
                begun[key] = place
        elif owner[place] != place:
            ends[owner[place]] = op
    bars: dict[int, _Bar] = {}
    for place, op in enumerate(events):
        if owner[place] == place:
            opens = op.type is Kind.INVOKE or isinstance(op.process, str)
            begin, end = (op, ends.get(place)) if opens else (None, op)
            bars[place] = _bar(begin, end, indices, text_max)
    return [(bars[owner[p]], owner[p] == p and bars[p].begins) for p in range(len(events))]


def _bar(begin: Op | None, end: Op | None, indices: bool, text_max: int | None) -> _Bar:
    op = begin or end
    assert op is not None
    label = _label(begin, end)
    if text_max is not None and len(label) > text_max:
        label = label[: text_max - 1] + "…"
    left = ("|" if begin else "<") + (f"-{begin.index}-" if begin and indices else "--")
    sign = _SIGNS[end.type] if end else ">"
    right = f"{end.index}-{sign}" if end and indices else f"-{sign}"
    return _Bar(op.process, label, left, right, begin is not None, end is not None)


def _label(begin: Op | None, end: Op | None) -> str:
    op = begin or end
    assert op is not None
    text = op.f if _F.fullmatch(op.f) else _json(op.f)
    # As text, because 1, 1.0 and true are equal in Python and are not here.
    argument = _json(begin.value if begin else None)
    if argument != "null":
        text += f" {argument}"
    if end is not None and (result := _json(end.value)) != argument:
        text += f" -> {result}"
    error = (end or op).error
    if error is not None:
        text += f" ! {_json(error)}"
    return text


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _lay_out(events: list[Op], bars: list[tuple[_Bar, bool]]) -> dict[Process, list[list[_Bar]]]:
    """Give each bar its columns, so that events ascend; the bars of each process, line by line.

    The lines of a process are more than one where its operations overlap, as a nemesis' may.
    """
    lanes: dict[Process, list[list[_Bar]]] = {}
    column = -1
    for op, (bar, is_beginning) in zip(events, bars, strict=True):
        column += 1
        if bar.first < 0:
            lane = _lane(lanes.setdefault(op.process, []))
            after = lane[-1].last + 2 if lane else 0
            lane.append(bar)
            if not is_beginning:  # no invocation is shown: the bar ends here
                column = max(column, after + bar.width_min - 1)
                bar.first, bar.last = column - bar.width_min + 1, column
                continue
            column = max(column, after)
            bar.first = column
            if not bar.ends:
                bar.last = column + bar.width_min - 1
        else:
            column = max(column, bar.first + bar.width_min - 1)
            bar.last = column
    return lanes


def _lane(lanes: list[list[_Bar]]) -> list[_Bar]:
    """The first line of a process whose last bar is complete."""
    for lane in lanes:
        if lane[-1].last >= 0:
            return lane
    lanes.append([])
    return lanes[-1]


def _line(lane: list[_Bar]) -> str:
    text = ""
    for bar in lane:
        text = text.ljust(bar.first) + bar.text()
    return text


def _name(process: Process) -> str:
    if isinstance(process, int):
        return f"c{process}"
    if _CLIENT.fullmatch(process) or not _PROCESS.fullmatch(f"{process}:"):
        raise ValueError(f"a timeline cannot name a process {process!r}")
    return process
