"""The log checker's definitions, spelled out without any thought of speed.

Written from the definitions of jepsen.tests.kafka, event by event, with dictionaries. It says which
cases there are, as `anomaly → Counter of (key, values)`, and shares nothing with the checker but
the history.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from harness.history import History
from harness.op import Kind, Op

Cases = dict[str, Counter[tuple[Any, tuple[Any, ...]]]]
Message = tuple[Any, Any]


@dataclass
class Entry:
    """One message in one operation."""

    op: Operation
    key: Any
    value: Any
    offset: int | None
    is_send: bool

    @property
    def message(self) -> Message:
        return self.key, self.value


@dataclass
class Operation:
    begin: int
    end: float
    status: Kind
    process: Any
    f: str
    sends: list[Entry] = field(default_factory=list)
    polls: list[Entry] = field(default_factory=list)
    rebalanced: set[Any] = field(default_factory=set)

    def of_key(self, key: Any, *, sends: bool) -> list[Entry]:
        return [entry for entry in (self.sends if sends else self.polls) if entry.key == key]

    def keys(self, *, sends: bool) -> list[Any]:
        return list(dict.fromkeys(entry.key for entry in (self.sends if sends else self.polls)))


def cases(history: History) -> Cases:
    """All cases of all anomalies; an anomaly without any is not there."""
    found = dict(_Oracle(history).found())
    return {name: Counter(cases) for name, cases in found.items() if cases}


def worst_lag(history: History) -> int:
    """The largest realtime lag, 0 if nobody lagged."""
    oracle = _Oracle(history)
    begin = next((e.index for e in history if e.value == "final-reads"), len(history))
    known: dict[Any, list[tuple[int, int]]] = defaultdict(list)  # (offset, time), as they happened
    for op in sorted(oracle.ops, key=lambda op: op.end):
        time = history[int(min(op.end, len(history) - 1))].time
        for entry in op.sends + op.polls:
            if entry.offset is not None and (not entry.is_send or oracle.took_place(op)):
                known[entry.key].append((entry.offset, time))
    worst = 0
    unseen: dict[Any, dict[Any, int]] = defaultdict(dict)  # process, key → first offset not seen
    held: dict[Any, set[Any]] = defaultdict(set)
    for event in history:
        if event.f in ("assign", "subscribe", "seek") and event.type is not Kind.INVOKE:
            names = oracle.held(event) if event.f == "assign" else set()
            assert names is not None
            for key in held[event.process] - names:
                unseen[event.process].pop(key, None)
            for key in names - held[event.process] if event.type is Kind.OK else ():
                unseen[event.process].setdefault(key, 0)
            held[event.process] = names
        done = operation_of(history, event)
        if done is None or done.status is not Kind.OK or done.f == "send" or done.begin >= begin:
            continue
        for entry in done.polls:
            if (offset := oracle.offset(entry)) is not None:
                seen = unseen[event.process].get(entry.key, 0)
                unseen[event.process][entry.key] = max(seen, offset + 1)
        for key, offset in unseen[event.process].items():
            times = [time for known_offset, time in known[key] if known_offset >= offset]
            if times:
                worst = max(worst, history[done.begin].time - times[0])
    return worst


def operation_of(history: History, op: Op) -> Operation | None:
    """The client operation that the event completes or, without a completion, begins."""
    if not isinstance(op.process, int) or op.f not in ("send", "poll", "txn"):
        return None
    completion = history.completion(op.index)
    if op.type is Kind.INVOKE and completion is not None:
        return None
    begun = history.invocation(op.index)
    end = float("inf") if completion is None else op.index
    status = Kind.INFO if completion is None else op.type
    mops = _mops(op.value)
    result = Operation(begun.index, end, status, op.process, op.f)
    for mop in mops if mops is not None else _mops(begun.value) or []:
        match mop:
            case ["send", key, [int() | None as offset, value]]:
                result.sends.append(Entry(result, key, value, offset, True))
            case ["send", key, value]:
                result.sends.append(Entry(result, key, value, None, True))
            case ["poll", dict() as messages]:
                result.polls += [
                    Entry(result, int(key), value, offset, False)
                    for key, pairs in messages.items()
                    for offset, value in pairs
                ]
    for entry in (op.extra or {}).get("rebalance-log", []):
        result.rebalanced |= set(entry["keys"])
    return result


def _mops(value: Any) -> list[list[Any]] | None:
    """The micro-operations of a value; None if it is something else."""
    if isinstance(value, list) and value and all(isinstance(m, list) and m for m in value):
        return value
    return None


class _Oracle:
    def __init__(self, history: History) -> None:
        self.history = history
        self.events = list(history)
        self.ops = [op for event in self.events if (op := operation_of(history, event))]
        self.sends = [entry for op in self.ops for entry in op.sends]
        self.polls = [entry for op in self.ops for entry in op.polls]
        self.read = {e.message for e in self.polls if e.op.status is Kind.OK}
        self.writers: dict[Message, list[Operation]] = defaultdict(list)
        for entry in self.sends:
            self.writers[entry.message].append(entry.op)
        self.log: dict[Any, dict[int, set[Any]]] = defaultdict(lambda: defaultdict(set))
        for entry in self.sends + self.polls:
            if entry.offset is not None and (not entry.is_send or self.took_place(entry.op)):
                self.log[entry.key][entry.offset].add(entry.value)
        self.index = {
            (key, offset): index
            for key, offsets in self.log.items()
            for index, offset in enumerate(sorted(offsets))
        }

    def took_place(self, op: Operation) -> bool:
        """Jepsen's must-have-committed?"""
        if op.status is Kind.INFO:
            return any(entry.message in self.read for entry in op.sends)
        return op.status is Kind.OK

    def offsets_of(self, message: Message) -> list[int]:
        key, value = message
        return sorted(o for o, values in self.log[key].items() if value in values)

    def place(self, entry: Entry) -> int | None:
        """The index of an entry: of its own offset where that is proven, else of its value."""
        if entry.offset is not None and (not entry.is_send or self.took_place(entry.op)):
            return self.index[entry.key, entry.offset]
        offsets = self.offsets_of(entry.message)
        return self.index[entry.key, offsets[0]] if len(offsets) == 1 else None

    def offset(self, entry: Entry) -> int | None:
        """The offset of a polled entry: its own, else the only one of its message."""
        offsets = self.offsets_of(entry.message)
        only = offsets[0] if len(offsets) == 1 else None
        return only if entry.offset is None else entry.offset

    def delta(self, before: Entry, after: Entry) -> int:
        start, end = self.place(before), self.place(after)
        return 1 if start is None or end is None else end - start

    def found(self) -> Iterator[tuple[str, list[tuple[Any, tuple[Any, ...]]]]]:
        yield (
            "inconsistent-offsets",
            [
                (key, tuple(sorted(values if len(seen) < 2 else seen)[:2]))
                for key, offsets in self.log.items()
                for offset, values in offsets.items()
                if len(values) > 1
                for seen in [{e.value for e in self.polls if (e.key, e.offset) == (key, offset)}]
            ],
        )
        yield "duplicate", [m for m in self.messages() if self.is_duplicate(m)]
        yield "G1a", [m for m in self.messages() if self.is_aborted_read(m)]
        yield "lost-write", [m for m in self.messages() if self.is_lost(m)]
        yield "phantom", [(key, ()) for key, _ in self.phantoms()]
        yield "precommitted-read", list(self.precommitted())
        yield "unseen", [(key, (value,)) for key, value in self.unseen()]
        yield "read-then-lost", [(key, (value,)) for key, value in self.read_then_lost()]
        polls = list(self.internal(sends=False))
        yield "int-poll-skip", [case for delta, case in polls if delta > 1]
        yield "int-nonmonotonic-poll", [case for delta, case in polls if delta < 1]
        sends = list(self.internal(sends=True))
        yield "int-nonmonotonic-send", [case for delta, case in sends if delta < 1]
        steps = list(self.external_polls())
        yield "poll-skip", [case for delta, case in steps if delta > 1]
        yield "nonmonotonic-poll", [case for delta, case in steps if delta < 1]
        steps = list(self.external_sends())
        yield "nonmonotonic-send", [case for delta, case in steps if delta < 1]

    def messages(self) -> list[tuple[Any, tuple[Any, ...]]]:
        every = dict.fromkeys(entry.message for entry in self.sends + self.polls)
        return [(key, (value,)) for key, value in every]

    def is_duplicate(self, message: tuple[Any, tuple[Any, ...]]) -> bool:
        key, (value,) = message
        return len(self.offsets_of((key, value))) > 1 and len(self.writers[key, value]) <= 1

    def is_aborted_read(self, message: tuple[Any, tuple[Any, ...]]) -> bool:
        key, (value,) = message
        writers = self.writers[key, value]
        failed = bool(writers) and all(op.status is Kind.FAIL for op in writers)
        return failed and (key, value) in self.read

    def is_lost(self, message: tuple[Any, tuple[Any, ...]]) -> bool:
        key, (value,) = message
        writers, offsets = self.writers[key, value], self.offsets_of((key, value))
        if not writers or not offsets or (key, value) in self.read:
            return False
        firsts = [self.offsets_of(read)[:1] for read in self.passing() if read[0] == key]
        bound = max((offset for first in firsts for offset in first), default=-1)
        return offsets[-1] <= bound and all(map(self.took_place, writers))

    def passing(self) -> set[Message]:
        """What was read by processes that had not sought a position or subscribed before."""
        return {
            entry.message
            for entry in self.polls
            if entry.op.status is Kind.OK
            and not any(
                event.f in ("seek", "subscribe") and event.process == entry.op.process
                for event in self.events[: entry.op.begin]
            )
        }

    def phantoms(self) -> set[Message]:
        return {
            entry.message
            for entry in self.polls
            if not any(op.begin < entry.op.end for op in self.writers[entry.message])
        }

    def precommitted(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        for op in self.ops:
            own = {entry.message for entry in op.sends}
            polled = sorted(op.polls, key=lambda entry: entry.key)
            if bad := [entry for entry in polled if entry.message in own]:
                yield bad[0].key, (bad[0].value,)

    def unseen(self) -> set[Message]:
        begin, end = None, None
        for event in self.events:
            if event.f == "phase" and event.process == "nemesis" and event.value == "final-reads":
                at = (event.extra or {})["at"]
                if at == "begin":
                    begin, end = (event.index, None) if end or begin is None else (begin, end)
                else:
                    end = (event.extra or {})["complete"]
        if not end or begin is None:
            return set()
        told = {
            entry.message
            for entry in self.sends
            if entry.op.status is Kind.OK and entry.op.end < begin
        }
        return told - self.read

    def read_then_lost(self) -> set[Message]:
        marks = [event for event in self.events if event.f == "phase"]
        if not marks or not (marks[-1].extra or {}).get("complete"):
            return set()
        begin = next(event.index for event in marks if (event.extra or {})["at"] == "begin")
        good = [entry for entry in self.polls if entry.op.status is Kind.OK]
        before = {entry.message for entry in good if entry.op.end < begin}
        after = {e.message for e in good if begin < e.op.begin < marks[-1].index}
        return {
            message
            for message in before - after
            if self.writers[message] and all(map(self.took_place, self.writers[message]))
        }

    def internal(self, *, sends: bool) -> Iterator[tuple[int, tuple[Any, tuple[Any, Any]]]]:
        for op in self.ops:
            for key in op.keys(sends=sends):
                if key in op.rebalanced and not sends:
                    continue
                for before, after in pairwise(op.of_key(key, sends=sends)):
                    yield self.delta(before, after), (key, (before.value, after.value))

    def external_polls(self) -> Iterator[tuple[int, tuple[Any, tuple[Any, Any]]]]:
        last: dict[Any, dict[Any, Entry]] = defaultdict(dict)
        subscribed: dict[Any, bool] = defaultdict(bool)
        for event in self.events:
            process = event.process
            if (held := self.held(event)) is not None:
                if event.f == "subscribe" or (event.f == "assign" and subscribed[process]):
                    held = set()
                if event.f != "seek":
                    subscribed[process] = event.f == "subscribe"
                last[process] = {k: e for k, e in last[process].items() if k in held}
            elif (op := operation_of(self.history, event)) is not None:
                for key in op.keys(sends=False):
                    entries = op.of_key(key, sends=False)
                    if key in last[process] and not subscribed[process]:
                        before = last[process][key]
                        case = key, (before.value, entries[0].value)
                        yield self.delta(before, entries[0]), case
                    if op.status is Kind.OK:
                        last[process][key] = entries[-1]

    def external_sends(self) -> Iterator[tuple[int, tuple[Any, tuple[Any, Any]]]]:
        last: dict[Any, dict[Any, Entry]] = defaultdict(dict)
        for event in self.events:
            process = event.process
            if (held := self.held(event)) is not None:
                last[process] = {k: e for k, e in last[process].items() if k in held}
                continue
            op = operation_of(self.history, event)
            if op is None or op.status is Kind.FAIL:
                continue
            for key in op.keys(sends=True):
                entries = op.of_key(key, sends=True)
                if key in last[process]:
                    before = last[process][key]
                    yield self.delta(before, entries[0]), (key, (before.value, entries[0].value))
                last[process][key] = entries[-1]

    def held(self, event: Op) -> set[Any] | None:
        """The keys that a process still holds after the event, None if it says nothing of them."""
        if event.f not in ("assign", "subscribe", "seek") or event.type is Kind.INVOKE:
            return None
        asked = self.history.invocation(event.index).extra or {}
        if event.f == "seek" or asked.get("seek-to-beginning"):
            return set()
        return set(event.value)
