"""What a history of another tool leaves out, and what is put there.

    no process, but invocations   an answer belongs to the oldest open invocation of its `f` and
                                  value; processes are numbered by who is free
    no invocations                each answer is an operation that its process began right after its
                                  last one; those without a process have each their own. So nothing
                                  is said of an order that nobody saw.
    processes by name             clients are numbered in the order they come
    no f                          "txn", where the value is one of micro-operations
    get and put of a :key         `read` and `write` of `[key, value]`; "" is null

A history that has all of it passes through as it is; whether it does is seen in what comes first.
What was put in is remarked.

Source: the sample histories of Elle, of elle-cli and of Porcupine (its key-value store).
"""

from __future__ import annotations

from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Any

import msgspec

from harness.columnize import dump
from harness.lines import CODES
from harness.op import NEMESIS

KEYED = {"get": "read", "put": "write"}
READS = frozenset({"read", "dequeue", "pop", "get"})
_LOOKED_AT = 1000
"""Lines in which a client's event is looked for."""

Event = dict[str, Any]


class Unfilled(Exception):
    """The event at `position` fits to nothing before it."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position, self.reason = position, reason


class Filler:
    """Fills the gaps of one history.

    Attributes:
        remarks: what was put in.
        origin: the position in the file of each event, where they differ.
        has_passed: whether it is known that there are none.
    """

    def __init__(self) -> None:
        self.remarks: dict[str, None] = {}
        self.origin: array[int] | None = None
        self.has_passed = False
        self._names: dict[int | str, int] = {}
        self._without = _Processes()

    def filled(self, chunks: Iterable[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
        """The same lines of JSON, or more complete ones.

        Raises:
            Unfilled: an event belongs to nothing.
        """
        remaining = iter(chunks)
        for first in remaining:
            if not first[0].strip():
                continue
            events = [event for event in _peeked(first[0]) if isinstance(event, dict)]
            again = _chain(first, remaining)
            if not any(map(has_gap, events)) and not _lacks_invocations(events):
                self.has_passed = True
                yield from again
            elif _lacks_invocations(events):
                yield from self._with_invocations(again)
            else:
                yield from self._one_by_one(again)

    def _one_by_one(self, chunks: Iterable[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
        position = 0
        for chunk, is_last in chunks:
            out = []
            for line in _lines(chunk):
                event = _decoded(line)
                if isinstance(event, dict):
                    self._complete(event, position)
                    if _is_client(event):
                        self._number(event, position)
                    line = dump(event)
                out.append(line)
                position += 1
            yield b"".join(line + b"\n" for line in out), is_last

    def _complete(self, event: Event, position: int) -> None:
        """Fill in what the event alone tells."""
        if event.get("f") is None and _is_txn(event.get("value")):
            event["f"] = "txn"
            self._remark("the events have no f: those of micro-operations are taken for txn")
        if "key" in event and event.get("f") == "append":
            # Who passed it over would take what is read afterwards for a lie.
            raise Unfilled(position, "append to the text of a key, which no workload judges")
        if "key" in event and _text(event.get("f")) in KEYED:
            value = event.get("value")
            event["value"] = [event.pop("key"), None if value == "" else value]
            event["f"] = KEYED[event["f"]]
            self._remark(
                'get and put of a key are taken for read and write of [key, value], "" for null'
            )

    def _number(self, event: Event, position: int) -> None:
        process = event.get("process")
        if process is None:
            event["process"] = self._without.of(event, position)
            self._remark(
                "the events have no process: an answer belongs to the oldest invocation of its f "
                "and value that has none yet"
            )
        elif isinstance(process, (int, str)) and not isinstance(process, bool):
            if isinstance(process, str):
                self._remark("processes have names: they are numbered in the order they come")
            event["process"] = self._names.setdefault(process, len(self._names))

    # -- without invocations ---------------------------------------------------------------------

    def _with_invocations(
        self, chunks: Iterable[tuple[bytes, bool]]
    ) -> Iterator[tuple[bytes, bool]]:
        events: list[bytes] = []
        later: dict[int, deque[int]] = defaultdict(deque)  # operations of a process not yet begun
        for chunk, _ in chunks:
            for line in _lines(chunk):
                event = _decoded(line)
                position = len(events)
                if isinstance(event, dict):
                    self._complete(event, position)
                    if _is_client(event):
                        if event.get("type") == "invoke":
                            raise Unfilled(
                                position, "an invocation, and the events before have none"
                            )
                        own = f"\0{position}"  # no name of a process
                        process = self._names.setdefault(
                            _hashable(event.get("process"), own), len(self._names)
                        )
                        event["process"] = process
                        later[process].append(position)
                    line = dump(event)
                events.append(line)
        self._remark(
            "the events have no invocations: an operation may have begun as soon as the one before "
            "it of its process ended"
        )
        self.origin = array("q")
        out: list[bytes] = []
        for process in list(later):
            self._begin(events, later[process], None, out)
        for position, line in enumerate(events):
            out.append(line)
            self.origin.append(position)
            event = _decoded(line)
            if isinstance(event, dict) and _is_client(event):
                self._begin(events, later[event["process"]], event.get("time"), out)
            if len(out) >= 4096:
                yield b"".join(line + b"\n" for line in out), False
                out = []
        yield b"".join(line + b"\n" for line in out), False

    def _begin(self, events: list[bytes], later: deque[int], time: Any, out: list[bytes]) -> None:
        """Put in the invocation of the next operation of a process, if there is one."""
        assert self.origin is not None
        if later:
            position = later.popleft()
            event = _decoded(events[position])
            if time is None and "time" in event:
                time = _first_time(events)
            known = {name: event[name] for name in ("process", "f", "node") if name in event}
            known |= {"time": time} if "time" in event else {}
            value = _asked(event.get("f"), event.get("value"))
            out.append(dump({**known, "type": "invoke", "value": value}))
            self.origin.append(position)

    def _remark(self, text: str) -> None:
        self.remarks.setdefault(text)


class _Processes:
    """Who an event is of, where nobody says: processes that are free take what is invoked."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._count = 0
        self._open: dict[bytes, deque[int]] = defaultdict(deque)  # by what was asked
        self._asked: dict[str, dict[int, bytes]] = defaultdict(dict)  # by f, of whom

    def of(self, event: Event, position: int) -> int:
        f = event.get("f")
        if _text(event.get("type")) not in CODES or not isinstance(f, str):
            return 0  # it is no event, and who decodes it says why
        key = dump([f, _asked(f, event.get("value"))])
        if event.get("type") == "invoke":
            process = heappop(self._free) if self._free else self._count
            self._count = max(self._count, process + 1)
            self._open[key].append(process)
            self._asked[f][process] = key
            return process
        if not self._open.get(key):
            if len(self._asked[f]) != 1:  # else there is no doubt whose it is
                raise Unfilled(position, f"completes nothing: no open {f!r} has this value")
            key = next(iter(self._asked[f].values()))
        process = self._open[key].popleft()
        if not self._open[key]:
            del self._open[key]
        del self._asked[f][process]
        if event.get("type") in ("ok", "fail"):
            heappush(self._free, process)
        return process


def _peeked(chunk: bytes) -> Iterator[Any]:
    for _, line in zip(range(_LOOKED_AT), _lines(chunk), strict=False):
        yield _decoded(line)


def has_gap(event: Event) -> bool:
    """Whether an event lacks what all of ours have."""
    process = event.get("process")
    return (
        process is None
        or event.get("f") is None
        or ("key" in event and _text(event.get("f")) in KEYED)
        or (isinstance(process, str) and process != NEMESIS and event.get("type") == "invoke")
    )


def _lacks_invocations(events: list[Event]) -> bool:
    kinds = [event.get("type") for event in events if _is_client(event)]
    return bool(kinds) and "invoke" not in kinds and "ok" in kinds


def _text(value: Any) -> str:
    """A text, or "" for anything else, which may not be looked up."""
    return value if isinstance(value, str) else ""


def _is_client(event: Event) -> bool:
    return event.get("process") != NEMESIS


def _is_txn(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(mop, list) and mop and isinstance(mop[0], str) for mop in value)
    )


def _asked(f: Any, value: Any) -> Any:
    """What was asked for, of what was answered: without the results of reads."""
    if _text(f) in READS:
        is_keyed = isinstance(value, list) and len(value) == 2 and not isinstance(value[0], list)
        return [value[0], None] if is_keyed and isinstance(value[0], str) else None
    if _is_txn(value):
        return [[*mop[:2], None] if mop[0] in ("r", "poll") and mop[1:] else mop for mop in value]
    return value


def _hashable(process: Any, otherwise: str) -> int | str:
    is_one = isinstance(process, (int, str)) and not isinstance(process, bool)
    return process if is_one else otherwise


def _first_time(events: list[bytes]) -> Any:
    event = _decoded(events[0])
    return event.get("time") if isinstance(event, dict) else None


def _lines(chunk: bytes) -> Iterator[bytes]:
    return (line for line in chunk.split(b"\n") if line.strip())


def _decoded(line: bytes) -> Any:
    """The event, or whatever it is; None if it is no JSON, which another says better."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return None


def _chain(first: tuple[bytes, bool], rest: Iterator[tuple[bytes, bool]]) -> Any:
    yield first
    yield from rest
